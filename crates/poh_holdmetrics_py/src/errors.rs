//! Rust errors as Python exceptions.

use poh_holdmetrics::{Fault, Field, HoldError};
use pyo3::exceptions::{PyKeyboardInterrupt, PyOverflowError, PyValueError};
use pyo3::prelude::*;

/// Input that is not valid: `row` (from 0) and `field` say where, and are None where that is not known.
#[pyclass(extends = PyValueError, module = "poh_holdmetrics", frozen, get_all)]
pub(crate) struct HoldMetricsError {
    message: String,
    /// The row of the input, from 0.
    row: Option<u64>,
    /// The column.
    field: Option<String>,
}

#[pymethods]
impl HoldMetricsError {
    #[new]
    #[pyo3(signature = (message, row=None, field=None))]
    fn new(message: String, row: Option<u64>, field: Option<String>) -> Self {
        HoldMetricsError {
            message,
            row,
            field,
        }
    }

    fn __str__(&self) -> &str {
        &self.message
    }
}

/// The exception for an error of the core.
pub(crate) fn to_py(py: Python<'_>, error: HoldError) -> PyErr {
    let (row, field) = match error.without_file() {
        HoldError::Row { row, field, .. } => (Some(*row), Some(*field)),
        HoldError::Value { field, .. } | HoldError::Length { field, .. } => (None, Some(*field)),
        HoldError::Transfer { row, .. } => (Some(*row), None),
        HoldError::Argument(_)
        | HoldError::File(_)
        | HoldError::InFile { .. }
        | HoldError::NoSuchHold { .. }
        | HoldError::Proof(_) => (None, None),
        HoldError::Overflow { .. } => return PyOverflowError::new_err(error.to_string()),
        HoldError::Interrupted => return PyKeyboardInterrupt::new_err(()),
    };
    let field = field.map(|field| field.to_string());
    // Called as Python would, so that `args` is set and the exception can be pickled.
    match py
        .get_type::<HoldMetricsError>()
        .call1((error.to_string(), row, field))
    {
        Ok(exception) => PyErr::from_value(exception),
        Err(failure) => failure,
    }
}

/// Where a value stands, for its error.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    row: Option<usize>,
    field: Field,
}

impl Place {
    /// In a row of a table.
    pub(crate) fn of(row: usize, field: Field) -> Self {
        Place {
            row: Some(row),
            field,
        }
    }

    /// By itself: a part of one event.
    pub(crate) fn alone(field: Field) -> Self {
        Place { row: None, field }
    }

    pub(crate) fn error(self, fault: Fault) -> HoldError {
        let fault = match fault {
            // What pandas makes of a number that is missing.
            Fault::NotFinite(number) if self.field == Field::End => Fault::Type(format!(
                "is {number}; give a finite number, or None (null) for an open hold"
            )),
            fault => fault,
        };
        match self.row {
            Some(row) => HoldError::Row {
                row: row as u64,
                field: self.field,
                fault,
            },
            None => HoldError::Value {
                field: self.field,
                fault,
            },
        }
    }
}

/// An error of the core, or an exception that Python code raised on the way.
pub(crate) enum Refusal {
    Hold(HoldError),
    Python(PyErr),
}

impl From<HoldError> for Refusal {
    fn from(error: HoldError) -> Self {
        Refusal::Hold(error)
    }
}

impl From<PyErr> for Refusal {
    fn from(error: PyErr) -> Self {
        Refusal::Python(error)
    }
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Hold(error) => Python::attach(|py| to_py(py, error)),
            Refusal::Python(error) => error,
        }
    }
}

/// The refusal of a value that is an argument and no field of a row.
pub(crate) fn of_argument(name: &str, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Hold(HoldError::Value { fault, .. }) => {
            HoldError::Argument(format!("{name} {fault}")).into()
        }
        other => other,
    }
}

/// A Python `TypeError` in the words of the core, with row and field.
pub(crate) fn wrong_type(place: Place, value: &Bound<'_, PyAny>, wanted: &str) -> Refusal {
    let found = value
        .get_type()
        .name()
        .map_or_else(|_| "?".to_owned(), |name| name.to_string());
    place
        .error(Fault::Type(format!("is a {found}; give {wanted}")))
        .into()
}

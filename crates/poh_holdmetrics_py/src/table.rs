//! Answers as tables: Arrow for other libraries, dicts for Python.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, Field};
use poh_holdmetrics::write_parquet;
use pyo3::exceptions::{PyIndexError, PyOSError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyCapsule, PyDict, PyTuple};
use pyo3_arrow::ffi::{ArrayIterator, to_stream_pycapsule};

use crate::arguments::{Capsule, Frame, Record};
use crate::values::datetime;

/// A table of an answer, held in Arrow's memory format.
///
/// Give it to any library that reads the Arrow PyCapsule interface, as `pyarrow.table(table)`,
/// `polars.DataFrame(table)` or DuckDB, or take it as dicts.
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct Table {
    batch: RecordBatch,
    at: Option<i64>,
}

impl Table {
    pub(crate) fn new(batch: RecordBatch) -> Self {
        Table { batch, at: None }
    }

    /// A table that is the answer as of an instant.
    pub(crate) fn as_of(batch: RecordBatch, at: i64) -> Self {
        Table {
            batch,
            at: Some(at),
        }
    }

    fn record<'py>(&self, py: Python<'py>, row: usize) -> PyResult<Record<'py>> {
        let dict = PyDict::new(py);
        let schema = self.batch.schema();
        for (field, column) in schema.fields().iter().zip(self.batch.columns()) {
            dict.set_item(field.name(), cell(py, column, row)?)?;
        }
        Ok(Record(dict))
    }
}

/// The row that a Python index means.
pub(crate) fn place_of(row: isize, rows: usize) -> PyResult<usize> {
    let place = if row < 0 {
        rows.checked_add_signed(row)
    } else {
        usize::try_from(row).ok()
    };
    place
        .filter(|&place| place < rows)
        .ok_or_else(|| PyIndexError::new_err(format!("there is no row {row}; there are {rows}")))
}

#[pymethods]
impl Table {
    fn __len__(&self) -> usize {
        self.batch.num_rows()
    }

    fn __repr__(&self) -> String {
        format!(
            "<Table: {} rows of {}>",
            self.batch.num_rows(),
            self.columns().join(", ")
        )
    }

    /// The instant of the answer in microseconds since 1970 UTC, with `/ 10**6` the `at` that has the
    /// same answer again; None for a table that is not about an instant.
    #[getter]
    fn at_us(&self) -> Option<i64> {
        self.at
    }

    /// The names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.batch
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    }

    /// The rows as dicts.
    fn to_pylist<'py>(&self, py: Python<'py>) -> PyResult<Vec<Record<'py>>> {
        (0..self.batch.num_rows())
            .map(|row| self.record(py, row))
            .collect()
    }

    /// One row, a negative number from the end.
    fn __getitem__<'py>(&self, py: Python<'py>, row: isize) -> PyResult<Record<'py>> {
        self.record(py, place_of(row, self.batch.num_rows())?)
    }

    /// The rows as an Arrow stream (the Arrow PyCapsule interface).
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Capsule<'py>>,
    ) -> PyResult<Capsule<'py>> {
        capsule(py, self.batch.clone(), requested_schema)
    }

    /// Write the rows as a Parquet file, which is there whole or not at all.
    fn write_parquet(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        write_whole(py, &self.batch, path)
    }

    /// The rows as a `pandas.DataFrame`; needs pandas and pyarrow.
    fn to_pandas<'py>(slf: &Bound<'py, Self>) -> PyResult<Frame<'py>> {
        to_pandas(slf.as_any()).map(Frame)
    }

    /// The rows as a `polars.DataFrame`; needs polars.
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Frame<'py>> {
        to_polars(slf.as_any()).map(Frame)
    }
}

/// Writes a batch as a Parquet file that is there whole or not at all, where Python's other files are
/// written too.
pub(crate) fn write_whole(py: Python<'_>, batch: &RecordBatch, path: PathBuf) -> PyResult<()> {
    let batch = batch.clone();
    let write =
        move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| -> PyResult<()> {
            let part: PathBuf = arguments.get_item(0)?.extract()?;
            let file = File::create(&part).map_err(os_error)?;
            arguments
                .py()
                .detach(|| write_parquet(&batch, file))
                .map_err(os_error)?;
            Ok(())
        };
    let write = PyCFunction::new_closure(py, None, None, write)?;
    let place = py.import("pathlib")?.getattr("Path")?.call1((path,))?;
    let files = py.import("poh_holdmetrics.whole_file")?;
    files.call_method1("write_by", (place, write)).map(drop)
}

/// What the operating system said, with its number, as Python's own functions say it.
fn os_error(error: std::io::Error) -> PyErr {
    let Some(number) = error.raw_os_error() else {
        return error.into();
    };
    let text = error.to_string();
    let text = text
        .split(" (os error")
        .next()
        .unwrap_or_default()
        .to_owned();
    if cfg!(windows) {
        PyOSError::new_err((number, text, None::<String>, number))
    } else {
        PyOSError::new_err((number, text))
    }
}

/// A batch as the capsule of an Arrow stream.
pub(crate) fn capsule<'py>(
    py: Python<'py>,
    batch: RecordBatch,
    requested_schema: Option<Capsule<'py>>,
) -> PyResult<Capsule<'py>> {
    let requested_schema = requested_schema
        .map(|schema| schema.0.cast_into::<PyCapsule>())
        .transpose()?;
    let field = Arc::new(Field::new_struct(
        "",
        batch.schema().fields().clone(),
        false,
    ));
    let rows: ArrayRef = Arc::new(StructArray::from(batch));
    let stream = Box::new(ArrayIterator::new([Ok(rows)], field));
    Ok(Capsule(
        to_stream_pycapsule(py, stream, requested_schema)?.into_any(),
    ))
}

pub(crate) fn to_pandas<'py>(table: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    table
        .py()
        .import("pyarrow")?
        .call_method1("table", (table,))?
        .call_method0("to_pandas")
}

pub(crate) fn to_polars<'py>(table: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    table
        .py()
        .import("polars")?
        .call_method1("DataFrame", (table,))
}

/// One value; the types are those that answers have.
fn cell<'py>(py: Python<'py>, column: &ArrayRef, row: usize) -> PyResult<Bound<'py, PyAny>> {
    if column.is_null(row) {
        return Ok(py.None().into_bound(py));
    }
    match column.data_type() {
        DataType::Utf8 => Ok(column
            .as_string::<i32>()
            .value(row)
            .into_pyobject(py)?
            .into_any()),
        DataType::Float64 => Ok(column
            .as_primitive::<Float64Type>()
            .value(row)
            .into_pyobject(py)?
            .into_any()),
        DataType::Int64 => Ok(column
            .as_primitive::<Int64Type>()
            .value(row)
            .into_pyobject(py)?
            .into_any()),
        DataType::UInt64 => Ok(column
            .as_primitive::<UInt64Type>()
            .value(row)
            .into_pyobject(py)?
            .into_any()),
        DataType::Boolean => Ok(column
            .as_boolean()
            .value(row)
            .into_pyobject(py)?
            .to_owned()
            .into_any()),
        DataType::Timestamp(..) => instant(
            py,
            column.as_primitive::<TimestampMicrosecondType>().value(row),
        ),
        DataType::List(_) => {
            let parts = column.as_list::<i32>().value(row);
            let cells: Vec<_> = (0..parts.len())
                .map(|part| cell(py, &parts, part))
                .collect::<PyResult<_>>()?;
            Ok(PyTuple::new(py, cells)?.into_any())
        }
        other => Err(pyo3::exceptions::PyTypeError::new_err(format!(
            "no Python value for {other}"
        ))),
    }
}

/// An instant as a datetime, or as epoch seconds where Python's calendar ends.
pub(crate) fn instant<'py>(py: Python<'py>, micros: i64) -> PyResult<Bound<'py, PyAny>> {
    match datetime(py, micros) {
        Ok(instant) => Ok(instant.into_any()),
        Err(_) => Ok((micros as f64 / 1e6).into_pyobject(py)?.into_any()),
    }
}

//! Holds from what Python gives: rows, columns or Arrow.

use std::path::PathBuf;

use poh_holdmetrics::{Fault, Field, HoldError, OPEN, Weight, batch};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyInt, PyIterator, PyList, PyMapping, PyString};
use pyo3_arrow::input::AnyRecordBatch;

use crate::columns::Column;
use crate::errors::{Place, to_py};
use crate::event::HoldEvent;
use crate::values::{Clock, id, is_nothing, weight};

/// Adds all that `data` holds.
pub(crate) fn push_all(
    holds: &mut poh_holdmetrics::Holds,
    data: &Bound<'_, PyAny>,
    clock: &Clock,
) -> PyResult<()> {
    let py = data.py();
    if data.hasattr("__arrow_c_stream__")? || data.hasattr("__arrow_c_array__")? {
        holds.read_naive(clock.naive(py)?);
        let batches: AnyRecordBatch = carried_holds(data, holds.len())?.extract()?;
        let reader = batches.into_reader()?;
        // The reader may call back into Python, so the GIL stays with it.
        for batch in reader {
            let batch = batch.map_err(|error| to_py(py, HoldError::Argument(error.to_string())))?;
            py.detach(|| holds.append(&batch))
                .map_err(|error| to_py(py, error))?;
        }
        return Ok(());
    }
    if let Ok(columns) = data.cast::<PyMapping>() {
        return push_columns(holds, columns, clock);
    }
    for row in rows(data, "holds", "Holds.read", "HoldEvent or dicts")? {
        push_row(holds, &row?, clock)?;
        between_rows(py, holds.len())?;
    }
    Ok(())
}

/// The column of holds that may have ints of more than 64 bits, and those whose ints count as digits.
const AMOUNT: &[&str] = &["weight"];
const IDS: [Field; 2] = [Field::HolderId, Field::TokenId];

/// A table of holds of another library, as [`carried`]; `first` is the number of its first row.
pub(crate) fn carried_holds<'py>(
    data: &Bound<'py, PyAny>,
    first: usize,
) -> PyResult<Bound<'py, PyAny>> {
    carried(data, AMOUNT, &IDS, first)
}

/// A table of another library, with what it can't hand over as Arrow in another form: pandas has
/// ints of more than 64 bits as objects, of which it makes no column of Arrow; polars has a type for
/// columns without any value, which it hands over in a form that readers refuse.
pub(crate) fn carried<'py>(
    data: &Bound<'py, PyAny>,
    amounts: &[&str],
    ids: &[Field],
    first: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    let kind = data.get_type();
    let (module, name) = (kind.module()?.to_string(), kind.name()?.to_string());
    if name != "DataFrame" {
        return Ok(data.clone());
    }
    if module.starts_with("polars.") {
        let polars = py.import("polars")?;
        let nothing = polars.getattr("Null")?;
        if !data.getattr("dtypes")?.contains(&nothing)? {
            return Ok(data.clone());
        }
        let types = PyDict::new(py);
        types.set_item(nothing, polars.getattr("Int64")?)?;
        return data.call_method1("cast", (types,));
    }
    let mut data = data.clone();
    if module == "pandas" || module.starts_with("pandas.") {
        let amounts = amounts.iter().map(|&name| (name, None));
        let ids = ids.iter().map(|&field| (field.name(), Some(field)));
        for (name, id) in amounts.chain(ids) {
            if !data.getattr("columns")?.contains(name)? {
                continue;
            }
            let column = data.get_item(name)?;
            let Some(dtype) = column.getattr_opt("dtype")? else {
                continue; // two columns of that name
            };
            if dtype.getattr("kind")?.extract::<String>()? != "O" {
                continue;
            }
            let values = column.call_method0("tolist")?.cast_into::<PyList>()?;
            if !values.iter().any(|value| value.is_instance_of::<PyInt>()) {
                continue;
            }
            let texts = values.iter().enumerate().map(|(row, value)| match id {
                Some(field) => id_as_text(&value, Place::of(first + row, field)),
                None => as_text(&value),
            });
            let texts = texts.collect::<PyResult<Vec<_>>>()?;
            let changed = PyDict::new(py);
            changed.set_item(name, PyList::new(py, texts)?)?;
            data = data.call_method("assign", (), Some(&changed))?;
        }
    }
    Ok(data)
}

/// Whether a cell of pandas is a null: NaN is one there.
fn is_null(value: &Bound<'_, PyAny>) -> bool {
    let nan = value.cast::<PyFloat>().map(|float| float.value().is_nan());
    nan.unwrap_or_else(|_| is_nothing(value))
}

/// An amount as text, nothing as nothing; what is no amount stays as it is, to be refused.
fn as_text<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if is_null(value) {
        return Ok(py.None().into_bound(py));
    }
    match weight(value, Place::alone(Field::Weight)) {
        Ok(amount) => Ok(PyString::new(py, &amount.to_string()).into_any()),
        Err(_) => Ok(value.repr()?.into_any()),
    }
}

/// An id as text, nothing as nothing.
fn id_as_text<'py>(value: &Bound<'py, PyAny>, place: Place) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if is_null(value) {
        return Ok(py.None().into_bound(py));
    }
    let text = id(value, place)?;
    Ok(PyString::new(py, text.as_ref()).into_any())
}

/// The rows of `data`, or what to give in place of it.
pub(crate) fn rows<'py>(
    data: &Bound<'py, PyAny>,
    of: &str,
    reader: &str,
    kinds: &str,
) -> PyResult<Bound<'py, PyIterator>> {
    let found = data.get_type().name()?;
    // Text is iterable too, letter by letter.
    if data.is_instance_of::<PyString>() || data.hasattr("__fspath__")? {
        return Err(PyTypeError::new_err(format!(
            "data is a {found}; {reader}(path) reads {of} from files"
        )));
    }
    if data.hasattr("collect")? {
        return Err(PyTypeError::new_err(format!(
            "data is a {found}, which has no rows yet; give what its collect() answers"
        )));
    }
    data.try_iter().map_err(|_| {
        PyTypeError::new_err(format!(
            "data is a {found}; give an iterable of {kinds}, a dict of columns, or a table that has \
             the Arrow PyCapsule interface (pandas, polars, pyarrow, DuckDB)"
        ))
    })
}

/// Looks for Ctrl-C every so many rows: a list of a hundred million is read for a while.
pub(crate) fn between_rows(py: Python<'_>, rows: usize) -> PyResult<()> {
    if rows.is_multiple_of(1 << 14) {
        py.check_signals()?;
    }
    Ok(())
}

/// That there is a file to read.
pub(crate) fn some_paths(py: Python<'_>, paths: &[PathBuf]) -> PyResult<()> {
    if paths.is_empty() {
        let what = "there is no file to read; give at least one path";
        return Err(to_py(py, HoldError::Argument(what.to_owned())));
    }
    Ok(())
}

fn push_columns(
    holds: &mut poh_holdmetrics::Holds,
    columns: &Bound<'_, PyMapping>,
    clock: &Clock,
) -> PyResult<()> {
    let py = columns.py();
    let first_row = holds.len();
    let column = |field: Field| -> PyResult<Option<Column<'_>>> {
        match columns.get_item(field.to_string()) {
            Ok(values) if values.is_none() => Ok(None),
            Ok(values) => Column::new(&values, field, clock).map(Some),
            Err(_) => Ok(None),
        }
    };
    let needed = |field: Field| -> PyResult<Column<'_>> {
        column(field)?.ok_or_else(|| {
            to_py(
                py,
                HoldError::Argument(format!(
                    "there is no column {field:?}",
                    field = field.to_string()
                )),
            )
        })
    };
    let holder = needed(Field::HolderId)?;
    let token = needed(Field::TokenId)?;
    let start = needed(Field::Start)?;
    let end = column(Field::End)?;
    let weights = column(Field::Weight)?;
    let lengths = [
        (Field::TokenId, Some(token.len())),
        (Field::Start, Some(start.len())),
        (Field::End, end.as_ref().map(Column::len)),
        (Field::Weight, weights.as_ref().map(Column::len)),
    ];
    for (field, length) in lengths {
        if let Some(found) = length
            && found != holder.len()
        {
            return Err(to_py(
                py,
                HoldError::Length {
                    field,
                    found,
                    expected: holder.len(),
                },
            ));
        }
    }
    let first = [
        (Field::HolderId, &holder),
        (Field::TokenId, &token),
        (Field::Start, &start),
    ];
    let others = [(Field::End, &end), (Field::Weight, &weights)];
    let others = others
        .into_iter()
        .filter_map(|(field, column)| Some((field, column.as_ref()?)));
    let arrays: Option<Vec<_>> = first
        .into_iter()
        .chain(others)
        .map(|(field, column)| {
            let array = column.to_arrow(field, first_row)?;
            Ok(array.map(|array| (field.name(), array)))
        })
        .collect::<PyResult<_>>()?;
    if let Some(arrays) = arrays {
        holds.read_naive(clock.naive(py)?);
        let pushed = py.detach(|| {
            holds.append(&batch(arrays)?)?;
            holds.check() // borrowed times would be looked at when they are first used
        });
        return pushed.map_err(|error| to_py(py, error));
    }
    for row in 0..holder.len() {
        let place = |field| Place::of(first_row + row, field);
        let from = start.start(place(Field::Start), row, clock)?;
        let to = match &end {
            Some(end) => end.end(place(Field::End), row, clock)?,
            None => OPEN,
        };
        let amount = match &weights {
            Some(weights) => weights.weight(place(Field::Weight), row)?,
            None => Weight::ONE,
        };
        let pushed = holder.with_id(place(Field::HolderId), row, |holder_id| {
            token.with_id(place(Field::TokenId), row, |token_id| {
                holds.push_row(holder_id, token_id, from, to, &amount)
            })
        })??;
        pushed.map_err(|error| to_py(py, error))?;
        between_rows(py, row + 1)?;
    }
    Ok(())
}

fn push_row(
    holds: &mut poh_holdmetrics::Holds,
    row: &Bound<'_, PyAny>,
    clock: &Clock,
) -> PyResult<()> {
    let py = row.py();
    if let Ok(event) = row.cast_exact::<HoldEvent>() {
        let event = event.get();
        let (holder, token) = (event.holder_id.to_str(py)?, event.token_id.to_str(py)?);
        return holds
            .push_row(holder, token, event.start, event.end, &event.weight.get())
            .map_err(|error| to_py(py, error));
    }
    let number = holds.len();
    let place = |field| Place::of(number, field);
    let value = |field: Field| -> PyResult<Option<Bound<'_, PyAny>>> {
        let name = field.to_string();
        let found = if let Ok(dict) = row.cast::<PyDict>() {
            dict.get_item(name)?
        } else if let Ok(mapping) = row.cast::<PyMapping>() {
            mapping.get_item(name).ok()
        } else {
            row.getattr_opt(name)?
        };
        Ok(found.filter(|value| !value.is_none()))
    };
    let needed = |field: Field| -> PyResult<Bound<'_, PyAny>> {
        value(field)?.ok_or_else(|| to_py(py, place(field).error(Fault::Missing)))
    };
    let (holder, token) = (needed(Field::HolderId)?, needed(Field::TokenId)?);
    let start = clock.micros(&needed(Field::Start)?, place(Field::Start))?;
    let end = match value(Field::End)? {
        Some(end) => clock.end_micros(&end, place(Field::End))?,
        None => OPEN,
    };
    let amount = match value(Field::Weight)? {
        Some(value) => weight(&value, place(Field::Weight))?,
        None => Weight::ONE,
    };
    let holder = id(&holder, place(Field::HolderId))?;
    let token = id(&token, place(Field::TokenId))?;
    holds
        .push_row(holder.as_ref(), token.as_ref(), start, end, &amount)
        .map_err(|error| to_py(py, error))
}

//! One column of input: a numpy array, or any sequence of Python values.

use std::sync::Arc;

use arrow_array::builder::LargeStringBuilder;
use arrow_array::types::{
    ArrowPrimitiveType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{ArrayRef, Float64Array, Int64Array, PrimitiveArray};
use poh_holdmetrics::{
    Fault, Field, HoldError, Naive, OPEN, TimeUnit, Weight, micros_from_seconds, micros_from_unit,
};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::errors::{Place, Refusal};
use crate::values::{Clock, IdText, NAT, datetime64_counts, id, weight};

/// A column whose values are read row by row, or as a whole where all are numbers or text.
pub(crate) enum Column<'py> {
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    /// Counts of a unit since 1970; `NaT` is the smallest integer. They name no zone.
    Instants(TimeUnit, Vec<i64>, Naive),
    /// Fixed-width text of numpy: code points, padded with zeros.
    Text {
        width: usize,
        points: Vec<u32>,
    },
    Objects(Bound<'py, PyList>),
}

impl<'py> Column<'py> {
    /// Reads an array by its buffer where it has a known type, and anything else as Python values.
    pub(crate) fn new(values: &Bound<'py, PyAny>, field: Field, clock: &Clock) -> PyResult<Self> {
        let py = values.py();
        if let Some(list) = with_nothing(values)? {
            return Self::objects(&list, field);
        }
        let values = match values.hasattr("to_numpy")? {
            true => values.call_method0("to_numpy")?, // a pandas or polars column
            false => values.clone(),
        };
        let Ok(dtype) = values.getattr("dtype") else {
            return Self::objects(&values, field);
        };
        if values.getattr("ndim")?.extract::<usize>()? != 1 {
            return Err(crate::errors::to_py(
                py,
                HoldError::Argument(format!("{field} is not a column: it needs one dimension")),
            ));
        }
        let kind: String = dtype.getattr("kind")?.extract()?;
        let size: usize = dtype.getattr("itemsize")?.extract()?;
        let numpy = py.import("numpy")?;
        let as_type = |name: &str| numpy.call_method1("ascontiguousarray", (&values, name));
        match (kind.as_str(), size) {
            ("i", _) | ("u", 1 | 2 | 4) => Ok(Column::Ints(buffer(&as_type("int64")?)?)),
            ("f", 8) => Ok(Column::Floats(buffer(&as_type("float64")?)?)),
            ("f", 4) => {
                let floats: Vec<f32> = buffer(&as_type("float32")?)?;
                // As a weight it keeps its own shortest decimal form; an instant is what it is.
                let widened = match field {
                    Field::Weight => shortest,
                    _ => f64::from,
                };
                Ok(Column::Floats(floats.into_iter().map(widened).collect()))
            }
            ("M", _) => {
                // In this machine's order of bytes.
                let native = dtype.call_method1("newbyteorder", ("=",))?;
                let counts = numpy.call_method1("ascontiguousarray", (&values, native))?;
                let counts = buffer(&counts.call_method1("view", ("int64",))?)?;
                let (unit, counts) = datetime64_counts(&dtype, counts)?;
                Ok(Column::Instants(unit, counts, clock.naive(py)?))
            }
            ("U", 4..) => {
                let points = as_type("=U")?.call_method1("view", ("uint32",))?;
                Ok(Column::Text {
                    width: size / 4,
                    points: buffer(&points)?,
                })
            }
            // As numpy's own: halves and long doubles have other digits as Python's floats.
            ("f", _) => Self::objects(&values, field),
            _ => Self::objects(&values.call_method0("tolist")?, field),
        }
    }

    fn objects(values: &Bound<'py, PyAny>, field: Field) -> PyResult<Self> {
        if let Ok(list) = values.cast::<PyList>() {
            return Ok(Column::Objects(list.clone()));
        }
        if values.is_instance_of::<pyo3::types::PyString>() || values.try_iter().is_err() {
            return Err(crate::errors::to_py(
                values.py(),
                HoldError::Argument(format!("{field} is not a column: give a list or an array")),
            ));
        }
        Ok(Column::Objects(
            values
                .py()
                .get_type::<PyList>()
                .call1((values,))?
                .cast_into()?,
        ))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Column::Ints(values) => values.len(),
            Column::Floats(values) => values.len(),
            Column::Instants(_, values, _) => values.len(),
            Column::Text { width, points } => points.len() / width,
            Column::Objects(list) => list.len(),
        }
    }

    /// The same column as Arrow has it; none where its values are looked at one by one, be it to
    /// find the one that is of a wrong type. `first` is the number of its first row.
    pub(crate) fn to_arrow(&self, field: Field, first: usize) -> PyResult<Option<ArrayRef>> {
        let is_id = matches!(field, Field::HolderId | Field::TokenId);
        let is_time = matches!(field, Field::Start | Field::End);
        Ok(Some(match self {
            Column::Ints(values) => Arc::new(Int64Array::from(values.clone())),
            Column::Floats(values) if !is_id && values.iter().all(|value| value.is_finite()) => {
                Arc::new(Float64Array::from(values.clone()))
            }
            Column::Instants(unit, values, _) if is_time => match unit {
                TimeUnit::Second => timestamps::<TimestampSecondType>(values),
                TimeUnit::Milli => timestamps::<TimestampMillisecondType>(values),
                TimeUnit::Micro => timestamps::<TimestampMicrosecondType>(values),
                TimeUnit::Nano => timestamps::<TimestampNanosecondType>(values),
            },
            Column::Text { width, points } if is_id => {
                let mut ids = LargeStringBuilder::with_capacity(self.len(), points.len());
                let mut id = String::with_capacity(*width);
                for (row, points) in points.chunks_exact(*width).enumerate() {
                    id.clear();
                    write_text(points, &mut id, Place::of(first + row, field))?;
                    ids.append_value(&id);
                }
                Arc::new(ids.finish())
            }
            _ => return Ok(None),
        }))
    }

    /// Hands the id of a row to `use_id`.
    pub(crate) fn with_id<T>(
        &self,
        place: Place,
        row: usize,
        use_id: impl FnOnce(&str) -> T,
    ) -> Result<T, Refusal> {
        match self {
            Column::Ints(values) => Ok(use_id(&values[row].to_string())),
            Column::Text { width, points } => {
                let mut text = String::new();
                write_text(&points[row * width..(row + 1) * width], &mut text, place)?;
                Ok(use_id(&text))
            }
            Column::Objects(list) => {
                let value = list.get_item(row)?;
                let text: IdText<'_> = id(&value, place)?;
                Ok(use_id(text.as_ref()))
            }
            Column::Floats(_) | Column::Instants(..) => Err(place
                .error(Fault::Type("is not an id; give a str or an int".into()))
                .into()),
        }
    }

    pub(crate) fn start(&self, place: Place, row: usize, clock: &Clock) -> Result<i64, Refusal> {
        let micros = match self {
            Column::Ints(values) => micros_from_unit(values[row], TimeUnit::Second),
            Column::Floats(values) => micros_from_seconds(values[row]),
            Column::Instants(_, values, _) if values[row] == NAT => Err(Fault::Missing),
            Column::Instants(unit, values, naive) => {
                micros_from_unit(values[row], *unit).and_then(|as_utc| naive.instant(as_utc))
            }
            Column::Text { .. } => Err(Fault::Type(
                "is text; give instants or epoch seconds".to_owned(),
            )),
            Column::Objects(list) => {
                let value = list.get_item(row)?;
                if value.is_none() {
                    return Err(place.error(Fault::Missing).into());
                }
                return clock.micros(&value, place);
            }
        };
        micros.map_err(|fault| place.error(fault).into())
    }

    pub(crate) fn end(&self, place: Place, row: usize, clock: &Clock) -> Result<i64, Refusal> {
        match self {
            Column::Instants(_, values, _) if values[row] == NAT => Ok(OPEN),
            Column::Objects(list) => clock.end_micros(&list.get_item(row)?, place),
            _ => self.start(place, row, clock),
        }
    }

    pub(crate) fn weight(&self, place: Place, row: usize) -> Result<Weight, Refusal> {
        let weight = match self {
            Column::Ints(values) => match u64::try_from(values[row]) {
                Ok(units) => Ok(Weight::from(units)),
                Err(_) => Err(Fault::Negative(values[row].to_string())),
            },
            Column::Floats(values) => Weight::from_f64(values[row]),
            Column::Text { .. } => {
                return self
                    .with_id(place, row, str::parse::<Weight>)?
                    .map_err(|fault| Refusal::from(place.error(fault)));
            }
            Column::Instants(..) => Err(Fault::Type("is an instant; give a number".to_owned())),
            Column::Objects(list) => return weight(&list.get_item(row)?, place),
        };
        weight.map_err(|fault| place.error(fault).into())
    }
}

/// Appends the text of one row: code points, padded with zeros.
fn write_text(points: &[u32], text: &mut String, place: Place) -> Result<(), Refusal> {
    let last = points.iter().rposition(|&point| point != 0);
    for &point in &points[..last.map_or(0, |last| last + 1)] {
        text.push(
            char::from_u32(point).ok_or_else(|| {
                place.error(Fault::Type("has half of a surrogate pair".to_owned()))
            })?,
        );
    }
    Ok(())
}

fn timestamps<T: ArrowPrimitiveType<Native = i64>>(counts: &[i64]) -> ArrayRef {
    let instant = |&count: &i64| (count != NAT).then_some(count);
    match counts.contains(&NAT) {
        true => Arc::new(counts.iter().map(instant).collect::<PrimitiveArray<T>>()),
        false => Arc::new(PrimitiveArray::<T>::from_iter_values(
            counts.iter().copied(),
        )),
    }
}

/// A column of a library that knows values that are not there, as Python values with `None`, `NA` or
/// `NaT` in their place. As arrays of numpy they would be NaN, or whatever is under a mask.
fn with_nothing<'py>(values: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    if values.hasattr("to_pylist")? {
        return values.call_method0("to_pylist").map(Some); // pyarrow
    }
    if let Some(count) = values.getattr_opt("null_count")?
        && count.call0()?.gt(0)?
    {
        return values.call_method0("to_list").map(Some); // polars
    }
    let Some(dtype) = values.getattr_opt("dtype")? else {
        return Ok(None);
    };
    // pandas has the first where a missing value is none of numpy's.
    if dtype.hasattr("na_value")? && has_nothing(values)? {
        let objects = values.call_method1("astype", ("object",))?;
        return objects.call_method0("tolist").map(Some);
    }
    if values.hasattr("mask")? && values.hasattr("filled")? {
        return values.call_method0("tolist").map(Some); // numpy.ma
    }
    Ok(None)
}

/// Whether a column or an array of pandas has a missing value.
fn has_nothing(values: &Bound<'_, PyAny>) -> PyResult<bool> {
    match values.getattr_opt("hasnans")? {
        Some(has) => has.is_truthy(),
        None => {
            let missing = values.call_method0("isna")?;
            missing.call_method0("any")?.is_truthy()
        }
    }
}

fn buffer<T: pyo3::buffer::Element>(array: &Bound<'_, PyAny>) -> PyResult<Vec<T>> {
    PyBuffer::<T>::get(array)?.to_vec(array.py())
}

/// The float of 64 bits with the same shortest decimal form.
fn shortest(float: f32) -> f64 {
    if float.is_finite() {
        float.to_string().parse().unwrap_or(f64::NAN)
    } else {
        f64::from(float)
    }
}

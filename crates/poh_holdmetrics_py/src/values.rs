//! One Python value as an id, an instant or a weight.

use std::cell::Cell;

use poh_holdmetrics::{
    Fault, Field, HoldError, TimeUnit, U256, Weight, micros_from_seconds, micros_from_text,
    micros_from_unit,
};
use pyo3::exceptions::{PyOverflowError, PyUserWarning, PyValueError};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::type_hint_identifier;
use pyo3::types::{PyBool, PyBytes, PyDateTime, PyFloat, PyInt, PyString, PyType, PyTzInfo};

use crate::errors::{Place, Refusal, wrong_type};

/// How naive datetimes are read; warns once for each table.
pub(crate) struct Clock {
    tz: Option<Py<PyAny>>,
    strict: bool,
    warned: Cell<bool>,
}

impl Clock {
    /// `tz` is a zone's name or a `tzinfo`.
    pub(crate) fn new(tz: Option<&Bound<'_, PyAny>>, strict: bool) -> PyResult<Self> {
        let tz = match tz {
            // Everywhere, also where Python has no zones (Windows without the package tzdata).
            Some(name) if name.is_instance_of::<PyString>() && name.eq("UTC")? => {
                Some(PyTzInfo::utc(name.py())?.to_owned().into_any())
            }
            Some(name) if name.is_instance_of::<PyString>() => {
                let zone = name
                    .py()
                    .import("zoneinfo")?
                    .getattr("ZoneInfo")?
                    .call1((name,));
                Some(zone.map_err(|_| {
                    PyValueError::new_err(format!(
                        "no time zone named {name}; give an IANA name such as 'Europe/Paris' \
                         (Python has none at all on Windows without the package tzdata)"
                    ))
                })?)
            }
            other => other.cloned(),
        };
        Ok(Clock {
            tz: tz.map(Bound::unbind),
            strict,
            warned: Cell::new(false),
        })
    }

    /// An aware datetime, int or float epoch seconds, or a numpy `datetime64`, in microseconds.
    pub(crate) fn micros(&self, value: &Bound<'_, PyAny>, place: Place) -> Result<i64, Refusal> {
        let here = |fault: Fault| Refusal::from(place.error(fault));
        if value.is_instance_of::<PyBool>() {
            return Err(wrong_type(place, value, TIMES));
        }
        if value.is_instance_of::<PyInt>() {
            let seconds: i64 = value.extract().map_err(|_| here(Fault::TimeOutOfRange))?;
            return micros_from_unit(seconds, TimeUnit::Second).map_err(here);
        }
        if let Ok(float) = value.cast::<PyFloat>() {
            return micros_from_seconds(float.value()).map_err(here);
        }
        if value.is_instance(datetime_type(value.py())?)? {
            return self.micros_of_datetime(value, place);
        }
        match numpy_kind(value).as_deref() {
            Some("M") => micros_of_datetime64(value, place),
            Some("i" | "u" | "f") => self.micros(&value.call_method0("item")?, place),
            _ => Err(wrong_type(place, value, TIMES)),
        }
    }

    /// As [`micros`](Self::micros), or RFC 3339 text.
    pub(crate) fn micros_or_text(
        &self,
        value: &Bound<'_, PyAny>,
        place: Place,
    ) -> Result<i64, Refusal> {
        match value.cast::<PyString>() {
            Ok(text) => {
                micros_from_text(&text.to_string()).map_err(|fault| place.error(fault).into())
            }
            Err(_) => self.micros(value, place),
        }
    }

    fn micros_of_datetime(&self, value: &Bound<'_, PyAny>, place: Place) -> Result<i64, Refusal> {
        let py = value.py();
        let aware = if value.call_method0("utcoffset")?.is_none() {
            let zone = match &self.tz {
                Some(tz) => tz.bind(py).clone(),
                None if self.strict => {
                    return Err(place
                        .error(Fault::Type(format!(
                            "is {value}, a datetime without a time zone; give one with tzinfo, \
                             or name its zone with tz="
                        )))
                        .into());
                }
                None => {
                    if !self.warned.replace(true) {
                        PyErr::warn(
                            py,
                            &py.get_type::<PyUserWarning>(),
                            c"a datetime without a time zone is read as UTC; \
                              say tz=\"UTC\" (or another zone) to confirm, or strict=True to refuse",
                            1,
                        )?;
                    }
                    utc(py)?.clone()
                }
            };
            let keywords = pyo3::types::PyDict::new(py);
            keywords.set_item("tzinfo", zone)?;
            value.call_method("replace", (), Some(&keywords))?
        } else {
            value.clone()
        };
        let delta = aware.sub(epoch(py)?)?;
        let days: i64 = delta.getattr("days")?.extract()?;
        let seconds: i64 = delta.getattr("seconds")?.extract()?;
        let micros: i64 = delta.getattr("microseconds")?.extract()?;
        Ok((days * 86_400 + seconds) * 1_000_000 + micros)
    }

    /// As [`micros`](Self::micros); `None` and `NaT` are a hold without an end.
    pub(crate) fn end_micros(
        &self,
        value: &Bound<'_, PyAny>,
        place: Place,
    ) -> Result<i64, Refusal> {
        if value.is_none() || is_nat(value) {
            return Ok(poh_holdmetrics::OPEN);
        }
        self.micros(value, place)
    }
}

/// An instant that is an argument and no field of a row.
pub(crate) fn moment(value: &Bound<'_, PyAny>) -> Result<i64, Refusal> {
    let place = Place {
        row: None,
        field: Field::End,
    };
    let micros = Clock::new(None, false)?.micros(value, place);
    micros.map_err(|refusal| match refusal {
        Refusal::Hold(HoldError::Value { fault, .. }) => {
            HoldError::Argument(format!("the instant {fault}")).into()
        }
        other => other,
    })
}

const TIMES: &str = "an aware datetime, epoch seconds (int or float) or a numpy datetime64";

/// `NaT` of numpy or pandas: the only instant that is not equal to itself.
fn is_nat(value: &Bound<'_, PyAny>) -> bool {
    !value.is_instance_of::<PyFloat>()
        && !value.is_instance_of::<PyInt>()
        && value.ne(value).unwrap_or(false)
}

/// The letter for the kind of a numpy scalar.
fn numpy_kind(value: &Bound<'_, PyAny>) -> Option<String> {
    value
        .getattr("dtype")
        .ok()?
        .getattr("kind")
        .ok()?
        .extract()
        .ok()
}

fn micros_of_datetime64(value: &Bound<'_, PyAny>, place: Place) -> Result<i64, Refusal> {
    if is_nat(value) {
        return Err(place.error(Fault::Missing).into());
    }
    let (unit, of_unit) = datetime64_unit(value)?;
    let count: i64 = of_unit.call_method1("astype", ("int64",))?.extract()?;
    micros_from_unit(count, unit).map_err(|fault| place.error(fault).into())
}

/// A `datetime64` value or array in a unit that the core reads; days and longer become seconds.
pub(crate) fn datetime64_unit<'py>(
    value: &Bound<'py, PyAny>,
) -> PyResult<(TimeUnit, Bound<'py, PyAny>)> {
    let dtype: String = value.getattr("dtype")?.getattr("str")?.extract()?;
    let unit = dtype
        .split_once('[')
        .map_or("", |(_, unit)| unit.trim_end_matches(']'));
    let known = match unit {
        "s" => TimeUnit::Second,
        "ms" => TimeUnit::Milli,
        "us" => TimeUnit::Micro,
        "ns" => TimeUnit::Nano,
        _ => {
            return Ok((
                TimeUnit::Second,
                value.call_method1("astype", ("datetime64[s]",))?,
            ));
        }
    };
    Ok((known, value.clone()))
}

/// A str, or an int as its decimal digits.
pub(crate) fn id<'a>(value: &'a Bound<'_, PyAny>, place: Place) -> Result<IdText<'a>, Refusal> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(IdText::Borrowed(text.to_str().map_err(|_| {
            place.error(Fault::Type(
                "has half of a surrogate pair; ids are valid Unicode".into(),
            ))
        })?));
    }
    if value.is_none() {
        return Err(place.error(Fault::Missing).into());
    }
    let is_int = value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>();
    if is_int || matches!(numpy_kind(value).as_deref(), Some("i" | "u")) {
        return Ok(IdText::Owned(value.str()?.to_string()));
    }
    Err(wrong_type(
        place,
        value,
        "a str (or an int, which counts as its digits)",
    ))
}

/// An id, copied only where Python has no text of it.
pub(crate) enum IdText<'a> {
    Borrowed(&'a str),
    Owned(String),
}

impl AsRef<str> for IdText<'_> {
    fn as_ref(&self) -> &str {
        match self {
            IdText::Borrowed(text) => text,
            IdText::Owned(text) => text,
        }
    }
}

/// An int, float, Decimal, decimal str or 32 big-endian bytes.
pub(crate) fn weight(value: &Bound<'_, PyAny>, place: Place) -> Result<Weight, Refusal> {
    let here = |fault: Fault| Refusal::from(place.error(fault));
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_type(place, value, WEIGHTS));
    }
    if value.is_instance_of::<PyInt>() {
        return match value.extract::<u64>() {
            Ok(small) => Ok(Weight::from(small)),
            Err(_) => int_digits(value)?.parse().map_err(here),
        };
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return Weight::from_f64(float.value()).map_err(here);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return text.to_string().parse().map_err(here);
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return match <[u8; 32]>::try_from(bytes.as_bytes()) {
            Ok(bytes) => Ok(Weight::from_be_bytes(bytes)),
            Err(_) => Err(here(Fault::Type(format!(
                "is {} bytes; a binary weight is 32 bytes, big-endian",
                bytes.as_bytes().len()
            )))),
        };
    }
    if value.is_none() {
        return Err(here(Fault::Missing));
    }
    // numpy's scalars and Decimal write themselves in the shortest form that reads back.
    if value.is_instance(decimal_type(value.py())?)?
        || matches!(numpy_kind(value).as_deref(), Some("i" | "u" | "f"))
    {
        return value.str()?.to_string().parse().map_err(here);
    }
    Err(wrong_type(place, value, WEIGHTS))
}

const WEIGHTS: &str = "an int, float, Decimal, decimal str or 32 bytes";

/// Digits of an int; Python refuses to write very long ones, which do not fit anyway.
fn int_digits(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let bits: u64 = value.call_method0("bit_length")?.extract()?;
    if bits > 256 && value.gt(0)? {
        return Ok(format!("1e{bits}"));
    }
    if bits > 256 {
        return Ok(format!("-1e{bits}"));
    }
    Ok(value.str()?.to_string())
}

/// An instant as an aware datetime in UTC.
pub(crate) fn datetime(py: Python<'_>, micros: i64) -> PyResult<Bound<'_, PyDateTime>> {
    static TIMEDELTA: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let delta = TIMEDELTA
        .import(py, "datetime", "timedelta")?
        .call1((0, 0, micros));
    let instant = delta.and_then(|delta| epoch(py)?.add(delta)).map_err(|_| {
        PyOverflowError::new_err(
            "the instant is outside the years 1 to 9999 of Python's datetime; \
             read it in microseconds (start_us, end_us, updated_at_us)",
        )
    })?;
    Ok(instant.cast_into()?)
}

fn utc(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static UTC: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    UTC.get_or_try_init(py, || {
        Ok(py
            .import("datetime")?
            .getattr("timezone")?
            .getattr("utc")?
            .unbind())
    })
    .map(|utc| utc.bind(py))
}

fn epoch(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static EPOCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    EPOCH
        .get_or_try_init(py, || {
            let kind = datetime_type(py)?;
            Ok(kind.call1((1970, 1, 1, 0, 0, 0, 0, utc(py)?))?.unbind())
        })
        .map(|epoch| epoch.bind(py))
}

fn datetime_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static DATETIME: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    DATETIME.import(py, "datetime", "datetime")
}

fn decimal_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    DECIMAL.import(py, "decimal", "Decimal")
}

/// A number of days or a timedelta, in microseconds.
pub(crate) fn days(value: &Bound<'_, PyAny>) -> PyResult<i64> {
    let delta = duration(value, "days")?;
    delta.ok_or_else(|| PyValueError::new_err(format!("{value} is not a number of days")))
}

/// A number of `unit` (a keyword of timedelta) or a timedelta, in microseconds.
pub(crate) fn duration(value: &Bound<'_, PyAny>, unit: &str) -> PyResult<Option<i64>> {
    let py = value.py();
    let delta_type = timedelta_type(py)?;
    let delta = if value.is_instance(delta_type)? {
        value.clone()
    } else if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
        let keywords = pyo3::types::PyDict::new(py);
        keywords.set_item(unit, value)?;
        delta_type.call((), Some(&keywords))?
    } else {
        return Ok(None);
    };
    let days: i64 = delta.getattr("days")?.extract()?;
    let seconds: i64 = delta.getattr("seconds")?.extract()?;
    let micros: i64 = delta.getattr("microseconds")?.extract()?;
    Ok((days * 86_400 + seconds)
        .checked_mul(1_000_000)
        .map(|whole| whole + micros))
}

fn timedelta_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TIMEDELTA: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    TIMEDELTA.import(py, "datetime", "timedelta")
}

/// A decimal text that reaches Python as a `decimal.Decimal`.
pub(crate) struct Decimal(pub(crate) String);

impl<'py> IntoPyObject<'py> for Decimal {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;
    const OUTPUT_TYPE: PyStaticExpr = type_hint_identifier!("decimal", "Decimal");

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        decimal_type(py)?.call1((self.0,))
    }
}

/// A Python int of 0 to 2^256 - 1.
pub(crate) struct WideInt(pub(crate) U256);

impl<'py> FromPyObject<'_, 'py> for WideInt {
    type Error = PyErr;
    const INPUT_TYPE: PyStaticExpr = type_hint_identifier!("builtins", "int");

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let value = value.to_owned();
        if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "{} is not an int",
                value.repr()?
            )));
        }
        int_digits(&value)?.parse().map(WideInt).map_err(|_| {
            PyOverflowError::new_err("the number of units is not within 0 to 2**256 - 1")
        })
    }
}

/// A whole number as a Python int.
pub(crate) fn wide_int<'py>(py: Python<'py>, units: &U256) -> PyResult<Bound<'py, PyAny>> {
    py.get_type::<PyInt>().call1((units.to_string(),))
}

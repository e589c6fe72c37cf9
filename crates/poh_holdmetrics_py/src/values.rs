//! One Python value as an id, an instant or a weight.

use std::cell::Cell;

use poh_holdmetrics::{
    Fault, Field, HoldError, Naive, TimeUnit, U256, Weight, excerpt, micros_from_seconds,
    micros_from_text, micros_from_text_in, micros_from_unit,
};
use pyo3::exceptions::{PyOverflowError, PyUserWarning, PyValueError};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::type_hint_identifier;
use pyo3::types::{PyBool, PyBytes, PyDateTime, PyFloat, PyInt, PyString, PyType, PyTzInfo};

use crate::arguments::Instant;
use crate::errors::{Place, Refusal, of_argument, to_py, wrong_type};
use crate::table::instant;

/// How naive datetimes are read; warns once for each table.
pub(crate) struct Clock {
    /// A zone's name or a `tzinfo`.
    tz: Option<Py<PyAny>>,
    /// The `tzinfo`, once a datetime of Python needed it.
    zone: PyOnceLock<Py<PyAny>>,
    strict: bool,
    warned: Cell<bool>,
}

impl Clock {
    /// `tz` is a zone's name or a `tzinfo`.
    pub(crate) fn new(tz: Option<&Bound<'_, PyAny>>, strict: bool) -> PyResult<Self> {
        if let Some(tz) = tz {
            if let Ok(name) = tz.cast::<PyString>() {
                // Not by Display, which asks Python for str() and would swallow a Ctrl-C.
                Naive::zone(name.to_str()?).map_err(|error| to_py(name.py(), error))?;
            } else if !tz.is_instance_of::<PyTzInfo>() {
                let shown = excerpt(&tz.repr()?.to_string());
                let what = format!("tz={shown} is no time zone; give an IANA name or a tzinfo");
                return Err(to_py(tz.py(), HoldError::Argument(what)));
            }
        }
        Ok(Clock {
            tz: tz.map(|tz| tz.clone().unbind()),
            zone: PyOnceLock::new(),
            strict,
            warned: Cell::new(false),
        })
    }

    /// A zone as Python knows it. It is looked up only for a datetime without one: Python may know
    /// no zones at all.
    fn zone<'py>(&self, tz: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = tz.py();
        // One of pytz must not be put into a datetime: it has the offset of a hundred years ago there.
        let name = match tz.is_instance_of::<PyString>() || tz.hasattr("localize")? {
            true => zone_name(tz)?,
            false => None,
        };
        let Some(name) = name else {
            return Ok(tz.clone());
        };
        let zone = self.zone.get_or_try_init(py, || {
            // As the IANA writes it: Python looks for a file of that name.
            let named = match Naive::zone(&name) {
                Ok(Naive::Zone(zone)) => zone.iana_name().map(str::to_owned),
                _ => None,
            };
            let name = named.unwrap_or(name);
            if name == "UTC" {
                return Ok(PyTzInfo::utc(py)?.to_owned().into_any().unbind());
            }
            let zones = py.import("zoneinfo")?.getattr("ZoneInfo")?;
            let zone = zones.call1((&name,)).map(Bound::unbind);
            zone.map_err(|_| {
                PyValueError::new_err(format!(
                    "Python knows no time zone {name}; install the package tzdata, or give \
                     datetimes that have a zone"
                ))
            })
        })?;
        Ok(zone.bind(py).clone())
    }

    /// The same for the core, which reads columns of Arrow and text itself.
    pub(crate) fn naive(&self, py: Python<'_>) -> PyResult<Naive> {
        let Some(tz) = &self.tz else {
            return Ok(if self.strict {
                Naive::Refuse
            } else {
                Naive::Utc
            });
        };
        let tz = tz.bind(py);
        if let Some(name) = zone_name(tz)? {
            return Naive::zone(&name).map_err(|error| to_py(py, error));
        }
        // A zone without a name has one offset for all times, or it can't be told here.
        let offset = tz.call_method1("utcoffset", (py.None(),))?;
        if offset.is_none() {
            let what = format!("columns can't be read in the zone {tz}; give an IANA name");
            return Err(to_py(py, HoldError::Argument(what)));
        }
        let micros = duration(&offset, "tz", "seconds")?;
        if micros % 1_000_000 != 0 {
            let what = format!("columns can't be read in the zone {tz}; give one of whole seconds");
            return Err(to_py(py, HoldError::Argument(what)));
        }
        let seconds = i32::try_from(micros / 1_000_000).unwrap_or(i32::MAX);
        Naive::offset(seconds).map_err(|error| to_py(py, error))
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
            // pandas says that its NaT is a datetime.
            if is_nothing(value) {
                return Err(here(Fault::Missing));
            }
            return self.micros_of_datetime(value, place);
        }
        match numpy_kind(value).as_deref() {
            Some("M") => {
                let as_utc = micros_of_datetime64(value, place)?;
                self.naive(value.py())?.instant(as_utc).map_err(here)
            }
            Some("i" | "u") => self.micros(&value.call_method0("item")?, place),
            // Not by item(): of a long double that is itself.
            Some("f") => self.micros(&value.call_method0("__float__")?, place),
            _ if is_nothing(value) => Err(here(Fault::Missing)),
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
                Some(tz) => self.zone(tz.bind(py))?,
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

    /// As [`micros`](Self::micros); `None`, `NaT` and `NA` are a hold without an end.
    pub(crate) fn end_micros(
        &self,
        value: &Bound<'_, PyAny>,
        place: Place,
    ) -> Result<i64, Refusal> {
        if is_nothing(value) {
            return Ok(poh_holdmetrics::OPEN);
        }
        self.micros(value, place)
    }
}

/// An instant that is an argument and no field of a row; where it names no zone it is in `tz`.
pub(crate) fn moment(
    value: &Bound<'_, PyAny>,
    tz: Option<&Bound<'_, PyAny>>,
    strict: bool,
) -> Result<i64, Refusal> {
    let micros = Clock::new(tz, strict)?.micros(value, Place::alone(Field::Start));
    micros.map_err(|refusal| of_argument("the instant", refusal))
}

/// An instant as the command takes it: RFC 3339 or epoch seconds; where it names no zone it is in `tz`.
#[pyfunction]
#[pyo3(signature = (text, *, tz) -> "datetime | float")]
pub(crate) fn parse_instant<'py>(py: Python<'py>, text: &str, tz: &str) -> PyResult<Instant<'py>> {
    let naive = Naive::zone(tz).map_err(|error| to_py(py, error))?;
    let micros = micros_from_text_in(text, &naive).map_err(|fault| {
        to_py(
            py,
            HoldError::Argument(match fault {
                Fault::NotAnInstant(_) => fault.to_string(),
                fault => format!("the instant {:?} {fault}", excerpt(text)),
            }),
        )
    })?;
    instant(py, micros).map(Instant)
}

/// A weight that is an argument (a unit, a multiplier, a cap) and no field of a row.
pub(crate) fn number(value: &Bound<'_, PyAny>, name: &str) -> Result<Weight, Refusal> {
    weight(value, Place::alone(Field::Weight)).map_err(|refusal| of_argument(name, refusal))
}

/// The name of a zone that has one, or is one.
pub(crate) fn zone_name(tz: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if let Ok(name) = tz.cast::<PyString>() {
        return name.to_str().map(|name| Some(name.to_owned()));
    }
    if tz.eq(PyTzInfo::utc(tz.py())?)? {
        return Ok(Some("UTC".to_owned()));
    }
    for attribute in ["key", "zone"] {
        // zoneinfo has the first, pytz the second.
        if let Some(name) = tz.getattr_opt(attribute)?
            && let Ok(name) = name.extract()
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

const TIMES: &str = "an aware datetime, epoch seconds (int or float) or a numpy datetime64";

/// `None`, `NaT` of numpy or pandas (the only instant that is not equal to itself), `NA` of pandas
/// (which says neither that it is nor that it is not). NaN is a number.
pub(crate) fn is_nothing(value: &Bound<'_, PyAny>) -> bool {
    if value.is_none() {
        return true;
    }
    if value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>() {
        return false;
    }
    match value.ne(value) {
        Ok(differs) => differs && !is_number(value),
        Err(_) => value.get_type().name().is_ok_and(|name| name == "NAType"),
    }
}

/// A float of numpy, or a `Decimal`.
fn is_number(value: &Bound<'_, PyAny>) -> bool {
    matches!(numpy_kind(value).as_deref(), Some("f" | "c"))
        || decimal_type(value.py()).is_ok_and(|kind| value.is_instance(kind).unwrap_or(false))
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
    if is_nothing(value) {
        return Err(place.error(Fault::Missing).into());
    }
    let count = value.call_method1("astype", ("int64",))?.extract()?;
    let (unit, counts) = datetime64_counts(&value.getattr("dtype")?, vec![count])?;
    micros_from_unit(counts[0], unit).map_err(|fault| place.error(fault).into())
}

/// numpy's `NaT` as an integer.
pub(crate) const NAT: i64 = i64::MIN;

/// Counts of a `datetime64` of any type as counts of a unit that the core reads. `NaT` stays; what is
/// too far for 64 bits becomes the farthest, which the core refuses.
pub(crate) fn datetime64_counts(
    dtype: &Bound<'_, PyAny>,
    mut counts: Vec<i64>,
) -> PyResult<(TimeUnit, Vec<i64>)> {
    let name: String = dtype.getattr("str")?.extract()?; // "<M8[ns]", "<M8[25s]"
    let step = name.split_once('[').map_or("s]", |(_, step)| step);
    let unit = step.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let steps = step[..step.len() - unit.len()].parse().unwrap_or(1);
    let (unit, convert): (_, fn(i64) -> i64) = match unit.trim_end_matches(']') {
        "Y" => (TimeUnit::Second, |years| {
            month_start(years.saturating_mul(12))
        }),
        "M" => (TimeUnit::Second, month_start),
        "W" => (TimeUnit::Second, |weeks| weeks.saturating_mul(604_800)),
        "D" => (TimeUnit::Second, |days| days.saturating_mul(86_400)),
        "h" => (TimeUnit::Second, |hours| hours.saturating_mul(3_600)),
        "m" => (TimeUnit::Second, |minutes| minutes.saturating_mul(60)),
        "ms" => (TimeUnit::Milli, |count| count),
        "us" => (TimeUnit::Micro, |count| count),
        "ns" => (TimeUnit::Nano, |count| count),
        "ps" => (TimeUnit::Nano, |count| count.div_euclid(1_000)),
        "fs" => (TimeUnit::Nano, |count| count.div_euclid(1_000_000)),
        "as" => (TimeUnit::Nano, |count| count.div_euclid(1_000_000_000)),
        _ => (TimeUnit::Second, |count| count),
    };
    for count in counts.iter_mut().filter(|count| **count != NAT) {
        *count = convert(count.saturating_mul(steps)).max(NAT + 1);
    }
    Ok((unit, counts))
}

/// The seconds from 1970 to the start of a month, counted from January 1970, in the calendar of Gregory.
/// By hand: the calendars of jiff and of Python end with the year 9999, instants do not.
fn month_start(month: i64) -> i64 {
    const FARTHEST: i64 = 12 * 1_000_000; // beyond all instants that are kept
    let month = month.clamp(-FARTHEST, FARTHEST) + 1970 * 12;
    // Years that begin in March, so that the day that comes and goes is their last.
    let (year, month) = ((month - 2).div_euclid(12), (month - 2).rem_euclid(12));
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + (153 * month + 2) / 5;
    (days - 719_468) * 86_400
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
    if is_nothing(value) {
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
            Err(_) => int_digits(value)?
                .and_then(|digits| digits.parse())
                .map_err(here),
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
    if is_nothing(value) {
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
fn int_digits(value: &Bound<'_, PyAny>) -> PyResult<Result<String, Fault>> {
    let bits: u64 = value.call_method0("bit_length")?.extract()?;
    if bits <= 256 {
        return Ok(Ok(value.str()?.to_string()));
    }
    let what = format!("an int of {bits} bits");
    Ok(Err(match value.gt(0)? {
        true => Fault::TooLarge(what),
        false => Fault::Negative(what),
    }))
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

/// A number of `unit` (a keyword of timedelta) or a timedelta, in microseconds; `name` is that of the
/// argument.
pub(crate) fn duration(value: &Bound<'_, PyAny>, name: &str, unit: &str) -> PyResult<i64> {
    let py = value.py();
    let wrong = || {
        let shown = excerpt(&value.to_string());
        let what = format!("{name}={shown} is no length of time; give {unit} or a timedelta");
        to_py(py, HoldError::Argument(what))
    };
    let delta_type = timedelta_type(py)?;
    let is_number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
    let delta = if value.is_instance(delta_type)? {
        value.clone()
    } else if is_number && !value.is_instance_of::<PyBool>() {
        let keywords = pyo3::types::PyDict::new(py);
        keywords.set_item(unit, value)?;
        // Not for NaN, infinity and more than timedelta holds, 2.7 million years.
        delta_type.call((), Some(&keywords)).map_err(|_| wrong())?
    } else {
        return Err(wrong());
    };
    let days: i64 = delta.getattr("days")?.extract()?;
    let seconds: i64 = delta.getattr("seconds")?.extract()?;
    let micros: i64 = delta.getattr("microseconds")?.extract()?;
    let whole = (days * 86_400 + seconds).checked_mul(1_000_000);
    whole
        .and_then(|whole| whole.checked_add(micros))
        .ok_or_else(wrong)
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
        let digits = int_digits(&value)?
            .ok()
            .and_then(|digits| digits.parse().ok());
        digits.map(WideInt).ok_or_else(|| {
            PyOverflowError::new_err("the number of units is not within 0 to 2**256 - 1")
        })
    }
}

/// A whole number as a Python int.
pub(crate) fn wide_int<'py>(py: Python<'py>, units: &U256) -> PyResult<Bound<'py, PyAny>> {
    py.get_type::<PyInt>().call1((units.to_string(),))
}

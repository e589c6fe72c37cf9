//! `HoldEvent`.

use std::hash::{DefaultHasher, Hash, Hasher};

use poh_holdmetrics::{Field, OPEN, Weight};
use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyString, PyTuple};

use crate::arguments::{Amount, Id, Instant, Zone};
use crate::errors::{Place, to_py};
use crate::values::{Clock, Decimal, datetime, id, weight};

/// One hold of one token by one holder over the half-open interval [start, end).
///
/// Parameters
/// ----------
/// token_id, holder_id
///     What is held and by whom: a str, or an int, which counts as its digits.
/// start, end
///     An aware datetime, epoch seconds (int or float) or a numpy datetime64. No end: the hold is
///     open and accrues until the instant asked about.
/// weight
///     How much is held, zero or more: an int, float, Decimal, decimal str or 32 bytes
///     (big-endian). A float counts as its shortest decimal form. None is 1.
/// tz
///     The time zone of datetimes and numpy datetime64 that name none. None: they are read as UTC,
///     datetimes with a warning.
/// strict
///     Refuse them.
///
/// Raises
/// ------
/// HoldMetricsError
///     With the name of the field that is not valid.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import HoldEvent
/// >>> HoldEvent(token_id="punk-7", holder_id="alice", start=0, end=60, weight="2.5")
/// HoldEvent(token_id='punk-7', holder_id='alice', start=1970-01-01T00:00:00+00:00, end=1970-01-01T00:01:00+00:00, weight=2.5)
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct HoldEvent {
    pub(crate) token_id: Py<PyString>,
    pub(crate) holder_id: Py<PyString>,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) weight: Compact,
}

/// A weight in 16 bytes, so that an event is one cache line: lists of events are long.
pub(crate) enum Compact {
    /// Units of `10^-NANO`, as nearly all weights are.
    Narrow(u64),
    Other(Box<Weight>),
}

impl Compact {
    /// Digits after the point of narrow weights.
    pub(crate) const NANO: u8 = 9;

    pub(crate) fn new(weight: Weight) -> Self {
        match weight.narrow_units_at(Self::NANO) {
            Some(units) => Compact::Narrow(units.unsigned_abs()),
            None => Compact::Other(Box::new(weight)),
        }
    }

    pub(crate) fn get(&self) -> Weight {
        match self {
            Compact::Narrow(units) => Weight::from_narrow(*units, Self::NANO.into()),
            Compact::Other(weight) => **weight,
        }
    }
}

#[pymethods]
impl HoldEvent {
    #[new]
    #[pyo3(signature = (
        token_id, holder_id, start, end=None, weight=None, *, tz=None, strict=false
    ))]
    #[allow(clippy::too_many_arguments)] // they are keywords in Python
    fn new(
        token_id: Id<'_>,
        holder_id: Id<'_>,
        start: Instant<'_>,
        end: Option<Instant<'_>>,
        weight: Option<Amount<'_>>,
        tz: Option<Zone<'_>>,
        strict: bool,
    ) -> PyResult<Self> {
        let py = start.0.py();
        let clock = Clock::new(tz.as_ref().map(|zone| &zone.0), strict)?;
        let at = |field| Place::alone(field);
        let event = HoldEvent {
            token_id: id_string(&token_id.0, at(Field::TokenId))?,
            holder_id: id_string(&holder_id.0, at(Field::HolderId))?,
            start: clock.micros(&start.0, at(Field::Start))?,
            end: match end {
                Some(end) => clock.end_micros(&end.0, at(Field::End))?,
                None => OPEN,
            },
            weight: Compact::new(match weight {
                Some(value) => self::weight(&value.0, at(Field::Weight))?,
                None => Weight::ONE,
            }),
        };
        // The core's own rules: ids, range and order of times.
        event.to_core(py)?;
        Ok(event)
    }

    /// What is held.
    #[getter]
    fn token_id(&self, py: Python<'_>) -> Py<PyString> {
        self.token_id.clone_ref(py)
    }

    /// Who holds it.
    #[getter]
    fn holder_id(&self, py: Python<'_>) -> Py<PyString> {
        self.holder_id.clone_ref(py)
    }

    /// The first instant of the hold, in UTC.
    #[getter]
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        datetime(py, self.start)
    }

    /// The first instant after the hold, in UTC; None while it is open.
    #[getter]
    fn end<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        self.end_us().map(|end| datetime(py, end)).transpose()
    }

    /// The start in microseconds since 1970 UTC.
    #[getter]
    fn start_us(&self) -> i64 {
        self.start
    }

    /// The end in microseconds since 1970 UTC; None while the hold is open.
    #[getter]
    fn end_us(&self) -> Option<i64> {
        Some(self.end).filter(|&end| end != OPEN)
    }

    /// How much is held, as the nearest float.
    #[getter]
    fn weight(&self) -> f64 {
        self.weight.get().to_f64()
    }

    /// How much is held, every digit.
    #[getter]
    fn weight_exact(&self) -> Decimal {
        Decimal(self.weight.get().to_string())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<HoldEvent>() else {
            return Ok(false);
        };
        let (py, right) = (other.py(), other.get());
        Ok(self.start == right.start
            && self.end == right.end
            && self.weight.get() == right.weight.get()
            && self.token_id.to_str(py)? == right.token_id.to_str(py)?
            && self.holder_id.to_str(py)? == right.holder_id.to_str(py)?)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<u64> {
        let mut hasher = DefaultHasher::new();
        (self.token_id.to_str(py)?, self.holder_id.to_str(py)?).hash(&mut hasher);
        (self.start, self.end, self.weight.get()).hash(&mut hasher);
        Ok(hasher.finish())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "HoldEvent(token_id={}, holder_id={}, start={}, end={}, weight={})",
            self.token_id.bind(py).repr()?,
            self.holder_id.bind(py).repr()?,
            shown(py, self.start)?,
            self.end_us()
                .map_or(Ok("None".to_owned()), |end| shown(py, end))?,
            self.weight.get(),
        ))
    }

    #[pyo3(signature = () -> "tuple[object, ...]")]
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let event = slf.get();
        let parts = (
            event.token_id(py),
            event.holder_id(py),
            event.start,
            event.end,
            event.weight.get().to_string(),
        );
        (slf.get_type().getattr("_from_parts")?, parts).into_pyobject(py)
    }

    /// What pydantic needs to take events as fields of models; asks for pydantic only then.
    #[staticmethod]
    #[pyo3(signature = (source: "object", handler: "object", /) -> "object")]
    fn __get_pydantic_core_schema__<'py>(
        source: Bound<'py, PyAny>,
        handler: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let models = source.py().import("poh_holdmetrics.data_models")?;
        models.call_method1("pydantic_schema", (source, handler))
    }

    /// An event from what pickle kept of one.
    #[staticmethod]
    fn _from_parts(
        py: Python<'_>,
        token_id: Py<PyString>,
        holder_id: Py<PyString>,
        start_us: i64,
        end_us: i64,
        weight: &str,
    ) -> PyResult<Self> {
        let weight = weight.parse().map_err(|fault: poh_holdmetrics::Fault| {
            to_py(py, poh_holdmetrics::HoldError::from(fault))
        })?;
        let event = HoldEvent {
            token_id,
            holder_id,
            start: start_us,
            end: end_us,
            weight: Compact::new(weight),
        };
        event.to_core(py)?; // what was kept may have been changed
        Ok(event)
    }
}

impl HoldEvent {
    pub(crate) fn to_core(&self, py: Python<'_>) -> PyResult<poh_holdmetrics::HoldEvent> {
        let (token, holder) = (self.token_id.to_str(py)?, self.holder_id.to_str(py)?);
        poh_holdmetrics::HoldEvent::new(token, holder, self.start, self.end_us(), self.weight.get())
            .map_err(|error| to_py(py, error))
    }
}

fn id_string(value: &Bound<'_, PyAny>, place: Place) -> PyResult<Py<PyString>> {
    let text = id(value, place)?;
    Ok(match value.cast_exact::<PyString>() {
        Ok(string) => string.clone().unbind(),
        Err(_) => PyString::new(value.py(), text.as_ref()).unbind(),
    })
}

/// An instant for people: a date where Python has one, else microseconds.
fn shown(py: Python<'_>, micros: i64) -> PyResult<String> {
    match datetime(py, micros) {
        Ok(instant) => Ok(instant.call_method0("isoformat")?.to_string()),
        Err(_) => Ok(format!("{micros} us")),
    }
}

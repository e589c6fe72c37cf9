//! `Boost`.

use poh_holdmetrics::HoldError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::arguments::{Amount, Dump, Duration, Steps};
use crate::bundle::boost_parameters;
use crate::errors::to_py;
use crate::values::{duration, number};

/// A multiplier of the weight by the age of a hold.
///
/// Age counts from the event's start with overlap "sum", and from the start of the unbroken run of
/// holds with "union" and "max".
///
/// Parameters
/// ----------
/// steps
///     Pairs of days and multiplier: each multiplier holds from its age on, before the first age it
///     is 1. Days are numbers (86,400 s) or timedeltas. Multipliers have up to 9 decimals; exact.
/// cap
///     Weight times multiplier is never more than this.
///
/// Examples
/// --------
/// 1x under 30 days, 1.5x to 90 days, 2x after:
///
/// >>> from poh_holdmetrics import Boost, score
/// >>> boost = Boost(steps=[(0, 1), (30, "1.5"), (90, 2)])
/// >>> rows = [{"holder_id": "alice", "token_id": "t", "start": 0}]
/// >>> score(rows, at=100 * 86_400, boost=boost)[0]["weighted_score_exact"]
/// '12096000'
/// >>> (30 * 1 + 60 * 1.5 + 10 * 2) * 86_400
/// 12096000.0
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct Boost {
    pub(crate) boost: poh_holdmetrics::Boost,
    shown: String,
}

#[pymethods]
impl Boost {
    #[new]
    #[pyo3(signature = (steps, *, cap=None))]
    fn new(steps: Steps<'_>, cap: Option<Amount<'_>>) -> PyResult<Self> {
        let py = steps.0.py();
        let mut table = Vec::new();
        let no_pairs = |_| {
            let what = "the steps of a boost are pairs of days and multiplier, as [(30, \"1.5\")]";
            to_py(py, HoldError::Argument(what.to_owned()))
        };
        // As a list, since an iterator can be read once and is shown below.
        let steps = steps.0.try_iter().map_err(no_pairs)?;
        let steps = py.get_type::<PyList>().call1((steps,))?;
        for step in steps.try_iter()? {
            let step = py.get_type::<PyTuple>().call1((step?,)).map_err(no_pairs)?;
            let (age, multiplier): (Bound<'_, PyAny>, Bound<'_, PyAny>) =
                step.extract().map_err(no_pairs)?;
            let age = duration(&age, "age", "days")?;
            table.push((age, number(&multiplier, "a multiplier")?));
        }
        let cap = cap.map(|cap| number(&cap.0, "the cap")).transpose()?;
        let shown = format!(
            "Boost(steps={}{})",
            steps.repr()?,
            match &cap {
                Some(cap) => format!(", cap={cap}"),
                None => String::new(),
            }
        );
        let boost = poh_holdmetrics::Boost::steps(table, cap).map_err(|error| to_py(py, error))?;
        Ok(Boost { boost, shown })
    }

    /// The multiplier falls in a straight line to 0 at the hold's end, as vote-escrow weighs a lock
    /// by the time that it has left: (end - t) / over, at most 1. An open hold does not decay.
    /// Goes with overlap "sum".
    ///
    /// Boosted time is rounded down to 10^-15 s at each end of a stretch, so that windows that
    /// touch add up exactly.
    ///
    /// Examples
    /// --------
    /// A lock of four years counts half of its time on average:
    ///
    /// >>> from poh_holdmetrics import Boost, score
    /// >>> year = 365 * 86_400
    /// >>> rows = [{"holder_id": "alice", "token_id": "t", "start": 0, "end": 4 * year}]
    /// >>> boost = Boost.linear_decay(over=4 * 365)
    /// >>> score(rows, at=4 * year, boost=boost)[0]["weighted_score"] / year
    /// 2.0
    #[staticmethod]
    #[pyo3(signature = (*, over))]
    fn linear_decay(over: Duration<'_>) -> PyResult<Self> {
        let micros = duration(&over.0, "over", "days")?;
        let boost =
            poh_holdmetrics::Boost::linear(micros).map_err(|error| to_py(over.0.py(), error))?;
        Ok(Boost {
            boost,
            shown: format!("Boost.linear_decay(over={})", over.0.repr()?),
        })
    }

    /// The multiplier halves every `half_life`: 2^(-age / half_life).
    ///
    /// Computed in integers, so that every machine has the same bits: the exponent in steps of
    /// 2^-128, boosted time rounded down to 10^-15 s at each end of a stretch, so that windows that
    /// touch add up exactly.
    ///
    /// Examples
    /// --------
    /// >>> from poh_holdmetrics import Boost, score
    /// >>> rows = [{"holder_id": "alice", "token_id": "t", "start": 0}]
    /// >>> boost = Boost.half_life(30)
    /// >>> forever = score(rows, at=10**10, boost=boost)[0]["weighted_score"]
    /// >>> score(rows, at=30 * 86_400, boost=boost)[0]["weighted_score"] / forever
    /// 0.5
    #[staticmethod]
    #[pyo3(signature = (half_life, /))]
    fn half_life(half_life: Duration<'_>) -> PyResult<Self> {
        let micros = duration(&half_life.0, "half_life", "days")?;
        let boost = poh_holdmetrics::Boost::half_life(micros)
            .map_err(|error| to_py(half_life.0.py(), error))?;
        Ok(Boost {
            boost,
            shown: format!("Boost.half_life({})", half_life.0.repr()?),
        })
    }

    #[pyo3(signature = () -> "tuple[object, ...]")]
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let py = slf.py();
        let boost = slf.get();
        let parts = (boost_parameters(py, &boost.boost)?, boost.shown.as_str());
        (slf.get_type().getattr("_from_parts")?, parts).into_pyobject(py)
    }

    /// A boost from what pickle kept of one.
    #[staticmethod]
    fn _from_parts(parameters: Dump<'_>, shown: String) -> PyResult<Self> {
        match crate::bundle::boost(&parameters.0)? {
            Some(boost) => Ok(Boost { boost, shown }),
            None => Err(pyo3::exceptions::PyValueError::new_err("no boost")),
        }
    }

    fn __repr__(&self) -> &str {
        &self.shown
    }
}

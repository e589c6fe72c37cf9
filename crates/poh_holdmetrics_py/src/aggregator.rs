//! `HoldAggregator`: the live tracker.

use poh_holdmetrics::{Field, HoldError, OPEN, Tracker, Weight};
use pyo3::prelude::*;

use crate::arguments::{Amount, Id, Instant, Seconds};
use crate::errors::{Place, to_py};
use crate::event::{Compact, HoldEvent};
use crate::holds::clock;
use crate::options::{Count, digits};
use crate::values::{Clock, duration, id, weight};

/// A live tracker in memory: record holds as they happen, read scores at any time.
///
/// Lots add up. It may be used from many threads at once: holders are in shards, there is no lock
/// over all. Closed holds are kept until `collect` turns them into exact sums.
///
/// Parameters
/// ----------
/// scale
///     Digits after the decimal point that weights keep, 0 to 18; a weight fits in 63 bits of them.
/// ttl
///     Seconds (or a timedelta) that a closed hold is kept for before `collect` takes it; a saved
///     state has it too.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import HoldAggregator, HoldEvent
/// >>> tracker = HoldAggregator()
/// >>> tracker.record(HoldEvent(token_id="t", holder_id="alice", start=0, end=10))
/// >>> tracker.record_start(token_id="t", holder_id="bob", weight=2, at=5)
/// >>> tracker.record_stop(token_id="t", holder_id="bob", at=25)
/// >>> tracker.snapshot(at=100)
/// [('alice', 10.0), ('bob', 40.0)]
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct HoldAggregator {
    tracker: Tracker,
}

#[pymethods]
impl HoldAggregator {
    #[new]
    #[pyo3(signature = (*, scale=9, ttl=None))]
    fn new(py: Python<'_>, scale: i64, ttl: Option<Seconds<'_>>) -> PyResult<Self> {
        let ttl = length(ttl)?.unwrap_or(0);
        let tracker = Tracker::new(digits(py, "scale", scale)?)
            .and_then(|tracker| tracker.with_ttl(ttl))
            .map_err(|error| to_py(py, error))?;
        Ok(HoldAggregator { tracker })
    }

    /// Record one hold, closed or open.
    fn record(&self, event: &Bound<'_, HoldEvent>) -> PyResult<()> {
        let (py, event) = (event.py(), event.get());
        let holder = event.holder_id.to_str(py)?;
        let recorded = match (&event.weight, event.end) {
            (_, OPEN) => None,
            (Compact::Narrow(units), end) if self.tracker.scale() == Compact::NANO => Some(
                self.tracker
                    .record_closed(holder, event.start, end, units.cast_signed()),
            ),
            _ => None,
        };
        let general = || {
            let token = event.token_id.to_str(py)?;
            let weight = event.weight.get();
            let recorded = self
                .tracker
                .record(token, holder, event.start, event.end, &weight);
            recorded.map_err(|error| to_py(py, error))
        };
        match recorded {
            Some(recorded) => recorded.map_err(|error| to_py(py, error)),
            None => general(),
        }
    }

    /// Record that a hold starts at `at` (now).
    #[pyo3(signature = (token_id, holder_id, weight=None, *, at=None))]
    fn record_start(
        &self,
        py: Python<'_>,
        token_id: Id<'_>,
        holder_id: Id<'_>,
        weight: Option<Amount<'_>>,
        at: Option<Instant<'_>>,
    ) -> PyResult<()> {
        let place = |field| Place::alone(field);
        let weight = match weight {
            Some(value) => self::weight(&value.0, place(Field::Weight))?,
            None => Weight::ONE,
        };
        let (token, holder) = (
            id(&token_id.0, place(Field::TokenId))?,
            id(&holder_id.0, place(Field::HolderId))?,
        );
        let at = instant(at, Field::Start)?;
        self.tracker
            .record(token.as_ref(), holder.as_ref(), at, OPEN, &weight)
            .map_err(|error| to_py(py, error))
    }

    /// Record that the oldest open hold of one token by one holder ends at `at` (now): the one with the
    /// earliest start, of equal ones the first recorded.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     When none is open, or `at` is before its start; it then stays open.
    #[pyo3(signature = (token_id, holder_id, *, at=None))]
    fn record_stop(
        &self,
        py: Python<'_>,
        token_id: Id<'_>,
        holder_id: Id<'_>,
        at: Option<Instant<'_>>,
    ) -> PyResult<()> {
        let place = |field| Place::alone(field);
        let (token, holder) = (
            id(&token_id.0, place(Field::TokenId))?,
            id(&holder_id.0, place(Field::HolderId))?,
        );
        let at = instant(at, Field::End)?;
        self.tracker
            .stop(token.as_ref(), holder.as_ref(), at)
            .map_err(|error| to_py(py, error))
    }

    /// The score of every holder by `at` (now), in order of id. Collected holds count in full.
    #[pyo3(signature = (*, at=None))]
    fn snapshot(&self, py: Python<'_>, at: Option<Instant<'_>>) -> PyResult<Vec<(String, f64)>> {
        let at = instant(at, Field::End)?;
        let digits = self.tracker.digits();
        py.detach(|| -> Result<_, HoldError> {
            let all = self.tracker.snapshot(at)?;
            Ok(all
                .into_iter()
                .map(|row| (row.holder_id, row.weighted.to_f64(digits)))
                .collect())
        })
        .map_err(|error| to_py(py, error))
    }

    /// As `snapshot`, with every digit: (holder_id, microseconds held, score).
    #[pyo3(signature = (*, at=None))]
    fn snapshot_exact(
        &self,
        py: Python<'_>,
        at: Option<Instant<'_>>,
    ) -> PyResult<Vec<(String, i128, String)>> {
        let at = instant(at, Field::End)?;
        let digits = self.tracker.digits();
        py.detach(|| -> Result<_, HoldError> {
            let all = self.tracker.snapshot(at)?;
            let exact = all
                .into_iter()
                .map(|row| (row.holder_id, row.micros, row.weighted.to_decimal(digits)));
            Ok(exact.collect())
        })
        .map_err(|error| to_py(py, error))
    }

    /// The `n` holders with the highest scores by `at` (now), the highest first.
    #[pyo3(signature = (n, *, at=None))]
    fn top_n(
        &self,
        py: Python<'_>,
        n: Count,
        at: Option<Instant<'_>>,
    ) -> PyResult<Vec<(String, f64)>> {
        let at = instant(at, Field::End)?;
        let digits = self.tracker.digits();
        py.detach(|| -> Result<_, HoldError> {
            let mut all = self.tracker.snapshot(at)?;
            // Stable: equal scores stay in order of id.
            all.sort_by_key(|row| std::cmp::Reverse(row.weighted.widened()));
            all.truncate(n.0);
            Ok(all
                .into_iter()
                .map(|row| (row.holder_id, row.weighted.to_f64(digits)))
                .collect())
        })
        .map_err(|error| to_py(py, error))
    }

    /// Turn closed holds that ended `ttl` or longer before `now` into sums, which stay; returns how
    /// many.
    #[pyo3(signature = (*, now=None))]
    fn collect(&self, py: Python<'_>, now: Option<Instant<'_>>) -> PyResult<u64> {
        let now = instant(now, Field::End)?;
        py.detach(|| self.tracker.collect(now))
            .map_err(|error| to_py(py, error))
    }

    /// The number of holds that are kept, open ones too.
    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.tracker.len())
    }

    /// The whole state as text, with a format version and a checksum.
    fn to_state(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.tracker.to_state())
            .map_err(|error| to_py(py, error))
    }

    /// A tracker from what `to_state` gave, with the ttl that it had, or with another.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     For a state of another format, or one that was changed or cut short.
    #[staticmethod]
    #[pyo3(signature = (state, *, ttl=None))]
    fn from_state(py: Python<'_>, state: &str, ttl: Option<Seconds<'_>>) -> PyResult<Self> {
        let ttl = length(ttl)?;
        let tracker = py
            .detach(|| {
                let tracker = Tracker::from_state(state)?;
                match ttl {
                    Some(ttl) => tracker.with_ttl(ttl),
                    None => Ok(tracker),
                }
            })
            .map_err(|error| to_py(py, error))?;
        Ok(HoldAggregator { tracker })
    }
}

/// The microseconds that a closed hold is kept for, if they are said.
fn length(ttl: Option<Seconds<'_>>) -> PyResult<Option<i64>> {
    ttl.map(|ttl| duration(&ttl.0, "ttl", "seconds"))
        .transpose()
}

fn instant(value: Option<Instant<'_>>, field: Field) -> PyResult<i64> {
    match value {
        Some(value) => Ok(Clock::new(None, false)?.micros(&value.0, Place::alone(field))?),
        None => clock(),
    }
}

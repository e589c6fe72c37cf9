//! `Holds`: many holds, and the questions to them.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow_schema::{Field as ArrowField, Schema};
use poh_holdmetrics::{
    By, Every, Field, HoldError, Overlap, Query, Rounding, batch, epoch_boundaries, excerpt,
    holders_over_time, longest_holds, runs_to_batch, score_until,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arguments::{Data, Id, Instant, Length, Shares, Zone};
use crate::boost::Boost;
use crate::errors::{Place, Refusal, to_py};
use crate::event::HoldEvent;
use crate::input::{push_all, some_paths};
use crate::interrupt::{detached, watched};
use crate::options::{ByWord, Count, OverlapWord, RoundingWord, Threads, digits};
use crate::scores::Scores;
use crate::table::Table;
use crate::values::{self, Clock, WideInt, duration, id};

/// A table of holds, read once and asked many times.
///
/// Parameters
/// ----------
/// data
///     An iterable of `HoldEvent` or of dicts, a dict of columns (lists or numpy arrays), or a
///     table with the Arrow PyCapsule interface (pandas, polars, pyarrow, DuckDB). Keys and columns
///     are `holder_id`, `token_id`, `start`, `end` and `weight`; without `end` every hold is open,
///     without `weight` every weight is 1.
/// scale
///     Digits after the decimal point that weights keep, 0 to 18.
/// rounding
///     Digits beyond the scale are an error, or rounded with "half-even".
/// tz
///     The zone of instants that name none: an IANA name or a tzinfo. Without it they are read as
///     UTC, and for Python's datetimes with one warning.
/// strict
///     Refuse instants that name no time zone, also those of numpy and Arrow, where tz names none.
///
/// Raises
/// ------
/// HoldMetricsError
///     With the `row` (from 0) and the `field` that is not valid.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import Holds
/// >>> holds = Holds({"holder_id": ["alice", "bob"], "token_id": ["t", "t"],
/// ...                "start": [0, 10], "end": [10, None]})
/// >>> holds.score(at=25).to_pylist()[1]["total_seconds"]
/// 15.0
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct Holds {
    /// Shared with questions that are being answered; a change then works on a copy.
    holds: RwLock<Arc<poh_holdmetrics::Holds>>,
    clipped: u64,
}

#[pymethods]
impl Holds {
    #[new]
    #[pyo3(signature = (data, *, scale=9, rounding=None, tz=None, strict=false))]
    fn new(
        data: Data<'_>,
        scale: i64,
        rounding: Option<RoundingWord>,
        tz: Option<Zone<'_>>,
        strict: bool,
    ) -> PyResult<Self> {
        let py = data.0.py();
        let mut holds = poh_holdmetrics::Holds::new(digits(py, "scale", scale)?)
            .map_err(|error| to_py(py, error))?
            .with_rounding(rounding.map_or(Rounding::Refuse, |word| word.0));
        let clock = Clock::new(tz.as_ref().map(|zone| &zone.0), strict)?;
        push_all(&mut holds, &data.0, &clock)?;
        Ok(Holds::of(holds, 0))
    }

    /// The holds of files: CSV with a header, JSON lines (.jsonl, .ndjson) or Parquet.
    ///
    /// Parameters
    /// ----------
    /// paths
    ///     One path or several. The columns or keys are those of `Holds`; others are not read.
    ///     Instants are RFC 3339 text, epoch seconds or, in Parquet, timestamps. In text files an
    ///     empty end is an open hold and an empty weight is 1. Numbers of JSON are read digit by
    ///     digit.
    /// scale, rounding
    ///     As for `Holds`.
    /// progress
    ///     Called with the number of bytes read so far, every so often.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     With the file, and the row and field or the line that is not valid.
    #[staticmethod]
    #[pyo3(signature = (
        *paths: "object", scale: "int"=9, rounding: "str | None"=None, progress: "object"=None
    ))]
    fn read(
        py: Python<'_>,
        paths: Vec<PathBuf>,
        scale: i64,
        rounding: Option<RoundingWord>,
        progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let holds = poh_holdmetrics::Holds::new(digits(py, "scale", scale)?)
            .map_err(|error| to_py(py, error))?
            .with_rounding(rounding.map_or(Rounding::Refuse, |word| word.0));
        some_paths(py, &paths)?;
        let holds = watched(py, progress.as_ref(), |stop| {
            let mut holds = holds;
            paths
                .iter()
                .try_for_each(|path| holds.read_file(path, stop))?;
            Ok(holds)
        })?;
        Ok(Holds::of(holds, 0))
    }

    fn __len__(&self) -> usize {
        self.now().len()
    }

    fn __repr__(&self) -> String {
        let holds = self.now();
        format!(
            "<Holds: {} holds of {} tokens by {} holders>",
            holds.len(),
            holds.tokens().len(),
            holds.holders().len()
        )
    }

    /// Digits after the decimal point that weights keep.
    #[getter]
    fn scale(&self) -> u8 {
        self.now().scale()
    }

    /// Transfer logs that moved more than there was, with `from_transfers(on_negative="clip")`.
    #[getter]
    fn clipped(&self) -> u64 {
        self.clipped
    }

    /// The holds themselves: `holder_id`, `token_id`, `start`, `end` and `weight` (text, every
    /// digit).
    ///
    /// Parameters
    /// ----------
    /// holder_id
    ///     Only the holds of this holder; none for one that is not known.
    #[pyo3(signature = (*, holder_id=None))]
    fn to_table(&self, py: Python<'_>, holder_id: Option<Id<'_>>) -> PyResult<Table> {
        let holds = self.now();
        let place = Place::alone(Field::HolderId);
        let holder = holder_id.as_ref().map(|holder| id(&holder.0, place));
        let holder = holder.transpose()?;
        let holder = holder.as_ref().map(AsRef::as_ref);
        Ok(Table::new(detached(py, holds.len(), |_stop| {
            holds.to_batch(holder)
        })?))
    }

    /// Add more holds, in any of the forms that `Holds` takes; all of them or, on an error, none.
    #[pyo3(signature = (data, *, tz=None, strict=false))]
    fn extend(&self, data: Data<'_>, tz: Option<Zone<'_>>, strict: bool) -> PyResult<()> {
        let clock = Clock::new(tz.as_ref().map(|zone| &zone.0), strict)?;
        let mut holds = (*self.now()).clone();
        push_all(&mut holds, &data.0, &clock)?;
        let py = data.0.py();
        detached(py, holds.len(), |_stop| holds.check())?;
        self.replace(holds);
        Ok(())
    }

    /// Take away one hold that is equal to `event`. Looks through the whole table.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     When no hold is equal.
    fn retract(&self, event: &Bound<'_, HoldEvent>) -> PyResult<()> {
        let event_in_core = event.get().to_core(event.py())?;
        self.change(event.py(), |holds| holds.retract(&event_in_core))
    }

    /// Put `corrected` in the place of one hold that is equal to `event`.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     When no hold is equal.
    fn amend(
        &self,
        event: &Bound<'_, HoldEvent>,
        corrected: &Bound<'_, HoldEvent>,
    ) -> PyResult<()> {
        let (old, new) = (
            event.get().to_core(event.py())?,
            corrected.get().to_core(event.py())?,
        );
        self.change(event.py(), |holds| holds.amend(&old, &new))
    }

    /// End every open hold of one token by one holder; returns how many there were.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     When none is open, or `at` is before the start of one.
    #[pyo3(signature = (*, holder_id, token_id, at))]
    fn close(&self, holder_id: Id<'_>, token_id: Id<'_>, at: Instant<'_>) -> PyResult<usize> {
        let place = |field| Place::alone(field);
        let at = Clock::new(None, false)?.micros(&at.0, place(Field::End))?;
        let holder = id(&holder_id.0, place(Field::HolderId))?;
        let token = id(&token_id.0, place(Field::TokenId))?;
        self.change(holder_id.0.py(), |holds| {
            holds.close(holder.as_ref(), token.as_ref(), at)
        })
    }

    /// How much was held, by whom, for how long.
    ///
    /// Parameters
    /// ----------
    /// by
    ///     One row a "holder", a "token", or a pair of them ("both").
    /// overlap
    ///     What holds of one holder and one token that overlap count: "sum" (lots add up), "union"
    ///     (an instant counts once, with weight 1) or "max" (once, with the heaviest weight).
    /// at
    ///     The instant of the answer; all later time is cut off, and open holds accrue until it.
    ///     None reads the clock once; the answer says which instant that was.
    /// start, end
    ///     Only time within [start, end) counts.
    /// boost
    ///     A multiplier by the age of a hold.
    /// threads
    ///     None for one a processor. The answer is the same for any number.
    ///
    /// Returns
    /// -------
    /// Scores
    ///     A row for each holder (token, pair) of the table, in order of first appearance.
    #[pyo3(signature = (
        *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), at=None, start=None, end=None,
        boost=None, threads=None
    ))]
    #[allow(clippy::too_many_arguments)] // they are keywords in Python
    fn score(
        &self,
        py: Python<'_>,
        by: ByWord,
        overlap: OverlapWord,
        at: Option<Instant<'_>>,
        start: Option<Instant<'_>>,
        end: Option<Instant<'_>>,
        boost: Option<&Bound<'_, Boost>>,
        threads: Option<Threads>,
    ) -> PyResult<Scores> {
        let query = question(by, overlap, at, start, end, boost, threads)?;
        let holds = self.now();
        let scores = detached(py, holds.len(), |stop| score_until(&holds, &query, stop))?;
        Ok(Scores::with_source(scores, holds, query))
    }

    /// The scores as of one instant: `score` with an `at` that must be named.
    #[pyo3(signature = (
        *, at, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), boost=None
    ))]
    fn snapshot(
        &self,
        py: Python<'_>,
        at: Instant<'_>,
        by: ByWord,
        overlap: OverlapWord,
        boost: Option<&Bound<'_, Boost>>,
    ) -> PyResult<Scores> {
        self.score(py, by, overlap, Some(at), None, None, boost, None)
    }

    /// The scores of the time within [t0, t1), as of t1.
    #[pyo3(signature = (
        t0, t1, *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), boost=None
    ))]
    #[allow(clippy::too_many_arguments)] // they are keywords in Python
    fn between(
        &self,
        py: Python<'_>,
        t0: Instant<'_>,
        t1: Instant<'_>,
        by: ByWord,
        overlap: OverlapWord,
        boost: Option<&Bound<'_, Boost>>,
    ) -> PyResult<Scores> {
        let end = Instant(t1.0.clone()); // so that t1 before t0 is refused
        self.score(py, by, overlap, Some(t1), Some(t0), Some(end), boost, None)
    }

    /// The `n` highest scores, the highest first; equal scores in order of id. Keywords as of
    /// `score`.
    #[pyo3(signature = (
        n, *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), at=None, start=None, end=None,
        boost=None
    ))]
    #[allow(clippy::too_many_arguments)] // they are keywords in Python
    fn top_n(
        &self,
        py: Python<'_>,
        n: Count,
        by: ByWord,
        overlap: OverlapWord,
        at: Option<Instant<'_>>,
        start: Option<Instant<'_>>,
        end: Option<Instant<'_>>,
        boost: Option<&Bound<'_, Boost>>,
    ) -> PyResult<Scores> {
        let scores = self.score(py, by, overlap, at, start, end, boost, None)?;
        Ok(scores.top_n(py, n))
    }

    /// All scores, the highest first; equal scores in order of id. Keywords as of `score`.
    #[pyo3(signature = (
        *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), at=None, start=None, end=None,
        boost=None
    ))]
    #[allow(clippy::too_many_arguments)] // they are keywords in Python
    fn leaderboard(
        &self,
        py: Python<'_>,
        by: ByWord,
        overlap: OverlapWord,
        at: Option<Instant<'_>>,
        start: Option<Instant<'_>>,
        end: Option<Instant<'_>>,
        boost: Option<&Bound<'_, Boost>>,
    ) -> PyResult<Scores> {
        let scores = self.score(py, by, overlap, at, start, end, boost, None)?;
        Ok(scores.leaderboard(py))
    }

    /// Divide a pot of whole units in proportion to the scores, as `Scores.share` does. Keywords as
    /// of `score`.
    ///
    /// Examples
    /// --------
    /// >>> from poh_holdmetrics import Holds
    /// >>> holds = Holds([{"holder_id": who, "token_id": "t", "start": 0} for who in "ab"])
    /// >>> holds.share(11, at=10)
    /// {'a': 6, 'b': 5}
    #[pyo3(signature = (
        pot, *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), at=None, start=None, end=None,
        boost=None
    ))]
    #[allow(clippy::too_many_arguments)] // they are keywords in Python
    fn share<'py>(
        &self,
        py: Python<'py>,
        pot: WideInt,
        by: ByWord,
        overlap: OverlapWord,
        at: Option<Instant<'_>>,
        start: Option<Instant<'_>>,
        end: Option<Instant<'_>>,
        boost: Option<&Bound<'_, Boost>>,
    ) -> PyResult<Shares<'py>> {
        let scores = self.score(py, by, overlap, at, start, end, boost, None)?;
        scores.share(py, pot)
    }

    /// Scores by epoch: consecutive windows of one length, from `start` up to `at`.
    ///
    /// Parameters
    /// ----------
    /// every
    ///     The length: a timedelta or a number of seconds, or calendar lengths in the time zone as
    ///     "1d", "2w" or "3mo". Days have 23 or 25 hours where clocks change.
    /// start
    ///     Where the first epoch starts.
    /// tz
    ///     The time zone of calendar lengths, an IANA name or a ZoneInfo; None is UTC.
    /// at
    ///     The instant of the answer; None reads the clock once. The last epoch may reach past it
    ///     and has no later time yet.
    /// finalized_before
    ///     An instant before which no event can change any more: epochs that end at or before it
    ///     are `final`. None: no epoch is.
    ///
    /// Returns
    /// -------
    /// Table
    ///     A row for each holder (token, pair) and epoch with any time held: `epoch` (from 0),
    ///     `epoch_start`, `epoch_end`, `final`, and the columns of `Scores`.
    #[pyo3(signature = (
        *, every, start, tz=None, at=None, by=ByWord(By::Holder),
        overlap=OverlapWord(Overlap::Sum), boost=None, finalized_before=None
    ))]
    #[allow(clippy::too_many_arguments)] // they are keywords in Python
    fn epochs(
        &self,
        py: Python<'_>,
        every: Length<'_>,
        start: Instant<'_>,
        tz: Option<Zone<'_>>,
        at: Option<Instant<'_>>,
        by: ByWord,
        overlap: OverlapWord,
        boost: Option<&Bound<'_, Boost>>,
        finalized_before: Option<Instant<'_>>,
    ) -> PyResult<Table> {
        let every = length(&every.0)?;
        let tz = tz.map_or(Ok("UTC".to_owned()), |tz| name_of_zone(&tz.0))?;
        let at = moment(at)?.map_or_else(clock, Ok)?;
        let Some(start) = moment(Some(start))? else {
            return Err(PyValueError::new_err("start"));
        };
        let finalized = moment(finalized_before)?.unwrap_or(i64::MIN);
        let boost = boost.map(|boost| boost.get().boost.clone());
        let holds = self.now();
        let table = detached(py, holds.len(), |stop| {
            let boundaries = epoch_boundaries(every, start, at, &tz)?;
            let scores = boundaries.windows(2).map(|window| {
                let query = Query {
                    by: by.0,
                    overlap: overlap.0,
                    at,
                    start: Some(window[0]),
                    end: Some(window[1]),
                    boost: boost.clone(),
                    threads: None,
                };
                Ok(score_until(&holds, &query, stop)?.held())
            });
            by_epoch(&boundaries, scores, finalized)
        })?;
        Ok(Table::as_of(table, at))
    }

    /// The time-weighted average of what each holder (token, pair) held within [start, end).
    ///
    /// Returns
    /// -------
    /// Table
    ///     The ids and `average_balance`: seconds times weight, divided by the window's seconds,
    ///     rounded once to a float.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     For a window that is empty or ends before it starts.
    #[pyo3(signature = (
        start, end, *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum)
    ))]
    fn average_balance(
        &self,
        py: Python<'_>,
        start: Instant<'_>,
        end: Instant<'_>,
        by: ByWord,
        overlap: OverlapWord,
    ) -> PyResult<Table> {
        let (from, to) = (moment(Some(start))?, moment(Some(end))?);
        let window = from
            .zip(to)
            .and_then(|(from, to)| u64::try_from(to.checked_sub(from)?).ok());
        let Some(micros) = window.filter(|&micros| micros > 0) else {
            let error =
                HoldError::Argument("an average needs a window that ends after it starts".into());
            return Err(to_py(py, error));
        };
        let mut query = Query::at(to.unwrap_or_default());
        (query.by, query.overlap, query.start) = (by.0, overlap.0, from);
        let holds = self.now();
        let table = detached(py, holds.len(), |stop| {
            let scores = score_until(&holds, &query, stop)?;
            let averages = (0..scores.len()).map(|row| scores.average_balance(row, micros));
            let average: ArrayRef = Arc::new(Float64Array::from_iter_values(averages));
            let rows = scores.to_batch()?;
            let schema = rows.schema();
            let ids = schema.fields().iter().zip(rows.columns());
            let mut columns: Vec<(&str, ArrayRef)> = ids
                .filter(|(field, _)| field.name().ends_with("_id"))
                .map(|(field, column)| (field.name().as_str(), Arc::clone(column)))
                .collect();
            columns.push(("average_balance", average));
            batch(columns)
        })?;
        Ok(Table::as_of(table, query.at))
    }

    /// How many holders hold anything, from each instant on at which that changes, up to `at`.
    ///
    /// Returns
    /// -------
    /// Table
    ///     `instant` and `holders`: the state at t is that of the last instant at or before t. A
    ///     weight of 0 is not holding.
    #[pyo3(signature = (*, at=None))]
    fn holders_over_time(&self, py: Python<'_>, at: Option<Instant<'_>>) -> PyResult<Table> {
        let at = moment(at)?.map_or_else(clock, Ok)?;
        let holds = self.now();
        let table = detached(py, holds.len(), |_stop| {
            let (instants, counts): (Vec<i64>, Vec<u64>) =
                holders_over_time(&holds, at)?.into_iter().unzip();
            let instants = TimestampMicrosecondArray::from(instants).with_timezone("UTC");
            batch(vec![
                ("instant", Arc::new(instants)),
                ("holders", Arc::new(UInt64Array::from(counts))),
            ])
        })?;
        Ok(Table::as_of(table, at))
    }

    /// The longest unbroken run of each holder with one token, as of `at`; of equal ones the
    /// earliest. Holds that touch or overlap are one run.
    ///
    /// Returns
    /// -------
    /// Table
    ///     `holder_id`, `token_id`, `start`, `end` and `seconds`, for each holder that held anything.
    #[pyo3(signature = (*, at=None))]
    fn longest_hold(&self, py: Python<'_>, at: Option<Instant<'_>>) -> PyResult<Table> {
        let at = moment(at)?.map_or_else(clock, Ok)?;
        let holds = self.now();
        let table = detached(py, holds.len(), |_stop| {
            runs_to_batch(&holds, &longest_holds(&holds, at)?)
        })?;
        Ok(Table::as_of(table, at))
    }
}

impl Holds {
    pub(crate) fn of(holds: poh_holdmetrics::Holds, clipped: u64) -> Self {
        Holds {
            holds: RwLock::new(Arc::new(holds)),
            clipped,
        }
    }

    /// The table as it is now. A panic elsewhere can't have left it half changed.
    fn now(&self) -> Arc<poh_holdmetrics::Holds> {
        Arc::clone(&self.holds.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, holds: poh_holdmetrics::Holds) {
        *self.holds.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(holds);
    }

    fn change<T>(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut poh_holdmetrics::Holds) -> Result<T, HoldError>,
    ) -> PyResult<T> {
        let mut holds = self.holds.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut holds)).map_err(|error| to_py(py, error))
    }
}

/// What `score` asks; no `at` is the clock, read once.
pub(crate) fn question(
    by: ByWord,
    overlap: OverlapWord,
    at: Option<Instant<'_>>,
    start: Option<Instant<'_>>,
    end: Option<Instant<'_>>,
    boost: Option<&Bound<'_, Boost>>,
    threads: Option<Threads>,
) -> PyResult<Query> {
    Ok(Query {
        by: by.0,
        overlap: overlap.0,
        at: moment(at)?.map_or_else(clock, Ok)?,
        start: moment(start)?,
        end: moment(end)?,
        boost: boost.map(|boost| boost.get().boost.clone()),
        threads: threads.map(|threads| threads.0),
    })
}

pub(crate) fn name_of_zone(tz: &Bound<'_, PyAny>) -> PyResult<String> {
    let name = match tz.cast::<PyString>() {
        Ok(name) => Some(name.to_string()),
        Err(_) => values::zone_name(tz)?,
    };
    name.ok_or_else(|| {
        let shown = excerpt(&tz.to_string());
        let what = format!("tz={shown} has no name of a time zone; give one, as \"Europe/Paris\"");
        to_py(tz.py(), HoldError::Argument(what))
    })
}

pub(crate) fn moment(value: Option<Instant<'_>>) -> Result<Option<i64>, Refusal> {
    value.map(|value| values::moment(&value.0)).transpose()
}

/// `"1d"`, `"2w"`, `"3mo"`, a number of seconds or a timedelta.
pub(crate) fn length(value: &Bound<'_, PyAny>) -> PyResult<Every> {
    let wrong = || {
        let shown = excerpt(&value.to_string());
        let what = format!(
            "every={shown} is no length; give seconds, a timedelta, or \"1d\", \"2w\", \"3mo\""
        );
        to_py(value.py(), HoldError::Argument(what))
    };
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_string();
        let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let count = text[..text.len() - unit.len()]
            .parse()
            .map_err(|_| wrong())?;
        return match unit {
            "d" => Ok(Every::Days(count)),
            "w" => Ok(Every::Weeks(count)),
            "mo" => Ok(Every::Months(count)),
            _ => Err(wrong()),
        };
    }
    duration(value, "every", "seconds").map(Every::Micros)
}

/// One table of the scores of all epochs.
pub(crate) fn by_epoch(
    boundaries: &[i64],
    scores: impl Iterator<Item = Result<poh_holdmetrics::Scores, HoldError>>,
    finalized: i64,
) -> Result<RecordBatch, HoldError> {
    let mut parts = Vec::new();
    for (epoch, (window, scores)) in boundaries.windows(2).zip(scores).enumerate() {
        let (from, to) = (window[0], window[1]);
        let rows = scores?.to_batch()?;
        parts.push(with_epoch(&rows, epoch as i64, from, to, to <= finalized)?);
    }
    joined(parts)
}

fn with_epoch(
    rows: &RecordBatch,
    epoch: i64,
    from: i64,
    to: i64,
    is_final: bool,
) -> Result<RecordBatch, HoldError> {
    let len = rows.num_rows();
    let instant = |at: i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![at; len]).with_timezone("UTC"))
    };
    let of_epoch: [(&str, ArrayRef); 4] = [
        ("epoch", Arc::new(Int64Array::from(vec![epoch; len]))),
        ("epoch_start", instant(from)),
        ("epoch_end", instant(to)),
        ("final", Arc::new(BooleanArray::from(vec![is_final; len]))),
    ];
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (name, column) in of_epoch {
        fields.push(Arc::new(ArrowField::new(
            name,
            column.data_type().clone(),
            false,
        )));
        columns.push(column);
    }
    fields.extend(rows.schema().fields().iter().cloned());
    columns.extend(rows.columns().iter().cloned());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| HoldError::Argument(error.to_string()))
}

fn joined(parts: Vec<RecordBatch>) -> Result<RecordBatch, HoldError> {
    let Some(first) = parts
        .iter()
        .find(|part| part.num_rows() > 0)
        .or(parts.first())
    else {
        return Err(HoldError::Argument(
            "there is no epoch: `start` is not before `at`".into(),
        ));
    };
    let parts: Vec<&RecordBatch> = parts.iter().filter(|part| part.num_rows() > 0).collect();
    arrow_select::concat::concat_batches(&first.schema(), parts)
        .map_err(|error| HoldError::Argument(error.to_string()))
}

/// The clock, read once.
pub(crate) fn clock() -> PyResult<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let micros = since
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok());
    micros.ok_or_else(|| {
        pyo3::exceptions::PyOSError::new_err("the clock of this machine is before 1970; give at=")
    })
}

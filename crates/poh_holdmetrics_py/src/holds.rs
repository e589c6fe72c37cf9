//! `Holds`: many holds, and the questions to them.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use arrow_array::{ArrayRef, Float64Array, TimestampMicrosecondArray, UInt64Array};
use poh_holdmetrics::{
    By, Field, HoldError, Ledger, Overlap, Query, Rounding, batch, holders_over_time,
    longest_holds, runs_to_batch, score_epochs, score_until,
};
use pyo3::prelude::*;

use crate::arguments::{Data, Id, Instant, Length, Progress, Shares, Zone};
use crate::boost::Boost;
use crate::epochs::Epochs;
use crate::errors::{Place, Refusal, to_py};
use crate::event::HoldEvent;
use crate::input::{push_all, some_paths};
use crate::interrupt::{detached, watched};
use crate::options::{ByWord, Columns, Count, OverlapWord, RoundingWord, Threads, digits};
use crate::scores::Scores;
use crate::table::Table;
use crate::values::{self, Clock, WideInt, id};

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
    /// What the logs that it is made from came to, 0 for holds of anything else.
    clipped: u64,
    repeated: u64,
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
        let scale = digits(data.0.py(), "scale", scale)?;
        let rounding = rounding.map_or(Rounding::Refuse, |word| word.0);
        let clock = Clock::new(tz.as_ref().map(|zone| &zone.0), strict)?;
        Holds::from_data(&data.0, scale, rounding, &clock)
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
    /// scale, rounding, tz, strict
    ///     As for `Holds`; an instant of text without an offset and a timestamp of Parquet without a
    ///     zone name no zone.
    /// progress
    ///     Called with the number of bytes read so far, every so often.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     With the file, and the row and field or the line that is not valid.
    #[staticmethod]
    #[pyo3(signature = (
        *paths: "object", scale: "int"=9, rounding: "Rounding | None"=None, tz: "Zone | None"=None,
        strict: "bool"=false, progress: "Progress | None"=None
    ))]
    fn read(
        py: Python<'_>,
        paths: Vec<PathBuf>,
        scale: i64,
        rounding: Option<RoundingWord>,
        tz: Option<Zone<'_>>,
        strict: bool,
        progress: Option<Progress<'_>>,
    ) -> PyResult<Self> {
        let mut holds = poh_holdmetrics::Holds::new(digits(py, "scale", scale)?)
            .map_err(|error| to_py(py, error))?
            .with_rounding(rounding.map_or(Rounding::Refuse, |word| word.0));
        holds.read_naive(Clock::new(tz.as_ref().map(|zone| &zone.0), strict)?.naive(py)?);
        some_paths(py, &paths)?;
        let progress = progress.map(|progress| progress.0);
        let holds = watched(py, progress.as_ref(), |stop| {
            let mut holds = holds;
            paths
                .iter()
                .try_for_each(|path| holds.read_file(path, stop))?;
            Ok(holds)
        })?;
        Ok(Holds::of(holds))
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

    /// Rows of `from_transfers` that gave a log once more, and count once.
    #[getter]
    fn repeated(&self) -> u64 {
        self.repeated
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
        let base = self.now();
        let mut holds = (*base).clone();
        push_all(&mut holds, &data.0, &clock)?;
        let py = data.0.py();
        detached(py, holds.len(), |_stop| {
            holds.check()?;
            self.replace(&base, holds)
        })
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
    /// columns
    ///     The names of the columns that are wanted, in their order; None for all. Without
    ///     total_seconds and updated_at there is less to do for each hold.
    /// threads
    ///     None for one a processor. The answer is the same for any number.
    ///
    /// Returns
    /// -------
    /// Scores
    ///     A row for each holder (token, pair) of the table, in order of first appearance.
    #[pyo3(signature = (
        *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), at=None, start=None, end=None,
        boost=None, columns=None, threads=None
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
        columns: Option<Columns>,
        threads: Option<Threads>,
    ) -> PyResult<Scores> {
        let zone = (None, false);
        let query = question(by, overlap, [at, start, end], boost, columns, threads, zone)?;
        self.answer(py, query)
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
        self.score(py, by, overlap, Some(at), None, None, boost, None, None)
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
        self.score(
            py,
            by,
            overlap,
            Some(t1),
            Some(t0),
            Some(end),
            boost,
            None,
            None,
        )
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
        let scores = self.score(py, by, overlap, at, start, end, boost, None, None)?;
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
        let scores = self.score(py, by, overlap, at, start, end, boost, None, None)?;
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
        let scores = self.score(py, by, overlap, at, start, end, boost, None, None)?;
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
    ///     The time zone of calendar lengths, and of instants here that name none: an IANA name or a
    ///     ZoneInfo; None is UTC.
    /// at
    ///     The instant of the answer; None reads the clock once. The last epoch may reach past it
    ///     and has no later time yet.
    /// finalized_before
    ///     An instant before which no event can change any more: epochs that end at or before it,
    ///     and at or before `at`, are `final`. None: no epoch is.
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
        let asked = Epochs::new(every, start, tz, at, finalized_before)?;
        let query = asked.query(by, overlap, boost, None);
        self.epochs_of(py, &asked, &query)
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
        let zone = (None, false);
        let (from, to) = (moment(&start, zone)?, moment(&end, zone)?);
        let window = to
            .checked_sub(from)
            .and_then(|window| u64::try_from(window).ok());
        let Some(micros) = window.filter(|&micros| micros > 0) else {
            let error =
                HoldError::Argument("an average needs a window that ends after it starts".into());
            return Err(to_py(py, error));
        };
        let query = Query {
            by: by.0,
            overlap: overlap.0,
            start: Some(from),
            ..Query::at(to)
        };
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
        let at = moment_or_now(at)?;
        let holds = self.now();
        let table = detached(py, holds.len(), |stop| {
            let (instants, counts): (Vec<i64>, Vec<u64>) =
                holders_over_time(&holds, at, stop)?.into_iter().unzip();
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
        let at = moment_or_now(at)?;
        let holds = self.now();
        let table = detached(py, holds.len(), |stop| {
            runs_to_batch(&holds, &longest_holds(&holds, at, stop)?)
        })?;
        Ok(Table::as_of(table, at))
    }
}

impl Holds {
    /// Reads rows, columns or Arrow.
    pub(crate) fn from_data(
        data: &Bound<'_, PyAny>,
        scale: u8,
        rounding: Rounding,
        clock: &Clock,
    ) -> PyResult<Self> {
        let holds = poh_holdmetrics::Holds::new(scale);
        let mut holds = holds
            .map_err(|error| to_py(data.py(), error))?
            .with_rounding(rounding);
        push_all(&mut holds, data, clock)?;
        Ok(Holds::of(holds))
    }

    pub(crate) fn answer(&self, py: Python<'_>, query: Query) -> PyResult<Scores> {
        let holds = self.now();
        let scores = detached(py, holds.len(), |stop| score_until(&holds, &query, stop))?;
        if query.columns.is_some() {
            return Ok(Scores::new(scores)); // not the whole answer
        }
        Ok(Scores::with_source(scores, holds, query))
    }

    pub(crate) fn epochs_of(
        &self,
        py: Python<'_>,
        asked: &Epochs,
        query: &Query,
    ) -> PyResult<Table> {
        let holds = self.now();
        let table = detached(py, holds.len(), |stop| {
            asked.table(|boundaries| score_epochs(&holds, query, boundaries, stop))
        })?;
        Ok(Table::as_of(table, asked.at()))
    }

    fn of(holds: poh_holdmetrics::Holds) -> Self {
        Holds::of_transfers(Ledger {
            holds,
            clipped: 0,
            repeated: 0,
        })
    }

    pub(crate) fn of_transfers(ledger: Ledger) -> Self {
        Holds {
            holds: RwLock::new(Arc::new(ledger.holds)),
            clipped: ledger.clipped,
            repeated: ledger.repeated,
        }
    }

    /// The table as it is now. A panic elsewhere can't have left it half changed.
    fn now(&self) -> Arc<poh_holdmetrics::Holds> {
        Arc::clone(&self.holds.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts in a table that has all rows of `base` and more. What another thread has changed since then
    /// stays, and the further rows come to it.
    fn replace(
        &self,
        base: &Arc<poh_holdmetrics::Holds>,
        longer: poh_holdmetrics::Holds,
    ) -> Result<(), HoldError> {
        let mut holds = self.holds.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&holds, base) {
            *holds = Arc::new(longer);
            return Ok(());
        }
        let added = longer.to_batch_from(base.len())?;
        let mut both = (**holds).clone();
        both.append(&added)?;
        both.check()?;
        *holds = Arc::new(both);
        Ok(())
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

/// What `score` asks as of the first of three instants, within the others; no first one is the clock,
/// read once.
pub(crate) fn question(
    by: ByWord,
    overlap: OverlapWord,
    instants: [Option<Instant<'_>>; 3],
    boost: Option<&Bound<'_, Boost>>,
    columns: Option<Columns>,
    threads: Option<Threads>,
    zone: (Option<&Zone<'_>>, bool),
) -> PyResult<Query> {
    let moments = instants.map(|instant| instant.map(|instant| moment(&instant, zone)).transpose());
    let [at, start, end] = moments;
    Ok(Query {
        by: by.0,
        overlap: overlap.0,
        at: at?.map_or_else(clock, Ok)?,
        start: start?,
        end: end?,
        boost: boost.map(|boost| boost.get().boost.clone()),
        columns: columns.map(|columns| columns.0),
        threads: threads.map(|threads| threads.0),
    })
}

/// An instant that is an argument; where it names no zone it is in `tz`, or refused if that is strict.
pub(crate) fn moment(
    value: &Instant<'_>,
    (tz, strict): (Option<&Zone<'_>>, bool),
) -> Result<i64, Refusal> {
    values::moment(&value.0, tz.map(|tz| &tz.0), strict)
}

fn moment_or_now(value: Option<Instant<'_>>) -> PyResult<i64> {
    match value {
        Some(value) => Ok(moment(&value, (None, false))?),
        None => clock(),
    }
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

//! The main calls in one line: `score`, `epochs` and `partial` of files, streams and tables.

use std::path::PathBuf;

use poh_holdmetrics::{By, EpochFold, Fold, HoldError, Naive, Overlap, Query, Rounding, Stop};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use pyo3_arrow::input::AnyRecordBatch;

use crate::arguments::{Instant, Length, Progress, Source, Zone};
use crate::boost::Boost;
use crate::epochs::Epochs;
use crate::errors::to_py;
use crate::holds::{Holds, question};
use crate::input::carried_holds;
use crate::interrupt::{detached, watched};
use crate::options::{ByWord, Columns, Memory, OverlapWord, RoundingWord, Threads, digits};
use crate::scores::Scores;
use crate::table::Table;
use crate::values::Clock;

/// How much was held, by whom, for how long: the short form of `Holds(data).score(...)`.
///
/// Files and Arrow streams may be larger than memory: they are read in batches, of which only
/// sums are kept where lots add up and rows are holders or tokens. Columns of Parquet that the
/// question does not ask for are not read, nor checked: the token with overlap "sum" unless rows
/// are tokens or pairs, and the weight with "union".
///
/// Parameters
/// ----------
/// data
///     An iterable of `HoldEvent` or of dicts, a dict of columns (lists or numpy arrays), or a
///     table or stream with the Arrow PyCapsule interface (pandas, polars, pyarrow, DuckDB), with
///     the keys or columns holder_id, token_id, start, end and weight; a `Holds`; or the path of a
///     file (CSV, JSON lines, Parquet), or a list or tuple of paths.
/// by
///     One row a "holder", a "token", or a pair of them ("both").
/// overlap
///     What holds of one holder and one token that overlap count: "sum" (lots add up), "union" (an
///     instant counts once, with weight 1) or "max" (once, with the heaviest weight).
/// at
///     The instant of the answer: all later time is cut off, and open holds accrue until it. None
///     reads the clock once; `Scores.at` says which instant that was.
/// start, end
///     Only time within [start, end) counts.
/// boost
///     A multiplier by the age of a hold.
/// columns
///     The names of the columns that are wanted, in their order, as ["holder_id",
///     "weighted_score_exact"]; None for all. Without total_seconds and updated_at there is less to do
///     for each hold.
/// threads
///     None for one a processor. The answer is the same for any number.
/// scale, rounding
///     As for `Holds`; a `Holds` has its own.
/// tz, strict
///     The zone of instants that name none, in the data (files too) and in at, start and end; and
///     whether they are refused where tz names none. As for `Holds`; a `Holds` has been read already.
/// memory
///     Bytes of a file's or stream's holds that are kept before they go to temporary files, where
///     holds have to meet: with "union" and "max", and for pairs. 20 to 56 bytes a hold; the whole
///     work needs about twice as much. None is 1 GiB.
/// progress
///     Called with the number of bytes of files read so far, every so often.
///
/// Raises
/// ------
/// HoldMetricsError
///     With the row and the field that is not valid.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import score
/// >>> rows = [
/// ...     {"holder_id": "alice", "token_id": "t", "start": 0, "end": 10},
/// ...     {"holder_id": "alice", "token_id": "t", "start": 5, "end": 15},
/// ... ]
/// >>> score(rows, at=100)[0]["total_seconds"]
/// 20.0
/// >>> score(rows, at=100, overlap="union")[0]["total_seconds"]
/// 15.0
/// >>> score(rows, at=100, columns=["holder_id", "weighted_score_exact"]).to_pylist()
/// [{'holder_id': 'alice', 'weighted_score_exact': '20'}]
#[pyfunction]
#[pyo3(signature = (
    data, *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), at=None, start=None, end=None,
    boost=None, columns=None, threads=None, scale=9, rounding=None, tz=None, strict=false,
    memory=None, progress=None
))]
#[allow(clippy::too_many_arguments)] // they are keywords in Python
pub(crate) fn score(
    data: Source<'_>,
    by: ByWord,
    overlap: OverlapWord,
    at: Option<Instant<'_>>,
    start: Option<Instant<'_>>,
    end: Option<Instant<'_>>,
    boost: Option<&Bound<'_, Boost>>,
    columns: Option<Columns>,
    threads: Option<Threads>,
    scale: i64,
    rounding: Option<RoundingWord>,
    tz: Option<Zone<'_>>,
    strict: bool,
    memory: Option<Memory>,
    progress: Option<Progress<'_>>,
) -> PyResult<Scores> {
    let zone = (tz.as_ref(), strict);
    let query = question(by, overlap, [at, start, end], boost, columns, threads, zone)?;
    let reading = Reading::new(data.0.py(), scale, rounding, zone, memory, progress)?;
    reading.scores(&data, query)
}

/// The exact sums of a part of the holds, as a state that `merge` adds to those of other parts: `score`
/// as an Arrow table that travels.
///
/// With overlap "union" and "max" all holds of one holder must be in one part.
///
/// Parameters
/// ----------
/// data
///     The part: anything that `score` takes.
/// at
///     The instant of the answer, the same for every part; a state keeps it.
/// by, overlap, start, end, boost, threads, scale, rounding, tz, strict, memory, progress
///     As for `score`, the same for every part.
///
/// Returns
/// -------
/// Table
///     A row for each holder (token, pair) of the part.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import finish, merge, partial
/// >>> parts = [[{"holder_id": "a", "token_id": "t", "start": n, "end": n + 2}] for n in range(3)]
/// >>> finish(merge(partial(part, at=9) for part in parts))[0]["total_seconds"]
/// 6.0
#[pyfunction]
#[pyo3(signature = (
    data, *, at, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), start=None, end=None,
    boost=None, threads=None, scale=9, rounding=None, tz=None, strict=false, memory=None,
    progress=None
))]
#[allow(clippy::too_many_arguments)] // they are keywords in Python
pub(crate) fn partial(
    data: Source<'_>,
    at: Instant<'_>,
    by: ByWord,
    overlap: OverlapWord,
    start: Option<Instant<'_>>,
    end: Option<Instant<'_>>,
    boost: Option<&Bound<'_, Boost>>,
    threads: Option<Threads>,
    scale: i64,
    rounding: Option<RoundingWord>,
    tz: Option<Zone<'_>>,
    strict: bool,
    memory: Option<Memory>,
    progress: Option<Progress<'_>>,
) -> PyResult<Table> {
    let py = data.0.py();
    let scores = score(
        data,
        by,
        overlap,
        Some(at),
        start,
        end,
        boost,
        None,
        threads,
        scale,
        rounding,
        tz,
        strict,
        memory,
        progress,
    );
    scores?.state(py)
}

/// Scores by epoch: the short form of `Holds(data).epochs(...)`.
///
/// Files may be larger than memory. Holds are kept until all are read, 24 to 56 bytes each: past
/// `memory` they go to temporary files, part by part of the holders. Beside them there is the answer.
///
/// Parameters
/// ----------
/// data, scale, rounding, memory, progress
///     As for `score`.
/// every, start, tz, at, by, overlap, boost, finalized_before
///     As for `Holds.epochs`.
/// data_tz, strict
///     The zone of instants of the data that name none (tz is that of the epochs), and whether they
///     are refused where data_tz names none.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import epochs
/// >>> row = {"holder_id": "alice", "token_id": "t", "start": 0, "end": 90_000}
/// >>> table = epochs([row], every="1d", start=0, at=10**6)
/// >>> [row["total_seconds"] for row in table.to_pylist()]
/// [86400.0, 3600.0]
#[pyfunction]
#[pyo3(signature = (
    data, *, every, start, tz=None, at=None, by=ByWord(By::Holder),
    overlap=OverlapWord(Overlap::Sum), boost=None, finalized_before=None, threads=None, scale=9,
    rounding=None, data_tz=None, strict=false, memory=None, progress=None
))]
#[allow(clippy::too_many_arguments)] // they are keywords in Python
pub(crate) fn epochs(
    data: Source<'_>,
    every: Length<'_>,
    start: Instant<'_>,
    tz: Option<Zone<'_>>,
    at: Option<Instant<'_>>,
    by: ByWord,
    overlap: OverlapWord,
    boost: Option<&Bound<'_, Boost>>,
    finalized_before: Option<Instant<'_>>,
    threads: Option<Threads>,
    scale: i64,
    rounding: Option<RoundingWord>,
    data_tz: Option<Zone<'_>>,
    strict: bool,
    memory: Option<Memory>,
    progress: Option<Progress<'_>>,
) -> PyResult<Table> {
    let py = data.0.py();
    let asked = Epochs::new(every, start, tz, at, finalized_before)?;
    let query = asked.query(by, overlap, boost, threads);
    let zone = (data_tz.as_ref(), strict);
    let reading = Reading::new(py, scale, rounding, zone, memory, progress)?;
    match Asked::of(&data.0)? {
        Asked::Files(paths) => reading.epochs_of_files(py, &paths, &asked, &query),
        Asked::Table(holds) => holds.get().epochs_of(py, &asked, &query),
        // A stream may be larger than memory, but epochs keep its holds.
        Asked::Stream(data) | Asked::Rows(data) => {
            reading.holds(&data)?.epochs_of(py, &asked, &query)
        }
    }
}

/// What is asked for a score.
enum Asked<'py> {
    Files(Vec<PathBuf>),
    Table(Bound<'py, Holds>),
    Stream(Bound<'py, PyAny>),
    Rows(Bound<'py, PyAny>),
}

impl<'py> Asked<'py> {
    fn of(data: &Bound<'py, PyAny>) -> PyResult<Self> {
        if is_path(data)? {
            return Ok(Asked::Files(vec![data.extract()?]));
        }
        if let Ok(holds) = data.cast::<Holds>() {
            return Ok(Asked::Table(holds.clone()));
        }
        if data.hasattr("__arrow_c_stream__")? || data.hasattr("__arrow_c_array__")? {
            return Ok(Asked::Stream(carried_holds(data, 0)?));
        }
        let is_row = data.is_instance_of::<PyList>() || data.is_instance_of::<PyTuple>();
        if is_row && data.len()? > 0 && is_path(&data.get_item(0)?)? {
            return Ok(Asked::Files(data.extract()?));
        }
        Ok(Asked::Rows(data.clone()))
    }
}

fn is_path(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(value.is_instance_of::<PyString>() || value.hasattr("__fspath__")?)
}

/// How data become holds.
struct Reading<'py> {
    scale: u8,
    rounding: Rounding,
    clock: Clock,
    naive: Naive,
    memory: usize,
    progress: Option<Bound<'py, PyAny>>,
}

impl<'py> Reading<'py> {
    fn new(
        py: Python<'py>,
        scale: i64,
        rounding: Option<RoundingWord>,
        (tz, strict): (Option<&Zone<'_>>, bool),
        memory: Option<Memory>,
        progress: Option<Progress<'py>>,
    ) -> PyResult<Self> {
        let clock = Clock::new(tz.map(|zone| &zone.0), strict)?;
        Ok(Reading {
            scale: digits(py, "scale", scale)?,
            rounding: rounding.map_or(Rounding::Refuse, |word| word.0),
            naive: clock.naive(py)?,
            clock,
            memory: memory.map_or(Fold::MEMORY, |memory| memory.0),
            progress: progress.map(|progress| progress.0),
        })
    }

    fn scores(&self, data: &Source<'py>, query: Query) -> PyResult<Scores> {
        let py = data.0.py();
        match Asked::of(&data.0)? {
            Asked::Files(paths) => {
                let mut fold = self.fold(py, query)?;
                let scores = watched(py, self.progress.as_ref(), |stop| {
                    paths
                        .iter()
                        .try_for_each(|path| fold.read_file(path, stop))?;
                    fold.finish(stop)
                })?;
                Ok(Scores::new(scores))
            }
            Asked::Stream(data) => self.scores_of_stream(&data, query),
            Asked::Table(holds) => holds.get().answer(py, query),
            Asked::Rows(data) => self.holds(&data)?.answer(py, query),
        }
    }

    fn scores_of_stream(&self, data: &Bound<'py, PyAny>, query: Query) -> PyResult<Scores> {
        let py = data.py();
        let mut fold = self.fold(py, query)?;
        let batches: AnyRecordBatch = data.extract()?;
        // The reader may call back into Python, so the GIL stays with it.
        for batch in batches.into_reader()? {
            py.check_signals()?;
            let batch = batch.map_err(|error| to_py(py, HoldError::Argument(error.to_string())))?;
            detached(py, batch.num_rows(), |stop| fold.push(&batch, stop))?;
        }
        let rows = usize::try_from(fold.rows()).unwrap_or(usize::MAX);
        Ok(Scores::new(detached(py, rows, |stop| fold.finish(stop))?))
    }

    fn epochs_of_files(
        &self,
        py: Python<'_>,
        paths: &[PathBuf],
        asked: &Epochs,
        query: &Query,
    ) -> PyResult<Table> {
        let (scale, rounding, memory) = (self.scale, self.rounding, self.memory);
        let naive = &self.naive;
        let table = watched(py, self.progress.as_ref(), |stop: &Stop| {
            asked.table(|boundaries| {
                let fold = EpochFold::new(query, boundaries, scale, rounding)?;
                let mut fold = fold.with_memory(memory);
                fold.read_naive(naive.clone());
                paths
                    .iter()
                    .try_for_each(|path| fold.read_file(path, stop))?;
                fold.finish(stop)
            })
        })?;
        Ok(Table::as_of(table, asked.at()))
    }

    fn holds(&self, data: &Bound<'_, PyAny>) -> PyResult<Holds> {
        Holds::from_data(data, self.scale, self.rounding, &self.clock)
    }

    fn fold(&self, py: Python<'_>, query: Query) -> PyResult<Fold> {
        let fold = Fold::new(query, self.scale, self.rounding);
        let mut fold = fold
            .map_err(|error| to_py(py, error))?
            .with_memory(self.memory);
        fold.read_naive(self.naive.clone());
        Ok(fold)
    }
}

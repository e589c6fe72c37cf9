//! Scores of files and Arrow streams whose holds are not kept.

use std::path::PathBuf;

use poh_holdmetrics::{By, EpochFold, Fold, HoldError, Overlap, Query, Rounding, epoch_boundaries};
use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;

use crate::arguments::{Data, Instant, Length, Zone};
use crate::boost::Boost;
use crate::errors::to_py;
use crate::holds::{by_epoch, length, moment, name_of_zone, question};
use crate::interrupt::{detached, watched};
use crate::options::{ByWord, Memory, OverlapWord, RoundingWord, Threads, digits};
use crate::scores::Scores;
use crate::table::Table;

/// `score` of an Arrow stream, batch by batch.
#[pyfunction]
#[pyo3(signature = (
    data, *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), at=None, start=None,
    end=None, boost=None, threads=None, scale=9, rounding=None, memory=None
))]
#[allow(clippy::too_many_arguments)] // they are keywords in Python
pub(crate) fn score_stream(
    data: Data<'_>,
    by: ByWord,
    overlap: OverlapWord,
    at: Option<Instant<'_>>,
    start: Option<Instant<'_>>,
    end: Option<Instant<'_>>,
    boost: Option<&Bound<'_, Boost>>,
    threads: Option<Threads>,
    scale: i64,
    rounding: Option<RoundingWord>,
    memory: Option<Memory>,
) -> PyResult<Scores> {
    let py = data.0.py();
    let query = question(by, overlap, at, start, end, boost, threads)?;
    let mut fold = new_fold(py, query, scale, rounding, memory)?;
    let batches: AnyRecordBatch = data.0.extract()?;
    // The reader may call back into Python, so the GIL stays with it.
    for batch in batches.into_reader()? {
        py.check_signals()?;
        let batch = batch.map_err(|error| to_py(py, HoldError::Argument(error.to_string())))?;
        detached(py, batch.num_rows(), |stop| fold.push(&batch, stop))?;
    }
    let rows = usize::try_from(fold.rows()).unwrap_or(usize::MAX);
    Ok(Scores::new(detached(py, rows, |stop| fold.finish(stop))?))
}

/// `score` of files, which are read in batches.
#[pyfunction]
#[pyo3(signature = (
    paths: "list[object]", *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), at=None,
    start=None, end=None, boost=None, threads=None, scale=9, rounding=None, memory=None,
    progress: "object"=None
))]
#[allow(clippy::too_many_arguments)] // they are keywords in Python
pub(crate) fn score_files(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    by: ByWord,
    overlap: OverlapWord,
    at: Option<Instant<'_>>,
    start: Option<Instant<'_>>,
    end: Option<Instant<'_>>,
    boost: Option<&Bound<'_, Boost>>,
    threads: Option<Threads>,
    scale: i64,
    rounding: Option<RoundingWord>,
    memory: Option<Memory>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Scores> {
    let query = question(by, overlap, at, start, end, boost, threads)?;
    let mut fold = new_fold(py, query, scale, rounding, memory)?;
    let scores = watched(py, progress.as_ref(), |stop| {
        paths
            .iter()
            .try_for_each(|path| fold.read_file(path, stop))?;
        fold.finish(stop)
    })?;
    Ok(Scores::new(scores))
}

/// `Holds.epochs` of files, which are read in batches.
#[pyfunction]
#[pyo3(signature = (
    paths: "list[object]", *, every, start, tz=None, at=None, by=ByWord(By::Holder),
    overlap=OverlapWord(Overlap::Sum), boost=None, finalized_before=None, threads=None, scale=9,
    rounding=None, memory=None, progress: "object"=None
))]
#[allow(clippy::too_many_arguments)] // they are keywords in Python
pub(crate) fn epochs_of_files(
    py: Python<'_>,
    paths: Vec<PathBuf>,
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
    memory: Option<Memory>,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Table> {
    let query = question(by, overlap, at, Some(start), None, boost, threads)?;
    let every = length(&every.0)?;
    let tz = tz.map_or(Ok("UTC".to_owned()), |tz| name_of_zone(&tz.0))?;
    let finalized = moment(finalized_before)?.unwrap_or(i64::MIN);
    let scale = digits(py, "scale", scale)?;
    let rounding = rounding.map_or(Rounding::Refuse, |word| word.0);
    let memory = memory.map_or(Fold::MEMORY, |memory| memory.0);
    let at = query.at;
    let table = watched(py, progress.as_ref(), |stop| {
        let start = query.start.unwrap_or(at);
        let boundaries = epoch_boundaries(every, start, at, &tz)?;
        let fold = EpochFold::new(&query, &boundaries, scale, rounding)?;
        let mut fold = fold.with_memory(memory);
        paths
            .iter()
            .try_for_each(|path| fold.read_file(path, stop))?;
        let scores = fold.finish(stop)?;
        by_epoch(&boundaries, scores.into_iter().map(Ok), finalized)
    })?;
    Ok(Table::as_of(table, at))
}

fn new_fold(
    py: Python<'_>,
    query: Query,
    scale: i64,
    rounding: Option<RoundingWord>,
    memory: Option<Memory>,
) -> PyResult<Fold> {
    let rounding = rounding.map_or(Rounding::Refuse, |word| word.0);
    let fold = Fold::new(query, digits(py, "scale", scale)?, rounding)
        .map_err(|error| to_py(py, error))?;
    Ok(fold.with_memory(memory.map_or(Fold::MEMORY, |memory| memory.0)))
}

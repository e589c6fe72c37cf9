//! States of a cluster's workers; `partial`, which makes them, is beside `score`.

use arrow_array::RecordBatch;
use poh_holdmetrics::HoldError;
use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;

use crate::arguments::{Instant, Leaves, State};
use crate::errors::to_py;
use crate::holds::moment;
use crate::scores::Scores;
use crate::table::Table;

/// Add up states that `partial` made of parts of the holds, to one state.
///
/// Parameters
/// ----------
/// states
///     Tables with the Arrow PyCapsule interface, in any order; what `merge` gave too.
///
/// Returns
/// -------
/// Table
///     A state, in order of holder, then token id: the same bits for any parts.
///
/// Raises
/// ------
/// HoldMetricsError
///     For a table that is no state, and for states of different instants.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import finish, merge, partial
/// >>> day = [{"holder_id": "a", "token_id": "t", "start": 0, "end": 2}]
/// >>> so_far = partial(day, at=9)
/// >>> for _ in range(2):
/// ...     so_far = merge([so_far, partial(day, at=9)])
/// >>> finish(so_far)[0]["total_seconds"]
/// 6.0
#[pyfunction]
pub(crate) fn merge(py: Python<'_>, states: Leaves<'_>) -> PyResult<Table> {
    let mut batches = Vec::new();
    for state in states.0.try_iter()? {
        take(&state?, &mut batches)?;
    }
    let merged = py.detach(|| poh_holdmetrics::merge(batches));
    Ok(Table::new(merged.map_err(|error| to_py(py, error))?))
}

/// The scores that a state comes to. Rows of the same id are added up, so that a state may come in
/// pieces.
///
/// Parameters
/// ----------
/// state
///     What `partial` or `merge` gave, or several of them one below the other, as a table with the
///     Arrow PyCapsule interface.
/// at
///     The instant of the answer. A state knows it: it is needed only where there may be no row.
///
/// Returns
/// -------
/// Scores
///     In order of holder, then token id, with the same bits as on one machine.
///
/// Raises
/// ------
/// HoldMetricsError
///     For a table that is no state, or a state of another instant than `at`.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import finish, partial
/// >>> state = partial([{"holder_id": "a", "token_id": "t", "start": 0}], at=9)
/// >>> finish(state).to_pylist()[0]["total_seconds"]
/// 9.0
#[pyfunction]
#[pyo3(signature = (state, *, at=None))]
pub(crate) fn finish(
    py: Python<'_>,
    state: State<'_>,
    at: Option<Instant<'_>>,
) -> PyResult<Scores> {
    let at = at.map(|at| moment(&at, (None, false))).transpose()?;
    let mut batches = Vec::new();
    take(&state.0, &mut batches)?;
    let scores = py.detach(|| poh_holdmetrics::finish(batches, at));
    Ok(Scores::new(scores.map_err(|error| to_py(py, error))?))
}

/// Adds the batches of a table.
fn take(table: &Bound<'_, PyAny>, batches: &mut Vec<RecordBatch>) -> PyResult<()> {
    let failed = |error| to_py(table.py(), HoldError::Argument(format!("{error}")));
    for batch in table.extract::<AnyRecordBatch>()?.into_reader()? {
        batches.push(batch.map_err(failed)?);
    }
    Ok(())
}

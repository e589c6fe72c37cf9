//! States of a cluster's workers.

use poh_holdmetrics::{HoldError, merge_states};
use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;

use crate::arguments::{Instant, Leaves};
use crate::errors::to_py;
use crate::scores::Scores;
use crate::values::moment;

/// Adds up states that `Scores.to_state` made of parts of the holds.
///
/// With overlap "union" and "max" all holds of one holder must have been in one part.
///
/// Parameters
/// ----------
/// states
///     Tables with the Arrow PyCapsule interface, in any order.
/// at
///     The instant of the answer, the same as in every part.
///
/// Returns
/// -------
/// Scores
///     In order of holder, then token id: the same bits for any parts.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import merge_states, score
/// >>> parts = [[{"holder_id": "a", "token_id": "t", "start": n, "end": n + 2}] for n in range(3)]
/// >>> merge_states([score(part, at=9).to_state() for part in parts], at=9)[0]["total_seconds"]
/// 6.0
#[pyfunction]
#[pyo3(name = "merge_states", signature = (states, *, at))]
pub(crate) fn merge(states: Leaves<'_>, at: Instant<'_>) -> PyResult<Scores> {
    let py = at.0.py();
    let at = moment(&at.0)?;
    let mut batches = Vec::new();
    for state in states.0.try_iter()? {
        for batch in state?.extract::<AnyRecordBatch>()?.into_reader()? {
            let failed = |error| to_py(py, HoldError::Argument(format!("{error}")));
            batches.push(batch.map_err(failed)?);
        }
    }
    let merged = py
        .detach(|| merge_states(batches, at))
        .map_err(|error| to_py(py, error))?;
    Ok(Scores::new(merged))
}

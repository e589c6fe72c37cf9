//! `Scores`: the answer, as a table.

use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyDict};

use crate::arguments::Record;
use crate::values::datetime;

/// The answer to a question: one row for each holder (token, pair), in order of first appearance.
///
/// Columns: `holder_id` and `token_id` (as asked by `by`), `total_seconds` (float),
/// `weighted_score` (float, seconds times weight), `weighted_score_exact` (str, every digit) and
/// `updated_at` (datetime in UTC of the last start or end at or before `at`, or None; epoch seconds
/// where Python's calendar ends).
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct Scores {
    scores: poh_holdmetrics::Scores,
}

impl Scores {
    pub(crate) fn new(scores: poh_holdmetrics::Scores) -> Self {
        Scores { scores }
    }

    fn row<'py>(&self, py: Python<'py>, row: usize) -> PyResult<Record<'py>> {
        let scores = &self.scores;
        let dict = PyDict::new(py);
        if let Some(holder) = scores.holder_id(row) {
            dict.set_item("holder_id", holder)?;
        }
        if let Some(token) = scores.token_id(row) {
            dict.set_item("token_id", token)?;
        }
        dict.set_item("total_seconds", scores.total_seconds(row))?;
        dict.set_item("weighted_score", scores.weighted_score(row))?;
        dict.set_item("weighted_score_exact", scores.weighted_exact(row))?;
        match scores
            .updated_at(row)
            .map(|micros| (micros, datetime(py, micros)))
        {
            Some((_, Ok(instant))) => dict.set_item("updated_at", instant)?,
            Some((micros, Err(_))) => dict.set_item("updated_at", micros as f64 / 1e6)?,
            None => dict.set_item("updated_at", py.None())?,
        }
        Ok(Record(dict))
    }
}

#[pymethods]
impl Scores {
    fn __len__(&self) -> usize {
        self.scores.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, row: isize) -> PyResult<Record<'py>> {
        let rows = self.scores.len();
        let from_end = usize::try_from(-row.min(0))
            .ok()
            .filter(|&back| back <= rows);
        let index = if row < 0 {
            from_end.map(|back| rows - back)
        } else {
            usize::try_from(row).ok()
        };
        match index.filter(|&index| index < rows) {
            Some(index) => self.row(py, index),
            None => Err(PyIndexError::new_err(format!("row {row} of {rows} rows"))),
        }
    }

    fn __repr__(&self) -> String {
        format!(
            "<Scores: {} rows at {} us>",
            self.scores.len(),
            self.scores.at()
        )
    }

    /// The instant of the answer, in UTC: give it as `at` to have the same answer again.
    #[getter]
    fn at<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDateTime>> {
        datetime(py, self.scores.at())
    }

    /// The instant of the answer in microseconds since 1970 UTC.
    #[getter]
    fn at_us(&self) -> i64 {
        self.scores.at()
    }

    /// The time held of each row, in whole microseconds.
    #[getter]
    fn total_microseconds(&self) -> Vec<i128> {
        (0..self.scores.len())
            .map(|row| self.scores.total_micros(row))
            .collect()
    }

    /// The instant of `updated_at` of each row in microseconds since 1970 UTC, or None.
    #[getter]
    fn updated_at_us(&self) -> Vec<Option<i64>> {
        (0..self.scores.len())
            .map(|row| self.scores.updated_at(row))
            .collect()
    }

    /// The rows as dicts.
    fn to_pylist<'py>(&self, py: Python<'py>) -> PyResult<Vec<Record<'py>>> {
        (0..self.scores.len())
            .map(|row| self.row(py, row))
            .collect()
    }
}

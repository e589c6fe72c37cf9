//! `Scores`: the answer, as a table.

use std::path::PathBuf;
use std::sync::Arc;

use poh_holdmetrics::{Holds, Query, ScoreColumn, U256, Weight, share};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyDict};

use crate::arguments::{Amount, Capsule, Dump, Frame, Leaves, Record, Shares};
use crate::bundle::{events, parameters};
use crate::errors::to_py;
use crate::options::Count;
use crate::table::{Table, capsule, instant, place_of, to_pandas, to_polars, write_whole};
use crate::values::{WideInt, datetime, number, wide_int};

/// The answer to a question: one row for each holder (token, pair), in order of first appearance.
///
/// Columns: `holder_id` and `token_id` (as asked by `by`), `total_seconds` (float),
/// `weighted_score` (float, seconds times weight), `weighted_score_exact` (str, every digit) and
/// `updated_at` (datetime in UTC of the last start or end at or before `at`, or None; epoch seconds
/// where Python's calendar ends). Floats are rounded once, from the exact total.
///
/// Give it to any library that reads the Arrow PyCapsule interface, as `pyarrow.table(scores)`,
/// `polars.DataFrame(scores)` or DuckDB, or take it as dicts.
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct Scores {
    scores: poh_holdmetrics::Scores,
    /// What was asked of which table; not there for a selection of rows or a stream.
    source: Option<(Arc<Holds>, Query)>,
}

impl Scores {
    pub(crate) fn new(scores: poh_holdmetrics::Scores) -> Self {
        Scores {
            scores,
            source: None,
        }
    }

    pub(crate) fn with_source(
        scores: poh_holdmetrics::Scores,
        holds: Arc<Holds>,
        query: Query,
    ) -> Self {
        Scores {
            scores,
            source: Some((holds, query)),
        }
    }

    fn source(&self) -> PyResult<&(Arc<Holds>, Query)> {
        self.source.as_ref().ok_or_else(|| {
            PyValueError::new_err(
                "only the whole answer of Holds.score, snapshot or between has a bundle: it holds the events, \
                 which a selection of rows and the function score do not have",
            )
        })
    }

    /// The exact sums, to be added to those of other parts of the holds.
    pub(crate) fn state(&self, py: Python<'_>) -> PyResult<Table> {
        let state = py
            .detach(|| self.scores.state())
            .map_err(|error| to_py(py, error))?;
        Ok(Table::as_of(state, self.scores.at()))
    }

    /// The id of a row that stands for a holder or a token, and not for a pair of them.
    fn only_id(&self, row: usize) -> PyResult<&str> {
        match (self.scores.holder_id(row), self.scores.token_id(row)) {
            (Some(id), None) | (None, Some(id)) => Ok(id),
            _ => Err(PyValueError::new_err(
                "units go to holders or to tokens; ask with by=\"holder\" or \"token\"",
            )),
        }
    }

    fn row<'py>(
        &self,
        py: Python<'py>,
        columns: &[ScoreColumn],
        row: usize,
    ) -> PyResult<Record<'py>> {
        let scores = &self.scores;
        let dict = PyDict::new(py);
        for column in columns {
            let name = column.name();
            match column {
                ScoreColumn::HolderId => dict.set_item(name, scores.holder_id(row))?,
                ScoreColumn::TokenId => dict.set_item(name, scores.token_id(row))?,
                ScoreColumn::TotalSeconds => dict.set_item(name, scores.total_seconds(row))?,
                ScoreColumn::WeightedScore => dict.set_item(name, scores.weighted_score(row))?,
                ScoreColumn::WeightedScoreExact => {
                    dict.set_item(name, scores.weighted_exact(row))?;
                }
                ScoreColumn::UpdatedAt => {
                    let updated = scores.updated_at(row);
                    let updated = updated.map(|micros| instant(py, micros)).transpose()?;
                    dict.set_item(name, updated)?;
                }
            }
        }
        Ok(Record(dict))
    }

    /// That times are known.
    fn timed(&self) -> PyResult<&poh_holdmetrics::Scores> {
        match self.scores.has_times() {
            true => Ok(&self.scores),
            false => Err(PyValueError::new_err(
                "no time was asked for; put total_seconds or updated_at into columns=",
            )),
        }
    }
}

#[pymethods]
impl Scores {
    fn __len__(&self) -> usize {
        self.scores.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, row: isize) -> PyResult<Record<'py>> {
        let row = place_of(row, self.scores.len())?;
        self.row(py, &self.scores.columns(), row)
    }

    /// The names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        let columns = self.scores.columns();
        columns
            .iter()
            .map(|column| column.name().to_owned())
            .collect()
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
    fn total_microseconds(&self) -> PyResult<Vec<i128>> {
        let scores = self.timed()?;
        Ok((0..scores.len())
            .map(|row| scores.total_micros(row))
            .collect())
    }

    /// The instant of `updated_at` of each row in microseconds since 1970 UTC, or None.
    #[getter]
    fn updated_at_us(&self) -> PyResult<Vec<Option<i64>>> {
        let scores = self.timed()?;
        Ok((0..scores.len())
            .map(|row| scores.updated_at(row))
            .collect())
    }

    /// The `n` rows with the highest scores, the highest first; equal scores in order of id.
    pub(crate) fn top_n(&self, py: Python<'_>, n: Count) -> Scores {
        Scores::new(py.detach(|| self.scores.top_n(n.0)))
    }

    /// All rows, the highest score first; equal scores in order of id.
    pub(crate) fn leaderboard(&self, py: Python<'_>) -> Scores {
        Scores::new(py.detach(|| self.scores.leaderboard()))
    }

    /// Divide a pot of whole units in proportion to the scores.
    ///
    /// The shares add up exactly to the pot: quotas are rounded down and the units left go to the
    /// largest remainders, of equal ones to the smaller id (the method of Hamilton).
    ///
    /// Parameters
    /// ----------
    /// pot
    ///     Whole units, 0 to 2**256 - 1.
    ///
    /// Returns
    /// -------
    /// dict
    ///     Units by holder id (by token id where rows are tokens).
    ///
    /// Examples
    /// --------
    /// >>> from poh_holdmetrics import score
    /// >>> rows = [{"holder_id": who, "token_id": "t", "start": 0} for who in ("a", "b", "c")]
    /// >>> score(rows, at=10).share(100)
    /// {'a': 34, 'b': 33, 'c': 33}
    pub(crate) fn share<'py>(&self, py: Python<'py>, pot: WideInt) -> PyResult<Shares<'py>> {
        let units = py
            .detach(|| share(&self.scores, pot.0))
            .map_err(|error| to_py(py, error))?;
        let shares = PyDict::new(py);
        for (row, units) in units.into_iter().enumerate() {
            shares.set_item(self.only_id(row)?, wide_int(py, &units)?)?;
        }
        Ok(Shares(shares))
    }

    /// Each row's score as a whole number of units, with its id: what a Merkle tree is made of.
    ///
    /// Parameters
    /// ----------
    /// unit
    ///     The size of a unit: with "0.000000001" (10**-9) a score of 1.5 is 1,500,000,000 units.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     For a score that is not a whole number of units.
    ///
    /// Examples
    /// --------
    /// >>> from poh_holdmetrics import score
    /// >>> row = {"holder_id": "0xa", "token_id": "t", "start": 0, "weight": "0.5"}
    /// >>> score([row], at=3).amounts(unit="1e-9")
    /// {'0xa': 1500000000}
    #[pyo3(signature = (*, unit))]
    fn amounts<'py>(&self, py: Python<'py>, unit: Amount<'py>) -> PyResult<Shares<'py>> {
        let unit = number(&unit.0, "the unit")?;
        let amounts = PyDict::new(py);
        for row in 0..self.scores.len() {
            let units = self
                .scores
                .amount(row, &unit)
                .map_err(|error| to_py(py, error))?;
            amounts.set_item(self.only_id(row)?, wide_int(py, &units)?)?;
        }
        Ok(Shares(amounts))
    }

    /// Write a bundle that `poh_holdmetrics verify` computes anew: the events, the question, these
    /// scores, and the root of the Merkle tree of their claims where holder ids are addresses.
    ///
    /// Parameters
    /// ----------
    /// path
    ///     A file, which is there whole or not at all.
    /// unit
    ///     The size of one unit of a claim, as in `amounts`; without it the largest power of ten
    ///     of which every possible score is a whole number.
    #[pyo3(signature = (path, *, unit=None))]
    fn proof_bundle(
        slf: &Bound<'_, Self>,
        path: PathBuf,
        unit: Option<Amount<'_>>,
    ) -> PyResult<()> {
        slf.get().source()?;
        let unit = match unit {
            Some(unit) => number(&unit.0, "the unit")?,
            // The digits that sums are kept with: every score is a whole number of these.
            None => Weight::new(U256::from(1u64), slf.get().scores.digits()),
        };
        let unit = unit.to_string();
        let bundle = slf.py().import("poh_holdmetrics.bundle")?;
        bundle.call_method1("write", (slf, path, unit))?;
        Ok(())
    }

    /// The question of this answer, for a bundle.
    fn _parameters<'py>(&self, py: Python<'py>) -> PyResult<Dump<'py>> {
        let (holds, query) = self.source()?;
        Ok(Dump(parameters(py, query, holds.scale())?.into_any()))
    }

    /// The events behind this answer, for a bundle.
    fn _events<'py>(&self, py: Python<'py>) -> PyResult<Leaves<'py>> {
        Ok(Leaves(events(py, &self.source()?.0)?.into_any()))
    }

    /// The rows as dicts.
    fn to_pylist<'py>(&self, py: Python<'py>) -> PyResult<Vec<Record<'py>>> {
        let columns = self.scores.columns();
        (0..self.scores.len())
            .map(|row| self.row(py, &columns, row))
            .collect()
    }

    /// The rows as an Arrow stream (the Arrow PyCapsule interface).
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Capsule<'py>>,
    ) -> PyResult<Capsule<'py>> {
        let batch = py
            .detach(|| self.scores.to_batch())
            .map_err(|error| to_py(py, error))?;
        capsule(py, batch, requested_schema)
    }

    /// Write the rows as a Parquet file, which is there whole or not at all.
    fn write_parquet(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let batch = py
            .detach(|| self.scores.to_batch())
            .map_err(|error| to_py(py, error))?;
        write_whole(py, &batch, path)
    }

    /// The rows as a `pandas.DataFrame`; needs pandas and pyarrow.
    fn to_pandas<'py>(slf: &Bound<'py, Self>) -> PyResult<Frame<'py>> {
        to_pandas(slf.as_any()).map(Frame)
    }

    /// The rows as a `polars.DataFrame`; needs polars.
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Frame<'py>> {
        to_polars(slf.as_any()).map(Frame)
    }
}

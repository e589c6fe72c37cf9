//! `Holds`: many holds, and the questions to them.

use poh_holdmetrics::{By, Field, HoldError, OPEN, Overlap, Query, Rounding, Weight, score};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use crate::arguments::{Data, Instant, Zone};
use crate::columns::Column;
use crate::errors::{Place, Refusal, to_py};
use crate::event::HoldEvent;
use crate::options::{ByWord, OverlapWord, RoundingWord};
use crate::scores::Scores;
use crate::values::{Clock, id, weight};

/// A table of holds, read once and asked many times.
///
/// Parameters
/// ----------
/// data
///     An iterable of `HoldEvent` or of dicts, or a dict of columns (lists or numpy arrays). Keys
///     and columns are `holder_id`, `token_id`, `start`, `end` and `weight`; without `end` every
///     hold is open, without `weight` every weight is 1.
/// scale
///     Digits after the decimal point that weights keep, 0 to 18.
/// rounding
///     Digits beyond the scale are an error, or rounded with "half-even".
/// tz
///     The zone of datetimes that name none: an IANA name or a tzinfo. Without it they are read
///     as UTC, with one warning.
/// strict
///     Refuse datetimes without a time zone.
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
    holds: poh_holdmetrics::Holds,
}

#[pymethods]
impl Holds {
    #[new]
    #[pyo3(signature = (data, *, scale=9, rounding=None, tz=None, strict=false))]
    fn new(
        data: Data<'_>,
        scale: u8,
        rounding: Option<RoundingWord>,
        tz: Option<Zone<'_>>,
        strict: bool,
    ) -> PyResult<Self> {
        let data = &data.0;
        let py = data.py();
        let rounding = rounding.map_or(Rounding::Refuse, |word| word.0);
        let mut holds = poh_holdmetrics::Holds::new(scale)
            .map_err(|error| to_py(py, error))?
            .with_rounding(rounding);
        let clock = Clock::new(tz.as_ref().map(|zone| &zone.0), strict)?;
        if let Ok(columns) = data.cast::<PyMapping>() {
            push_columns(&mut holds, columns, &clock)?;
        } else {
            let rows = data.try_iter().map_err(|_| {
                PyTypeError::new_err(format!(
                    "data is a {}; give an iterable of HoldEvent or dicts, or a dict of columns",
                    data.get_type()
                ))
            })?;
            for row in rows {
                push_row(&mut holds, &row?, &clock)?;
            }
        }
        Ok(Holds { holds })
    }

    fn __len__(&self) -> usize {
        self.holds.len()
    }

    fn __repr__(&self) -> String {
        format!(
            "<Holds: {} holds of {} tokens by {} holders>",
            self.holds.len(),
            self.holds.tokens().len(),
            self.holds.holders().len()
        )
    }

    /// Digits after the decimal point that weights keep.
    #[getter]
    fn scale(&self) -> u8 {
        self.holds.scale()
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
    /// threads
    ///     None for one a processor. The answer is the same for any number.
    ///
    /// Returns
    /// -------
    /// Scores
    ///     A row for each holder (token, pair) of the table, in order of first appearance.
    #[pyo3(signature = (
        *, by=ByWord(By::Holder), overlap=OverlapWord(Overlap::Sum), at=None, start=None, end=None,
        threads=None
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
        threads: Option<usize>,
    ) -> PyResult<Scores> {
        let clock = Clock::new(None, false)?;
        let instant = |value: Option<Instant<'_>>, field| -> Result<Option<i64>, Refusal> {
            value
                .map(|value| clock.micros(&value.0, Place { row: None, field }))
                .transpose()
        };
        let query = Query {
            by: by.0,
            overlap: overlap.0,
            at: instant(at, Field::End)?.map_or_else(now, Ok)?,
            start: instant(start, Field::Start)?,
            end: instant(end, Field::End)?,
            threads,
        };
        let scores = py
            .detach(|| score(&self.holds, &query))
            .map_err(|error| to_py(py, error))?;
        Ok(Scores::new(scores))
    }
}

/// The clock, read once.
fn now() -> PyResult<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let micros = since
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok());
    micros.ok_or_else(|| {
        pyo3::exceptions::PyOSError::new_err("the clock of this machine is before 1970; give at=")
    })
}

fn push_columns(
    holds: &mut poh_holdmetrics::Holds,
    columns: &Bound<'_, PyMapping>,
    clock: &Clock,
) -> PyResult<()> {
    let py = columns.py();
    let column = |field: Field| -> PyResult<Option<Column<'_>>> {
        match columns.get_item(field.to_string()) {
            Ok(values) if values.is_none() => Ok(None),
            Ok(values) => Column::new(&values, field).map(Some),
            Err(_) => Ok(None),
        }
    };
    let needed = |field: Field| -> PyResult<Column<'_>> {
        column(field)?.ok_or_else(|| {
            to_py(
                py,
                HoldError::Argument(format!(
                    "there is no column {field:?}",
                    field = field.to_string()
                )),
            )
        })
    };
    let holder = needed(Field::HolderId)?;
    let token = needed(Field::TokenId)?;
    let start = needed(Field::Start)?;
    let end = column(Field::End)?;
    let weights = column(Field::Weight)?;
    let lengths = [
        (Field::TokenId, Some(token.len())),
        (Field::Start, Some(start.len())),
        (Field::End, end.as_ref().map(Column::len)),
        (Field::Weight, weights.as_ref().map(Column::len)),
    ];
    for (field, length) in lengths {
        if let Some(found) = length
            && found != holder.len()
        {
            return Err(to_py(
                py,
                HoldError::Length {
                    field,
                    found,
                    expected: holder.len(),
                },
            ));
        }
    }
    for row in 0..holder.len() {
        let place = |field| Place {
            row: Some(row),
            field,
        };
        let from = start.start(place(Field::Start), row, clock)?;
        let to = match &end {
            Some(end) => end.end(place(Field::End), row, clock)?,
            None => OPEN,
        };
        let amount = match &weights {
            Some(weights) => weights.weight(place(Field::Weight), row)?,
            None => Weight::ONE,
        };
        let pushed = holder.with_id(place(Field::HolderId), row, |holder_id| {
            token.with_id(place(Field::TokenId), row, |token_id| {
                holds.push_row(holder_id, token_id, from, to, &amount)
            })
        })??;
        pushed.map_err(|error| to_py(py, error))?;
    }
    Ok(())
}

fn push_row(
    holds: &mut poh_holdmetrics::Holds,
    row: &Bound<'_, PyAny>,
    clock: &Clock,
) -> PyResult<()> {
    let py = row.py();
    if let Ok(event) = row.cast_exact::<HoldEvent>() {
        let event = event.get();
        let (holder, token) = (event.holder_id.to_str(py)?, event.token_id.to_str(py)?);
        return holds
            .push_row(holder, token, event.start, event.end, &event.weight)
            .map_err(|error| to_py(py, error));
    }
    let number = holds.len();
    let place = |field| Place {
        row: Some(number),
        field,
    };
    let value = |field: Field| -> PyResult<Option<Bound<'_, PyAny>>> {
        let name = field.to_string();
        let found = if let Ok(dict) = row.cast::<PyDict>() {
            dict.get_item(name)?
        } else if let Ok(mapping) = row.cast::<PyMapping>() {
            mapping.get_item(name).ok()
        } else {
            row.getattr_opt(name)?
        };
        Ok(found.filter(|value| !value.is_none()))
    };
    let needed = |field: Field| -> PyResult<Bound<'_, PyAny>> {
        value(field)?.ok_or_else(|| to_py(py, place(field).error(poh_holdmetrics::Fault::Missing)))
    };
    let (holder, token) = (needed(Field::HolderId)?, needed(Field::TokenId)?);
    let start = clock.micros(&needed(Field::Start)?, place(Field::Start))?;
    let end = match value(Field::End)? {
        Some(end) => clock.end_micros(&end, place(Field::End))?,
        None => OPEN,
    };
    let amount = match value(Field::Weight)? {
        Some(value) => weight(&value, place(Field::Weight))?,
        None => Weight::ONE,
    };
    let holder = id(&holder, place(Field::HolderId))?;
    let token = id(&token, place(Field::TokenId))?;
    holds
        .push_row(holder.as_ref(), token.as_ref(), start, end, &amount)
        .map_err(|error| to_py(py, error))
}

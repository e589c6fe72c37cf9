//! Epochs: which there are, and the scores of all of them as one table.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{Field, Schema};
use poh_holdmetrics::{Every, HoldError, Query, Scores, epoch_boundaries, excerpt};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arguments::{Instant, Length, Zone};
use crate::boost::Boost;
use crate::errors::to_py;
use crate::holds::{clock, moment};
use crate::options::{ByWord, OverlapWord, Threads};
use crate::values::{duration, zone_name};

/// Which epochs, and as of when.
pub(crate) struct Epochs {
    every: Every,
    start: i64,
    zone: String,
    at: i64,
    finalized: i64,
}

impl Epochs {
    /// Instants that name no zone are in that of the epochs.
    pub(crate) fn new(
        every: Length<'_>,
        start: Instant<'_>,
        tz: Option<Zone<'_>>,
        at: Option<Instant<'_>>,
        finalized_before: Option<Instant<'_>>,
    ) -> PyResult<Self> {
        let named = tz.as_ref().map(|tz| name_of_zone(&tz.0)).transpose()?;
        let zone = (tz.as_ref(), false);
        Ok(Epochs {
            every: length(&every.0)?,
            start: moment(&start, zone)?,
            zone: named.unwrap_or_else(|| "UTC".to_owned()),
            at: match &at {
                Some(at) => moment(at, zone)?,
                None => clock()?,
            },
            finalized: match &finalized_before {
                Some(instant) => moment(instant, zone)?,
                None => i64::MIN,
            },
        })
    }

    pub(crate) fn query(
        &self,
        by: ByWord,
        overlap: OverlapWord,
        boost: Option<&Bound<'_, Boost>>,
        threads: Option<Threads>,
    ) -> Query {
        Query {
            by: by.0,
            overlap: overlap.0,
            boost: boost.map(|boost| boost.get().boost.clone()),
            threads: threads.map(|threads| threads.0),
            ..Query::at(self.at)
        }
    }

    /// One table of the scores that `answer` has for the windows between boundaries.
    pub(crate) fn table(
        &self,
        answer: impl FnOnce(&[i64]) -> Result<Vec<Scores>, HoldError>,
    ) -> Result<RecordBatch, HoldError> {
        let boundaries = epoch_boundaries(self.every, self.start, self.at, &self.zone)?;
        // What comes after the instant of the answer can change all the same.
        by_epoch(
            &boundaries,
            answer(&boundaries)?,
            self.finalized.min(self.at),
        )
    }

    pub(crate) fn at(&self) -> i64 {
        self.at
    }
}

/// The name that the core knows a zone by.
fn name_of_zone(tz: &Bound<'_, PyAny>) -> PyResult<String> {
    zone_name(tz)?.ok_or_else(|| {
        let shown = excerpt(&tz.to_string());
        let what = format!("tz={shown} has no name of a time zone; give one, as \"Europe/Paris\"");
        to_py(tz.py(), HoldError::Argument(what))
    })
}

/// `"1d"`, `"2w"`, `"3mo"`, a number of seconds or a timedelta.
fn length(value: &Bound<'_, PyAny>) -> PyResult<Every> {
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
fn by_epoch(
    boundaries: &[i64],
    scores: Vec<Scores>,
    finalized: i64,
) -> Result<RecordBatch, HoldError> {
    let mut parts = Vec::new();
    for (epoch, (window, scores)) in boundaries.windows(2).zip(scores).enumerate() {
        let (from, to) = (window[0], window[1]);
        let rows = scores.to_batch()?;
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
        fields.push(Arc::new(Field::new(
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

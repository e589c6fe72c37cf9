//! One hold, and what is known of one holder.

use crate::error::{Fault, Field, HoldError};
use crate::time::{OPEN, in_range};
use crate::weight::Weight;

/// One hold of one token by one holder over `[start, end)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HoldEvent {
    /// What is held.
    pub token_id: String,
    /// Who holds it.
    pub holder_id: String,
    /// The first instant of the hold, microseconds since 1970 UTC.
    pub start: i64,
    /// The first instant after it; `None` while the hold is open.
    pub end: Option<i64>,
    /// How much is held.
    pub weight: Weight,
}

impl HoldEvent {
    /// A hold that has been checked.
    ///
    /// # Errors
    /// [`HoldError::Value`] with the field: an empty id, a time out of range, an end before the
    /// start.
    pub fn new(
        token_id: impl Into<String>,
        holder_id: impl Into<String>,
        start: i64,
        end: Option<i64>,
        weight: Weight,
    ) -> Result<Self, HoldError> {
        let event = HoldEvent {
            token_id: token_id.into(),
            holder_id: holder_id.into(),
            start,
            end,
            weight,
        };
        for (field, id) in [
            (Field::HolderId, &event.holder_id),
            (Field::TokenId, &event.token_id),
        ] {
            if id.is_empty() {
                return Err(HoldError::Value {
                    field,
                    fault: Fault::EmptyId,
                });
            }
        }
        check_times(start, end.unwrap_or(OPEN))
            .map_err(|(field, fault)| HoldError::Value { field, fault })?;
        Ok(event)
    }
}

/// Both times are in range and in order. `end` is [`OPEN`] for a hold without an end.
#[inline]
pub(crate) fn check_times(start: i64, end: i64) -> Result<(), (Field, Fault)> {
    in_range(start).map_err(|fault| (Field::Start, fault))?;
    if end != OPEN {
        in_range(end).map_err(|fault| (Field::End, fault))?;
        if end < start {
            return Err((Field::End, Fault::EndBeforeStart { start, end }));
        }
    }
    Ok(())
}

/// What one holder has by some instant.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldStat {
    /// Who holds.
    pub holder_id: String,
    /// Time held, in microseconds.
    pub total_micros: i128,
    /// Seconds times weight, every digit.
    pub weighted_score_exact: String,
    /// The same as the nearest float.
    pub weighted_score: f64,
    /// The last start or end at or before the instant asked about.
    pub updated_at: Option<i64>,
}

//! Past one machine, Arrow in and Arrow out: each worker makes a state of its part of the holds
//! ([`partial`]), states add up in any order and grouping ([`merge`]), and what they come to is the
//! answer ([`finish`]), with the same bits as on one machine.
//!
//! With [`Overlap::Union`](crate::Overlap::Union) and [`Overlap::Max`](crate::Overlap::Max) all holds
//! of one holder must be in one part.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use hashbrown::HashMap;
use ruint::aliases::U256;

use crate::boost::Boost;
use crate::error::HoldError;
use crate::exact::U512;
use crate::holds::Holds;
use crate::ids::Ids;
use crate::query::{NEVER, Query};
use crate::score::score;
use crate::scores::{Keys, Scores, Sums};
use crate::time::Shown;
use crate::weight::MAX_SCALE;

/// The digits of a weight, of a microsecond and of a boost.
const MOST_DIGITS: u32 = MAX_SCALE as u32 + 6 + Boost::MOST_DIGITS;

/// The columns of a state: the ids, microseconds (16 bytes) and weighted sums (64 bytes) as
/// little-endian integers, the last boundary, the digits of the sums, and the instant of the answer.
pub fn state_schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("holder_id", DataType::Utf8, true),
        Field::new("token_id", DataType::Utf8, true),
        Field::new("micros", DataType::Binary, false),
        Field::new("weighted", DataType::Binary, false),
        Field::new("updated_us", DataType::Int64, true),
        Field::new("digits", DataType::Int64, false),
        Field::new("at_us", DataType::Int64, false),
    ]))
}

/// The state of a part of the holds: a batch with the columns of [`Holds::append`]. Weights keep
/// `scale` digits after the decimal point. (A part in files or in many batches goes through a
/// [`Fold`](crate::Fold), whose answer has a [`state`](Scores::state) too.)
///
/// # Errors
/// As [`Holds::append`] and [`score`].
///
/// ```
/// use poh_holdmetrics::{HoldEvent, Holds, Query, finish, merge, partial};
///
/// let mut states = Vec::new();
/// for day in 0..3 {
///     let mut holds = Holds::new(9)?;
///     holds.push(&HoldEvent::new("punk-7", "alice", day, Some(10_000_000 + day), "2.5".parse()?)?)?;
///     states.push(partial(&holds.to_batch(None)?, &Query::at(60_000_000), 9)?);
/// }
/// let scores = finish([merge(states)?], None)?;
/// assert_eq!(scores.weighted_exact(0), "75");
/// assert_eq!(scores.at(), 60_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn partial(batch: &RecordBatch, query: &Query, scale: u8) -> Result<RecordBatch, HoldError> {
    let mut holds = Holds::new(scale)?;
    holds.append(batch)?;
    score(&holds, query)?.state()
}

/// Adds up states to one, in order of holder, then token id.
///
/// # Errors
/// As [`finish`].
pub fn merge(states: impl IntoIterator<Item = RecordBatch>) -> Result<RecordBatch, HoldError> {
    // Where there is no row there is no instant either, and none is needed.
    added(states, None)?.0.state()
}

/// The scores of states, which are added up where they are several: in order of holder, then token
/// id.
///
/// `at` is the instant of the answer, which every row of a state says too: it is needed only where
/// there may be no row.
///
/// # Errors
/// [`HoldError::Argument`] for a batch that is no state, for states of different instants, and for
/// states without a row where `at` does not say the instant; [`HoldError::Overflow`] when a sum does
/// not fit in 512 bits.
pub fn finish(
    states: impl IntoIterator<Item = RecordBatch>,
    at: Option<i64>,
) -> Result<Scores, HoldError> {
    match added(states, at)? {
        (scores, true) => Ok(scores),
        (_, false) => Err(HoldError::Argument(
            "states without a row do not say of which instant they are; give at=".to_owned(),
        )),
    }
}

impl Scores {
    /// The sums as a state, which [`merge`] adds to others.
    ///
    /// # Errors
    /// [`HoldError::Argument`] when the columns do not fit in Arrow, and where not all of them were
    /// asked for.
    pub fn state(&self) -> Result<RecordBatch, HoldError> {
        if self.wanted.is_some() {
            return Err(HoldError::Argument(
                "a state has all columns: ask for it without columns".to_owned(),
            ));
        }
        let mut holder = StringBuilder::new();
        let mut token = StringBuilder::new();
        let (mut micros, mut weighted) = (BinaryBuilder::new(), BinaryBuilder::new());
        let mut updated = Int64Builder::new();
        for row in 0..self.len() {
            holder.append_option(self.holder_id(row));
            token.append_option(self.token_id(row));
            micros.append_value(self.total_micros(row).to_le_bytes());
            weighted.append_value(self.weighted(row).widened().to_le_bytes::<64>());
            updated.append_option(self.updated_at(row));
        }
        let same = |value: i64| -> ArrayRef { Arc::new(Int64Array::from_value(value, self.len())) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(holder.finish()),
            Arc::new(token.finish()),
            Arc::new(micros.finish()),
            Arc::new(weighted.finish()),
            Arc::new(updated.finish()),
            same(i64::from(self.digits())),
            same(self.at()),
        ];
        RecordBatch::try_new(state_schema(), columns)
            .map_err(|error| HoldError::Argument(error.to_string()))
    }
}

/// The codes of a column of ids that all rows have, or no row.
fn all_or_none(
    codes: impl Iterator<Item = Option<u32>> + Clone,
) -> Result<Option<Vec<u32>>, HoldError> {
    let all: Option<Vec<u32>> = codes.clone().collect();
    match all.filter(|all| !all.is_empty()) {
        None if codes.flatten().next().is_some() => Err(HoldError::Argument(
            "states of different questions do not add up: some rows have an id that others have not"
                .to_owned(),
        )),
        all => Ok(all),
    }
}

/// The sum of states, and whether it is known of which instant it is.
fn added(
    states: impl IntoIterator<Item = RecordBatch>,
    mut at: Option<i64>,
) -> Result<(Scores, bool), HoldError> {
    struct Sum {
        micros: i128,
        weighted: U512,
        updated: i64,
        digits: u32,
    }
    let wrong = || HoldError::Argument("this is not a state that `partial` made".to_owned());
    let (mut holders, mut tokens) = (Ids::default(), Ids::default());
    let mut sums: HashMap<(Option<u32>, Option<u32>), Sum> = HashMap::new();
    for state in states {
        let columns: Vec<&ArrayRef> = state_schema()
            .fields()
            .iter()
            .map(|field| {
                let column = state.column_by_name(field.name());
                column
                    .filter(|column| column.data_type() == field.data_type())
                    .ok_or_else(wrong)
            })
            .collect::<Result<_, _>>()?;
        let [holder, token, micros, weighted, updated, digits, instant] = columns[..] else {
            return Err(wrong());
        };
        let (holder, token) = (holder.as_string::<i32>(), token.as_string::<i32>());
        let (micros, weighted) = (micros.as_binary::<i32>(), weighted.as_binary::<i32>());
        let updated = updated.as_primitive::<Int64Type>();
        let digits = digits.as_primitive::<Int64Type>();
        if instant.null_count() > 0 {
            return Err(wrong());
        }
        for &instant in instant.as_primitive::<Int64Type>().values() {
            let known = *at.get_or_insert(instant);
            if known != instant {
                return Err(HoldError::Argument(format!(
                    "states of different instants do not add up: {} and {}; give every part the same at=",
                    Shown(known),
                    Shown(instant)
                )));
            }
        }
        for row in 0..state.num_rows() {
            let key = (
                holder
                    .is_valid(row)
                    .then(|| holders.intern(holder.value(row))),
                token.is_valid(row).then(|| tokens.intern(token.value(row))),
            );
            let bytes: [u8; 16] = micros.value(row).try_into().map_err(|_| wrong())?;
            let part = Sum {
                micros: i128::from_le_bytes(bytes),
                weighted: U512::try_from_le_slice(weighted.value(row)).ok_or_else(wrong)?,
                updated: if updated.is_valid(row) {
                    updated.value(row)
                } else {
                    NEVER
                },
                digits: u32::try_from(digits.value(row))
                    .ok()
                    .filter(|&digits| digits <= MOST_DIGITS)
                    .ok_or_else(wrong)?,
            };
            let Some(sum) = sums.get_mut(&key) else {
                sums.insert(key, part);
                continue;
            };
            let most = sum.digits.max(part.digits);
            let scaled = |sum: &Sum| {
                let power = U512::from(10u64).checked_pow(U512::from(most - sum.digits));
                power.and_then(|power| sum.weighted.checked_mul(power))
            };
            let total = scaled(sum)
                .zip(scaled(&part))
                .and_then(|(a, b)| a.checked_add(b));
            sum.weighted = total.ok_or_else(|| HoldError::Overflow {
                id: key
                    .0
                    .map_or_else(String::new, |code| holders.get(code).to_owned()),
                bits: 2 * U256::BITS as u32,
            })?;
            let micros = sum.micros.checked_add(part.micros);
            sum.micros = micros.ok_or_else(wrong)?; // no holds add up to 2^127 microseconds
            sum.updated = sum.updated.max(part.updated);
            sum.digits = most;
        }
    }
    // One number of digits for all rows.
    let most = sums.values().map(|sum| sum.digits).max().unwrap_or(6);
    let mut rows: Vec<_> = sums.into_iter().collect();
    let ids = |(holder, token): (Option<u32>, Option<u32>)| {
        (
            holder.map(|code| holders.get(code)),
            token.map(|code| tokens.get(code)),
        )
    };
    rows.sort_unstable_by(|(left, _), (right, _)| ids(*left).cmp(&ids(*right)));
    let scaled = |sum: &Sum| {
        let power = U512::from(10u64).checked_pow(U512::from(most - sum.digits))?;
        sum.weighted.checked_mul(power)
    };
    let weighted = rows.iter().map(|(key, sum)| {
        scaled(sum).ok_or_else(|| HoldError::Overflow {
            id: key
                .0
                .map_or_else(String::new, |code| holders.get(code).to_owned()),
            bits: 2 * U256::BITS as u32,
        })
    });
    let keys = Keys {
        holders: all_or_none(rows.iter().map(|((holder, _), _)| *holder))?
            .or_else(|| rows.is_empty().then(Vec::new)),
        tokens: all_or_none(rows.iter().map(|((_, token), _)| *token))?,
    };
    let scores = Scores {
        weighted: Sums::Wide(weighted.collect::<Result<_, _>>()?),
        keys,
        micros: rows.iter().map(|(_, sum)| sum.micros).collect(),
        updated: rows.iter().map(|(_, sum)| sum.updated).collect(),
        digits: most,
        wanted: None,
        at: at.unwrap_or_default(),
        holders: Arc::new(holders),
        tokens: Arc::new(tokens),
    };
    Ok((scores, at.is_some()))
}

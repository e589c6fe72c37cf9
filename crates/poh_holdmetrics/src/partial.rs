//! Sums of a part of the holds, as an Arrow batch that travels: on a cluster each worker makes one
//! of its rows, and the sums of all of them are the answer, with the same bits as on one machine.
//!
//! With [`Overlap::Union`](crate::Overlap::Union) and [`Overlap::Max`](crate::Overlap::Max) all holds
//! of one holder must be in one part.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use hashbrown::HashMap;
use ruint::aliases::U256;

use crate::error::HoldError;
use crate::exact::U512;
use crate::ids::Ids;
use crate::query::NEVER;
use crate::scores::{Key, Scores, Sums};

/// The columns of a state: the ids, microseconds (16 bytes) and weighted sums (64 bytes) as
/// little-endian integers, the last boundary, and the digits of the sums.
pub fn state_schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("holder_id", DataType::Utf8, true),
        Field::new("token_id", DataType::Utf8, true),
        Field::new("micros", DataType::Binary, false),
        Field::new("weighted", DataType::Binary, false),
        Field::new("updated_us", DataType::Int64, true),
        Field::new("digits", DataType::Int64, false),
    ]))
}

impl Scores {
    /// The sums as a state, which [`merge_states`] adds to others.
    ///
    /// # Errors
    /// [`HoldError::Argument`] when the columns do not fit in Arrow.
    pub fn to_state(&self) -> Result<RecordBatch, HoldError> {
        let mut holder = StringBuilder::new();
        let mut token = StringBuilder::new();
        let (mut micros, mut weighted) = (BinaryBuilder::new(), BinaryBuilder::new());
        let (mut updated, mut digits) = (Int64Builder::new(), Int64Builder::new());
        for row in 0..self.len() {
            holder.append_option(self.holder_id(row));
            token.append_option(self.token_id(row));
            micros.append_value(self.total_micros(row).to_le_bytes());
            weighted.append_value(self.weighted(row).widened().to_le_bytes::<64>());
            updated.append_option(self.updated_at(row));
            digits.append_value(i64::from(self.digits()));
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(holder.finish()),
            Arc::new(token.finish()),
            Arc::new(micros.finish()),
            Arc::new(weighted.finish()),
            Arc::new(updated.finish()),
            Arc::new(digits.finish()),
        ];
        RecordBatch::try_new(state_schema(), columns)
            .map_err(|error| HoldError::Argument(error.to_string()))
    }
}

/// Adds up states: the scores by `at`, in order of holder, then token id.
///
/// # Errors
/// [`HoldError::Argument`] for a batch that is no state, [`HoldError::Overflow`] when a sum does not
/// fit in 512 bits.
pub fn merge_states(
    states: impl IntoIterator<Item = RecordBatch>,
    at: i64,
) -> Result<Scores, HoldError> {
    struct Sum {
        micros: i128,
        weighted: U512,
        updated: i64,
        digits: u32,
    }
    let wrong = || HoldError::Argument("this is not a state that `to_state` made".to_owned());
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
        let [holder, token, micros, weighted, updated, digits] = columns[..] else {
            return Err(wrong());
        };
        let (holder, token) = (holder.as_string::<i32>(), token.as_string::<i32>());
        let (micros, weighted) = (micros.as_binary::<i32>(), weighted.as_binary::<i32>());
        let updated = updated.as_primitive::<Int64Type>();
        let digits = digits.as_primitive::<Int64Type>();
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
                digits: u32::try_from(digits.value(row)).map_err(|_| wrong())?,
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
    Ok(Scores {
        weighted: Sums::Wide(weighted.collect::<Result<_, _>>()?),
        keys: rows
            .iter()
            .map(|&((holder, token), _)| Key { holder, token })
            .collect(),
        micros: rows.iter().map(|(_, sum)| sum.micros).collect(),
        updated: rows.iter().map(|(_, sum)| sum.updated).collect(),
        digits: most,
        at,
        holders: Arc::new(holders),
        tokens: Arc::new(tokens),
    })
}

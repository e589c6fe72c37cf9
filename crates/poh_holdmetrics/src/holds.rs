//! Many holds, as columns.

use std::sync::Arc;

use ruint::aliases::U256;

use crate::error::{Fault, Field, HoldError};
use crate::event::{HoldEvent, check_times};
use crate::ids::Ids;
use crate::time::OPEN;
use crate::weight::{MAX_SCALE, Rounding, Weight};

/// The weights of all rows, in units of `10^-scale`, as narrow as they allow.
#[derive(Debug, Clone)]
pub enum Weights {
    /// Every weight is 1; the number of rows.
    One(usize),
    /// Every weight fits in 63 bits.
    Narrow(Vec<i64>),
    /// At least one does not.
    Wide(Vec<U256>),
}

impl Weights {
    /// Adds a weight that fits in 63 bits (`Ok`) or not (`Err`), and widens the column for it.
    fn push(&mut self, units: Result<i64, U256>, one: i64) {
        match (&mut *self, units) {
            (Weights::One(rows), Ok(narrow)) if narrow == one => *rows += 1,
            (Weights::One(rows), _) => {
                *self = Weights::Narrow(vec![one; *rows]);
                self.push(units, one);
            }
            (Weights::Narrow(column), Ok(narrow)) => column.push(narrow),
            (Weights::Narrow(column), Err(_)) => {
                *self = Weights::Wide(widened(column));
                self.push(units, one);
            }
            (Weights::Wide(column), Ok(narrow)) => column.push(U256::from(narrow.unsigned_abs())),
            (Weights::Wide(column), Err(wide)) => column.push(wide),
        }
    }
}

/// A table of holds: one row a hold, ids as codes.
#[derive(Debug, Clone)]
pub struct Holds {
    pub(crate) holders: Arc<Ids>,
    pub(crate) tokens: Arc<Ids>,
    pub(crate) holder: Vec<u32>,
    pub(crate) token: Vec<u32>,
    pub(crate) start: Vec<i64>,
    pub(crate) end: Vec<i64>,
    pub(crate) weights: Weights,
    scale: u8,
    rounding: Rounding,
}

impl Holds {
    /// An empty table whose weights keep `scale` digits after the decimal point.
    ///
    /// # Errors
    /// [`HoldError::Argument`] for a scale beyond [`MAX_SCALE`].
    pub fn new(scale: u8) -> Result<Self, HoldError> {
        if scale > MAX_SCALE {
            return Err(HoldError::Argument(format!(
                "scale is {scale}; it is a number of digits from 0 to {MAX_SCALE}"
            )));
        }
        Ok(Holds {
            holders: Arc::default(),
            tokens: Arc::default(),
            holder: Vec::new(),
            token: Vec::new(),
            start: Vec::new(),
            end: Vec::new(),
            weights: Weights::One(0),
            scale,
            rounding: Rounding::Refuse,
        })
    }

    /// The same table with another way to treat digits beyond the scale.
    #[must_use]
    pub fn with_rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = rounding;
        self
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// Digits after the decimal point that weights keep.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// The holders' ids, in the order of their first row.
    pub fn holders(&self) -> &Arc<Ids> {
        &self.holders
    }

    /// The tokens' ids, in the order of their first row.
    pub fn tokens(&self) -> &Arc<Ids> {
        &self.tokens
    }

    /// Adds one hold.
    ///
    /// # Errors
    /// [`HoldError::Row`] when the hold is not valid or its weight does not fit the scale.
    pub fn push(&mut self, event: &HoldEvent) -> Result<(), HoldError> {
        self.push_row(
            &event.holder_id,
            &event.token_id,
            event.start,
            event.end.unwrap_or(OPEN),
            &event.weight,
        )
    }

    /// Adds one hold by its parts; `end` is [`OPEN`] for a hold without an end.
    ///
    /// # Errors
    /// As [`push`](Self::push); the table is then as it was.
    pub fn push_row(
        &mut self,
        holder_id: &str,
        token_id: &str,
        start: i64,
        end: i64,
        weight: &Weight,
    ) -> Result<(), HoldError> {
        let row = self.len();
        for (field, id) in [(Field::HolderId, holder_id), (Field::TokenId, token_id)] {
            if id.is_empty() {
                return Err(HoldError::row(row, field, Fault::EmptyId));
            }
        }
        check_times(start, end).map_err(|(field, fault)| HoldError::row(row, field, fault))?;
        self.push_weight(weight)
            .map_err(|fault| HoldError::row(row, Field::Weight, fault))?;
        self.holder
            .push(Arc::make_mut(&mut self.holders).intern(holder_id));
        self.token
            .push(Arc::make_mut(&mut self.tokens).intern(token_id));
        self.start.push(start);
        self.end.push(end);
        Ok(())
    }

    fn push_weight(&mut self, weight: &Weight) -> Result<(), Fault> {
        let units = match weight.narrow_units_at(self.scale) {
            Some(narrow) => Ok(narrow),
            None => {
                let units = weight.units_at(self.scale, self.rounding)?;
                i64::try_from(units).map_err(|_| units)
            }
        };
        self.weights.push(units, self.one());
        Ok(())
    }

    /// The weight 1 in units of the scale.
    pub(crate) fn one(&self) -> i64 {
        10i64.pow(u32::from(self.scale))
    }
}

pub(crate) fn widened(column: &[i64]) -> Vec<U256> {
    column
        .iter()
        .map(|units| U256::from(units.unsigned_abs()))
        .collect()
}

//! The answer to a question.

use std::cmp::Ordering;
use std::sync::Arc;

use ruint::Uint;
use ruint::aliases::U256;

use crate::boost::Boost;
use crate::error::HoldError;
use crate::event::HoldStat;
use crate::exact::{Total, U512, ratio_to_f64};
use crate::ids::Ids;
use crate::query::{NEVER, Query};
use crate::tally::Tally;
use crate::weight::Weight;

/// A table with one row for each holder (token, pair) that has a hold, in the order of the table's
/// ids: that of their first row. Pairs are in order of holder, then token.
#[derive(Debug, Clone)]
pub struct Scores {
    pub(crate) holders: Arc<Ids>,
    pub(crate) tokens: Arc<Ids>,
    pub(crate) keys: Vec<Key>,
    pub(crate) micros: Vec<i128>,
    pub(crate) weighted: Sums,
    pub(crate) updated: Vec<i64>,
    pub(crate) digits: u32,
    pub(crate) at: i64,
}

/// The ids of one row, as codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) holder: Option<u32>,
    pub(crate) token: Option<u32>,
}

/// Exact totals of all rows, of one width.
#[derive(Debug, Clone)]
pub(crate) enum Sums {
    Narrow(Vec<i128>),
    Wide(Vec<U512>),
}

impl Scores {
    /// Some slots of a tally, as the answer to a question to weights of so many digits.
    pub(crate) fn of(
        tally: &Tally,
        slots: &[usize],
        keys: Vec<Key>,
        updated: Vec<i64>,
        query: &Query,
        (holders, tokens): (Arc<Ids>, Arc<Ids>),
        digits: u8,
    ) -> Self {
        let sums = slots.iter().map(|&slot| tally.sum(slot));
        Scores {
            keys,
            micros: slots.iter().map(|&slot| tally.micros(slot)).collect(),
            weighted: if tally.is_narrow() {
                let narrow = |sum| match sum {
                    Total::Narrow(sum) => sum,
                    Total::Wide(_) => i128::MAX, // there is none in a narrow tally
                };
                Sums::Narrow(sums.map(narrow).collect())
            } else {
                Sums::Wide(sums.map(Total::widened).collect())
            },
            updated,
            digits: u32::from(digits) + 6 + query.boost.as_ref().map_or(0, Boost::digits),
            at: query.at,
            holders,
            tokens,
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.updated.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.updated.is_empty()
    }

    /// The instant of the answer, microseconds since 1970 UTC.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// The row's holder; `None` when rows are tokens.
    pub fn holder_id(&self, row: usize) -> Option<&str> {
        self.keys[row].holder.map(|code| self.holders.get(code))
    }

    /// The row's token; `None` when rows are holders.
    pub fn token_id(&self, row: usize) -> Option<&str> {
        self.keys[row].token.map(|code| self.tokens.get(code))
    }

    /// Time held, in microseconds.
    pub fn total_micros(&self, row: usize) -> i128 {
        self.micros[row]
    }

    /// Time held, in seconds, as the nearest float.
    pub fn total_seconds(&self, row: usize) -> f64 {
        Total::Narrow(self.micros[row]).to_f64(6)
    }

    /// Seconds times weight as an integer count of `10^-digits`.
    pub fn weighted(&self, row: usize) -> Total {
        match &self.weighted {
            Sums::Narrow(sums) => Total::Narrow(sums[row]),
            Sums::Wide(sums) => Total::Wide(sums[row]),
        }
    }

    /// Digits after the decimal point of [`weighted`](Self::weighted).
    pub fn digits(&self) -> u32 {
        self.digits
    }

    /// Seconds times weight, every digit.
    pub fn weighted_exact(&self, row: usize) -> String {
        self.weighted(row).to_decimal(self.digits)
    }

    /// Seconds times weight as the nearest float.
    pub fn weighted_score(&self, row: usize) -> f64 {
        self.weighted(row).to_f64(self.digits)
    }

    /// The last start or end at or before the instant of the answer.
    pub fn updated_at(&self, row: usize) -> Option<i64> {
        Some(self.updated[row]).filter(|&instant| instant != NEVER)
    }

    /// One row as a value of its own. For rows that are tokens `holder_id` is empty.
    pub fn stat(&self, row: usize) -> HoldStat {
        HoldStat {
            holder_id: self.holder_id(row).unwrap_or_default().to_owned(),
            total_micros: self.total_micros(row),
            weighted_score_exact: self.weighted_exact(row),
            weighted_score: self.weighted_score(row),
            updated_at: self.updated_at(row),
        }
    }

    /// The time-weighted average of what was held over a window of `micros`, as the nearest float.
    pub fn average_balance(&self, row: usize, micros: u64) -> f64 {
        let digits = U512::from(10u64).pow(U512::from(self.digits - 6));
        ratio_to_f64(
            self.weighted(row).widened(),
            digits.saturating_mul(U512::from(micros)),
        )
    }

    /// A row's score as a whole number of `unit`s.
    ///
    /// # Errors
    /// [`HoldError::Proof`] when it is not a whole number of them, or not within 256 bits, or when
    /// `unit` is 0.
    pub fn amount(&self, row: usize, unit: &Weight) -> Result<U256, HoldError> {
        type Wide = Uint<1024, 16>;
        let id = || {
            self.holder_id(row)
                .or(self.token_id(row))
                .unwrap_or_default()
        };
        let power = |digits: u32| Wide::from(10u64).checked_pow(Wide::from(digits));
        let parts = || {
            let score = Wide::from(self.weighted(row).widened());
            let above = score.checked_mul(power(unit.digits())?)?;
            let below = Wide::from(unit.whole()).checked_mul(power(self.digits)?)?;
            Some((above, below)).filter(|(_, below)| *below != Wide::ZERO)
        };
        let Some((above, below)) = parts() else {
            return Err(HoldError::Proof(format!(
                "a unit of {unit} can't count a score"
            )));
        };
        let (units, rest) = above.div_rem(below);
        if rest != Wide::ZERO {
            return Err(HoldError::Proof(format!(
                "the score of {:?}, {}, is not a whole number of units of {unit}; give a smaller unit",
                id(),
                self.weighted_exact(row)
            )));
        }
        if units.bit_len() > 256 {
            return Err(HoldError::Proof(format!(
                "the score of {:?} does not fit in 256 bits in units of {unit}",
                id()
            )));
        }
        Ok(units.saturating_to())
    }

    /// Only the rows that held anything within the window.
    #[must_use]
    pub fn held(&self) -> Scores {
        let rows: Vec<usize> = (0..self.len())
            .filter(|&row| self.micros[row] > 0)
            .collect();
        self.take(&rows)
    }

    /// The same rows, the highest score first; equal scores in order of holder, then token id.
    #[must_use]
    pub fn leaderboard(&self) -> Scores {
        self.top_n(self.len())
    }

    /// The `n` rows with the highest scores, the highest first; equal scores in order of holder,
    /// then token id.
    #[must_use]
    pub fn top_n(&self, n: usize) -> Scores {
        let mut rows: Vec<usize> = (0..self.len()).collect();
        let order = |&left: &usize, &right: &usize| self.rank(left, right);
        if n < rows.len() && n > 0 {
            rows.select_nth_unstable_by(n - 1, order);
        }
        rows.truncate(n);
        rows.sort_unstable_by(order);
        self.take(&rows)
    }

    fn rank(&self, left: usize, right: usize) -> Ordering {
        let scores = match &self.weighted {
            Sums::Narrow(sums) => sums[right].cmp(&sums[left]),
            Sums::Wide(sums) => sums[right].cmp(&sums[left]),
        };
        let ids = |row| (self.holder_id(row), self.token_id(row));
        scores.then_with(|| ids(left).cmp(&ids(right)))
    }

    /// Some rows, in the order given.
    pub(crate) fn take(&self, rows: &[usize]) -> Scores {
        let pick = |row: &usize| *row;
        Scores {
            holders: Arc::clone(&self.holders),
            tokens: Arc::clone(&self.tokens),
            keys: rows.iter().map(pick).map(|row| self.keys[row]).collect(),
            micros: rows.iter().map(pick).map(|row| self.micros[row]).collect(),
            weighted: match &self.weighted {
                Sums::Narrow(sums) => Sums::Narrow(rows.iter().map(|&row| sums[row]).collect()),
                Sums::Wide(sums) => Sums::Wide(rows.iter().map(|&row| sums[row]).collect()),
            },
            updated: rows.iter().map(pick).map(|row| self.updated[row]).collect(),
            digits: self.digits,
            at: self.at,
        }
    }
}

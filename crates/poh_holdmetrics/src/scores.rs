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
use crate::query::{NEVER, Query, ScoreColumn};
use crate::tally::Tally;
use crate::weight::Weight;

/// A table with one row for each holder (token, pair) that has a hold, in the order of the table's
/// ids: that of their first row. Pairs are in order of holder, then token.
#[derive(Debug, Clone)]
pub struct Scores {
    pub(crate) holders: Arc<Ids>,
    pub(crate) tokens: Arc<Ids>,
    pub(crate) keys: Keys,
    /// Empty where no column of time was asked for, as `updated`.
    pub(crate) micros: Vec<i128>,
    pub(crate) weighted: Sums,
    pub(crate) updated: Vec<i64>,
    /// The columns that were asked for; `None` for all.
    pub(crate) wanted: Option<Vec<ScoreColumn>>,
    pub(crate) digits: u32,
    pub(crate) at: i64,
}

/// The ids of the rows, as codes: of holders where rows are holders or pairs, of tokens where they are
/// tokens or pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) holders: Option<Vec<u32>>,
    pub(crate) tokens: Option<Vec<u32>>,
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
        slots: &[u32],
        keys: Keys,
        updated: Vec<i64>,
        query: &Query,
        (holders, tokens): (Arc<Ids>, Arc<Ids>),
        digits: u8,
    ) -> Self {
        let micros = slots.iter().map(|&slot| tally.micros(slot as usize));
        let micros = query.has_times().then(|| micros.collect());
        Scores {
            keys,
            micros: micros.unwrap_or_default(),
            weighted: if tally.is_narrow() {
                Sums::Narrow(
                    slots
                        .iter()
                        .map(|&slot| tally.narrow(slot as usize))
                        .collect(),
                )
            } else {
                Sums::Wide(
                    slots
                        .iter()
                        .map(|&slot| tally.sum(slot as usize).widened())
                        .collect(),
                )
            },
            updated,
            wanted: query.columns.clone(),
            digits: u32::from(digits) + 6 + query.boost.as_ref().map_or(0, Boost::digits),
            at: query.at,
            holders,
            tokens,
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        match &self.weighted {
            Sums::Narrow(sums) => sums.len(),
            Sums::Wide(sums) => sums.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns, in their order.
    pub fn columns(&self) -> Vec<ScoreColumn> {
        if let Some(wanted) = &self.wanted {
            return wanted.clone();
        }
        let (holders, tokens) = (self.keys.holders.is_some(), self.keys.tokens.is_some());
        let all = ScoreColumn::ALL.into_iter();
        all.filter(|column| column.is_of(holders, tokens)).collect()
    }

    /// Whether times are known: not where only other columns were asked for.
    pub fn has_times(&self) -> bool {
        self.micros.len() == self.len()
    }

    /// The instant of the answer, microseconds since 1970 UTC.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// The row's holder; `None` when rows are tokens.
    pub fn holder_id(&self, row: usize) -> Option<&str> {
        let codes = self.keys.holders.as_ref()?;
        Some(self.holders.get(codes[row]))
    }

    /// The row's token; `None` when rows are holders.
    pub fn token_id(&self, row: usize) -> Option<&str> {
        let codes = self.keys.tokens.as_ref()?;
        Some(self.tokens.get(codes[row]))
    }

    /// Time held, in microseconds.
    ///
    /// # Panics
    /// Without [`has_times`](Self::has_times), as everything that is of time.
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
        /// Of a column that may not be there.
        fn picked<T: Copy>(column: &[T], rows: &[usize]) -> Vec<T> {
            let all = rows.iter().filter_map(|&row| column.get(row));
            all.copied().collect()
        }
        let keys = &self.keys;
        Scores {
            holders: Arc::clone(&self.holders),
            tokens: Arc::clone(&self.tokens),
            keys: Keys {
                holders: keys.holders.as_ref().map(|codes| picked(codes, rows)),
                tokens: keys.tokens.as_ref().map(|codes| picked(codes, rows)),
            },
            micros: picked(&self.micros, rows),
            weighted: match &self.weighted {
                Sums::Narrow(sums) => Sums::Narrow(picked(sums, rows)),
                Sums::Wide(sums) => Sums::Wide(picked(sums, rows)),
            },
            updated: picked(&self.updated, rows),
            wanted: self.wanted.clone(),
            digits: self.digits,
            at: self.at,
        }
    }
}

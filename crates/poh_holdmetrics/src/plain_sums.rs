//! Weighted sums alone, for questions that ask for no times.

use crate::tally::BlockRows;

/// Sums of many slots.
///
/// The halves of a sum are in tables of their own: nearly all rows touch the lower one alone, of which
/// a second cache of 2 MiB holds those of 250,000 slots. A cell of a [`Tally`](crate::tally::Tally) is
/// four times as large, and takes more instructions a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlainSums {
    low: Vec<u64>,
    /// Empty while no sum has an upper half.
    high: Vec<u64>,
    /// A bit for each slot that has a row which added nothing: its sum does not tell that it is there.
    seen: Vec<u64>,
    /// No sum is above this, which is below 2^127.
    bound: u128,
}

/// Products below this rarely carry into the upper half.
const SMALL: u128 = 1 << 58;

impl PlainSums {
    /// Sums that were added up elsewhere, of slots that all have a row: in two parts, of which few slots
    /// have the second one. None is above `bound`, which is below 2^127.
    pub(crate) fn of(
        low: Vec<u64>,
        more: impl Iterator<Item = (usize, u128)>,
        bound: u128,
    ) -> Self {
        let mut seen = vec![0; low.len().div_ceil(64)];
        for (slot, _) in low.iter().enumerate().filter(|&(_, &sum)| sum == 0) {
            seen[slot / 64] |= 1 << (slot % 64);
        }
        let mut sums = PlainSums {
            low,
            seen,
            bound,
            high: Vec::new(),
        };
        for (slot, sum) in more.filter(|&(_, sum)| sum > 0) {
            sums.add(slot, sum);
        }
        sums
    }

    /// The same sums, where `order` says which slot each is of.
    pub(crate) fn in_order(&self, order: &[u32]) -> Self {
        let low = order.iter().map(|&slot| self.low[slot as usize]);
        let above = order.iter().enumerate().filter_map(|(place, &slot)| {
            let &high = self.high.get(slot as usize)?;
            Some((place, u128::from(high) << 64))
        });
        Self::of(low.collect(), above, self.bound)
    }

    /// Makes room for so many slots, at least.
    pub(crate) fn grow(&mut self, slots: usize) {
        if self.low.is_empty() {
            // Memory that is 0 already.
            self.low = vec![0; slots];
            self.seen = vec![0; slots.div_ceil(64)];
        } else if slots > self.low.len() {
            self.low.resize(slots, 0);
            self.seen.resize(slots.div_ceil(64), 0);
        }
    }

    pub(crate) fn slots(&self) -> usize {
        self.low.len()
    }

    /// The sum of a slot that has a row.
    #[inline]
    pub(crate) fn get(&self, slot: usize) -> Option<i128> {
        let high = self.high.get(slot).copied().unwrap_or_default();
        let sum = u128::from(high) << 64 | u128::from(self.low[slot]);
        let is_seen = sum > 0 || self.seen[slot / 64] >> (slot % 64) & 1 > 0;
        is_seen.then_some(sum.cast_signed())
    }

    /// Adds `spans[i] x weights[i]` to `slots[i]`. Says false, and adds nothing, when a sum could then
    /// be too large.
    pub(crate) fn add_block(&mut self, rows: BlockRows<'_>) -> bool {
        if !rows.gain().is_some_and(|gain| self.make_bound(gain)) {
            return false;
        }
        let slots = rows.slots;
        let columns = slots.iter().zip(rows.spans).zip(rows.weights);
        if rows.any_nothing {
            for ((&slot, &span), &weight) in columns.clone() {
                self.seen[slot as usize / 64] |= u64::from(span == 0 || weight == 0) << (slot % 64);
            }
        }
        let most = rows.most();
        rows.ask_for_first(&self.low);
        for (row, ((&slot, &span), &weight)) in columns.enumerate() {
            rows.ask_ahead(&self.low, row);
            let slot = slot as usize;
            let weight = weight.cast_unsigned();
            if most < SMALL {
                let (sum, carry) = self.low[slot].overflowing_add(span * weight);
                self.low[slot] = sum;
                if carry {
                    self.carry(slot, 1);
                }
            } else {
                self.add(slot, u128::from(span) * u128::from(weight));
            }
        }
        true
    }

    /// Adds the sums of others, whose slots `place` says the place of here. Says false, and adds
    /// nothing, when a sum could then be too large.
    pub(crate) fn merge(&mut self, other: &PlainSums, place: impl Fn(usize) -> usize) -> bool {
        if !self.make_bound(other.bound) {
            return false;
        }
        for (slot, sum) in other.iter() {
            let here = place(slot);
            self.add(here, sum.cast_unsigned());
            self.seen[here / 64] |= u64::from(sum == 0) << (here % 64);
        }
        true
    }

    /// The slots that have a row, and their sums.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, i128)> {
        (0..self.slots()).filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    /// Forgets all rows.
    pub(crate) fn clear(&mut self) {
        self.low.fill(0);
        self.high.clear();
        self.seen.fill(0);
        self.bound = 0;
    }

    #[inline]
    fn add(&mut self, slot: usize, sum: u128) {
        let (low, carry) = self.low[slot].overflowing_add(sum as u64);
        self.low[slot] = low;
        let high = (sum >> 64) as u64 + u64::from(carry);
        if high > 0 {
            self.carry(slot, high);
        }
    }

    #[cold]
    fn carry(&mut self, slot: usize, high: u64) {
        if self.high.len() < self.low.len() {
            self.high.resize(self.low.len(), 0);
        }
        self.high[slot] += high;
    }

    /// Whether there is room for so much more in each slot; raises the bound by it then.
    fn make_bound(&mut self, gain: u128) -> bool {
        let bound = self.bound.checked_add(gain);
        let fits = bound.filter(|&bound| bound <= i128::MAX.unsigned_abs());
        self.bound = fits.unwrap_or(self.bound);
        fits.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::{Total, U512};
    use crate::query::NEVER;
    use crate::tally::Tally;
    use proptest::prelude::*;

    /// Products that are nothing, that are usual, and of which few or none fit.
    fn factor() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0),
            0u64..1000,
            any::<u64>().prop_map(|all| all >> 34),
            any::<u64>()
        ]
    }

    type Rows = Vec<(u32, u64, u64)>;

    /// Of some all products are small, and carry when they are many.
    fn block() -> impl Strategy<Value = Rows> {
        let small = || any::<u64>().prop_map(|all| all >> 35);
        prop_oneof![
            prop::collection::vec((0u32..70, factor(), factor()), 1..6),
            prop::collection::vec((0u32..2, small(), small()), 1..6),
        ]
    }

    proptest! {
        #[test]
        fn they_are_those_of_cells(
            blocks in prop::collection::vec((block(), prop_oneof![Just(1), Just(300)]), 1..20),
        ) {
            const SLOTS: usize = 70;
            let mut parts = [Tally::default(), Tally::default()];
            let mut expected: Vec<Option<U512>> = vec![None; SLOTS];
            let blocks = blocks.iter().flat_map(|(rows, times)| std::iter::repeat_n(rows, *times));
            for (number, rows) in blocks.enumerate() {
                let slots: Vec<u32> = rows.iter().map(|row| row.0).collect();
                let spans: Vec<u64> = rows.iter().map(|row| row.1).collect();
                let weights: Vec<i64> = rows.iter().map(|row| (row.2 >> 1).cast_signed()).collect();
                for row in 0..rows.len() {
                    let product = U512::from(spans[row]) * U512::from(weights[row].unsigned_abs());
                    let sum = &mut expected[slots[row] as usize];
                    *sum = Some(sum.unwrap_or_default() + product);
                }
                let tally = &mut parts[number % 2];
                tally.grow_plain(SLOTS);
                let block = BlockRows {
                    times: [&[]; 2],
                    slots: &slots,
                    spans: &spans,
                    weights: &weights,
                    boundaries: &[],
                    longest: spans.iter().copied().max().unwrap_or_default(),
                    heaviest: weights.iter().copied().max().unwrap_or_default().unsigned_abs(),
                    any_nothing: spans.contains(&0) || weights.contains(&0),
                };
                if tally.add_plain(block).is_ok_and(|added| added) {
                    continue;
                }
                // What a run does where a block does not go the quick way.
                tally.grow(SLOTS);
                for row in 0..rows.len() {
                    let slot = slots[row] as usize;
                    tally.see(slot, NEVER);
                    let product = i128::from(weights[row]) * i128::from(spans[row]);
                    prop_assert!(tally.add(slot, Total::Narrow(product)).is_ok());
                }
            }
            let [mut sum, other] = parts;
            prop_assert!(sum.merge(&other, SLOTS, |slot| slot).is_ok());
            let Ok(sum) = sum.settled() else {
                return Err(TestCaseError::fail("no sum is that large"));
            };
            for (slot, expected) in expected.iter().enumerate().take(sum.slots()) {
                prop_assert_eq!(sum.is_present(slot), expected.is_some());
                prop_assert_eq!(sum.sum(slot).widened(), expected.unwrap_or_default());
            }
        }
    }
}

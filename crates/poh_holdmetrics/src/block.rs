//! The first half of the hot path: what a block of rows adds, before any sum is touched.
//!
//! Both halves are here for the reader: [`BlockRoom::fill`] looks at times and weights in order, without
//! a branch, so that a compiler makes vector code of it; [`Tally::add_block`](crate::tally::Tally::add_block)
//! then goes to the sums, which lie in no order, and does as little as possible there.

use crate::holds::BLOCK;
use crate::query::Window;
use crate::tally::BlockRows;
use crate::time::OPEN;

/// What is computed of a block before its sums.
pub(crate) struct BlockRoom {
    spans: [u64; BLOCK],
    boundaries: [i64; BLOCK],
    /// The weights of rows that name none.
    ones: [i64; BLOCK],
}

/// Times and weights of a block.
#[derive(Clone, Copy)]
pub(crate) struct BlockColumns<'a> {
    pub(crate) starts: &'a [i64],
    pub(crate) ends: &'a [i64],
    /// Not there where every weight is 1.
    pub(crate) weights: Option<&'a [i64]>,
    /// Whether every row has an end.
    pub(crate) closed: bool,
}

impl BlockRoom {
    /// `one` is the weight 1.
    pub(crate) fn new(one: i64) -> Self {
        BlockRoom {
            spans: [0; BLOCK],
            boundaries: [0; BLOCK],
            ones: [one; BLOCK],
        }
    }

    /// What the rows of a block add to `slots`, without their boundaries unless `times` asks for
    /// them; `None` when one of them is not valid.
    pub(crate) fn fill<'a>(
        &'a mut self,
        columns: BlockColumns<'a>,
        slots: &'a [u32],
        window: Window,
        times: bool,
    ) -> Option<BlockRows<'a>> {
        let rows = columns.starts.len();
        let spans = &mut self.spans[..rows];
        let boundaries = &mut self.boundaries[..rows];
        let weights = columns.weights.unwrap_or(&self.ones[..rows]);
        let fill = if times {
            on_this_processor::<true>
        } else {
            on_this_processor::<false>
        };
        let seen = fill(columns, weights, window, spans, boundaries);
        (seen.wrong >= 0).then_some(BlockRows {
            times: [columns.starts, columns.ends],
            slots,
            spans,
            weights,
            boundaries,
            longest: seen.longest,
            heaviest: seen.heaviest.unsigned_abs(),
            any_nothing: seen.nothing < 0,
        })
    }
}

/// What was seen of all rows of a block.
#[derive(Default)]
struct Seen {
    /// Below 0 when any row is not valid.
    wrong: i64,
    /// At least each span, and less than twice the longest; so for the weights.
    longest: u64,
    heaviest: i64,
    /// Below 0 when any row adds nothing.
    nothing: i64,
}

/// Whether a row of these times is valid, in the sign bit.
///
/// A valid instant is within 62 bits; the end, where there is one, is not before the start.
#[inline(always)]
pub(crate) fn wrong_times(start: i64, end: i64, closed: bool) -> i64 {
    const HALF: i64 = 1 << 62;
    let from_open = end ^ OPEN;
    let not_open = from_open | from_open.wrapping_neg(); // sign bit: there is an end
    let wrong_end = end.wrapping_add(HALF) | end.wrapping_sub(start);
    let missing_end = if closed { !not_open } else { 0 };
    start.wrapping_add(HALF) | wrong_end & not_open | missing_end
}

#[inline(always)]
fn fill<const TIMES: bool>(
    columns: BlockColumns<'_>,
    weights: &[i64],
    window: Window,
    spans: &mut [u64],
    boundaries: &mut [i64],
) -> Seen {
    let rows = spans.len();
    let (starts, ends) = (&columns.starts[..rows], &columns.ends[..rows]);
    let (weights, boundaries) = (&weights[..rows], &mut boundaries[..rows]);
    let mut seen = Seen::default();
    for row in 0..rows {
        let (start, end) = (starts[row], ends[row]);
        seen.wrong |= wrong_times(start, end, columns.closed) | weights[row];
        seen.heaviest |= weights[row];
        let (from, to) = window.clip(start, end);
        let span = to.wrapping_sub(from).max(0).unsigned_abs(); // wraps only for times that are wrong
        seen.longest |= span;
        seen.nothing |= span.cast_signed().wrapping_sub(1) | weights[row].wrapping_sub(1);
        spans[row] = span;
        if TIMES {
            boundaries[row] = window.last_boundary(start, end);
        }
    }
    seen
}

#[inline(always)]
fn largest_of(numbers: &[u32]) -> u32 {
    numbers
        .iter()
        .fold(0, |largest, &number| number.max(largest))
}

/// Vectors of the processor's own width where it has AVX2, which a program for every x86-64 may not
/// use unasked: 64-bit integers have no comparison before it. Measured on 10 million rows.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{BlockColumns, Seen};
    use crate::query::Window;

    #[target_feature(enable = "avx2")]
    pub(super) fn fill<const TIMES: bool>(
        columns: BlockColumns<'_>,
        weights: &[i64],
        window: Window,
        spans: &mut [u64],
        boundaries: &mut [i64],
    ) -> Seen {
        super::fill::<TIMES>(columns, weights, window, spans, boundaries)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn largest(numbers: &[u32]) -> u32 {
        super::largest_of(numbers)
    }
}

fn on_this_processor<const TIMES: bool>(
    columns: BlockColumns<'_>,
    weights: &[i64],
    window: Window,
    spans: &mut [u64],
    boundaries: &mut [i64],
) -> Seen {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { avx2::fill::<TIMES>(columns, weights, window, spans, boundaries) };
    }
    fill::<TIMES>(columns, weights, window, spans, boundaries)
}

/// The largest of some numbers; 0 for none.
pub(crate) fn largest(numbers: &[u32]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { avx2::largest(numbers) };
    }
    largest_of(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::NEVER;
    use crate::time::{MAX_MICROS, MIN_MICROS};
    use proptest::prelude::*;

    fn instant() -> impl Strategy<Value = i64> {
        prop_oneof![
            -20i64..20,
            Just(OPEN),
            Just(MIN_MICROS),
            Just(MAX_MICROS),
            any::<i64>(),
        ]
    }

    proptest! {
        /// As the rules say it, row by row, on any processor.
        #[test]
        fn blocks_are_as_their_rows(
            rows in prop::collection::vec((instant(), instant(), -1i64..5), 1..40),
            (from, to) in (-20i64..20, -20i64..20),
            closed in any::<bool>(),
        ) {
            let (window, slots) = (Window { from, to }, vec![0; rows.len()]);
            let starts: Vec<i64> = rows.iter().map(|row| row.0).collect();
            let ends: Vec<i64> = rows.iter().map(|row| row.1).collect();
            let weights: Vec<i64> = rows.iter().map(|row| row.2).collect();
            let range = MIN_MICROS..=MAX_MICROS;
            let valid = rows.iter().all(|&(start, end, weight)| {
                let open = end == OPEN && !closed;
                range.contains(&start) && (open || range.contains(&end) && end >= start) && weight >= 0
            });
            let columns = BlockColumns { starts: &starts, ends: &ends, weights: Some(&weights), closed };
            let mut room = BlockRoom::new(1);
            let spans_alone = room.fill(columns, &slots, window, false);
            let spans_alone = spans_alone.map(|found| found.spans.to_vec());
            let found = room.fill(columns, &slots, window, true);
            prop_assert_eq!(found.is_some(), valid);
            let (mut spans, mut boundaries) = (vec![0; rows.len()], vec![0; rows.len()]);
            let plain = fill::<true>(columns, &weights, window, &mut spans, &mut boundaries);
            if let Some(found) = found {
                for (row, &(start, end, weight)) in rows.iter().enumerate() {
                    let span = (end.min(to) - start.max(from)).max(0);
                    prop_assert_eq!(found.spans[row], span.unsigned_abs());
                    let last = [start, end].into_iter().filter(|&instant| instant <= to).max();
                    prop_assert_eq!(found.boundaries[row], last.unwrap_or(NEVER));
                    prop_assert!(found.spans[row] <= found.longest);
                    prop_assert!(weight.unsigned_abs() <= found.heaviest);
                    prop_assert!(found.any_nothing || (span > 0 && weight > 0));
                }
                prop_assert_eq!((found.spans, found.boundaries), (&*spans, &*boundaries));
                prop_assert_eq!(plain.longest, found.longest);
                prop_assert_eq!(spans_alone.as_deref(), Some(found.spans));
            } else {
                prop_assert_eq!(spans_alone, None);
            }
        }

        #[test]
        fn the_largest_is_found(numbers in prop::collection::vec(any::<u32>(), 0..40)) {
            prop_assert_eq!(largest(&numbers), numbers.iter().copied().max().unwrap_or(0));
            prop_assert_eq!(largest_of(&numbers), largest(&numbers));
        }
    }
}

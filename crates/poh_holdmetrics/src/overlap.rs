//! Holds of one (holder, token) that overlap: each instant counts once.

use std::collections::BinaryHeap;

use crate::exact::Amount;

/// A hold within one group, clipped to the window; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span<A> {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) weight: A,
}

/// The length of the union of spans that are sorted by start, in microseconds.
///
/// A union lies within the range of times, so it always fits.
pub(crate) fn union_micros<A>(spans: &[Span<A>]) -> u64 {
    let mut total = 0;
    let mut reached = i64::MIN;
    for span in spans {
        let from = span.start.max(reached);
        if span.end > from {
            total += from.abs_diff(span.end);
            reached = span.end;
        }
    }
    total
}

/// Calls `piece(weight, micros)` for stretches that add up to the integral of the heaviest weight
/// at each instant. `spans` are sorted by start.
///
/// A sweep over the starts; the heap holds the spans that may still be the heaviest.
pub(crate) fn heaviest<A: Amount>(spans: &[Span<A>], mut piece: impl FnMut(A, u64)) {
    let mut live: BinaryHeap<(A, i64)> = BinaryHeap::new();
    let mut now = i64::MIN;
    let mut advance = |live: &mut BinaryHeap<(A, i64)>, now: &mut i64, until: i64| {
        while *now < until {
            let Some(&(weight, end)) = live.peek() else {
                break;
            };
            if end <= *now {
                live.pop();
                continue;
            }
            let next = end.min(until);
            piece(weight, now.abs_diff(next));
            *now = next;
        }
        *now = until;
    };
    for span in spans {
        advance(&mut live, &mut now, span.start);
        live.push((span.weight, span.end));
    }
    advance(&mut live, &mut now, i64::MAX);
}

//! Holds of one (holder, token) that overlap: each instant counts once.

use std::collections::BinaryHeap;

use crate::exact::Amount;

/// A hold within one group; never empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span<A> {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) weight: A,
}

/// A stretch of time with one weight, and the start of the unbroken run that it is part of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<A> {
    pub(crate) run: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// The end of the hold itself, where the piece is one hold.
    pub(crate) end: i64,
    pub(crate) weight: A,
}

/// The unbroken runs of spans that are sorted by start: holds that touch are one run.
pub(crate) fn runs<A: Copy, E>(
    spans: impl Iterator<Item = (i64, i64)>,
    weight: A,
    mut piece: impl FnMut(Piece<A>) -> Result<(), E>,
) -> Result<(), E> {
    let mut current: Option<(i64, i64)> = None;
    for (start, end) in spans {
        match &mut current {
            Some((_, reached)) if start <= *reached => *reached = end.max(*reached),
            _ => {
                if let Some((from, to)) = current.replace((start, end)) {
                    piece(Piece {
                        run: from,
                        from,
                        to,
                        end: to,
                        weight,
                    })?;
                }
            }
        }
    }
    match current {
        Some((from, to)) => piece(Piece {
            run: from,
            from,
            to,
            end: to,
            weight,
        }),
        None => Ok(()),
    }
}

/// Pieces with the heaviest weight at each instant; `spans` are sorted by start.
///
/// A sweep over the starts; the heap holds the spans that may still be the heaviest.
pub(crate) fn heaviest<A: Amount, E>(
    spans: impl Iterator<Item = Span<A>>,
    mut piece: impl FnMut(Piece<A>) -> Result<(), E>,
) -> Result<(), E> {
    let mut live: BinaryHeap<(A, i64)> = BinaryHeap::new();
    let mut now = i64::MIN;
    let mut run = i64::MIN;
    let mut advance = |live: &mut BinaryHeap<(A, i64)>, now: &mut i64, run: i64, until: i64| {
        while *now < until {
            let Some(&(weight, end)) = live.peek() else {
                break;
            };
            if end <= *now {
                live.pop();
                continue;
            }
            let to = end.min(until);
            piece(Piece {
                run,
                from: *now,
                to,
                end: to,
                weight,
            })?;
            *now = to;
        }
        Ok(())
    };
    for span in spans {
        advance(&mut live, &mut now, run, span.start)?;
        if now < span.start {
            // Nothing was left to hold: a new run begins.
            live.clear();
            run = span.start;
            now = span.start;
        }
        live.push((span.weight, span.end));
    }
    advance(&mut live, &mut now, run, i64::MAX)
}

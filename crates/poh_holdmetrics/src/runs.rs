//! Unbroken runs of holding: the longest of each holder, and how many hold at each instant.

use crate::error::HoldError;
use crate::groups::{Groups, Layout, Packed, Room};
use crate::holds::Holds;
use crate::overlap::{Piece, runs};
use crate::query::Stop;

/// One unbroken run of holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The holder's code in [`Holds::holders`].
    pub holder: u32,
    /// The token's code in [`Holds::tokens`].
    pub token: u32,
    /// Its first instant.
    pub start: i64,
    /// The first instant after it, at most the instant asked about.
    pub end: i64,
}

/// The longest unbroken run of each holder with one token, as of `at`; of equal ones the earliest.
/// Holds that touch are one run. Holders that held nothing before `at` have none.
///
/// # Errors
/// As [`Holds::check`]; [`HoldError::Interrupted`] when `stop` was asked for.
pub fn longest_holds(holds: &Holds, at: i64, stop: &Stop) -> Result<Vec<Run>, HoldError> {
    let mut longest: Vec<Option<Run>> = vec![None; holds.holders().len()];
    each_run(holds, (at, true), stop, |run| {
        let best = &mut longest[run.holder as usize];
        let length = |run: &Run| run.start.abs_diff(run.end);
        let key = |run: &Run| (length(run), -i128::from(run.start));
        if best.as_ref().is_none_or(|best| key(&run) > key(best)) {
            *best = Some(run);
        }
    })?;
    Ok(longest.into_iter().flatten().collect())
}

/// How many holders hold anything, from each instant on at which that changes, up to `at`.
/// Weight 0 is not holding.
///
/// # Errors
/// As [`longest_holds`].
pub fn holders_over_time(
    holds: &Holds,
    at: i64,
    stop: &Stop,
) -> Result<Vec<(i64, u64)>, HoldError> {
    let mut changes: Vec<(i64, i64)> = Vec::new();
    each_run(holds, (at, false), stop, |run| {
        changes.push((run.start, 1));
        if run.end < at {
            changes.push((run.end, -1));
        }
    })?;
    changes.sort_unstable();
    let mut counts: Vec<(i64, u64)> = Vec::new();
    let mut count = 0i64;
    for same_instant in changes.chunk_by(|left, right| left.0 == right.0) {
        let before = count;
        count += same_instant.iter().map(|&(_, change)| change).sum::<i64>();
        if count != before {
            counts.push((same_instant[0].0, count.unsigned_abs()));
        }
    }
    Ok(counts)
}

/// Calls `found` with each run before `at`: of one holder and token, or of one holder and any token
/// with a weight above 0.
fn each_run(
    holds: &Holds,
    (at, by_token): (i64, bool),
    stop: &Stop,
    mut found: impl FnMut(Run),
) -> Result<(), HoldError> {
    let source = holds.source();
    let layout = Layout::survey(source, by_token, 1, stop)?;
    // Whether the row counts is all that there is to know of its weight.
    let counts = |number: usize, row: usize| by_token || !holds.chunks[number].weights.is_zero(row);
    if layout.is_narrow() {
        let groups = Groups::<u64, bool>::new(source, layout, counts, stop)?;
        runs_of(&groups, at, stop, &mut found)
    } else {
        let groups = Groups::<u128, bool>::new(source, layout, counts, stop)?;
        runs_of(&groups, at, stop, &mut found)
    }
}

fn runs_of<K: Packed>(
    groups: &Groups<K, bool>,
    at: i64,
    stop: &Stop,
    found: &mut impl FnMut(Run),
) -> Result<(), HoldError> {
    let mut room = Room::default();
    for bucket in 0..groups.buckets() {
        stop.check()?;
        groups.each_group(bucket, &mut room, true, |holder, token, rows| {
            let spans = rows.iter().filter(|lot| lot.weight);
            let spans = spans.map(|lot| (lot.start, lot.end.min(at)));
            let spans = spans.filter(|(start, end)| end > start);
            runs(spans, (), |piece: Piece<()>| -> Result<(), HoldError> {
                found(Run {
                    holder,
                    token,
                    start: piece.from,
                    end: piece.to,
                });
                Ok(())
            })
        })?;
    }
    Ok(())
}

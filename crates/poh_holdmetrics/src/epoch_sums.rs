//! Scores of windows of time that follow each other, in one pass over the holds.
//!
//! Rows are grouped by what a row of the answer stands for. Each piece of time that counts is cut
//! where windows end, and adds to those that it touches: no window looks at the holds of others.

use std::sync::Arc;

use crate::boost::Held;
use crate::error::HoldError;
use crate::groups::{GroupRows, Groups, Layout, Packed, Room, Source};
use crate::holds::Holds;
use crate::ids::Ids;
use crate::query::{By, NEVER, Query, Stop};
use crate::score::{GroupWork, Halt, Meeting, Run};
use crate::scores::{Keys, Scores};
use crate::tally::{Tally, TooLarge};
use crate::threads::threads_for;

/// The scores of each window between `boundaries`, only of who held anything in it: the same as
/// [`score`](crate::score) says with each `start` and `end`, which count here in place of those of
/// the query. `boundaries` rise; see [`epoch_boundaries`](crate::epoch_boundaries).
///
/// The holds are grouped once, whatever the number of windows. Beside the answer and what
/// [`Overlap::Union`](crate::Overlap::Union) needs there are 44 bytes for each row of the answer, and 32
/// for each window and thread.
///
/// # Errors
/// As [`score`](crate::score), and [`HoldError::Argument`] for boundaries that fall.
///
/// ```
/// use poh_holdmetrics::{HoldEvent, Holds, Query, Stop, score_epochs};
///
/// let mut holds = Holds::new(9)?;
/// holds.push(&HoldEvent::new("punk-7", "alice", 5, Some(12), "2".parse()?)?)?;
/// let epochs = score_epochs(&holds, &Query::at(100), &[0, 10, 20, 30], &Stop::default())?;
/// let micros: Vec<i128> = epochs[..2].iter().map(|scores| scores.total_micros(0)).collect();
/// assert_eq!(micros, [5, 2]);
/// assert!(epochs[2].is_empty());
/// # Ok::<(), poh_holdmetrics::HoldError>(())
/// ```
pub fn score_epochs(
    holds: &Holds,
    query: &Query,
    boundaries: &[i64],
    stop: &Stop,
) -> Result<Vec<Scores>, HoldError> {
    let windows = Windows::new(query, boundaries)?;
    let sums = windows.sums(holds.source(), holds.digits, stop);
    let sums = sums.map_err(|halt| halt.named(query.by, &holds.holders, &holds.tokens))?;
    let ids = (Arc::clone(&holds.holders), Arc::clone(&holds.tokens));
    Ok(windows.scores(&sums, &ids, holds.digits))
}

/// One question to windows that follow each other.
#[derive(Debug)]
pub(crate) struct Windows {
    /// Its window is all of them.
    query: Query,
    from: Vec<i64>,
    /// The ends, or the instant of the answer where that is earlier.
    to: Vec<i64>,
}

impl Windows {
    pub(crate) fn new(query: &Query, boundaries: &[i64]) -> Result<Self, HoldError> {
        if !boundaries.is_sorted() {
            return Err(HoldError::Argument(
                "the boundaries of epochs rise; one is before the one that it follows".to_owned(),
            ));
        }
        let query = Query {
            start: boundaries.first().copied(),
            end: boundaries.last().copied(),
            ..query.clone()
        };
        Run::new(&query, 0, &Stop::default())?;
        let windows = boundaries.windows(2);
        Ok(Windows {
            from: windows.clone().map(|ends| ends[0]).collect(),
            to: windows.map(|ends| ends[1].min(query.at)).collect(),
            query,
        })
    }

    pub(crate) fn by(&self) -> By {
        self.query.by
    }

    /// The sums of some holds, whose weights have so many digits.
    pub(crate) fn sums(
        &self,
        source: Source<'_>,
        digits: u8,
        stop: &Stop,
    ) -> Result<EpochSums, Halt> {
        let source = Source {
            turned: self.query.by == By::Token,
            ..source
        };
        let threads = threads_for(self.query.threads, source.rows());
        let run = Run::new(&self.query, digits, stop)?;
        let layout = Layout::survey(source, self.query.is_grouped(), threads, stop)?;
        run.with_lane(source, layout, &ByWindow { run, windows: self })
    }

    /// The scores of each window, of sums that are in order.
    pub(crate) fn scores(
        &self,
        sums: &EpochSums,
        ids: &(Arc<Ids>, Arc<Ids>),
        digits: u8,
    ) -> Vec<Scores> {
        let mut held: Vec<(Vec<u32>, Vec<i64>)> = vec![Default::default(); self.to.len()];
        let (mut last_id, mut updated) = (None, NEVER);
        for (place, key) in sums.keys.iter().enumerate() {
            if last_id.replace(key.id) != Some(key.id) {
                updated = NEVER;
            }
            updated = updated.max(sums.sums.updated(place));
            if sums.sums.micros(place) > 0 {
                let (places, boundaries) = &mut held[key.window as usize];
                places.push(place as u32);
                boundaries.push(updated);
            }
        }
        let scores = held.into_iter().map(|(places, boundaries)| {
            let ids_of = places.iter().map(|&place| sums.keys[place as usize].id);
            let (first, second): (Vec<u32>, Vec<u32>) = ids_of.unzip();
            let (holders, tokens) = match self.query.by {
                By::Holder => (Some(first), None),
                By::Token => (None, Some(first)),
                By::Both => (Some(first), Some(second)),
            };
            let keys = Keys { holders, tokens };
            let (query, ids) = (&self.query, ids.clone());
            Scores::of(&sums.sums, &places, keys, boundaries, query, ids, digits)
        });
        scores.collect()
    }

    /// The first window that knows of a boundary; none where all end before it.
    fn that_knows(&self, boundary: i64) -> Option<usize> {
        let window = self.to.partition_point(|&to| to < boundary);
        (window < self.to.len()).then_some(window)
    }
}

/// What a holder (token, pair) has in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct EpochKey {
    /// The code of a holder or a token; with pairs that of the token is second, else 0.
    id: (u32, u32),
    window: u32,
}

/// Sums by id and window, of those that a hold touches. What is kept as the last boundary is the
/// last one that no earlier window knows of.
#[derive(Debug, Default)]
pub(crate) struct EpochSums {
    keys: Vec<EpochKey>,
    sums: Tally,
}

impl EpochSums {
    /// Adds those of other holds; `id` says what codes there are here.
    pub(crate) fn append(&mut self, other: EpochSums, id: impl Fn(u32) -> u32) -> Result<(), Halt> {
        let before = self.keys.len();
        self.keys.extend(other.keys.iter().map(|key| EpochKey {
            id: (id(key.id.0), key.id.1),
            ..*key
        }));
        self.sums.grow(self.keys.len());
        let slots = self.sums.slots();
        let added = self.sums.merge(&other.sums, slots, |slot| before + slot);
        added.map_err(|TooLarge(slot)| Halt::TooLarge(self.keys[slot].id.0 as usize))
    }

    /// The same in order of id, then window, and each of them once.
    pub(crate) fn in_order(self) -> Result<Self, Halt> {
        if self.keys.is_sorted_by(|one, next| one < next) {
            return Ok(self);
        }
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        order.sort_unstable_by_key(|&place| self.keys[place]);
        let mut keys: Vec<EpochKey> = Vec::new();
        let mut places = vec![0; order.len()];
        for place in order {
            if keys.last() != Some(&self.keys[place]) {
                keys.push(self.keys[place]);
            }
            places[place] = keys.len() - 1;
        }
        let mut sums = Tally::new(keys.len());
        let added = sums.merge(&self.sums, keys.len(), |slot| places[slot]);
        added.map_err(|TooLarge(slot)| Halt::TooLarge(keys[slot].id.0 as usize))?;
        Ok(EpochSums { keys, sums })
    }
}

/// The sums of one holder (token, pair), window by window.
struct Line {
    sums: Tally,
    touched: Vec<u32>,
}

impl Line {
    fn see(&mut self, window: usize, boundary: i64) {
        if !self.sums.is_present(window) {
            self.touched.push(window as u32);
        }
        self.sums.see(window, boundary);
    }

    /// Moves all that there is, and is empty again.
    fn flush(&mut self, id: (u32, u32), into: &mut EpochSums) -> Result<(), Halt> {
        self.touched.sort_unstable();
        for window in self.touched.drain(..) {
            let place = into.keys.len();
            into.keys.push(EpochKey { id, window });
            into.sums.grow(place + 1);
            let moved = self.sums.move_slot(window as usize, &mut into.sums, place);
            moved.map_err(|_| Halt::TooLarge(id.0 as usize))?;
        }
        Ok(())
    }
}

/// Adds the rows of groups to the windows that they touch.
struct ByWindow<'a> {
    run: Run<'a>,
    windows: &'a Windows,
}

impl GroupWork for ByWindow<'_> {
    type Answer = EpochSums;

    fn meet<K: Packed, M: Meeting<W>, W: Copy + Default + Send + Sync>(
        &self,
        _source: Source<'_>,
        groups: &Groups<K, W>,
        meeting: &M,
    ) -> Result<EpochSums, Halt> {
        let state = || {
            let line = Line {
                sums: Tally::new(self.windows.to.len()),
                touched: Vec::new(),
            };
            (Room::default(), line)
        };
        let sizes = (groups.buckets(), groups.threads());
        let (_, found) = self.run.each_bucket(sizes, state, |(room, line), bucket| {
            let mut here = EpochSums::default();
            let mut last = None;
            groups.each_group(bucket, room, M::BY_START, |first, second, rows| {
                let id = match self.windows.query.by {
                    By::Both => (first, second),
                    By::Holder | By::Token => (first, 0),
                };
                if let Some(done) = last.replace(id).filter(|&done| done != id) {
                    line.flush(done, &mut here)?;
                }
                let added = self.add_group(line, rows, meeting);
                added.map_err(|_| Halt::TooLarge(first as usize))
            })?;
            if let Some(done) = last {
                line.flush(done, &mut here)?;
            }
            Ok(here)
        })?;
        let mut all = EpochSums::default();
        for here in found {
            all.append(here, |id| id)?;
        }
        all.in_order() // a holder with many rows may be in several buckets
    }
}

impl ByWindow<'_> {
    fn add_group<K: Packed, M: Meeting<W>, W: Copy>(
        &self,
        line: &mut Line,
        rows: GroupRows<'_, K, W>,
        meeting: &M,
    ) -> Result<(), TooLarge> {
        let windows = self.windows;
        let Some(&until) = windows.to.last() else {
            return Ok(());
        };
        for lot in rows.iter() {
            for boundary in [lot.start, lot.end] {
                if let Some(window) = windows.that_knows(boundary) {
                    line.see(window, boundary);
                }
            }
        }
        let lots = rows.iter().filter(|lot| lot.end.min(until) > lot.start);
        meeting.pieces(lots, until, |piece| {
            let first = windows.to.partition_point(|&to| to <= piece.from);
            let ends = windows.from.iter().zip(&windows.to).enumerate().skip(first);
            for (window, (&from, &to)) in ends.take_while(|(_, (from, _))| **from < piece.to) {
                let held = Held {
                    origin: piece.run,
                    from: from.max(piece.from),
                    to: to.min(piece.to),
                    end: piece.end,
                };
                if held.from < held.to {
                    line.see(window, NEVER);
                    line.sums.add_micros(window, held.from.abs_diff(held.to));
                    let sum = self.run.accrued(piece.weight, held);
                    line.sums.add(window, sum.ok_or(TooLarge(window))?)?;
                }
            }
            Ok(())
        })
    }
}

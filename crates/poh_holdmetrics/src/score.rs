//! The main question: how much was held, by whom, for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ruint::aliases::U256;

use crate::arrow::Text;
use crate::block::{BlockColumns, BlockRoom};
use crate::boost::{Boost, Held};
use crate::error::HoldError;
use crate::exact::{Amount, Total, U512};
use crate::groups::{GroupRows, Groups, Layout, Lot, Packed, Room, Source};
use crate::holds::{Block, Chunk, Holds, Weights, blocks};
use crate::id_sums::{AT_ONCE, SumsByText};
use crate::ids::Ids;
use crate::overlap::{Piece, Span, heaviest, runs};
use crate::query::{ABSENT, By, Overlap, Query, Stop, Window};
use crate::scores::{Keys, Scores};
use crate::tally::{Tally, TooLarge};
use crate::threads::{in_parts, in_threads, part_of, threads_for};
use crate::time::OPEN;

/// Adds up a table of holds.
///
/// `at` clips every hold, closed ones too. Every holder (token, pair) of the table has a row, also
/// one that scores nothing.
///
/// # Errors
/// [`HoldError::Argument`] for an instant out of range, a window that ends before it starts or a
/// boost that does not go with the overlap; [`HoldError::Row`] for a row borrowed from Arrow that
/// is not valid; [`HoldError::Overflow`] when a total does not fit in 512 bits.
pub fn score(holds: &Holds, query: &Query) -> Result<Scores, HoldError> {
    score_until(holds, query, &Stop::default())
}

/// As [`score`]; ends early with [`HoldError::Interrupted`] when `stop` is asked for.
///
/// # Errors
/// As [`score`].
pub fn score_until(holds: &Holds, query: &Query, stop: &Stop) -> Result<Scores, HoldError> {
    let run = Run::new(query, holds.digits, stop)?;
    let source = holds.source();
    let threads = threads_for(query.threads, source.rows());
    let answer = if query.is_grouped() {
        run.groups(source, threads)
    } else {
        let mut tallies = vec![Tally::default(); threads];
        run.lots(source, &mut tallies)
            .and_then(|()| Ok(Answer::Slots(merged(tallies)?)))
    };
    let answer = answer.map_err(|halt| halt.named(query.by, &holds.holders, &holds.tokens))?;
    let ids = (Arc::clone(&holds.holders), Arc::clone(&holds.tokens));
    Ok(answer.into_scores(query, ids, holds.digits))
}

/// The score of all rows together in 512 bits, as an integer of `10^-(scale + 6)`: lots add up,
/// closed holds count in full and open ones until `now`.
///
/// # Errors
/// [`HoldError::Row`] for a row that is not valid, [`HoldError::Overflow`] when the sum does not fit.
pub fn total(holds: &Holds, now: i64) -> Result<Total, HoldError> {
    holds.check()?;
    let one = holds.one();
    let mut sum = U512::ZERO;
    for chunk in &holds.chunks {
        for row in 0..chunk.len() {
            let end = if chunk.end[row] == OPEN {
                now
            } else {
                chunk.end[row]
            };
            if end > chunk.start[row] {
                let weight: U256 = chunk.weights.get(row, one);
                let lot = weight.times(chunk.start[row].abs_diff(end));
                sum = U256::add(sum, lot).ok_or_else(|| HoldError::Overflow {
                    id: holds.holders.get(chunk.holder[row]).to_owned(),
                    bits: <U256 as Amount>::BITS,
                })?;
            }
        }
    }
    let digits = U512::from(10u64).pow(U512::from(holds.scale() - holds.digits));
    Ok(Total::Wide(sum.saturating_mul(digits)))
}

/// Sums, and what they are of.
pub(crate) enum Answer {
    /// A slot for each code of a holder or token.
    Slots(Tally),
    /// A slot for each pair of a holder and a token that has a row, in their order.
    Pairs(Vec<(u32, u32)>, Tally),
}

impl Answer {
    /// Only slots that have a row: ids may be there whose rows were retracted, or that a dictionary
    /// has and no row uses.
    pub(crate) fn into_scores(
        self,
        query: &Query,
        (holders, tokens): (Arc<Ids>, Arc<Ids>),
        digits: u8,
    ) -> Scores {
        let (Answer::Slots(tally) | Answer::Pairs(_, tally)) = &self;
        let mut present: Vec<u32> = Vec::with_capacity(tally.slots());
        present.extend((0..tally.slots() as u32).filter(|&slot| tally.is_present(slot as usize)));
        let updated = present.iter().map(|&slot| tally.updated(slot as usize));
        let updated = query.has_times().then(|| updated.collect());
        let (holders_of, tokens_of) = match (&self, query.by) {
            (Answer::Pairs(pairs, _), _) => {
                let pairs = present.iter().map(|&slot| pairs[slot as usize]);
                let (holders, tokens) = pairs.unzip();
                (Some(holders), Some(tokens))
            }
            (Answer::Slots(_), By::Token) => (None, Some(present.clone())),
            (Answer::Slots(_), _) => (Some(present.clone()), None),
        };
        let keys = Keys {
            holders: holders_of,
            tokens: tokens_of,
        };
        Scores::of(
            tally,
            &present,
            keys,
            updated.unwrap_or_default(),
            query,
            (holders, tokens),
            digits,
        )
    }
}

/// Why a run ends early.
pub(crate) enum Halt {
    /// The sum of this slot (for pairs: of this holder) does not fit.
    TooLarge(usize),
    Fault(HoldError),
}

impl Halt {
    /// The error, with the id of its slot.
    pub(crate) fn named(self, by: By, holders: &Ids, tokens: &Ids) -> HoldError {
        match self {
            Halt::Fault(error) => error,
            Halt::TooLarge(slot) => HoldError::Overflow {
                id: match by {
                    By::Holder | By::Both => holders,
                    By::Token => tokens,
                }
                .get(slot as u32)
                .to_owned(),
                bits: <U256 as Amount>::BITS,
            },
        }
    }
}

impl From<HoldError> for Halt {
    fn from(error: HoldError) -> Self {
        Halt::Fault(error)
    }
}

impl From<TooLarge> for Halt {
    fn from(TooLarge(slot): TooLarge) -> Self {
        Halt::TooLarge(slot)
    }
}

/// One question, and what is needed to answer it for some rows.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    by: By,
    overlap: Overlap,
    boost: Option<&'a Boost>,
    window: Window,
    /// Digits of the weights.
    digits: u8,
    /// Whether anybody asks how long, or until when.
    times: bool,
    stop: &'a Stop,
}

impl<'a> Run<'a> {
    pub(crate) fn new(query: &'a Query, digits: u8, stop: &'a Stop) -> Result<Self, HoldError> {
        let window = query.window()?;
        query.check_columns()?;
        let boost = query.boost.as_ref();
        if query.overlap != Overlap::Sum && boost.is_some_and(Boost::needs_lots) {
            return Err(HoldError::Argument(
                "linear decay looks at each lock's own end: it goes with overlap=\"sum\""
                    .to_owned(),
            ));
        }
        Ok(Run {
            by: query.by,
            overlap: query.overlap,
            boost,
            window,
            digits,
            times: query.has_times(),
            stop,
        })
    }

    /// Every row adds on its own: threads share the rows, each has its own tally.
    pub(crate) fn lots(&self, source: Source<'_>, tallies: &mut [Tally]) -> Result<(), Halt> {
        let slots = match self.by {
            By::Token => source.tokens,
            By::Holder | By::Both => source.holders,
        };
        let threads = tallies.len();
        let size = |left| part_of(left, threads);
        in_parts(tallies, source.rows(), size, |tally, rows| {
            match self.times {
                true => tally.grow(slots),
                false => tally.grow_plain(slots),
            }
            let one = self.one();
            let mut room = BlockRoom::new(one);
            for block in blocks(source.chunks, rows) {
                self.stop.check()?;
                if self.boost.is_none() && self.add_block(&block, &mut room, tally)? {
                    continue;
                }
                block.chunk.check(block.rows.clone())?;
                tally.grow(slots);
                match &block.chunk.weights {
                    Weights::One => self.each_lot(&block, tally, |_| one)?,
                    Weights::Narrow(column) => {
                        let column = &column[block.rows.clone()];
                        self.each_lot(&block, tally, |place| column[place])?;
                    }
                    Weights::Wide(column) => {
                        let column = &column[block.rows.clone()];
                        self.each_lot(&block, tally, |place| column[place])?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The hot path: lots without a boost, whose sums need no check of their own. Says false, and
    /// adds nothing, where they need one or where a row is not valid.
    fn add_block(
        &self,
        block: &Block<'_>,
        room: &mut BlockRoom,
        tally: &mut Tally,
    ) -> Result<bool, TooLarge> {
        let Some(columns) = columns_of(block) else {
            return Ok(false);
        };
        match room.fill(columns, self.slots(block), self.window, self.times) {
            None => Ok(false),
            Some(rows) if self.times => Ok(tally.add_block(rows)),
            Some(rows) => tally.add_plain(rows),
        }
    }

    /// The same by the text of ids, which is looked at here, up to rows of which one's id has no key or a
    /// block that can't be added so. Says how many rows were added.
    ///
    /// # Errors
    /// [`HoldError::Row`] for a row that is not valid.
    pub(crate) fn lots_by_text<S: SumsByText>(
        &self,
        chunk: &Chunk,
        ids: &Text<'_>,
        sums: &mut S,
    ) -> Result<usize, HoldError> {
        let mut room = BlockRoom::new(self.one());
        let mut keys = [S::NONE; AT_ONCE];
        for block in blocks(std::slice::from_ref(chunk), 0..chunk.len()) {
            let first = block.rows.start;
            let Some(columns) = columns_of(&block) else {
                return Ok(first);
            };
            let Some(rows) = room.fill(columns, &[], self.window, false) else {
                chunk.check(block.rows)?;
                return Ok(first);
            };
            if !sums.make_bound(&rows) {
                return Ok(first);
            }
            for at in (0..rows.spans.len()).step_by(AT_ONCE) {
                let keys = &mut keys[..AT_ONCE.min(rows.spans.len() - at)];
                if !S::keys(ids, first + at, keys) {
                    return Ok(first + at);
                }
                sums.add_rows(keys, &rows, at);
            }
        }
        Ok(chunk.len())
    }

    fn each_lot<A: Amount>(
        &self,
        block: &Block<'_>,
        tally: &mut Tally,
        weight: impl Fn(usize) -> A,
    ) -> Result<(), Halt> {
        let first = block.rows.start;
        for (place, &slot) in self.slots(block).iter().enumerate() {
            let slot = slot as usize;
            let (start, end) = (
                block.chunk.start[first + place],
                block.chunk.end[first + place],
            );
            tally.see(slot, self.window.last_boundary(start, end));
            let (from, to) = self.window.clip(start, end);
            if to > from {
                let held = Held {
                    origin: start,
                    from,
                    to,
                    end,
                };
                tally.add_micros(slot, from.abs_diff(to));
                let sum = self.accrued(weight(place), held);
                tally.add(slot, sum.ok_or(Halt::TooLarge(slot))?)?;
            }
        }
        Ok(())
    }

    fn slots<'b>(&self, block: &Block<'b>) -> &'b [u32] {
        match self.by {
            By::Token => &block.chunk.token[block.rows.clone()],
            By::Holder | By::Both => &block.chunk.holder[block.rows.clone()],
        }
    }

    /// `None` when it does not fit in 512 bits.
    #[inline]
    pub(crate) fn accrued<A: Amount>(&self, weight: A, held: Held) -> Option<Total> {
        let Some(boost) = self.boost else {
            return Some(A::total(weight.times(held.from.abs_diff(held.to))));
        };
        match boost.accrue(weight, held, self.digits) {
            Some(sum) => Some(A::total(sum)),
            None => boost
                .accrue(weight.widest(), held, self.digits)
                .map(Total::Wide),
        }
    }

    fn one(&self) -> i64 {
        10i64.pow(u32::from(self.digits))
    }

    /// Rows meet within their holder and token.
    pub(crate) fn groups(&self, source: Source<'_>, threads: usize) -> Result<Answer, Halt> {
        let layout = Layout::survey(source, true, threads, self.stop)?;
        self.with_lane(source, layout, &Totals { run: self })
    }

    /// Lets `work` have the groups, with weights as narrow as they allow.
    pub(crate) fn with_lane<G: GroupWork>(
        &self,
        source: Source<'_>,
        layout: Layout,
        work: &G,
    ) -> Result<G::Answer, Halt> {
        let one = self.one();
        let narrow = |number: usize, row: usize| match &source.chunks[number].weights {
            Weights::Narrow(column) => column[row],
            Weights::One | Weights::Wide(_) => one,
        };
        let wide = |number: usize, row: usize| source.chunks[number].weights.get(row, one);
        let is_wide = |chunk: &Chunk| matches!(chunk.weights, Weights::Wide(_));
        match (self.overlap, source.chunks.iter().any(is_wide)) {
            // Weights do not matter, so they are not carried along.
            (Overlap::Union, _) => self.with_key(source, layout, work, &Union { one }, &|_, _| ()),
            (Overlap::Max, false) => self.with_key(source, layout, work, &Max, &narrow),
            (Overlap::Max, true) => self.with_key(source, layout, work, &Max, &wide),
            (Overlap::Sum, false) => self.with_key(source, layout, work, &Lots, &narrow),
            (Overlap::Sum, true) => self.with_key(source, layout, work, &Lots, &wide),
        }
    }

    fn with_key<G: GroupWork, M: Meeting<W>, W: Copy + Default + Send + Sync>(
        &self,
        source: Source<'_>,
        layout: Layout,
        work: &G,
        meeting: &M,
        weight: &(impl Fn(usize, usize) -> W + Sync),
    ) -> Result<G::Answer, Halt> {
        if layout.is_narrow() {
            let groups = Groups::<u64, W>::new(source, layout, weight, self.stop)?;
            work.meet(source, &groups, meeting)
        } else {
            let groups = Groups::<u128, W>::new(source, layout, weight, self.stop)?;
            work.meet(source, &groups, meeting)
        }
    }

    /// Threads take bucket after bucket, so that one with much work does not hold up the others;
    /// each has a state of its own. Gives the states, and what was found in the order of the buckets.
    pub(crate) fn each_bucket<S: Send, T: Send>(
        &self,
        (buckets, threads): (usize, usize),
        state: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, usize) -> Result<T, Halt> + Sync,
    ) -> Result<(Vec<S>, Vec<T>), Halt> {
        let next = AtomicUsize::new(0);
        let parts = in_threads(threads, |_| -> Result<_, Halt> {
            let (mut state, mut found) = (state(), Vec::new());
            loop {
                let bucket = next.fetch_add(1, Ordering::Relaxed);
                if bucket >= buckets {
                    return Ok((state, found));
                }
                self.stop.check()?;
                found.push((bucket, work(&mut state, bucket)?));
            }
        });
        let (mut states, mut all) = (Vec::new(), Vec::new());
        for part in parts {
            let (state, found) = part?;
            states.push(state);
            all.extend(found);
        }
        all.sort_unstable_by_key(|&(bucket, _)| bucket);
        Ok((states, all.into_iter().map(|(_, found)| found).collect()))
    }

    /// Adds one holder's rows of one token to a slot, piece by piece.
    fn add_pieces<K: Packed, M: Meeting<W>, W: Copy>(
        &self,
        sums: &mut Tally,
        slot: usize,
        rows: GroupRows<'_, K, W>,
        meeting: &M,
    ) -> Result<(), TooLarge> {
        let window = self.window;
        let mut last = ABSENT;
        // The start stays as it is: the age of a run counts from it.
        let lots = rows.iter().filter(|lot| {
            last = last.max(window.last_boundary(lot.start, lot.end));
            lot.end.min(window.to) > lot.start
        });
        meeting.pieces(lots, window.to, |piece| {
            let from = piece.from.max(window.from);
            if piece.to > from {
                let held = Held {
                    origin: piece.run,
                    from,
                    to: piece.to,
                    end: piece.end,
                };
                sums.add_micros(slot, from.abs_diff(piece.to));
                let sum = self.accrued(piece.weight, held);
                sums.add(slot, sum.ok_or(TooLarge(slot))?)?;
            }
            Ok(())
        })?;
        sums.see(slot, last);
        Ok(())
    }
}

/// What is done with rows in groups.
pub(crate) trait GroupWork {
    type Answer;

    fn meet<K: Packed, M: Meeting<W>, W: Copy + Default + Send + Sync>(
        &self,
        source: Source<'_>,
        groups: &Groups<K, W>,
        meeting: &M,
    ) -> Result<Self::Answer, Halt>;
}

/// The totals of a run.
struct Totals<'a> {
    run: &'a Run<'a>,
}

impl GroupWork for Totals<'_> {
    type Answer = Answer;

    fn meet<K: Packed, M: Meeting<W>, W: Copy + Default + Send + Sync>(
        &self,
        source: Source<'_>,
        groups: &Groups<K, W>,
        meeting: &M,
    ) -> Result<Answer, Halt> {
        let run = self.run;
        let slots = match run.by {
            By::Holder => source.holders,
            By::Token => source.tokens,
            By::Both => 0,
        };
        let state = || (Room::default(), Tally::new(slots));
        let sizes = (groups.buckets(), groups.threads());
        let (states, buckets) = run.each_bucket(sizes, state, |(room, sums), bucket| {
            let mut here = BucketPairs::default();
            let mut add = |holder: u32, token: u32, rows: GroupRows<'_, K, W>| {
                let (sums, slot) = match run.by {
                    By::Holder => (&mut *sums, holder as usize),
                    By::Token => (&mut *sums, token as usize),
                    By::Both => {
                        here.pairs.push((holder, token));
                        here.sums.grow(here.pairs.len());
                        (&mut here.sums, here.pairs.len() - 1)
                    }
                };
                meeting.add_group(run, sums, slot, rows)
            };
            let added = groups.each_group(bucket, room, M::BY_START, &mut add);
            added.map_err(|TooLarge(slot)| match run.by {
                By::Both => Halt::TooLarge(here.pairs[slot].0 as usize),
                By::Holder | By::Token => Halt::TooLarge(slot),
            })?;
            Ok(here)
        })?;
        if run.by != By::Both {
            let sums = states.into_iter().map(|(_, sums)| sums);
            return Ok(Answer::Slots(merged(sums.collect())?));
        }
        let mut pairs = Vec::with_capacity(buckets.iter().map(|here| here.pairs.len()).sum());
        let mut sums = Tally::new(pairs.capacity());
        for here in buckets {
            let first = pairs.len();
            let holder = |TooLarge(slot)| Halt::TooLarge(here.pairs[slot - first].0 as usize);
            let slots = sums.slots();
            sums.merge(&here.sums, slots, |slot| first + slot)
                .map_err(holder)?;
            pairs.extend(here.pairs);
        }
        Ok(Answer::Pairs(pairs, sums))
    }
}

/// The pairs of one bucket, and their sums.
#[derive(Default)]
struct BucketPairs {
    pairs: Vec<(u32, u32)>,
    sums: Tally,
}

/// What rows of one holder and token that meet count.
pub(crate) trait Meeting<W: Copy>: Sync {
    type Amount: Amount;
    /// Whether lots have to come in order of their start.
    const BY_START: bool = true;

    /// Calls `found` with each stretch of time before `until` that counts; none of `lots` is empty.
    fn pieces(
        &self,
        lots: impl Iterator<Item = Lot<W>>,
        until: i64,
        found: impl FnMut(Piece<Self::Amount>) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge>;

    /// Adds them to a slot.
    fn add_group<K: Packed>(
        &self,
        run: &Run<'_>,
        sums: &mut Tally,
        slot: usize,
        rows: GroupRows<'_, K, W>,
    ) -> Result<(), TooLarge>
    where
        Self: Sized,
    {
        run.add_pieces(sums, slot, rows, self)
    }
}

/// An instant counts once, with weight 1.
struct Union {
    one: i64,
}

impl Meeting<()> for Union {
    type Amount = i64;

    #[inline]
    fn pieces(
        &self,
        lots: impl Iterator<Item = Lot<()>>,
        until: i64,
        found: impl FnMut(Piece<i64>) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        runs(
            lots.map(|lot| (lot.start, lot.end.min(until))),
            self.one,
            found,
        )
    }

    /// Where no age matters: the time between what was reached before and each end, without a branch.
    #[inline]
    fn add_group<K: Packed>(
        &self,
        run: &Run<'_>,
        sums: &mut Tally,
        slot: usize,
        rows: GroupRows<'_, K, ()>,
    ) -> Result<(), TooLarge> {
        if run.boost.is_some() {
            return run.add_pieces(sums, slot, rows, self);
        }
        let window = run.window;
        let (mut held, mut reached, mut last) = (0i64, window.from, ABSENT);
        for lot in rows.iter() {
            last = last.max(window.last_boundary(lot.start, lot.end));
            let to = lot.end.min(window.to);
            held += (to - lot.start.max(reached)).max(0); // at most the window, which fits
            reached = reached.max(to);
        }
        sums.add_micros(slot, held.unsigned_abs());
        sums.add(slot, Total::Narrow(i128::from(held) * i128::from(self.one)))?;
        sums.see(slot, last);
        Ok(())
    }
}

/// An instant counts once, with the heaviest weight.
struct Max;

impl<A: Amount> Meeting<A> for Max {
    type Amount = A;

    fn pieces(
        &self,
        lots: impl Iterator<Item = Lot<A>>,
        until: i64,
        found: impl FnMut(Piece<A>) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        let span = |lot: Lot<A>| Span {
            start: lot.start,
            end: lot.end.min(until),
            weight: lot.weight,
        };
        heaviest(lots.map(span), found)
    }
}

/// Lots add up.
struct Lots;

impl<A: Amount> Meeting<A> for Lots {
    type Amount = A;
    const BY_START: bool = false;

    fn pieces(
        &self,
        mut lots: impl Iterator<Item = Lot<A>>,
        until: i64,
        mut found: impl FnMut(Piece<A>) -> Result<(), TooLarge>,
    ) -> Result<(), TooLarge> {
        lots.try_for_each(|lot| {
            found(Piece {
                run: lot.start,
                from: lot.start,
                to: lot.end.min(until),
                end: lot.end,
                weight: lot.weight,
            })
        })
    }
}

/// Times and weights of a block, unless weights are wide.
fn columns_of<'a>(block: &Block<'a>) -> Option<BlockColumns<'a>> {
    let (chunk, rows) = (block.chunk, &block.rows);
    Some(BlockColumns {
        starts: &chunk.start[rows.clone()],
        ends: &chunk.end[rows.clone()],
        weights: match &chunk.weights {
            Weights::One => None,
            Weights::Narrow(column) => Some(&column[rows.clone()]),
            Weights::Wide(_) => return None,
        },
        closed: chunk.closed,
    })
}

/// All tallies in one.
pub(crate) fn merged(tallies: Vec<Tally>) -> Result<Tally, TooLarge> {
    let mut tallies = tallies.into_iter();
    let mut sum = tallies.next().unwrap_or_default();
    for tally in tallies {
        sum.merge(&tally, tally.slots(), |slot| slot)?;
    }
    sum.settled()
}

//! The main question: how much was held, by whom, for how long.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use ruint::aliases::U256;

use crate::boost::{Boost, Held};
use crate::error::HoldError;
use crate::exact::{Amount, Total, U512};
use crate::groups::{HolderRows, OfHolder, Slots};
use crate::holds::{Chunk, Holds, Weights, widened};
use crate::overlap::{Piece, Span, heaviest, runs};
use crate::query::{ABSENT, Overlap, Query, Stop, Window};
use crate::scores::{Key, Scores, Sums};
use crate::time::OPEN;

/// Rows between two looks at whether to stop; their working set stays in the first cache.
const BLOCK: usize = 1024;

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
    let window = query.window()?;
    let boost = query.boost.as_ref();
    if query.overlap != Overlap::Sum && boost.is_some_and(Boost::needs_lots) {
        return Err(HoldError::Argument(
            "linear decay looks at each lock's own end: it goes with overlap=\"sum\"".to_owned(),
        ));
    }
    if query.overlap != Overlap::Sum {
        holds.check()?;
    }
    let slots = Slots::of(holds, query.by);
    let run = Run {
        holds,
        slots: &slots,
        window,
        overlap: query.overlap,
        boost,
        threads: threads_for(query.threads, holds.len()),
        stop,
    };
    let tally = run.any_width()?;
    let keys = keys(&slots);
    let present: Vec<usize> = (0..keys.len())
        .filter(|&slot| tally.updated[slot] != ABSENT)
        .collect();
    let all = Scores {
        holders: Arc::clone(&holds.holders),
        tokens: Arc::clone(&holds.tokens),
        keys,
        micros: tally.micros,
        weighted: tally.weighted,
        updated: tally.updated,
        digits: u32::from(holds.digits) + 6 + boost.map_or(0, Boost::digits),
        at: query.at,
    };
    // Ids whose rows were retracted, or that a dictionary has and no row uses, are no rows.
    Ok(if present.len() == all.len() {
        all
    } else {
        all.take(&present)
    })
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

fn keys(slots: &Slots) -> Vec<Key> {
    match slots {
        Slots::Holders(len) => (0..*len as u32)
            .map(|code| Key {
                holder: Some(code),
                token: None,
            })
            .collect(),
        Slots::Tokens(len) => (0..*len as u32)
            .map(|code| Key {
                holder: None,
                token: Some(code),
            })
            .collect(),
        Slots::Pairs { pairs, .. } => pairs
            .iter()
            .map(|&(holder, token)| Key {
                holder: Some(holder),
                token: Some(token),
            })
            .collect(),
    }
}

fn threads_for(wanted: Option<usize>, rows: usize) -> usize {
    /// Below this a thread costs more than it brings.
    const ROWS_PER_THREAD: usize = 50_000;
    let wanted = wanted.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    wanted.min(rows / ROWS_PER_THREAD).max(1)
}

/// The sums of one thread, or of all.
struct Tally<A: Amount> {
    micros: Vec<i128>,
    weighted: Vec<A::Sum>,
    updated: Vec<i64>,
}

/// A tally without its width.
struct AnyTally {
    micros: Vec<i128>,
    weighted: Sums,
    updated: Vec<i64>,
}

/// Why a tally ends early.
enum Halt {
    /// The sum of this slot does not fit in the lane.
    TooNarrow(usize),
    Fault(HoldError),
}

impl From<HoldError> for Halt {
    fn from(error: HoldError) -> Self {
        Halt::Fault(error)
    }
}

impl<A: Amount> Tally<A> {
    fn new(slots: usize) -> Self {
        Tally {
            micros: vec![0; slots],
            weighted: vec![A::ZERO; slots],
            updated: vec![ABSENT; slots],
        }
    }

    #[inline]
    fn add(&mut self, slot: usize, sum: Option<A::Sum>) -> Result<(), Halt> {
        let total = sum.and_then(|sum| A::add(self.weighted[slot], sum));
        self.weighted[slot] = total.ok_or(Halt::TooNarrow(slot))?;
        Ok(())
    }

    #[inline]
    fn see(&mut self, slot: usize, boundary: i64) {
        let last = &mut self.updated[slot];
        *last = (*last).max(boundary);
    }

    fn merge(mut self, other: Self) -> Result<Self, Halt> {
        for (slot, sum) in other.weighted.into_iter().enumerate() {
            self.add(slot, Some(sum))?;
        }
        for (total, micros) in self.micros.iter_mut().zip(other.micros) {
            *total += micros;
        }
        for (slot, boundary) in other.updated.into_iter().enumerate() {
            self.see(slot, boundary);
        }
        Ok(self)
    }
}

#[derive(Clone, Copy)]
struct Run<'a> {
    holds: &'a Holds,
    slots: &'a Slots,
    window: Window,
    overlap: Overlap,
    boost: Option<&'a Boost>,
    threads: usize,
    stop: &'a Stop,
}

impl Run<'_> {
    /// In `i128` where the weights allow; a sum that does not fit sends the run to the wide lane.
    fn any_width(&self) -> Result<AnyTally, HoldError> {
        let one = self.holds.one();
        let narrow = self.holds.chunks.iter().map(|chunk| match &chunk.weights {
            Weights::One => Some(Column::Same(one)),
            Weights::Narrow(column) => Some(Column::Each(column)),
            Weights::Wide(_) => None,
        });
        if let Some(columns) = narrow.collect::<Option<Vec<Column<'_, i64>>>>() {
            let tally = match (self.overlap, self.boost) {
                (Overlap::Sum, None) => self.plain_sum(&columns),
                _ => self.tally(&columns),
            };
            match tally {
                Ok(Tally {
                    micros,
                    weighted,
                    updated,
                }) => {
                    return Ok(AnyTally {
                        micros,
                        weighted: Sums::Narrow(weighted),
                        updated,
                    });
                }
                Err(Halt::Fault(error)) => return Err(error),
                Err(Halt::TooNarrow(_)) => {}
            }
        }
        self.wide(one)
    }

    fn wide(&self, one: i64) -> Result<AnyTally, HoldError> {
        let wide: Vec<Option<Vec<U256>>> = self
            .holds
            .chunks
            .iter()
            .map(|chunk| match &chunk.weights {
                Weights::Narrow(column) => Some(widened(column)),
                Weights::One | Weights::Wide(_) => None,
            })
            .collect();
        let columns: Vec<Column<'_, U256>> = self
            .holds
            .chunks
            .iter()
            .zip(&wide)
            .map(|(chunk, widened)| match (&chunk.weights, widened) {
                (Weights::Wide(column), _) => Column::Each(column),
                (_, Some(column)) => Column::Each(column),
                _ => Column::Same(U256::from_narrow(one)),
            })
            .collect();
        match self.tally(&columns) {
            Ok(Tally {
                micros,
                weighted,
                updated,
            }) => Ok(AnyTally {
                micros,
                weighted: Sums::Wide(weighted),
                updated,
            }),
            Err(Halt::Fault(error)) => Err(error),
            Err(Halt::TooNarrow(slot)) => Err(HoldError::Overflow {
                id: self.slots.id(slot, self.holds).to_owned(),
                bits: <U256 as Amount>::BITS,
            }),
        }
    }

    fn tally<A: Amount>(&self, weights: &[Column<'_, A>]) -> Result<Tally<A>, Halt> {
        match self.overlap {
            Overlap::Sum => self.sum(weights),
            Overlap::Union | Overlap::Max => self.by_group(weights),
        }
    }

    /// Every row adds on its own: rows are split evenly, each thread has its own sums.
    fn sum<A: Amount>(&self, weights: &[Column<'_, A>]) -> Result<Tally<A>, Halt> {
        let parts = in_threads(self.threads, |part| {
            let mut tally = Tally::<A>::new(self.slots.len());
            for block in self.blocks(part) {
                block.chunk.check(block.rows.clone())?;
                self.stop.check()?;
                let slots = self.slots.of_chunk(block.chunk, block.number);
                for row in block.rows {
                    let slot = slots[row] as usize;
                    let (start, end) = (block.chunk.start[row], block.chunk.end[row]);
                    let hold = Span {
                        start,
                        end,
                        weight: weights[block.number].get(row),
                    };
                    self.add_lot(&mut tally, slot, hold)?;
                }
            }
            Ok(tally)
        });
        merged(parts)
    }

    fn add_lot<A: Amount>(
        &self,
        tally: &mut Tally<A>,
        slot: usize,
        hold: Span<A>,
    ) -> Result<(), Halt> {
        let Span { start, end, weight } = hold;
        tally.see(slot, self.window.last_boundary(start, end));
        let (from, to) = self.window.clip(start, end);
        if to > from {
            tally.micros[slot] += i128::from(from.abs_diff(to));
            tally.add(
                slot,
                self.accrue(
                    weight,
                    Held {
                        origin: start,
                        from,
                        to,
                        end,
                    },
                ),
            )?;
        }
        Ok(())
    }

    fn accrue<A: Amount>(&self, weight: A, hold: Held) -> Option<A::Sum> {
        match self.boost {
            None => Some(weight.times(hold.from.abs_diff(hold.to))),
            Some(boost) => boost.accrue(weight, hold, self.holds.digits),
        }
    }

    /// The hot path: lots without a boost, in 64 and 128 bits.
    ///
    /// No add is checked on its own. A block's largest span and weight bound what any slot can gain
    /// in it; before the bounds of all blocks together could overflow a cell, cells are emptied
    /// into the tally, whose adds are checked.
    fn plain_sum(&self, weights: &[Column<'_, i64>]) -> Result<Tally<i64>, Halt> {
        let parts = in_threads(self.threads, |part| {
            let mut tally = Tally::<i64>::new(self.slots.len());
            let mut cells = vec![Cell::default(); self.slots.len()];
            let mut spans = [0u64; BLOCK];
            let (mut micros_bound, mut sum_bound) = (0u64, 0u128);
            for block in self.blocks(part) {
                let Block {
                    chunk,
                    number,
                    rows,
                } = block;
                chunk.check(rows.clone())?;
                self.stop.check()?;
                let slots = &self.slots.of_chunk(chunk, number)[rows.clone()];
                let starts = &chunk.start[rows.clone()];
                let ends = &chunk.end[rows.clone()];
                let spans = &mut spans[..slots.len()];
                let mut span_bits = 0u64;
                for ((span, &start), &end) in spans.iter_mut().zip(starts).zip(ends) {
                    let (from, to) = self.window.clip(start, end);
                    *span = (to - from).max(0).unsigned_abs();
                    span_bits |= *span;
                }
                let (same, each) = match &weights[number] {
                    Column::Same(one) => (*one, None),
                    Column::Each(column) => (0, Some(&column[rows])),
                };
                let weight_bits = each.map_or(same, |column| column.iter().fold(0, |a, b| a | b));
                // An OR of numbers is at least each and less than twice the largest.
                let gain = u128::from(span_bits) * u128::from(weight_bits.unsigned_abs());
                let block_micros = span_bits.checked_mul(BLOCK as u64);
                let block_sum = gain.checked_mul(BLOCK as u128);
                let fits = block_micros
                    .and_then(|gain| micros_bound.checked_add(gain))
                    .zip(
                        block_sum
                            .and_then(|gain| sum_bound.checked_add(gain))
                            .filter(|&bound| bound <= i128::MAX.unsigned_abs()),
                    );
                match fits.or_else(|| {
                    // Start again from empty cells.
                    block_micros.zip(block_sum.filter(|&sum| sum <= i128::MAX.unsigned_abs()))
                }) {
                    Some(bounds) => {
                        if fits.is_none() {
                            empty_cells(&mut cells, &mut tally)?;
                        }
                        (micros_bound, sum_bound) = bounds;
                    }
                    None => {
                        // One block alone could overflow a cell: every add is checked.
                        for (place, &slot) in slots.iter().enumerate() {
                            let weight = each.map_or(same, |column| column[place]);
                            let hold = Span {
                                start: starts[place],
                                end: ends[place],
                                weight,
                            };
                            self.add_lot(&mut tally, slot as usize, hold)?;
                        }
                        continue;
                    }
                }
                for (place, &slot) in slots.iter().enumerate() {
                    let weight = each.map_or(same, |column| column[place]);
                    let cell = &mut cells[slot as usize];
                    cell.sum += i128::from(weight) * i128::from(spans[place]);
                    cell.micros += spans[place];
                    let boundary = self.window.last_boundary(starts[place], ends[place]);
                    cell.updated = cell.updated.max(boundary);
                }
            }
            empty_cells(&mut cells, &mut tally)?;
            Ok(tally)
        });
        merged(parts)
    }

    /// Rows meet within their (holder, token): each thread takes whole holders.
    fn by_group<A: Amount>(&self, weights: &[Column<'_, A>]) -> Result<Tally<A>, Halt> {
        let one = A::from_narrow(self.holds.one());
        if self.overlap == Overlap::Union {
            // Weights do not matter, so they are not carried along.
            return self.grouped(
                |_, _| (),
                |spans, add| runs(spans.iter().map(|span| (span.start, span.end)), one, add),
            );
        }
        // A chunk is known by its first row.
        let chunks = &self.holds.chunks;
        self.grouped(
            |chunk, row| {
                let number = chunks.partition_point(|other| other.first_row <= chunk.first_row) - 1;
                weights[number].get(row)
            },
            |spans, add| heaviest(spans.iter().map(|span| span.span()), add),
        )
    }

    fn grouped<A: Amount, W: Copy + Default>(
        &self,
        weight: impl Fn(&Chunk, usize) -> W + Sync,
        pieces: impl Fn(&[Row<W>], &mut dyn FnMut(Piece<A>) -> Result<(), Halt>) -> Result<(), Halt>
        + Sync,
    ) -> Result<Tally<A>, Halt> {
        let holders = HolderRows::count(self.holds);
        let parts = in_threads(self.threads, |part| {
            let mut tally = Tally::<A>::new(self.slots.len());
            let mut updated = vec![ABSENT; self.slots.len()];
            let share = holders.share(part, self.threads);
            // The start stays as it is: the age of a run counts from it.
            let row = |chunk: &Chunk, row: usize| {
                let (start, end) = (chunk.start[row], chunk.end[row]);
                let (holder, token) = (chunk.holder[row], chunk.token[row]);
                let last = &mut updated[self.slots.slot(holder, token)];
                *last = (*last).max(self.window.last_boundary(start, end));
                let end = end.min(self.window.to);
                (end > start).then(|| Row {
                    holder,
                    token,
                    start,
                    end,
                    weight: weight(chunk, row),
                })
            };
            holders.each_holder(self.holds, share, row, |holder, rows| -> Result<(), Halt> {
                self.stop.check()?;
                rows.sort_unstable_by_key(Row::key);
                for same_token in rows.chunk_by(|left, right| left.token == right.token) {
                    let slot = self.slots.slot(holder, same_token[0].token);
                    pieces(same_token, &mut |piece: Piece<A>| {
                        let from = piece.from.max(self.window.from);
                        if piece.to > from {
                            let hold = Held {
                                origin: piece.run,
                                from,
                                to: piece.to,
                                end: piece.to,
                            };
                            tally.micros[slot] += i128::from(from.abs_diff(piece.to));
                            tally.add(slot, self.accrue(piece.weight, hold))?;
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            })?;
            tally.updated = updated;
            Ok(tally)
        });
        merged(parts)
    }

    /// The rows of one thread, in blocks that do not cross chunks.
    fn blocks(&self, part: usize) -> impl Iterator<Item = Block<'_>> {
        let rows = self.holds.len();
        let from = rows * part / self.threads;
        let to = rows * (part + 1) / self.threads;
        self.holds
            .chunks
            .iter()
            .enumerate()
            .flat_map(move |(number, chunk)| {
                let low = from.max(chunk.first_row) - chunk.first_row;
                let high = to.saturating_sub(chunk.first_row).min(chunk.len());
                (low..high.max(low)).step_by(BLOCK).map(move |row| Block {
                    chunk,
                    number,
                    rows: row..high.min(row + BLOCK),
                })
            })
    }
}

/// What grouping keeps of a row.
#[derive(Debug, Clone, Copy, Default)]
struct Row<W> {
    holder: u32,
    token: u32,
    start: i64,
    end: i64,
    weight: W,
}

impl<W> OfHolder for Row<W> {
    #[inline]
    fn holder(&self) -> u32 {
        self.holder
    }
}

impl<W> Row<W> {
    /// Token, then start, as one number.
    #[inline]
    fn key(&self) -> u128 {
        u128::from(self.token) << 64 | u128::from(self.start.cast_unsigned() ^ 1 << 63)
    }
}

impl<A: Copy> Row<A> {
    fn span(&self) -> Span<A> {
        Span {
            start: self.start,
            end: self.end,
            weight: self.weight,
        }
    }
}

struct Block<'a> {
    chunk: &'a Chunk,
    number: usize,
    rows: Range<usize>,
}

/// The weights of one chunk, in one width.
enum Column<'a, A> {
    Same(A),
    Each(&'a [A]),
}

impl<A: Copy> Column<'_, A> {
    #[inline]
    fn get(&self, row: usize) -> A {
        match self {
            Column::Same(weight) => *weight,
            Column::Each(column) => column[row],
        }
    }
}

/// What the hot path keeps of one slot: half a cache line, never across two.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Cell {
    sum: i128,
    micros: u64,
    updated: i64,
}

impl Default for Cell {
    fn default() -> Self {
        Cell {
            sum: 0,
            micros: 0,
            updated: ABSENT,
        }
    }
}

fn empty_cells(cells: &mut [Cell], tally: &mut Tally<i64>) -> Result<(), Halt> {
    for (slot, cell) in cells.iter_mut().enumerate() {
        let Cell {
            sum,
            micros,
            updated,
        } = std::mem::take(cell);
        tally.add(slot, Some(sum))?;
        tally.micros[slot] += i128::from(micros);
        tally.see(slot, updated);
    }
    Ok(())
}

/// Runs `work(0..threads)`, the first part on this thread, and gives the results in order.
fn in_threads<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    if threads == 1 {
        return vec![work(0)];
    }
    thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = (1..threads)
            .map(|part| scope.spawn(move || work(part)))
            .collect();
        let mut results = vec![work(0)];
        for other in others {
            // A panic in a worker goes on in the caller, as if there were no threads.
            results.push(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        results
    })
}

fn merged<A: Amount>(parts: Vec<Result<Tally<A>, Halt>>) -> Result<Tally<A>, Halt> {
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else {
        return Ok(Tally::new(0));
    };
    parts.try_fold(first?, |sum, part| sum.merge(part?))
}

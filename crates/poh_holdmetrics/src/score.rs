//! The main question: how much was held, by whom, for how long.

use std::sync::Arc;
use std::thread;

use hashbrown::HashMap;
use ruint::aliases::U256;

use crate::error::HoldError;
use crate::event::HoldStat;
use crate::exact::{Amount, Total, U384};
use crate::holds::{Holds, Weights, widened};
use crate::ids::Ids;
use crate::overlap::{Span, heaviest, union_micros};
use crate::time::{MIN_MICROS, in_range};

/// What one row of the answer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// A holder.
    #[default]
    Holder,
    /// A token.
    Token,
    /// A holder and a token.
    Both,
}

/// What holds of one holder and one token that overlap count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// Lots add up.
    #[default]
    Sum,
    /// An instant counts once, with weight 1.
    Union,
    /// An instant counts once, with the heaviest weight of that instant.
    Max,
}

/// A question to a table of holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// One row a holder, a token or a pair of them.
    pub by: By,
    /// How overlaps count.
    pub overlap: Overlap,
    /// The instant of the answer: all later time is cut off.
    pub at: i64,
    /// The window's start: all earlier time is cut off.
    pub start: Option<i64>,
    /// The window's end, where that is before `at`.
    pub end: Option<i64>,
    /// Threads; `None` for one a processor.
    pub threads: Option<usize>,
}

impl Query {
    /// The default question as of one instant: by holder, lots add up, all time before `at`.
    pub fn at(at: i64) -> Self {
        Query {
            by: By::default(),
            overlap: Overlap::default(),
            at,
            start: None,
            end: None,
            threads: None,
        }
    }

    fn window(&self) -> Result<Window, HoldError> {
        for instant in [Some(self.at), self.start, self.end].into_iter().flatten() {
            in_range(instant)
                .map_err(|fault| HoldError::Argument(format!("an instant {fault}")))?;
        }
        if let (Some(start), Some(end)) = (self.start, self.end)
            && end < start
        {
            return Err(HoldError::Argument(format!(
                "the window ends at {end} us, before it starts at {start} us"
            )));
        }
        Ok(Window {
            from: self.start.unwrap_or(MIN_MICROS),
            to: self.end.map_or(self.at, |end| end.min(self.at)),
        })
    }

    fn threads_for(&self, rows: usize) -> usize {
        /// Below this a thread costs more than it brings.
        const ROWS_PER_THREAD: usize = 50_000;
        let wanted = self
            .threads
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        wanted.min(rows / ROWS_PER_THREAD).max(1)
    }
}

/// The half-open stretch of time that counts.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: i64,
    to: i64,
}

impl Window {
    #[inline]
    fn clip(self, start: i64, end: i64) -> (i64, i64) {
        (start.max(self.from), end.min(self.to))
    }

    /// The last of the two boundaries at or before the window's end, or `NEVER`.
    #[inline]
    fn last_boundary(self, start: i64, end: i64) -> i64 {
        if end <= self.to {
            end
        } else if start <= self.to {
            start
        } else {
            NEVER
        }
    }
}

/// No boundary yet.
const NEVER: i64 = i64::MIN;

/// The answer: one row for each holder (token, pair) of the input, in order of first appearance;
/// pairs by holder, then token.
#[derive(Debug, Clone)]
pub struct Scores {
    holders: Arc<Ids>,
    tokens: Arc<Ids>,
    keys: Keys,
    micros: Vec<i128>,
    weighted: Sums,
    updated: Vec<i64>,
    digits: u32,
    at: i64,
}

#[derive(Debug, Clone)]
enum Keys {
    Holders,
    Tokens,
    Pairs(Vec<(u32, u32)>),
}

#[derive(Debug, Clone)]
enum Sums {
    Narrow(Vec<i128>),
    Wide(Vec<U384>),
}

impl Scores {
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
        match &self.keys {
            Keys::Holders => Some(self.holders.get(row as u32)),
            Keys::Tokens => None,
            Keys::Pairs(pairs) => Some(self.holders.get(pairs[row].0)),
        }
    }

    /// The row's token; `None` when rows are holders.
    pub fn token_id(&self, row: usize) -> Option<&str> {
        match &self.keys {
            Keys::Holders => None,
            Keys::Tokens => Some(self.tokens.get(row as u32)),
            Keys::Pairs(pairs) => Some(self.tokens.get(pairs[row].1)),
        }
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
}

/// Adds up a table of holds.
///
/// `at` clips every hold, closed ones too. Every holder (token, pair) of the table has a row, also
/// one that scores nothing.
///
/// # Errors
/// [`HoldError::Argument`] for an instant out of range or a window that ends before it starts.
pub fn score(holds: &Holds, query: &Query) -> Result<Scores, HoldError> {
    let window = query.window()?;
    let threads = query.threads_for(holds.len());
    let slots = Slots::of(holds, query.by);
    let digits = u32::from(holds.scale()) + 6;
    let run = Run {
        holds,
        slots: &slots,
        window,
        overlap: query.overlap,
        threads,
    };
    let tally = match &holds.weights {
        Weights::One(_) => run.narrow(|_| holds.one(), || vec![holds.one(); holds.len()]),
        Weights::Narrow(column) => run.narrow(|row| column[row], || column.clone()),
        Weights::Wide(column) => run.wide(column),
    }?;
    Ok(Scores {
        holders: Arc::clone(&holds.holders),
        tokens: Arc::clone(&holds.tokens),
        keys: slots.into_keys(),
        micros: tally.micros,
        weighted: tally.weighted,
        updated: tally.updated,
        digits,
        at: query.at,
    })
}

/// Which row of the answer each row of the input adds to.
enum Slots<'a> {
    Holders(&'a [u32], usize),
    Tokens(&'a [u32], usize),
    Pairs {
        slot: Vec<u32>,
        pairs: Vec<(u32, u32)>,
    },
}

impl<'a> Slots<'a> {
    fn of(holds: &'a Holds, by: By) -> Self {
        match by {
            By::Holder => Slots::Holders(&holds.holder, holds.holders.len()),
            By::Token => Slots::Tokens(&holds.token, holds.tokens.len()),
            By::Both => {
                let mut known: HashMap<(u32, u32), u32> = HashMap::new();
                let mut pairs = Vec::new();
                let mut slot: Vec<u32> = Vec::with_capacity(holds.len());
                for (&holder, &token) in holds.holder.iter().zip(&holds.token) {
                    slot.push(*known.entry((holder, token)).or_insert_with(|| {
                        pairs.push((holder, token));
                        pairs.len() as u32 - 1
                    }));
                }
                let mut order: Vec<u32> = (0..pairs.len() as u32).collect();
                order.sort_unstable_by_key(|&old| pairs[old as usize]);
                let mut place = vec![0u32; pairs.len()];
                for (new, &old) in order.iter().enumerate() {
                    place[old as usize] = new as u32;
                }
                slot.iter_mut()
                    .for_each(|slot| *slot = place[*slot as usize]);
                pairs.sort_unstable();
                Slots::Pairs { slot, pairs }
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Slots::Holders(_, len) | Slots::Tokens(_, len) => *len,
            Slots::Pairs { pairs, .. } => pairs.len(),
        }
    }

    fn of_rows(&self) -> &[u32] {
        match self {
            Slots::Holders(slot, _) | Slots::Tokens(slot, _) => slot,
            Slots::Pairs { slot, .. } => slot,
        }
    }

    fn id<'b>(&self, slot: usize, holds: &'b Holds) -> &'b str {
        match self {
            Slots::Holders(..) => holds.holders.get(slot as u32),
            Slots::Tokens(..) => holds.tokens.get(slot as u32),
            Slots::Pairs { pairs, .. } => holds.holders.get(pairs[slot].0),
        }
    }

    fn into_keys(self) -> Keys {
        match self {
            Slots::Holders(..) => Keys::Holders,
            Slots::Tokens(..) => Keys::Tokens,
            Slots::Pairs { pairs, .. } => Keys::Pairs(pairs),
        }
    }
}

/// The sums of one thread, or of all.
struct Tally<A: Amount> {
    micros: Vec<i128>,
    weighted: Vec<A::Sum>,
    updated: Vec<i64>,
}

/// The sum of this slot does not fit in the lane.
struct TooNarrow(usize);

impl<A: Amount> Tally<A> {
    fn new(slots: usize) -> Self {
        Tally {
            micros: vec![0; slots],
            weighted: vec![A::ZERO; slots],
            updated: vec![NEVER; slots],
        }
    }

    #[inline]
    fn add(&mut self, slot: usize, sum: A::Sum) -> Result<(), TooNarrow> {
        self.weighted[slot] = A::add(self.weighted[slot], sum).ok_or(TooNarrow(slot))?;
        Ok(())
    }

    fn merge(mut self, other: Self) -> Result<Self, TooNarrow> {
        for (slot, sum) in other.weighted.into_iter().enumerate() {
            self.add(slot, sum)?;
        }
        for (total, micros) in self.micros.iter_mut().zip(other.micros) {
            *total += micros;
        }
        for (last, instant) in self.updated.iter_mut().zip(other.updated) {
            *last = (*last).max(instant);
        }
        Ok(self)
    }
}

/// A tally without its width.
struct AnyTally {
    micros: Vec<i128>,
    weighted: Sums,
    updated: Vec<i64>,
}

#[derive(Clone, Copy)]
struct Run<'a> {
    holds: &'a Holds,
    slots: &'a Slots<'a>,
    window: Window,
    overlap: Overlap,
    threads: usize,
}

impl Run<'_> {
    /// In `i128`; a sum that does not fit sends the whole run to the wide lane.
    fn narrow(
        &self,
        weight: impl Fn(usize) -> i64 + Copy + Sync,
        column: impl FnOnce() -> Vec<i64>,
    ) -> Result<AnyTally, HoldError> {
        match self.tally(weight) {
            Ok(Tally {
                micros,
                weighted,
                updated,
            }) => Ok(AnyTally {
                micros,
                weighted: Sums::Narrow(weighted),
                updated,
            }),
            Err(TooNarrow(_)) => self.wide(&widened(&column())),
        }
    }

    fn wide(&self, column: &[U256]) -> Result<AnyTally, HoldError> {
        let Tally {
            micros,
            weighted,
            updated,
        } = self
            .tally(|row| column[row])
            .map_err(|TooNarrow(slot)| HoldError::Overflow {
                id: self.slots.id(slot, self.holds).to_owned(),
                bits: <U256 as Amount>::BITS,
            })?;
        Ok(AnyTally {
            micros,
            weighted: Sums::Wide(weighted),
            updated,
        })
    }

    fn tally<A: Amount>(
        &self,
        weight: impl Fn(usize) -> A + Copy + Sync,
    ) -> Result<Tally<A>, TooNarrow> {
        match self.overlap {
            Overlap::Sum => self.sum(weight),
            Overlap::Union | Overlap::Max => self.by_group(weight),
        }
    }

    /// Every row adds on its own: rows are split evenly, each thread has its own sums.
    fn sum<A: Amount>(
        &self,
        weight: impl Fn(usize) -> A + Copy + Sync,
    ) -> Result<Tally<A>, TooNarrow> {
        let slots = self.slots.of_rows();
        let rows = slots.len();
        let Run {
            holds,
            window,
            threads,
            ..
        } = *self;
        let parts = in_threads(threads, |part| {
            let mut tally = Tally::<A>::new(self.slots.len());
            let share = rows * part / threads..rows * (part + 1) / threads;
            for (row, &slot) in share.clone().zip(&slots[share]) {
                let slot = slot as usize;
                let (start, end) = (holds.start[row], holds.end[row]);
                let (from, to) = window.clip(start, end);
                if to > from {
                    let micros = from.abs_diff(to);
                    tally.micros[slot] += i128::from(micros);
                    tally.add(slot, weight(row).times(micros))?;
                }
                let last = &mut tally.updated[slot];
                *last = (*last).max(window.last_boundary(start, end));
            }
            Ok(tally)
        });
        merged(parts)
    }

    /// Rows meet within their (holder, token): each thread takes whole holders.
    fn by_group<A: Amount>(
        &self,
        weight: impl Fn(usize) -> A + Copy + Sync,
    ) -> Result<Tally<A>, TooNarrow> {
        let Run {
            holds,
            window,
            threads,
            overlap,
            ..
        } = *self;
        let slots = self.slots.of_rows();
        let holders = Grouped::new(&holds.holder, holds.holders.len());
        let parts = in_threads(threads, |part| {
            let mut tally = Tally::<A>::new(self.slots.len());
            let mut group: Vec<(u32, Span<A>, u32)> = Vec::new();
            let mut spans: Vec<Span<A>> = Vec::new();
            for holder in holders.share(part, threads) {
                group.clear();
                for &row in holders.rows(holder) {
                    let at = row as usize;
                    let (start, end) = (holds.start[at], holds.end[at]);
                    let slot = slots[at];
                    let last = &mut tally.updated[slot as usize];
                    *last = (*last).max(window.last_boundary(start, end));
                    let (start, end) = window.clip(start, end);
                    if end > start {
                        group.push((
                            holds.token[at],
                            Span {
                                start,
                                end,
                                weight: weight(at),
                            },
                            slot,
                        ));
                    }
                }
                group.sort_unstable_by_key(|(token, span, _)| (*token, span.start));
                for same_token in group.chunk_by(|a, b| a.0 == b.0) {
                    let slot = same_token[0].2 as usize;
                    spans.clear();
                    spans.extend(same_token.iter().map(|(_, span, _)| *span));
                    let held = union_micros(&spans);
                    tally.micros[slot] += i128::from(held);
                    if overlap == Overlap::Union {
                        tally.add(slot, A::from_narrow(holds.one()).times(held))?;
                    } else {
                        let mut outcome = Ok(());
                        heaviest(&spans, |weight, micros| {
                            if outcome.is_ok() {
                                outcome = tally.add(slot, weight.times(micros));
                            }
                        });
                        outcome?;
                    }
                }
            }
            Ok(tally)
        });
        merged(parts)
    }
}

/// The rows of each holder, by counting sort: one pass to count, one to place.
struct Grouped {
    first: Vec<u32>,
    rows: Vec<u32>,
}

impl Grouped {
    fn new(group_of_row: &[u32], groups: usize) -> Self {
        let mut first = vec![0u32; groups + 1];
        for &group in group_of_row {
            first[group as usize + 1] += 1;
        }
        for group in 0..groups {
            first[group + 1] += first[group];
        }
        let mut next = first.clone();
        let mut rows = vec![0u32; group_of_row.len()];
        for (row, &group) in group_of_row.iter().enumerate() {
            let place = &mut next[group as usize];
            rows[*place as usize] = row as u32;
            *place += 1;
        }
        Grouped { first, rows }
    }

    fn rows(&self, group: usize) -> &[u32] {
        &self.rows[self.first[group] as usize..self.first[group + 1] as usize]
    }

    /// Whole groups for one of `parts`, about evenly by rows.
    fn share(&self, part: usize, parts: usize) -> std::ops::Range<usize> {
        let bound = |part: usize| {
            let row = (self.rows.len() * part / parts) as u32;
            self.first.partition_point(|&first| first < row)
        };
        let groups = self.first.len() - 1;
        let from = if part == 0 {
            0
        } else {
            bound(part).min(groups)
        };
        let to = if part + 1 == parts {
            groups
        } else {
            bound(part + 1).min(groups)
        };
        from..to
    }
}

/// Runs `work(0..threads)`, the last part on this thread, and gives the results in order.
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

fn merged<A: Amount>(parts: Vec<Result<Tally<A>, TooNarrow>>) -> Result<Tally<A>, TooNarrow> {
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else {
        return Ok(Tally::new(0));
    };
    parts.try_fold(first?, |sum, part| sum.merge(part?))
}

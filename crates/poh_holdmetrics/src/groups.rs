//! Rows that stand for the same thing: by what a question asks, and by holder.

use std::ops::Range;

use hashbrown::HashMap;

use crate::holds::{Chunk, Holds};
use crate::query::By;

/// Which row of the answer each row of the input adds to.
pub(crate) enum Slots {
    Holders(usize),
    Tokens(usize),
    /// By chunk and row; pairs are sorted by holder, then token.
    Pairs {
        slots: Vec<Vec<u32>>,
        pairs: Vec<(u32, u32)>,
    },
}

impl Slots {
    pub(crate) fn of(holds: &Holds, by: By) -> Self {
        match by {
            By::Holder => Slots::Holders(holds.holders.len()),
            By::Token => Slots::Tokens(holds.tokens.len()),
            By::Both => pair_slots(holds),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Slots::Holders(len) | Slots::Tokens(len) => *len,
            Slots::Pairs { pairs, .. } => pairs.len(),
        }
    }

    /// The slot of each row of a chunk.
    pub(crate) fn of_chunk<'a>(&'a self, chunk: &'a Chunk, number: usize) -> &'a [u32] {
        match self {
            Slots::Holders(_) => &chunk.holder,
            Slots::Tokens(_) => &chunk.token,
            Slots::Pairs { slots, .. } => &slots[number],
        }
    }

    /// The slot of a holder and a token that have a row.
    pub(crate) fn slot(&self, holder: u32, token: u32) -> usize {
        match self {
            Slots::Holders(_) => holder as usize,
            Slots::Tokens(_) => token as usize,
            Slots::Pairs { pairs, .. } => pairs
                .binary_search(&(holder, token))
                .unwrap_or_else(|next| next),
        }
    }

    /// The id of a slot, for a message.
    pub(crate) fn id<'b>(&self, slot: usize, holds: &'b Holds) -> &'b str {
        match self {
            Slots::Holders(_) => holds.holders.get(slot as u32),
            Slots::Tokens(_) => holds.tokens.get(slot as u32),
            Slots::Pairs { pairs, .. } => holds.holders.get(pairs[slot].0),
        }
    }
}

fn pair_slots(holds: &Holds) -> Slots {
    let mut known: HashMap<(u32, u32), u32> = HashMap::new();
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut slots: Vec<Vec<u32>> = Vec::with_capacity(holds.chunks.len());
    for chunk in &holds.chunks {
        let number = |(&holder, &token): (&u32, &u32)| {
            *known.entry((holder, token)).or_insert_with(|| {
                pairs.push((holder, token));
                pairs.len() as u32 - 1
            })
        };
        slots.push(
            chunk
                .holder
                .iter()
                .zip(chunk.token.iter())
                .map(number)
                .collect(),
        );
    }
    let mut order: Vec<u32> = (0..pairs.len() as u32).collect();
    order.sort_unstable_by_key(|&old| pairs[old as usize]);
    let mut place = vec![0u32; pairs.len()];
    for (new, &old) in order.iter().enumerate() {
        place[old as usize] = new as u32;
    }
    slots
        .iter_mut()
        .flatten()
        .for_each(|slot| *slot = place[*slot as usize]);
    pairs.sort_unstable();
    Slots::Pairs { slots, pairs }
}

/// What is kept of a row knows its holder.
pub(crate) trait OfHolder {
    fn holder(&self) -> u32;
}

/// How many rows each holder has, as a running sum.
pub(crate) struct HolderRows {
    first: Vec<u64>,
}

impl HolderRows {
    pub(crate) fn count(holds: &Holds) -> Self {
        let mut first = vec![0u64; holds.holders.len() + 1];
        for chunk in &holds.chunks {
            for &holder in chunk.holder.iter() {
                first[holder as usize + 1] += 1;
            }
        }
        for holder in 1..first.len() {
            first[holder] += first[holder - 1];
        }
        HolderRows { first }
    }

    /// Whole holders for one of `parts`, about evenly by rows.
    pub(crate) fn share(&self, part: usize, parts: usize) -> Range<usize> {
        let holders = self.first.len() - 1;
        let rows = self.first[holders];
        let bound = |part: usize| {
            let row = rows * part as u64 / parts as u64;
            self.first
                .partition_point(|&first| first < row)
                .min(holders)
        };
        let from = if part == 0 { 0 } else { bound(part) };
        let to = if part + 1 == parts {
            holders
        } else {
            bound(part + 1)
        };
        from..to
    }

    /// Hands out the rows of some holders, holder by holder. `value` says what is kept of a row;
    /// `None` leaves it out.
    ///
    /// Two counting sorts: first into buckets of neighbouring holders, few enough for the
    /// processor to write to all of them at once, then within each bucket, which fits in its cache.
    pub(crate) fn each_holder<T: Copy + Default + OfHolder, E>(
        &self,
        holds: &Holds,
        holders: Range<usize>,
        mut value: impl FnMut(&Chunk, usize) -> Option<T>,
        mut group: impl FnMut(u32, &mut [T]) -> Result<(), E>,
    ) -> Result<(), E> {
        const BUCKETS: usize = 256;
        let width = holders.len().div_ceil(BUCKETS).max(1);
        let base = self.first[holders.start];
        let place = |holder: usize| (self.first[holder.min(holders.end)] - base) as usize;
        let mut ends: Vec<usize> = holders.clone().step_by(width).map(place).collect();
        let starts = ends.clone();
        let mut records: Vec<T> = vec![T::default(); place(holders.end)];
        for chunk in &holds.chunks {
            for (row, &holder) in chunk.holder.iter().enumerate() {
                let number = (holder as usize).wrapping_sub(holders.start);
                if number < holders.len()
                    && let Some(value) = value(chunk, row)
                {
                    let end = &mut ends[number / width];
                    records[*end] = value;
                    *end += 1;
                }
            }
        }
        let mut next: Vec<usize> = Vec::with_capacity(width);
        let mut sorted: Vec<T> = Vec::new();
        for ((&start, &end), first) in starts.iter().zip(&ends).zip(holders.clone().step_by(width))
        {
            let bucket = &records[start..end];
            sorted.clear();
            sorted.resize(bucket.len(), T::default());
            // Rows that were left out make the true counts smaller than those of `first`.
            next.clear();
            next.resize(width + 1, 0);
            for value in bucket {
                next[value.holder() as usize - first + 1] += 1;
            }
            for holder in 1..next.len() {
                next[holder] += next[holder - 1];
            }
            for value in bucket {
                let place = &mut next[value.holder() as usize - first];
                sorted[*place] = *value;
                *place += 1;
            }
            let mut from = 0;
            for (number, &to) in next[..width].iter().enumerate() {
                if to > from {
                    group((first + number) as u32, &mut sorted[from..to])?;
                }
                from = to;
            }
        }
        Ok(())
    }
}

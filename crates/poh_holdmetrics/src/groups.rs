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

    /// Places the rows of some holders side by side: a counting sort of what `record` gives.
    /// `None` leaves a row out. Returns the records and where each holder's end.
    pub(crate) fn place<T: Copy>(
        &self,
        holds: &Holds,
        holders: Range<usize>,
        empty: T,
        mut record: impl FnMut(&Chunk, usize, usize) -> Option<T>,
    ) -> (Vec<T>, Vec<Range<usize>>) {
        let base = self.first[holders.start];
        let rows = (self.first[holders.end] - base) as usize;
        let mut records = vec![empty; rows];
        let mut spans: Vec<Range<usize>> = self.first[holders.clone()]
            .iter()
            .map(|&first| (first - base) as usize..(first - base) as usize)
            .collect();
        for (number, chunk) in holds.chunks.iter().enumerate() {
            for (row, &holder) in chunk.holder.iter().enumerate() {
                let holder = (holder as usize).wrapping_sub(holders.start);
                if holder < spans.len()
                    && let Some(value) = record(chunk, number, row)
                {
                    let span = &mut spans[holder];
                    records[span.end] = value;
                    span.end += 1;
                }
            }
        }
        (records, spans)
    }
}

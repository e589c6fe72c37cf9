//! Rows that belong together: all of one holder and one token, in order of their start.
//!
//! Groups come in order of holder, then token. Where the source is turned they come in order of
//! token, then holder, and what is said of holders here is said of tokens.

use crate::error::HoldError;
use crate::holds::{Chunk, blocks};
use crate::query::Stop;
use crate::threads::{in_threads, share};

/// Rows to be grouped.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) chunks: &'a [Chunk],
    /// Codes of holders and of tokens are below these.
    pub(crate) holders: usize,
    pub(crate) tokens: usize,
    /// Whether tokens and holders change places when rows are grouped.
    pub(crate) turned: bool,
}

impl Source<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| last.first_row + last.len())
    }

    /// How many codes there are of what groups are in order of first, and of the other.
    fn sizes(&self) -> (usize, usize) {
        match self.turned {
            false => (self.holders, self.tokens),
            true => (self.tokens, self.holders),
        }
    }

    /// The codes of what groups are in order of first, and of the other.
    fn codes<'c>(&self, chunk: &'c Chunk) -> (&'c [u32], &'c [u32]) {
        match self.turned {
            false => (&chunk.holder, &chunk.token),
            true => (&chunk.token, &chunk.holder),
        }
    }
}

/// Holder, token and start of a row in one integer, in this order. 64 bits are enough for most
/// tables, since holders count from the first one of their bucket, and starts from the earliest.
pub(crate) trait Packed: Copy + Ord + Default + Send + Sync + 'static {
    fn pack(pair: u64, start: u64, start_bits: u32) -> Self;
    fn pair(self, start_bits: u32) -> u64;
    fn start(self, start_bits: u32) -> u64;
}

impl Packed for u64 {
    #[inline]
    fn pack(pair: u64, start: u64, start_bits: u32) -> u64 {
        pair.unbounded_shl(start_bits) | start
    }

    #[inline]
    fn pair(self, start_bits: u32) -> u64 {
        self.unbounded_shr(start_bits)
    }

    #[inline]
    fn start(self, start_bits: u32) -> u64 {
        self & !u64::MAX.unbounded_shl(start_bits)
    }
}

impl Packed for u128 {
    #[inline]
    fn pack(pair: u64, start: u64, start_bits: u32) -> u128 {
        u128::from(pair) << start_bits | u128::from(start)
    }

    #[inline]
    fn pair(self, start_bits: u32) -> u64 {
        (self >> start_bits) as u64
    }

    #[inline]
    fn start(self, start_bits: u32) -> u64 {
        (self & !(u128::MAX << start_bits)) as u64
    }
}

/// What grouping keeps of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Record<K, W> {
    key: K,
    end: i64,
    weight: W,
}

/// One row of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lot<W> {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) weight: W,
}

/// So many rows and their copy stay in the second cache.
const ROWS_IN_BUCKET: usize = 8192;
/// More streams than this are too many to write to at once.
const MOST_BUCKETS: usize = 1024;
/// A bucket with more rows than this is divided again: where few holders have most rows, one thread
/// would still be at them when the others are done.
const MOST_ROWS: usize = 16 * ROWS_IN_BUCKET;

/// How rows are divided into buckets of neighbouring holders, and what their keys look like.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// A bucket has `2^holder_bits` holders.
    holder_bits: u32,
    /// 0 where tokens do not matter.
    token_bits: u32,
    start_bits: u32,
    earliest: i64,
    buckets: usize,
    /// For each thread, how many of its rows each bucket has.
    counts: Vec<Vec<usize>>,
}

impl Layout {
    /// Looks through all rows, and checks those that were not checked yet.
    pub(crate) fn survey(
        source: Source<'_>,
        by_token: bool,
        threads: usize,
        stop: &Stop,
    ) -> Result<Layout, HoldError> {
        let rows = source.rows();
        let (holders, tokens) = source.sizes();
        let wanted = (rows / ROWS_IN_BUCKET).clamp(1, MOST_BUCKETS);
        let holder_bits = bits_below(holders.div_ceil(wanted));
        let buckets = holders.div_ceil(1 << holder_bits).max(1);
        let parts = in_threads(threads, |part| -> Result<_, HoldError> {
            let mut counts = vec![0usize; buckets];
            let (mut earliest, mut latest) = (i64::MAX, i64::MIN);
            for block in blocks(source.chunks, share(rows, part, threads)) {
                stop.check()?;
                block.chunk.check(block.rows.clone())?;
                for &start in &block.chunk.start[block.rows.clone()] {
                    earliest = earliest.min(start);
                    latest = latest.max(start);
                }
                for &holder in &source.codes(block.chunk).0[block.rows] {
                    counts[holder as usize >> holder_bits] += 1;
                }
            }
            Ok((earliest, latest, counts))
        });
        let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (mut earliest, mut latest) = (0, 0);
        if rows > 0 {
            earliest = parts.iter().map(|part| part.0).min().unwrap_or(0);
            latest = parts.iter().map(|part| part.1).max().unwrap_or(0);
        }
        Ok(Layout {
            holder_bits,
            token_bits: if by_token { bits_below(tokens) } else { 0 },
            start_bits: bits_of(latest.abs_diff(earliest)),
            earliest,
            buckets,
            counts: parts.into_iter().map(|part| part.2).collect(),
        })
    }

    /// Whether keys fit in 64 bits.
    pub(crate) fn is_narrow(&self) -> bool {
        self.holder_bits + self.token_bits + self.start_bits <= u64::BITS
    }
}

/// Bits that the numbers below `count` need.
fn bits_below(count: usize) -> u32 {
    bits_of(count.saturating_sub(1) as u64)
}

fn bits_of(largest: u64) -> u32 {
    u64::BITS - largest.leading_zeros()
}

/// Rows in buckets of neighbouring holders, or of one holder's neighbouring tokens.
pub(crate) struct Groups<K, W> {
    layout: Layout,
    /// What each thread put into the buckets.
    parts: Vec<Part<K, W>>,
    /// The same for each bucket that was divided again.
    divided: Vec<Vec<Part<K, W>>>,
    buckets: Vec<Bucket>,
}

/// What one thread put into some buckets.
struct Part<K, W> {
    records: Vec<Record<K, W>>,
    /// Where the records of each bucket end.
    ends: Vec<usize>,
}

impl<K, W> Part<K, W> {
    fn bucket(&self, place: usize) -> &[Record<K, W>] {
        let from = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.records[from..self.ends[place]]
    }
}

/// Rows of neighbouring pairs, which one thread puts in order.
#[derive(Clone, Copy)]
struct Bucket {
    /// Which of `divided` it is in; none where it was not divided.
    divided: Option<usize>,
    /// Its place there, or in `parts`.
    place: usize,
    first_holder: u32,
    /// The lowest bits of a pair, by which its rows differ.
    pair_bits: u32,
}

impl<K: Packed, W: Copy + Default + Send + Sync> Groups<K, W> {
    /// Puts all rows into their buckets. `weight` gets the number of a chunk, and a row in it.
    pub(crate) fn new(
        source: Source<'_>,
        layout: Layout,
        weight: impl Fn(usize, usize) -> W + Sync,
        stop: &Stop,
    ) -> Result<Self, HoldError> {
        let (rows, threads) = (source.rows(), layout.counts.len());
        let parts = in_threads(threads, |part| -> Result<_, HoldError> {
            let mut ends = Vec::with_capacity(layout.buckets);
            let mut next = 0;
            for count in &layout.counts[part] {
                ends.push(next); // where the bucket's first record goes; at last, where it ends
                next += count;
            }
            let mut records = vec![Record::default(); next];
            let in_bucket = !(u32::MAX.unbounded_shl(layout.holder_bits));
            for block in blocks(source.chunks, share(rows, part, threads)) {
                stop.check()?;
                let chunk = block.chunk;
                let (holders, tokens) = source.codes(chunk);
                let holders = &holders[block.rows.clone()];
                let tokens = (layout.token_bits > 0).then(|| &tokens[block.rows.clone()]);
                let starts = &chunk.start[block.rows.clone()];
                let row_ends = &chunk.end[block.rows.clone()];
                for (place, &holder) in holders.iter().enumerate() {
                    let token = tokens.map_or(0, |tokens| tokens[place]);
                    let pair =
                        u64::from(holder & in_bucket) << layout.token_bits | u64::from(token);
                    let start = starts[place].abs_diff(layout.earliest);
                    let end = &mut ends[(holder as usize) >> layout.holder_bits];
                    records[*end] = Record {
                        key: K::pack(pair, start, layout.start_bits),
                        end: row_ends[place],
                        weight: weight(block.number, block.rows.start + place),
                    };
                    *end += 1;
                }
            }
            Ok(Part { records, ends })
        });
        let parts: Vec<Part<K, W>> = parts.into_iter().collect::<Result<_, _>>()?;
        let mut groups = Groups {
            divided: Vec::new(),
            buckets: Vec::with_capacity(layout.buckets),
            layout,
            parts,
        };
        for place in 0..groups.layout.buckets {
            stop.check()?;
            groups.add_bucket(place);
        }
        Ok(groups)
    }

    /// Adds a bucket to those that threads take, in pieces where it is large.
    fn add_bucket(&mut self, place: usize) {
        let layout = &self.layout;
        let pair_bits = layout.holder_bits + layout.token_bits;
        let whole = Bucket {
            divided: None,
            place,
            first_holder: (place as u32).unbounded_shl(layout.holder_bits),
            pair_bits,
        };
        let slices: Vec<_> = self.parts.iter().map(|part| part.bucket(place)).collect();
        let rows: usize = slices.iter().map(|slice| slice.len()).sum();
        if rows <= MOST_ROWS || pair_bits == 0 {
            self.buckets.push(whole);
            return;
        }
        let wanted = (rows / ROWS_IN_BUCKET).min(MOST_BUCKETS);
        let bits_below = pair_bits.saturating_sub(bits_below(wanted));
        let pieces = 1 << (pair_bits - bits_below);
        let piece =
            |record: &Record<K, W>| (record.key.pair(layout.start_bits) >> bits_below) as usize;
        let parts = in_threads(slices.len(), |part| divided(slices[part], pieces, piece));
        let divided = Some(self.divided.len());
        self.divided.push(parts);
        self.buckets.extend((0..pieces).map(|place| Bucket {
            divided,
            place,
            pair_bits: bits_below,
            ..whole
        }));
    }

    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Threads that filled the buckets.
    pub(crate) fn threads(&self) -> usize {
        self.parts.len()
    }

    /// Calls `found` with the holder, the token and the rows of each group of a bucket, in this
    /// order; the rows of a group come in order of their start where `by_start` asks for it.
    pub(crate) fn each_group<E>(
        &self,
        bucket: usize,
        room: &mut Room<K, W>,
        by_start: bool,
        mut found: impl FnMut(u32, u32, GroupRows<'_, K, W>) -> Result<(), E>,
    ) -> Result<(), E> {
        let layout = &self.layout;
        let bucket = self.buckets[bucket];
        let records = self.sorted_by_pair(bucket, room);
        let token_mask = !(u64::MAX.unbounded_shl(layout.token_bits));
        let mut from = 0;
        while from < records.len() {
            let pair = records[from].key.pair(layout.start_bits);
            let mut to = from + 1;
            while to < records.len() && records[to].key.pair(layout.start_bits) == pair {
                to += 1;
            }
            let group = &mut records[from..to];
            if by_start && group.len() > 1 {
                group.sort_unstable_by_key(|record| record.key);
            }
            let holder = bucket.first_holder + pair.unbounded_shr(layout.token_bits) as u32;
            let token = (pair & token_mask) as u32;
            let rows = GroupRows {
                records: group,
                layout,
            };
            found(holder, token, rows)?;
            from = to;
        }
        Ok(())
    }

    /// The records of a bucket in order of holder and token: a radix sort, least digit first, from
    /// the threads' records into one buffer, and from there into the other.
    fn sorted_by_pair<'r>(
        &self,
        bucket: Bucket,
        room: &'r mut Room<K, W>,
    ) -> &'r mut [Record<K, W>] {
        /// Counters of one digit stay in the first cache.
        const MOST_DIGIT_BITS: u32 = 11;
        let parts = match bucket.divided {
            Some(divided) => &self.divided[divided],
            None => &self.parts,
        };
        let slices = parts.iter().map(|part| part.bucket(bucket.place));
        let rows: usize = slices.clone().map(<[_]>::len).sum();
        let Room { one, other, places } = room;
        one.resize(rows.max(one.len()), Record::default());
        let mut from = &mut one[..rows];
        let (layout, pair_bits) = (&self.layout, bucket.pair_bits);
        // For few rows it is not worth it to go through all counters.
        let worth = bits_below(rows).min(MOST_DIGIT_BITS);
        let passes = pair_bits.div_ceil(MOST_DIGIT_BITS);
        let digit_bits = if passes == 0 {
            0
        } else {
            pair_bits.div_ceil(passes)
        };
        if passes == 0 || digit_bits > worth + 1 {
            let mut place = 0;
            for slice in slices {
                from[place..place + slice.len()].copy_from_slice(slice);
                place += slice.len();
            }
            if passes > 0 {
                from.sort_unstable_by_key(|record| record.key);
            }
            return from;
        }
        let mask = !(u64::MAX << digit_bits);
        let digit = |record: &Record<K, W>, pass: u32| {
            (record.key.pair(layout.start_bits) >> (pass * digit_bits) & mask) as usize
        };
        places.clear();
        places.resize(1 << digit_bits, 0);
        for slice in slices.clone() {
            slice
                .iter()
                .for_each(|record| places[digit(record, 0)] += 1);
        }
        running(places);
        for slice in slices {
            for record in slice {
                let place = &mut places[digit(record, 0)];
                from[*place] = *record;
                *place += 1;
            }
        }
        if passes > 1 {
            other.resize(rows.max(other.len()), Record::default());
        }
        let mut to = &mut other[..if passes > 1 { rows } else { 0 }];
        for pass in 1..passes {
            places.fill(0);
            from.iter()
                .for_each(|record| places[digit(record, pass)] += 1);
            running(places);
            for record in &*from {
                let place = &mut places[digit(record, pass)];
                to[*place] = *record;
                *place += 1;
            }
            std::mem::swap(&mut from, &mut to);
        }
        from
    }
}

/// Records in so many pieces, in the order that they have.
fn divided<K: Packed, W: Copy + Default>(
    records: &[Record<K, W>],
    pieces: usize,
    piece: impl Fn(&Record<K, W>) -> usize,
) -> Part<K, W> {
    let mut ends = vec![0; pieces];
    records.iter().for_each(|record| ends[piece(record)] += 1);
    running(&mut ends);
    let mut own = vec![Record::default(); records.len()];
    for record in records {
        let end = &mut ends[piece(record)];
        own[*end] = *record;
        *end += 1;
    }
    Part { records: own, ends }
}

/// Turns how many there are of each into where the first of each goes.
fn running(counts: &mut [usize]) {
    let mut next = 0;
    for count in counts {
        next += std::mem::replace(count, next);
    }
}

/// Buffers that a thread sorts in, kept from bucket to bucket.
#[derive(Debug)]
pub(crate) struct Room<K, W> {
    one: Vec<Record<K, W>>,
    other: Vec<Record<K, W>>,
    places: Vec<usize>,
}

impl<K, W> Default for Room<K, W> {
    fn default() -> Self {
        Room {
            one: Vec::new(),
            other: Vec::new(),
            places: Vec::new(),
        }
    }
}

/// The rows of one group.
#[derive(Clone, Copy)]
pub(crate) struct GroupRows<'a, K, W> {
    records: &'a [Record<K, W>],
    layout: &'a Layout,
}

impl<'a, K: Packed, W: Copy> GroupRows<'a, K, W> {
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = Lot<W>> + use<'a, K, W> {
        let (earliest, bits) = (self.layout.earliest, self.layout.start_bits);
        self.records.iter().map(move |record| Lot {
            start: earliest.wrapping_add_unsigned(record.key.start(bits)),
            end: record.end,
            weight: record.weight,
        })
    }
}

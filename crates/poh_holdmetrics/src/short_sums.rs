//! Weighted sums by the text of short ids, which are found and added to in one look.

use std::hash::BuildHasher;
use std::{mem, str};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::arrow::Text;
use crate::id_sums::{AT_ONCE, MOST_SUM, SumsByText};
use crate::ids::{EMPTY, IdRows, Ids};
use crate::plain_sums::PlainSums;
use crate::prefetch::{in_line, prefetch, prefetch_once};
use crate::tally::BlockRows;

/// Sums of ids that are their keys, as [`short_key`](crate::ids::short_key) makes them.
///
/// To find an id's code and then the sum of that code takes two looks at places far apart, which are
/// waited for. Here a sum is beside its id. Measured on 10 million rows of 100,000 ids: 6 ns a row
/// in place of 11.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShortSums {
    /// A power of two of lines, of whose places half may be taken: 99 of 100 ids are then in the line of
    /// their hash.
    lines: Vec<Line>,
    /// Ids by their numbers, in the order of their first row.
    ids: Vec<ShortText>,
    /// What was taken out of the sums of lines, in units of [`FULL`]: of few ids there is any.
    above: HashMap<u64, u64, RandomState>,
    /// No sum is above this.
    bound: u128,
    hash: Hash,
}

/// Says where to look for an id first: in which part of all lines.
///
/// Multiply-shift of Dietzfelbinger et al., with random numbers: whatever the ids are, two of them meet
/// in a line as seldom as chance has it, or twice as often. A compiler makes vector code of it. What is
/// hashed is mixed before: ids that count would else be in even steps, and with one of ten random numbers
/// more than twice as many would be away from their line.
#[derive(Debug, Clone, Copy)]
struct Hash {
    odd: [u64; 2],
    also: u64,
}

impl Default for Hash {
    fn default() -> Self {
        let random = RandomState::default();
        Hash {
            odd: [0, 1].map(|number| random.hash_one(number) | 1),
            also: random.hash_one(2),
        }
    }
}

impl Hash {
    /// Of as many lines as are a number of `bits`: there are few, see [`MOST_IDS`].
    #[inline(always)]
    fn line(self, id: u64, bits: u32) -> u32 {
        let mixed = (id ^ self.also).wrapping_mul(self.odd[0]);
        let mixed = mixed ^ (mixed >> u32::BITS);
        (mixed.wrapping_mul(self.odd[1]) >> (u64::BITS - bits)) as u32
    }

    #[inline(always)]
    fn lines(self, bits: u32, ids: &[u64], lines: &mut [u32]) {
        for (&id, line) in ids.iter().zip(lines) {
            *line = self.line(id, bits);
        }
    }
}

/// Ids in a cache line.
const IN_LINE: usize = 4;

/// Some ids and their sums: one cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line {
    /// [`EMPTY`] where there is none.
    ids: [u64; IN_LINE],
    sums: [u64; IN_LINE],
}

/// A line's sum that has come to this is taken out before the next rows.
const FULL: u64 = 1 << 63;

/// So large may a product be: those of rows that are added at once fit above a sum that is not full.
const MOST: u128 = (1 << 63) / AT_ONCE as u128;

/// So many ids of one thread, at most: their lines are 16 MiB. More would be in no cache, and take more
/// memory here than with codes.
const MOST_IDS: usize = (1 << 19) - 2;

impl ShortSums {
    /// Adds to the sum of one id, which may be new, or not in the line of its hash.
    fn add(&mut self, id: u64, product: u64) {
        let mut line = self.line(id);
        loop {
            // Which place it is no branch could foresee.
            let here = &mut self.lines[line];
            if let Some(place) = first_of(places_of(here, id)) {
                here.sums[place] += product;
                return self.take_out_of(line);
            }
            if let Some(place) = first_of(places_of(here, EMPTY)) {
                (here.ids[place], here.sums[place]) = (id, product);
                self.ids.push(ShortText::of(id));
                return self.make_room(1);
            }
            line = self.after(line);
        }
    }

    /// Makes places for so many more ids.
    #[inline]
    fn make_room(&mut self, ids: usize) {
        let lines = (self.ids.len() + ids) * 2 / IN_LINE;
        if lines >= self.lines.len() {
            self.spread(lines);
        }
    }

    /// Makes more than so many lines: many more, for it takes as long as hundreds of rows a line.
    #[cold]
    fn spread(&mut self, lines: usize) {
        const LEAST: usize = 64;
        let lines = (lines * 4).max(LEAST).next_power_of_two();
        let before = mem::replace(&mut self.lines, vec![Line::default(); lines]);
        for Line { ids, sums } in before {
            for (id, sum) in ids.into_iter().zip(sums).filter(|&(id, _)| id != EMPTY) {
                self.place(id, sum);
            }
        }
    }

    /// Puts an id that has no place yet into the line of its hash, or one after it.
    fn place(&mut self, id: u64, sum: u64) {
        let mut line = self.line(id);
        loop {
            let here = &mut self.lines[line];
            if let Some(place) = first_of(places_of(here, EMPTY)) {
                (here.ids[place], here.sums[place]) = (id, sum);
                return;
            }
            line = self.after(line);
        }
    }

    #[inline]
    fn line(&self, id: u64) -> usize {
        self.hash.line(id, self.bits()) as usize
    }

    #[inline]
    fn bits(&self) -> u32 {
        self.lines.len().trailing_zeros()
    }

    /// The line after one.
    #[inline]
    fn after(&self, line: usize) -> usize {
        (line + 1) & (self.lines.len() - 1)
    }

    #[cold]
    fn take_out(&mut self, lines: &[u32]) {
        for &line in lines {
            self.take_out_of(line as usize);
        }
    }

    /// Leaves of the sums of a line what is less than [`FULL`].
    #[inline]
    fn take_out_of(&mut self, line: usize) {
        for place in 0..IN_LINE {
            let Line { ids, sums } = &mut self.lines[line];
            if sums[place] >= FULL {
                *self.above.entry(ids[place]).or_default() += sums[place] / FULL;
                sums[place] %= FULL;
            }
        }
    }

    /// Where an id is; there are lines.
    fn find(&self, id: u64) -> Option<(usize, usize)> {
        let mut line = self.line(id);
        loop {
            let here = &self.lines[line];
            if let Some(place) = first_of(places_of(here, id)) {
                return Some((line, place));
            }
            if places_of(here, EMPTY) > 0 {
                return None;
            }
            line = self.after(line);
        }
    }
}

impl SumsByText for ShortSums {
    type Key = u64;

    const NONE: u64 = EMPTY;

    fn keys(ids: &Text<'_>, first: usize, keys: &mut [u64]) -> bool {
        ids.short_keys(first, keys)
    }

    fn make_bound(&mut self, rows: &BlockRows<'_>) -> bool {
        let (most, count) = (rows.most(), rows.spans.len());
        let bound = self
            .bound
            .saturating_add(most.saturating_mul(count as u128));
        let fits = most <= MOST && bound <= MOST_SUM && self.ids.len() + count <= MOST_IDS;
        if fits {
            self.bound = bound;
        }
        fits
    }

    fn add_rows(&mut self, ids: &[u64], rows: &BlockRows<'_>, first: usize) {
        let spans = &rows.spans[first..first + ids.len()];
        let weights = &rows.weights[first..first + ids.len()];
        self.make_room(1);
        let (mut lines, mut found) = ([0u32; AT_ONCE], [0u64; AT_ONCE / IN_WORD]);
        let lines = &mut lines[..ids.len()];
        lines_on_this_processor(self.hash, self.bits(), ids, lines);
        for &line in &*lines {
            prefetch(&self.lines, line as usize);
        }
        let rows = Rows {
            ids,
            lines,
            spans,
            weights,
            columns: [rows.times[0], rows.times[1], rows.weights],
            later: rows.spans.len() + first,
        };
        let all = add_on_this_processor(&mut self.lines, rows, &mut found);
        if all >= FULL {
            self.take_out(lines);
        }
        for (word, first) in found.into_iter().zip((0..ids.len()).step_by(IN_WORD)) {
            // Ids that are new, or in a line after that of their hash.
            let mut away = none_found(word);
            while away > 0 {
                let row = first + away.leading_zeros() as usize / IN_LINE;
                let product = spans[row] * weights[row].unsigned_abs();
                self.add(ids[row], product);
                away ^= 1 << (63 - away.leading_zeros());
            }
        }
    }

    fn len(&self) -> usize {
        self.ids.len()
    }

    fn name(&self, ids: &mut Ids, codes: &mut Vec<u32>) {
        let first = codes.len();
        if ids.is_empty() {
            ids.take_all(self.ids.iter());
            codes.extend(0..self.ids.len() as u32);
            return;
        }
        codes.resize(self.ids.len(), 0);
        // None is empty, or it would not be here.
        let _ = ids.intern_all(ShortIds(&self.ids[first..]), &mut codes[first..]);
    }

    fn bound(&self) -> u128 {
        self.bound
    }

    fn list(&mut self) -> PlainSums {
        let mut sums = vec![0; self.ids.len()];
        for (number, sum) in sums.iter_mut().enumerate() {
            if let Some(ahead) = self.ids.get(number + AT_ONCE) {
                prefetch(&self.lines, self.line(ahead.key()));
            }
            // Each is there.
            if let Some((line, place)) = self.find(self.ids[number].key()) {
                *sum = mem::replace(&mut self.lines[line].sums[place], number as u64);
            }
        }
        let above = self.above.iter().filter_map(|(&id, &above)| {
            let (line, place) = self.find(id)?;
            let number = self.lines[line].sums[place];
            Some((number as usize, u128::from(above) * u128::from(FULL)))
        });
        PlainSums::of(sums, above, self.bound)
    }

    fn ids(&self, first: usize, ids: &mut [u64]) {
        for (id, text) in ids.iter_mut().zip(self.ids.iter().skip(first)) {
            *id = text.key();
        }
    }

    fn ask_for(&self, ids: &[u64]) {
        for &id in ids.iter().filter(|_| !self.lines.is_empty()) {
            prefetch(&self.lines, self.line(id));
        }
    }

    fn number(&mut self, ids: &[u64], numbers: &mut [u32]) {
        self.make_room(1);
        for (&id, number) in ids.iter().zip(numbers) {
            *number = match self.find(id) {
                Some((line, place)) => self.lines[line].sums[place] as u32, // there are few
                None => {
                    let new = self.ids.len() as u32;
                    self.add(id, u64::from(new));
                    new
                }
            };
        }
    }

    fn text(&self, number: usize) -> impl AsRef<[u8]> {
        self.ids[number]
    }
}

/// What is known of some rows.
#[derive(Clone, Copy)]
struct Rows<'a> {
    ids: &'a [u64],
    /// The line of each id's hash.
    lines: &'a [u32],
    spans: &'a [u64],
    weights: &'a [i64],
    /// Columns, and the row in them of which as much as these rows are is asked for.
    columns: [&'a [i64]; 3],
    later: usize,
}

/// Rows of which a number says where their ids are.
const IN_WORD: usize = 64 / IN_LINE;

/// Adds rows whose id is in the line of its hash. Says in `found` at which places, from the upper bits
/// of each word on, and what bits the sums have.
#[inline(always)]
fn add(
    lines: &mut [Line],
    rows: Rows<'_>,
    found: &mut [u64],
    places_of: impl Fn(&Line, u64) -> u64,
) -> u64 {
    let mut all = [0; IN_LINE];
    let columns = rows.ids.chunks(IN_WORD).zip(rows.lines.chunks(IN_WORD));
    let products = rows.spans.chunks(IN_WORD).zip(rows.weights.chunks(IN_WORD));
    for (part, (((ids, here), (spans, weights)), found)) in
        columns.zip(products).zip(found).enumerate()
    {
        for row in (part * IN_WORD..(part + 1) * IN_WORD).step_by(in_line::<i64>()) {
            for column in rows.columns {
                prefetch_once(column, rows.later + row);
            }
        }
        let mut word = 0;
        for (((&id, &line), &span), &weight) in ids.iter().zip(here).zip(spans).zip(weights) {
            let line = &mut lines[line as usize];
            let product = span.wrapping_mul(weight.cast_unsigned()); // not above `MOST`
            word = word << IN_LINE | places_of(line, id);
            // Which place it is no branch could foresee: all are added to, the others nothing.
            let places = line.ids.iter().zip(&mut line.sums).zip(&mut all);
            for ((&here, sum), all) in places {
                let same = if here == id { u64::MAX } else { 0 };
                *sum = sum.wrapping_add(product & same);
                *all |= *sum;
            }
        }
        // Of rows that are not there it says that they were found.
        let missing = (IN_WORD - ids.len()) * IN_LINE;
        *found = word.rotate_left(missing as u32) | !(u64::MAX << missing);
    }
    all.iter().fold(0, |all, sum| all | sum)
}

/// The places of a line with an id, a bit each.
#[inline(always)]
fn places_of(line: &Line, id: u64) -> u64 {
    let bits = line.ids.iter().zip(0..);
    bits.fold(0, |bits, (&here, place)| {
        bits | u64::from(here == id) << place
    })
}

/// The first of some places.
#[inline(always)]
fn first_of(places: u64) -> Option<usize> {
    (places > 0).then(|| places.trailing_zeros() as usize % IN_LINE)
}

/// Rows whose ids were found nowhere: the lowest of the bits of each.
#[inline]
fn none_found(word: u64) -> u64 {
    const LOWEST: u64 = u64::MAX / 0xf;
    let any = (0..IN_LINE).fold(0, |any, place| any | word >> place);
    !any & LOWEST
}

/// A line at once where the processor has AVX2. Measured on 10 million rows: half the time.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        _mm256_castsi256_pd, _mm256_cmpeq_epi64, _mm256_movemask_pd, _mm256_set_epi64x,
        _mm256_set1_epi64x,
    };

    use super::{Hash, Line, Rows};

    #[target_feature(enable = "avx2")]
    pub(super) fn lines(hash: Hash, bits: u32, ids: &[u64], lines: &mut [u32]) {
        hash.lines(bits, ids, lines);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn add(lines: &mut [Line], rows: Rows<'_>, found: &mut [u64]) -> u64 {
        super::add(lines, rows, found, |line, id| {
            let [first, second, third, fourth] = line.ids.map(u64::cast_signed);
            let four = _mm256_set_epi64x(fourth, third, second, first);
            let same = _mm256_cmpeq_epi64(four, _mm256_set1_epi64x(id.cast_signed()));
            let bits = _mm256_movemask_pd(_mm256_castsi256_pd(same));
            u64::from(bits.cast_unsigned())
        })
    }
}

fn lines_on_this_processor(hash: Hash, bits: u32, ids: &[u64], lines: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { avx2::lines(hash, bits, ids, lines) };
    }
    hash.lines(bits, ids, lines);
}

fn add_on_this_processor(lines: &mut [Line], rows: Rows<'_>, found: &mut [u64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { avx2::add(lines, rows, found) };
    }
    add(lines, rows, found, places_of)
}

/// Ids of [`ShortSums`] as rows.
#[derive(Clone, Copy)]
struct ShortIds<'a>(&'a [ShortText]);

impl<'a> IdRows<'a> for ShortIds<'a> {
    #[inline]
    fn id(self, row: usize) -> &'a str {
        str::from_utf8(self.0[row].as_ref()).unwrap_or_default() // it was text when it came
    }

    #[inline]
    fn keys(self, first: usize, keys: &mut [u64]) {
        for (key, &id) in keys.iter_mut().zip(&self.0[first..]) {
            *key = id.key();
        }
    }
}

/// The bytes of an id, then zeros, and in the last byte how many these are.
#[derive(Debug, Clone, Copy)]
struct ShortText([u8; 8]);

impl ShortText {
    fn of(key: u64) -> Self {
        ShortText(key.to_le_bytes())
    }

    fn key(self) -> u64 {
        u64::from_le_bytes(self.0)
    }
}

impl AsRef<[u8]> for ShortText {
    fn as_ref(&self) -> &[u8] {
        let [bytes @ .., len] = &self.0;
        bytes.get(..usize::from(*len)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id_sums::tests::{Rows, add as add_named};
    use crate::ids::{head_at, short_key};

    fn name_of(id: u64) -> String {
        format!("{id}{}", "é".repeat(id as usize % 3))
    }

    fn add(sums: &mut ShortSums, rows: &Rows) -> bool {
        add_named(sums, (rows, 0), name_of)
    }

    #[test]
    fn what_is_too_large_is_left_to_others() {
        let mut sums = ShortSums::default();
        assert!(!add(&mut sums, &vec![(1, 1 << 30, 1 << 30)]));
        assert!(!add(&mut sums, &vec![(1, u64::MAX, i64::MAX); 3]));
        assert_eq!(sums.len(), 0);
        let many: Rows = (0..MOST_IDS as u64 / 2 + 1)
            .map(|id| (id * 3, 1, 1))
            .collect();
        assert!(add(&mut sums, &many));
        assert!(!add(&mut sums, &many));
        assert_eq!(sums.len(), many.len());
        sums.bound = MOST_SUM - 3;
        assert!(!add(&mut sums, &vec![(1, 2, 2)]));
        assert!(add(&mut sums, &vec![(1, 1, 3)]));
    }

    #[test]
    fn each_processor_finds_the_same() {
        let mut sums = ShortSums::default();
        let some: Rows = (0..200).map(|id| (id, 1, 1)).collect();
        assert!(add(&mut sums, &some));
        let names = (0..300).map(name_of);
        let ids: Vec<u64> = names
            .map(|name| short_key(name.len(), head_at(name.as_bytes(), 0)))
            .collect();
        for ids in [&ids[..64], &ids[64..100], &ids[150..213]] {
            let mut here = vec![0; ids.len()];
            sums.hash.lines(sums.bits(), ids, &mut here);
            let mut same = vec![0; ids.len()];
            lines_on_this_processor(sums.hash, sums.bits(), ids, &mut same);
            assert_eq!(here, same);
            let products: Vec<u64> = (0..ids.len() as u64).collect();
            let rows = super::Rows {
                ids,
                lines: &here,
                spans: &products,
                weights: &vec![3; ids.len()],
                columns: [&[]; 3],
                later: 0,
            };
            let (mut one, mut other) = (sums.lines.clone(), sums.lines.clone());
            let (mut found, mut found_too) = ([0; AT_ONCE / IN_WORD], [0; AT_ONCE / IN_WORD]);
            let all = super::add(&mut one, rows, &mut found, places_of);
            assert_eq!(all, add_on_this_processor(&mut other, rows, &mut found_too));
            assert_eq!(found, found_too);
            let sums_of = |lines: &[Line]| lines.iter().map(|line| line.sums).collect::<Vec<_>>();
            assert_eq!(sums_of(&one), sums_of(&other));
        }
    }

    /// With as many as may be, of each 30 ids about one has no place in its line.
    #[test]
    fn ids_that_count_are_spread_over_lines_with_nearly_all_random_numbers() {
        const BITS: u32 = 9;
        let ids: Vec<u64> = (0..IN_LINE << (BITS - 1))
            .map(|number| format!("h{number:06}"))
            .map(|id| short_key(id.len(), head_at(id.as_bytes(), 0)))
            .collect();
        let many_are_away = |hash: Hash| {
            let mut taken = [0usize; 1 << BITS];
            for &id in &ids {
                taken[hash.line(id, BITS) as usize] += 1;
            }
            let away: usize = taken.iter().map(|ids| ids.saturating_sub(IN_LINE)).sum();
            away > ids.len() / 10
        };
        let bad = (0..300).filter(|_| many_are_away(Hash::default())).count();
        assert!(bad < 8, "{bad} of 300");
    }
}

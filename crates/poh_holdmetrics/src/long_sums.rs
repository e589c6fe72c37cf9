//! Weighted sums by the text of ids of up to 47 bytes, as addresses are, each beside its text.

use std::hash::BuildHasher;
use std::str;

use foldhash::fast::RandomState;

use crate::arrow::Text;
use crate::id_sums::{AT_ONCE, MOST_SUM, SumsByText};
use crate::ids::{IdRows, Ids, head_at, short_key};
use crate::plain_sums::PlainSums;
use crate::prefetch::{in_line, prefetch, prefetch_once};
use crate::tally::BlockRows;

/// Sums of ids that are [`LongKey`]s.
///
/// To find the code of such an id takes a look at its hash, one at where its text ends, one or two at the
/// text, and then there is the sum of the code: all in places far apart, which are waited for. Here there
/// is the place of the hash, and one for text and sum together. Measured on 10 million rows of 100,000
/// addresses: 17 ns of processors a row in place of 33.
#[derive(Debug, Clone)]
pub(crate) struct LongSums {
    /// Where ids are found by their hash: a power of two of lines, of whose places 3 of 4 may be taken.
    lines: Vec<Line>,
    /// Ids in the order of their first row, after one that is none.
    slots: Vec<Slot>,
    /// No sum is above this.
    bound: u128,
    hash: Hash,
}

/// The longest id that has a key.
const MOST_BYTES: usize = 47;

/// An id: its bytes, then zeros, and in the last byte how many these are.
pub(crate) type LongKey = [u8; MOST_BYTES + 1];

/// The key of no id.
pub(crate) const NO_ID: LongKey = [0; MOST_BYTES + 1];

/// Numbers of 64 bits in a key.
const WORDS: usize = size_of::<LongKey>() / size_of::<u64>();

/// Places in a line.
const IN_LINE: usize = 8;

/// The slots of ids whose hash has its place here, or in lines before that are full: one cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line {
    /// What [`tag_of`] says of the ids' hashes; 0 where there is none.
    tags: [u32; IN_LINE],
    slots: [u32; IN_LINE],
}

/// An id and its sum: one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Slot {
    id: LongKey,
    sum: u128,
}

/// Says where to look for an id first.
///
/// NH of Black et al. (UMAC), then multiply-shift of Dietzfelbinger et al.: with random numbers, so that
/// two ids meet in a line as seldom as chance has it, whatever they are. A compiler makes vector code of the
/// products. Between the two the sum is mixed: of ids that differ in 4 bytes alone, as numbers do, the hashes
/// would else be in even steps, and with some random numbers many in a few lines.
#[derive(Debug, Clone, Copy)]
struct Hash {
    also: [u64; WORDS],
    odd: [u64; 2],
}

impl Default for Hash {
    fn default() -> Self {
        let random = RandomState::default();
        let mut also = [0; WORDS];
        for (also, word) in also.iter_mut().zip(0u64..) {
            *also = random.hash_one(word);
        }
        let odd = [WORDS, WORDS + 1].map(|number| random.hash_one(number as u64) | 1);
        Hash { also, odd }
    }
}

impl Hash {
    /// Of which the upper bits are the better mixed ones.
    #[inline(always)]
    fn of(self, id: &LongKey) -> u32 {
        let halves = |word: u64| [word as u32, (word >> u32::BITS) as u32];
        let words = words_of(id).zip(self.also);
        let sum = words.fold(0u64, |sum, (word, also)| {
            let ([low, high], also) = (halves(word), halves(also));
            let factors = [low.wrapping_add(also[0]), high.wrapping_add(also[1])].map(u64::from);
            sum.wrapping_add(factors[0] * factors[1])
        });
        let mixed = sum.wrapping_mul(self.odd[0]);
        let mixed = mixed ^ (mixed >> u32::BITS);
        (mixed.wrapping_mul(self.odd[1]) >> u32::BITS) as u32
    }
}

#[inline(always)]
fn words_of(id: &LongKey) -> impl Iterator<Item = u64> {
    let (words, _) = id.as_chunks();
    words.iter().map(|&word| u64::from_le_bytes(word))
}

/// What tells the ids of a line apart, nearly always.
#[inline(always)]
fn tag_of(hash: u32) -> u32 {
    hash | 1
}

/// Without a call, which would take as long as the rest of a row.
#[inline(always)]
fn is_same(one: &LongKey, other: &LongKey) -> bool {
    let words = words_of(one).zip(words_of(other));
    words.fold(0, |all, (one, other)| all | (one ^ other)) == 0
}

/// A key in numbers of 128 bits.
const PARTS: usize = size_of::<LongKey>() / size_of::<u128>();

/// As [`is_same`]; the compiler would compare each number by itself.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn is_same_by_avx2(one: &LongKey, other: &LongKey) -> bool {
    use std::arch::x86_64::{
        _mm256_loadu_si256, _mm256_or_si256, _mm256_testz_si256, _mm256_xor_si256,
    };

    // The last 32 bytes, of which 16 are among the first ones.
    let [first, last] = [0, size_of::<LongKey>() - 32].map(|from| {
        // SAFETY: an id has 48 bytes.
        let half = |id: &LongKey| unsafe { _mm256_loadu_si256(id[from..].as_ptr().cast()) };
        _mm256_xor_si256(half(one), half(other))
    });
    let any = _mm256_or_si256(first, last);
    _mm256_testz_si256(any, any) > 0
}

/// What is kept of as many bytes as a key has, by the length of an id.
const MASKS: [[u128; PARTS]; MOST_BYTES + 1] = {
    let mut masks = [[0; PARTS]; MOST_BYTES + 1];
    let mut len = 0;
    while len <= MOST_BYTES {
        let mut byte = 0;
        while byte < len {
            masks[len][byte / size_of::<u128>()] |= 0xff << (byte % size_of::<u128>() * 8);
            byte += 1;
        }
        len += 1;
    }
    masks
};

/// The id of `len` bytes that begins in a text at a place. Says false where it is empty or too long for a
/// key.
#[inline(always)]
pub(crate) fn long_key(text: &[u8], from: usize, len: usize, key: &mut LongKey) -> bool {
    let Some(mask) = MASKS.get(len) else {
        return false;
    };
    let bytes: &LongKey = match text.get(from..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => bytes,
        None => return near_the_end(text, from, len, key),
    };
    // The length with them: as a byte that is written after others it would make bytewise code of all.
    let lengths = [0, 0, (len as u128) << (u128::BITS - u8::BITS)];
    let parts = bytes.as_chunks().0.iter().zip(mask).zip(lengths);
    for (place, ((&part, mask), len)) in key.as_chunks_mut().0.iter_mut().zip(parts) {
        *place = (u128::from_le_bytes(part) & mask | len).to_le_bytes();
    }
    len > 0
}

#[cold]
fn near_the_end(text: &[u8], from: usize, len: usize, key: &mut LongKey) -> bool {
    let mut bytes = NO_ID;
    let id = text.get(from..from + len).unwrap_or_default();
    for (place, &byte) in bytes.iter_mut().zip(id) {
        *place = byte;
    }
    long_key(&bytes, 0, id.len(), key)
}

/// The text of a key's id.
fn text_of(key: &LongKey) -> &[u8] {
    let [bytes @ .., len] = key;
    bytes.get(..usize::from(*len)).unwrap_or_default()
}

impl Default for LongSums {
    fn default() -> Self {
        let none = Slot { id: NO_ID, sum: 0 };
        LongSums {
            lines: Vec::new(),
            slots: vec![none],
            bound: 0,
            hash: Hash::default(),
        }
    }
}

impl LongSums {
    /// Adds to the sum of each of some ids, [`AT_ONCE`] at most.
    fn add_each(&mut self, ids: &[LongKey], amount: impl Fn(usize) -> u128) {
        self.make_room(1);
        let mut hashes = [0; AT_ONCE];
        let mut away = self.add_known_on_this_processor(ids, &mut hashes, &amount);
        while away > 0 {
            let row = away.trailing_zeros() as usize;
            self.add(&ids[row], hashes[row], amount(row));
            away &= away - 1;
        }
    }

    fn add_known_on_this_processor(
        &mut self,
        ids: &[LongKey],
        hashes: &mut [u32; AT_ONCE],
        amount: impl Fn(usize) -> u128,
    ) -> u64 {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { self.add_known_by_avx2(ids, hashes, amount) };
        }
        self.add_known(ids, hashes, amount, slot_of, is_same)
    }

    /// Adds to the sums of ids that are in the line of their hash. Says what the hashes are, and of which
    /// ids that is not so, a bit each.
    #[inline(always)]
    fn add_known(
        &mut self,
        ids: &[LongKey],
        hashes: &mut [u32; AT_ONCE],
        amount: impl Fn(usize) -> u128,
        slot_of: impl Fn(&Line, u32) -> u32,
        is_same: impl Fn(&LongKey, &LongKey) -> bool,
    ) -> u64 {
        let mut numbers = [0; AT_ONCE];
        let shift = self.shift();
        // Loop after loop, each so small that all it needs stays in registers.
        for (id, hash) in ids.iter().zip(&mut *hashes) {
            *hash = self.hash.of(id);
            prefetch(&self.lines, (*hash >> shift) as usize);
        }
        for (&hash, number) in hashes[..ids.len()].iter().zip(&mut numbers) {
            let line = &self.lines[(hash >> shift) as usize];
            *number = slot_of(line, tag_of(hash));
            prefetch(&self.slots, *number as usize);
        }
        let mut away = 0;
        for (row, (id, number)) in ids.iter().zip(numbers).enumerate() {
            let slot = &mut self.slots[number as usize];
            let is_here = is_same(&slot.id, id);
            // Nearly all are.
            slot.sum += if is_here { amount(row) } else { 0 };
            away |= u64::from(!is_here) << row;
        }
        away
    }

    /// A line at once, and half an id, where the processor has AVX2. Measured on 10 million rows: a tenth less
    /// time.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn add_known_by_avx2(
        &mut self,
        ids: &[LongKey],
        hashes: &mut [u32; AT_ONCE],
        amount: impl Fn(usize) -> u128,
    ) -> u64 {
        use std::arch::x86_64::{
            _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_movemask_ps, _mm256_set1_epi32,
            _mm256_setr_epi32,
        };

        let slot_of = |line: &Line, tag: u32| {
            let [a, b, c, d, e, f, g, h] = line.tags.map(u32::cast_signed);
            let tags = _mm256_setr_epi32(a, b, c, d, e, f, g, h);
            let same = _mm256_cmpeq_epi32(tags, _mm256_set1_epi32(tag.cast_signed()));
            let places = _mm256_movemask_ps(_mm256_castsi256_ps(same));
            first_of(line, places.cast_unsigned())
        };
        let is_same = |one: &LongKey, other: &LongKey| is_same_by_avx2(one, other);
        self.add_known(ids, hashes, amount, slot_of, is_same)
    }

    /// Adds to the sum of one id, which may be new, or not in the line of its hash. Says which slot it has.
    fn add(&mut self, id: &LongKey, hash: u32, amount: u128) -> u32 {
        let mut line = self.line(hash);
        loop {
            let here = &mut self.lines[line];
            for place in 0..IN_LINE {
                if here.tags[place] == 0 {
                    // Four thousand million different ids do not fit in memory before this wraps.
                    let slot = self.slots.len() as u32;
                    (here.tags[place], here.slots[place]) = (tag_of(hash), slot);
                    let (id, sum) = (*id, amount);
                    self.slots.push(Slot { id, sum });
                    self.make_room(1);
                    return slot;
                }
                let number = here.slots[place];
                let slot = &mut self.slots[number as usize];
                if here.tags[place] == tag_of(hash) && is_same(&slot.id, id) {
                    slot.sum += amount;
                    return number;
                }
            }
            line = self.after(line);
        }
    }

    /// Makes places for so many more ids.
    #[inline]
    fn make_room(&mut self, ids: usize) {
        let lines = (self.slots.len() + ids) * 4 / (3 * IN_LINE);
        if lines >= self.lines.len() {
            self.spread(lines);
        }
    }

    /// Makes more than so many lines.
    #[cold]
    fn spread(&mut self, lines: usize) {
        const LEAST: usize = 64;
        let lines = (lines * 2).max(LEAST).next_power_of_two();
        self.lines = vec![Line::default(); lines];
        for number in 1..self.slots.len() {
            let hash = self.hash.of(&self.slots[number].id);
            self.place(hash, number as u32);
        }
    }

    /// Puts a slot that has no place yet into the line of its hash, or one after it.
    fn place(&mut self, hash: u32, slot: u32) {
        let mut line = self.line(hash);
        loop {
            let here = &mut self.lines[line];
            if let Some(place) = here.tags.iter().position(|&tag| tag == 0) {
                (here.tags[place], here.slots[place]) = (tag_of(hash), slot);
                return;
            }
            line = self.after(line);
        }
    }

    #[inline]
    fn line(&self, hash: u32) -> usize {
        (hash >> self.shift()) as usize
    }

    /// What leaves as many bits of a hash as the number of a line has.
    #[inline]
    fn shift(&self) -> u32 {
        u32::BITS - self.lines.len().trailing_zeros()
    }

    /// The line after one.
    #[inline]
    fn after(&self, line: usize) -> usize {
        (line + 1) & (self.lines.len() - 1)
    }

    /// The slots of all ids.
    fn taken(&self) -> &[Slot] {
        &self.slots[1..]
    }
}

/// The first slot of a line with a tag, or the one of no id.
#[inline(always)]
fn slot_of(line: &Line, tag: u32) -> u32 {
    let bits = line.tags.iter().zip(0..);
    let places = bits.fold(0, |bits, (&here, place)| {
        bits | u32::from(here == tag) << place
    });
    first_of(line, places)
}

#[inline(always)]
fn first_of(line: &Line, places: u32) -> u32 {
    let slot = line.slots.get(places.trailing_zeros() as usize);
    slot.copied().unwrap_or_default()
}

impl SumsByText for LongSums {
    type Key = LongKey;

    const NONE: LongKey = NO_ID;

    fn keys(ids: &Text<'_>, first: usize, keys: &mut [LongKey]) -> bool {
        ids.long_keys(first, keys)
    }

    fn make_bound(&mut self, rows: &BlockRows<'_>) -> bool {
        let gain = rows.most().checked_mul(rows.spans.len() as u128);
        let bound = gain.and_then(|gain| self.bound.checked_add(gain));
        let bound = bound.filter(|&bound| bound <= MOST_SUM);
        self.bound = bound.unwrap_or(self.bound);
        bound.is_some()
    }

    fn add_rows(&mut self, ids: &[LongKey], rows: &BlockRows<'_>, first: usize) {
        let spans = &rows.spans[first..first + ids.len()];
        let weights = &rows.weights[first..first + ids.len()];
        let later = rows.spans.len() + first;
        for row in (0..ids.len()).step_by(in_line::<i64>()) {
            for column in [rows.times[0], rows.times[1], rows.weights] {
                prefetch_once(column, later + row);
            }
        }
        self.add_each(ids, |row| {
            u128::from(spans[row]) * u128::from(weights[row].unsigned_abs())
        });
    }

    fn len(&self) -> usize {
        self.taken().len()
    }

    fn name(&self, ids: &mut Ids, codes: &mut Vec<u32>) {
        if ids.is_empty() {
            ids.take_all(self.taken().iter().map(|slot| text_of(&slot.id)));
            codes.extend(0..self.len() as u32);
            return;
        }
        let first = codes.len();
        codes.resize(self.len(), 0);
        // None is empty, or it would not be here.
        let _ = ids.intern_all(LongIds(&self.taken()[first..]), &mut codes[first..]);
    }

    fn bound(&self) -> u128 {
        self.bound
    }

    fn list(&mut self) -> PlainSums {
        let sums = self.taken().iter().map(|slot| slot.sum);
        let above = sums.clone().map(|sum| sum >> u64::BITS << u64::BITS);
        let low = sums.map(|sum| sum as u64).collect();
        PlainSums::of(low, above.enumerate(), self.bound)
    }

    fn ids(&self, first: usize, ids: &mut [LongKey]) {
        for (id, slot) in ids.iter_mut().zip(self.taken().iter().skip(first)) {
            *id = slot.id;
        }
    }

    fn ask_for(&self, ids: &[LongKey]) {
        for id in ids.iter().filter(|_| !self.lines.is_empty()) {
            prefetch(&self.lines, self.line(self.hash.of(id)));
        }
    }

    fn number(&mut self, ids: &[LongKey], numbers: &mut [u32]) {
        self.make_room(1);
        let mut hashes = [0; AT_ONCE];
        for (id, hash) in ids.iter().zip(&mut hashes) {
            *hash = self.hash.of(id);
        }
        let mut slots = [0; AT_ONCE];
        for (slot, &hash) in slots.iter_mut().zip(&hashes[..ids.len()]) {
            *slot = slot_of(&self.lines[self.line(hash)], tag_of(hash));
            prefetch(&self.slots, *slot as usize);
        }
        for (row, (id, number)) in ids.iter().zip(numbers).enumerate() {
            let slot = match slots[row] {
                slot if is_same(&self.slots[slot as usize].id, id) => slot,
                _ => self.add(id, hashes[row], 0),
            };
            *number = slot - 1; // the first one is none's
        }
    }

    fn text(&self, number: usize) -> impl AsRef<[u8]> {
        text_of(&self.taken()[number].id)
    }
}

/// Ids of [`LongSums`] as rows.
#[derive(Clone, Copy)]
struct LongIds<'a>(&'a [Slot]);

impl<'a> IdRows<'a> for LongIds<'a> {
    #[inline]
    fn id(self, row: usize) -> &'a str {
        str::from_utf8(text_of(&self.0[row].id)).unwrap_or_default() // it was text when it came
    }

    #[inline]
    fn keys(self, first: usize, keys: &mut [u64]) {
        for (key, slot) in keys.iter_mut().zip(&self.0[first..]) {
            let id = text_of(&slot.id);
            *key = short_key(id.len(), head_at(id, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key_of(text: &[u8], from: usize, len: usize) -> Option<LongKey> {
        let mut key = [0xff; MOST_BYTES + 1];
        long_key(text, from, len, &mut key).then_some(key)
    }

    proptest! {
        #[test]
        fn a_key_is_its_id(id in "[a\0é]{0,40}", before in "[b\0]{0,9}", after in "[b\0]{0,60}") {
            let text = format!("{before}{id}{after}");
            let key = key_of(text.as_bytes(), before.len(), id.len());
            let is_one = (1..=MOST_BYTES).contains(&id.len());
            prop_assert_eq!(key.is_some(), is_one);
            if let Some(key) = key {
                prop_assert_eq!(text_of(&key), id.as_bytes());
                prop_assert_eq!(Some(key), key_of(id.as_bytes(), 0, id.len()));
            }
        }
    }

    #[test]
    fn an_id_beyond_its_text_is_none() {
        assert_eq!(key_of(b"abc", 2, 2), None);
        assert_eq!(key_of(b"abc", 4, 1), None);
        assert_eq!(key_of(b"abc", 0, usize::MAX), None);
    }

    #[test]
    fn what_is_too_large_is_left_to_others() {
        let rows = |span, weight| BlockRows {
            times: [&[]; 2],
            slots: &[],
            spans: &[0; 8],
            weights: &[0; 8],
            boundaries: &[],
            longest: span,
            heaviest: weight,
            any_nothing: true,
        };
        let mut sums = LongSums::default();
        assert!(!sums.make_bound(&rows(u64::MAX, u64::MAX)));
        assert!(!sums.make_bound(&rows(1 << 62, 1 << 61)));
        assert!(sums.make_bound(&rows(1 << 61, 1 << 61)));
        assert_eq!(sums.bound, MOST_SUM);
        assert!(!sums.make_bound(&rows(1, 1)));
        assert!(sums.make_bound(&rows(0, 1)));
    }

    #[test]
    fn ids_that_differ_in_few_places_have_hashes_of_their_own() {
        let hash = Hash::default();
        for places in [[7, 15, 23], [0, 8, 16], [4, 5, 6], [6, 7, 40], [26, 30, 38]] {
            let mut hashes = std::collections::HashSet::new();
            for number in 0..30_000 {
                let mut text = [b'a'; 42];
                for (digit, place) in places.into_iter().enumerate() {
                    text[place] = b'0' + (number / 32usize.pow(digit as u32) % 32) as u8;
                }
                hashes.insert(hash.of(&key_of(&text, 0, text.len()).expect("a key")));
            }
            assert!(hashes.len() > 29_900, "{places:?} {}", hashes.len());
        }
    }

    /// With nearly as many as may be, of each 25 ids about one has no place in its line.
    #[test]
    fn ids_that_count_are_spread_over_lines_whatever_the_random_numbers() {
        const LINES: u32 = 512;
        let ids: Vec<LongKey> = (0..LINES * 6 - 100)
            .map(|number| {
                let mut text = [b'a'; 20];
                text[8..12].copy_from_slice(&number.to_le_bytes());
                key_of(&text, 0, text.len()).expect("a key")
            })
            .collect();
        for _ in 0..1000 {
            let hash = Hash::default();
            let mut taken = [0; LINES as usize];
            for id in &ids {
                taken[(hash.of(id) >> (u32::BITS - LINES.trailing_zeros())) as usize] += 1;
            }
            let away: usize = taken
                .iter()
                .map(|&ids: &usize| ids.saturating_sub(IN_LINE))
                .sum();
            assert!(away < ids.len() / 8, "{away} of {}, {hash:?}", ids.len());
        }
    }

    #[test]
    fn ids_of_one_hash_are_told_apart() {
        for byte in 0..=MOST_BYTES {
            let mut other = NO_ID;
            other[byte] = 1;
            assert!(is_same(&other, &other) && !is_same(&other, &NO_ID));
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has what the function is compiled for.
                let same = |one| unsafe { is_same_by_avx2(one, &other) };
                assert!(same(&other) && !same(&NO_ID));
            }
        }
        let ids = [b"one".as_slice(), b"another"].map(|id| key_of(id, 0, id.len()).expect("a key"));
        let mut sums = LongSums::default();
        sums.make_room(1);
        for id in ids.iter().cycle().take(31) {
            sums.add(id, 7, 1);
        }
        assert_eq!(
            sums.taken().iter().map(|slot| slot.sum).collect::<Vec<_>>(),
            [16, 15]
        );
    }

    #[test]
    fn each_processor_finds_the_same() {
        let key = |number: u64| key_of(format!("{number:040x}").as_bytes(), 0, 40).expect("a key");
        let mut sums = LongSums::default();
        let known: Vec<LongKey> = (0..2000).map(key).collect();
        for ids in known.chunks(AT_ONCE) {
            sums.add_each(ids, |_| 1);
        }
        for first in [0, 960, 1970, 3000] {
            let ids: Vec<LongKey> = (first..first + 50).map(key).collect();
            let amount = |row: usize| row as u128;
            let mut same = sums.clone();
            let (mut hashes, mut hashes_too) = ([0; AT_ONCE], [0; AT_ONCE]);
            let away = sums.add_known(&ids, &mut hashes, amount, slot_of, is_same);
            assert_eq!(
                away,
                same.add_known_on_this_processor(&ids, &mut hashes_too, amount)
            );
            assert_eq!(hashes, hashes_too);
            let new = (first + 50).saturating_sub(2000).min(50) as u32;
            assert!(away.count_ones() >= new && (new > 0 || away.count_ones() < 50));
            let all =
                |sums: &LongSums| sums.taken().iter().map(|slot| slot.sum).collect::<Vec<_>>();
            assert_eq!(all(&sums), all(&same));
        }
    }
}

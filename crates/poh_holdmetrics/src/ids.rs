//! Ids as small numbers, in the order of their first appearance.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher};

use arrow_array::OffsetSizeTrait;
use foldhash::fast::RandomState;

use crate::prefetch::prefetch;

/// A set of ids, each with a code from 0 upward.
///
/// Ids come from outside, so the hash is seeded at random: nobody can prepare ids that collide.
///
/// The table is open addressing, by hand, because a table that is looked into row by row can't be
/// asked for many places at once. To find an id takes one look, at its line; to find one of 8 bytes
/// or more another two, at its end and its text.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    text: String,
    /// Where the text of each code ends.
    ends: Vec<usize>,
    /// Codes by the hash of their key. A power of two of lines, of which [`lines_for`] says how many are
    /// enough; none before an id is looked for, where all ids came at once.
    lines: Vec<Line>,
    /// Whether each is greater than the one before, where there are no lines.
    in_order: bool,
    hasher: RandomState,
}

/// Codes in a cache line.
const IN_LINE: usize = 5;

/// The next power of two.
const LINE_END: usize = IN_LINE.next_power_of_two();

/// Rows whose ids are looked up together: few enough for the first cache.
const AT_ONCE: usize = 128;

/// Lines for so many ids, at least. Of each 4 places 3 may be taken: 9 of 10 ids are then still in the
/// line of their hash, and fewer lines stay in the second cache.
fn lines_for(ids: usize) -> usize {
    (ids * 4).div_ceil(3 * IN_LINE)
}

/// Where codes are found: one cache line. A code that finds no place in its line is in one after it.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Line {
    /// What [`key_of`] says of the codes' ids; [`EMPTY`] where there is none.
    keys: [u64; IN_LINE],
    codes: [u32; IN_LINE],
}

/// Codes of rows by their keys, where they are in the line of their hash, and the rows whose key is not
/// there; says how many of these there are.
#[inline(always)]
fn look_up(
    lines: &[Line],
    (keys, hashes): (&[u64], &[u32]),
    codes: &mut [u32],
    away: &mut [u8; AT_ONCE],
    places_of: impl Fn(&Line, u64) -> u32,
) -> usize {
    let mut count = 0;
    let looks = keys.iter().zip(hashes).zip(codes);
    for (row, ((&key, &hash), code)) in looks.enumerate() {
        let line = &lines[hash as usize & (lines.len() - 1)];
        // Which place it is no branch could foresee. Nearly all rows are here, the others are counted.
        let places = places_of(line, key);
        *code = line.codes[places.trailing_zeros() as usize % LINE_END];
        away[count % AT_ONCE] = row as u8;
        count += usize::from(places == 0);
    }
    count
}

/// The places of a line with a key, a bit each.
#[inline(always)]
fn places_of(line: &Line, key: u64) -> u32 {
    let bits = line.keys.iter().zip(0..);
    bits.fold(0, |bits, (&here, place)| {
        bits | u32::from(here == key) << place
    })
}

/// Four places at once where the processor has AVX2. Measured on 10 million rows.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        _mm256_castsi256_pd, _mm256_cmpeq_epi64, _mm256_movemask_pd, _mm256_set_epi64x,
        _mm256_set1_epi64x,
    };

    use super::{AT_ONCE, Line};

    #[target_feature(enable = "avx2")]
    pub(super) fn look_up(
        lines: &[Line],
        rows: (&[u64], &[u32]),
        codes: &mut [u32],
        away: &mut [u8; AT_ONCE],
    ) -> usize {
        super::look_up(lines, rows, codes, away, |line, key| {
            let [first, second, third, fourth, fifth] = line.keys.map(u64::cast_signed);
            let four = _mm256_set_epi64x(fourth, third, second, first);
            let same = _mm256_cmpeq_epi64(four, _mm256_set1_epi64x(key.cast_signed()));
            let bits = _mm256_movemask_pd(_mm256_castsi256_pd(same));
            bits.cast_unsigned() | u32::from(fifth == key.cast_signed()) << 4
        })
    }
}

fn look_up_on_this_processor(
    lines: &[Line],
    rows: (&[u64], &[u32]),
    codes: &mut [u32],
    away: &mut [u8; AT_ONCE],
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { avx2::look_up(lines, rows, codes, away) };
    }
    look_up(lines, rows, codes, away, places_of)
}

/// Ids of rows.
pub(crate) trait IdRows<'a>: Copy {
    /// The id of a row.
    fn id(self, row: usize) -> &'a str;

    /// The ids of the rows from `first` on as bytes.
    fn texts(self, first: usize, texts: &mut [&'a [u8]]) {
        for (row, text) in texts.iter_mut().enumerate() {
            *text = self.id(first + row).as_bytes();
        }
    }

    /// What [`short_key`] says of the rows from `first` on.
    fn keys(self, first: usize, keys: &mut [u64]);
}

/// The first 8 bytes from an index on, with zeros for those that are not there.
#[inline]
pub(crate) fn head_at(text: &[u8], from: usize) -> u64 {
    match text.get(from..).and_then(<[u8]>::first_chunk) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => near_the_end(text, from),
    }
}

#[cold]
fn near_the_end(text: &[u8], from: usize) -> u64 {
    let bytes = text.get(from..).unwrap_or_default().iter().rev();
    bytes.fold(0, |head, &byte| head << 8 | u64::from(byte))
}

impl Ids {
    /// The number of different ids.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The id of a code.
    ///
    /// # Panics
    /// When no id has that code, as an index beyond a slice does.
    pub fn get(&self, code: u32) -> &str {
        &self.text[self.start_of(code)..self.ends[code as usize]]
    }

    /// Where the text of a code begins.
    #[inline]
    fn start_of(&self, code: u32) -> usize {
        match code {
            0 => 0,
            code => self.ends[code as usize - 1],
        }
    }

    /// The code of an id that is in the set.
    pub fn code(&self, id: &str) -> Option<u32> {
        if self.lines.is_empty() {
            return self.search(id);
        }
        let key = key_of(id.as_bytes(), &self.hasher);
        self.find(id, key, self.hash(key)).ok()
    }

    /// The code of an id where there are no lines.
    fn search(&self, id: &str) -> Option<u32> {
        if !self.in_order {
            return self
                .iter()
                .zip(0..)
                .find(|&(here, _)| here == id)
                .map(|(_, code)| code);
        }
        let (mut low, mut high) = (0, self.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(id) {
                Ordering::Equal => return Some(middle),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The code of an id, new or known.
    #[inline]
    pub fn intern(&mut self, id: &str) -> u32 {
        let key = key_of(id.as_bytes(), &self.hasher);
        self.intern_key(id, key, self.hash(key))
    }

    /// Takes ids in as they are, where there is none yet and each is greater than the one before, which
    /// needs no table to be told apart: between `offsets` of a text. Says false where it takes none.
    pub(crate) fn adopt<O: OffsetSizeTrait>(&mut self, offsets: &[O], text: &[u8]) -> bool {
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
            return false;
        };
        let first = first.as_usize();
        let all = text.get(first..last.as_usize()).map(std::str::from_utf8);
        let Some(Ok(all)) = all.filter(|_| self.is_empty()) else {
            return false;
        };
        // Nothing is before all ids, and is none itself.
        let mut before: &[u8] = &[];
        let is_greater = |ends: &[O]| {
            let id = text.get(ends[0].as_usize()..ends[1].as_usize());
            let id = id.unwrap_or_default();
            std::mem::replace(&mut before, id) < id
        };
        if offsets.len() == 1 || !offsets.windows(2).all(is_greater) {
            return false;
        }
        self.text.push_str(all);
        let ends = offsets[1..].iter().map(|end| end.as_usize() - first);
        self.ends = ends.collect();
        self.lines.clear();
        self.in_order = true;
        true
    }

    /// Takes texts in as they are, where there is no id yet: they are known to be different, and none to be
    /// empty.
    pub(crate) fn take_all(&mut self, ids: impl ExactSizeIterator<Item: AsRef<[u8]>>) {
        self.ends.reserve(ids.len());
        // Most have as many bytes as the first one.
        let mut ids = ids.peekable();
        let bytes = ids.peek().map_or(0, |id| id.as_ref().len());
        let mut text = Vec::with_capacity(ids.len() * bytes);
        for id in ids {
            text.extend_from_slice(id.as_ref());
            self.ends.push(text.len());
        }
        if text.capacity() / 2 > text.len() {
            text.shrink_to_fit();
        }
        self.text = String::from_utf8(text).unwrap_or_default();
        self.lines.clear();
        self.in_order = false;
    }

    /// Makes room for so many more ids, with so many bytes of text.
    pub(crate) fn reserve(&mut self, ids: usize, bytes: usize) {
        self.text.reserve(bytes);
        self.ends.reserve(ids);
        self.make_room(ids);
    }

    /// Makes places for so many more ids.
    #[inline]
    fn make_room(&mut self, ids: usize) {
        let lines = lines_for(self.ends.len() + ids);
        if lines > self.lines.len() {
            self.spread(lines);
        }
    }

    /// The codes of many ids, new or known; the place of the first one that is empty is an error.
    pub(crate) fn intern_all<'a>(
        &mut self,
        rows: impl IdRows<'a>,
        codes: &mut [u32],
    ) -> Result<(), usize> {
        let (mut keys, mut hashes) = ([0u64; AT_ONCE], [0u32; AT_ONCE]);
        let mut away = [0u8; AT_ONCE];
        let mut texts: [&[u8]; AT_ONCE] = [&[]; AT_ONCE];
        self.make_room(1);
        for (part, codes) in codes.chunks_mut(AT_ONCE).enumerate() {
            let first = part * AT_ONCE;
            let keys = &mut keys[..codes.len()];
            let hashes = &mut hashes[..codes.len()];
            // Loop after loop, each so small that all it needs stays in registers.
            rows.keys(first, keys);
            let (any_long, any_empty) = kinds(keys);
            if any_empty {
                let empty = keys.iter().position(|&key| key == EMPTY);
                return Err(first + empty.unwrap_or_default());
            }
            if any_long {
                rows.texts(first, &mut texts[..keys.len()]);
                for (key, text) in keys.iter_mut().zip(&texts) {
                    if is_long(*key) {
                        *key = key_of_long(text, &self.hasher);
                    }
                }
            }
            for (&key, hash) in keys.iter().zip(&mut *hashes) {
                *hash = self.hash(key);
                prefetch(&self.lines, self.line(*hash));
            }
            let rows_here = (&*keys, &*hashes);
            let count = look_up_on_this_processor(&self.lines, rows_here, codes, &mut away);
            for &row in &away[..count] {
                let row = usize::from(row);
                // Most known ones are in the line after it.
                let next = &self.lines[self.after(self.line(hashes[row]))];
                let places = places_of(next, keys[row]);
                codes[row] = match next.codes.get(places.trailing_zeros() as usize) {
                    Some(&code) => code,
                    None => self.intern_key(rows.id(first + row), keys[row], hashes[row]),
                };
            }
            if any_long {
                self.compare(rows, first, codes, keys, hashes, &texts);
            }
        }
        Ok(())
    }

    /// Takes in another set's ids up to the code `to`. `codes` says which codes they have here: of the
    /// first ones before, of the others afterwards.
    pub(crate) fn take_in(&mut self, other: &Ids, to: usize, codes: &mut Vec<u32>) {
        let first = codes.len();
        codes.resize(to.max(first), 0);
        // No id is empty, or it would not be one.
        let _ = self.intern_all(IdsFrom { ids: other, first }, &mut codes[first..]);
    }

    /// Compares the texts of long ids, whose keys are the same for others once in a great while.
    fn compare<'a>(
        &mut self,
        rows: impl IdRows<'a>,
        first: usize,
        codes: &mut [u32],
        keys: &[u64],
        hashes: &[u32],
        texts: &[&[u8]; AT_ONCE],
    ) {
        for &code in &*codes {
            prefetch(&self.ends, code as usize);
        }
        for &code in &*codes {
            // One of up to 64 bytes lies in two cache lines at most.
            let (from, to) = (self.start_of(code), self.ends[code as usize]);
            prefetch(self.text.as_bytes(), from);
            prefetch(self.text.as_bytes(), to - 1);
        }
        for (row, ((code, text), (&key, &hash))) in codes
            .iter_mut()
            .zip(texts)
            .zip(keys.iter().zip(hashes))
            .enumerate()
        {
            if is_long(key) && self.bytes(*code) != *text {
                *code = self.intern_key(rows.id(first + row), key, hash);
            }
        }
    }

    /// The text of a code.
    #[inline]
    fn bytes(&self, code: u32) -> &[u8] {
        &self.text.as_bytes()[self.start_of(code)..self.ends[code as usize]]
    }

    /// The text of all ids in the order of their codes.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where each id ends in the text.
    pub(crate) fn ends(&self) -> impl Iterator<Item = usize> {
        self.ends.iter().copied()
    }

    /// All ids in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|code| self.get(code))
    }

    /// Says where to look for a key first.
    #[inline]
    fn hash(&self, key: u64) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(key);
        // The upper half is the better mixed one; 2^32 places are more than codes.
        (hasher.finish() >> 32) as u32
    }

    #[inline]
    fn line(&self, hash: u32) -> usize {
        hash as usize & self.lines.len().wrapping_sub(1)
    }

    /// The line after one.
    #[inline]
    fn after(&self, line: usize) -> usize {
        (line + 1) & (self.lines.len() - 1)
    }

    /// The code of an id, or the line and place that are free for it; there are places.
    #[inline]
    fn find(&self, id: &str, key: u64, hash: u32) -> Result<u32, (usize, usize)> {
        let mut line = self.line(hash);
        loop {
            let Line { keys, codes } = &self.lines[line];
            for (place, (&here, &code)) in keys.iter().zip(codes).enumerate() {
                if here == EMPTY {
                    return Err((line, place));
                }
                if here == key && (!is_long(key) || self.get(code) == id) {
                    return Ok(code);
                }
            }
            line = self.after(line);
        }
    }

    #[inline]
    fn intern_key(&mut self, id: &str, key: u64, hash: u32) -> u32 {
        self.make_room(1);
        match self.find(id, key, hash) {
            Ok(code) => code,
            Err(free) => self.add(id, key, free),
        }
    }

    fn add(&mut self, id: &str, key: u64, (line, place): (usize, usize)) -> u32 {
        // Four thousand million different ids do not fit in memory before this wraps.
        let code = self.ends.len() as u32;
        self.text.push_str(id);
        self.ends.push(self.text.len());
        let line = &mut self.lines[line];
        (line.keys[place], line.codes[place]) = (key, code);
        code
    }

    /// Makes so many lines or more.
    #[cold]
    fn spread(&mut self, lines: usize) {
        const LEAST: usize = 64;
        let lines = lines.max(LEAST).next_power_of_two();
        let before = std::mem::replace(&mut self.lines, vec![Line::default(); lines]);
        if before.is_empty() {
            for code in 0..self.len() as u32 {
                let key = key_of(self.get(code).as_bytes(), &self.hasher);
                self.place(key, code);
            }
        }
        let places = before
            .iter()
            .flat_map(|line| line.keys.into_iter().zip(line.codes));
        for (key, code) in places.filter(|&(key, _)| key != EMPTY) {
            self.place(key, code);
        }
    }

    /// Puts a code that has no place yet into its line, or one after it.
    fn place(&mut self, key: u64, code: u32) {
        let mut line = self.line(self.hash(key));
        loop {
            let free = self.lines[line].keys.iter().position(|&here| here == EMPTY);
            if let Some(place) = free {
                self.lines[line].keys[place] = key;
                self.lines[line].codes[place] = code;
                return;
            }
            line = self.after(line);
        }
    }
}

/// The ids of a set from one code on, as rows.
#[derive(Clone, Copy)]
struct IdsFrom<'a> {
    ids: &'a Ids,
    first: usize,
}

impl<'a> IdRows<'a> for IdsFrom<'a> {
    #[inline]
    fn id(self, row: usize) -> &'a str {
        self.ids.get((self.first + row) as u32)
    }

    #[inline]
    fn keys(self, first: usize, keys: &mut [u64]) {
        let first = self.first + first;
        let mut from = self.ids.start_of(first as u32);
        for (key, &to) in keys.iter_mut().zip(&self.ids.ends[first..]) {
            *key = short_key(to - from, head_at(self.ids.text.as_bytes(), from));
            from = to;
        }
    }
}

/// The key of no id.
pub(crate) const EMPTY: u64 = 0;

/// The longest id that is its key.
pub(crate) const SHORT: usize = 7;

/// An id as one number: one of at most 7 bytes exactly, as its bytes, then zeros, then its length;
/// a longer one as 56 bits of its hash and a mark, so that of such ids the text has to be compared.
#[inline]
pub(crate) fn key_of(id: &[u8], hasher: &RandomState) -> u64 {
    let len = id.len();
    if len > SHORT {
        return key_of_long(id, hasher);
    }
    // Two loads that may overlap bring all bytes, without a loop over them.
    let bytes = if let (Some(first), Some(last)) = (id.first_chunk(), id.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        u64::from(first) | u64::from(last) << (8 * (len - 4))
    } else {
        let byte = |at: usize| u64::from(id.get(at).copied().unwrap_or_default()) << (8 * at);
        byte(0) | byte(1) | byte(2)
    };
    bytes | (len as u64) << 56
}

/// As [`key_of`], from the first 8 bytes of memory where a short id is, whatever follows it; only
/// [`LONG`] for a longer one.
#[inline]
pub(crate) fn short_key(len: usize, head: u64) -> u64 {
    if len > SHORT {
        return LONG;
    }
    let bytes = !(u64::MAX << (8 * len)); // of 7 bytes at most
    head & bytes | (len as u64) << 56
}

/// Whether any key is of a long id, and whether any is [`EMPTY`].
pub(crate) fn kinds(keys: &[u64]) -> (bool, bool) {
    // In the sign bits: a compiler makes vector code of this.
    let (long, empty) = keys.iter().fold((0, 0), |(long, empty), &key| {
        (long | key, empty | !key & key.wrapping_sub(1))
    });
    ((long as i64) < 0, (empty as i64) < 0)
}

#[inline]
fn key_of_long(id: &[u8], hasher: &RandomState) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(id);
    hasher.finish() | LONG
}

/// No short id has a length like this.
const LONG: u64 = 0xff << 56;

/// Whether a key may be that of other ids too.
#[inline]
pub(crate) fn is_long(key: u64) -> bool {
    key >= LONG
}

#[cfg(test)]
mod tests {
    use super::*;
    use hashbrown::HashMap;
    use proptest::prelude::*;

    #[derive(Clone, Copy)]
    struct Texts<'a>(&'a [String]);

    impl<'a> IdRows<'a> for Texts<'a> {
        fn id(self, row: usize) -> &'a str {
            &self.0[row]
        }

        /// With other bytes after those of the id, as in a column.
        fn keys(self, first: usize, keys: &mut [u64]) {
            for (key, (row, id)) in keys.iter_mut().zip(self.0.iter().enumerate().skip(first)) {
                let text = format!("{id}{}", "b".repeat(row % 9));
                *key = short_key(id.len(), head_at(text.as_bytes(), 0));
            }
        }
    }

    #[test]
    fn a_table_grows_while_ids_are_added() {
        let ids: Vec<String> = (0..3000).map(|n| format!("{}", n % 1500)).collect();
        for room in [0, 10, 5000] {
            let (mut table, mut codes) = (Ids::default(), vec![0; ids.len()]);
            table.reserve(room, room);
            assert_eq!(table.intern_all(Texts(&ids), &mut codes), Ok(()));
            let expected: Vec<u32> = (0..3000).map(|n| n % 1500).collect();
            assert_eq!((codes, table.len()), (expected, 1500));
        }
    }

    fn adopted(ids: &[String]) -> (Ids, bool) {
        let mut offsets = vec![3i32];
        offsets.extend(ids.iter().scan(3, |end, id| {
            *end += id.len() as i32;
            Some(*end)
        }));
        let mut table = Ids::default();
        let is_adopted = table.adopt(&offsets, format!("...{}...", ids.concat()).as_bytes());
        (table, is_adopted)
    }

    #[test]
    fn only_ids_in_order_are_taken_as_they_are() {
        for (ids, expected) in [
            (&["a", "b"][..], true),
            (&["a"], true),
            (&["", "a"], false),
            (&[""], false),
            (&["a", "a"], false),
            (&["b", "a"], false),
            (&["a", ""], false),
            (&[], false),
        ] {
            let ids: Vec<String> = ids.iter().map(|&id| id.to_owned()).collect();
            let (mut table, is_adopted) = adopted(&ids);
            assert_eq!(
                (is_adopted, table.len()),
                (expected, if expected { ids.len() } else { 0 })
            );
            // Not another time.
            assert!(!table.adopt(&[0i64, 1], b"z") || !expected);
        }
        assert!(!Ids::default().adopt(&[0i64, 9], b"a"));
        assert!(!Ids::default().adopt(&[0i64, 1], &[0xff]));
    }

    #[test]
    fn the_first_empty_id_is_told() {
        let ids = ["a", "longer than a key", "b", "", "c", ""].map(str::to_owned);
        for (to, expected) in [(3, Ok(())), (4, Err(3)), (6, Err(3))] {
            let mut codes = vec![0; to];
            assert_eq!(
                Ids::default().intern_all(Texts(&ids[..to]), &mut codes),
                expected
            );
        }
        for number in 0..200 {
            let kinds = ["short", "longer than a key"];
            let mut ids: Vec<String> = (0..200).map(|id| kinds[id % 2].to_owned()).collect();
            ids[number].clear();
            let mut codes = vec![0; ids.len()];
            assert_eq!(
                Ids::default().intern_all(Texts(&ids), &mut codes),
                Err(number)
            );
        }
    }

    proptest! {
        #[test]
        fn codes_count_first_appearances(ids in prop::collection::vec("[ab\0é]{1,20}", 1..200)) {
            let mut known: HashMap<&str, u32> = HashMap::new();
            let mut table = Ids::default();
            for id in &ids {
                let next = known.len() as u32;
                let code = *known.entry(id).or_insert(next);
                prop_assert_eq!(table.intern(id), code);
                prop_assert_eq!(table.get(code), id);
                prop_assert_eq!(table.code(id), Some(code));
            }
            for known in [Ids::default(), table.clone()] {
                let (mut all, mut codes) = (known, vec![0; ids.len()]);
                prop_assert_eq!(all.intern_all(Texts(&ids), &mut codes), Ok(()));
                let expected: Vec<u32> = ids.iter().map(|id| table.intern(id)).collect();
                prop_assert_eq!(codes, expected);
            }
            prop_assert_eq!(table.len(), known.len());
            prop_assert_eq!(table.code("never"), None);
            let mut in_order = ids.clone();
            in_order.sort_unstable();
            in_order.dedup();
            let (adopted, is_adopted) = adopted(&in_order);
            prop_assert!(is_adopted);
            let mut others = adopted.clone();
            prop_assert_eq!(others.intern("never"), in_order.len() as u32);
            for (id, code) in in_order.iter().zip(0..) {
                prop_assert_eq!(adopted.get(code), id);
                prop_assert_eq!((adopted.code(id), others.code(id)), (Some(code), Some(code)));
            }
            prop_assert_eq!(adopted.code("never"), None);
            prop_assert_eq!(adopted.code("\u{10ffff}"), None);
        }

        #[test]
        fn keys_of_short_ids_differ(left in "[a\0]{0,8}", right in "[a\0]{0,7}") {
            let hasher = RandomState::default();
            let key = |id: &str| key_of(id.as_bytes(), &hasher);
            prop_assert_eq!(key(&left) == key(&right), left == right);
            prop_assert_eq!(is_long(key(&left)), left.len() > SHORT);
            let head = head_at(format!("{right}b\0{left}").as_bytes(), 0);
            prop_assert_eq!(key(&right), short_key(right.len(), head));
        }
    }
}

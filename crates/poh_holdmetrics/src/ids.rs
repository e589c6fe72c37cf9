//! Ids as small numbers, in the order of their first appearance.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::prefetch::prefetch;

/// A set of ids, each with a code from 0 upward.
///
/// Ids come from outside, so the hash is seeded at random: nobody can prepare ids that collide.
///
/// The table is open addressing, by hand, because a table that is looked into row by row can't be
/// asked for many places at once. To find an id takes one look, at its place; to find one of 8 bytes
/// or more another two, at its end and its text.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    text: String,
    /// Where the text of each code ends.
    ends: Vec<usize>,
    /// Codes by the hash of their key. None, or a power of two of them, at most one in [`PLACES`]
    /// in use.
    places: Vec<Place>,
    hasher: RandomState,
}

/// Places for each id, at least. Nearly all ids are then at home or beside it.
const PLACES: usize = 2;

/// Where a code is found; a quarter of a cache line, never across two.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(16))]
struct Place {
    /// What [`key_of`] says of the code's id; [`EMPTY`] where there is none.
    key: u64,
    code: u32,
}

/// Ids of rows.
pub(crate) trait IdRows<'a>: Copy {
    /// The id of a row.
    fn id(self, row: usize) -> &'a str;

    /// The length of a row's id, and its first 8 bytes in order, least first; what follows an id
    /// of less than 8 may be anything.
    fn head(self, row: usize) -> (usize, u64);
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
        if self.is_empty() {
            return None;
        }
        let key = key_of(id.as_bytes(), &self.hasher);
        self.find(id, key, self.hash(key)).ok()
    }

    /// The code of an id, new or known.
    #[inline]
    pub fn intern(&mut self, id: &str) -> u32 {
        let key = key_of(id.as_bytes(), &self.hasher);
        self.intern_key(id, key, self.hash(key))
    }

    /// Makes room for so many more ids, with so many bytes of text.
    pub(crate) fn reserve(&mut self, ids: usize, bytes: usize) {
        self.text.reserve(bytes);
        self.ends.reserve(ids);
        let places = (self.ends.len() + ids) * PLACES;
        if places > self.places.len() {
            self.spread(places);
        }
    }

    /// The codes of many ids, new or known; the place of the first one that is empty is an error.
    pub(crate) fn intern_all<'a>(
        &mut self,
        rows: impl IdRows<'a>,
        codes: &mut [u32],
    ) -> Result<(), usize> {
        /// Few enough for the first cache.
        const AT_ONCE: usize = 128;
        let (mut keys, mut hashes) = ([0u64; AT_ONCE], [0usize; AT_ONCE]);
        let mut away = [0u8; AT_ONCE];
        if self.places.is_empty() {
            self.spread(0);
        }
        for (part, codes) in codes.chunks_mut(AT_ONCE).enumerate() {
            let first = part * AT_ONCE;
            let keys = &mut keys[..codes.len()];
            let hashes = &mut hashes[..codes.len()];
            let (mut any_long, mut any_empty) = (false, false);
            for (place, (key, hash)) in keys.iter_mut().zip(&mut *hashes).enumerate() {
                let (len, head) = rows.head(first + place);
                *key = if len > SHORT {
                    key_of_long(rows.id(first + place).as_bytes(), &self.hasher)
                } else {
                    key_of_short(len, head)
                };
                *hash = self.hash(*key);
                prefetch(&self.places, self.place(*hash));
                any_long |= is_long(*key);
                any_empty |= *key == EMPTY;
            }
            if any_empty {
                let empty = keys.iter().position(|&key| key == EMPTY);
                return Err(first + empty.unwrap_or_default());
            }
            // Nearly all ids are known, and at home or beside it, which no branch could foresee;
            // those that are not are counted.
            let mut count = 0;
            let looks = keys.iter().zip(&*hashes).zip(&mut *codes);
            for (row, ((&key, &hash), code)) in looks.enumerate() {
                let is_away = self.places[self.place(hash)].key != key;
                let found = self.places[self.place(hash + usize::from(is_away))];
                *code = found.code;
                away[count] = row as u8;
                count += usize::from(found.key != key);
            }
            for &row in &away[..count] {
                let row = usize::from(row);
                codes[row] = self.intern_key(rows.id(first + row), keys[row], hashes[row]);
            }
            if any_long {
                self.compare(rows, first, codes, keys, hashes);
            }
        }
        Ok(())
    }

    /// Compares the texts of long ids, whose keys are the same for others once in a great while.
    fn compare<'a>(
        &mut self,
        rows: impl IdRows<'a>,
        first: usize,
        codes: &mut [u32],
        keys: &[u64],
        hashes: &[usize],
    ) {
        for &code in &*codes {
            prefetch(&self.ends, code as usize);
        }
        for &code in &*codes {
            prefetch(self.text.as_bytes(), self.start_of(code));
        }
        for (row, (code, (&key, &hash))) in
            codes.iter_mut().zip(keys.iter().zip(hashes)).enumerate()
        {
            if is_long(key) {
                let id = rows.id(first + row);
                if self.get(*code) != id {
                    *code = self.intern_key(id, key, hash);
                }
            }
        }
    }

    /// All ids in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|code| self.get(code))
    }

    /// Says where to look for a key first.
    #[inline]
    fn hash(&self, key: u64) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(key);
        // The upper half is the better mixed one; 2^32 places are more than codes.
        (hasher.finish() >> 32) as usize
    }

    #[inline]
    fn place(&self, hash: usize) -> usize {
        hash & self.places.len().wrapping_sub(1)
    }

    /// The code of an id, or the free place where it belongs; there are places.
    #[inline]
    fn find(&self, id: &str, key: u64, hash: usize) -> Result<u32, usize> {
        let mut place = self.place(hash);
        loop {
            let Place { key: here, code } = self.places[place];
            if here == EMPTY {
                return Err(place);
            }
            if here == key && (!is_long(key) || self.get(code) == id) {
                return Ok(code);
            }
            place = self.place(place + 1);
        }
    }

    #[inline]
    fn intern_key(&mut self, id: &str, key: u64, hash: usize) -> u32 {
        let places = (self.ends.len() + 1) * PLACES;
        if places > self.places.len() {
            self.spread(places);
        }
        match self.find(id, key, hash) {
            Ok(code) => code,
            Err(free) => self.add(id, key, free),
        }
    }

    fn add(&mut self, id: &str, key: u64, free: usize) -> u32 {
        // Four thousand million different ids do not fit in memory before this wraps.
        let code = self.ends.len() as u32;
        self.text.push_str(id);
        self.ends.push(self.text.len());
        self.places[free] = Place { key, code };
        code
    }

    /// Makes so many places or more.
    #[cold]
    fn spread(&mut self, places: usize) {
        const LEAST: usize = 256;
        let places = places.max(LEAST).next_power_of_two();
        let before = std::mem::replace(&mut self.places, vec![Place::default(); places]);
        for known in before {
            if known.key == EMPTY {
                continue;
            }
            let mut place = self.place(self.hash(known.key));
            while self.places[place].key != EMPTY {
                place = self.place(place + 1);
            }
            self.places[place] = known;
        }
    }
}

/// The ids of a set from one code on, as rows.
#[derive(Clone, Copy)]
pub(crate) struct IdsFrom<'a> {
    pub(crate) ids: &'a Ids,
    pub(crate) first: usize,
}

impl<'a> IdRows<'a> for IdsFrom<'a> {
    #[inline]
    fn id(self, row: usize) -> &'a str {
        self.ids.get((self.first + row) as u32)
    }

    #[inline]
    fn head(self, row: usize) -> (usize, u64) {
        let code = self.first + row;
        let from = self.ids.start_of(code as u32);
        let len = self.ids.ends[code] - from;
        (len, head_at(self.ids.text.as_bytes(), from))
    }
}

/// The key of no id.
const EMPTY: u64 = 0;

/// The longest id that is its key.
const SHORT: usize = 7;

/// An id as one number: one of at most 7 bytes exactly, as its bytes, then zeros, then its length;
/// a longer one as 56 bits of its hash and a mark, so that of such ids the text has to be compared.
#[inline]
fn key_of(id: &[u8], hasher: &RandomState) -> u64 {
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

/// As [`key_of`], from the first 8 bytes of memory where a short id is.
#[inline]
fn key_of_short(len: usize, head: u64) -> u64 {
    let bytes = !(u64::MAX << (8 * len)); // of 7 bytes at most
    head & bytes | (len as u64) << 56
}

#[inline]
fn key_of_long(id: &[u8], hasher: &RandomState) -> u64 {
    hasher.hash_one(id) | LONG
}

/// No short id has a length like this.
const LONG: u64 = 0xff << 56;

#[inline]
fn is_long(key: u64) -> bool {
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
        fn head(self, row: usize) -> (usize, u64) {
            let id = &self.0[row];
            (
                id.len(),
                head_at(format!("{id}{}", "b".repeat(row % 9)).as_bytes(), 0),
            )
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
        }

        #[test]
        fn keys_of_short_ids_differ(left in "[a\0]{0,8}", right in "[a\0]{0,7}") {
            let hasher = RandomState::default();
            let key = |id: &str| key_of(id.as_bytes(), &hasher);
            prop_assert_eq!(key(&left) == key(&right), left == right);
            prop_assert_eq!(is_long(key(&left)), left.len() > SHORT);
            let head = head_at(format!("{right}b\0{left}").as_bytes(), 0);
            prop_assert_eq!(key(&right), key_of_short(right.len(), head));
        }
    }
}

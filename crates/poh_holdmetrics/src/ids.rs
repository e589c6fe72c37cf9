//! Ids as small numbers, in the order of their first appearance.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::prefetch::prefetch;

/// A set of ids, each with a code from 0 upward.
///
/// Ids come from outside, so the hash is seeded at random: nobody can prepare ids that collide.
///
/// The table is open addressing, by hand, because a table that is looked into row by row can't be
/// asked for many places at once. To find an id takes a look at its place and one at its key; to
/// find one of 8 bytes or more another two, at its end and its text. What is looked at is kept small, so that it
/// stays in the cache.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    text: String,
    /// Where the text of each code ends.
    ends: Vec<usize>,
    /// What [`key_of`] says of each code's id.
    keys: Vec<u64>,
    /// Codes by the hash of their key, from 1 on; 0 is a free place. None, or a power of two of
    /// them, at most half of them in use.
    places: Vec<u32>,
    hasher: RandomState,
}

/// No id has this code: there is no memory for so many.
const UNKNOWN: u32 = u32::MAX;

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
        let code = code as usize;
        let from = if code == 0 { 0 } else { self.ends[code - 1] };
        &self.text[from..self.ends[code]]
    }

    /// The code of an id that is in the set.
    pub fn code(&self, id: &str) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let key = key_of(id.as_bytes(), &self.hasher);
        self.find(id, key, self.home(key)).ok()
    }

    /// The code of an id, new or known.
    #[inline]
    pub fn intern(&mut self, id: &str) -> u32 {
        let key = key_of(id.as_bytes(), &self.hasher);
        self.intern_key(id, key)
    }

    /// The codes of many ids, new or known; the place of the first one that is empty is an error.
    pub(crate) fn intern_all<'a>(
        &mut self,
        id: impl Fn(usize) -> &'a str,
        codes: &mut [u32],
    ) -> Result<(), usize> {
        /// Few enough for the first cache.
        const AT_ONCE: usize = 128;
        /// Places from home on where an id is looked for together with others.
        const NEAR: usize = 4;
        let (mut keys, mut homes) = ([0u64; AT_ONCE], [0usize; AT_ONCE]);
        let mut away = [0u8; AT_ONCE];
        for (part, codes) in codes.chunks_mut(AT_ONCE).enumerate() {
            let first = part * AT_ONCE;
            let keys = &mut keys[..codes.len()];
            let homes = &mut homes[..codes.len()];
            let (mut any_long, mut any_empty) = (false, false);
            for (place, (key, home)) in keys.iter_mut().zip(&mut *homes).enumerate() {
                *key = key_of(id(first + place).as_bytes(), &self.hasher);
                *home = self.home(*key);
                self.places.get(*home).map(prefetch);
                any_long |= is_long(*key);
                any_empty |= *key == EMPTY;
            }
            if any_empty {
                let empty = keys.iter().position(|&key| key == EMPTY);
                return Err(first + empty.unwrap_or_default());
            }
            // One kind of look after the other, so that none waits for another row's. Most ids are
            // known and at home; those that are not are counted without a branch.
            for (code, &home) in codes.iter_mut().zip(&*homes) {
                *code = self.code_at(home);
                self.keys.get(*code as usize).map(prefetch);
            }
            let mut count = 0;
            for (row, (code, key)) in codes.iter().zip(&*keys).enumerate() {
                away[count] = row as u8;
                count += usize::from(self.keys.get(*code as usize) != Some(key));
            }
            for step in 1..NEAR {
                for &row in &away[..count] {
                    codes[usize::from(row)] = self.code_at(homes[usize::from(row)] + step);
                }
                let looked = count;
                count = 0;
                for place in 0..looked {
                    let row = usize::from(away[place]);
                    away[count] = row as u8;
                    let key = self.keys.get(codes[row] as usize);
                    count += usize::from(key != Some(&keys[row]));
                }
            }
            for &row in &away[..count] {
                let row = usize::from(row);
                codes[row] = self.intern_key(id(first + row), keys[row]);
            }
            if any_long {
                for (row, (code, &key)) in codes.iter_mut().zip(&*keys).enumerate() {
                    let id = id(first + row);
                    if is_long(key) && self.get(*code) != id {
                        *code = self.intern_key(id, key);
                    }
                }
            }
        }
        Ok(())
    }

    /// All ids in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|code| self.get(code))
    }

    /// Where to look for a key first.
    #[inline]
    fn home(&self, key: u64) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(key);
        // The upper half is the better mixed one; 2^32 places are more than codes.
        (hasher.finish() >> 32) as usize & self.places.len().wrapping_sub(1)
    }

    /// The code at a place, or [`UNKNOWN`].
    #[inline]
    fn code_at(&self, place: usize) -> u32 {
        let place = place & self.places.len().wrapping_sub(1);
        self.places
            .get(place)
            .map_or(UNKNOWN, |at| at.wrapping_sub(1))
    }

    /// The code of an id, or the free place where it belongs; there are places.
    #[inline]
    fn find(&self, id: &str, key: u64, home: usize) -> Result<u32, usize> {
        let mut place = home;
        loop {
            let Some(code) = self.places[place].checked_sub(1) else {
                return Err(place);
            };
            if self.keys[code as usize] == key && (!is_long(key) || self.get(code) == id) {
                return Ok(code);
            }
            place = (place + 1) & (self.places.len() - 1);
        }
    }

    #[inline]
    fn intern_key(&mut self, id: &str, key: u64) -> u32 {
        if self.ends.len() * 2 >= self.places.len() {
            self.spread();
        }
        match self.find(id, key, self.home(key)) {
            Ok(code) => code,
            Err(free) => self.add(id, key, free),
        }
    }

    #[cold]
    fn add(&mut self, id: &str, key: u64, free: usize) -> u32 {
        // Four thousand million different ids do not fit in memory before this wraps.
        let code = self.ends.len() as u32;
        self.text.push_str(id);
        self.ends.push(self.text.len());
        self.keys.push(key);
        self.places[free] = code + 1;
        code
    }

    /// Makes room for twice as many ids.
    #[cold]
    fn spread(&mut self) {
        const LEAST: usize = 64;
        self.places = vec![0; (self.places.len() * 2).max(LEAST)];
        for code in 0..self.keys.len() {
            let mut place = self.home(self.keys[code]);
            while self.places[place] != 0 {
                place = (place + 1) & (self.places.len() - 1);
            }
            self.places[place] = code as u32 + 1;
        }
    }
}

/// The key of no id.
const EMPTY: u64 = 0;

/// An id as one number: one of at most 7 bytes exactly, as its bytes, then zeros, then its length;
/// a longer one as 56 bits of its hash and a mark, so that of such ids the text has to be compared.
#[inline]
fn key_of(id: &[u8], hasher: &RandomState) -> u64 {
    let len = id.len();
    if len > 7 {
        return hasher.hash_one(id) | LONG;
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
                prop_assert_eq!(all.intern_all(|row| &ids[row], &mut codes), Ok(()));
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
            prop_assert_eq!(is_long(key(&left)), left.len() > 7);
        }
    }
}

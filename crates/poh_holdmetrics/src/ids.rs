//! Ids as small numbers, in the order of their first appearance.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// A set of ids, each with a code from 0 upward.
///
/// Ids come from outside, so the hash is seeded at random: nobody can prepare ids that collide.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    text: String,
    ends: Vec<usize>,
    short: ShortTable,
    long: HashTable<Long>,
    hasher: RandomState,
}

/// Ids of at most 15 bytes by hash, with open addressing, at most a quarter full. To find one takes a look
/// at its place and one at its key, and none at the text. By hand, because a table that is looked
/// into row by row can't be asked for many places at once; small, so that it stays in the cache.
#[derive(Debug, Clone, Default)]
struct ShortTable {
    /// Codes, from 1 on; 0 is a free place. None, or a power of two of them.
    places: Vec<u32>,
    /// The key of each code; [`NO_KEY`] of a longer id.
    keys: Vec<[u64; 2]>,
    used: usize,
}

/// The key of no short id.
const NO_KEY: u128 = u128::MAX;

impl ShortTable {
    #[inline]
    fn home(&self, hash: u64) -> usize {
        // The upper half is the better mixed one; 2^32 places are more than codes.
        (hash >> 32) as usize & self.places.len().wrapping_sub(1)
    }

    /// What may be the code of an id, at the first place where it may be.
    #[inline]
    fn at_home(&self, hash: u64) -> Option<u32> {
        self.places.get(self.home(hash))?.checked_sub(1)
    }

    #[inline]
    fn is(&self, code: u32, key: u128) -> bool {
        self.keys.get(code as usize) == Some(&halves(key))
    }

    #[inline]
    fn find(&self, key: u128, hash: u64) -> Option<u32> {
        let mut place = self.home(hash);
        loop {
            let code = self.places.get(place)?.checked_sub(1)?; // none before the first id
            if self.is(code, key) {
                return Some(code);
            }
            place = (place + 1) & (self.places.len() - 1);
        }
    }

    /// Adds the next id, a short one.
    fn add(&mut self, key: u128, hash: u64, hash_of: impl Fn(u128) -> u64) {
        const LEAST: usize = 64;
        self.keys.push(halves(key));
        self.used += 1;
        if self.used * 4 <= self.places.len() {
            return self.put(self.keys.len() - 1, hash);
        }
        self.places = vec![0; (self.places.len() * 2).max(LEAST)];
        for code in 0..self.keys.len() {
            let [low, high] = self.keys[code];
            let key = u128::from(high) << 64 | u128::from(low);
            if key != NO_KEY {
                self.put(code, hash_of(key));
            }
        }
    }

    /// Adds the next id, a longer one, which is not found here.
    fn skip(&mut self) {
        self.keys.push(halves(NO_KEY));
    }

    fn put(&mut self, code: usize, hash: u64) {
        let mut place = self.home(hash);
        while self.places[place] != 0 {
            place = (place + 1) & (self.places.len() - 1);
        }
        self.places[place] = code as u32 + 1;
    }
}

/// Where a longer id lies in the text.
#[derive(Debug, Clone, Copy)]
struct Long {
    from: usize,
    len: usize,
    code: u32,
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
        let code = code as usize;
        let from = if code == 0 { 0 } else { self.ends[code - 1] };
        &self.text[from..self.ends[code]]
    }

    /// The code of an id that is in the set.
    pub fn code(&self, id: &str) -> Option<u32> {
        match short_key(id.as_bytes()) {
            Some(key) => self.short.find(key, hash_key(&self.hasher, key)),
            None => self.find_long(id, self.hasher.hash_one(id)),
        }
    }

    /// The code of an id, new or known.
    #[inline]
    pub fn intern(&mut self, id: &str) -> u32 {
        match short_key(id.as_bytes()) {
            Some(key) => {
                let hash = hash_key(&self.hasher, key);
                self.short
                    .find(key, hash)
                    .unwrap_or_else(|| self.add_short(id, key, hash))
            }
            None => {
                let hash = self.hasher.hash_one(id);
                self.find_long(id, hash)
                    .unwrap_or_else(|| self.add_long(id, hash))
            }
        }
    }

    /// The codes of many ids, new or known; the place of the first one that is empty is an error.
    pub(crate) fn intern_all<'a>(
        &mut self,
        id: impl Fn(usize) -> &'a str,
        codes: &mut [u32],
    ) -> Result<(), usize> {
        /// Few enough for the first cache.
        const AT_ONCE: usize = 128;
        /// No id has this code: there is no memory for so many.
        const UNKNOWN: u32 = u32::MAX;
        let (mut keys, mut hashes) = ([0u128; AT_ONCE], [0u64; AT_ONCE]);
        for (part, codes) in codes.chunks_mut(AT_ONCE).enumerate() {
            let first = part * AT_ONCE;
            for (place, (key, hash)) in keys.iter_mut().zip(&mut hashes).enumerate() {
                if place >= codes.len() {
                    break;
                }
                let id = id(first + place);
                if id.is_empty() {
                    return Err(first + place);
                }
                *key = short_key(id.as_bytes()).unwrap_or(NO_KEY);
                *hash = hash_key(&self.hasher, *key);
            }
            // Two looks each, of which none waits for another row's: they come together. Most ids
            // are known, and at home.
            for (code, &hash) in codes.iter_mut().zip(&hashes) {
                *code = self.short.at_home(hash).unwrap_or(UNKNOWN);
            }
            let mut all_known = true;
            for (code, &key) in codes.iter_mut().zip(&keys) {
                let known = self.short.is(*code, key) && key != NO_KEY;
                *code = if known { *code } else { UNKNOWN };
                all_known &= known;
            }
            if all_known {
                continue;
            }
            for (place, code) in codes.iter_mut().enumerate() {
                if *code == UNKNOWN {
                    let known = self.short.find(keys[place], hashes[place]);
                    *code = known.unwrap_or_else(|| self.intern(id(first + place)));
                }
            }
        }
        Ok(())
    }

    /// All ids in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|code| self.get(code))
    }

    #[inline]
    fn find_long(&self, id: &str, hash: u64) -> Option<u32> {
        let text = self.text.as_bytes();
        let same = |entry: &Long| {
            entry.len == id.len() && text[entry.from..entry.from + id.len()] == *id.as_bytes()
        };
        self.long.find(hash, same).map(|entry| entry.code)
    }

    #[cold]
    fn add_short(&mut self, id: &str, key: u128, hash: u64) -> u32 {
        let code = self.add_text(id);
        let hasher = &self.hasher;
        self.short.add(key, hash, |key| hash_key(hasher, key));
        code
    }

    #[cold]
    fn add_long(&mut self, id: &str, hash: u64) -> u32 {
        let from = self.text.len();
        let code = self.add_text(id);
        self.short.skip();
        let entry = Long {
            from,
            len: id.len(),
            code,
        };
        let (hasher, text) = (&self.hasher, &self.text);
        let rehash = |entry: &Long| hasher.hash_one(&text[entry.from..][..entry.len]);
        self.long.insert_unique(hash, entry, rehash);
        code
    }

    fn add_text(&mut self, id: &str) -> u32 {
        // Four thousand million different ids do not fit in memory before this wraps.
        let code = self.ends.len() as u32;
        self.text.push_str(id);
        self.ends.push(self.text.len());
        code
    }
}

#[inline]
fn hash_key(hasher: &RandomState, key: u128) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u128(key);
    hasher.finish()
}

#[inline]
fn halves(key: u128) -> [u64; 2] {
    [key as u64, (key >> 64) as u64]
}

/// An id of at most 15 bytes as one number: its bytes, then zeros, then its length.
///
/// Two loads that may overlap bring all bytes, without a loop over them.
#[inline]
fn short_key(id: &[u8]) -> Option<u128> {
    let len = id.len();
    if len == 0 {
        return None; // zero is a free slot
    }
    let bytes = if let (Some(first), Some(last)) = (id.first_chunk(), id.last_chunk()) {
        if len > 15 {
            return None;
        }
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        u128::from(first) | u128::from(last) << (8 * (len - 8))
    } else if let (Some(first), Some(last)) = (id.first_chunk(), id.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        u128::from(u64::from(first) | u64::from(last) << (8 * (len - 4)))
    } else {
        let byte = |at: usize| u32::from(id.get(at).copied().unwrap_or_default()) << (8 * at);
        u128::from(byte(0) | byte(1) | byte(2))
    };
    Some(bytes | (len as u128) << 120)
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
        fn keys_of_short_ids_differ(left in "[a\0]{0,15}", right in "[a\0]{0,15}") {
            let (one, other) = (short_key(left.as_bytes()), short_key(right.as_bytes()));
            prop_assert_eq!(one == other, left == right);
        }
    }
}

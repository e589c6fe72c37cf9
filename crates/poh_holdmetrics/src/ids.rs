//! Ids as small numbers, in the order of their first appearance.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// A set of ids, each with a code from 0 upward.
///
/// Ids come from outside, so the hash is seeded at random: nobody can prepare ids that collide.
#[derive(Debug, Clone, Default)]
pub struct Ids {
    text: String,
    ends: Vec<usize>,
    codes: HashTable<u32>,
    hasher: RandomState,
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
        id_text(&self.text, &self.ends, code)
    }

    /// The code of an id that is in the set.
    pub fn code(&self, id: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        self.codes.find(hash, |&code| self.get(code) == id).copied()
    }

    /// The code of an id, new or known.
    pub fn intern(&mut self, id: &str) -> u32 {
        let Ids {
            text,
            ends,
            codes,
            hasher,
        } = self;
        let hash = hasher.hash_one(id);
        let entry = codes.entry(
            hash,
            |&code| id_text(text, ends, code) == id,
            |&code| hasher.hash_one(id_text(text, ends, code)),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(known) => *known.get(),
            hashbrown::hash_table::Entry::Vacant(free) => {
                // Four thousand million different ids do not fit in memory before this wraps.
                let code = ends.len() as u32;
                free.insert(code);
                text.push_str(id);
                ends.push(text.len());
                code
            }
        }
    }

    /// All ids in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|code| self.get(code))
    }
}

fn id_text<'a>(text: &'a str, ends: &[usize], code: u32) -> &'a str {
    let code = code as usize;
    let from = if code == 0 { 0 } else { ends[code - 1] };
    &text[from..ends[code]]
}

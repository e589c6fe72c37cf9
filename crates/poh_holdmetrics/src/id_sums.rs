//! Weighted sums that are beside their ids, for questions that ask for sums alone.

use std::mem;

use crate::arrow::Text;
use crate::ids::Ids;
use crate::long_sums::LongSums;
use crate::plain_sums::PlainSums;
use crate::short_sums::ShortSums;
use crate::tally::BlockRows;
use crate::threads::{in_threads_with, join};

/// Rows that are looked at together, at most: each has a line in a page of its own, and so many pages and
/// those of the columns are known to a processor at once.
pub(crate) const AT_ONCE: usize = 64;

/// So large may a sum be, also of several threads.
pub(crate) const MOST_SUM: u128 = 1 << 125;

/// Sums by the text of ids, which have numbers in the order of their first row.
pub(crate) trait SumsByText: Send + Sync {
    /// An id as something of one size.
    type Key: Copy;

    /// The key of no id.
    const NONE: Self::Key;

    /// The ids of the rows from `first` on. Says false where one is empty, or too long for a key.
    fn keys(ids: &Text<'_>, first: usize, keys: &mut [Self::Key]) -> bool;

    /// Whether there is room for some rows, which are then taken as added. There is none when a sum may
    /// be too large for it, or ids too many.
    fn make_bound(&mut self, rows: &BlockRows<'_>) -> bool;

    /// Adds `spans[first + i] x weights[first + i]` to the sum of `ids[i]`, for [`AT_ONCE`] rows at most,
    /// for which [`make_bound`](Self::make_bound) found room.
    fn add_rows(&mut self, ids: &[Self::Key], rows: &BlockRows<'_>, first: usize);

    /// The number of different ids.
    fn len(&self) -> usize;

    /// Gives all ids codes, after `codes` of those that have one.
    fn name(&self, ids: &mut Ids, codes: &mut Vec<u32>);

    /// No sum is above this.
    fn bound(&self) -> u128;

    /// All sums, by number. From then on none may be added to, and this only knows numbers.
    fn list(&mut self) -> PlainSums;

    /// The ids with the numbers from `first` on.
    fn ids(&self, first: usize, ids: &mut [Self::Key]);

    /// Asks for the places where ids, [`AT_ONCE`] at most, are looked for.
    fn ask_for(&self, ids: &[Self::Key]);

    /// The numbers of ids, [`AT_ONCE`] at most, when sums were [listed](Self::list): new ones come after those
    /// of before.
    fn number(&mut self, ids: &[Self::Key], numbers: &mut [u32]);

    /// The numbers of all ids of another thread.
    fn number_all(&mut self, other: &Self) -> Vec<u32> {
        let mut numbers = vec![0; other.len()];
        let ids_from = |first: usize| {
            let mut ids = [Self::NONE; AT_ONCE];
            let count = AT_ONCE.min(other.len().saturating_sub(first));
            other.ids(first, &mut ids[..count]);
            (ids, count)
        };
        let mut next = ids_from(0);
        for (part, numbers) in numbers.chunks_mut(AT_ONCE).enumerate() {
            let (ids, count) = mem::replace(&mut next, ids_from((part + 1) * AT_ONCE));
            self.ask_for(&next.0[..next.1]);
            self.number(&ids[..count], numbers);
        }
        numbers
    }

    /// The text of the id with a number.
    fn text(&self, number: usize) -> impl AsRef<[u8]>;
}

/// Sums of ids of one kind.
#[derive(Debug)]
pub(crate) enum IdSums {
    Short(ShortSums),
    Long(LongSums),
}

impl Default for IdSums {
    fn default() -> Self {
        IdSums::Short(ShortSums::default())
    }
}

impl IdSums {
    /// Becomes of the kind that some ids need, where there is none yet.
    pub(crate) fn suit(&mut self, ids: &Text<'_>) {
        let is_short = matches!(self, IdSums::Short(_));
        if self.len() == 0 && is_short != ids.are_short() {
            *self = match is_short {
                true => IdSums::Long(LongSums::default()),
                false => IdSums::default(),
            };
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            IdSums::Short(sums) => sums.len(),
            IdSums::Long(sums) => sums.len(),
        }
    }

    pub(crate) fn name(&self, ids: &mut Ids, codes: &mut Vec<u32>) {
        match self {
            IdSums::Short(sums) => sums.name(ids, codes),
            IdSums::Long(sums) => sums.name(ids, codes),
        }
    }

    /// Whether others are of the same kind, or none.
    pub(crate) fn can_take_in(&self, other: &IdSums) -> bool {
        other.len() == 0 || mem::discriminant(self) == mem::discriminant(other)
    }

    /// All ids of some threads, of whose sums the first ones [can take in](Self::can_take_in) the others, in
    /// the order of their first row, and their sums, of which none is above [`MOST_SUM`]. Parts are in the
    /// order of their rows: each says the thread that added them, and how many ids the thread had then.
    pub(crate) fn together(
        all: impl Iterator<Item = IdSums>,
        parts: &[(usize, usize)],
    ) -> (Ids, PlainSums) {
        let mut all = all.peekable();
        match all.peek() {
            Some(IdSums::Long(_)) => {
                let all = all.map(|sums| match sums {
                    IdSums::Long(sums) => sums,
                    IdSums::Short(_) => LongSums::default(), // there is none
                });
                together(all.collect(), parts)
            }
            _ => {
                let all = all.map(|sums| match sums {
                    IdSums::Short(sums) => sums,
                    IdSums::Long(_) => ShortSums::default(), // there is none
                });
                together(all.collect(), parts)
            }
        }
    }

    pub(crate) fn bound(&self) -> u128 {
        match self {
            IdSums::Short(sums) => sums.bound(),
            IdSums::Long(sums) => sums.bound(),
        }
    }

    /// The sums by number.
    pub(crate) fn sums(self) -> PlainSums {
        match self {
            IdSums::Short(mut sums) => sums.list(),
            IdSums::Long(mut sums) => sums.list(),
        }
    }
}

/// Puts the sums of some threads together, as [`IdSums::together`] says.
///
/// Places of tables are waited for long, most of all those that another thread wrote. So threads list the
/// sums, each most likely its own, and only the lists are put together.
fn together<S: SumsByText + Default>(
    mut all: Vec<S>,
    parts: &[(usize, usize)],
) -> (Ids, PlainSums) {
    let mut lists = in_threads_with(&mut all, |_, own| own.list()).into_iter();
    let mut all = all.into_iter();
    let mut own = all.next().unwrap_or_default();
    let mut sums = lists.next().unwrap_or_default();
    let mut places: Vec<Vec<u32>> = vec![(0..sums.slots() as u32).collect()];
    places.extend(all.map(|other| own.number_all(&other)));
    let mut order = Vec::new();
    join(
        || order = order_of_first_rows(own.len(), &places, parts),
        || {
            sums.grow(own.len());
            for (list, numbers) in lists.by_ref().zip(&places[1..]) {
                // Their bounds have room together.
                sums.merge(&list, |number| numbers[number] as usize);
            }
        },
    );
    let (mut ids, mut in_order) = (Ids::default(), PlainSums::default());
    join(
        || ids.take_all(order.iter().map(|&number| own.text(number as usize))),
        || {
            in_order = match order.is_sorted() {
                true => mem::take(&mut sums),
                false => sums.in_order(&order),
            }
        },
    );
    (ids, in_order)
}

/// The order in which the ids of some threads had their first row, where `places` says for each thread which
/// numbers its ids have now, and each of `parts` how many ids its thread had after it.
fn order_of_first_rows(ids: usize, places: &[Vec<u32>], parts: &[(usize, usize)]) -> Vec<u32> {
    let mut order = Vec::with_capacity(ids);
    let mut is_there = vec![false; ids];
    let mut before = vec![0; places.len()];
    for &(thread, now) in parts {
        let new = &places[thread][mem::replace(&mut before[thread], now)..now];
        let new = new.iter().copied();
        order.extend(new.filter(|&number| !mem::replace(&mut is_there[number as usize], true)));
    }
    order
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use arrow_array::{ArrayRef, LargeStringArray, StringArray, StringViewArray};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::Arc;

    /// Ids, spans and weights.
    pub(crate) type Rows = Vec<(u64, u64, i64)>;

    /// Ids that are many or few, and products that are nothing, usual, or as large as can be.
    fn rows(largest: (u64, i64)) -> impl Strategy<Value = Rows> {
        let id = prop_oneof![0u64..5, 0u64..400];
        let factors = prop_oneof![Just((0, 7)), (0u64..1000, 0i64..1000), Just(largest),];
        prop::collection::vec((id, factors), 1..200).prop_map(|rows| {
            let row = |(id, (span, weight))| (id, span, weight);
            rows.into_iter().map(row).collect()
        })
    }

    /// Some rows, how they are laid out, and how often they are added.
    fn parts(largest: (u64, i64)) -> impl Strategy<Value = Vec<(Rows, u8, usize)>> {
        let part = (rows(largest), 0u8..3, prop_oneof![Just(1usize), Just(50)]);
        prop::collection::vec(part, 1..8)
    }

    /// Which of three threads has each part: of some there is none.
    fn threads() -> impl Strategy<Value = [usize; 8]> {
        prop_oneof![Just([0; 8]), Just([1; 8]), prop::array::uniform8(0..3usize)]
    }

    /// Adds rows, if there is room for them, with the ids in one of three layouts; says whether there was.
    pub(crate) fn add<S: SumsByText>(
        sums: &mut S,
        (rows, layout): (&Rows, u8),
        name_of: fn(u64) -> String,
    ) -> bool {
        let names = rows.iter().map(|&(id, _, _)| Some(name_of(id)));
        let names: ArrayRef = match layout {
            0 => Arc::new(names.collect::<StringArray>()),
            1 => Arc::new(names.collect::<LargeStringArray>()),
            _ => Arc::new(names.collect::<StringViewArray>()),
        };
        let names = Text::of_ids(&names).expect("text");
        let spans: Vec<u64> = rows.iter().map(|row| row.1).collect();
        let weights: Vec<i64> = rows.iter().map(|row| row.2).collect();
        let heaviest = weights.iter().copied().max().unwrap_or_default();
        let rows = BlockRows {
            times: [&[]; 2],
            slots: &[],
            spans: &spans,
            weights: &weights,
            boundaries: &[],
            longest: spans.iter().copied().max().unwrap_or_default(),
            heaviest: heaviest.unsigned_abs(),
            any_nothing: true,
        };
        let fits = sums.make_bound(&rows);
        for first in (0..spans.len()).step_by(AT_ONCE) {
            let keys = &mut [S::NONE; AT_ONCE][..AT_ONCE.min(spans.len() - first)];
            if fits {
                assert!(S::keys(&names, first, keys));
                sums.add_rows(keys, &rows, first);
            }
        }
        fits
    }

    fn are_those_of_a_map<S: SumsByText + Default>(
        parts: &[(Rows, u8, usize)],
        threads: &[usize],
        is_named: bool,
        name_of: fn(u64) -> String,
    ) -> Result<(), TestCaseError> {
        let mut tables = [S::default(), S::default(), S::default()];
        let mut expected: HashMap<String, u128> = HashMap::new();
        let (mut order, mut own_order, mut done) = (Vec::new(), Vec::new(), Vec::new());
        for ((rows, layout, times), &thread) in parts.iter().zip(threads) {
            let table = &mut tables[thread];
            for _ in 0..*times {
                prop_assert!(add(table, (rows, *layout), name_of));
                for &(id, span, weight) in rows {
                    let product = u128::from(span) * u128::from(weight.unsigned_abs());
                    if thread == threads[0] && !own_order.contains(&name_of(id)) {
                        own_order.push(name_of(id));
                    }
                    let sum = expected.entry(name_of(id)).or_insert_with(|| {
                        order.push(name_of(id));
                        0
                    });
                    *sum += product;
                }
            }
            done.push((thread, table.len()));
        }
        // Those of the first part's thread have codes too: all at once, or first those of that part.
        let (mut ids, mut codes) = (Ids::default(), Vec::new());
        if is_named {
            ids.intern("another");
        }
        let first = &tables[threads[0]];
        first.name(&mut ids, &mut codes);
        let of_first = |names: &Ids, codes: &[u32]| -> Vec<String> {
            codes
                .iter()
                .map(|&code| names.get(code).to_owned())
                .collect()
        };
        prop_assert_eq!(&of_first(&ids, &codes), &own_order);
        codes.truncate(done[0].1);
        let mut again = ids.clone();
        first.name(&mut again, &mut codes);
        prop_assert_eq!(
            (of_first(&again, &codes), again.len()),
            (own_order, ids.len())
        );
        let (ids, all) = together(tables.into(), &done);
        let named: Vec<&str> = ids.iter().collect();
        prop_assert_eq!(&named, &order);
        for (number, name) in order.iter().enumerate() {
            prop_assert_eq!(ids.code(name), Some(number as u32));
            let sum = all.get(number).map(i128::cast_unsigned);
            prop_assert_eq!(sum, Some(expected[name]));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn short_ones_are_those_of_a_map(
            parts in parts(((1 << 29) - 1, (1 << 28) - 1)),
            threads in threads(),
            is_named in any::<bool>(),
        ) {
            let name = |id| format!("{id}{}", "é".repeat(id as usize % 3));
            are_those_of_a_map::<ShortSums>(&parts, &threads, is_named, name)?;
        }

        #[test]
        fn long_ones_are_those_of_a_map(
            parts in parts(((1 << 50) - 1, (1 << 40) - 1)),
            threads in threads(),
            is_named in any::<bool>(),
        ) {
            // Of all lengths that there are; some differ in their length alone.
            let name = |id| match id % 2 {
                0 => format!("a{}", "\0".repeat(id as usize % 47)),
                _ => format!("{}{}", "é".repeat(id as usize % 23), id / 60),
            };
            are_those_of_a_map::<LongSums>(&parts, &threads, is_named, name)?;
        }
    }

    #[test]
    fn the_kind_is_that_of_the_first_ids() {
        let texts = |id: &str| -> ArrayRef { Arc::new(StringArray::from(vec![id; 9])) };
        let (short, long) = (texts("a"), texts("0x00000001"));
        let [short, long] = [&short, &long].map(|ids| Text::of_ids(ids).expect("text"));
        let mut sums = IdSums::default();
        for (ids, is_long) in [(&long, true), (&short, false), (&long, true)] {
            sums.suit(ids);
            assert_eq!(matches!(sums, IdSums::Long(_)), is_long);
        }
        if let IdSums::Long(own) = &mut sums {
            assert!(add(own, (&vec![(1, 1, 1)], 0), |id| id.to_string()));
        }
        sums.suit(&short);
        assert!(matches!(sums, IdSums::Long(_)));
        assert!(sums.can_take_in(&IdSums::default()) && sums.can_take_in(&sums));
        assert!(!IdSums::default().can_take_in(&sums));
    }
}

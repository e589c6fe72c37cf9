//! Exact sums by slot: what each holder (token) has so far.

use crate::exact::{Total, U512};
use crate::plain_sums::PlainSums;
use crate::prefetch::{in_line, prefetch, prefetch_once};
use crate::query::{ABSENT, NEVER};

/// Sums of many slots. Most need no more than a cell; what does not fit goes to tables that are
/// there only when something in them is not 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    cells: Vec<Cell>,
    /// What was added where nobody asks for times.
    plain: PlainSums,
    /// No cell's sum is above this.
    bound: u128,
    /// Rows that `bound` was raised for without a look at the cells.
    unseen: usize,
    /// Microseconds above 64 bits.
    high: Vec<u64>,
    /// Sums above 127 bits.
    wide: Vec<U512>,
}

/// The sums of one slot: half a cache line, never across two.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Cell {
    sum: i128,
    micros: u64,
    updated: i64,
}

impl Default for Cell {
    fn default() -> Self {
        Cell {
            sum: 0,
            micros: 0,
            updated: ABSENT,
        }
    }
}

/// So many rows before it is needed, a slot's place is asked for.
const AHEAD: usize = 32;

/// What the hot path knows of some rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockRows<'a> {
    /// Where the rows' times came from; what follows them in memory is the next block's.
    pub(crate) times: [&'a [i64]; 2],
    pub(crate) slots: &'a [u32],
    pub(crate) spans: &'a [u64],
    pub(crate) weights: &'a [i64],
    pub(crate) boundaries: &'a [i64],
    /// No span is longer.
    pub(crate) longest: u64,
    /// No weight is heavier, and none is below 0.
    pub(crate) heaviest: u64,
    /// Whether any row may add nothing.
    pub(crate) any_nothing: bool,
}

impl BlockRows<'_> {
    /// No row adds more than this.
    #[inline]
    pub(crate) fn most(&self) -> u128 {
        u128::from(self.longest) * u128::from(self.heaviest)
    }

    /// No slot gains more than this.
    #[inline]
    pub(crate) fn gain(&self) -> Option<u128> {
        self.most().checked_mul(self.slots.len() as u128)
    }

    /// Asks for what the first rows need of a table with a place for each slot.
    #[inline]
    pub(crate) fn ask_for_first<T>(&self, table: &[T]) {
        for &slot in self.slots.iter().take(AHEAD) {
            prefetch(table, slot as usize);
        }
    }

    /// While a row is added to a table, asks for what a later row needs of it, and for the columns of
    /// the row that is as far behind this block as `row` is in it.
    ///
    /// To add up waits for caches, and to read the next block for memory: so the one goes on while the
    /// other is waited for. Measured on 10 million rows.
    #[inline(always)]
    pub(crate) fn ask_ahead<T>(&self, table: &[T], row: usize) {
        let later = self.slots.get(row + AHEAD).unwrap_or(&self.slots[row]);
        prefetch(table, *later as usize);
        if row.is_multiple_of(in_line::<u64>()) {
            let next = self.slots.len() + row;
            for column in [self.times[0], self.times[1], self.weights] {
                prefetch_once(column, next);
            }
            prefetch_once(self.slots, next);
        }
    }
}

/// The sum of this slot does not fit in 512 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TooLarge(pub(crate) usize);

impl Tally {
    pub(crate) fn new(slots: usize) -> Self {
        let mut tally = Tally::default();
        tally.grow(slots);
        tally
    }

    /// Makes room for so many slots, at least.
    pub(crate) fn grow(&mut self, slots: usize) {
        if slots > self.cells.len() {
            self.cells.resize(slots, Cell::default());
        }
    }

    /// As [`grow`](Self::grow), for [`add_plain`](Self::add_plain).
    pub(crate) fn grow_plain(&mut self, slots: usize) {
        self.plain.grow(slots);
    }

    pub(crate) fn slots(&self) -> usize {
        self.cells.len().max(self.plain.slots())
    }

    /// Whether any row was added to the slot.
    pub(crate) fn is_present(&self, slot: usize) -> bool {
        if self.cells.is_empty() {
            return self.plain.get(slot).is_some();
        }
        self.cells[slot].updated != ABSENT
    }

    pub(crate) fn updated(&self, slot: usize) -> i64 {
        self.cells[slot].updated
    }

    pub(crate) fn micros(&self, slot: usize) -> i128 {
        let high = self.high.get(slot).copied().unwrap_or_default();
        i128::from(high) << 64 | i128::from(self.cells[slot].micros)
    }

    /// Whether every sum fits in 127 bits.
    pub(crate) fn is_narrow(&self) -> bool {
        self.wide.is_empty()
    }

    /// The part of a sum that is in 127 bits: all of it where all are narrow.
    #[inline]
    pub(crate) fn narrow(&self, slot: usize) -> i128 {
        match self.cells.get(slot) {
            Some(cell) => cell.sum,
            None => self.plain.get(slot).unwrap_or_default(),
        }
    }

    pub(crate) fn sum(&self, slot: usize) -> Total {
        let narrow = self.narrow(slot);
        match self.wide.get(slot) {
            None => Total::Narrow(narrow),
            // Adds to `wide` were checked to leave room for a cell.
            Some(&wide) => Total::Wide(wide + U512::from(narrow.unsigned_abs())),
        }
    }

    #[inline]
    pub(crate) fn see(&mut self, slot: usize, boundary: i64) {
        let last = &mut self.cells[slot].updated;
        *last = (*last).max(boundary);
    }

    #[inline]
    pub(crate) fn add_micros(&mut self, slot: usize, micros: u64) {
        let cell = &mut self.cells[slot];
        let carry;
        (cell.micros, carry) = cell.micros.overflowing_add(micros);
        if carry {
            self.carry(slot, 1);
        }
    }

    #[inline]
    pub(crate) fn add(&mut self, slot: usize, sum: Total) -> Result<(), TooLarge> {
        match sum {
            Total::Narrow(sum) => {
                let cell = &mut self.cells[slot];
                if let Some(total) = cell.sum.checked_add(sum) {
                    cell.sum = total;
                    self.bound = self.bound.max(total.unsigned_abs());
                    return Ok(());
                }
                let full = std::mem::replace(&mut cell.sum, sum);
                self.bound = self.bound.max(sum.unsigned_abs());
                self.add_wide(slot, U512::from(full.unsigned_abs()))
            }
            Total::Wide(sum) => self.add_wide(slot, sum),
        }
    }

    #[cold]
    fn carry(&mut self, slot: usize, high: u64) {
        self.high.resize(self.cells.len(), 0);
        self.high[slot] += high;
    }

    #[cold]
    fn add_wide(&mut self, slot: usize, sum: U512) -> Result<(), TooLarge> {
        if self.wide.len() < self.cells.len() {
            self.wide.resize(self.cells.len(), U512::ZERO);
        }
        let room = U512::MAX - U512::from(u128::MAX);
        let total = self.wide[slot].checked_add(sum);
        self.wide[slot] = total.filter(|&total| total <= room).ok_or(TooLarge(slot))?;
        Ok(())
    }

    /// Adds `spans[i] x weights[i]` and `spans[i]` to `slots[i]`, and keeps the last boundary, for
    /// rows of which none is longer or heavier than the bounds; no add is checked on its own.
    ///
    /// Says false, and adds nothing, when a cell could then be too small.
    pub(crate) fn add_block(&mut self, rows: BlockRows<'_>) -> bool {
        let Some(gain) = rows.gain().filter(|&gain| self.has_room(gain)) else {
            return false;
        };
        self.bound += gain;
        self.unseen += rows.slots.len();
        rows.ask_for_first(&self.cells);
        let columns = rows.spans.iter().zip(rows.weights).zip(rows.boundaries);
        let columns = rows.slots.iter().zip(columns);
        for (row, (&slot, ((&span, &weight), &boundary))) in columns.enumerate() {
            rows.ask_ahead(&self.cells, row);
            let slot = slot as usize;
            let cell = &mut self.cells[slot];
            // Both factors are 0 or more: one multiplication, without a thought of signs.
            let product = u128::from(weight.cast_unsigned()) * u128::from(span);
            cell.sum += product.cast_signed();
            cell.updated = cell.updated.max(boundary);
            let carry;
            (cell.micros, carry) = cell.micros.overflowing_add(span);
            if carry {
                self.carry(slot, 1);
            }
        }
        true
    }

    /// As [`add_block`](Self::add_block), without times.
    pub(crate) fn add_plain(&mut self, rows: BlockRows<'_>) -> Result<bool, TooLarge> {
        if self.plain.add_block(rows) {
            return Ok(true);
        }
        self.settle()?;
        Ok(self.plain.add_block(rows))
    }

    /// Moves plain sums to cells, where there is more room.
    fn settle(&mut self) -> Result<(), TooLarge> {
        self.grow(self.plain.slots());
        let mut plain = std::mem::take(&mut self.plain);
        for (slot, sum) in plain.iter() {
            self.see(slot, NEVER);
            self.add(slot, Total::Narrow(sum))?;
        }
        plain.clear();
        self.plain = plain;
        Ok(())
    }

    /// All that was added, either in cells or as plain sums.
    pub(crate) fn settled(mut self) -> Result<Self, TooLarge> {
        if !self.cells.is_empty() {
            self.settle()?;
        }
        Ok(self)
    }

    /// Whether no cell overflows when it gains so much.
    fn has_room(&mut self, gain: u128) -> bool {
        let fits = |bound: u128| {
            let total = bound.checked_add(gain);
            total.is_some_and(|total| total <= i128::MAX.unsigned_abs())
        };
        // The largest sum there is may be far below the bound; to look costs about as much as rows.
        if !fits(self.bound) && self.unseen >= self.cells.len() {
            let sums = self.cells.iter().map(|cell| cell.sum.unsigned_abs());
            (self.bound, self.unseen) = (sums.max().unwrap_or(0), 0);
        }
        fits(self.bound)
    }

    /// Adds the sums of another tally, whose slots `place` says the place of here, among so many.
    pub(crate) fn merge(
        &mut self,
        other: &Tally,
        slots: usize,
        place: impl Fn(usize) -> usize,
    ) -> Result<(), TooLarge> {
        if other.plain.slots() > 0 {
            self.grow_plain(slots);
            if !self.plain.merge(&other.plain, &place) {
                self.settle()?;
                self.plain.merge(&other.plain, &place);
            }
        }
        if !other.cells.is_empty() {
            self.grow(slots);
        }
        for (slot, cell) in other.cells.iter().enumerate() {
            if cell.updated == ABSENT {
                continue;
            }
            let here = place(slot);
            self.see(here, cell.updated);
            self.add_micros(here, cell.micros);
            self.add(here, Total::Narrow(cell.sum))?;
            if let Some(&wide) = other.wide.get(slot).filter(|&&wide| wide != U512::ZERO) {
                self.add_wide(here, wide)?;
            }
            if let Some(&high) = other.high.get(slot).filter(|&&high| high > 0) {
                self.carry(here, high);
            }
        }
        Ok(())
    }

    /// A tally of plain sums.
    pub(crate) fn of_plain(plain: PlainSums) -> Self {
        Tally {
            plain,
            ..Tally::default()
        }
    }

    /// Moves the sums of one slot to a slot of another tally, and leaves it as one that no row uses.
    pub(crate) fn move_slot(
        &mut self,
        slot: usize,
        other: &mut Tally,
        place: usize,
    ) -> Result<(), TooLarge> {
        let cell = std::mem::take(&mut self.cells[slot]);
        other.see(place, cell.updated);
        other.add_micros(place, cell.micros);
        other.add(place, Total::Narrow(cell.sum))?;
        if let Some(wide) = self.wide.get_mut(slot).filter(|wide| **wide != U512::ZERO) {
            other.add_wide(place, std::mem::take(wide))?;
        }
        if let Some(high) = self.high.get_mut(slot).filter(|high| **high > 0) {
            other.carry(place, std::mem::take(high));
        }
        Ok(())
    }

    /// Multiplies all sums: from now on they count smaller units.
    pub(crate) fn scale(&mut self, factor: u64) -> Result<(), TooLarge> {
        self.settle()?;
        self.bound = 0;
        for slot in 0..self.cells.len() {
            let sum = self.sum(slot);
            self.cells[slot].sum = 0;
            if let Some(wide) = self.wide.get_mut(slot) {
                *wide = U512::ZERO;
            }
            let scaled = match sum {
                Total::Narrow(sum) => sum.checked_mul(i128::from(factor)).map(Total::Narrow),
                Total::Wide(_) => None,
            };
            let wide = || {
                sum.widened()
                    .checked_mul(U512::from(factor))
                    .map(Total::Wide)
            };
            self.add(slot, scaled.or_else(wide).ok_or(TooLarge(slot))?)?;
        }
        Ok(())
    }
}

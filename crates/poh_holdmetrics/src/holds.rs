//! Many holds, as columns.

use std::ops::Range;
use std::sync::Arc;

use ruint::aliases::U256;

use crate::arrow::Dictionary;
use crate::block::wrong_times;
use crate::column::Column;
use crate::error::{Fault, Field, HoldError};
use crate::event::{HoldEvent, check_times};
use crate::groups::Source;
use crate::ids::Ids;
use crate::time::{Naive, OPEN, Shown};
use crate::weight::{MAX_SCALE, Rounding, Weight, excerpt};

/// The weights of some rows, in units of `10^-digits`, as narrow as they allow.
#[derive(Debug, Clone)]
pub(crate) enum Weights {
    /// Every weight is 1.
    One,
    /// Every weight fits in 63 bits.
    Narrow(Column<i64>),
    /// At least one does not.
    Wide(Vec<U256>),
}

impl Weights {
    /// Sets the weight of a row, the next one or an earlier one, and widens the column for it.
    pub(crate) fn set(&mut self, row: usize, rows: usize, units: U256, one: i64) {
        let narrow = i64::try_from(units);
        match (&mut *self, narrow) {
            (Weights::One, Ok(narrow)) if narrow == one => {}
            (Weights::One, _) => {
                *self = Weights::Narrow(vec![one; rows].into());
                self.set(row, rows, units, one);
            }
            (Weights::Narrow(column), Ok(narrow)) => place(column.to_mut(), row, narrow),
            (Weights::Narrow(column), Err(_)) => {
                *self = Weights::Wide(widened(column));
                self.set(row, rows, units, one);
            }
            (Weights::Wide(column), _) => place(column, row, units),
        }
    }

    pub(crate) fn get(&self, row: usize, one: i64) -> U256 {
        match self {
            Weights::One => U256::from(one.unsigned_abs()),
            Weights::Narrow(column) => U256::from(column[row].unsigned_abs()),
            Weights::Wide(column) => column[row],
        }
    }

    pub(crate) fn is_zero(&self, row: usize) -> bool {
        self.get(row, 1) == U256::ZERO
    }

    fn remove(&mut self, row: usize) {
        match self {
            Weights::One => {}
            Weights::Narrow(column) => drop(column.to_mut().remove(row)),
            Weights::Wide(column) => drop(column.remove(row)),
        }
    }
}

fn place<T>(column: &mut Vec<T>, row: usize, value: T) {
    match column.get_mut(row) {
        Some(old) => *old = value,
        None => column.push(value),
    }
}

pub(crate) fn widened(column: &[i64]) -> Vec<U256> {
    column
        .iter()
        .map(|units| U256::from(units.unsigned_abs()))
        .collect()
}

/// Some rows that came together.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) holder: Column<u32>,
    pub(crate) token: Column<u32>,
    pub(crate) start: Column<i64>,
    pub(crate) end: Column<i64>,
    pub(crate) weights: Weights,
    /// The number of its first row in the whole table.
    pub(crate) first_row: usize,
    /// Whether the rows are known to be valid; those borrowed from Arrow are checked when they are
    /// first used, block by block, while they are in the cache anyway.
    pub(crate) checked: bool,
    /// Whether every row has an end, so that the largest integer is no open hold but a fault.
    pub(crate) closed: bool,
}

impl Chunk {
    pub(crate) fn empty(first_row: usize) -> Self {
        Chunk {
            holder: Column::default(),
            token: Column::default(),
            start: Column::default(),
            end: Column::default(),
            weights: Weights::One,
            first_row,
            checked: true,
            closed: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.start.len()
    }

    /// Whether a row is the first one of its holder or its token.
    fn is_first(&self, row: usize) -> bool {
        [&self.holder, &self.token]
            .iter()
            .any(|codes| !codes[..row].contains(&codes[row]))
    }

    /// The codes of holders or of tokens.
    fn codes(&self, field: Field) -> &Column<u32> {
        match field {
            Field::TokenId => &self.token,
            _ => &self.holder,
        }
    }

    fn codes_mut(&mut self, field: Field) -> &mut Column<u32> {
        match field {
            Field::TokenId => &mut self.token,
            _ => &mut self.holder,
        }
    }

    /// Checks times and weights of some rows.
    ///
    /// The first pass has no branch and keeps only whether any sign bit says "wrong": a compiler
    /// makes vector code of it on every processor. The second finds the row.
    pub(crate) fn check(&self, rows: Range<usize>) -> Result<(), HoldError> {
        if self.checked {
            return Ok(());
        }
        let (starts, ends) = (&self.start[rows.clone()], &self.end[rows.clone()]);
        let mut wrong = 0i64;
        for (&start, &end) in starts.iter().zip(ends) {
            wrong |= wrong_times(start, end, self.closed);
        }
        if let Weights::Narrow(column) = &self.weights {
            wrong |= column[rows.clone()]
                .iter()
                .fold(0, |all, &units| all | units);
        }
        if wrong >= 0 {
            Ok(())
        } else {
            self.find_fault(rows)
        }
    }

    #[cold]
    fn find_fault(&self, rows: Range<usize>) -> Result<(), HoldError> {
        for row in rows {
            let number = self.first_row + row;
            let (start, end) = (self.start[row], self.end[row]);
            check_times(start, end)
                .map_err(|(field, fault)| HoldError::row(number, field, fault))?;
            if self.closed && end == OPEN {
                return Err(HoldError::row(number, Field::End, Fault::TimeOutOfRange));
            }
            if let Weights::Narrow(column) = &self.weights
                && column[row] < 0
            {
                let fault = Fault::Negative(column[row].to_string());
                return Err(HoldError::row(number, Field::Weight, fault));
            }
        }
        Ok(())
    }
}

/// Some neighbouring rows of one chunk.
pub(crate) struct Block<'a> {
    pub(crate) chunk: &'a Chunk,
    /// The chunk's number.
    pub(crate) number: usize,
    /// Rows of the chunk.
    pub(crate) rows: Range<usize>,
}

/// Rows between two looks at whether to stop; their working set stays in the first cache, and the columns of
/// as many rows that are asked for ahead.
pub(crate) const BLOCK: usize = 512;

/// Rows of a table, in blocks that do not cross chunks.
pub(crate) fn blocks(chunks: &[Chunk], rows: Range<usize>) -> impl Iterator<Item = Block<'_>> {
    chunks.iter().enumerate().flat_map(move |(number, chunk)| {
        let low = rows.start.max(chunk.first_row) - chunk.first_row;
        let high = rows.end.saturating_sub(chunk.first_row).min(chunk.len());
        (low..high.max(low)).step_by(BLOCK).map(move |row| Block {
            chunk,
            number,
            rows: row..high.min(row + BLOCK),
        })
    })
}

/// A table of holds: one row a hold, ids as codes.
#[derive(Debug, Clone)]
pub struct Holds {
    pub(crate) holders: Arc<Ids>,
    pub(crate) tokens: Arc<Ids>,
    pub(crate) chunks: Vec<Chunk>,
    /// Weights are units of `10^-digits`: the scale, or 0 while all of them are integers.
    pub(crate) digits: u8,
    pub(crate) scale: u8,
    pub(crate) rounding: Rounding,
    pub(crate) naive: Naive,
    pub(crate) columns: Columns,
    /// The last dictionaries of holders and of tokens: the batches of a stream share them.
    pub(crate) dictionaries: [Option<Dictionary>; 2],
}

fn check_ids(holder_id: &str, token_id: &str) -> Result<(), (Field, Fault)> {
    for (field, id) in [(Field::HolderId, holder_id), (Field::TokenId, token_id)] {
        if id.is_empty() {
            return Err((field, Fault::EmptyId));
        }
    }
    Ok(())
}

/// Which columns are kept, of those that not every question asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) holder: bool,
    pub(crate) token: bool,
    pub(crate) weight: bool,
}

impl Columns {
    pub(crate) const ALL: Columns = Columns {
        holder: true,
        token: true,
        weight: true,
    };
}

impl Holds {
    /// An empty table whose weights keep `scale` digits after the decimal point.
    ///
    /// # Errors
    /// [`HoldError::Argument`] for a scale beyond [`MAX_SCALE`].
    pub fn new(scale: u8) -> Result<Self, HoldError> {
        if scale > MAX_SCALE {
            return Err(HoldError::Argument(format!(
                "scale is {scale}; it is a number of digits from 0 to {MAX_SCALE}"
            )));
        }
        Ok(Holds {
            holders: Arc::default(),
            tokens: Arc::default(),
            chunks: Vec::new(),
            digits: scale,
            scale,
            rounding: Rounding::Refuse,
            naive: Naive::Utc,
            columns: Columns::ALL,
            dictionaries: [None, None],
        })
    }

    /// The same table with another way to treat digits beyond the scale.
    #[must_use]
    pub fn with_rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = rounding;
        self
    }

    /// The ids of holders or of tokens, and their last dictionary.
    pub(crate) fn ids_of(&mut self, field: Field) -> (&mut Arc<Ids>, &mut Option<Dictionary>) {
        let [holders, tokens] = &mut self.dictionaries;
        match field {
            Field::TokenId => (&mut self.tokens, tokens),
            _ => (&mut self.holders, holders),
        }
    }

    /// How instants that name no time zone are read in what is added from now on as text or Arrow.
    pub fn read_naive(&mut self, naive: Naive) {
        self.naive = naive;
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| last.first_row + last.len())
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Digits after the decimal point that weights keep.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// The holders' ids, in the order of their first row.
    pub fn holders(&self) -> &Arc<Ids> {
        &self.holders
    }

    /// The tokens' ids, in the order of their first row.
    pub fn tokens(&self) -> &Arc<Ids> {
        &self.tokens
    }

    /// All rows as events.
    pub fn events(&self) -> impl Iterator<Item = HoldEvent> {
        let one = self.one();
        self.chunks.iter().flat_map(move |chunk| {
            (0..chunk.len()).map(move |row| HoldEvent {
                token_id: self.tokens.get(chunk.token[row]).to_owned(),
                holder_id: self.holders.get(chunk.holder[row]).to_owned(),
                start: chunk.start[row],
                end: Some(chunk.end[row]).filter(|&end| end != OPEN),
                weight: Weight::new(chunk.weights.get(row, one), u32::from(self.digits)),
            })
        })
    }

    /// Adds one hold.
    ///
    /// # Errors
    /// [`HoldError::Row`] when the hold is not valid or its weight does not fit the scale.
    pub fn push(&mut self, event: &HoldEvent) -> Result<(), HoldError> {
        let end = event.end.unwrap_or(OPEN);
        self.push_row(
            &event.holder_id,
            &event.token_id,
            event.start,
            end,
            &event.weight,
        )
    }

    /// Adds one hold by its parts; `end` is [`OPEN`] for a hold without an end.
    ///
    /// # Errors
    /// As [`push`](Self::push); the table is then as it was.
    pub fn push_row(
        &mut self,
        holder_id: &str,
        token_id: &str,
        start: i64,
        end: i64,
        weight: &Weight,
    ) -> Result<(), HoldError> {
        let row = self.len();
        let wrong = |(field, fault)| HoldError::row(row, field, fault);
        check_ids(holder_id, token_id).map_err(wrong)?;
        check_times(start, end).map_err(wrong)?;
        self.use_digits(self.scale)?;
        let units = self
            .units(weight)
            .map_err(|fault| wrong((Field::Weight, fault)))?;
        let one = self.one();
        let holder = Arc::make_mut(&mut self.holders).intern(holder_id);
        let token = self
            .columns
            .token
            .then(|| Arc::make_mut(&mut self.tokens).intern(token_id));
        if self
            .chunks
            .last()
            .is_none_or(|last| !last.checked || last.closed)
        {
            self.chunks.push(Chunk::empty(row));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            let place = row - chunk.first_row;
            chunk.weights.set(place, place, units, one);
            chunk.holder.to_mut().push(holder);
            chunk.token.to_mut().extend(token);
            chunk.start.to_mut().push(start);
            chunk.end.to_mut().push(end);
        }
        Ok(())
    }

    /// Takes one hold away that was added before: one row that is equal to `event`.
    /// Looks through the whole table.
    ///
    /// # Errors
    /// [`HoldError::NoSuchHold`] when no row is equal.
    pub fn retract(&mut self, event: &HoldEvent) -> Result<(), HoldError> {
        let row = self.find(event)?;
        let chunk = self.flat()?;
        let moves = chunk.is_first(row);
        chunk.holder.to_mut().remove(row);
        chunk.token.to_mut().remove(row);
        chunk.start.to_mut().remove(row);
        chunk.end.to_mut().remove(row);
        chunk.weights.remove(row);
        if moves {
            self.renumber_ids();
        }
        Ok(())
    }

    /// Puts `corrected` in the place of one row that is equal to `event`.
    ///
    /// # Errors
    /// [`HoldError::NoSuchHold`] when no row is equal; as [`push`](Self::push) when `corrected` is
    /// not valid. The table is then as it was.
    pub fn amend(&mut self, event: &HoldEvent, corrected: &HoldEvent) -> Result<(), HoldError> {
        let row = self.find(event)?;
        let wrong = |(field, fault)| HoldError::row(row, field, fault);
        let end = corrected.end.unwrap_or(OPEN);
        check_ids(&corrected.holder_id, &corrected.token_id).map_err(wrong)?;
        check_times(corrected.start, end).map_err(wrong)?;
        let units = self
            .units(&corrected.weight)
            .map_err(|fault| wrong((Field::Weight, fault)))?;
        let one = self.one();
        let holder = Arc::make_mut(&mut self.holders).intern(&corrected.holder_id);
        let token = Arc::make_mut(&mut self.tokens).intern(&corrected.token_id);
        let chunk = self.flat()?;
        let rows = chunk.len();
        let mut moves = chunk.is_first(row);
        chunk.holder.to_mut()[row] = holder;
        chunk.token.to_mut()[row] = token;
        chunk.start.to_mut()[row] = corrected.start;
        chunk.end.to_mut()[row] = end;
        chunk.weights.set(row, rows, units, one);
        moves |= chunk.is_first(row);
        if moves {
            self.renumber_ids();
        }
        Ok(())
    }

    /// Ends every open hold of one holder and one token; says how many.
    ///
    /// # Errors
    /// [`HoldError::NoSuchHold`] when none is open; [`HoldError::Row`] when `at` is out of range or
    /// before the start of one. The table is then as it was.
    pub fn close(&mut self, holder_id: &str, token_id: &str, at: i64) -> Result<usize, HoldError> {
        let codes = self.holders.code(holder_id).zip(self.tokens.code(token_id));
        let chunk = self.flat()?;
        let open: Vec<usize> = (0..chunk.len())
            .filter(|&row| {
                chunk.end[row] == OPEN && Some((chunk.holder[row], chunk.token[row])) == codes
            })
            .collect();
        if open.is_empty() {
            return Err(HoldError::NoSuchHold {
                what: format!(
                    "open hold of {:?} by {:?}",
                    excerpt(token_id),
                    excerpt(holder_id)
                ),
            });
        }
        for &row in &open {
            check_times(chunk.start[row], at)
                .map_err(|(field, fault)| HoldError::row(row, field, fault))?;
        }
        let ends = chunk.end.to_mut();
        open.iter().for_each(|&row| ends[row] = at);
        Ok(open.len())
    }

    /// The first row that is equal to `event`.
    fn find(&mut self, event: &HoldEvent) -> Result<usize, HoldError> {
        // So that a weight has the digits that it would have in a new table.
        self.use_digits(self.scale)?;
        let missing = || HoldError::NoSuchHold {
            what: format!(
                "hold of {:?} by {:?} from {} {} with weight {}",
                excerpt(&event.token_id),
                excerpt(&event.holder_id),
                Shown(event.start),
                event
                    .end
                    .map_or("on".to_owned(), |end| format!("to {}", Shown(end))),
                event.weight
            ),
        };
        let codes = self
            .holders
            .code(&event.holder_id)
            .zip(self.tokens.code(&event.token_id));
        let end = event.end.unwrap_or(OPEN);
        let units = self.units(&event.weight).map_err(|_| missing())?;
        let one = self.one();
        for chunk in &self.chunks {
            for row in 0..chunk.len() {
                if chunk.start[row] == event.start
                    && chunk.end[row] == end
                    && Some((chunk.holder[row], chunk.token[row])) == codes
                    && chunk.weights.get(row, one) == units
                {
                    return Ok(chunk.first_row + row);
                }
            }
        }
        Err(missing())
    }

    /// The whole table as one chunk of our own, for changes.
    fn flat(&mut self) -> Result<&mut Chunk, HoldError> {
        self.check()?;
        if self.chunks.len() != 1 {
            let mut whole = Chunk::empty(0);
            let one = self.one();
            for chunk in &self.chunks {
                for row in 0..chunk.len() {
                    let place = whole.start.len();
                    whole
                        .weights
                        .set(place, place, chunk.weights.get(row, one), one);
                    whole.start.to_mut().push(chunk.start[row]);
                }
                whole.holder.to_mut().extend_from_slice(&chunk.holder);
                whole.token.to_mut().extend_from_slice(&chunk.token);
                whole.end.to_mut().extend_from_slice(&chunk.end);
            }
            self.chunks = vec![whole];
        }
        let chunk = &mut self.chunks[0];
        (chunk.checked, chunk.closed) = (true, false);
        Ok(chunk)
    }

    /// Gives ids the codes that a new table of these rows would give them, so that answers have its
    /// order: that of each id's first row.
    fn renumber_ids(&mut self) {
        for field in [Field::HolderId, Field::TokenId] {
            let (ids, _) = self.ids_of(field);
            let mut places = vec![None; ids.len()];
            let mut order: Vec<u32> = Vec::with_capacity(ids.len());
            let chunks = self.chunks.iter();
            for &code in chunks.flat_map(|chunk| chunk.codes(field).iter()) {
                places[code as usize].get_or_insert_with(|| {
                    order.push(code);
                    order.len() as u32 - 1
                });
            }
            let (ids, dictionary) = self.ids_of(field);
            if order.iter().copied().eq(0..ids.len() as u32) {
                continue;
            }
            let mut renumbered = Ids::default();
            for code in order {
                renumbered.intern(ids.get(code));
            }
            *ids = Arc::new(renumbered);
            *dictionary = None; // it has the codes of before
            for chunk in &mut self.chunks {
                for code in chunk.codes_mut(field).to_mut() {
                    *code = places[*code as usize].unwrap_or_default();
                }
            }
        }
    }

    /// Bytes of the rows that are kept.
    pub(crate) fn bytes(&self) -> usize {
        let of_row = |chunk: &Chunk| {
            let token = if chunk.token.is_empty() { 0 } else { 4 };
            let weight = match chunk.weights {
                Weights::One => 0,
                Weights::Narrow(_) => 8,
                Weights::Wide(_) => 32,
            };
            20 + token + weight
        };
        self.chunks
            .iter()
            .map(|chunk| chunk.len() * of_row(chunk))
            .sum()
    }

    /// All rows, to be grouped or added up.
    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            chunks: &self.chunks,
            holders: self.holders.len(),
            tokens: self.tokens.len(),
            turned: false,
        }
    }

    /// Checks the rows that were borrowed and not looked at yet.
    ///
    /// # Errors
    /// [`HoldError::Row`] for the first row that is not valid.
    pub fn check(&self) -> Result<(), HoldError> {
        self.chunks
            .iter()
            .try_for_each(|chunk| chunk.check(0..chunk.len()))
    }

    /// Checks the rows that came last, once and for all.
    pub(crate) fn check_last(&mut self) -> Result<(), HoldError> {
        if let Some(last) = self.chunks.last_mut() {
            last.check(0..last.len())?;
            last.checked = true;
        }
        Ok(())
    }

    /// A weight in the units of this table.
    pub(crate) fn units(&self, weight: &Weight) -> Result<U256, Fault> {
        match weight.narrow_units_at(self.digits) {
            Some(units) => Ok(U256::from(units.unsigned_abs())),
            None => weight.units_at(self.digits, self.rounding),
        }
    }

    /// The weight 1 in the units of this table.
    pub(crate) fn one(&self) -> i64 {
        10i64.pow(u32::from(self.digits))
    }

    /// Lets all weights count in units of `10^-digits`, at least.
    pub(crate) fn use_digits(&mut self, digits: u8) -> Result<(), HoldError> {
        if self.chunks.is_empty() {
            self.digits = digits;
        }
        if digits <= self.digits {
            return Ok(());
        }
        self.check()?;
        let factor = 10i64.pow(u32::from(digits - self.digits));
        for chunk in &mut self.chunks {
            if let Weights::Narrow(column) = &chunk.weights {
                let scaled: Option<Vec<i64>> = column
                    .iter()
                    .map(|units| units.checked_mul(factor))
                    .collect();
                chunk.weights = match scaled {
                    Some(scaled) => Weights::Narrow(scaled.into()),
                    None => Weights::Wide(widened(column)),
                };
                if matches!(chunk.weights, Weights::Narrow(_)) {
                    continue;
                }
            }
            if let Weights::Wide(column) = &mut chunk.weights {
                for (row, units) in column.iter_mut().enumerate() {
                    let scaled = units.checked_mul(U256::from(factor.unsigned_abs()));
                    *units = scaled.ok_or_else(|| {
                        let fault = Fault::TooLarge(units.to_string());
                        HoldError::row(chunk.first_row + row, Field::Weight, fault)
                    })?;
                }
            }
        }
        self.digits = digits;
        Ok(())
    }
}

//! Arrow in, Arrow out.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Date32Type, Date64Type, Decimal128Type,
    Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, Float64Array, GenericStringArray, OffsetSizeTrait, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{ArrowNativeType, Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field as ArrowField, Schema, TimeUnit as ArrowUnit};
use ruint::aliases::U256;

use crate::block::largest;
use crate::column::Column;
use crate::error::{Fault, Field, HoldError};
use crate::files::NAMES;
use crate::holds::{Chunk, Columns, Holds, Weights};
use crate::ids::{IdRows, Ids, SHORT, head_at, kinds, short_key};
use crate::long_sums::{LongKey, NO_ID, long_key};
use crate::plain::{each_once, plain, plain_times};
use crate::prefetch::{in_line, prefetch, prefetch_once};
use crate::query::ScoreColumn;
use crate::runs::Run;
use crate::scores::Scores;
use crate::threads::{in_shares, in_threads, in_threads_with, share, threads_for};
use crate::time::{
    Naive, OPEN, TimeUnit, micros_from_seconds, micros_from_text_in, micros_from_unit,
};
use crate::transfers::{COLUMNS, Transfer, Transfers, missing_column};
use crate::weight::{Weight, narrow_float_units};

impl Holds {
    /// Adds the rows of a batch with the columns `holder_id`, `token_id` and `start`, and maybe
    /// `end` and `weight`.
    ///
    /// Ids are strings, dictionaries of strings or integers; times are timestamps of any unit,
    /// dates, epoch seconds or text; weights are numbers, decimals, text or 32 bytes. Timestamps in
    /// microseconds, integer weights and 32-bit dictionary keys are borrowed, not copied; whether
    /// borrowed times are in order is looked at when they are first used.
    ///
    /// # Errors
    /// [`HoldError::Argument`] for a column that is missing; [`HoldError::Row`] for a value that
    /// is not valid. The table is then as it was, apart from ids that no row uses.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<(), HoldError> {
        self.append_without(batch, None)
    }

    /// As [`append`](Self::append), without a column of ids that somebody else looks at.
    pub(crate) fn append_without(
        &mut self,
        batch: &RecordBatch,
        other: Option<Field>,
    ) -> Result<(), HoldError> {
        let first_row = self.len();
        if batch.num_rows() == 0 {
            return Ok(());
        }
        each_once(batch, &NAMES)?;
        let column = |field: Field| batch.column_by_name(field.name());
        let needed = |field: Field| column(field).ok_or_else(|| no_column(field, &batch.schema()));
        let at = |field: Field| move |(row, fault)| HoldError::row(first_row + row, field, fault);
        let Columns { holder, token, .. } = self.columns;
        let mut ids = |field: Field, array: Option<&ArrayRef>, is_kept: bool| {
            let codes = match array {
                Some(array) if is_kept && other != Some(field) => {
                    let (ids, known) = self.ids_of(field);
                    id_codes(array, ids, known)
                }
                Some(array) if other != Some(field) => check_ids(array).map(|()| Column::default()),
                _ => Ok(Column::default()),
            };
            codes.map_err(at(field))
        };
        let array = needed(Field::HolderId)?;
        let holder = ids(Field::HolderId, Some(array), holder)?;
        let array = match token {
            true => Some(needed(Field::TokenId)?),
            false => column(Field::TokenId),
        };
        let token = ids(Field::TokenId, array, token)?;
        let start =
            instants(needed(Field::Start)?, false, &self.naive).map_err(at(Field::Start))?;
        let (end, closed) = match column(Field::End) {
            Some(array) => (
                instants(array, true, &self.naive).map_err(at(Field::End))?,
                array.logical_null_count() == 0,
            ),
            None => (vec![OPEN; batch.num_rows()].into(), false),
        };
        let mut weights = match column(Field::Weight) {
            Some(array) => {
                let digits = if array.data_type().is_integer() {
                    0
                } else {
                    self.scale
                };
                self.use_digits(digits)?;
                self.weights(array).map_err(at(Field::Weight))?
            }
            None => {
                self.use_digits(0)?;
                Weights::One
            }
        };
        if !self.columns.weight {
            // Nobody asks how much; that it is valid was seen, or is seen now.
            if let Weights::Narrow(column) = &weights {
                let all =
                    |rows: Range<usize>| column[rows].iter().fold(0, |all, units| all | units);
                let any = in_shares(column.len(), all).into_iter().any(|all| all < 0);
                let first = || column.iter().position(|&units| units < 0);
                if let Some(row) = any.then(first).flatten() {
                    let fault = Fault::Negative(column[row].to_string());
                    return Err(at(Field::Weight)((row, fault)));
                }
            }
            weights = Weights::One;
        }
        let checked = false;
        self.chunks.push(Chunk {
            holder,
            token,
            start,
            end,
            weights,
            first_row,
            checked,
            closed,
        });
        Ok(())
    }

    fn weights(&self, array: &ArrayRef) -> Result<Weights, (usize, Fault)> {
        let array = &plain(array).map_err(|fault| (0, fault))?;
        if let Some(row) = first_null(array) {
            return Err((row, Fault::Missing));
        }
        match array.data_type() {
            DataType::Int64 if self.digits == 0 => Ok(Weights::Narrow(
                array.as_primitive::<Int64Type>().values().clone().into(),
            )),
            DataType::Int8 => self.integers::<Int8Type>(array),
            DataType::Int16 => self.integers::<Int16Type>(array),
            DataType::Int32 => self.integers::<Int32Type>(array),
            DataType::Int64 => self.integers::<Int64Type>(array),
            DataType::UInt8 => self.integers::<UInt8Type>(array),
            DataType::UInt16 => self.integers::<UInt16Type>(array),
            DataType::UInt32 => self.integers::<UInt32Type>(array),
            DataType::UInt64 => self.integers::<UInt64Type>(array),
            DataType::Float32 => {
                let values = array.as_primitive::<Float32Type>().values();
                self.collect(values.len(), |row| {
                    // As text, so that the shortest form is that of 32 bits.
                    if values[row].is_finite() {
                        self.units(&values[row].to_string().parse()?)
                    } else {
                        Err(Fault::NotFinite(values[row].to_string()))
                    }
                })
            }
            DataType::Float64 => {
                let values = array.as_primitive::<Float64Type>().values();
                let quick: Option<Vec<i64>> = values
                    .iter()
                    .map(|&value| narrow_float_units(value, self.digits))
                    .collect();
                if let Some(units) = quick {
                    return Ok(Weights::Narrow(units.into()));
                }
                self.collect(values.len(), |row| {
                    self.units(&Weight::from_f64(values[row])?)
                })
            }
            DataType::Decimal128(_, digits) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                let digits = *digits;
                self.collect(values.len(), |row| {
                    let units = U256::try_from(values[row])
                        .map_err(|_| Fault::Negative(format!("{}e{}", values[row], -digits)))?;
                    self.units(&decimal_weight(units, digits)?)
                })
            }
            DataType::Decimal256(_, digits) => {
                let values = array.as_primitive::<Decimal256Type>().values();
                let digits = *digits;
                self.collect(values.len(), |row| {
                    if values[row].is_negative() {
                        return Err(Fault::Negative(format!("{}e{}", values[row], -digits)));
                    }
                    let units = U256::from_le_bytes(values[row].to_le_bytes());
                    self.units(&decimal_weight(units, digits)?)
                })
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                let text = Text::new(array);
                self.collect(array.len(), |row| self.units(&text.get(row).parse()?))
            }
            DataType::FixedSizeBinary(32) => {
                let values = array.as_fixed_size_binary();
                self.collect(array.len(), |row| {
                    self.units(&from_bytes(values.value(row))?)
                })
            }
            DataType::Binary => {
                let values = array.as_binary::<i32>();
                self.collect(array.len(), |row| {
                    self.units(&from_bytes(values.value(row))?)
                })
            }
            DataType::LargeBinary => {
                let values = array.as_binary::<i64>();
                self.collect(array.len(), |row| {
                    self.units(&from_bytes(values.value(row))?)
                })
            }
            DataType::BinaryView => {
                let values = array.as_binary_view();
                self.collect(array.len(), |row| {
                    self.units(&from_bytes(values.value(row))?)
                })
            }
            other => Err((0, wrong_type(other, "a number, decimal, text or 32 bytes"))),
        }
    }

    fn integers<T: ArrowPrimitiveType>(&self, array: &ArrayRef) -> Result<Weights, (usize, Fault)>
    where
        T::Native: TryInto<u64> + std::fmt::Display,
    {
        let values = array.as_primitive::<T>().values();
        self.collect(values.len(), |row| {
            let units = values[row].try_into();
            self.units(&Weight::from(
                units.map_err(|_| Fault::Negative(values[row].to_string()))?,
            ))
        })
    }

    fn collect(
        &self,
        rows: usize,
        mut units: impl FnMut(usize) -> Result<U256, Fault>,
    ) -> Result<Weights, (usize, Fault)> {
        let one = self.one();
        let mut weights = Weights::One;
        for row in 0..rows {
            weights.set(row, row, units(row).map_err(|fault| (row, fault))?, one);
        }
        Ok(weights)
    }
}

/// Says that a table has not all columns that holds need.
pub(crate) fn no_column(field: Field, schema: &Schema) -> HoldError {
    let fields = schema.fields().iter();
    let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
    HoldError::no_column(field.name(), &names)
}

impl Transfers {
    /// Adds the logs of a batch with the columns `token_address`, `from_address`, `to_address`,
    /// `value`, `block_timestamp`, `block_number` and `log_index`, and maybe `token_id`.
    ///
    /// # Errors
    /// [`HoldError::Argument`] for a column that is missing or of a wrong type;
    /// [`HoldError::Transfer`] for a value that is not valid.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<(), HoldError> {
        let first_row = self.len();
        each_once(batch, &COLUMNS)?;
        let wrong = |name: &'static str| {
            move |(row, fault): (usize, Fault)| HoldError::Transfer {
                row: (first_row + row) as u64,
                what: format!("{name} {}", fault.of_a_log()),
            }
        };
        let as_plain = |name: &'static str, array: &ArrayRef| {
            plain(array).map_err(|fault| wrong(name)((0, fault)))
        };
        let column = |name: &'static str| {
            let array = batch.column_by_name(name);
            as_plain(name, array.ok_or_else(|| missing_column(name))?)
        };
        let text = |name: &'static str| -> Result<ArrayRef, HoldError> {
            let array = column(name)?;
            match first_null(&array) {
                Some(row) => Err(wrong(name)((row, Fault::Missing))),
                None if is_text(&array) => Ok(array),
                None => Err(wrong(name)((0, wrong_type(array.data_type(), "text")))),
            }
        };
        let whole = Holds::new(0)?; // reads whole numbers of any type
        let numbers = |name: &'static str, (first, array): (usize, &ArrayRef)| {
            let wrong = |(row, fault)| wrong(name)((first + row, fault));
            let numbers = whole.weights(array).map_err(wrong)?;
            // A column that was borrowed has not been looked at yet.
            if let Weights::Narrow(column) = &numbers
                && let Some(row) = column.iter().position(|&number| number < 0)
            {
                return Err(wrong((row, Fault::Negative(column[row].to_string()))));
            }
            Ok(numbers)
        };
        let (token, from, to) = (
            text("token_address")?,
            text("from_address")?,
            text("to_address")?,
        );
        let (token, from, to) = (Text::new(&token), Text::new(&from), Text::new(&to));
        let values = numbers("value", (0, &column("value")?))?;
        let places = |name: &'static str| {
            let numbers = numbers(name, (0, &column(name)?))?;
            let place = |row: usize| {
                let number = numbers.get(row, 1);
                let fault = |_| wrong(name)((row, Fault::NoPlace(number.to_string())));
                u64::try_from(number).map_err(fault)
            };
            (0..batch.num_rows())
                .map(place)
                .collect::<Result<Vec<u64>, _>>()
        };
        let (blocks, indexes) = (places("block_number")?, places("log_index")?);
        let ids = batch.column_by_name("token_id");
        let ids = ids.map(|array| as_plain("token_id", array)).transpose()?;
        let nullable = ids.as_ref().is_some_and(|array| array.null_count() > 0);
        let all_ids = ids
            .as_ref()
            .filter(|_| !nullable)
            .map(|array| numbers("token_id", (0, array)))
            .transpose()?;
        // Logs of several standards in one table: some have an id and some have none.
        let id = |row: usize| -> Result<Option<U256>, HoldError> {
            match (&all_ids, &ids) {
                (Some(numbers), _) => Ok(Some(numbers.get(row, 1))),
                (None, Some(array)) if array.is_valid(row) => {
                    let one = numbers("token_id", (row, &array.slice(row, 1)))?;
                    Ok(Some(one.get(0, 1)))
                }
                _ => Ok(None),
            }
        };
        let times = instants(&column("block_timestamp")?, false, &Naive::Utc)
            .map_err(wrong("block_timestamp"))?;
        for row in 0..batch.num_rows() {
            self.push(&Transfer {
                token_address: token.get(row),
                from_address: from.get(row),
                to_address: to.get(row),
                value: values.get(row, 1),
                token_id: id(row)?,
                at: times[row],
                block_number: blocks[row],
                log_index: indexes[row],
            })?;
        }
        Ok(())
    }
}

impl Holds {
    /// All rows, or those of one holder, as Arrow columns, with weights in full as text.
    ///
    /// # Errors
    /// As [`Holds::check`] and [`Scores::to_batch`].
    pub fn to_batch(&self, holder: Option<&str>) -> Result<RecordBatch, HoldError> {
        let wanted = holder.map(|holder| self.holders.code(holder));
        self.batch_of(|chunk, row| wanted.is_none_or(|code| Some(chunk.holder[row]) == code))
    }

    /// As [`to_batch`](Self::to_batch), of the rows from one on.
    ///
    /// # Errors
    /// As [`to_batch`](Self::to_batch).
    pub fn to_batch_from(&self, first: usize) -> Result<RecordBatch, HoldError> {
        self.batch_of(|chunk, row| chunk.first_row + row >= first)
    }

    fn batch_of(&self, wanted: impl Fn(&Chunk, usize) -> bool) -> Result<RecordBatch, HoldError> {
        self.check()?;
        let micros = |instants: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(instants).with_timezone("UTC"))
        };
        let rows: Vec<(&Chunk, usize)> = self
            .chunks
            .iter()
            .flat_map(|chunk| (0..chunk.len()).map(move |row| (chunk, row)))
            .filter(|(chunk, row)| wanted(chunk, *row))
            .collect();
        let all = || rows.iter().copied();
        let one = self.one();
        let weight = |(chunk, row): (&Chunk, usize)| {
            Weight::new(chunk.weights.get(row, one), u32::from(self.digits)).to_string()
        };
        let end = |(chunk, row): (&Chunk, usize)| Some(chunk.end[row]).filter(|&end| end != OPEN);
        let schema = Schema::new(vec![
            ArrowField::new("holder_id", DataType::Utf8, false),
            ArrowField::new("token_id", DataType::Utf8, false),
            ArrowField::new("start", utc_micros(), false),
            ArrowField::new("end", utc_micros(), true),
            ArrowField::new("weight", DataType::Utf8, false),
        ]);
        let columns = vec![
            strings(all().map(|(chunk, row)| Some(self.holders.get(chunk.holder[row]))))?,
            strings(all().map(|(chunk, row)| Some(self.tokens.get(chunk.token[row]))))?,
            micros(all().map(|(chunk, row)| Some(chunk.start[row])).collect()),
            micros(all().map(end).collect()),
            strings(all().map(|at| Some(weight(at))))?,
        ];
        RecordBatch::try_new(Arc::new(schema), columns)
            .map_err(|error| HoldError::Argument(error.to_string()))
    }
}

fn decimal_weight(units: U256, digits: i8) -> Result<Weight, Fault> {
    match u32::try_from(digits) {
        Ok(digits) => Ok(Weight::new(units, digits)),
        Err(_) => {
            let factor = U256::from(10u64).checked_pow(U256::from(digits.unsigned_abs()));
            let units = factor.and_then(|factor| units.checked_mul(factor));
            let large = || Fault::TooLarge("past 256 bits".to_owned());
            units.map(|units| Weight::new(units, 0)).ok_or_else(large)
        }
    }
}

fn from_bytes(bytes: &[u8]) -> Result<Weight, Fault> {
    let bytes = bytes.try_into().map_err(|_| {
        Fault::Type(format!(
            "is {} bytes; a binary weight is 32, big-endian",
            bytes.len()
        ))
    })?;
    Ok(Weight::from_be_bytes(bytes))
}

fn wrong_type(found: &DataType, wanted: &str) -> Fault {
    Fault::Type(format!("is a column of {found}; give {wanted}"))
}

fn first_null(array: &ArrayRef) -> Option<usize> {
    (array.null_count() > 0).then(|| (0..array.len()).find(|&row| array.is_null(row)))?
}

/// Strings of any layout.
pub(crate) enum Text<'a> {
    Short(&'a StringArray),
    Large(&'a arrow_array::LargeStringArray),
    View(&'a arrow_array::StringViewArray),
}

impl<'a> Text<'a> {
    /// `array` is of one of the three types.
    fn new(array: &'a dyn Array) -> Self {
        match array.data_type() {
            DataType::LargeUtf8 => Text::Large(array.as_string()),
            DataType::Utf8View => Text::View(array.as_string_view()),
            _ => Text::Short(array.as_string()),
        }
    }

    /// A column of ids that are text, of which none is missing.
    pub(crate) fn of_ids(array: &'a ArrayRef) -> Option<Self> {
        (is_text(array) && array.null_count() == 0).then(|| Text::new(array))
    }

    /// Whether all ids are short.
    pub(crate) fn are_short(&self) -> bool {
        fn of<O: OffsetSizeTrait>(ends: &[O]) -> bool {
            // Without a way out of the loop a compiler makes vector code of it.
            ends.windows(2).fold(true, |all, ends| {
                all & (ends[1].as_usize() - ends[0].as_usize() <= SHORT)
            })
        }
        match self {
            Text::Short(array) => of(array.value_offsets()),
            Text::Large(array) => of(array.value_offsets()),
            Text::View(array) => array
                .views()
                .iter()
                .all(|&view| view as u32 <= SHORT as u32),
        }
    }

    /// The ids of the rows from `first` on, if they are short, as [`short_key`] says them. Says false
    /// where one is not, or is empty.
    pub(crate) fn short_keys(&self, first: usize, keys: &mut [u64]) -> bool {
        match self {
            Text::Short(array) => Strings::new(array, first).short_keys(0, keys),
            Text::Large(array) => Strings::new(array, first).short_keys(0, keys),
            Text::View(array) => {
                Views { array, first }.keys(0, keys);
                kinds(keys) == (false, false)
            }
        }
    }

    /// The ids of the rows from `first` on, as [`long_key`] says them. Says false where one is empty or too
    /// long for that.
    pub(crate) fn long_keys(&self, first: usize, keys: &mut [LongKey]) -> bool {
        match self {
            Text::Short(array) => Strings::new(array, first).long_keys(keys),
            Text::Large(array) => Strings::new(array, first).long_keys(keys),
            Text::View(array) => Views { array, first }.long_keys(keys),
        }
    }

    /// The codes of the rows from `first` on.
    fn codes(&self, first: usize, codes: &mut [u32], ids: &mut Ids) -> Result<(), (usize, Fault)> {
        let all_have_one = match self {
            Text::Short(array) => ids.intern_all(Strings::new(array, first), codes),
            Text::Large(array) => ids.intern_all(Strings::new(array, first), codes),
            Text::View(array) => ids.intern_all(Views { array, first }, codes),
        };
        all_have_one.map_err(|row| (first + row, Fault::EmptyId))
    }

    /// Lets an empty set have all rows as they are, if each is greater than the one before.
    fn adopt(&self, ids: &mut Ids) -> bool {
        match self {
            Text::Short(array) => ids.adopt(array.value_offsets(), array.value_data()),
            Text::Large(array) => ids.adopt(array.value_offsets(), array.value_data()),
            Text::View(_) => false,
        }
    }

    /// The bytes of all rows, where it costs nothing to know them.
    fn bytes(&self) -> usize {
        fn of<O: OffsetSizeTrait>(ends: &[O]) -> usize {
            let ends = ends.first().zip(ends.last());
            ends.map_or(0, |(first, last)| last.as_usize() - first.as_usize())
        }
        match self {
            Text::Short(array) => of(array.value_offsets()),
            Text::Large(array) => of(array.value_offsets()),
            Text::View(_) => 0,
        }
    }

    fn get(&self, row: usize) -> &'a str {
        match self {
            Text::Short(array) => array.value(row),
            Text::Large(array) => array.value(row),
            Text::View(array) => array.value(row),
        }
    }
}

/// Bytes of text that are asked for at once. So many more would wait for each other: longer ids are asked
/// for one by one.
const MOST_AHEAD: usize = 1024;

/// Rows of a column of strings, from one on.
#[derive(Clone, Copy)]
struct Strings<'a, O: OffsetSizeTrait> {
    array: &'a GenericStringArray<O>,
    first: usize,
    offsets: &'a [O],
    text: &'a [u8],
}

impl<'a, O: OffsetSizeTrait> Strings<'a, O> {
    fn new(array: &'a GenericStringArray<O>, first: usize) -> Self {
        Strings {
            array,
            first,
            offsets: &array.value_offsets()[first..],
            text: array.value_data(),
        }
    }

    /// As [`keys`](IdRows::keys). Says whether all ids are short, and none is empty.
    #[inline]
    fn short_keys(self, first: usize, keys: &mut [u64]) -> bool {
        self.ask_for_next(first, keys.len());
        if self.keys_of_one_length(first, keys) {
            return true;
        }
        for (key, ends) in keys.iter_mut().zip(self.offsets[first..].windows(2)) {
            let (from, to) = (ends[0].as_usize(), ends[1].as_usize());
            *key = short_key(to - from, head_at(self.text, from));
        }
        kinds(keys) == (false, false)
    }

    /// As [`Text::long_keys`].
    #[inline]
    fn long_keys(self, keys: &mut [LongKey]) -> bool {
        let mut all = true;
        let later = self.offsets.get(keys.len()..).unwrap_or_default();
        for row in (0..keys.len()).step_by(in_line::<O>()) {
            prefetch_once(later, keys.len() + row);
        }
        for (row, (key, ends)) in keys.iter_mut().zip(self.offsets.windows(2)).enumerate() {
            let (from, to) = (ends[0].as_usize(), ends[1].as_usize());
            all &= long_key(self.text, from, to - from, key);
            // That of the next rows, as in `texts`. Most have as many bytes as this one, and begin where the one
            // before ended.
            if let Some(later) = later.get(row) {
                prefetch_once(self.text, later.as_usize() + (to - from));
            }
        }
        all
    }

    /// Asks for as many rows as there are from `first` on, which come after them: between them so much
    /// else is read that the processor does not foresee it. Of their text it is known where it begins.
    #[inline]
    fn ask_for_next(self, first: usize, count: usize) {
        let after = first + count;
        for row in (0..count).step_by(in_line::<O>()) {
            prefetch_once(self.offsets, after + row);
        }
        if let (Some(from), Some(to)) = (self.offsets.get(first), self.offsets.get(after)) {
            let (from, to) = (from.as_usize(), to.as_usize());
            let bytes = to.saturating_sub(from);
            if bytes <= MOST_AHEAD {
                for byte in (to..to + bytes).step_by(in_line::<u8>()) {
                    prefetch_once(self.text, byte);
                }
            }
        }
    }

    /// As [`keys`](IdRows::keys), where all ids have the same length and are short, as in most tables: it is
    /// known where each begins, and what to leave of it. Says false where they are not.
    #[inline]
    fn keys_of_one_length(self, first: usize, keys: &mut [u64]) -> bool {
        let ends = &self.offsets[first..=first + keys.len()];
        let [from, second, ..] = ends else {
            return true; // no row
        };
        let len = *second - *from;
        // Without a way out of the loop a compiler makes vector code of it.
        let others = ends.windows(2);
        if others.fold(false, |others, ends| others | (ends[1] - ends[0] != len)) {
            return false;
        }
        let text = self.text.get(from.as_usize()..).unwrap_or_default();
        match len.as_usize() {
            1 => keys_of_length::<1>(text, keys),
            2 => keys_of_length::<2>(text, keys),
            3 => keys_of_length::<3>(text, keys),
            4 => keys_of_length::<4>(text, keys),
            5 => keys_of_length::<5>(text, keys),
            6 => keys_of_length::<6>(text, keys),
            SHORT => keys_of_length::<SHORT>(text, keys),
            _ => return false,
        }
        true
    }
}

/// The keys of ids of one length, which follow each other in a text.
fn keys_of_length<const LEN: usize>(text: &[u8], keys: &mut [u64]) {
    /// Rows whose text is in so few bytes that it need not be asked for each where it ends.
    const ROWS: usize = 8;
    let (parts, last) = keys.as_chunks_mut::<ROWS>();
    let mut from = 0;
    for keys in parts {
        // As many rows as a compiler knows, which then makes a few instructions of each.
        match text.get(from..).and_then(<[u8]>::first_chunk::<64>) {
            Some(bytes) => each_key::<LEN>(bytes, keys),
            None => each_key::<LEN>(text.get(from..).unwrap_or_default(), keys),
        }
        from += ROWS * LEN;
    }
    each_key::<LEN>(text.get(from..).unwrap_or_default(), last);
}

#[inline(always)]
fn each_key<const LEN: usize>(text: &[u8], keys: &mut [u64]) {
    for (row, key) in keys.iter_mut().enumerate() {
        *key = short_key(LEN, head_at(text, row * LEN));
    }
}

impl<'a, O: OffsetSizeTrait> IdRows<'a> for Strings<'a, O> {
    #[inline]
    fn id(self, row: usize) -> &'a str {
        self.array.value(self.first + row)
    }

    #[inline]
    fn texts(self, first: usize, texts: &mut [&'a [u8]]) {
        let rows = texts.len();
        let ends = self.offsets[first..].windows(2);
        for (row, (text, ends)) in texts.iter_mut().zip(ends).enumerate() {
            let (from, to) = (ends[0].as_usize(), ends[1].as_usize());
            *text = self.text.get(from..to).unwrap_or_default();
            // That of the next rows, as in `keys`.
            if let Some(later) = self.offsets.get(first + rows + row) {
                prefetch(self.text, later.as_usize());
            }
        }
    }

    #[inline]
    fn keys(self, first: usize, keys: &mut [u64]) {
        self.short_keys(first, keys);
    }
}

/// As [`Strings`], of views: short ones have their text in themselves, after their length.
#[derive(Clone, Copy)]
struct Views<'a> {
    array: &'a arrow_array::StringViewArray,
    first: usize,
}

impl Views<'_> {
    /// As [`Text::long_keys`].
    #[inline]
    fn long_keys(self, keys: &mut [LongKey]) -> bool {
        /// Of more bytes only the first 4 are in a view.
        const MOST_IN_VIEW: usize = 12;
        let views = &self.array.views()[self.first..];
        let mut all = true;
        for (key, view) in keys.iter_mut().zip(views) {
            // Four numbers: the length, the first bytes, which buffer, and where in it.
            let [len, _, buffer, from] =
                [0, 1, 2, 3].map(|part| (view >> (32 * part)) as u32 as usize);
            all &= match self.array.data_buffers().get(buffer) {
                Some(text) if len > MOST_IN_VIEW => long_key(text, from, len, key),
                _ => {
                    let mut text = NO_ID;
                    text[..MOST_IN_VIEW].copy_from_slice(&view.to_le_bytes()[size_of::<u32>()..]);
                    long_key(&text, 0, len.min(MOST_IN_VIEW), key)
                }
            };
        }
        all
    }
}

impl<'a> IdRows<'a> for Views<'a> {
    #[inline]
    fn id(self, row: usize) -> &'a str {
        self.array.value(self.first + row)
    }

    #[inline]
    fn keys(self, first: usize, keys: &mut [u64]) {
        let views = &self.array.views()[self.first + first..];
        for (key, &view) in keys.iter_mut().zip(views) {
            *key = short_key(view as u32 as usize, (view >> u32::BITS) as u64);
        }
    }
}

fn id_codes(
    array: &ArrayRef,
    ids: &mut Arc<Ids>,
    known: &mut Option<Dictionary>,
) -> Result<Column<u32>, (usize, Fault)> {
    if let Some(row) = first_null(array) {
        return Err((row, Fault::Missing));
    }
    if let DataType::Dictionary(key, _) = array.data_type() {
        return match **key {
            DataType::Int8 => dictionary_codes::<Int8Type>(array, ids, known),
            DataType::Int16 => dictionary_codes::<Int16Type>(array, ids, known),
            DataType::Int32 => dictionary_codes::<Int32Type>(array, ids, known),
            DataType::Int64 => dictionary_codes::<Int64Type>(array, ids, known),
            DataType::UInt8 => dictionary_codes::<UInt8Type>(array, ids, known),
            DataType::UInt16 => dictionary_codes::<UInt16Type>(array, ids, known),
            DataType::UInt32 => dictionary_codes::<UInt32Type>(array, ids, known),
            _ => dictionary_codes::<UInt64Type>(array, ids, known),
        };
    }
    let ids = Arc::make_mut(ids);
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            text_codes(&Text::new(array), array.len(), ids).map(Into::into)
        }
        DataType::Int8 => Ok(integer_codes::<Int8Type>(array, ids)),
        DataType::Int16 => Ok(integer_codes::<Int16Type>(array, ids)),
        DataType::Int32 => Ok(integer_codes::<Int32Type>(array, ids)),
        DataType::Int64 => Ok(integer_codes::<Int64Type>(array, ids)),
        DataType::UInt8 => Ok(integer_codes::<UInt8Type>(array, ids)),
        DataType::UInt16 => Ok(integer_codes::<UInt16Type>(array, ids)),
        DataType::UInt32 => Ok(integer_codes::<UInt32Type>(array, ids)),
        DataType::UInt64 => Ok(integer_codes::<UInt64Type>(array, ids)),
        DataType::Null => Err((0, Fault::Missing)),
        other => Err((
            0,
            wrong_type(other, "text, a dictionary of text, or integers"),
        )),
    }
}

/// Codes of strings, on all processors: each part has its own table of ids, and the tables are put
/// together in order, so that ids are still in the order of their first row.
fn text_codes(text: &Text<'_>, rows: usize, ids: &mut Ids) -> Result<Vec<u32>, (usize, Fault)> {
    let mut codes = vec![0u32; rows];
    // The first rows show most ids, which the threads then know from the start.
    let threads = threads_for(None, rows / 2);
    let alone = if threads == 1 { rows } else { rows / 64 };
    let (first, rest) = codes.split_at_mut(alone);
    text.codes(0, first, ids)?;
    let share = rest.len().div_ceil(threads).max(1);
    let known = if ids.len() <= rows / 16 {
        &*ids
    } else {
        &Ids::default()
    };
    let mut parts: Vec<(&mut [u32], Ids)> = rest
        .chunks_mut(share)
        .map(|codes| (codes, known.clone()))
        .collect();
    let known = known.len();
    let found = in_threads_with(&mut parts, |part, (codes, own)| {
        text.codes(alone + part * share, codes, own)
    });
    found.into_iter().collect::<Result<(), _>>()?;
    let mut mapped: Vec<(&mut [u32], Vec<u32>)> = parts
        .into_iter()
        .map(|(codes, own)| {
            let mut mapping: Vec<u32> = (0..known as u32).collect();
            ids.take_in(&own, own.len(), &mut mapping);
            (codes, mapping)
        })
        .collect();
    // The first part's codes are right as they are: threads share those of the others.
    let mut shares: Vec<Vec<(&mut [u32], &[u32])>> = Vec::new();
    shares.resize_with(threads, Vec::new);
    for (codes, mapping) in &mut mapped {
        if !mapping.iter().zip(0..).all(|(&code, own)| code == own) {
            let share = codes.len().div_ceil(threads);
            for (own, codes) in shares.iter_mut().zip(codes.chunks_mut(share.max(1))) {
                own.push((codes, mapping));
            }
        }
    }
    in_threads_with(&mut shares, |_, shares| {
        for (codes, mapping) in shares {
            for code in codes.iter_mut() {
                *code = mapping[*code as usize];
            }
        }
    });
    Ok(codes)
}

fn integer_codes<T: ArrowPrimitiveType>(array: &ArrayRef, ids: &mut Ids) -> Column<u32>
where
    T::Native: std::fmt::Display,
{
    let values = array.as_primitive::<T>().values();
    values
        .iter()
        .map(|value| ids.intern(&value.to_string()))
        .collect::<Vec<u32>>()
        .into()
}

/// Finds the fault of ids that nobody asks for, without a look at most of them.
fn check_ids(array: &ArrayRef) -> Result<(), (usize, Fault)> {
    if let Some(row) = first_null(array) {
        return Err((row, Fault::Missing));
    }
    match array.data_type() {
        DataType::Utf8 => first_empty(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => first_empty(array.as_string::<i64>().value_offsets()),
        DataType::Utf8View => {
            let mut views = array.as_string_view().views().iter();
            match views.position(|&view| view as u32 == 0) {
                Some(row) => Err((row, Fault::EmptyId)), // the low half of a view is its length
                None => Ok(()),
            }
        }
        DataType::Dictionary(..) if has_only_ids(array) => Ok(()),
        kind if kind.is_integer() => Ok(()),
        _ => id_codes(array, &mut Arc::default(), &mut None).map(drop),
    }
}

/// Whether every entry of a dictionary is an id, also those that no row uses.
fn has_only_ids(array: &ArrayRef) -> bool {
    let values = array.as_any_dictionary().values();
    is_text(values) && check_ids(values).is_ok()
}

fn is_text(array: &ArrayRef) -> bool {
    matches!(
        array.data_type(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn first_empty<O: PartialEq>(offsets: &[O]) -> Result<(), (usize, Fault)> {
    // Without a way out of the loop a compiler makes vector code of it.
    let ends = offsets.iter().skip(1);
    let any = offsets
        .iter()
        .zip(ends)
        .fold(false, |any, (from, to)| any | (from == to));
    let first = || offsets.windows(2).position(|ends| ends[0] == ends[1]);
    match any.then(first).flatten() {
        Some(row) => Err((row, Fault::EmptyId)),
        None => Ok(()),
    }
}

/// The codes of a dictionary's entries.
#[derive(Debug, Clone)]
pub(crate) struct Dictionary {
    values: ArrayRef,
    /// Not there where the code of each entry is its place.
    codes: Option<Arc<[u32]>>,
}

/// In place of codes: entries that are null or empty, which is a fault only where a row uses them.
const NULL_ENTRY: u32 = u32::MAX;
const EMPTY_ENTRY: u32 = u32::MAX - 1;

impl Dictionary {
    /// The dictionary of a column of ids that is one.
    pub(crate) fn of(array: &ArrayRef, ids: &mut Arc<Ids>) -> Option<Self> {
        let values = array.as_any_dictionary_opt()?.values();
        is_text(values).then(|| Dictionary::new(values, Arc::make_mut(ids)))
    }

    fn new(values: &ArrayRef, ids: &mut Ids) -> Self {
        let text = Text::new(values);
        if values.null_count() == 0 && text.adopt(ids) {
            return Dictionary {
                values: Arc::clone(values),
                codes: None,
            };
        }
        let mut codes = vec![0; values.len()];
        if ids.len() < values.len() / 2 {
            ids.reserve(values.len() - ids.len(), text.bytes());
        }
        if values.null_count() > 0 || text.codes(0, &mut codes, ids).is_err() {
            for (entry, code) in codes.iter_mut().enumerate() {
                *code = match values.is_valid(entry).then(|| text.get(entry)) {
                    None => NULL_ENTRY,
                    Some("") => EMPTY_ENTRY,
                    Some(id) => ids.intern(id),
                };
            }
        }
        let in_order = codes.iter().zip(0..).all(|(&code, entry)| code == entry);
        Dictionary {
            values: Arc::clone(values),
            codes: (!in_order).then(|| codes.into()),
        }
    }

    /// The code of an entry, where there is one.
    #[inline]
    fn code(&self, entry: usize) -> Option<u32> {
        match &self.codes {
            Some(codes) => codes.get(entry).copied(),
            None => (entry < self.values.len()).then_some(entry as u32),
        }
    }

    /// Whether a column's ids are these.
    pub(crate) fn is_of_column(&self, array: &ArrayRef) -> bool {
        let dictionary = array.as_any_dictionary_opt();
        dictionary.is_some_and(|dictionary| self.is_of(dictionary.values()))
    }

    /// Whether these are the same values in the same memory, which is held here.
    fn is_of(&self, values: &ArrayRef) -> bool {
        Arc::ptr_eq(&self.values, values) || self.values.to_data().ptr_eq(&values.to_data())
    }
}

fn dictionary_codes<K: ArrowDictionaryKeyType>(
    array: &ArrayRef,
    ids: &mut Arc<Ids>,
    known: &mut Option<Dictionary>,
) -> Result<Column<u32>, (usize, Fault)> {
    let dictionary = array.as_dictionary::<K>();
    let values = dictionary.values();
    if !is_text(values) {
        return Err((0, wrong_type(array.data_type(), "a dictionary of text")));
    }
    let last = known.take().filter(|known| known.is_of(values));
    let known = known.insert(last.unwrap_or_else(|| Dictionary::new(values, Arc::make_mut(ids))));
    let keys = dictionary.keys().values();
    if known.codes.is_none() && size_of::<K::Native>() == size_of::<u32>() {
        // Keys are the codes. One below 0 is beyond any dictionary as an unsigned number.
        let keys = ScalarBuffer::<u32>::new(keys.inner().clone(), 0, keys.len());
        let largest = in_shares(keys.len(), |rows| largest(&keys[rows]));
        let largest = largest.into_iter().max();
        if largest.is_none_or(|largest| (largest as usize) < values.len()) {
            return Ok(keys.into());
        }
    }
    let mut rows = Vec::with_capacity(keys.len());
    for (row, key) in keys.iter().enumerate() {
        rows.push(match known.code(key.as_usize()) {
            Some(NULL_ENTRY) => return Err((row, Fault::Missing)),
            Some(EMPTY_ENTRY) => return Err((row, Fault::EmptyId)),
            Some(code) => code,
            None => {
                let what = "has a key that its dictionary does not have";
                return Err((row, Fault::Type(what.into())));
            }
        });
    }
    Ok(rows.into())
}

fn instants(array: &ArrayRef, open: bool, naive: &Naive) -> Result<Column<i64>, (usize, Fault)> {
    let array = &plain_times(array).map_err(|fault| (0, fault))?;
    let names_no_zone = matches!(
        array.data_type(),
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64
    );
    if names_no_zone && *naive != Naive::Utc {
        let as_utc = instants(array, open, &Naive::Utc)?;
        return collect_instants(array, |row| naive.instant(as_utc[row]));
    }
    if !open && let Some(row) = first_null(array) {
        return Err((row, Fault::Missing));
    }
    let from_unit = |unit: TimeUnit| move |value: i64| micros_from_unit(value, unit);
    match array.data_type() {
        DataType::Timestamp(ArrowUnit::Microsecond, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            if array.null_count() == 0 {
                return Ok(values.clone().into());
            }
            each::<TimestampMicrosecondType>(array, from_unit(TimeUnit::Micro))
        }
        DataType::Timestamp(ArrowUnit::Second, _) => {
            each::<TimestampSecondType>(array, from_unit(TimeUnit::Second))
        }
        DataType::Timestamp(ArrowUnit::Millisecond, _) => {
            each::<TimestampMillisecondType>(array, from_unit(TimeUnit::Milli))
        }
        DataType::Timestamp(ArrowUnit::Nanosecond, _) => {
            each::<TimestampNanosecondType>(array, from_unit(TimeUnit::Nano))
        }
        DataType::Date32 => each::<Date32Type>(array, |days| {
            micros_from_unit(i64::from(days) * 86_400, TimeUnit::Second)
        }),
        DataType::Date64 => each::<Date64Type>(array, from_unit(TimeUnit::Milli)),
        DataType::Int64 => each::<Int64Type>(array, from_unit(TimeUnit::Second)),
        DataType::Int32 => each::<Int32Type>(array, |value| {
            micros_from_unit(value.into(), TimeUnit::Second)
        }),
        DataType::UInt32 => each::<UInt32Type>(array, |value| {
            micros_from_unit(value.into(), TimeUnit::Second)
        }),
        DataType::UInt64 => each::<UInt64Type>(array, |value| {
            let seconds = i64::try_from(value).map_err(|_| Fault::TimeOutOfRange)?;
            micros_from_unit(seconds, TimeUnit::Second)
        }),
        DataType::Float64 => each::<Float64Type>(array, micros_from_seconds),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = Text::new(array);
            collect_instants(array, |row| micros_from_text_in(text.get(row), naive))
        }
        other => Err((
            0,
            wrong_type(other, "timestamps, dates, epoch seconds or text"),
        )),
    }
}

fn each<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    micros: impl Fn(T::Native) -> Result<i64, Fault>,
) -> Result<Column<i64>, (usize, Fault)> {
    let values = array.as_primitive::<T>().values();
    collect_instants(array, |row| micros(values[row]))
}

fn collect_instants(
    array: &ArrayRef,
    micros: impl Fn(usize) -> Result<i64, Fault>,
) -> Result<Column<i64>, (usize, Fault)> {
    let instant = |row| match array.is_null(row) {
        true => Ok(OPEN),
        false => micros(row).map_err(|fault| (row, fault)),
    };
    Ok((0..array.len())
        .map(instant)
        .collect::<Result<Vec<i64>, _>>()?
        .into())
}

impl Scores {
    /// The columns of [`to_batch`](Self::to_batch).
    pub fn schema(&self) -> Arc<Schema> {
        let field = |column: &ScoreColumn| {
            let (kind, nullable) = match column {
                ScoreColumn::HolderId | ScoreColumn::TokenId | ScoreColumn::WeightedScoreExact => {
                    (DataType::Utf8, false)
                }
                ScoreColumn::TotalSeconds | ScoreColumn::WeightedScore => {
                    (DataType::Float64, false)
                }
                ScoreColumn::UpdatedAt => (utc_micros(), true),
            };
            ArrowField::new(column.name(), kind, nullable)
        };
        let fields: Vec<ArrowField> = self.columns().iter().map(field).collect();
        Arc::new(Schema::new(fields))
    }

    /// The rows as Arrow columns.
    ///
    /// # Errors
    /// [`HoldError::Argument`] when ids together are longer than Arrow's 2 GiB of text.
    pub fn to_batch(&self) -> Result<RecordBatch, HoldError> {
        let rows = 0..self.len();
        // All threads do this one, and then a column each.
        let exact = match self.columns().contains(&ScoreColumn::WeightedScoreExact) {
            true => self.exact_column()?,
            false => Texts::default().array()?,
        };
        let column = |column: &ScoreColumn| -> Result<ArrayRef, HoldError> {
            Ok(match column {
                ScoreColumn::HolderId => ids_of(&self.holders, self.keys.holders.as_deref())?,
                ScoreColumn::TokenId => ids_of(&self.tokens, self.keys.tokens.as_deref())?,
                ScoreColumn::TotalSeconds => Arc::new(Float64Array::from_iter_values(
                    rows.clone().map(|row| self.total_seconds(row)),
                )),
                ScoreColumn::WeightedScore => Arc::new(Float64Array::from_iter_values(
                    rows.clone().map(|row| self.weighted_score(row)),
                )),
                ScoreColumn::WeightedScoreExact => Arc::clone(&exact),
                ScoreColumn::UpdatedAt => Arc::new(
                    rows.clone()
                        .map(|row| self.updated_at(row))
                        .collect::<TimestampMicrosecondArray>()
                        .with_timezone("UTC"),
                ),
            })
        };
        let columns = self.columns();
        let threads = threads_for(None, self.len()).min(columns.len());
        let parts = in_threads(threads, |part| {
            let own = columns.iter().skip(part).step_by(threads);
            own.map(&column).collect::<Result<Vec<_>, _>>()
        });
        let mut parts = parts
            .into_iter()
            .map(|part| Ok(part?.into_iter()))
            .collect::<Result<Vec<_>, HoldError>>()?;
        let arrays = (0..columns.len()).filter_map(|place| parts[place % threads].next());
        RecordBatch::try_new(self.schema(), arrays.collect())
            .map_err(|error| HoldError::Argument(error.to_string()))
    }

    /// Threads share the rows: to write out every digit takes longer than all other columns.
    fn exact_column(&self) -> Result<ArrayRef, HoldError> {
        // As long as to add up so many rows.
        const WRITTEN: usize = 8;
        let threads = threads_for(None, self.len() * WRITTEN);
        let parts = in_threads(threads, |part| {
            Texts::of(share(self.len(), part, threads), |row, text| {
                self.weighted(row).write_decimal(self.digits, text);
            })
        });
        let all = parts.into_iter().reduce(|all, part| all?.then(&part?));
        all.unwrap_or_else(|| Ok(Texts::default()))?.array()
    }
}

pub(crate) fn utc_micros() -> DataType {
    DataType::Timestamp(ArrowUnit::Microsecond, Some("UTC".into()))
}

fn too_long() -> HoldError {
    HoldError::Argument(
        "the ids of this answer are longer than 2 GiB together; ask for fewer rows".into(),
    )
}

/// A column of ids by their codes.
fn ids_of(ids: &Ids, codes: Option<&[u32]>) -> Result<ArrayRef, HoldError> {
    let codes = codes.unwrap_or_default();
    let are_all = codes.len() == ids.len() && codes.iter().zip(0..).all(|(&code, all)| code == all);
    if !are_all {
        return strings(codes.iter().map(|&code| Some(ids.get(code))));
    }
    // Each once and in order, as in most answers: they are copied as one.
    i32::try_from(ids.text().len()).map_err(|_| too_long())?;
    Texts {
        ends: ids.ends().map(|end| end as i32).collect(), // none is beyond the text
        text: ids.text().to_owned(),
    }
    .array()
}

/// A column of text; `None` is the empty text (a key that the table has not).
pub(crate) fn strings<T: AsRef<str>>(
    values: impl Iterator<Item = Option<T>>,
) -> Result<ArrayRef, HoldError> {
    let texts = Texts::of(values, |value, text| {
        text.push_str(value.as_ref().map_or("", AsRef::as_ref));
    });
    texts?.array()
}

/// Texts of rows, one after the other.
#[derive(Default)]
struct Texts {
    text: String,
    /// Where the text of each row ends.
    ends: Vec<i32>,
}

impl Texts {
    /// Those that `write` appends for each value.
    fn of<T>(
        values: impl Iterator<Item = T>,
        write: impl Fn(T, &mut String),
    ) -> Result<Self, HoldError> {
        /// Bytes of a text, as a guess.
        const USUAL: usize = 20;
        let rows = values.size_hint().0;
        let mut texts = Texts {
            text: String::with_capacity(rows * USUAL),
            ends: Vec::with_capacity(rows),
        };
        for value in values {
            write(value, &mut texts.text);
            let end = i32::try_from(texts.text.len());
            texts.ends.push(end.map_err(|_| too_long())?);
        }
        Ok(texts)
    }

    /// The same rows and then others.
    fn then(mut self, other: &Texts) -> Result<Self, HoldError> {
        let before = i32::try_from(self.text.len()).map_err(|_| too_long())?;
        self.text.push_str(&other.text);
        for end in &other.ends {
            let end = end.checked_add(before).ok_or_else(too_long)?;
            self.ends.push(end);
        }
        Ok(self)
    }

    /// As a column.
    fn array(self) -> Result<ArrayRef, HoldError> {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend(self.ends);
        let offsets = OffsetBuffer::new(offsets.into());
        StringArray::try_new(offsets, Buffer::from_vec(self.text.into_bytes()), None)
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|error| HoldError::Argument(error.to_string()))
    }
}

/// The longest runs of [`longest_holds`](crate::longest_holds) as Arrow columns.
///
/// # Errors
/// As [`Scores::to_batch`].
pub fn runs_to_batch(holds: &Holds, runs: &[Run]) -> Result<RecordBatch, HoldError> {
    let micros = |instants: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(instants).with_timezone("UTC"))
    };
    let seconds = runs
        .iter()
        .map(|run| run.end.abs_diff(run.start) as f64 / 1e6);
    batch(vec![
        (
            "holder_id",
            strings(runs.iter().map(|run| Some(holds.holders.get(run.holder))))?,
        ),
        (
            "token_id",
            strings(runs.iter().map(|run| Some(holds.tokens.get(run.token))))?,
        ),
        ("start", micros(runs.iter().map(|run| run.start).collect())),
        ("end", micros(runs.iter().map(|run| run.end).collect())),
        ("seconds", Arc::new(Float64Array::from_iter_values(seconds))),
    ])
}

/// A batch of columns that have no nulls.
///
/// # Errors
/// [`HoldError::Argument`] for columns of different lengths.
pub fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, HoldError> {
    RecordBatch::try_from_iter(columns).map_err(|error| HoldError::Argument(error.to_string()))
}

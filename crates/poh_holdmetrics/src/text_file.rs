//! Rows of text files: CSV with a header, and JSON lines.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, ErrorKind, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Fault, HoldError};
use crate::query::Stop;
use crate::weight::excerpt;

/// Rows between two looks at whether to stop.
const PART: u64 = 4096;

/// A table that takes rows of text.
pub(crate) trait TextTable<const N: usize> {
    /// The columns or keys that it knows; others are not read.
    const NAMES: [&'static str; N];
    /// So many of them, the first ones, must be columns of a CSV file.
    const NEEDED: usize;

    /// Adds a row, in the order of `NAMES`; `None` is an empty field, or a key that is null or not
    /// there.
    fn add(&mut self, values: [Option<&str>; N]) -> Result<(), HoldError>;

    /// What is wrong with a value of the row that comes next.
    fn wrong(&self, column: usize, fault: Fault) -> HoldError;

    /// That a column that must be there is not.
    fn no_column(name: &'static str, found: &[&str]) -> HoldError;

    /// Called every so many rows.
    fn pause(&mut self) -> Result<(), HoldError> {
        Ok(())
    }
}

/// Adds the rows of comma-separated values with a header.
///
/// # Errors
/// [`HoldError::File`] for text that is no CSV or not UTF-8, and what the table refuses.
pub(crate) fn read_csv<const N: usize, T: TextTable<N>>(
    table: &mut T,
    input: impl Read,
    stop: &Stop,
) -> Result<(), HoldError> {
    let mut reader = csv::ReaderBuilder::new()
        .buffer_capacity(1 << 20)
        .from_reader(input);
    let header = reader.headers().map_err(csv_error)?.clone();
    let columns: Vec<&str> = header
        .iter()
        .map(|column| column.trim_start_matches('\u{feff}').trim())
        .collect();
    let mut places = [None; N];
    for (place, name) in places.iter_mut().zip(T::NAMES) {
        let mut found = (0..columns.len()).filter(|&at| columns[at] == name);
        *place = found.next();
        if found.next().is_some() {
            let what = format!("there are two columns \"{name}\"; leave one of them");
            return Err(HoldError::File(what));
        }
    }
    if let Some(missing) = (0..T::NEEDED).find(|&at| places[at].is_none()) {
        return Err(T::no_column(T::NAMES[missing], &columns));
    }
    let mut record = csv::StringRecord::new();
    for row in 0u64.. {
        if !reader.read_record(&mut record).map_err(csv_error)? {
            break;
        }
        if row.is_multiple_of(PART) {
            stop.check()?;
            table.pause()?;
        }
        let value = |place: Option<usize>| record.get(place?).filter(|value| !value.is_empty());
        table.add(places.map(value))?;
    }
    Ok(())
}

/// What is wrong with a CSV file, by its row (from 0, without the header): the reader's own line
/// numbers lag behind where lines end as on Windows.
fn csv_error(error: csv::Error) -> HoldError {
    let row = |at: &csv::Position| match at.record() {
        0 => "the header".to_owned(),
        record => format!("row {}", record - 1),
    };
    HoldError::File(match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos: Some(at),
            expected_len,
            len,
        } => format!(
            "{} has {len} fields, and the header {expected_len}",
            row(at)
        ),
        csv::ErrorKind::Utf8 { pos: Some(at), .. } => {
            format!("{} is not UTF-8 text; save the file as UTF-8", row(at))
        }
        _ => error.to_string(),
    })
}

/// Adds the rows of JSON objects, one a line. Numbers are read digit by digit, as text.
///
/// # Errors
/// [`HoldError::File`] for a line that is no JSON object, and what the table refuses.
pub(crate) fn read_json_lines<const N: usize, T: TextTable<N>>(
    table: &mut T,
    mut input: impl BufRead,
    stop: &Stop,
) -> Result<(), HoldError> {
    let mut text = String::new();
    for number in 1u64.. {
        text.clear();
        let wrong = |what: String| HoldError::File(format!("line {number}: {what}"));
        let bytes = input.read_line(&mut text).map_err(|error| {
            wrong(match error.kind() {
                ErrorKind::InvalidData => "it is not UTF-8 text; save the file as UTF-8".to_owned(),
                _ => error.to_string(),
            })
        })?;
        if bytes == 0 {
            break;
        }
        if number.is_multiple_of(PART) {
            stop.check()?;
            table.pause()?;
        }
        let mut line = text.trim_end();
        if number == 1 {
            line = line.trim_start_matches('\u{feff}'); // as Windows begins its files
        }
        if line.is_empty() {
            continue;
        }
        let parts = object(line, &T::NAMES).map_err(wrong)?;
        let mut values = [const { None }; N];
        for (column, part) in parts.into_iter().enumerate() {
            if let Some(part) = part.filter(|part| part.get() != "null") {
                let value = plain(part.get()).map_err(|fault| table.wrong(column, fault))?;
                values[column] = Some(value);
            }
        }
        table.add(values.each_ref().map(Option::as_deref))?;
    }
    Ok(())
}

/// The values of some keys of a JSON object, as they are written there.
fn object<'a, const N: usize>(
    line: &'a str,
    names: &[&'static str; N],
) -> Result<[Option<&'a RawValue>; N], String> {
    if !line.trim_start().starts_with('{') {
        return Err(format!(
            "{:?} is not a JSON object; every line is one, {{\"{}\": ..., \"{}\": ...}}",
            excerpt(line),
            names[0],
            names[1]
        ));
    }
    let mut reader = serde_json::Deserializer::from_str(line);
    let values = Object { names }.deserialize(&mut reader);
    let values = values.and_then(|values| reader.end().map(|()| values));
    values.map_err(|error| {
        if error.is_eof() {
            return "the object has no end; the file may be cut short".to_owned();
        }
        let text = error.to_string();
        let what = text.split(" at line ").next().unwrap_or_default();
        format!("column {}: {what}", error.column())
    })
}

struct Object<'n, const N: usize> {
    names: &'n [&'static str; N],
}

impl<'de, const N: usize> DeserializeSeed<'de> for Object<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Object<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(known) = map.next_key_seed(Key { names: self.names })? {
            let Some(column) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if values[column].replace(map.next_value()?).is_some() {
                let name = self.names[column];
                return Err(A::Error::custom(format_args!("\"{name}\" is there twice")));
            }
        }
        Ok(values)
    }
}

/// The place of a key among those that are known.
struct Key<'n, const N: usize> {
    names: &'n [&'static str; N],
}

impl<'de, const N: usize> DeserializeSeed<'de> for Key<'_, N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for Key<'_, N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.names.iter().position(|name| *name == key))
    }
}

/// A JSON string without its escapes, or the digits of a number.
fn plain(json: &str) -> Result<Cow<'_, str>, Fault> {
    match json.as_bytes().first() {
        Some(b'"') if !json.contains('\\') => Ok(Cow::Borrowed(&json[1..json.len() - 1])),
        Some(b'"') => serde_json::from_str(json)
            .map(Cow::Owned)
            .map_err(|_| Fault::Type("has half of a surrogate pair as an escape".to_owned())),
        Some(b'-' | b'0'..=b'9') => Ok(Cow::Borrowed(json)),
        _ => Err(Fault::Type(format!(
            "is {}; give a text or a number",
            excerpt(json)
        ))),
    }
}

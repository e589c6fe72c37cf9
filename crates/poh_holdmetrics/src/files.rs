//! Holds from files: CSV, JSON lines and Parquet.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::{Fault, Field, HoldError};
use crate::holds::{Columns, Holds};
use crate::parquet_file::ParquetFile;
use crate::query::{Counted, Stop};
use crate::text_file::{self, TextTable};
use crate::time::{OPEN, micros_from_text_in};
use crate::weight::Weight;

/// A format of files of holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Parquet.
    Parquet,
}

impl Format {
    /// The format that a file's name says.
    ///
    /// # Errors
    /// [`HoldError::Argument`] for a name that says none.
    pub fn of(path: &Path) -> Result<Format, HoldError> {
        let extension = path
            .extension()
            .map(|extension| extension.to_ascii_lowercase());
        match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Format::Csv),
            Some("jsonl" | "ndjson") => Ok(Format::JsonLines),
            Some("parquet" | "pq") => Ok(Format::Parquet),
            _ => Err(HoldError::Argument(format!(
                "{}: the name says no format; it ends in .csv, .jsonl, .ndjson or .parquet",
                path.display()
            ))),
        }
    }
}

pub(crate) const FIELDS: [Field; 5] = [
    Field::HolderId,
    Field::TokenId,
    Field::Start,
    Field::End,
    Field::Weight,
];

pub(crate) const NAMES: [&str; 5] = [
    Field::HolderId.name(),
    Field::TokenId.name(),
    Field::Start.name(),
    Field::End.name(),
    Field::Weight.name(),
];

impl Holds {
    /// Adds the holds of a file. Its columns or keys are `holder_id`, `token_id`, `start`, and
    /// maybe `end` and `weight`; others are not read.
    ///
    /// # Errors
    /// [`HoldError::File`] when the file can't be read or is not of its format;
    /// [`HoldError::InFile`] for a value that is not valid, with its row in the file.
    pub fn read_file(&mut self, path: &Path, stop: &Stop) -> Result<(), HoldError> {
        let first_row = self.len() as u64;
        let (format, file) = open(path)?;
        match format {
            Format::Csv => self.read_csv(Counted { file, stop }, stop),
            Format::JsonLines => self.read_json_lines(BufReader::new(Counted { file, stop }), stop),
            Format::Parquet => self.read_parquet(file, stop),
        }
        .map_err(|error| error.in_file(path, first_row))
    }

    /// Adds holds from comma-separated values with a header.
    ///
    /// # Errors
    /// [`HoldError::File`] for text that is no CSV, [`HoldError::Row`] for a value that is not valid.
    pub fn read_csv(&mut self, input: impl Read, stop: &Stop) -> Result<(), HoldError> {
        self.read_csv_in_parts(input, stop, |_| Ok(()))
    }

    /// As [`read_csv`](Self::read_csv); `part` is called every so many rows, and may take them.
    pub(crate) fn read_csv_in_parts(
        &mut self,
        input: impl Read,
        stop: &Stop,
        part: impl FnMut(&mut Holds) -> Result<(), HoldError>,
    ) -> Result<(), HoldError> {
        text_file::read_csv(&mut InParts { holds: self, part }, input, stop)
    }

    /// Adds holds from JSON objects, one a line. Numbers are read digit by digit, as text.
    ///
    /// # Errors
    /// [`HoldError::File`] for a line that is no JSON object, [`HoldError::Row`] for a value that is
    /// not valid.
    pub fn read_json_lines(&mut self, input: impl BufRead, stop: &Stop) -> Result<(), HoldError> {
        self.read_json_lines_in_parts(input, stop, |_| Ok(()))
    }

    /// As [`read_json_lines`](Self::read_json_lines); `part` is called every so many rows, and may
    /// take them.
    pub(crate) fn read_json_lines_in_parts(
        &mut self,
        input: impl BufRead,
        stop: &Stop,
        part: impl FnMut(&mut Holds) -> Result<(), HoldError>,
    ) -> Result<(), HoldError> {
        text_file::read_json_lines(&mut InParts { holds: self, part }, input, stop)
    }

    /// Adds the holds of a Parquet file; only the columns that are needed are read.
    ///
    /// # Errors
    /// [`HoldError::File`] for a file that is no Parquet or damaged, [`HoldError::Row`] for a value
    /// that is not valid.
    pub fn read_parquet(&mut self, file: File, stop: &Stop) -> Result<(), HoldError> {
        let parquet = ParquetFile::of(&file, Columns::ALL)?;
        parquet.each_batch(&file, (parquet.groups(), 1), stop, |batch| {
            self.append(&batch)?;
            // While it is known which file the rows are of.
            self.check_last()
        })
    }

    /// One hold as text; `None` is missing.
    fn push_text(
        &mut self,
        [holder, token, start, end, weight]: [Option<&str>; 5],
    ) -> Result<(), HoldError> {
        let row = self.len();
        let at = |field| move |fault: Fault| HoldError::row(row, field, fault);
        let missing = |field| move || HoldError::row(row, field, Fault::Missing);
        let holder = holder.ok_or_else(missing(Field::HolderId))?;
        let token = token.ok_or_else(missing(Field::TokenId))?;
        let start = start.ok_or_else(missing(Field::Start))?;
        let start = micros_from_text_in(start, &self.naive).map_err(at(Field::Start))?;
        // JSON may have an empty text in place of null.
        let end = match end {
            None | Some("") => OPEN,
            Some(text) => micros_from_text_in(text, &self.naive).map_err(at(Field::End))?,
        };
        let weight = match weight {
            None | Some("") => Weight::ONE,
            Some(text) => text.parse().map_err(at(Field::Weight))?,
        };
        self.push_row(holder, token, start, end, &weight)
    }
}

/// A table that hands its rows on every so often.
struct InParts<'a, F> {
    holds: &'a mut Holds,
    part: F,
}

impl<F: FnMut(&mut Holds) -> Result<(), HoldError>> TextTable<5> for InParts<'_, F> {
    const NAMES: [&'static str; 5] = NAMES;
    const NEEDED: usize = 3;

    fn add(&mut self, values: [Option<&str>; 5]) -> Result<(), HoldError> {
        self.holds.push_text(values)
    }

    fn wrong(&self, column: usize, fault: Fault) -> HoldError {
        HoldError::row(self.holds.len(), FIELDS[column], fault)
    }

    fn no_column(name: &'static str, found: &[&str]) -> HoldError {
        HoldError::no_column(name, found)
    }

    fn pause(&mut self) -> Result<(), HoldError> {
        (self.part)(self.holds)
    }
}

/// Opens a file whose name says its format.
///
/// # Errors
/// [`HoldError::Argument`] for a name that says none; [`HoldError::File`] when it can't be opened.
pub(crate) fn open(path: &Path) -> Result<(Format, File), HoldError> {
    let format = Format::of(path)?;
    match File::open(path) {
        Ok(file) => Ok((format, file)),
        Err(error) => Err(HoldError::File(error.to_string()).in_file(path, 0)),
    }
}

/// Writes a batch as a Parquet file (zstd).
///
/// # Errors
/// What the operating system says, as that the disk is full.
pub fn write_parquet(batch: &RecordBatch, file: File) -> Result<(), std::io::Error> {
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(Default::default()));
    let writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build()));
    let written = writer.and_then(|mut writer| {
        writer.write(batch)?;
        writer.close()
    });
    written.map(drop).map_err(|error| match error {
        // With the number of the error, which it has only itself.
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(other) => std::io::Error::other(other),
        },
        error => std::io::Error::other(error),
    })
}

//! Holds from files: CSV, JSON lines and Parquet.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Fault, Field, HoldError};
use crate::holds::Holds;
use crate::query::{Counted, Stop};
use crate::time::{OPEN, micros_from_text};
use crate::weight::{Weight, excerpt};

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

/// Rows of text between two looks at whether to stop.
const PART: usize = 4096;

pub(crate) const FIELDS: [Field; 5] = [
    Field::HolderId,
    Field::TokenId,
    Field::Start,
    Field::End,
    Field::Weight,
];

impl Holds {
    /// Adds the holds of a file. Its columns or keys are `holder_id`, `token_id`, `start`, and
    /// maybe `end` and `weight`; others are not read. Rows in errors count from 0 in this table.
    ///
    /// # Errors
    /// [`HoldError::File`] when the file can't be read or is not of its format;
    /// [`HoldError::Row`] for a value that is not valid.
    pub fn read_file(&mut self, path: &Path, stop: &Stop) -> Result<(), HoldError> {
        let named = |error: HoldError| match error {
            HoldError::Argument(what) | HoldError::File(what) => {
                HoldError::File(format!("{}: {what}", path.display()))
            }
            other => other,
        };
        let format = Format::of(path)?;
        let file = File::open(path).map_err(|error| named(HoldError::File(error.to_string())))?;
        match format {
            Format::Csv => self.read_csv(Counted { file, stop }, stop),
            Format::JsonLines => self.read_json_lines(BufReader::new(Counted { file, stop }), stop),
            Format::Parquet => self.read_parquet(file, stop),
        }
        .map_err(named)
    }

    /// Adds holds from comma-separated values with a header.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file).
    pub fn read_csv(&mut self, input: impl Read, stop: &Stop) -> Result<(), HoldError> {
        self.read_csv_in_parts(input, stop, |_| Ok(()))
    }

    /// As [`read_csv`](Self::read_csv); `part` is called every so many rows, and may take them.
    pub(crate) fn read_csv_in_parts(
        &mut self,
        input: impl Read,
        stop: &Stop,
        mut part: impl FnMut(&mut Holds) -> Result<(), HoldError>,
    ) -> Result<(), HoldError> {
        let mut reader = csv::ReaderBuilder::new()
            .buffer_capacity(1 << 20)
            .from_reader(input);
        let header = reader.headers().map_err(csv_error)?.clone();
        let place = |field: Field| {
            let name = field.to_string();
            header
                .iter()
                .position(|column| column.trim_start_matches('\u{feff}') == name)
        };
        let places = FIELDS.map(place);
        for (field, place) in FIELDS.iter().zip(places).take(3) {
            if place.is_none() {
                let columns: Vec<&str> = header.iter().collect();
                return Err(HoldError::File(format!(
                    "there is no column \"{field}\"; the columns are {}",
                    columns.join(", ")
                )));
            }
        }
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(csv_error)? {
            if self.len().is_multiple_of(PART) {
                stop.check()?;
                part(self)?;
            }
            let value = |at: usize| places[at].and_then(|place| record.get(place)).unwrap_or("");
            self.push_text([value(0), value(1), value(2), value(3), value(4)])?;
        }
        Ok(())
    }

    /// Adds holds from JSON objects, one a line. Numbers are read digit by digit, as text.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file).
    pub fn read_json_lines(&mut self, input: impl BufRead, stop: &Stop) -> Result<(), HoldError> {
        self.read_json_lines_in_parts(input, stop, |_| Ok(()))
    }

    /// As [`read_json_lines`](Self::read_json_lines); `part` is called every so many rows, and may
    /// take them.
    pub(crate) fn read_json_lines_in_parts(
        &mut self,
        mut input: impl BufRead,
        stop: &Stop,
        mut part: impl FnMut(&mut Holds) -> Result<(), HoldError>,
    ) -> Result<(), HoldError> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            holder_id: Option<&'a RawValue>,
            #[serde(borrow)]
            token_id: Option<&'a RawValue>,
            #[serde(borrow)]
            start: Option<&'a RawValue>,
            #[serde(borrow)]
            end: Option<&'a RawValue>,
            #[serde(borrow)]
            weight: Option<&'a RawValue>,
        }
        let mut text = String::new();
        for number in 1u64.. {
            text.clear();
            let wrong = |what: String| HoldError::File(format!("line {number}: {what}"));
            if input
                .read_line(&mut text)
                .map_err(|error| wrong(error.to_string()))?
                == 0
            {
                break;
            }
            if number % PART as u64 == 0 {
                stop.check()?;
                part(self)?;
            }
            if text.trim().is_empty() {
                continue;
            }
            let line: Line<'_> =
                serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            let row = self.len();
            let parts = [
                line.holder_id,
                line.token_id,
                line.start,
                line.end,
                line.weight,
            ];
            let mut values = [const { String::new() }; 5];
            for ((value, part), field) in values.iter_mut().zip(parts).zip(FIELDS) {
                if let Some(part) = part.filter(|part| part.get() != "null") {
                    *value = plain(part.get()).map_err(|fault| HoldError::Row {
                        row: row as u64,
                        field,
                        fault,
                    })?;
                }
            }
            self.push_text(values.each_ref().map(String::as_str))?;
        }
        Ok(())
    }

    /// Adds the holds of a Parquet file; only the columns that are needed are read.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file).
    pub fn read_parquet(&mut self, file: File, stop: &Stop) -> Result<(), HoldError> {
        let wrong = |error: String| HoldError::File(error);
        let size = file.metadata().map_or(0, |file| file.len());
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|error| wrong(error.to_string()))?;
        let rows = builder.metadata().file_metadata().num_rows().max(1) as f64;
        let names: Vec<String> = FIELDS.iter().map(ToString::to_string).collect();
        let mask =
            ProjectionMask::columns(builder.parquet_schema(), names.iter().map(String::as_str));
        let reader = builder
            .with_projection(mask)
            .with_batch_size(1 << 16)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        for batch in reader {
            stop.check()?;
            let batch = batch.map_err(|error| wrong(error.to_string()))?;
            stop.advance((size as f64 * batch.num_rows() as f64 / rows) as u64);
            self.append(&batch)?;
        }
        Ok(())
    }

    /// One hold as text, in the order of [`FIELDS`]; empty is missing.
    fn push_text(
        &mut self,
        [holder, token, start, end, weight]: [&str; 5],
    ) -> Result<(), HoldError> {
        let row = self.len();
        let at = |field| {
            move |fault: Fault| HoldError::Row {
                row: row as u64,
                field,
                fault,
            }
        };
        if start.is_empty() {
            return Err(at(Field::Start)(Fault::Missing));
        }
        let start = micros_from_text(start).map_err(at(Field::Start))?;
        let end = match end {
            "" => OPEN,
            text => micros_from_text(text).map_err(at(Field::End))?,
        };
        let weight = match weight {
            "" => Weight::ONE,
            text => text.parse().map_err(at(Field::Weight))?,
        };
        self.push_row(holder, token, start, end, &weight)
    }
}

/// Writes a batch as a Parquet file (zstd).
///
/// # Errors
/// [`HoldError::File`] when it can't be written.
pub fn write_parquet(batch: &RecordBatch, file: File) -> Result<(), HoldError> {
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(Default::default()));
    let writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build()));
    writer
        .and_then(|mut writer| {
            writer.write(batch)?;
            writer.close()
        })
        .map(|_| ())
        .map_err(|error| HoldError::File(error.to_string()))
}

/// A JSON string without its escapes, or the digits of a number.
pub(crate) fn plain(json: &str) -> Result<String, Fault> {
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).map_err(|error| Fault::Type(error.to_string())),
        Some(b'-' | b'0'..=b'9') => Ok(json.to_owned()),
        _ => Err(Fault::Type(format!(
            "is {}; give a text or a number",
            excerpt(json)
        ))),
    }
}

/// What is wrong with a CSV file, by its row (from 0, without the header): the reader's own line
/// numbers lag behind where lines end as on Windows.
pub(crate) fn csv_error(error: csv::Error) -> HoldError {
    HoldError::File(match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos: Some(at),
            expected_len,
            len,
        } => format!(
            "row {} has {len} fields, and the header {expected_len}",
            at.record().saturating_sub(1)
        ),
        _ => error.to_string(),
    })
}

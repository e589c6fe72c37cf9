//! Token transfer logs from files: CSV, JSON lines and Parquet, with ethereum-etl's columns.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ruint::aliases::U256;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Fault, HoldError};
use crate::files::{Format, csv_error, plain};
use crate::query::{Counted, Stop};
use crate::time::micros_from_text;
use crate::transfers::{COLUMNS, Transfer, Transfers, missing_column};
use crate::weight::{Rounding, Weight};

impl Transfers {
    /// Adds the logs of a file. Its columns or keys are those of ethereum-etl's token_transfers;
    /// others are not read. Logs in errors count from 0, over all files.
    ///
    /// # Errors
    /// [`HoldError::File`] when the file can't be read or is not of its format;
    /// [`HoldError::Transfer`] for a value that is not valid.
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

    /// Adds logs from comma-separated values with a header.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file).
    pub fn read_csv(&mut self, input: impl Read, stop: &Stop) -> Result<(), HoldError> {
        let mut reader = csv::ReaderBuilder::new()
            .buffer_capacity(1 << 20)
            .from_reader(input);
        let header = reader.headers().map_err(csv_error)?.clone();
        let places = COLUMNS.map(|name| {
            header
                .iter()
                .position(|column| column.trim_start_matches('\u{feff}') == name)
        });
        self.needs(|at| places[at].is_some())?;
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(csv_error)? {
            if self.len().is_multiple_of(4096) {
                stop.check()?;
            }
            self.push_text(places.map(|place| place.and_then(|at| record.get(at)).unwrap_or("")))?;
        }
        Ok(())
    }

    /// Adds logs from JSON objects, one a line. Numbers are read digit by digit, as text.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file).
    pub fn read_json_lines(
        &mut self,
        mut input: impl BufRead,
        stop: &Stop,
    ) -> Result<(), HoldError> {
        #[derive(Deserialize)]
        #[serde(bound(deserialize = "'de: 'a"))]
        struct Line<'a> {
            token_address: Option<&'a RawValue>,
            from_address: Option<&'a RawValue>,
            to_address: Option<&'a RawValue>,
            value: Option<&'a RawValue>,
            block_timestamp: Option<&'a RawValue>,
            block_number: Option<&'a RawValue>,
            log_index: Option<&'a RawValue>,
            token_id: Option<&'a RawValue>,
        }
        let mut text = String::new();
        for number in 1u64.. {
            text.clear();
            let wrong = |what: String| HoldError::File(format!("line {number}: {what}"));
            let bytes = input.read_line(&mut text);
            if bytes.map_err(|error| wrong(error.to_string()))? == 0 {
                break;
            }
            if number % 4096 == 0 {
                stop.check()?;
            }
            if text.trim().is_empty() {
                continue;
            }
            let line: Line<'_> =
                serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            let parts = [
                line.token_address,
                line.from_address,
                line.to_address,
                line.value,
                line.block_timestamp,
                line.block_number,
                line.log_index,
                line.token_id,
            ];
            let mut values = [const { String::new() }; COLUMNS.len()];
            for ((value, part), name) in values.iter_mut().zip(parts).zip(COLUMNS) {
                if let Some(part) = part.filter(|part| part.get() != "null") {
                    *value = plain(part.get()).map_err(|fault| self.wrong(name, &fault))?;
                }
            }
            self.push_text(values.each_ref().map(String::as_str))?;
        }
        Ok(())
    }

    /// Adds the logs of a Parquet file; only the columns that are needed are read.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file).
    pub fn read_parquet(&mut self, file: File, stop: &Stop) -> Result<(), HoldError> {
        let size = file.metadata().map_or(0, |file| file.len());
        let wrong = |error: String| HoldError::File(error);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|error| wrong(error.to_string()))?;
        let rows = builder.metadata().file_metadata().num_rows().max(1) as f64;
        let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
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

    /// One log as text, in the order of [`COLUMNS`]; empty is missing.
    fn push_text(&mut self, values: [&str; COLUMNS.len()]) -> Result<(), HoldError> {
        let needed = |at: usize| match values[at] {
            "" => Err(self.wrong(COLUMNS[at], &Fault::Missing)),
            text => Ok(text),
        };
        let whole = |at: usize| -> Result<U256, HoldError> {
            let number: Result<Weight, Fault> = needed(at)?.parse();
            number
                .and_then(|number| number.units_at(0, Rounding::Refuse))
                .map_err(|fault| self.wrong(COLUMNS[at], &fault))
        };
        let transfer = Transfer {
            token_address: needed(0)?,
            from_address: needed(1)?,
            to_address: needed(2)?,
            value: whole(3)?,
            at: micros_from_text(needed(4)?).map_err(|fault| self.wrong(COLUMNS[4], &fault))?,
            block_number: whole(5)?.saturating_to(),
            log_index: whole(6)?.saturating_to(),
            token_id: match values[7] {
                "" => None,
                _ => Some(whole(7)?),
            },
        };
        self.push(&transfer)
    }

    fn needs(&self, has: impl Fn(usize) -> bool) -> Result<(), HoldError> {
        match (0..COLUMNS.len() - 1).find(|&at| !has(at)) {
            Some(at) => Err(missing_column(COLUMNS[at])),
            None => Ok(()),
        }
    }

    /// What is wrong with a value of the log that comes next.
    fn wrong(&self, name: &str, fault: &Fault) -> HoldError {
        HoldError::Transfer {
            row: self.len() as u64,
            what: format!("{name} {fault}"),
        }
    }
}

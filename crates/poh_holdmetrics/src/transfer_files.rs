//! Token transfer logs from files: CSV, JSON lines and Parquet, with ethereum-etl's columns.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use ruint::aliases::U256;

use crate::error::{Fault, HoldError};
use crate::files::{Format, open};
use crate::parquet_file::each_batch_of;
use crate::query::{Counted, Stop};
use crate::text_file::{self, TextTable};
use crate::time::micros_from_text;
use crate::transfers::{COLUMNS, Transfer, Transfers, missing_column};
use crate::weight::{Rounding, Weight};

impl Transfers {
    /// Adds the logs of a file. Its columns or keys are those of ethereum-etl's token_transfers;
    /// others are not read.
    ///
    /// # Errors
    /// [`HoldError::File`] when the file can't be read or is not of its format;
    /// [`HoldError::InFile`] for a value that is not valid, with the number of its log in the file.
    pub fn read_file(&mut self, path: &Path, stop: &Stop) -> Result<(), HoldError> {
        let first_row = self.len();
        let (format, file) = open(path)?;
        match format {
            Format::Csv => self.read_csv(Counted { file, stop }, stop),
            Format::JsonLines => self.read_json_lines(BufReader::new(Counted { file, stop }), stop),
            Format::Parquet => self.read_parquet(file, stop),
        }
        .map_err(|error| error.in_file(path, first_row as u64))?;
        self.files.push((first_row..self.len(), path.to_owned()));
        Ok(())
    }

    /// Adds logs from comma-separated values with a header.
    ///
    /// # Errors
    /// [`HoldError::File`] for text that is no CSV, [`HoldError::Transfer`] for a value that is not
    /// valid.
    pub fn read_csv(&mut self, input: impl Read, stop: &Stop) -> Result<(), HoldError> {
        text_file::read_csv(self, input, stop)
    }

    /// Adds logs from JSON objects, one a line. Numbers are read digit by digit, as text.
    ///
    /// # Errors
    /// [`HoldError::File`] for a line that is no JSON object, [`HoldError::Transfer`] for a value
    /// that is not valid.
    pub fn read_json_lines(&mut self, input: impl BufRead, stop: &Stop) -> Result<(), HoldError> {
        text_file::read_json_lines(self, input, stop)
    }

    /// Adds the logs of a Parquet file; only the columns that are needed are read.
    ///
    /// # Errors
    /// [`HoldError::File`] for a file that is no Parquet or damaged, [`HoldError::Transfer`] for a
    /// value that is not valid.
    pub fn read_parquet(&mut self, file: File, stop: &Stop) -> Result<(), HoldError> {
        each_batch_of(file, &COLUMNS, stop, |batch| self.append(&batch))
    }
}

impl TextTable<{ COLUMNS.len() }> for Transfers {
    const NAMES: [&'static str; COLUMNS.len()] = COLUMNS;
    const NEEDED: usize = COLUMNS.len() - 1;

    fn add(&mut self, values: [Option<&str>; COLUMNS.len()]) -> Result<(), HoldError> {
        let needed = |at: usize| match values[at] {
            None | Some("") => Err(self.wrong(at, Fault::Missing)),
            Some(text) => Ok(text),
        };
        let whole = |at: usize| -> Result<U256, HoldError> {
            let number: Result<Weight, Fault> = needed(at)?.parse();
            number
                .and_then(|number| number.units_at(0, Rounding::Refuse))
                .map_err(|fault| self.wrong(at, fault))
        };
        let place = |at: usize| -> Result<u64, HoldError> {
            let number = whole(at)?;
            u64::try_from(number).map_err(|_| self.wrong(at, Fault::NoPlace(number.to_string())))
        };
        let transfer = Transfer {
            token_address: needed(0)?,
            from_address: needed(1)?,
            to_address: needed(2)?,
            value: whole(3)?,
            at: micros_from_text(needed(4)?).map_err(|fault| self.wrong(4, fault))?,
            block_number: place(5)?,
            log_index: place(6)?,
            token_id: match values[7] {
                None | Some("") => None,
                Some(_) => Some(whole(7)?),
            },
        };
        self.push(&transfer)
    }

    fn wrong(&self, column: usize, fault: Fault) -> HoldError {
        HoldError::Transfer {
            row: self.len() as u64,
            what: format!("{} {}", COLUMNS[column], fault.of_a_log()),
        }
    }

    fn no_column(name: &'static str, _found: &[&str]) -> HoldError {
        missing_column(name)
    }
}

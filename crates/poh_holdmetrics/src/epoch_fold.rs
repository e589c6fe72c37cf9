//! Scores by epoch of files of any length.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use crate::epoch_sums::{EpochSums, Windows};
use crate::error::HoldError;
use crate::files::{Format, NAMES, open};
use crate::fold::Fold;
use crate::holds::Holds;
use crate::parquet_file::each_batch_of;
use crate::query::{By, Counted, Query, Stop};
use crate::score::Halt;
use crate::scores::Scores;
use crate::spill::Spill;
use crate::time::Naive;
use crate::weight::Rounding;

/// One question to many windows of time, of holds that come from files.
///
/// Holds are kept until all are there: up to `memory` bytes of them, 24 to 56 a hold. Past it they
/// go to temporary files, in 64 parts by holder, of which one at a time comes back and is asked for
/// all windows at once, as [`score_epochs`](crate::score_epochs) does.
#[derive(Debug)]
pub struct EpochFold {
    holds: Holds,
    windows: Windows,
    memory: usize,
    spill: Option<Spill>,
    /// Rows that are in the temporary files.
    spilled: u64,
    digits: u8,
}

impl EpochFold {
    /// A question to the windows between `boundaries`, before the first hold.
    ///
    /// # Errors
    /// As [`score_epochs`](crate::score_epochs), and [`HoldError::Argument`] for a scale beyond 18.
    pub fn new(
        query: &Query,
        boundaries: &[i64],
        scale: u8,
        rounding: Rounding,
    ) -> Result<Self, HoldError> {
        Ok(EpochFold {
            holds: Holds::new(scale)?.with_rounding(rounding),
            windows: Windows::new(query, boundaries)?,
            memory: Fold::MEMORY,
            spill: None,
            spilled: 0,
            digits: 0,
        })
    }

    /// Keeps so many bytes of holds before they go to temporary files.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// How instants that name no time zone are read in files that are read from now on.
    pub fn read_naive(&mut self, naive: Naive) {
        self.holds.read_naive(naive);
    }

    /// Adds the holds of a file, as [`Holds::read_file`] does.
    ///
    /// # Errors
    /// As [`Holds::read_file`], and [`HoldError::File`] when temporary files can't be written.
    pub fn read_file(&mut self, path: &Path, stop: &Stop) -> Result<(), HoldError> {
        let (format, file) = open(path)?;
        let first_row = self.spilled + self.holds.len() as u64;
        let read = self.read_rows(format, file, stop);
        read.map_err(|error| error.after(self.spilled).in_file(path, first_row))
    }

    fn read_rows(&mut self, format: Format, file: File, stop: &Stop) -> Result<(), HoldError> {
        let EpochFold {
            holds,
            memory,
            spill,
            spilled,
            digits,
            ..
        } = self;
        let mut spill_if_many = |holds: &mut Holds| -> Result<(), HoldError> {
            if holds.bytes() >= *memory && !holds.is_empty() {
                *spilled += spill_all(holds, spill, digits, stop)?;
            }
            Ok(())
        };
        match format {
            Format::Csv => holds.read_csv_in_parts(Counted { file, stop }, stop, spill_if_many),
            Format::JsonLines => {
                let input = BufReader::new(Counted { file, stop });
                holds.read_json_lines_in_parts(input, stop, spill_if_many)
            }
            Format::Parquet => each_batch_of(file, &NAMES, stop, |batch| {
                holds.append(&batch)?;
                holds.check_last()?;
                spill_if_many(holds)
            }),
        }
    }

    /// The scores of each window, only of who held anything in it.
    ///
    /// # Errors
    /// As [`score`](crate::score) and [`read_file`](Self::read_file).
    pub fn finish(mut self, stop: &Stop) -> Result<Vec<Scores>, HoldError> {
        let (windows, by) = (&self.windows, self.windows.by());
        let named = |halt: Halt| halt.named(by, &self.holds.holders, &self.holds.tokens);
        let mut all = EpochSums::default();
        match self.spill.take() {
            None => {
                self.digits = self.holds.digits;
                let sums = windows.sums(self.holds.source(), self.digits, stop);
                all = sums.map_err(named)?;
            }
            Some(mut spill) => {
                self.holds.check()?;
                spill.take(&self.holds, stop)?;
                self.digits = self.digits.max(self.holds.digits);
                self.holds.chunks.clear();
                for part in 0..Spill::PARTS {
                    let id = |own: u32| match by {
                        By::Token => own,
                        By::Holder | By::Both => Spill::holder(part, own),
                    };
                    let chunks = spill.chunks_of(part, self.digits, &self.holds, stop)?;
                    let sums =
                        windows.sums(spill.source(part, &chunks, &self.holds), self.digits, stop);
                    let sums = sums.map_err(|halt| match halt {
                        Halt::TooLarge(own) => Halt::TooLarge(id(own as u32) as usize),
                        fault @ Halt::Fault(_) => fault,
                    });
                    sums.and_then(|sums| all.append(sums, id)).map_err(named)?;
                    if by == By::Token {
                        // Every part has holds of any token.
                        all = all.in_order().map_err(named)?;
                    }
                }
                all = all.in_order().map_err(named)?;
            }
        }
        let ids = (
            Arc::clone(&self.holds.holders),
            Arc::clone(&self.holds.tokens),
        );
        Ok(windows.scores(&all, &ids, self.digits))
    }
}

/// Moves all rows to temporary files; says how many.
fn spill_all(
    holds: &mut Holds,
    spill: &mut Option<Spill>,
    digits: &mut u8,
    stop: &Stop,
) -> Result<u64, HoldError> {
    holds.check()?;
    let spill = match spill {
        Some(spill) => spill,
        None => spill.insert(Spill::new()?),
    };
    spill.take(holds, stop)?;
    let rows = holds.len() as u64;
    *digits = (*digits).max(holds.digits);
    holds.chunks.clear();
    Ok(rows)
}

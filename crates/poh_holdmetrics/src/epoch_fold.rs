//! Scores by epoch of files of any length.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use crate::error::HoldError;
use crate::files::{Format, NAMES, open};
use crate::fold::Fold;
use crate::groups::Source;
use crate::holds::Holds;
use crate::parquet_file::each_batch_of;
use crate::query::{By, Counted, Query, Stop};
use crate::score::{Answer, Halt, Run, merged, score_until};
use crate::scores::{Scores, Sums};
use crate::spill::Spill;
use crate::tally::Tally;
use crate::threads::threads_for;
use crate::weight::Rounding;

/// One question to many windows of time, of holds that come from files.
///
/// Every window looks at every hold, so holds are kept: up to `memory` bytes of them, 24 to 56 a
/// hold. Past it they go to temporary files, in 64 parts by holder, of which one at a time comes
/// back and is asked for all windows. The rest is the answer itself, and where rows are tokens 32
/// bytes for each token and window.
#[derive(Debug)]
pub struct EpochFold {
    holds: Holds,
    queries: Vec<Query>,
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
    /// As [`score`](crate::score), and [`HoldError::Argument`] for a scale beyond 18.
    pub fn new(
        query: &Query,
        boundaries: &[i64],
        scale: u8,
        rounding: Rounding,
    ) -> Result<Self, HoldError> {
        let window = |ends: &[i64]| Query {
            start: Some(ends[0]),
            end: Some(ends[1]),
            ..query.clone()
        };
        let queries: Vec<Query> = boundaries.windows(2).map(window).collect();
        for query in &queries {
            Run::new(query, 0, &Stop::default())?;
        }
        Ok(EpochFold {
            holds: Holds::new(scale)?.with_rounding(rounding),
            queries,
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
        let Some(mut spill) = self.spill.take() else {
            let of_window = |query| Ok(score_until(&self.holds, query, stop)?.held());
            return self.queries.iter().map(of_window).collect();
        };
        self.holds.check()?;
        spill.take(&self.holds, stop)?;
        self.digits = self.digits.max(self.holds.digits);
        self.holds.chunks.clear();
        if self
            .queries
            .first()
            .is_some_and(|query| query.by == By::Token)
        {
            return self.tokens_of(&spill, stop);
        }
        let mut windows: Vec<Vec<Scores>> = vec![Vec::new(); self.queries.len()];
        for part in 0..Spill::PARTS {
            let chunks = spill.chunks_of(part, self.digits, &self.holds, stop)?;
            for (query, scores) in self.queries.iter().zip(&mut windows) {
                let source = spill.source(part, &chunks, &self.holds);
                let answer = self.answer(query, source, stop);
                let answer = answer.map_err(|halt| self.named(part, halt))?;
                let mut found = self.scores(answer, query).held();
                for key in &mut found.keys {
                    key.holder = key.holder.map(|own| Spill::holder(part, own));
                }
                scores.push(found);
            }
        }
        Ok(windows.into_iter().filter_map(joined).collect())
    }

    /// Every part has holds of any token, so their sums are added up.
    fn tokens_of(&self, spill: &Spill, stop: &Stop) -> Result<Vec<Scores>, HoldError> {
        let mut windows = vec![Tally::new(self.holds.tokens.len()); self.queries.len()];
        for part in 0..Spill::PARTS {
            let chunks = spill.chunks_of(part, self.digits, &self.holds, stop)?;
            for (query, all) in self.queries.iter().zip(&mut windows) {
                let source = spill.source(part, &chunks, &self.holds);
                let added = self.answer(query, source, stop).and_then(|answer| {
                    let (Answer::Slots(sums) | Answer::Pairs(_, sums)) = &answer;
                    Ok(all.merge(sums, |slot| slot)?)
                });
                added.map_err(|halt| {
                    halt.named(By::Token, &self.holds.holders, &self.holds.tokens)
                })?;
            }
        }
        let answers = self.queries.iter().zip(windows);
        Ok(answers
            .map(|(query, all)| self.scores(Answer::Slots(all), query).held())
            .collect())
    }

    fn answer(&self, query: &Query, source: Source<'_>, stop: &Stop) -> Result<Answer, Halt> {
        let run = Run::new(query, self.digits, stop)?;
        let threads = threads_for(query.threads, source.rows());
        if query.is_grouped() {
            return run.groups(source, threads);
        }
        let mut tallies = vec![Tally::default(); threads];
        run.lots(source, &mut tallies)?;
        Ok(Answer::Slots(merged(tallies)?))
    }

    fn scores(&self, answer: Answer, query: &Query) -> Scores {
        let ids = (
            Arc::clone(&self.holds.holders),
            Arc::clone(&self.holds.tokens),
        );
        answer.into_scores(query, ids, self.digits)
    }

    fn named(&self, part: usize, halt: Halt) -> HoldError {
        let halt = match halt {
            Halt::TooLarge(own) => Halt::TooLarge(Spill::holder(part, own as u32) as usize),
            fault => fault,
        };
        halt.named(By::Holder, &self.holds.holders, &self.holds.tokens)
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

/// The rows of all parts, in the order of their ids.
fn joined(parts: Vec<Scores>) -> Option<Scores> {
    let mut parts = parts.into_iter();
    let mut all = parts.next()?;
    for part in parts {
        all.weighted = match (all.weighted, part.weighted) {
            (Sums::Narrow(mut sums), Sums::Narrow(more)) => {
                sums.extend(more);
                Sums::Narrow(sums)
            }
            (sums, more) => Sums::Wide([sums.widened(), more.widened()].concat()),
        };
        all.keys.extend(part.keys);
        all.micros.extend(part.micros);
        all.updated.extend(part.updated);
    }
    let mut rows: Vec<usize> = (0..all.len()).collect();
    rows.sort_unstable_by_key(|&row| (all.keys[row].holder, all.keys[row].token));
    Some(all.take(&rows))
}

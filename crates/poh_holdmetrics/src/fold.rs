//! Scores of holds that come in batches and are not kept: of files and streams of any length.

use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::{iter, mem, thread};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;

use crate::arrow::{Dictionary, Text, no_column};
use crate::error::{Field, HoldError};
use crate::files::{Format, open};
use crate::holds::{Columns, Holds};
use crate::id_sums::{IdSums, MOST_SUM};
use crate::ids::Ids;
use crate::parquet_file::ParquetFile;
use crate::query::{By, Counted, Overlap, Query, Stop};
use crate::score::{Answer, Halt, Run, merged};
use crate::scores::Scores;
use crate::spill::Spill;
use crate::tally::{Tally, TooLarge};
use crate::threads::{in_parts, in_threads_with, part_of, threads_for};
use crate::time::Naive;
use crate::weight::Rounding;

/// Rows that are worth threads to add them up; fewer are gathered first.
const ROWS_TO_FOLD: usize = 1 << 20;

/// Rows of a batch that are made ready and added up before the next ones: what is made of them
/// stays in the second cache.
const SLICE: usize = 1 << 15;

/// A question whose answer grows with each batch of holds.
///
/// Where lots add up and rows are holders or tokens, only sums are kept: memory grows with the
/// number of holders (tokens), not with that of holds. With [`Overlap::Union`] and [`Overlap::Max`],
/// and for pairs, holds of one holder and token have to meet: up to `memory` bytes of them are kept,
/// 20 to 56 a hold, and while they are grouped about as many again; past it they go to temporary
/// files, in 64 parts by holder, of which one at a time comes back.
///
/// Columns that the question does not ask for are not read: the token unless rows meet or are
/// tokens, the weight with [`Overlap::Union`].
///
/// ```
/// use poh_holdmetrics::{Fold, HoldEvent, Holds, Query, Rounding, Stop};
///
/// let mut fold = Fold::new(Query::at(60_000_000), 9, Rounding::Refuse)?;
/// for day in 0..3 {
///     let mut holds = Holds::new(9)?;
///     holds.push(&HoldEvent::new("punk-7", "alice", day, Some(10_000_000 + day), "2.5".parse()?)?)?;
///     fold.push(&holds.to_batch(None)?, &Stop::default())?;
/// }
/// let scores = fold.finish(&Stop::default())?;
/// assert_eq!(scores.weighted_exact(0), "75");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Fold {
    /// The rows that were not folded yet, and all ids.
    holds: Holds,
    folded: Folded,
    /// Which rows are of which file.
    files: Vec<(Range<u64>, PathBuf)>,
    /// Batches that were not folded yet, and how many rows they have.
    waiting: (Vec<RecordBatch>, usize),
    /// Sums of ids that have no code yet, where the question goes without.
    by_text: Option<ByText>,
    /// What other threads have added up so far, each with ids of its own.
    others: Vec<Fold>,
    /// The first row of each part that this thread took, and how many ids there were after it: with
    /// them, the ids of all threads can be put in the order of their first row.
    parts: Vec<(u64, usize)>,
    /// The Parquet file that this thread reads.
    reads: Option<File>,
}

/// Sums that were added up by the text of ids.
#[derive(Debug, Default)]
struct ByText {
    sums: IdSums,
    /// The codes of those that have one.
    codes: Vec<u32>,
    /// Digits of the weights.
    digits: u8,
}

/// What has become of the rows so far.
#[derive(Debug)]
struct Folded {
    query: Query,
    memory: usize,
    /// Rows that are in the sums or spilled.
    rows: u64,
    /// The sums of each thread, of weights of `digits`.
    tallies: Vec<Tally>,
    digits: u8,
    spill: Option<Spill>,
}

impl Fold {
    /// Bytes of holds that are kept before they go to temporary files, where nothing else was said.
    pub const MEMORY: usize = 1 << 30;

    /// A question before the first hold; weights keep `scale` digits after the decimal point.
    ///
    /// # Errors
    /// [`HoldError::Argument`] as for [`score`](crate::score), and for a scale beyond 18.
    pub fn new(query: Query, scale: u8, rounding: Rounding) -> Result<Self, HoldError> {
        let mut holds = Holds::new(scale)?.with_rounding(rounding);
        Run::new(&query, 0, &Stop::default())?;
        holds.columns = Columns {
            holder: query.is_grouped() || query.by == By::Holder,
            token: query.is_grouped() || query.by == By::Token,
            weight: query.overlap != Overlap::Union,
        };
        let adds_alone = !query.is_grouped() && !query.has_times() && query.boost.is_none();
        Ok(Fold {
            holds,
            by_text: adds_alone.then(ByText::default),
            waiting: (Vec::new(), 0),
            others: Vec::new(),
            parts: Vec::new(),
            reads: None,
            folded: Folded {
                query,
                memory: Self::MEMORY,
                rows: 0,
                tallies: Vec::new(),
                digits: 0,
                spill: None,
            },
            files: Vec::new(),
        })
    }

    /// Keeps so many bytes of holds before they go to temporary files.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        self.folded.memory = bytes;
        self
    }

    /// How instants that name no time zone are read in what is added from now on.
    pub fn read_naive(&mut self, naive: Naive) {
        for other in &mut self.others {
            other.holds.read_naive(naive.clone());
        }
        self.holds.read_naive(naive);
    }

    /// The number of holds so far.
    pub fn rows(&self) -> u64 {
        self.folded.rows + (self.holds.len() + self.waiting.1) as u64
    }

    /// Adds the holds of a batch, with the columns of [`Holds::append`]. Small batches wait for
    /// others, so that what is wrong with one may be told later, at the latest by
    /// [`finish`](Self::finish).
    ///
    /// # Errors
    /// As [`Holds::append`] and [`score`](crate::score); [`HoldError::File`] when temporary files
    /// can't be written. The fold is then of no more use.
    pub fn push(&mut self, batch: &RecordBatch, stop: &Stop) -> Result<(), HoldError> {
        // Not read where nobody asks for it, but a table without it is no table of holds.
        if batch.column_by_name(&Field::TokenId.to_string()).is_none() {
            return Err(no_column(Field::TokenId, &batch.schema()));
        }
        if self.folded.query.is_grouped() {
            let result = self.holds.append(batch);
            let result = result.and_then(|()| self.folded.take_if_many(&mut self.holds, stop));
            return result.map_err(|error| error.after(self.folded.rows));
        }
        let (batches, rows) = &mut self.waiting;
        batches.push(batch.clone());
        *rows += batch.num_rows();
        if *rows >= ROWS_TO_FOLD {
            self.fold_waiting(stop)?;
        }
        Ok(())
    }

    /// Threads share the rows that wait.
    fn fold_waiting(&mut self, stop: &Stop) -> Result<(), HoldError> {
        let (batches, rows) = mem::take(&mut self.waiting);
        if rows == 0 {
            return Ok(());
        }
        let threads = threads_for(self.folded.query.threads, rows);
        self.have_others(threads)?;
        if let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) {
            self.share_dictionaries(batch);
        }
        let has_same_ids = self.has_ids_of(&self.others) && !self.ids().is_empty();
        let is_text = |batch: &RecordBatch| self.text_of_ids(batch).is_some();
        let go_by_text = batches.iter().all(is_text);
        // Codes of threads that do not have the same ids are fewer to put in order after one part each.
        let size = |left| match has_same_ids || go_by_text {
            true => part_of(left, threads),
            false => rows.div_ceil(threads),
        };
        let first = |row| row as u64;
        self.in_parts(threads, (rows, size), first, stop, |fold, part| {
            fold.fold_slices(&batches, part, stop)
        })
    }

    /// Adds up some rows of batches, slice by slice, on this thread.
    fn fold_slices(
        &mut self,
        batches: &[RecordBatch],
        rows: Range<usize>,
        stop: &Stop,
    ) -> Result<(), HoldError> {
        let mut first = 0;
        for batch in batches {
            let last = first + batch.num_rows();
            let (from, to) = (rows.start.max(first), rows.end.min(last));
            for at in (from..to.max(from)).step_by(SLICE) {
                let rows = (to - at).min(SLICE);
                self.fold_batch(&batch.slice(at - first, rows), stop)?;
            }
            first = last;
        }
        Ok(())
    }

    /// Adds up the rows of text files that were not yet.
    fn fold_rows(&mut self, stop: &Stop) -> Result<(), HoldError> {
        let threads = threads_for(self.folded.query.threads, self.holds.len());
        let result = self.folded.take(&mut self.holds, threads, stop);
        result.map_err(|error| error.after(self.folded.rows))
    }

    /// Adds up a batch at once, on this thread.
    fn fold_batch(&mut self, batch: &RecordBatch, stop: &Stop) -> Result<(), HoldError> {
        let result = self.fold_by_text(batch, stop);
        let rows = result.map_err(|error| error.after(self.folded.rows))?;
        self.folded.rows += rows as u64;
        if rows == batch.num_rows() {
            return Ok(());
        }
        self.name_by_text();
        let result = self
            .holds
            .append(&batch.slice(rows, batch.num_rows() - rows));
        let result = result.and_then(|()| self.folded.take(&mut self.holds, 1, stop));
        result.map_err(|error| error.after(self.folded.rows))
    }

    /// The column that slots are of, where rows do not have to meet.
    fn field(&self) -> Field {
        match self.folded.query.by {
            By::Token => Field::TokenId,
            By::Holder | By::Both => Field::HolderId,
        }
    }

    /// The ids of rows that are added up by their text.
    fn text_of_ids<'a>(&self, batch: &'a RecordBatch) -> Option<Text<'a>> {
        self.by_text.as_ref()?;
        Text::of_ids(batch.column_by_name(self.field().name())?)
    }

    /// Adds up rows by the text of their ids: as many of the first ones as can be, and says how many.
    fn fold_by_text(&mut self, batch: &RecordBatch, stop: &Stop) -> Result<usize, HoldError> {
        let Some(before) = self.by_text.as_ref().map(|own| own.digits) else {
            return Ok(0);
        };
        let Some(ids) = self.text_of_ids(batch) else {
            return Ok(0);
        };
        stop.check()?;
        self.holds.append_without(batch, Some(self.field()))?;
        self.folded.agree_on_digits(&mut self.holds)?;
        let digits = self.folded.digits;
        if before != digits {
            self.settle_by_text()?;
        }
        let chunk = self.holds.chunks.pop();
        let (Some(chunk), Some(own)) = (chunk, &mut self.by_text) else {
            return Ok(0);
        };
        own.digits = digits;
        own.sums.suit(&ids);
        let run = Run::new(&self.folded.query, digits, stop)?;
        let rows = match &mut own.sums {
            IdSums::Short(sums) => run.lots_by_text(&chunk, &ids, sums)?,
            IdSums::Long(sums) => run.lots_by_text(&chunk, &ids, sums)?,
        };
        if rows == 0 {
            // Nor will the next ones: they would only be looked at twice. Unless these are the first that are
            // longer than those of before.
            let is_longer = matches!(own.sums, IdSums::Short(_)) && !ids.are_short();
            let is_first = self.folded.tallies.is_empty();
            self.settle_by_text()?;
            self.by_text = self.by_text.take().filter(|_| is_longer && is_first);
        }
        Ok(rows)
    }

    /// Gives codes to ids that were added to by their text and have none yet: new ones come after those of
    /// before.
    fn name_by_text(&mut self) {
        let is_new = |own: &ByText| own.codes.len() < own.sums.len();
        if let Some(mut own) = self.by_text.take_if(|own| is_new(own)) {
            let ids = Arc::make_mut(self.ids_mut());
            own.sums.name(ids, &mut own.codes);
            self.by_text = Some(own);
        }
    }

    /// Whether as many ids have codes as there are of the sums by text: no others came before or between.
    fn has_only_by_text(&self) -> bool {
        let named = |own: &ByText| own.codes.len() == self.ids().len();
        self.by_text.as_ref().is_some_and(named)
    }

    /// How many ids there are, with those that have no code yet.
    fn count_ids(&mut self) -> usize {
        match &self.by_text {
            Some(own) if self.has_only_by_text() => own.sums.len(),
            _ => {
                self.name_by_text();
                self.ids().len()
            }
        }
    }

    /// Takes in the sums by text of other threads, where these are all that they have; parts are in the order
    /// of their rows.
    fn take_by_text(&mut self, others: &mut Vec<Fold>, parts: &[(u64, usize, usize)]) {
        let Some(own) = &self.by_text else {
            return;
        };
        let digits = self.folded.digits;
        let is_like = |fold: &Fold| {
            let theirs = fold.by_text.as_ref();
            theirs.is_some_and(|theirs| {
                // A thread that had no part knows nothing of digits.
                let has_digits = theirs.digits == digits || theirs.sums.len() == 0;
                has_digits && own.sums.can_take_in(&theirs.sums)
            }) && fold.ids().is_empty()
                && fold.folded.tallies.is_empty()
        };
        if others.is_empty() || !is_like(self) || !others.iter().all(is_like) {
            return;
        }
        let theirs = others.iter().filter_map(|other| other.by_text.as_ref());
        let bounds = iter::once(own).chain(theirs).map(|own| own.sums.bound());
        let bound = bounds.fold(0, u128::saturating_add);
        if bound > MOST_SUM {
            return;
        }
        let parts: Vec<(usize, usize)> = parts
            .iter()
            .map(|&(_, thread, ids)| (thread, ids))
            .collect();
        let own = self.by_text.as_mut().map(mem::take);
        let theirs = mem::take(others)
            .into_iter()
            .filter_map(|other| other.by_text);
        let (ids, sums) =
            IdSums::together(own.into_iter().chain(theirs).map(|own| own.sums), &parts);
        *self.ids_mut() = Arc::new(ids);
        self.folded.tallies.push(Tally::of_plain(sums));
    }

    /// Moves the sums by text to those of codes.
    fn settle_by_text(&mut self) -> Result<(), HoldError> {
        self.name_by_text();
        let any = |own: &&mut ByText| own.sums.len() > 0;
        let Some(own) = self.by_text.as_mut().filter(any).map(mem::take) else {
            return Ok(());
        };
        let mut tally = Tally::of_plain(own.sums.sums());
        let mut moved = Ok(());
        if own
            .codes
            .iter()
            .zip(0..)
            .any(|(&code, number)| code != number)
        {
            let by_number = mem::take(&mut tally);
            let slots = self.ids().len();
            moved = tally.merge(&by_number, slots, |number| own.codes[number] as usize);
        }
        if self.folded.digits > own.digits {
            let more = u32::from(self.folded.digits - own.digits);
            moved = moved.and_then(|()| tally.scale(10u64.pow(more)));
        }
        moved.map_err(|error| self.folded.named(error.into(), &self.holds))?;
        self.folded.tallies.push(tally);
        Ok(())
    }

    /// Makes folds for other threads, where there are not as many yet.
    fn have_others(&mut self, threads: usize) -> Result<(), HoldError> {
        while self.others.len() + 1 < threads {
            let query = self.folded.query.clone();
            let mut other = Fold::new(query, self.holds.scale, self.holds.rounding)?;
            other.holds.read_naive(self.holds.naive.clone());
            self.others.push(other);
        }
        Ok(())
    }

    /// Takes the ids of a batch's dictionaries in once for all threads. Those that had none, or the same as
    /// this one, then have the same.
    fn share_dictionaries(&mut self, batch: &RecordBatch) {
        for field in [Field::HolderId, Field::TokenId] {
            if field == Field::TokenId && !self.holds.columns.token {
                continue;
            }
            let Some(array) = batch.column_by_name(field.name()) else {
                continue; // which is a fault that the first thread finds
            };
            let (_, known) = self.holds.ids_of(field);
            let is_known = known
                .as_ref()
                .is_some_and(|known| known.is_of_column(array));
            if array.as_any_dictionary_opt().is_none() || is_known {
                continue;
            }
            // Ids that came before have smaller codes.
            self.name_by_text();
            self.others.iter_mut().for_each(Fold::name_by_text);
            let (ids, known) = self.holds.ids_of(field);
            // Who has the same ids lets go of them, so that they need not be copied to be changed.
            for other in &mut self.others {
                let (theirs, _) = other.holds.ids_of(field);
                if Arc::ptr_eq(theirs, ids) {
                    *theirs = Arc::default();
                }
            }
            if let Some(dictionary) = Dictionary::of(array, ids) {
                *known = Some(dictionary);
            }
            for other in &mut self.others {
                let (theirs, their_dictionary) = other.holds.ids_of(field);
                if theirs.is_empty() {
                    *theirs = Arc::clone(ids);
                    their_dictionary.clone_from(known);
                }
            }
        }
    }

    /// Threads do the next parts, of which there are so many, as many at a time as `size` says of those that
    /// are left; `first` says how many rows come before a part, or before what comes after all of them.
    fn in_parts(
        &mut self,
        threads: usize,
        (parts, size): (usize, impl Fn(usize) -> usize + Sync),
        first: impl Fn(usize) -> u64 + Sync,
        stop: &Stop,
        work: impl Fn(&mut Fold, Range<usize>) -> Result<(), HoldError> + Sync,
    ) -> Result<(), HoldError> {
        self.fold_rows(stop)?;
        let begun = self.folded.rows;
        self.have_others(threads)?;
        let mut others = mem::take(&mut self.others);
        let folds = iter::once(&mut *self).chain(&mut others);
        let mut folds: Vec<&mut Fold> = folds.take(threads).collect();
        in_parts(
            &mut folds,
            parts,
            size,
            |fold, part| -> Result<_, HoldError> {
                let row = begun + first(part.start);
                fold.folded.rows = row;
                work(fold, part)?;
                let ids = fold.count_ids();
                fold.parts.push((row, ids));
                Ok(())
            },
        )?;
        self.others = others;
        self.folded.rows = begun + first(parts);
        Ok(())
    }

    /// The ids that slots are of, where rows do not have to meet.
    fn ids(&self) -> &Arc<Ids> {
        match self.folded.query.by {
            By::Token => &self.holds.tokens,
            By::Holder | By::Both => &self.holds.holders,
        }
    }

    fn ids_mut(&mut self) -> &mut Arc<Ids> {
        match self.folded.query.by {
            By::Token => &mut self.holds.tokens,
            By::Holder | By::Both => &mut self.holds.holders,
        }
    }

    /// Whether others have the very ids that this one has.
    fn has_ids_of(&self, others: &[Fold]) -> bool {
        let is_same = |other: &Fold| Arc::ptr_eq(other.ids(), self.ids());
        others.iter().all(is_same)
    }

    /// Puts the sums of all threads into this one's, and all ids in the order of their first row.
    fn settle(&mut self) -> Result<(), HoldError> {
        let mut others = mem::take(&mut self.others);
        let parts = mem::take(&mut self.parts);
        let theirs = others.iter().map(|other| &other.parts);
        let threads = iter::once(&parts).chain(theirs).enumerate();
        let mut parts: Vec<(u64, usize, usize)> = threads
            .flat_map(|(thread, parts)| parts.iter().map(move |&(row, ids)| (row, thread, ids)))
            .collect();
        parts.sort_by_key(|&(row, _, _)| row);
        self.take_by_text(&mut others, &parts);
        let folds = iter::once(&mut *self).chain(&mut others);
        let mut folds: Vec<&mut Fold> = folds.collect();
        let settled = in_threads_with(&mut folds, |_, fold| fold.settle_by_text());
        settled.into_iter().collect::<Result<(), _>>()?;
        if others.is_empty() {
            return Ok(());
        }
        let most = |digits: u8, fold: &Fold| digits.max(fold.folded.digits);
        let digits = others.iter().fold(self.folded.digits, most);
        if self.has_ids_of(&others) {
            let all = Arc::clone(self.ids());
            let places = vec![None; 1 + others.len()];
            self.folded.tallies = vec![self.sum(&mut others, digits, &all, &places)?];
            return Ok(());
        }
        let mut all = Ids::default();
        let mut places: Vec<Option<Vec<u32>>> = vec![Some(Vec::new()); 1 + others.len()];
        if parts
            .first()
            .is_some_and(|&(_, thread, ids)| (thread, ids) == (0, self.ids().len()))
        {
            // All of this thread's come before those of others: they have their codes already. What could
            // be wrong with one is told before they are taken.
            self.folded.use_digits(digits, &self.holds)?;
            all = Arc::unwrap_or_clone(mem::take(self.ids_mut()));
            places[0] = None;
        }
        for (_, thread, ids) in parts {
            let theirs = match thread {
                0 => self.ids(),
                other => others[other - 1].ids(),
            };
            if let Some(places) = &mut places[thread] {
                all.take_in(theirs, ids, places);
            }
        }
        let sum = self.sum(&mut others, digits, &all, &places)?;
        *self.ids_mut() = Arc::new(all);
        self.holds.dictionaries = [None, None]; // they have the codes of before
        self.folded.tallies = vec![sum];
        Ok(())
    }

    /// The sums of all threads in one, in weights of `digits`, by the codes of `all`; `places` says
    /// for each thread what code its own codes are there, or that they are the same.
    fn sum(
        &mut self,
        others: &mut [Fold],
        digits: u8,
        all: &Ids,
        places: &[Option<Vec<u32>>],
    ) -> Result<Tally, HoldError> {
        let mut sum = Tally::default();
        let by = self.folded.query.by;
        for (fold, places) in iter::once(self).chain(others).zip(places) {
            fold.folded.use_digits(digits, &fold.holds)?;
            for tally in mem::take(&mut fold.folded.tallies) {
                if places.is_none() && sum.slots() == 0 {
                    sum = tally;
                    continue;
                }
                let slots = all.len();
                let added = match places {
                    Some(places) => sum.merge(&tally, slots, |slot| places[slot] as usize),
                    None => sum.merge(&tally, slots, |slot| slot),
                };
                added.map_err(|TooLarge(slot)| Halt::TooLarge(slot).named(by, all, all))?;
            }
        }
        Ok(sum)
    }

    /// Adds the holds of a file, as [`Holds::read_file`] does.
    ///
    /// # Errors
    /// As [`Holds::read_file`] and [`push`](Self::push).
    pub fn read_file(&mut self, path: &Path, stop: &Stop) -> Result<(), HoldError> {
        let (format, file) = open(path)?;
        let before = self.rows();
        let result = match format {
            Format::Parquet => self.read_parquet(path, stop),
            Format::Csv | Format::JsonLines => self.read_text(format, file, stop),
        };
        // Rows that are not in the sums yet are looked at later: their file is still known then.
        self.files.push((before..self.rows(), path.to_owned()));
        result.map_err(|error| match error {
            HoldError::Row { row, .. } if row < before => self.in_its_file(error),
            error => error.in_file(path, before),
        })
    }

    fn read_text(&mut self, format: Format, file: File, stop: &Stop) -> Result<(), HoldError> {
        self.fold_waiting(stop)?;
        self.settle()?;
        let Fold { holds, folded, .. } = self;
        let input = Counted { file, stop };
        let part = |holds: &mut Holds| folded.take_if_many(holds, stop);
        let result = match format {
            Format::Csv => holds.read_csv_in_parts(input, stop, part),
            _ => holds.read_json_lines_in_parts(BufReader::new(input), stop, part),
        };
        result.map_err(|error| error.after(self.folded.rows))
    }

    /// The error of a row, with the file that it is of.
    fn in_its_file(&self, error: HoldError) -> HoldError {
        let HoldError::Row { row, .. } = &error else {
            return error;
        };
        match self.files.iter().find(|(rows, _)| rows.contains(row)) {
            Some((rows, path)) => error.in_file(path, rows.start),
            None => error,
        }
    }

    /// Threads take row group by row group, each into sums of its own. Rows that have to
    /// meet are read by one thread while another takes them.
    fn read_parquet(&mut self, path: &Path, stop: &Stop) -> Result<(), HoldError> {
        let opened = || File::open(path).map_err(|error| HoldError::File(error.to_string()));
        let file = ParquetFile::of(&opened()?, self.holds.columns)?;
        if self.folded.query.is_grouped() {
            return self.read_behind(&file, &opened()?, stop);
        }
        self.fold_waiting(stop)?;
        let threads = threads_for(self.folded.query.threads, file.rows());
        let firsts = file.first_rows();
        self.reads = None;
        for other in &mut self.others {
            other.reads = None;
        }
        let groups = (file.groups().len(), |_| 1);
        self.in_parts(
            threads,
            groups,
            |group| firsts[group],
            stop,
            |fold, groups| {
                let reads = fold.reads.take().map_or_else(opened, Ok)?;
                file.each_batch(&reads, (groups, threads), stop, |batch| {
                    fold.fold_batch(&batch, stop)
                })?;
                fold.reads = Some(reads);
                Ok(())
            },
        )
    }

    fn read_behind(
        &mut self,
        file: &ParquetFile,
        opened: &File,
        stop: &Stop,
    ) -> Result<(), HoldError> {
        const BATCHES_AHEAD: usize = 4;
        thread::scope(|scope| {
            let (ahead, batches) = sync_channel(BATCHES_AHEAD);
            let reader = scope.spawn(move || {
                file.each_batch(opened, (file.groups(), 1), stop, |batch| {
                    // Nobody listens any more: what went wrong is told there.
                    ahead.send(batch).map_err(|_| HoldError::Interrupted)
                })
            });
            let pushed = batches.iter().try_for_each(|batch| self.push(&batch, stop));
            drop(batches);
            let read = reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            pushed.and(read)
        })
    }

    /// The scores of all holds.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(mut self, stop: &Stop) -> Result<Scores, HoldError> {
        self.fold_waiting(stop)?;
        self.settle()?;
        let Fold { holds, folded, .. } = &mut self;
        let result = match (folded.query.is_grouped(), &folded.spill) {
            (false, _) => folded.finish_sums(holds, stop),
            (true, None) => folded.finish_groups(holds, stop),
            (true, Some(_)) => folded.finish_spilled(holds, stop),
        };
        let rows = folded.rows;
        let answer = result.map_err(|error| self.in_its_file(error.after(rows)))?;
        let Fold { holds, folded, .. } = self;
        Ok(answer.into_scores(&folded.query, (holds.holders, holds.tokens), folded.digits))
    }
}

impl Folded {
    fn named(&self, halt: Halt, holds: &Holds) -> HoldError {
        halt.named(self.query.by, &holds.holders, &holds.tokens)
    }

    /// Takes the rows if they are many.
    fn take_if_many(&mut self, holds: &mut Holds, stop: &Stop) -> Result<(), HoldError> {
        if self.query.is_grouped() {
            if holds.bytes() >= self.memory {
                self.spill(holds, stop)?;
            }
        } else if holds.len() >= ROWS_TO_FOLD {
            let threads = threads_for(self.query.threads, holds.len());
            self.take(holds, threads, stop)?;
        }
        Ok(())
    }

    /// Adds all rows to the sums.
    fn take(&mut self, holds: &mut Holds, threads: usize, stop: &Stop) -> Result<(), HoldError> {
        if holds.is_empty() {
            return Ok(());
        }
        self.agree_on_digits(holds)?;
        if self.tallies.len() < threads {
            self.tallies.resize_with(threads, Tally::default);
        }
        let run = Run::new(&self.query, self.digits, stop)?;
        run.lots(holds.source(), &mut self.tallies[..threads])
            .map_err(|halt| self.named(halt, holds))?;
        self.rows += holds.len() as u64;
        holds.chunks.clear();
        Ok(())
    }

    /// Lets sums and rows count in the same units.
    fn agree_on_digits(&mut self, holds: &mut Holds) -> Result<(), HoldError> {
        holds.use_digits(self.digits)?;
        self.use_digits(holds.digits, holds)
    }

    /// Lets sums count in units of weights of so many digits.
    fn use_digits(&mut self, digits: u8, holds: &Holds) -> Result<(), HoldError> {
        let more = u32::from(digits.saturating_sub(self.digits));
        self.digits = self.digits.max(digits);
        if more > 0 {
            let scaled = self
                .tallies
                .iter_mut()
                .try_for_each(|tally| tally.scale(10u64.pow(more)));
            scaled.map_err(|error| self.named(error.into(), holds))?;
        }
        Ok(())
    }

    /// Moves all rows to temporary files.
    fn spill(&mut self, holds: &mut Holds, stop: &Stop) -> Result<(), HoldError> {
        holds.check()?;
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => self.spill.insert(Spill::new()?),
        };
        spill.take(holds, stop)?;
        self.rows += holds.len() as u64;
        self.digits = self.digits.max(holds.digits);
        holds.chunks.clear();
        Ok(())
    }

    fn finish_sums(&mut self, holds: &mut Holds, stop: &Stop) -> Result<Answer, HoldError> {
        let threads = threads_for(self.query.threads, holds.len());
        self.take(holds, threads, stop)?;
        let sum = merged(std::mem::take(&mut self.tallies));
        sum.map(Answer::Slots)
            .map_err(|error| self.named(error.into(), holds))
    }

    fn finish_groups(&mut self, holds: &mut Holds, stop: &Stop) -> Result<Answer, HoldError> {
        self.digits = holds.digits;
        let threads = threads_for(self.query.threads, holds.len());
        Run::new(&self.query, self.digits, stop)?
            .groups(holds.source(), threads)
            .map_err(|halt| self.named(halt, holds))
    }

    fn finish_spilled(&mut self, holds: &mut Holds, stop: &Stop) -> Result<Answer, HoldError> {
        self.spill(holds, stop)?;
        let Some(spill) = self.spill.take() else {
            return self.finish_groups(holds, stop);
        };
        let run = Run::new(&self.query, self.digits, stop)?;
        let by = self.query.by;
        let mut all = Tally::new(match by {
            By::Holder => holds.holders.len(),
            By::Token => holds.tokens.len(),
            By::Both => 0,
        });
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for part in 0..Spill::PARTS {
            let chunks = spill.chunks_of(part, self.digits, holds, stop)?;
            let source = spill.source(part, &chunks, holds);
            let threads = threads_for(self.query.threads, source.rows());
            let id = |halt| match halt {
                Halt::TooLarge(slot) if by != By::Token => {
                    Halt::TooLarge(Spill::holder(part, slot as u32) as usize)
                }
                other => other,
            };
            let answer = run.groups(source, threads);
            let added = answer.map_err(id).and_then(|answer| match answer {
                Answer::Slots(sums) => Ok(all.merge(&sums, all.slots(), |slot| match by {
                    By::Token => slot,
                    _ => Spill::holder(part, slot as u32) as usize,
                })?),
                Answer::Pairs(here, sums) => {
                    let first = pairs.len();
                    let pair = |(holder, token)| (Spill::holder(part, holder), token);
                    pairs.extend(here.into_iter().map(pair));
                    all.grow(pairs.len());
                    Ok(all.merge(&sums, all.slots(), |slot| first + slot)?)
                }
            });
            added.map_err(|halt| self.named(halt, holds))?;
        }
        if by != By::Both {
            return Ok(Answer::Slots(all));
        }
        // Parts take turns by holder: put them in order.
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_unstable_by_key(|&slot| pairs[slot]);
        let mut place = vec![0; order.len()];
        for (here, &slot) in order.iter().enumerate() {
            place[slot] = here;
        }
        let mut sorted = Tally::new(pairs.len());
        sorted
            .merge(&all, place.len(), |slot| place[slot])
            .map_err(|error| self.named(error.into(), holds))?;
        pairs.sort_unstable();
        Ok(Answer::Pairs(pairs, sorted))
    }
}

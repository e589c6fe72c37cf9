//! A Parquet file of holds, read by row groups.

use std::cell::Cell;
use std::fs::File;
use std::iter;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field as ArrowField, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Encoding;
#[cfg(target_os = "linux")]
use rustix::fs::{Advice, fadvise};

use crate::arrow::no_column;
use crate::error::{Field, HoldError};
use crate::files::FIELDS;
use crate::holds::Columns;
use crate::query::Stop;

/// Rows that are decoded together; they stay in the second cache.
const BATCH: usize = 1 << 14;

/// A file whose end, which says what it has, was read.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    /// As the file's writer saw it.
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    bytes: u64,
    #[cfg(target_os = "linux")]
    is_large: bool,
}

impl ParquetFile {
    /// Looks at a file, of which only some columns will be read.
    pub(crate) fn of(file: &File, columns: Columns) -> Result<Self, HoldError> {
        let bytes = file.metadata().map_or(0, |file| file.len());
        let metadata = decoded(|| ArrowReaderMetadata::load(file, ArrowReaderOptions::new()))?;
        for field in [Field::HolderId, Field::TokenId, Field::Start] {
            let schema = metadata.schema();
            if schema.field_with_name(&field.to_string()).is_err() {
                return Err(no_column(field, schema));
            }
        }
        let names: Vec<String> = FIELDS
            .iter()
            .filter(|field| match field {
                Field::TokenId => columns.token,
                Field::Weight => columns.weight,
                _ => true,
            })
            .map(ToString::to_string)
            .collect();
        let mask =
            ProjectionMask::columns(metadata.parquet_schema(), names.iter().map(String::as_str));
        Ok(ParquetFile {
            metadata,
            mask,
            bytes,
            #[cfg(target_os = "linux")]
            is_large: is_large(bytes),
        })
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.groups().map(|group| self.rows_of(group)).sum()
    }

    /// The numbers of all row groups.
    pub(crate) fn groups(&self) -> Range<usize> {
        0..self.metadata.metadata().num_row_groups()
    }

    fn rows_of(&self, group: usize) -> usize {
        let rows = self.metadata.metadata().row_group(group).num_rows();
        usize::try_from(rows).unwrap_or(0)
    }

    /// How many rows come before each row group, and how many there are in all.
    pub(crate) fn first_rows(&self) -> Vec<u64> {
        let rows = self.groups().map(|group| self.rows_of(group) as u64);
        let ends = rows.scan(0, |end, rows| {
            *end += rows;
            Some(*end)
        });
        iter::once(0).chain(ends).collect()
    }

    /// How a row group is read: ids as a dictionary where they are one, so that each entry is looked up
    /// once and not each row, other text as views, which point into the pages as they were read.
    fn metadata_of(&self, group: usize) -> Result<ArrowReaderMetadata, HoldError> {
        let columns = self.metadata.metadata().row_group(group).columns();
        let is_dictionary = |name: &str| {
            if ![Field::HolderId.name(), Field::TokenId.name()].contains(&name) {
                return false;
            }
            let column = columns
                .iter()
                .find(|column| column.column_path().string() == name);
            let pages = column.and_then(|column| column.page_encoding_stats_mask());
            pages.is_some_and(|pages| {
                pages.is_only(Encoding::RLE_DICTIONARY) || pages.is_only(Encoding::PLAIN_DICTIONARY)
            })
        };
        let schema = self.metadata.schema();
        let fields = schema.fields().iter().map(|field| {
            let kind = match text_of(field.data_type()) {
                true if is_dictionary(field.name()) => {
                    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
                }
                true => DataType::Utf8View,
                false => return Arc::clone(field),
            };
            Arc::new(ArrowField::clone(field).with_data_type(kind))
        });
        let schema =
            Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        let metadata = Arc::clone(self.metadata.metadata());
        decoded(|| ArrowReaderMetadata::try_new(metadata, options))
    }

    /// Where the columns of a row group are that will be read.
    #[cfg(target_os = "linux")]
    fn places(&self, group: usize) -> impl Iterator<Item = Range<u64>> {
        use parquet::file::metadata::RowGroupMetaData;

        let group = self.metadata.metadata().row_groups().get(group);
        let columns = group.map_or(&[][..], RowGroupMetaData::columns).iter();
        let wanted = columns
            .enumerate()
            .filter(|(leaf, _)| self.mask.leaf_included(*leaf));
        wanted.map(|(_, column)| {
            // What is wrong with a range is told when it is read.
            let range = decoded(|| Ok::<_, HoldError>(column.byte_range()));
            let (start, bytes) = range.unwrap_or_default();
            start..start.saturating_add(bytes)
        })
    }

    /// Asks the system for a row group, which it reads while others are decoded. Measured where little
    /// memory was free, 200 million events from a disk: 65 to 70 million a second in place of 47 to 58.
    #[cfg(target_os = "linux")]
    fn ask_for(&self, file: &File, group: usize) {
        /// The system takes no more at once.
        const AT_ONCE: usize = 1 << 19;
        /// More of a column would push others out of its memory before they are needed.
        const MOST: u64 = 1 << 26;
        for Range { start, end } in self.places(group) {
            let end = end.min(start.saturating_add(MOST));
            for at in (start..end).step_by(AT_ONCE) {
                advise(file, at..end.min(at + AT_ONCE as u64), Advice::WillNeed);
            }
        }
    }

    /// Tells the system that a row group of a large file is needed no more. Memory that is full of what
    /// was read has to be cleared of it page by page for what comes next. Measured with a billion
    /// events, 19.3 GB where memory was 24: 53 million a second in place of 36.
    #[cfg(target_os = "linux")]
    fn let_go(&self, file: &File, group: usize) {
        if self.is_large {
            for place in self.places(group) {
                advise(file, place, Advice::DontNeed);
            }
        }
    }

    /// Windows has no such calls; Linux is the system that is built for besides.
    #[cfg(not(target_os = "linux"))]
    fn ask_for(&self, _: &File, _: usize) {}

    #[cfg(not(target_os = "linux"))]
    fn let_go(&self, _: &File, _: usize) {}

    /// Hands out the rows of some row groups, batch by batch; no batch is of two groups. Threads that
    /// do so at once have each opened the file, for an open file has one position; there are so many
    /// of them, so that one probably takes the group that comes so many later.
    pub(crate) fn each_batch(
        &self,
        file: &File,
        (groups, threads): (Range<usize>, usize),
        stop: &Stop,
        mut found: impl FnMut(RecordBatch) -> Result<(), HoldError>,
    ) -> Result<(), HoldError> {
        let rows = self.rows().max(1) as f64;
        for group in groups {
            self.ask_for(file, group + threads);
            let opened = file.try_clone();
            let opened = opened.map_err(|error| HoldError::File(error.to_string()))?;
            let metadata = self.metadata_of(group)?;
            let mut reader = decoded(|| {
                ParquetRecordBatchReaderBuilder::new_with_metadata(opened, metadata)
                    .with_projection(self.mask.clone())
                    .with_batch_size(BATCH)
                    .with_row_groups(vec![group])
                    .build()
            })?;
            while let Some(batch) = decoded(|| reader.next().transpose())? {
                stop.check()?;
                stop.advance((self.bytes as f64 * batch.num_rows() as f64 / rows) as u64);
                found(batch)?;
            }
            self.let_go(file, group);
        }
        Ok(())
    }
}

/// Whether a file is so large that little of it would still be in the system's memory when it is asked
/// for again. One that is not stays there.
#[cfg(target_os = "linux")]
fn is_large(bytes: u64) -> bool {
    let system = rustix::system::sysinfo();
    let memory = (system.totalram as u64).saturating_mul(u64::from(system.mem_unit));
    bytes > memory / 4
}

/// A hint: where it is not followed the file is read all the same.
#[cfg(target_os = "linux")]
fn advise(file: &File, place: Range<u64>, advice: Advice) {
    // No length would be all of the file.
    if let Some(bytes) = NonZeroU64::new(place.end - place.start) {
        let _ = fadvise(file, place.start, Some(bytes), advice);
    }
}

fn text_of(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => text_of(values),
        _ => false,
    }
}

/// Hands out some columns of a Parquet file, batch by batch.
pub(crate) fn each_batch_of(
    file: File,
    names: &[&str],
    stop: &Stop,
    mut found: impl FnMut(RecordBatch) -> Result<(), HoldError>,
) -> Result<(), HoldError> {
    let size = file.metadata().map_or(0, |file| file.len());
    let builder = decoded(|| ParquetRecordBatchReaderBuilder::try_new(file))?;
    let rows = builder.metadata().file_metadata().num_rows().max(1) as f64;
    let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
    let builder = builder.with_projection(mask).with_batch_size(BATCH);
    let mut reader = decoded(|| builder.build())?;
    while let Some(batch) = decoded(|| reader.next().transpose())? {
        stop.check()?;
        stop.advance((size as f64 * batch.num_rows() as f64 / rows) as u64);
        found(batch)?;
    }
    Ok(())
}

thread_local! {
    static DECODES: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread decodes a Parquet file just now. A panic is then no news, but told as an
/// error: a panic hook need not say it.
pub fn decodes_parquet() -> bool {
    DECODES.get()
}

/// Decodes a part of a file.
///
/// The library of Parquet panics at some bytes that no writer writes (a bit width of 200, an offset
/// past the end). What was in its hands is dropped then, so nothing half done is seen afterwards.
fn decoded<T, E: std::fmt::Display>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, HoldError> {
    DECODES.set(true);
    let result = catch_unwind(AssertUnwindSafe(decode));
    DECODES.set(false);
    let why = match result {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its pages are not what they say".to_owned(),
    };
    Err(HoldError::File(format!(
        "the file is cut short, damaged or no Parquet: {why}"
    )))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::files::write_parquet;
    use crate::holds::Holds;
    use crate::weight::Weight;
    use rustix::io::{ReadWriteFlags, preadv2};
    use std::io::{IoSliceMut, Read, Seek};

    /// Whether the system has a place of a file in its memory.
    fn is_there(file: &File, at: u64) -> bool {
        let piece = &mut [0];
        preadv2(
            file,
            &mut [IoSliceMut::new(piece)],
            at,
            ReadWriteFlags::NOWAIT,
        )
        .is_ok()
    }

    #[test]
    fn what_was_read_of_a_large_file_is_let_go_and_of_others_kept() {
        let mut holds = Holds::new(0).expect("a scale");
        for hold in 0..100_000 {
            let ids = (format!("holder {}", hold * 7919 % 10_007), "token");
            let added = holds.push_row(
                &ids.0,
                ids.1,
                hold * 104_729 % 99_991,
                100_000,
                &Weight::ONE,
            );
            added.expect("a hold");
        }
        let mut file = tempfile::tempfile().expect("a file");
        let batch = holds.to_batch(None).expect("a batch");
        write_parquet(&batch, file.try_clone().expect("a handle")).expect("room on the disk");
        file.sync_all().expect("a disk");
        let mut parquet = ParquetFile::of(&file, Columns::ALL).expect("a file of holds");
        let starts = parquet.places(0).nth(2).expect("a third column");
        let middle = starts.start.midpoint(starts.end);
        let mut is_kept = |is_large: bool| {
            file.rewind().expect("a place");
            file.read_to_end(&mut Vec::new()).expect("bytes");
            parquet.is_large = is_large;
            let mut rows = 0;
            let read = parquet.each_batch(&file, (0..1, 1), &Stop::default(), |batch| {
                rows += batch.num_rows();
                Ok(())
            });
            assert_eq!((read, rows), (Ok(()), 100_000));
            is_there(&file, middle)
        };
        assert!(is_kept(false));
        assert!(!is_kept(true) || !forgets(&file, middle));
    }

    /// Whether a file is on a disk; one that is in memory alone can't be let go.
    fn forgets(file: &File, at: u64) -> bool {
        let bytes = file.metadata().expect("a length").len();
        advise(file, 0..bytes, Advice::DontNeed);
        !is_there(file, at)
    }
}

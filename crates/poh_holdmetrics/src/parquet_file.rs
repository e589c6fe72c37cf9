//! A Parquet file of holds, read by row groups.

use std::cell::Cell;
use std::fs::File;
use std::iter;
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

    /// Asks the system for a row group, which it reads while others are decoded. Measured where little
    /// memory was free, 200 million events from a disk: 65 to 70 million a second in place of 47 to 58.
    #[cfg(target_os = "linux")]
    fn ask_for(&self, file: &File, group: usize) {
        use std::num::NonZeroU64;

        use parquet::file::metadata::RowGroupMetaData;
        use rustix::fs::{Advice, fadvise};

        /// The system takes no more at once.
        const AT_ONCE: u64 = 1 << 19;
        /// More of a column would push others out of its memory before they are needed.
        const MOST: u64 = 1 << 26;
        let groups = self.metadata.metadata().row_groups().get(group);
        let columns = groups.map_or(&[][..], RowGroupMetaData::columns).iter();
        let wanted = columns
            .enumerate()
            .filter(|(leaf, _)| self.mask.leaf_included(*leaf));
        for (_, column) in wanted {
            // What is wrong with a range is told when it is read.
            let range = decoded(|| Ok::<_, HoldError>(column.byte_range()));
            let (start, bytes) = range.unwrap_or_default();
            for at in (0..bytes.min(MOST)).step_by(AT_ONCE as usize) {
                let bytes = NonZeroU64::new((bytes - at).min(AT_ONCE));
                // A hint: where it is not followed the file is read all the same.
                let _ = fadvise(file, start.saturating_add(at), bytes, Advice::WillNeed);
            }
        }
    }

    /// Windows has no such call; Linux is the system that is built for besides.
    #[cfg(not(target_os = "linux"))]
    fn ask_for(&self, _: &File, _: usize) {}

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
            let file = file.try_clone();
            let file = file.map_err(|error| HoldError::File(error.to_string()))?;
            let metadata = self.metadata_of(group)?;
            let mut reader = decoded(|| {
                ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
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
        }
        Ok(())
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

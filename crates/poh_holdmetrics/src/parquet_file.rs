//! A Parquet file of holds, read by row groups.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field as ArrowField, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use crate::arrow::no_column;
use crate::error::{Field, HoldError};
use crate::files::FIELDS;
use crate::holds::Columns;
use crate::query::Stop;

/// Rows that are decoded together; they stay in the second cache.
const BATCH: usize = 1 << 16;

/// A file whose end, which says what it has, was read.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    bytes: u64,
}

impl ParquetFile {
    /// Opens a file, of which only some columns will be read.
    pub(crate) fn open(path: &Path, columns: Columns) -> Result<Self, HoldError> {
        let file = File::open(path).map_err(|error| HoldError::File(error.to_string()))?;
        let bytes = file.metadata().map_or(0, |file| file.len());
        let metadata = decoded(|| ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()))?;
        // Views point into the pages as they were read, where other text would be copied.
        let views: Vec<_> = metadata
            .schema()
            .fields()
            .iter()
            .map(|field| match text_of(field.data_type()) {
                true => Arc::new(ArrowField::clone(field).with_data_type(DataType::Utf8View)),
                false => Arc::clone(field),
            })
            .collect();
        let schema = Schema::new_with_metadata(views, metadata.schema().metadata().clone());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        let metadata =
            decoded(|| ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options))?;
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
            path: path.to_owned(),
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

    /// The row groups in at most so many parts of about as many rows, with the first row of each.
    pub(crate) fn shares(&self, parts: usize) -> Vec<(u64, Range<usize>)> {
        let rows = self.rows();
        let mut shares: Vec<(u64, Range<usize>)> = Vec::new();
        let mut row = 0;
        for group in self.groups() {
            let begun = shares.len();
            match shares.last_mut() {
                // The next part begins with the group that lies mostly in it.
                Some((_, last))
                    if begun == parts || (row + self.rows_of(group) / 2) * parts < rows * begun =>
                {
                    last.end = group + 1;
                }
                _ => shares.push((row as u64, group..group + 1)),
            }
            row += self.rows_of(group);
        }
        shares
    }

    /// Hands out the rows of some row groups, batch by batch.
    pub(crate) fn each_batch(
        &self,
        groups: Range<usize>,
        stop: &Stop,
        mut found: impl FnMut(RecordBatch) -> Result<(), HoldError>,
    ) -> Result<(), HoldError> {
        // A file of its own: threads that share one would share its position.
        let file = File::open(&self.path).map_err(|error| HoldError::File(error.to_string()))?;
        let mut reader = decoded(|| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_projection(self.mask.clone())
                .with_batch_size(BATCH)
                .with_row_groups(groups.collect())
                .build()
        })?;
        let rows = self.rows().max(1) as f64;
        while let Some(batch) = decoded(|| reader.next().transpose())? {
            stop.check()?;
            stop.advance((self.bytes as f64 * batch.num_rows() as f64 / rows) as u64);
            found(batch)?;
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

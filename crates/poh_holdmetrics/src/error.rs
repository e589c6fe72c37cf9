//! What can be wrong with the input, said with the row and the field.

use std::fmt;
use std::path::Path;

use crate::time::Shown;
use crate::weight::excerpt;

/// A column of the input, under the name that every interface uses for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Who holds.
    HolderId,
    /// What is held.
    TokenId,
    /// The first instant of the hold.
    Start,
    /// The first instant after the hold.
    End,
    /// How much is held.
    Weight,
}

impl Field {
    /// The column's name.
    pub const fn name(self) -> &'static str {
        match self {
            Field::HolderId => "holder_id",
            Field::TokenId => "token_id",
            Field::Start => "start",
            Field::End => "end",
            Field::Weight => "weight",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with one value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A value that must be there is null.
    #[error("is missing; only `end` may be empty (an open hold)")]
    Missing,
    /// An id without a character.
    #[error("is empty; an id needs at least one character")]
    EmptyId,
    /// Not a number, or infinite.
    #[error("is {0}; give a finite number")]
    NotFinite(String),
    /// The text does not read as a decimal number.
    #[error("{0:?} is not a decimal number")]
    NotADecimal(String),
    /// A weight below zero.
    #[error("is {0}; give zero or more")]
    Negative(String),
    /// A weight with more digits after the point than the scale keeps.
    #[error(
        "has {digits} digits after the decimal point and the scale keeps {scale}; \
         raise `scale` (up to 18) or ask for rounding=\"half-even\""
    )]
    TooManyDigits {
        /// Digits after the point, without trailing zeros.
        digits: u32,
        /// Digits that the scale keeps.
        scale: u8,
    },
    /// A weight that does not fit in 256 bits.
    #[error("is {0}; it has at most 256 bits, digits of the scale included")]
    TooLarge(String),
    /// The text does not read as an instant.
    #[error("{0:?} is not an instant; give RFC 3339 (2024-05-01T12:00:00Z) or epoch seconds")]
    NotAnInstant(String),
    /// An instant without a time zone, where these are refused.
    #[error(
        "names no time zone; give one that does, or say in which zone such times are \
         (tz=, of epochs data_tz=, of the command --data-tz)"
    )]
    NoZone,
    /// An instant outside the range that is kept.
    #[error("is out of range; times reach about 146,000 years to either side of 1970")]
    TimeOutOfRange,
    /// A hold that would end before it starts.
    #[error(
        "is {}, before start, {}; a hold ends at or after its start", Shown(*.end), Shown(*.start)
    )]
    EndBeforeStart {
        /// Microseconds since 1970 UTC.
        start: i64,
        /// Microseconds since 1970 UTC.
        end: i64,
    },
    /// A block's number or a log's index that no chain has.
    #[error("is {0}; a block's number and a log's index have at most 64 bits")]
    NoPlace(String),
    /// A value of a type that the field does not take.
    #[error("{0}")]
    Type(String),
}

impl Fault {
    /// The same of a transfer log, which has no end that may be empty, and no scale.
    pub fn of_a_log(&self) -> String {
        match self {
            Fault::Missing => "is missing; every log has one".to_owned(),
            Fault::TooManyDigits { digits, .. } => {
                format!("has {digits} digits after the decimal point; it is a whole number")
            }
            fault => fault.to_string(),
        }
    }
}

/// Every way in which this crate refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// One value of the input is wrong. Rows count from 0.
    #[error("row {row}, {field} {fault}")]
    Row {
        /// The row, from 0, in the order of the input.
        row: u64,
        /// The column.
        field: Field,
        /// What is wrong.
        fault: Fault,
    },
    /// One value is wrong and there is no table around it.
    #[error("{field} {fault}")]
    Value {
        /// The column.
        field: Field,
        /// What is wrong.
        fault: Fault,
    },
    /// Columns of different lengths.
    #[error("{field} has {found} values and holder_id has {expected}; columns are of one length")]
    Length {
        /// The column whose length differs.
        field: Field,
        /// Its length.
        found: usize,
        /// The length of `holder_id`.
        expected: usize,
    },
    /// An argument outside what it may be.
    #[error("{0}")]
    Argument(String),
    /// A total that does not fit.
    #[error("the total of {:?} does not fit in {bits} bits", excerpt(.id))]
    Overflow {
        /// The holder (or token) whose total overflows.
        id: String,
        /// The width of the total.
        bits: u32,
    },
    /// A correction of a hold that is not in the table.
    #[error("there is no {what}")]
    NoSuchHold {
        /// What was looked for.
        what: String,
    },
    /// A transfer log that is not valid, or does not fit the ones before it.
    #[error("transfer {row}: {what}")]
    Transfer {
        /// The log, from 0, in the order of the input.
        row: u64,
        /// What is wrong.
        what: String,
    },
    /// A file that can't be read, or is not of its format.
    #[error("{0}")]
    File(String),
    /// What is wrong in one of several files; rows count from 0 in that file.
    #[error("{file}: {error}")]
    InFile {
        /// The file.
        file: String,
        /// What is wrong there.
        error: Box<HoldError>,
    },
    /// Proofs, claims or a file of them that are not valid.
    #[error("{0}")]
    Proof(String),
    /// The caller asked for the work to end.
    #[error("interrupted")]
    Interrupted,
}

impl HoldError {
    /// The error with its row counted from so many rows earlier.
    pub(crate) fn after(self, rows: u64) -> Self {
        match self {
            HoldError::Row { row, field, fault } => HoldError::Row {
                row: row + rows,
                field,
                fault,
            },
            other => other,
        }
    }

    /// What is wrong, without the file that it is wrong in.
    pub fn without_file(&self) -> &HoldError {
        match self {
            HoldError::InFile { error, .. } => error.without_file(),
            other => other,
        }
    }

    /// The error of a file whose first row has a number in the whole table.
    pub(crate) fn in_file(self, path: &Path, first_row: u64) -> Self {
        let file = path.display().to_string();
        let error = match self {
            HoldError::Argument(what) | HoldError::File(what) => {
                return HoldError::File(format!("{file}: {what}"));
            }
            HoldError::Row { row, field, fault } => HoldError::Row {
                row: row.saturating_sub(first_row),
                field,
                fault,
            },
            HoldError::Transfer { row, what } => HoldError::Transfer {
                row: row.saturating_sub(first_row),
                what,
            },
            other => return other,
        };
        HoldError::InFile {
            file,
            error: Box::new(error),
        }
    }

    /// That a table has not all columns that it needs; says those that it has.
    pub(crate) fn no_column(name: &str, found: &[&str]) -> Self {
        const MOST: usize = 20;
        let mut columns: Vec<String> = found.iter().take(MOST).map(|name| excerpt(name)).collect();
        if found.len() > MOST {
            columns.push(format!("and {} more", found.len() - MOST));
        }
        let mend = match found {
            [only] if only.contains([';', '\t', '|']) => "; values are separated by commas",
            _ => "",
        };
        let columns = columns.join(", ");
        HoldError::Argument(format!(
            "there is no column \"{name}\"; the columns are {columns}{mend}"
        ))
    }

    pub(crate) fn row(row: usize, field: Field, fault: Fault) -> Self {
        HoldError::Row {
            row: row as u64,
            field,
            fault,
        }
    }
}

/// Without a row or a field: a weight or a time that stands alone.
impl From<Fault> for HoldError {
    fn from(fault: Fault) -> Self {
        HoldError::Value {
            field: Field::Weight,
            fault,
        }
    }
}

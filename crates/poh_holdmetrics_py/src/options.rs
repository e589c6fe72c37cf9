//! Words and numbers that Python gives, as the core's options.

use std::ops::RangeInclusive;

use poh_holdmetrics::{
    By, HoldError, Lots, MAX_SCALE, OnNegative, Overlap, Rounding, ScoreColumn, Standard, excerpt,
};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::type_hint_identifier;
use pyo3::types::PyString;

use crate::errors::to_py;

/// Declares an option that is one of some words; the stubs show it under `name`.
macro_rules! words {
    ($type:ident($core:ty), $name:literal, $option:literal, $($word:literal => $value:expr),+) => {
        #[doc = concat!("The option `", $option, "`.")]
        pub(crate) struct $type(pub(crate) $core);

        impl<'py> FromPyObject<'_, 'py> for $type {
            type Error = PyErr;
            const INPUT_TYPE: PyStaticExpr = type_hint_identifier!("poh_holdmetrics.typing", $name);

            fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
                let word = value.extract::<String>();
                match word.as_deref() {
                    $(Ok($word) => Ok($type($value)),)+
                    _ => {
                        let known = [$(concat!("\"", $word, "\"")),+].join(", ");
                        let shown = match &word {
                            Ok(word) => format!("{:?}", excerpt(word)),
                            Err(_) => excerpt(&value.repr()?.to_string()),
                        };
                        Err(to_py(value.py(), HoldError::Argument(format!(
                            "{}={shown} is not known; give one of {known}", $option
                        ))))
                    }
                }
            }
        }
    };
}

words!(ByWord(By), "By", "by",
    "holder" => By::Holder, "token" => By::Token, "both" => By::Both);
words!(OverlapWord(Overlap), "Overlap", "overlap",
    "sum" => Overlap::Sum, "union" => Overlap::Union, "max" => Overlap::Max);
words!(ColumnWord(ScoreColumn), "Column", "columns",
    "holder_id" => ScoreColumn::HolderId, "token_id" => ScoreColumn::TokenId,
    "total_seconds" => ScoreColumn::TotalSeconds, "weighted_score" => ScoreColumn::WeightedScore,
    "weighted_score_exact" => ScoreColumn::WeightedScoreExact,
    "updated_at" => ScoreColumn::UpdatedAt);
words!(RoundingWord(Rounding), "Rounding", "rounding", "half-even" => Rounding::HalfEven);
words!(StandardWord(Standard), "Standard", "standard",
    "erc20" => Standard::Erc20, "erc721" => Standard::Erc721, "erc1155" => Standard::Erc1155);
words!(LotsWord(Lots), "Lots", "lots",
    "balance" => Lots::Balance, "fifo" => Lots::Fifo, "lifo" => Lots::Lifo);
words!(OnNegativeWord(OnNegative), "OnNegative", "on_negative",
    "error" => OnNegative::Refuse, "clip" => OnNegative::Clip);

/// The option `columns`: some names, in order.
pub(crate) struct Columns(pub(crate) Vec<ScoreColumn>);

impl<'py> FromPyObject<'_, 'py> for Columns {
    type Error = PyErr;
    const INPUT_TYPE: PyStaticExpr = type_hint_identifier!("poh_holdmetrics.typing", "Columns");

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        // One name is no list of names, though Python would give its letters.
        let names = match value.extract::<ColumnWord>() {
            Ok(ColumnWord(column)) => {
                let what = format!("columns is one name; give a list: [\"{}\"]", column.name());
                return Err(to_py(value.py(), HoldError::Argument(what)));
            }
            Err(error) if value.is_instance_of::<PyString>() => return Err(error),
            Err(_) => value.try_iter()?,
        };
        let columns = names.map(|name| Ok(name?.extract::<ColumnWord>()?.0));
        Ok(Columns(columns.collect::<PyResult<_>>()?))
    }
}

/// A number of digits after the decimal point.
pub(crate) fn digits(py: Python<'_>, option: &str, value: i64) -> PyResult<u8> {
    let digits = u8::try_from(value)
        .ok()
        .filter(|&digits| digits <= MAX_SCALE);
    digits.ok_or_else(|| {
        let what = format!("{option} is {value}; it is a number of digits from 0 to {MAX_SCALE}");
        to_py(py, HoldError::Argument(what))
    })
}

/// Declares an option that is a whole number of a range.
macro_rules! numbers {
    ($type:ident($core:ty), $option:literal, $range:expr, $words:expr) => {
        #[doc = concat!("The option `", $option, "`.")]
        pub(crate) struct $type(pub(crate) $core);

        impl $type {
            const RANGE: RangeInclusive<$core> = $range;
        }

        impl<'py> FromPyObject<'_, 'py> for $type {
            type Error = PyErr;
            const INPUT_TYPE: PyStaticExpr = type_hint_identifier!("builtins", "int");

            fn extract(value: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
                match value.extract::<$core>() {
                    Ok(number) if Self::RANGE.contains(&number) => Ok($type(number)),
                    _ => {
                        let shown = excerpt(&value.repr()?.to_string());
                        Err(to_py(
                            value.py(),
                            HoldError::Argument(format!(
                                "{}={shown} can't be; give {}",
                                $option, $words
                            )),
                        ))
                    }
                }
            }
        }
    };
}

numbers!(
    Threads(usize),
    "threads",
    1..=usize::MAX,
    "a number from 1 up, or None for one a processor"
);
numbers!(
    Memory(usize),
    "memory",
    0..=usize::MAX,
    "a number of bytes, or None for 1 GiB"
);
numbers!(
    Count(usize),
    "n",
    0..=usize::MAX,
    "a number of rows from 0 up"
);

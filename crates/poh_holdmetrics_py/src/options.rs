//! Words that Python gives, as the core's options.

use poh_holdmetrics::{By, HoldError, Lots, OnNegative, Overlap, Rounding, Standard};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::type_hint_identifier;

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
                match value.extract::<String>()?.as_str() {
                    $($word => Ok($type($value)),)+
                    word => {
                        let known = [$(concat!("\"", $word, "\"")),+].join(", ");
                        Err(to_py(value.py(), HoldError::Argument(format!(
                            "{}={word:?} is not known; give one of {known}", $option
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
words!(RoundingWord(Rounding), "Rounding", "rounding", "half-even" => Rounding::HalfEven);
words!(StandardWord(Standard), "Standard", "standard",
    "erc20" => Standard::Erc20, "erc721" => Standard::Erc721, "erc1155" => Standard::Erc1155);
words!(LotsWord(Lots), "Lots", "lots",
    "balance" => Lots::Balance, "fifo" => Lots::Fifo, "lifo" => Lots::Lifo);
words!(OnNegativeWord(OnNegative), "OnNegative", "on_negative",
    "error" => OnNegative::Refuse, "clip" => OnNegative::Clip);

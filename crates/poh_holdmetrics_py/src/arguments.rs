//! Arguments and results whose Python types have a name in `poh_holdmetrics.typing`, for the stubs.

use std::convert::Infallible;

use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::type_hint_identifier;
use pyo3::types::PyDict;

/// Declares a wrapper around any Python object that the stubs show under `name`.
macro_rules! argument {
    ($type:ident, $name:literal, $what:literal) => {
        #[doc = $what]
        pub(crate) struct $type<'py>(pub(crate) Bound<'py, PyAny>);

        impl<'py> FromPyObject<'_, 'py> for $type<'py> {
            type Error = Infallible;
            const INPUT_TYPE: PyStaticExpr = type_hint_identifier!("poh_holdmetrics.typing", $name);

            fn extract(value: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
                Ok($type(value.to_owned()))
            }
        }

        impl<'py> IntoPyObject<'py> for $type<'py> {
            type Target = PyAny;
            type Output = Bound<'py, PyAny>;
            type Error = Infallible;
            const OUTPUT_TYPE: PyStaticExpr =
                type_hint_identifier!("poh_holdmetrics.typing", $name);

            fn into_pyobject(self, _py: Python<'py>) -> Result<Bound<'py, PyAny>, Infallible> {
                Ok(self.0)
            }
        }
    };
}

argument!(Id, "Id", "What names a holder or a token.");
argument!(Instant, "Instant", "A moment.");
argument!(Amount, "Weight", "How much is held.");
argument!(Data, "Data", "Rows or columns of holds.");
argument!(Duration, "Days", "A length of time in days.");
argument!(Seconds, "Seconds", "A length of time in seconds.");
argument!(Length, "Every", "The length of an epoch.");
argument!(Steps, "Steps", "Ages and multipliers.");
argument!(Leaf, "Leaf", "One claim.");
argument!(Leaves, "Leaves", "Claims.");
argument!(
    LeafEncoding,
    "LeafEncoding",
    "The types of a claim's values."
);
argument!(Capsule, "Capsule", "A PyCapsule of the Arrow interface.");
argument!(Dump, "Json", "A JSON object.");
argument!(Frame, "Frame", "A data frame of another library.");
argument!(Zone, "Zone", "A time zone or its name.");
argument!(
    Source,
    "Source",
    "Where holds are, or the holds themselves."
);
argument!(State, "State", "The sums of a part of the holds.");
argument!(
    Progress,
    "Progress",
    "What is told how far reading has come."
);

/// Declares a dict that the stubs show under `name`.
macro_rules! dict {
    ($type:ident, $name:literal, $what:literal) => {
        #[doc = $what]
        pub(crate) struct $type<'py>(pub(crate) Bound<'py, PyDict>);

        impl<'py> IntoPyObject<'py> for $type<'py> {
            type Target = PyDict;
            type Output = Bound<'py, PyDict>;
            type Error = Infallible;
            const OUTPUT_TYPE: PyStaticExpr =
                type_hint_identifier!("poh_holdmetrics.typing", $name);

            fn into_pyobject(self, _py: Python<'py>) -> Result<Bound<'py, PyDict>, Infallible> {
                Ok(self.0)
            }
        }
    };
}

dict!(Record, "Record", "One row.");
dict!(Shares, "Shares", "Whole units by id.");

//! The compiled module `poh_holdmetrics._native`: conversions, GIL releases and exceptions.
//! Every rule about holds is in the crate `poh_holdmetrics`.

use std::collections::BTreeMap;

use pyo3::prelude::*;

mod aggregator;
mod arguments;
mod boost;
mod bundle;
mod calculator;
mod columns;
mod epochs;
mod errors;
mod event;
mod holds;
mod input;
mod interrupt;
mod merkle;
mod options;
mod partial;
mod score;
mod scores;
mod table;
mod transfers;
mod values;

/// All memory of the module, but for what Python and Arrow bring.
#[global_allocator]
static MEMORY: poh_holdmetrics::LargePages = poh_holdmetrics::LargePages;

#[pymodule(name = "_native")]
mod native {
    use super::*;

    #[pymodule_export]
    use crate::aggregator::HoldAggregator;
    #[pymodule_export]
    use crate::boost::Boost;
    #[pymodule_export]
    use crate::bundle::recompute;
    #[pymodule_export]
    use crate::calculator::calculate_score;
    #[pymodule_export]
    use crate::errors::HoldMetricsError;
    #[pymodule_export]
    use crate::event::HoldEvent;
    #[pymodule_export]
    use crate::holds::Holds;
    #[pymodule_export]
    use crate::merkle::{MerkleDistributor, StandardMerkleTree};
    #[pymodule_export]
    use crate::partial::{finish, merge};
    #[pymodule_export]
    use crate::score::{epochs, partial, score};
    #[pymodule_export]
    use crate::scores::Scores;
    #[pymodule_export]
    use crate::table::Table;
    #[pymodule_export]
    use crate::transfers::{from_transfers, read_transfers};
    #[pymodule_export]
    use crate::values::parse_instant;

    /// A damaged Parquet file is told as an exception: that the library of Parquet panicked at it is
    /// not for the user's terminal.
    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        let say = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !poh_holdmetrics::decodes_parquet() {
                say(panic);
            }
        }));
        Ok(())
    }

    /// How this module was built: `version`, `profile` ("release" or "debug"), `target` (the
    /// triple) and `panic` ("unwind": a panic reaches Python as an exception).
    #[pyfunction]
    fn build_info() -> BTreeMap<&'static str, &'static str> {
        BTreeMap::from([
            ("version", env!("CARGO_PKG_VERSION")),
            (
                "profile",
                if cfg!(debug_assertions) {
                    "debug"
                } else {
                    "release"
                },
            ),
            ("target", env!("BUILD_TARGET")),
            (
                "panic",
                if cfg!(panic = "unwind") {
                    "unwind"
                } else {
                    "abort"
                },
            ),
        ])
    }
}

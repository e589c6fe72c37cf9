//! The Python binding of `rvh_trace`: the compiled module `rvh_trace._native`.
//!
//! Everything is ordinary PyO3, but for opening and closing a span, which is in `hot_path`.
//!
//! Another extension module takes this crate without its default features, and calls [`join`]: its
//! Rust spans then land in the same trace.

#[cfg(feature = "module")]
mod api_tracer;
#[cfg(feature = "module")]
mod context_var;
#[cfg(feature = "module")]
mod current;
#[cfg(feature = "module")]
mod exceptions;
#[cfg(feature = "module")]
mod finished;
#[cfg(feature = "module")]
mod generators;
#[cfg(feature = "module")]
mod hot_path;
#[cfg(feature = "module")]
mod live;
#[cfg(feature = "module")]
mod pyexporter;
#[cfg(feature = "module")]
mod setup;
mod share;
#[cfg(feature = "module")]
mod span;
#[cfg(feature = "module")]
mod spare;
#[cfg(feature = "module")]
mod start_log;
#[cfg(feature = "module")]
mod values;
#[cfg(feature = "module")]
mod warnings;

#[cfg(feature = "module")]
use pyo3::prelude::*;

pub use share::join;

/// The compiled part of rvh_trace.
#[cfg(feature = "module")]
#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use super::api_tracer::{ApiTracer, CurrentSpan};
    #[pymodule_export]
    use super::current::{
        ForeignContext, SpanContext, attach, convert_contexts_by, current_object, detach,
        parse_traceparent,
    };
    #[pymodule_export]
    use super::finished::{Event, FinishedSpan, Link};
    #[pymodule_export]
    use super::hot_path::initialise_by_first_span;
    #[pymodule_export]
    use super::live::{LiveSpan, live_spans};
    #[pymodule_export]
    use super::setup::{
        after_fork_in_child, build_info, call_in_rust_span, exporter_and_capacity, finished_spans,
        flush, install, is_set_up, shutdown, stats,
    };
    #[pymodule_export]
    use super::span::{Ready, Span, current_context, current_span};
    #[pymodule_export]
    use super::start_log::log_starts_to;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        warnings::install();
        current::install(module.py())?;
        share::offer(module)?;
        hot_path::install(module)
    }
}

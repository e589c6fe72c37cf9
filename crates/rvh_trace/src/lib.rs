//! Tracing for programs of Rust and Python: spans from both land in one trace.
//!
//! A span is a named piece of work with a start, an end, attributes and a parent. [`init`] sets
//! up the pipeline of the process: finished spans go into a bounded queue, and a thread of its
//! own sends them in batches, by OTLP to a collector or to the console.
//!
//! ```
//! use rvh_trace::{ExporterSettings, Settings};
//!
//! let settings = Settings { exporter: ExporterSettings::Memory, ..Settings::default() };
//! let _guard = rvh_trace::init(settings)?;
//! rvh_trace::in_span("order", |order| {
//!     order.record("order.items", 2);
//!     rvh_trace::in_span("payment", |_| ());
//! });
//! let spans = rvh_trace::finished_spans();
//! assert_eq!(spans[0].name(), "payment");
//! assert_eq!(spans[0].parent_span_id, spans[1].span_id);
//! # Ok::<(), rvh_trace::Error>(())
//! ```

mod context;
mod detectors;
mod error;
pub mod exception;
pub mod export;
mod fields;
mod ids;
mod installed;
#[cfg(feature = "layer")]
mod layer;
mod level;
mod limits;
mod pipeline;
mod redaction;
mod resource;
mod ring;
mod sampler;
mod settings;
pub mod shared;
mod span;
mod stats;
mod tail;
mod tracer;

pub use context::{SAMPLED, SpanContext};
pub use error::Error;
pub use fields::{Fields, Value, ValueRef};
pub use ids::{SpanId, TraceId};
pub use installed::{PipelineRef, pipeline};
#[cfg(feature = "layer")]
pub use layer::layer;
pub use level::Level;
pub use limits::Limits;
pub use pipeline::Pipeline;
pub use redaction::Redaction;
pub use resource::Resource;
pub use sampler::{RateLimit, Rule, Sampler};
pub use settings::{
    Batch, CustomExporter, ExporterChoice, ExporterSettings, FileSettings, FromEnv, OtlpSettings,
    Protocol, Settings,
};
pub use span::{Event, Extra, Kind, Link, SpanRecord, Status, copy_within, now_ns, set_new};
pub use stats::Stats;
pub use tail::Tail;
pub use tracer::{
    EnterGuard, Foreign, Guard, InSpan, Span, after_fork_in_child, child_of, count_coerced,
    current_context, discard, enabled, finished_spans, flush, in_span, in_span_async, init,
    innermost, install, is_any_entered, new_span, new_span_at, redact, samples, set_foreign,
    shutdown, stats,
};

/// The version of this crate, which is the one of the whole workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

//! What the pipeline has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the pipeline began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Spans that ended and were recorded.
    pub recorded: u64,
    /// Spans that the exporter delivered.
    pub exported: u64,
    /// Spans lost because the queue was full or the pipeline had shut down.
    pub dropped: u64,
    /// Spans that the exporter could not deliver.
    pub failed: u64,
    /// Spans of traces that the tail rules did not keep.
    pub sampled_out: u64,
    /// Values that had no type of their own and were recorded as text, or not at all.
    pub coerced: u64,
    /// Spans that wait for export now.
    pub queue_depth: usize,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) recorded: AtomicU64,
    pub(crate) exported: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) sampled_out: AtomicU64,
    pub(crate) coerced: AtomicU64,
}

/// Counting needs no order with anything else.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

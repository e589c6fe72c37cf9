//! The spans that are open now: what `live_spans()` shows.
//!
//! Each span that starts takes a slot here and gives it back when it ends or is forgotten. The
//! slots know the span objects by address only: a span that nobody can end any more is not kept.

use crate::finished::attributes_dict;
use crate::span::Span;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rvh_trace::SpanRecord;
use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::ffi::c_ulong;

/// A span's place here.
#[derive(Default)]
pub(crate) struct Slot(u32);

struct Entry {
    /// NULL for a free slot.
    span: *mut ffi::PyObject,
    /// `threading.get_ident()` where it began.
    thread: c_ulong,
}

struct Slots {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

/// Guarded by the GIL: a mutex would cost each span 20 ns, which this does in 3. (A Python without
/// a GIL turns it on for this module, which does not claim to work without.)
struct ByGil(UnsafeCell<Slots>);

// SAFETY: see above; who touches it is attached, and calls nothing foreign meanwhile.
unsafe impl Sync for ByGil {}

static LIVE: ByGil = ByGil(UnsafeCell::new(Slots {
    entries: Vec::new(),
    free: Vec::new(),
}));

impl Slot {
    /// Notes a span that has begun.
    #[inline]
    pub(crate) fn take(span: &Bound<'_, Span>) -> Self {
        // SAFETY: attached, as the argument shows; nothing below calls back.
        let (slots, thread) = unsafe { (&mut *LIVE.0.get(), ffi::PyThread_get_thread_ident()) };
        let entry = Entry {
            span: span.as_ptr(),
            thread,
        };
        match slots.free.pop() {
            Some(at) => {
                slots.entries[at as usize] = entry;
                Self(at + 1)
            }
            None => {
                slots.entries.push(entry);
                Self(slots.entries.len() as u32)
            }
        }
    }

    /// Gives the slot back. The thread must be attached.
    #[inline]
    pub(crate) fn give_back(&mut self) {
        if let Some(at) = std::mem::take(&mut self.0).checked_sub(1) {
            // SAFETY: attached: only methods of span objects come here, and their destruction.
            let slots = unsafe { &mut *LIVE.0.get() };
            slots.entries[at as usize].span = std::ptr::null_mut();
            slots.free.push(at);
        }
    }
}

/// A span that has not ended, as it was when `live_spans()` was called.
#[pyclass(module = "rvh_trace", frozen)]
pub struct LiveSpan {
    record: SpanRecord,
    thread: c_ulong,
    thread_name: String,
}

#[pymethods]
impl LiveSpan {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        self.record.name()
    }

    /// The trace, as 32 hexadecimal digits.
    #[getter]
    fn trace_id(&self) -> String {
        self.record.trace_id.to_string()
    }

    /// The span, as 16 hexadecimal digits.
    #[getter]
    fn span_id(&self) -> String {
        self.record.span_id.to_string()
    }

    /// The parent, as 16 hexadecimal digits; ``None`` for a root.
    #[getter]
    fn parent_span_id(&self) -> Option<String> {
        let parent = self.record.parent_span_id;
        parent.is_valid().then(|| parent.to_string())
    }

    /// Its attributes so far; secrets are redacted.
    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        attributes_dict(py, &self.record.fields)
    }

    /// Start, in nanoseconds since 1970.
    #[getter]
    fn start(&self) -> u64 {
        self.record.start_ns
    }

    /// How much it matters.
    #[getter]
    fn level(&self) -> &'static str {
        self.record.level.as_str()
    }

    /// internal, server, client, producer or consumer.
    #[getter]
    fn kind(&self) -> &'static str {
        self.record.kind.as_str()
    }

    /// The thread that began it, as ``threading.get_ident()`` gives it.
    #[getter]
    fn thread_id(&self) -> c_ulong {
        self.thread
    }

    /// That thread's name; empty for one that is over, or unknown to ``threading``.
    #[getter]
    fn thread_name(&self) -> &str {
        &self.thread_name
    }

    fn __repr__(&self) -> String {
        format!(
            "<LiveSpan {:?} trace={}>",
            self.record.name(),
            self.record.trace_id
        )
    }
}

/// The spans of Python code that have not ended, in the order in which they began. Given are the
/// names of threads by their identifiers.
#[pyfunction]
#[pyo3(signature = (thread_names, /))]
pub(crate) fn live_spans(py: Python<'_>, thread_names: HashMap<c_ulong, String>) -> Vec<LiveSpan> {
    let spans: Vec<(Bound<'_, PyAny>, c_ulong)> = {
        // SAFETY: attached; an entry's object is alive, because its destruction gives the slot
        // back, and a reference count of zero tells that this has begun.
        unsafe {
            let slots = &*LIVE.0.get();
            let alive = |entry: &&Entry| !entry.span.is_null() && ffi::Py_REFCNT(entry.span) > 0;
            let held = |entry: &Entry| (Bound::from_borrowed_ptr(py, entry.span), entry.thread);
            slots.entries.iter().filter(alive).map(held).collect()
        }
    };
    let mut live: Vec<LiveSpan> = spans
        .iter()
        .filter_map(|(span, thread)| {
            let span = span.cast::<Span>().ok()?.get().try_borrow().ok()?;
            Some(LiveSpan {
                record: span.record.clone(),
                thread: *thread,
                thread_name: thread_names.get(thread).cloned().unwrap_or_default(),
            })
        })
        .collect();
    live.sort_by_key(|span| span.record.start_ns);
    rvh_trace::redact(live.iter_mut().map(|span| &mut span.record));
    live
}

/// How many there are.
pub(crate) fn count(_py: Python<'_>) -> usize {
    // SAFETY: attached; nothing below calls back.
    let slots = unsafe { &*LIVE.0.get() };
    let alive = |entry: &&Entry| !entry.span.is_null();
    slots.entries.iter().filter(alive).count()
}

/// In the child of a fork: the other threads are not there, and their spans never end.
pub(crate) fn forget_other_threads(_py: Python<'_>) {
    // SAFETY: attached; nothing below calls back.
    let (slots, thread) = unsafe { (&mut *LIVE.0.get(), ffi::PyThread_get_thread_ident()) };
    for entry in &mut slots.entries {
        if entry.thread != thread {
            // The slot is given back when its span is destroyed, if ever.
            entry.span = std::ptr::null_mut();
        }
    }
}

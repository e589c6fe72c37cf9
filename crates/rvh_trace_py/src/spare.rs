//! Span objects that are used again.
//!
//! To make and to destroy an object of a class takes a tenth of a span's time. So a span that was
//! left is kept here, and becomes the next one if nobody else refers to it by then.

use crate::span::{Span, State};
use pyo3::ffi;
use pyo3::prelude::*;
use std::cell::UnsafeCell;

const KEPT: usize = 8;

struct Spare {
    /// Owned; those from `count` on are not set.
    spans: [*mut ffi::PyObject; KEPT],
    count: usize,
}

/// Guarded by the GIL, as `live` is.
struct ByGil(UnsafeCell<Spare>);

// SAFETY: see above; who touches it is attached, and calls nothing foreign meanwhile.
unsafe impl Sync for ByGil {}

static SPARE: ByGil = ByGil(UnsafeCell::new(Spare {
    spans: [std::ptr::null_mut(); KEPT],
    count: 0,
}));

/// Keeps a span that has ended, is not current and refers to no other object.
#[inline]
pub(crate) fn keep(span: &Bound<'_, Span>) {
    // SAFETY: attached, as the argument shows; nothing in here calls back.
    let spare = unsafe { &mut *SPARE.0.get() };
    if let Some(place) = spare.spans.get_mut(spare.count) {
        *place = span.clone().into_ptr();
        spare.count += 1;
    }
}

/// A span object of this state: one that was kept, or a new one.
#[inline]
pub(crate) fn object<'py>(py: Python<'py>, state: State) -> PyResult<Bound<'py, Span>> {
    while let Some(span) = take(py) {
        // SAFETY: attached; the object is alive.
        let nobody_elses = unsafe { ffi::Py_REFCNT(span.as_ptr()) } == 1;
        if nobody_elses {
            span.get().become_new(state);
            return Ok(span);
        }
    }
    Bound::new(py, Span::from(state))
}

#[inline]
fn take(py: Python<'_>) -> Option<Bound<'_, Span>> {
    // SAFETY: attached, as the argument shows; nothing in here calls back. What is taken out is
    // the reference that was put there, to a span.
    unsafe {
        let spare = &mut *SPARE.0.get();
        spare.count = spare.count.checked_sub(1)?;
        let span = spare.spans[spare.count];
        Some(Bound::from_owned_ptr(py, span).cast_into_unchecked())
    }
}

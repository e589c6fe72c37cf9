//! The pipeline that is set up, at hand for each span.
//!
//! An `ArcSwap` alone would cost a span four atomic operations on a shared cache line, a twentieth
//! of its time. So each thread holds the pipeline that it used last, and compares an address to
//! learn whether that is still the one.

use crate::pipeline::Pipeline;
use arc_swap::ArcSwapOption;
use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

static PIPELINE: ArcSwapOption<Pipeline> = ArcSwapOption::const_empty();
/// Its address, which is only compared. A thread that holds a pipeline keeps its address from being
/// another one's.
static ADDRESS: AtomicPtr<Pipeline> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    static HELD: Cell<Option<Arc<Pipeline>>> = const { Cell::new(None) };
}

/// The pipeline in use; its thread holds it on when this is dropped.
pub struct PipelineRef(Option<Arc<Pipeline>>);

impl Deref for PipelineRef {
    type Target = Pipeline;

    #[inline]
    fn deref(&self) -> &Pipeline {
        match &self.0 {
            Some(pipeline) => pipeline,
            None => unreachable!("it is taken out only when this is dropped"),
        }
    }
}

impl Drop for PipelineRef {
    #[inline]
    fn drop(&mut self) {
        let pipeline = self.0.take();
        // A thread that is ending has no place any more: then it is let go.
        let _ = HELD.try_with(|held| held.set(pipeline));
    }
}

/// The pipeline, when there is one.
#[inline]
pub fn pipeline() -> Option<PipelineRef> {
    let address = ADDRESS.load(Ordering::Acquire);
    if address.is_null() {
        return None;
    }
    let held = HELD.try_with(Cell::take).ok().flatten();
    match held {
        Some(pipeline) if std::ptr::eq(Arc::as_ptr(&pipeline), address) => {
            Some(PipelineRef(Some(pipeline)))
        }
        _ => load(),
    }
}

/// Another one than the thread has used, or a use within a use.
#[cold]
fn load() -> Option<PipelineRef> {
    get().map(|pipeline| PipelineRef(Some(pipeline)))
}

/// The same, to be kept as long as one likes.
pub(crate) fn get() -> Option<Arc<Pipeline>> {
    PIPELINE.load_full()
}

/// Puts another one in its place, and returns the one before.
pub(crate) fn replace(pipeline: Option<Arc<Pipeline>>) -> Option<Arc<Pipeline>> {
    let address = pipeline.as_ref().map_or(std::ptr::null(), Arc::as_ptr);
    let previous = PIPELINE.swap(pipeline);
    ADDRESS.store(address.cast_mut(), Ordering::Release);
    // Other threads let go of it at their next span, or when they end.
    let _ = HELD.try_with(Cell::take);
    previous
}

//! From a finished span to the exporter: the ring, and the thread that empties it.

use crate::exception::Sources;
use crate::export::memory::Store;
use crate::export::{self, Exporter, Run};
use crate::redaction::KnownKeys;
use crate::ring::Ring;
use crate::settings::Batch;
use crate::stats::{Counters, count};
use crate::tail::TailBuffer;
use crate::{Error, Settings, SpanRecord, Stats};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Records go in on any thread; the worker thread exports them.
pub struct Pipeline {
    /// What it was made with.
    pub settings: Settings,
    ring: Ring,
    wake_every: u64,
    counters: Counters,
    store: Store,
    worker: OnceLock<Thread>,
    warned_full: AtomicBool,
    /// Whether the last batch could not be delivered.
    failing: AtomicBool,
    closed: AtomicBool,
    control: Mutex<Control>,
    changed: Condvar,
}

#[derive(Default)]
struct Control {
    /// Flushes asked for, and done.
    wanted: u64,
    done: u64,
    /// The worker ends at this time at the latest.
    close_by: Option<Instant>,
    ended: bool,
    last_error: Option<String>,
}

impl Pipeline {
    /// Starts a pipeline with the exporter of the settings.
    pub fn start(settings: Settings) -> Result<Arc<Self>, Error> {
        let store = Store::default();
        let exporter = export::make(&settings.exporter, &store)?;
        let pipeline = Arc::new(Self {
            ring: Ring::new(settings.batch.queue),
            wake_every: (settings.batch.size as u64 / 2).max(1),
            settings,
            counters: Counters::default(),
            store,
            worker: OnceLock::new(),
            warned_full: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            control: Mutex::default(),
            changed: Condvar::new(),
        });
        let for_worker = Arc::clone(&pipeline);
        let handle = thread::Builder::new()
            .name("rvh_trace".to_owned())
            .spawn(move || for_worker.work(exporter))
            .map_err(|error| Error::Export(format!("cannot start the export thread: {error}")))?;
        let _ = pipeline.worker.set(handle.thread().clone());
        Ok(pipeline)
    }

    /// A buffer for a span's fields; it comes back after export.
    #[inline]
    pub fn buffer(&self) -> Vec<u8> {
        self.ring.buffer()
    }

    /// Takes back the buffer of a span that is not recorded.
    pub fn recycle(&self, record: SpanRecord) {
        self.ring.recycle(record.fields.into_buffer());
    }

    /// Queues a finished span. Never waits: with a full queue the span is lost, and counted.
    #[inline]
    pub fn submit(&self, record: SpanRecord) {
        if self.closed.load(Ordering::Relaxed) {
            return self.lost(record);
        }
        match self.ring.push(record) {
            Ok(()) => {
                // Only the recording threads touch this counter, so asking it costs less than
                // asking the ring, whose head the worker moves. Twice a batch, because the worker
                // may have found less than a whole one.
                let before = self.counters.recorded.fetch_add(1, Ordering::Relaxed);
                if before.is_multiple_of(self.wake_every) {
                    self.wake();
                }
            }
            Err(record) => self.lost(record),
        }
    }

    #[cold]
    fn lost(&self, record: SpanRecord) {
        count(&self.counters.dropped, 1);
        self.wake();
        self.ring.recycle(record.fields.into_buffer());
        let closed = self.closed.load(Ordering::Relaxed);
        if !closed && !self.warned_full.swap(true, Ordering::Relaxed) {
            log::warn!(
                "the queue of {} spans is full, so spans are dropped; stats() counts them",
                self.settings.batch.queue
            );
        }
    }

    /// Counts values that were recorded as text, or not at all.
    pub fn count_coerced(&self, values: u64) {
        count(&self.counters.coerced, values);
    }

    fn wake(&self) {
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// Exports what is queued now. False when it takes longer than `timeout`.
    pub fn flush(&self, timeout: Duration) -> bool {
        let mut control = self.lock();
        control.wanted += 1;
        let wanted = control.wanted;
        self.wait_until(control, timeout, |control| control.done >= wanted)
    }

    /// Exports what is queued, then ends the worker; spans that end later are lost and counted.
    /// False when it takes longer than `timeout`: the rest is then given up.
    pub fn shutdown(&self, timeout: Duration) -> bool {
        let mut control = self.lock();
        let close_by = Instant::now().checked_add(timeout).unwrap_or_else(far_away);
        control.close_by = Some(
            control
                .close_by
                .map_or(close_by, |earlier| earlier.min(close_by)),
        );
        self.closed.store(true, Ordering::Release);
        self.changed.notify_all();
        self.wait_until(control, timeout, |control| control.ended)
    }

    fn wait_until(
        &self,
        mut control: MutexGuard<'_, Control>,
        timeout: Duration,
        reached: impl Fn(&Control) -> bool,
    ) -> bool {
        let deadline = Instant::now().checked_add(timeout).unwrap_or_else(far_away);
        self.wake();
        while !reached(&control) && !control.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            control = self
                .changed
                .wait_timeout(control, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(control, _)| control);
        }
        true
    }

    /// What has been done so far.
    pub fn stats(&self) -> Stats {
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            recorded: of(&self.counters.recorded),
            exported: of(&self.counters.exported),
            dropped: of(&self.counters.dropped),
            failed: of(&self.counters.failed),
            sampled_out: of(&self.counters.sampled_out),
            coerced: of(&self.counters.coerced),
            queue_depth: self.ring.len(),
            last_error: self.lock().last_error.clone(),
        }
    }

    /// What the memory exporter kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut exporter: Box<dyn Exporter>) {
        let mut batch = Vec::with_capacity(self.settings.batch.size);
        let (mut popped, mut lost) = (Vec::new(), Vec::new());
        let mut tail = self.settings.tail.clone().map(TailBuffer::new);
        let mut memory = (Sources::default(), KnownKeys::default());
        let delay = self.settings.batch.delay.max(Batch::LEAST_DELAY);
        let mut due = Instant::now() + delay;
        loop {
            let (wanted, closing) = {
                let control = self.lock();
                (
                    (control.wanted > control.done).then_some(control.wanted),
                    control.close_by,
                )
            };
            let now = Instant::now();
            let full = self.ring.len() >= self.settings.batch.size;
            if full || wanted.is_some() || closing.is_some() || now >= due {
                // What came in after this moment is for the next round, so a flush ends.
                let mut left = self.ring.len();
                let everything = wanted.is_some() || closing.is_some() || now >= due;
                while left > 0 && (everything || left >= self.settings.batch.size) {
                    let size = left.min(self.settings.batch.size);
                    popped.extend(std::iter::from_fn(|| self.ring.pop()).take(size));
                    if popped.is_empty() {
                        break;
                    }
                    left -= popped.len();
                    match &mut tail {
                        None => std::mem::swap(&mut batch, &mut popped),
                        Some(tail) => {
                            for record in popped.drain(..) {
                                tail.offer(record, now, &mut batch, &mut lost);
                            }
                        }
                    }
                    self.finish(exporter.as_mut(), &mut batch, &mut memory);
                }
                if let Some(tail) = &mut tail {
                    let all = wanted.is_some() || closing.is_some();
                    tail.release(all, now, &mut batch, &mut lost);
                    self.finish(exporter.as_mut(), &mut batch, &mut memory);
                }
                count(&self.counters.sampled_out, lost.len() as u64);
                for record in lost.drain(..) {
                    self.ring.recycle(record.fields.into_buffer());
                }
                memory.0.forget();
                due = Instant::now() + delay;
                let ends =
                    closing.is_some() && (self.ring.len() == 0 || closing <= Some(Instant::now()));
                if ends {
                    // As for `export`.
                    let _ = catch_unwind(AssertUnwindSafe(|| exporter.shutdown()));
                }
                let mut control = self.lock();
                if let Some(wanted) = wanted {
                    control.done = wanted;
                }
                control.ended = ends;
                self.changed.notify_all();
                if control.ended {
                    return;
                }
            } else {
                thread::park_timeout(due - now);
            }
        }
    }

    /// Does what is left to do for finished spans, and exports them, a batch at a time.
    fn finish(
        &self,
        exporter: &mut dyn Exporter,
        finished: &mut Vec<SpanRecord>,
        (sources, known): &mut (Sources, KnownKeys),
    ) {
        for record in finished.iter_mut() {
            record.render_exceptions(sources, &self.settings.limits);
            self.settings.redaction.clean(record, known);
        }
        while finished.len() > self.settings.batch.size {
            let rest = finished.split_off(self.settings.batch.size);
            self.export(exporter, finished);
            *finished = rest;
        }
        if !finished.is_empty() {
            self.export(exporter, finished);
        }
    }

    fn export(&self, exporter: &mut dyn Exporter, batch: &mut Vec<SpanRecord>) {
        let count_of_batch = batch.len() as u64;
        let deadline = Instant::now() + self.settings.batch.export_timeout;
        let run = Run {
            resource: &self.settings.resource,
            deadline: self
                .lock()
                .close_by
                .map_or(deadline, |close_by| close_by.min(deadline)),
            noted: &|error| self.lock().last_error = Some(error.to_string()),
            interrupted: &|pause| {
                let control = self.lock();
                let close_by = control.close_by;
                let waited = self.changed.wait_timeout(control, pause);
                waited.map_or(close_by, |(control, _)| control.close_by)
            },
        };
        // An exporter of one's own may panic; the thread must live on.
        let outcome = catch_unwind(AssertUnwindSafe(|| exporter.export(batch, &run)))
            .unwrap_or_else(|_| Err(Error::Export("the exporter panicked".to_owned())));
        match outcome {
            Ok(accepted) => {
                let accepted = (accepted as u64).min(count_of_batch);
                self.failing.store(false, Ordering::Relaxed);
                count(&self.counters.exported, accepted);
                count(&self.counters.failed, count_of_batch - accepted);
            }
            Err(error) => {
                count(&self.counters.failed, count_of_batch);
                let text = error.to_string();
                // One warning while it lasts, not one for each batch.
                if !self.failing.swap(true, Ordering::Relaxed) {
                    log::warn!("{text}");
                }
                self.lock().last_error = Some(text);
            }
        }
        for record in batch.drain(..) {
            self.ring.recycle(record.fields.into_buffer());
        }
    }
}

/// For a timeout so long that its end has no `Instant`.
fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(30 * 365 * 86_400)
}

//! The bounded queue between the threads that record spans and the one that exports them.
//!
//! Recording must never wait: a full ring gives the span back, and the caller counts the loss.
//! The attribute buffers of exported spans go back to the recording threads by a second queue,
//! so in a steady state nothing is allocated. Both queues are crossbeam's lock-free array queue.

use crate::SpanRecord;
use crossbeam_queue::ArrayQueue;

/// A buffer that one huge span has grown is not kept.
const LARGEST_KEPT: usize = 512;

pub(crate) struct Ring {
    spans: ArrayQueue<SpanRecord>,
    buffers: ArrayQueue<Vec<u8>>,
}

impl Ring {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            spans: ArrayQueue::new(capacity),
            buffers: ArrayQueue::new(capacity.min(4096)),
        }
    }

    /// A buffer to write a span's fields into.
    #[inline]
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.buffers
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(128))
    }

    /// Takes a buffer back.
    pub(crate) fn recycle(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= LARGEST_KEPT {
            let _full = self.buffers.push(buffer);
        }
    }

    /// Queues a span; the span comes back when there is no room.
    #[inline]
    pub(crate) fn push(&self, record: SpanRecord) -> Result<(), SpanRecord> {
        self.spans.push(record)
    }

    pub(crate) fn pop(&self) -> Option<SpanRecord> {
        self.spans.pop()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fields, Level};
    use std::sync::atomic::{AtomicU64, Ordering};

    const THREADS: u64 = 3;
    const SPANS: u64 = 2000;

    /// tests/test_races.py runs this under ThreadSanitizer, too.
    #[test]
    fn what_comes_out_is_what_went_in_once() {
        // Small, so that it is often full and its slots and buffers are used again and again.
        let ring = Ring::new(8);
        let (pushed, finished) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut seen = vec![0_u64; THREADS as usize];
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (ring, pushed, finished) = (&ring, &pushed, &finished);
                scope.spawn(move || {
                    for number in 1..=SPANS {
                        let mut fields = Fields::new("span", ring.buffer());
                        fields.push("number", number.into());
                        let mut record = SpanRecord::unstarted(fields, Level::Info);
                        record.start_ns = thread;
                        record.end_ns = number;
                        match ring.push(record) {
                            Ok(()) => {
                                pushed.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(record) => {
                                ring.recycle(record.fields.into_buffer());
                                std::thread::yield_now();
                            }
                        }
                    }
                    finished.fetch_add(1, Ordering::Release);
                });
            }
            let mut popped = 0;
            loop {
                let all_pushed = finished.load(Ordering::Acquire) == THREADS;
                while let Some(record) = ring.pop() {
                    assert_eq!(record.name(), "span");
                    assert_eq!(record.fields.get("number"), Some(record.end_ns.into()));
                    // Those of one thread stay in order.
                    let last = &mut seen[record.start_ns as usize];
                    assert!(record.end_ns > std::mem::replace(last, record.end_ns));
                    ring.recycle(record.fields.into_buffer());
                    popped += 1;
                }
                if all_pushed {
                    break;
                }
                std::thread::yield_now();
            }
            assert_eq!(popped, pushed.load(Ordering::Relaxed));
        });
        assert_eq!(ring.len(), 0);
    }
}

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

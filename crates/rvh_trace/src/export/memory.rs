//! Keeps finished spans, for tests.

use super::{Exporter, Run};
use crate::{Error, SpanRecord};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// More than a test looks at; a program that leaves it on must not grow for ever.
const KEPT: usize = 100_000;

/// The spans that were kept, oldest first.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<VecDeque<SpanRecord>>>);

impl Store {
    /// A copy of the spans.
    pub fn spans(&self) -> Vec<SpanRecord> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// Forgets all spans.
    pub fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl Exporter for Store {
    fn export(&mut self, batch: &[SpanRecord], _run: &Run<'_>) -> Result<usize, Error> {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spans.extend(batch.iter().cloned());
        while spans.len() > KEPT {
            spans.pop_front();
        }
        Ok(batch.len())
    }
}

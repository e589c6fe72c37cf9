//! Tail sampling: a trace is kept or dropped when it is known how it went.
//!
//! The spans of a trace wait here until its local root has ended: the span with no parent in this
//! process. Then all of them go, or none. It happens on the exporting thread.

use crate::sampler::{bound, in_bound};
use crate::{SpanRecord, Status, TraceId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// What is kept of the traces that were recorded: all with an error, all with a slow span, and a
/// part of the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Tail {
    /// The part of the unremarkable traces that is kept, 0.0 to 1.0, chosen by trace id.
    pub ratio: f64,
    /// A span that takes at least this long makes its trace remarkable.
    pub slower_than: Option<Duration>,
}

/// Spans that may wait; beyond it the oldest trace is decided by what is known.
const MOST_WAITING: usize = 50_000;
/// A trace whose root does not end is decided by what is known after this time.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Decisions that are remembered for spans that end after their root.
const MOST_DECISIONS: usize = 10_000;

struct Waiting {
    since: Instant,
    spans: Vec<SpanRecord>,
    remarkable: bool,
}

/// The spans that wait.
pub(crate) struct TailBuffer {
    rules: Tail,
    waiting: HashMap<TraceId, Waiting>,
    /// Oldest first; may name traces that were decided since.
    order: VecDeque<TraceId>,
    count: usize,
    kept: HashSet<TraceId>,
    decided: VecDeque<TraceId>,
    dropped: HashSet<TraceId>,
}

impl TailBuffer {
    pub(crate) fn new(rules: Tail) -> Self {
        Self {
            rules,
            waiting: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
            kept: HashSet::new(),
            decided: VecDeque::new(),
            dropped: HashSet::new(),
        }
    }

    /// Takes a span in; what is decided by it is appended to `out` or `lost`.
    pub(crate) fn offer(
        &mut self,
        record: SpanRecord,
        now: Instant,
        out: &mut Vec<SpanRecord>,
        lost: &mut Vec<SpanRecord>,
    ) {
        let trace_id = record.trace_id;
        if self.kept.contains(&trace_id) {
            return out.push(record);
        }
        let remarkable = self.is_remarkable(&record);
        if self.dropped.contains(&trace_id) {
            // Late, but an error is never dropped, even without its trace.
            return if remarkable {
                out.push(record)
            } else {
                lost.push(record)
            };
        }
        let is_root = !record.parent_span_id.is_valid() || record.remote_parent;
        let waiting = self.waiting.entry(trace_id).or_insert_with(|| {
            self.order.push_back(trace_id);
            Waiting {
                since: now,
                spans: Vec::new(),
                remarkable: false,
            }
        });
        waiting.remarkable |= remarkable;
        waiting.spans.push(record);
        self.count += 1;
        if is_root {
            self.decide(trace_id, out, lost);
        }
        while self.count > MOST_WAITING && self.decide_oldest(out, lost) {}
    }

    /// Decides what has waited too long, or everything.
    pub(crate) fn release(
        &mut self,
        everything: bool,
        now: Instant,
        out: &mut Vec<SpanRecord>,
        lost: &mut Vec<SpanRecord>,
    ) {
        while let Some(oldest) = self.order.front() {
            let due = self
                .waiting
                .get(oldest)
                .is_none_or(|waiting| now.duration_since(waiting.since) >= LONGEST_WAIT);
            if !everything && !due {
                break;
            }
            self.decide_oldest(out, lost);
        }
    }

    fn is_remarkable(&self, record: &SpanRecord) -> bool {
        let slow = |limit: Duration| u128::from(record.duration_ns()) >= limit.as_nanos();
        record.status == Status::Error || self.rules.slower_than.is_some_and(slow)
    }

    fn decide_oldest(&mut self, out: &mut Vec<SpanRecord>, lost: &mut Vec<SpanRecord>) -> bool {
        let oldest = self.order.pop_front();
        oldest
            .map(|trace_id| self.decide(trace_id, out, lost))
            .is_some()
    }

    fn decide(&mut self, trace_id: TraceId, out: &mut Vec<SpanRecord>, lost: &mut Vec<SpanRecord>) {
        let Some(waiting) = self.waiting.remove(&trace_id) else {
            return;
        };
        self.count -= waiting.spans.len();
        let keep = waiting.remarkable || in_bound(trace_id, bound(self.rules.ratio));
        if keep {
            self.kept.insert(trace_id);
            out.extend(waiting.spans);
        } else {
            self.dropped.insert(trace_id);
            lost.extend(waiting.spans);
        }
        self.decided.push_back(trace_id);
        if self.decided.len() > MOST_DECISIONS
            && let Some(forgotten) = self.decided.pop_front()
        {
            self.kept.remove(&forgotten);
            self.dropped.remove(&forgotten);
        }
        // Names of decided traces would pile up behind a trace that never ends.
        if self.order.len() > 2 * self.waiting.len() + MOST_DECISIONS {
            let waiting = &self.waiting;
            self.order.retain(|trace_id| waiting.contains_key(trace_id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fields, Level, SpanContext, SpanId};

    fn span(trace: u128, parent: bool, status: Status, milliseconds: u64) -> SpanRecord {
        let mut record = SpanRecord::unstarted(Fields::new("s", Vec::new()), Level::Info);
        let context = SpanContext {
            trace_id: TraceId(trace),
            span_id: SpanId(7),
            ..SpanContext::default()
        };
        record.place(parent.then_some(&context));
        record.trace_id = TraceId(trace);
        record.status = status;
        record.end_ns = milliseconds * 1_000_000;
        record
    }

    fn tail(spans: Vec<SpanRecord>, everything: bool) -> (usize, usize) {
        let rules = Tail {
            ratio: 0.0,
            slower_than: Some(Duration::from_millis(100)),
        };
        let mut buffer = TailBuffer::new(rules);
        let (mut out, mut lost) = (Vec::new(), Vec::new());
        let now = Instant::now();
        for span in spans {
            buffer.offer(span, now, &mut out, &mut lost);
        }
        buffer.release(everything, now, &mut out, &mut lost);
        (out.len(), lost.len())
    }

    #[test]
    fn a_trace_goes_as_a_whole() {
        let ok = Status::Unset;
        assert_eq!(
            tail(vec![span(1, true, ok, 1), span(1, false, ok, 1)], false),
            (0, 2)
        );
        assert_eq!(
            tail(
                vec![span(1, true, Status::Error, 1), span(1, false, ok, 1)],
                false
            ),
            (2, 0)
        );
        assert_eq!(
            tail(vec![span(1, true, ok, 100), span(1, false, ok, 1)], false),
            (2, 0)
        );
        // Nothing is decided before the root has ended, unless it must be.
        assert_eq!(tail(vec![span(1, true, ok, 1)], false), (0, 0));
        assert_eq!(tail(vec![span(1, true, ok, 1)], true), (0, 1));
        // After the decision its spans follow it, but an error is kept.
        let late = vec![
            span(1, false, ok, 1),
            span(1, true, ok, 1),
            span(1, true, Status::Error, 1),
        ];
        assert_eq!(tail(late, false), (1, 2));
    }
}

//! Which traces are recorded.

use crate::{Error, SpanContext, SpanRecord, TraceId, Value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use wildmatch::WildMatch;

/// Decides, when a span starts, whether it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampler {
    /// Every span.
    AlwaysOn,
    /// No span.
    AlwaysOff,
    /// This part of the traces, 0.0 to 1.0, chosen by trace id so that all services agree.
    Ratio(f64),
    /// As the parent was; for a root, as the inner sampler says.
    ParentBased(Box<Sampler>),
    /// As the first rule that matches says; where none does, as the inner sampler says.
    ByRules(Vec<Rule>, Box<Sampler>),
    /// At most this many new traces a second, evenly; of those, as the inner sampler says.
    RateLimited(Box<RateLimit>),
}

/// Which spans, by what they are called and by the attributes that they begin with, and which part
/// of them is recorded.
///
/// In patterns `*` stands for any text and `?` for one character.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    name: Option<WildMatch>,
    attributes: Vec<(String, WildMatch)>,
    ratio: f64,
}

impl Rule {
    /// A rule for spans whose name matches the pattern, if there is one, and which have all these
    /// attributes, with values that match: numbers as they are written, `true` and `false`.
    ///
    /// `ratio` is the part that is recorded, 0.0 to 1.0, chosen by trace id.
    pub fn new(
        name: Option<&str>,
        attributes: &[(String, String)],
        ratio: f64,
    ) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&ratio) {
            let mend = "give a number from 0.0 to 1.0";
            return Err(Error::setting("rule's ratio", ratio.to_string(), mend));
        }
        Ok(Self {
            name: name.map(WildMatch::new),
            attributes: attributes
                .iter()
                .map(|(key, pattern)| (key.clone(), WildMatch::new(pattern)))
                .collect(),
            ratio,
        })
    }

    fn matches(&self, record: &SpanRecord) -> bool {
        let has = |(key, pattern): &(String, WildMatch)| match record.fields.get(key) {
            Some(Value::Str(text)) => pattern.matches(&text),
            Some(Value::Bool(value)) => pattern.matches(&value.to_string()),
            Some(Value::Int(value)) => pattern.matches(&value.to_string()),
            Some(Value::Float(value)) => pattern.matches(&value.to_string()),
            Some(Value::Bytes(_) | Value::List(_)) | None => false,
        };
        let named = self.name.as_ref();
        named.is_none_or(|pattern| pattern.matches(record.name()))
            && self.attributes.iter().all(has)
    }
}

/// A number of traces a second, and what else decides.
#[derive(Debug)]
pub struct RateLimit {
    per_second: f64,
    inner: Sampler,
    /// Not `now_ns`: the wall clock can be set back, and there would be no trace until it had
    /// caught up.
    since: Instant,
    /// When the next one may begin, in nanoseconds from one second before `since`.
    next: AtomicU64,
}

impl RateLimit {
    /// At most `per_second` traces a second, of those that `inner` samples.
    pub fn new(per_second: f64, inner: Sampler) -> Self {
        Self {
            per_second,
            inner,
            since: Instant::now(),
            next: AtomicU64::new(0),
        }
    }

    /// Whether there is room now. The unused room of one second may be used at once.
    fn admits(&self) -> bool {
        const SECOND: u64 = 1_000_000_000;
        if self.per_second <= 0.0 {
            return false;
        }
        let now = SECOND.saturating_add(self.since.elapsed().as_nanos() as u64);
        let step = (1e9 / self.per_second) as u64;
        let admit = |next: u64| {
            let from = next.max(now.saturating_sub(SECOND));
            (from <= now).then(|| from.saturating_add(step))
        };
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit)
            .is_ok()
    }
}

impl Clone for RateLimit {
    fn clone(&self) -> Self {
        Self::new(self.per_second, self.inner.clone())
    }
}

impl PartialEq for RateLimit {
    fn eq(&self, other: &Self) -> bool {
        self.per_second == other.per_second && self.inner == other.inner
    }
}

impl Default for Sampler {
    /// OpenTelemetry's default, `parentbased_always_on`.
    fn default() -> Self {
        Self::ParentBased(Box::new(Self::AlwaysOn))
    }
}

impl Sampler {
    /// Whether a span with this parent is recorded.
    pub fn samples(&self, parent: Option<&SpanContext>, record: &SpanRecord) -> bool {
        match self {
            Self::AlwaysOn => true,
            Self::AlwaysOff => false,
            Self::Ratio(ratio) => in_bound(record.trace_id, bound(*ratio)),
            Self::ParentBased(root) => match parent.filter(|context| context.is_valid()) {
                Some(parent) => parent.is_sampled(),
                None => root.samples(None, record),
            },
            Self::ByRules(rules, inner) => match rules.iter().find(|rule| rule.matches(record)) {
                // A trace whose beginning is not recorded is not recorded in pieces.
                Some(rule) => {
                    parent.is_none_or(|context| !context.is_valid() || context.is_sampled())
                        && in_bound(record.trace_id, bound(rule.ratio))
                }
                None => inner.samples(parent, record),
            },
            // A child of a recorded parent is part of a trace that was counted.
            Self::RateLimited(limit) => {
                limit.inner.samples(parent, record)
                    && (parent.is_some_and(|p| p.is_valid() && p.is_sampled()) || limit.admits())
            }
        }
    }

    /// For a sampler that follows the parent and else looks at the trace id only: the bound of
    /// [`in_bound`].
    pub(crate) fn root_bound(&self) -> Option<u64> {
        match self {
            Self::ParentBased(root) => match root.as_ref() {
                Self::AlwaysOn => Some(u64::MAX),
                Self::AlwaysOff => Some(0),
                Self::Ratio(ratio) => Some(bound(*ratio)),
                Self::ParentBased(_) => root.root_bound(),
                Self::ByRules(..) | Self::RateLimited(_) => None,
            },
            _ => None,
        }
    }

    /// The sampler of a name of `OTEL_TRACES_SAMPLER`, with `OTEL_TRACES_SAMPLER_ARG`.
    ///
    /// ```
    /// use rvh_trace::Sampler;
    /// let sampler = Sampler::from_name("parentbased_traceidratio", Some("0.25")).unwrap();
    /// assert_eq!(sampler, Sampler::ParentBased(Box::new(Sampler::Ratio(0.25))));
    /// ```
    pub fn from_name(name: &str, argument: Option<&str>) -> Result<Self, Error> {
        let ratio = || -> Result<Self, Error> {
            let text = argument.unwrap_or("1.0").trim();
            match text.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Self::Ratio(ratio)),
                _ => Err(Error::setting(
                    "OTEL_TRACES_SAMPLER_ARG",
                    text,
                    "give a number from 0.0 to 1.0",
                )),
            }
        };
        Ok(match name.trim() {
            "always_on" => Self::AlwaysOn,
            "always_off" => Self::AlwaysOff,
            "traceidratio" => ratio()?,
            "parentbased_always_on" => Self::ParentBased(Box::new(Self::AlwaysOn)),
            "parentbased_always_off" => Self::ParentBased(Box::new(Self::AlwaysOff)),
            "parentbased_traceidratio" => Self::ParentBased(Box::new(ratio()?)),
            other => {
                return Err(Error::setting(
                    "OTEL_TRACES_SAMPLER",
                    other,
                    "use always_on, always_off, traceidratio, parentbased_always_on, \
                     parentbased_always_off or parentbased_traceidratio",
                ));
            }
        })
    }
}

/// The part `ratio` of 2^64; all of it is `u64::MAX`, which [`in_bound`] takes for "every".
pub(crate) fn bound(ratio: f64) -> u64 {
    // Casting saturates.
    (ratio * 18_446_744_073_709_551_616.0) as u64
}

/// The low 64 bits of the trace id against the bound, as OpenTelemetry's SDKs do.
#[inline]
pub(crate) fn in_bound(trace_id: TraceId, bound: u64) -> bool {
    bound == u64::MAX || (trace_id.0 as u64) < bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fields, Level, SpanId};

    fn record(trace_id: u128) -> SpanRecord {
        let mut record = SpanRecord::unstarted(Fields::default(), Level::Info);
        record.trace_id = TraceId(trace_id);
        record
    }

    #[test]
    fn the_fast_decision_is_the_sampler_s() {
        for name in [
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ] {
            for ratio in ["0.0", "0.3", "1.0"] {
                let sampler = Sampler::from_name(name, Some(ratio)).expect("a sampler");
                let bound = sampler.root_bound().expect("a bound");
                for trace_id in [1, u128::from(u64::MAX), u128::MAX, 0x1234 << 60, 5 << 61] {
                    assert_eq!(
                        in_bound(TraceId(trace_id), bound),
                        sampler.samples(None, &record(trace_id)),
                        "{sampler:?} {trace_id:x}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let attribute = |key: &str, pattern: &str| [(key.to_owned(), pattern.to_owned())];
        let rules = vec![
            Rule::new(Some("GET /health*"), &[], 0.0).expect("a rule"),
            Rule::new(None, &attribute("code", "4??"), 1.0).expect("a rule"),
            Rule::new(Some("GET *"), &[], 0.5).expect("a rule"),
        ];
        let sampler = Sampler::ByRules(rules, Box::new(Sampler::AlwaysOff));
        let named = |name: &str, trace_id: u128| {
            let mut record = record(trace_id);
            record.fields = Fields::new(name, Vec::new());
            record
        };
        let mut with_code = named("POST /x", u128::MAX);
        with_code.fields.set("code", 404.into(), 9);
        assert!(sampler.samples(None, &with_code));
        with_code.fields.set("code", 4040.into(), 9);
        assert!(!sampler.samples(None, &with_code));
        assert!(!sampler.samples(None, &named("GET /healthz", 1)));
        assert!(sampler.samples(None, &named("GET /x", 1)));
        assert!(!sampler.samples(None, &named("GET /x", u128::from(u64::MAX))));
        let unsampled = SpanContext {
            trace_id: TraceId(1),
            span_id: SpanId(1),
            ..SpanContext::default()
        };
        assert!(!sampler.samples(Some(&unsampled), &named("GET /x", 1)));
        assert!(Rule::new(None, &[], 1.5).is_err());
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_trace() {
        // So many that one is always admitted.
        let sampler = Sampler::RateLimited(Box::new(RateLimit::new(1e9, Sampler::AlwaysOn)));
        assert!(sampler.samples(None, &record(1)));
        crate::span::SET_BACK_NS.set(3_600_000_000_000);
        let sampled = sampler.samples(None, &record(2));
        crate::span::SET_BACK_NS.set(0);
        assert!(sampled);
    }

    #[test]
    fn a_rate_holds_from_the_first_second_on() {
        let daily = RateLimit::new(1.0 / 86_400.0, Sampler::AlwaysOn);
        let admitted = (0..100).filter(|_| daily.admits()).count();
        assert_eq!(admitted, 1);
        assert!(!RateLimit::new(0.0, Sampler::AlwaysOn).admits());
    }

    #[test]
    fn a_child_follows_its_parent() {
        let parent = |flags| SpanContext {
            trace_id: TraceId(1),
            span_id: SpanId(1),
            flags,
            ..SpanContext::default()
        };
        let off = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
        assert!(off.samples(Some(&parent(1)), &record(1)));
        assert!(!Sampler::default().samples(Some(&parent(0)), &record(1)));
    }
}

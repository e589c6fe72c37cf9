//! The part of a span that travels: W3C Trace Context (`traceparent`, `tracestate`).

use crate::{SpanId, TraceId};
use std::sync::Arc;

/// Bit 0 of the trace flags: the caller recorded this trace.
pub const SAMPLED: u8 = 1;

/// What a child span or another process needs to know of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
    /// W3C trace flags; bit 0 is [`SAMPLED`].
    pub flags: u8,
    /// Whether it came from another process.
    pub remote: bool,
    /// Vendor data, passed on as it came; `None` when empty.
    pub tracestate: Option<Arc<str>>,
}

impl SpanContext {
    /// Whether both identifiers are set.
    pub fn is_valid(&self) -> bool {
        self.trace_id.is_valid() && self.span_id.is_valid()
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The `traceparent` header.
    ///
    /// ```
    /// use rvh_trace::SpanContext;
    /// let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    /// assert_eq!(SpanContext::from_traceparent(header).unwrap().traceparent(), header);
    /// ```
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    /// Reads a `traceparent` header; `None` when it is not one (W3C Trace Context level 1,
    /// section 3.2): version `ff`, upper case, zero identifiers and a version 00 with more
    /// than four parts are refused; a later version may carry more.
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let header = header.trim_matches([' ', '\t']);
        let bytes = header.as_bytes();
        let lower_hex = |part: &[u8]| {
            part.iter()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
        };
        if bytes.len() < 55 || bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' {
            return None;
        }
        let (version, trace_id, span_id, flags) =
            (&bytes[..2], &bytes[3..35], &bytes[36..52], &bytes[53..55]);
        if ![version, trace_id, span_id, flags]
            .into_iter()
            .all(lower_hex)
            || version == b"ff"
        {
            return None;
        }
        match bytes.get(55) {
            None => {}
            Some(b'-') if version != b"00" => {}
            Some(_) => return None,
        }
        let context = Self {
            trace_id: TraceId(u128::from_str_radix(&header[3..35], 16).ok()?),
            span_id: SpanId(u64::from_str_radix(&header[36..52], 16).ok()?),
            flags: u8::from_str_radix(&header[53..55], 16).ok()?,
            remote: true,
            tracestate: None,
        };
        context.is_valid().then_some(context)
    }

    /// Takes a `tracestate` header along; an invalid one is left out, as the specification says
    /// (section 3.3: at most 32 members, keys and values of the allowed characters).
    #[must_use]
    pub fn with_tracestate(mut self, header: &str) -> Self {
        let members: Vec<&str> = header
            .split(',')
            .map(|m| m.trim_matches([' ', '\t']))
            .filter(|m| !m.is_empty())
            .collect();
        let valid = !members.is_empty()
            && members.len() <= 32
            && members.iter().all(|member| is_tracestate_member(member))
            && (1..members.len()).all(|i| {
                let key = |member: &str| member.split_once('=').map(|(key, _)| key.to_owned());
                !members[..i]
                    .iter()
                    .any(|earlier| key(earlier) == key(members[i]))
            });
        self.tracestate = valid.then(|| members.join(",").into());
        self
    }
}

fn is_tracestate_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else {
        return false;
    };
    let key_char = |b: u8| {
        b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || matches!(b, b'_' | b'-' | b'*' | b'/' | b'@')
    };
    let first = key
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first
        && key.len() <= 256
        && key.bytes().all(key_char)
        && (1..=256).contains(&value.len())
        && value
            .bytes()
            .all(|b| (0x20..=0x7e).contains(&b) && b != b',' && b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn traceparent_is_read_as_the_specification_says() {
        assert!(SpanContext::from_traceparent(GOOD).is_some_and(|c| c.is_sampled() && c.remote));
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0é",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(SpanContext::from_traceparent(bad), None, "{bad}");
        }
        let later = format!("cc{}-what-comes", &GOOD[2..]);
        assert!(SpanContext::from_traceparent(&later).is_some());
    }

    #[test]
    fn tracestate_is_passed_on_or_left_out() {
        let with = |state: &str| SpanContext::default().with_tracestate(state).tracestate;
        assert_eq!(with("a=1, b@x=2").as_deref(), Some("a=1,b@x=2"));
        for bad in ["", "a", "A=1", "a=1,a=2", "a=", "=1", "a=b=c"] {
            assert_eq!(with(bad), None, "{bad}");
        }
    }
}

//! A span as it is recorded, queued and exported.

use crate::exception::{Exception, Sources};
use crate::fields::cut;
use crate::ids;
use crate::{Fields, Level, Limits, SpanContext, SpanId, TraceId, Value, ValueRef};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970-01-01 UTC.
#[inline]
pub fn now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64);
    #[cfg(test)]
    let now = now - SET_BACK_NS.get();
    now
}

#[cfg(test)]
thread_local! {
    /// How far a test has set back the clock that its thread sees.
    pub(crate) static SET_BACK_NS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// The side of a call that a span describes; numbers as in OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Work inside the program.
    #[default]
    Internal = 1,
    /// Serves a request.
    Server = 2,
    /// Makes a request.
    Client = 3,
    /// Sends a message.
    Producer = 4,
    /// Handles a message.
    Consumer = 5,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Internal,
        Self::Server,
        Self::Client,
        Self::Producer,
        Self::Consumer,
    ];

    /// Its name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    /// The kind of this number of OTLP.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// How a span ended; numbers as in OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset = 0,
    /// Someone said that it went well; this is final.
    Ok = 1,
    /// It failed.
    Error = 2,
}

impl Status {
    const ALL: [Self; 3] = [Self::Unset, Self::Ok, Self::Error];

    /// Its name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }

    /// The status of this number of OTLP.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|status| *status as u8 == number)
    }

    /// The status of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// Something that happened in a span.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Its name and attributes.
    pub fields: Fields,
    /// The exception that it tells of, until its text has been rendered.
    pub exception: Option<Box<Exception>>,
}

/// A pointer to another span.
#[derive(Clone, Debug)]
pub struct Link {
    /// The other span.
    pub context: SpanContext,
    /// The link's attributes; the name is empty.
    pub fields: Fields,
}

/// What most spans do not have; kept apart so that a queued span stays small.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// What happened in the span.
    pub events: Vec<Event>,
    /// Other spans that it belongs with.
    pub links: Vec<Link>,
    /// Events left out by a limit.
    pub dropped_events: u32,
    /// Links left out by a limit.
    pub dropped_links: u32,
    /// What the error was.
    pub status_message: String,
    /// Vendor data of the trace.
    pub tracestate: Option<Arc<str>>,
    /// The instrumentation library that made the span, and its version.
    pub scope: Option<Arc<(String, String)>>,
}

/// A span as it is recorded, queued and exported.
#[derive(Clone, Debug)]
pub struct SpanRecord {
    /// The trace that it is part of.
    pub trace_id: TraceId,
    /// Its own identifier.
    pub span_id: SpanId,
    /// Its parent's identifier; zero for a root.
    pub parent_span_id: SpanId,
    /// Start, in nanoseconds since 1970.
    pub start_ns: u64,
    /// End, in nanoseconds since 1970; zero while it runs.
    pub end_ns: u64,
    /// Name and attributes.
    pub fields: Fields,
    /// The side of a call.
    pub kind: Kind,
    /// How it ended.
    pub status: Status,
    /// W3C trace flags.
    pub flags: u8,
    /// How much it matters.
    pub level: Level,
    /// Whether the parent is in another process.
    pub remote_parent: bool,
    /// What most spans do not have.
    pub extra: Option<Box<Extra>>,
}

impl SpanRecord {
    /// A span that has no place in a trace yet; see [`SpanRecord::place`].
    #[inline]
    pub fn unstarted(fields: Fields, level: Level) -> Self {
        Self {
            trace_id: TraceId::default(),
            span_id: SpanId::default(),
            parent_span_id: SpanId::default(),
            start_ns: 0,
            end_ns: 0,
            fields,
            kind: Kind::Internal,
            status: Status::Unset,
            flags: crate::context::SAMPLED,
            level,
            remote_parent: false,
            extra: None,
        }
    }

    /// Gives it its place: a child of `parent`, or the root of a new trace. The clock is not read,
    /// because the span may not be recorded.
    #[inline]
    pub fn place(&mut self, parent: Option<&SpanContext>) {
        match parent.filter(|context| context.is_valid()) {
            Some(parent) => {
                self.span_id = SpanId::random();
                self.trace_id = parent.trace_id;
                self.parent_span_id = parent.span_id;
                self.remote_parent = parent.remote;
                if parent.tracestate.is_some() {
                    self.extra().tracestate.clone_from(&parent.tracestate);
                }
            }
            None => (self.trace_id, self.span_id) = ids::random(),
        }
    }

    /// Gives it the place that another module has found for it.
    pub(crate) fn place_as(&mut self, context: &SpanContext, parent: Option<&SpanContext>) {
        self.trace_id = context.trace_id;
        self.span_id = context.span_id;
        self.flags = context.flags;
        if let Some(parent) = parent.filter(|parent| parent.is_valid()) {
            self.parent_span_id = parent.span_id;
            self.remote_parent = parent.remote;
        }
        if context.tracestate.is_some() {
            self.extra().tracestate.clone_from(&context.tracestate);
        }
    }

    /// Takes the record out; what stays behind has its identifiers and nothing else.
    #[inline]
    pub fn take(&mut self) -> Self {
        let mut rest = Self::unstarted(Fields::default(), self.level);
        rest.trace_id = self.trace_id;
        rest.span_id = self.span_id;
        rest.parent_span_id = self.parent_span_id;
        rest.flags = self.flags;
        std::mem::replace(self, rest)
    }

    /// What a child needs to know.
    #[inline]
    pub fn context(&self) -> SpanContext {
        SpanContext {
            trace_id: self.trace_id,
            span_id: self.span_id,
            flags: self.flags,
            remote: false,
            tracestate: self
                .extra
                .as_ref()
                .and_then(|extra| extra.tracestate.clone()),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.fields.name()
    }

    /// The part that most spans do not have, made when it is needed.
    pub fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Sets an attribute within the limits.
    pub fn set(&mut self, key: &str, value: ValueRef<'_>, limits: &Limits) {
        set_within(
            &mut self.fields,
            key,
            value,
            limits.attributes,
            limits.value_length,
        );
    }

    /// Adds an event within the limits; the oldest stay.
    pub fn add_event(
        &mut self,
        name: &str,
        time_ns: u64,
        attributes: &[(String, Value)],
        limits: &Limits,
    ) {
        let extra = self.extra();
        if extra.events.len() >= limits.events {
            extra.dropped_events = extra.dropped_events.saturating_add(1);
            return;
        }
        let mut fields = Fields::new(name, Vec::new());
        for (key, value) in attributes {
            set_within(
                &mut fields,
                key,
                value.into(),
                limits.event_attributes,
                limits.value_length,
            );
        }
        extra.events.push(Event {
            time_ns,
            fields,
            exception: None,
        });
    }

    /// Adds a link within the limits.
    pub fn add_link(
        &mut self,
        context: SpanContext,
        attributes: &[(String, Value)],
        limits: &Limits,
    ) {
        let extra = self.extra();
        if extra.links.len() >= limits.links {
            extra.dropped_links = extra.dropped_links.saturating_add(1);
            return;
        }
        let mut fields = Fields::new("", Vec::new());
        for (key, value) in attributes {
            set_within(
                &mut fields,
                key,
                value.into(),
                limits.link_attributes,
                limits.value_length,
            );
        }
        extra.links.push(Link { context, fields });
    }

    /// Sets the status by OpenTelemetry's rules (trace API, "Set Status"): Ok is final, Unset
    /// changes nothing, and only an error keeps its message.
    pub fn set_status(&mut self, status: Status, message: &str) {
        if self.status == Status::Ok || status == Status::Unset {
            return;
        }
        self.status = status;
        if status == Status::Error && !message.is_empty() {
            self.extra().status_message = message.to_owned();
        } else if let Some(extra) = &mut self.extra {
            extra.status_message.clear();
        }
    }

    /// Records an exception as OpenTelemetry's semantic conventions name it. The text of its stack
    /// is rendered later, on the exporting thread.
    pub fn record_exception(
        &mut self,
        exception: Exception,
        time_ns: u64,
        attributes: &[(String, Value)],
        limits: &Limits,
    ) {
        let extra = self.extra();
        if extra.events.len() >= limits.events {
            extra.dropped_events = extra.dropped_events.saturating_add(1);
            return;
        }
        // Written straight into the buffer: this is in the way of the traced code.
        let size = 64 + exception.kind.len() + exception.message.len();
        let mut fields = Fields::new("exception", Vec::with_capacity(size));
        for (key, text) in [
            ("exception.type", &exception.kind),
            ("exception.message", &exception.message),
        ] {
            set_within(
                &mut fields,
                key,
                text.into(),
                limits.event_attributes,
                limits.value_length,
            );
        }
        for (key, value) in attributes {
            set_within(
                &mut fields,
                key,
                value.into(),
                limits.event_attributes,
                limits.value_length,
            );
        }
        let exception = Some(Box::new(exception));
        extra.events.push(Event {
            time_ns,
            fields,
            exception,
        });
    }

    /// Renders the stacks of its exceptions.
    pub(crate) fn render_exceptions(&mut self, sources: &mut Sources, limits: &Limits) {
        let Some(extra) = &mut self.extra else { return };
        for event in &mut extra.events {
            if let Some(exception) = event.exception.take() {
                let key = "exception.stacktrace";
                if !event.fields.contains(key) {
                    let text = exception.render(sources);
                    let value = ValueRef::Str(&text);
                    set_within(
                        &mut event.fields,
                        key,
                        value,
                        usize::MAX,
                        limits.value_length,
                    );
                }
            }
        }
    }

    /// Time from start to end, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }
}

/// Sets an attribute whose key is known to be new, within the limits.
#[inline]
pub fn set_new(fields: &mut Fields, key: &str, value: ValueRef<'_>, limits: &Limits) {
    let short = limits.value_length.is_none() && !key.is_empty();
    if short && fields.len() < limits.attributes {
        fields.push(key, value);
    } else {
        set_within(fields, key, value, limits.attributes, limits.value_length);
    }
}

/// Sets an attribute within limits of number and of length (in characters, as OpenTelemetry counts).
fn set_within(
    fields: &mut Fields,
    key: &str,
    value: ValueRef<'_>,
    count: usize,
    length: Option<usize>,
) {
    if key.is_empty() {
        fields.count_dropped();
        return;
    }
    match (value, length) {
        (ValueRef::Str(text), Some(length)) if text.len() > length => {
            fields.set(key, ValueRef::Str(first_chars(text, length)), count);
        }
        (ValueRef::List(values), Some(length)) => {
            let short: Vec<Value> = values
                .iter()
                .map(|value| match value {
                    Value::Str(text) => Value::Str(first_chars(text, length).to_owned()),
                    other => other.clone(),
                })
                .collect();
            fields.set(key, ValueRef::List(&short), count);
        }
        _ => fields.set(key, value, count),
    }
}

/// A copy of fields that lives in `buffer` and keeps within the limits of a span.
#[inline]
pub fn copy_within(fields: &Fields, buffer: Vec<u8>, limits: &Limits) -> Fields {
    if limits.value_length.is_none() && fields.len() <= limits.attributes {
        return fields.copy_into(buffer);
    }
    let mut copy = Fields::new(fields.name(), buffer);
    for (key, value) in fields.iter() {
        set_new(&mut copy, key, (&value).into(), limits);
    }
    copy
}

fn first_chars(text: &str, count: usize) -> &str {
    text.char_indices()
        .nth(count)
        .map_or(text, |(end, _)| cut(text, end))
}

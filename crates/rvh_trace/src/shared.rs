//! One pipeline for several extension modules of one Python process.
//!
//! Each module that links this crate has a copy of it, with statics of its own. One of them, the
//! Python package's, gives out a [`Vtable`]; a module that is given it by [`join`] has no pipeline
//! of its own: its spans find their parents there, and go there when they end.
//!
//! The modules may come from different compilers, so nothing of Rust's own layout crosses: only C
//! structs, which are borrowed for the time of a call, and numbers. What changes is the `version`
//! when a meaning changes, and the `size` when functions are added at the end.
//!
//! All `unsafe` here is at that boundary. What it relies on: a vtable lives as long as the process
//! (extension modules are never unloaded), a pointer to a struct is valid for the time of the call
//! that it is given to, and a [`Slice`] that is not empty points to as many initialised items.

#[cfg(feature = "layer")]
use crate::Value;
use crate::exception::Sources;
use crate::fields::Encoded;
use crate::tracer::Owner;
use crate::{
    Error, Event, Fields, Kind, Level, Limits, Link, SpanContext, SpanId, SpanRecord, Stats,
    Status, TraceId,
};
use crate::{installed, tracer};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

/// The version of [`Vtable`] and of the structs that it speaks of.
pub const VERSION: u32 = 1;

/// What one module offers to the others.
#[repr(C)]
pub struct Vtable {
    /// [`VERSION`] of the module that offers it. The first two fields never change.
    version: u32,
    /// Bytes of this struct there.
    size: u32,
    enabled: extern "C" fn(level: u8) -> u8,
    current: unsafe extern "C" fn(give: Give, to: *mut c_void),
    open: unsafe extern "C" fn(
        parent: *const CContext,
        level: u8,
        fields: *const CFields,
        give: Give,
        to: *mut c_void,
    ) -> u8,
    enter: unsafe extern "C" fn(*const CContext),
    leave: unsafe extern "C" fn(*const CContext),
    submit: unsafe extern "C" fn(*const CRecord),
    limits: unsafe extern "C" fn(*mut CLimits),
    flush: extern "C" fn(nanoseconds: u64) -> u8,
    stats: unsafe extern "C" fn(*mut CStats),
    event_owner: extern "C" fn(in_rust: u8) -> u8,
    add_event: unsafe extern "C" fn(*const CEvent),
}

/// Receives a context that is borrowed for the time of the call.
type Give = unsafe extern "C" fn(*const CContext, to: *mut c_void);

#[repr(C)]
struct Slice<T> {
    start: *const T,
    len: usize,
}

impl<T> Clone for Slice<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slice<T> {}

impl<T> Slice<T> {
    fn of(items: &[T]) -> Self {
        Self {
            start: items.as_ptr(),
            len: items.len(),
        }
    }

    /// # Safety
    /// It was made by `of`, from items that are still there.
    unsafe fn get<'a>(self) -> &'a [T] {
        if self.len == 0 || self.start.is_null() {
            return &[];
        }
        // SAFETY: by the contract above.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

/// # Safety
/// As for `Slice::get`.
unsafe fn text(bytes: Slice<u8>) -> String {
    // SAFETY: by the contract above.
    String::from_utf8_lossy(unsafe { bytes.get() }).into_owned()
}

#[repr(C)]
struct CContext {
    trace_id: [u8; 16],
    span_id: u64,
    flags: u8,
    remote: u8,
    tracestate: Slice<u8>,
}

impl CContext {
    fn of(context: &SpanContext) -> Self {
        Self {
            trace_id: context.trace_id.0.to_be_bytes(),
            span_id: context.span_id.0,
            flags: context.flags,
            remote: u8::from(context.remote),
            tracestate: Slice::of(context.tracestate.as_deref().unwrap_or_default().as_bytes()),
        }
    }

    /// # Safety
    /// Its slices must be valid.
    unsafe fn read(&self) -> SpanContext {
        // SAFETY: by the contract above.
        let tracestate = unsafe { text(self.tracestate) };
        SpanContext {
            trace_id: TraceId(u128::from_be_bytes(self.trace_id)),
            span_id: SpanId(self.span_id),
            flags: self.flags,
            remote: self.remote != 0,
            tracestate: (!tracestate.is_empty()).then(|| tracestate.into()),
        }
    }
}

#[repr(C)]
struct CFields {
    name_len: u32,
    count: u32,
    dropped: u32,
    bytes: Slice<u8>,
}

impl CFields {
    fn of(fields: &Fields) -> Self {
        let encoded = fields.encoded();
        Self {
            name_len: encoded.name_len,
            count: encoded.count,
            dropped: encoded.dropped,
            bytes: Slice::of(encoded.bytes),
        }
    }

    /// # Safety
    /// Its slice must be valid.
    unsafe fn read(&self, buffer: Vec<u8>) -> Fields {
        let encoded = Encoded {
            name_len: self.name_len,
            count: self.count,
            dropped: self.dropped,
            // SAFETY: by the contract above.
            bytes: unsafe { self.bytes.get() },
        };
        Fields::from_encoded(&encoded, buffer)
    }
}

#[repr(C)]
struct CEvent {
    time_ns: u64,
    fields: CFields,
}

#[repr(C)]
struct CLink {
    context: CContext,
    fields: CFields,
}

#[repr(C)]
struct CRecord {
    context: CContext,
    parent_span_id: u64,
    start_ns: u64,
    end_ns: u64,
    kind: u8,
    status: u8,
    level: u8,
    remote_parent: u8,
    dropped_events: u32,
    dropped_links: u32,
    fields: CFields,
    status_message: Slice<u8>,
    events: Slice<CEvent>,
    links: Slice<CLink>,
}

/// Gives `use_it` what crosses of a record.
fn with_record<T>(record: &SpanRecord, use_it: impl FnOnce(&CRecord) -> T) -> T {
    let none = crate::Extra::default();
    let extra = record.extra.as_deref().unwrap_or(&none);
    let context = record.context();
    let events: Vec<CEvent> = (extra.events.iter())
        .map(|event| CEvent {
            time_ns: event.time_ns,
            fields: CFields::of(&event.fields),
        })
        .collect();
    let links: Vec<CLink> = (extra.links.iter())
        .map(|link| CLink {
            context: CContext::of(&link.context),
            fields: CFields::of(&link.fields),
        })
        .collect();
    use_it(&CRecord {
        context: CContext::of(&context),
        parent_span_id: record.parent_span_id.0,
        start_ns: record.start_ns,
        end_ns: record.end_ns,
        kind: record.kind as u8,
        status: record.status as u8,
        level: record.level as u8,
        remote_parent: u8::from(record.remote_parent),
        dropped_events: extra.dropped_events,
        dropped_links: extra.dropped_links,
        fields: CFields::of(&record.fields),
        status_message: Slice::of(extra.status_message.as_bytes()),
        events: Slice::of(&events),
        links: Slice::of(&links),
    })
}

impl CRecord {
    /// # Safety
    /// Its slices must be valid.
    unsafe fn read(&self, buffer: Vec<u8>) -> SpanRecord {
        // SAFETY: by the contract above, for all of this block.
        unsafe {
            let context = self.context.read();
            let level = Level::from_u8(self.level).unwrap_or_default();
            let mut record = SpanRecord::unstarted(self.fields.read(buffer), level);
            record.trace_id = context.trace_id;
            record.span_id = context.span_id;
            record.flags = context.flags;
            record.parent_span_id = SpanId(self.parent_span_id);
            record.start_ns = self.start_ns;
            record.end_ns = self.end_ns;
            record.kind = Kind::from_number(self.kind).unwrap_or_default();
            record.status = Status::from_number(self.status).unwrap_or_default();
            record.remote_parent = self.remote_parent != 0;
            let (events, links) = (self.events.get(), self.links.get());
            let message = text(self.status_message);
            let dropped = self.dropped_events > 0 || self.dropped_links > 0;
            let plain = events.is_empty() && links.is_empty() && message.is_empty();
            if !plain || dropped || context.tracestate.is_some() {
                let extra = record.extra();
                extra.dropped_events = self.dropped_events;
                extra.dropped_links = self.dropped_links;
                extra.status_message = message;
                extra.tracestate = context.tracestate;
                extra.events.extend(events.iter().map(|event| Event {
                    time_ns: event.time_ns,
                    fields: event.fields.read(Vec::new()),
                    exception: None,
                }));
                extra.links.extend(links.iter().map(|link| Link {
                    context: link.context.read(),
                    fields: link.fields.read(Vec::new()),
                }));
            }
            record
        }
    }
}

#[repr(C)]
struct CLimits {
    attributes: u64,
    /// `u64::MAX` for any number.
    value_length: u64,
    events: u64,
    links: u64,
    event_attributes: u64,
    link_attributes: u64,
}

#[repr(C)]
#[derive(Default)]
struct CStats {
    recorded: u64,
    exported: u64,
    dropped: u64,
    failed: u64,
    sampled_out: u64,
    coerced: u64,
    queue_depth: u64,
}

// What this module offers. A panic must not leave a C function.

fn guarded<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

extern "C" fn enabled(level: u8) -> u8 {
    u8::from(Level::from_u8(level).is_some_and(tracer::enabled_here))
}

unsafe extern "C" fn current(give: Give, to: *mut c_void) {
    guarded((), || {
        if let Some(context) = tracer::current_context_here() {
            let context = CContext::of(&context);
            // SAFETY: the context outlives the call; `to` is passed on as it came.
            unsafe { give(&raw const context, to) };
        }
    });
}

/// What `open` returns: nothing is recorded, and there is no context.
const OFF: u8 = 0;
/// Not sampled: there is a context, for children.
const NOT_SAMPLED: u8 = 1;
/// To be recorded and submitted.
const RECORDING: u8 = 2;

unsafe extern "C" fn open(
    parent: *const CContext,
    level: u8,
    fields: *const CFields,
    give: Give,
    to: *mut c_void,
) -> u8 {
    guarded(OFF, || {
        // SAFETY: valid for the time of the call, or NULL; so are their slices.
        let (parent, fields) = unsafe {
            let fields = fields.as_ref().map(|fields| fields.read(Vec::new()));
            (parent.as_ref().map(|parent| parent.read()), fields)
        };
        let level = Level::from_u8(level).unwrap_or_default();
        let fields = fields.unwrap_or_default();
        let Some((context, sampled)) = tracer::place_here(fields, level, parent.as_ref()) else {
            return OFF;
        };
        let context = CContext::of(&context);
        // SAFETY: the context outlives the call; `to` is passed on as it came.
        unsafe { give(&raw const context, to) };
        if sampled { RECORDING } else { NOT_SAMPLED }
    })
}

unsafe extern "C" fn enter(context: *const CContext) {
    guarded((), || {
        // SAFETY: valid for the time of the call, as are its slices.
        if let Some(context) = unsafe { context.as_ref().map(|context| context.read()) } {
            tracer::push_here(context);
        }
    });
}

unsafe extern "C" fn leave(context: *const CContext) {
    guarded((), || {
        // SAFETY: valid for the time of the call, as are its slices.
        if let Some(context) = unsafe { context.as_ref().map(|context| context.read()) } {
            tracer::remove_here(&context);
        }
    });
}

unsafe extern "C" fn submit(record: *const CRecord) {
    guarded((), || {
        if let Some(pipeline) = installed::pipeline()
            // SAFETY: valid for the time of the call.
            && let Some(record) = unsafe { record.as_ref() }
        {
            // SAFETY: so are its slices.
            pipeline.submit(unsafe { record.read(pipeline.buffer()) });
        }
    });
}

unsafe extern "C" fn limits(to: *mut CLimits) {
    guarded((), || {
        let limits = tracer::limits_here().unwrap_or_default();
        let number = |limit: usize| limit as u64;
        // SAFETY: the caller's, valid for the time of the call.
        if let Some(to) = unsafe { to.as_mut() } {
            *to = CLimits {
                attributes: number(limits.attributes),
                value_length: limits.value_length.map_or(u64::MAX, number),
                events: number(limits.events),
                links: number(limits.links),
                event_attributes: number(limits.event_attributes),
                link_attributes: number(limits.link_attributes),
            };
        }
    });
}

extern "C" fn flush(nanoseconds: u64) -> u8 {
    guarded(0, || {
        u8::from(tracer::flush_here(Duration::from_nanos(nanoseconds)))
    })
}

unsafe extern "C" fn stats(to: *mut CStats) {
    guarded((), || {
        let stats = tracer::stats_here();
        // SAFETY: the caller's, valid for the time of the call.
        if let Some(to) = unsafe { to.as_mut() } {
            *to = CStats {
                recorded: stats.recorded,
                exported: stats.exported,
                dropped: stats.dropped,
                failed: stats.failed,
                sampled_out: stats.sampled_out,
                coerced: stats.coerced,
                queue_depth: stats.queue_depth as u64,
            };
        }
    });
}

// What `event_owner` returns.
const RUST: u8 = 0;
const FOREIGN: u8 = 1;
const NOBODY: u8 = 2;

extern "C" fn event_owner(in_rust: u8) -> u8 {
    guarded(RUST, || match tracer::event_owner_here(in_rust != 0) {
        Owner::Rust => RUST,
        Owner::Foreign => FOREIGN,
        Owner::Nobody => NOBODY,
    })
}

unsafe extern "C" fn add_event(event: *const CEvent) {
    guarded((), || {
        // SAFETY: valid for the time of the call, as are its slices.
        let event =
            unsafe { (event.as_ref()).map(|event| (event.time_ns, event.fields.read(Vec::new()))) };
        if let Some((time_ns, fields)) = event {
            let attributes: Vec<_> = (fields.iter())
                .map(|(key, value)| (key.to_owned(), value))
                .collect();
            tracer::add_foreign_event_here(fields.name(), time_ns, &attributes);
        }
    });
}

static OURS: Vtable = Vtable {
    version: VERSION,
    size: size_of::<Vtable>() as u32,
    enabled,
    current,
    open,
    enter,
    leave,
    submit,
    limits,
    flush,
    stats,
    event_owner,
    add_event,
};

/// What this module offers to the others.
pub fn vtable() -> &'static Vtable {
    &OURS
}

static JOINED: AtomicPtr<Vtable> = AtomicPtr::new(null_mut());

/// Records into the pipeline of another module from now on.
///
/// # Errors
/// The other module has an incompatible version, or this one already has a pipeline. Nothing has
/// changed then: this module goes on with a pipeline of its own.
///
/// # Safety
/// `theirs` must be the address of a [`Vtable`], of whatever version, that another module offers.
pub unsafe fn join(theirs: *const Vtable) -> Result<(), Error> {
    // SAFETY: the first two fields are the same in all versions.
    let (version, size) = unsafe { ((*theirs).version, (*theirs).size) };
    if version != VERSION || (size as usize) < size_of::<Vtable>() {
        return Err(Error::NotShared(format!(
            "it offers version {version} of {size} bytes, and this module was built for version \
             {VERSION} of {} bytes",
            size_of::<Vtable>()
        )));
    }
    if std::ptr::eq(theirs, &raw const OURS) {
        return Ok(());
    }
    tracer::unless_set_up(|| JOINED.store(theirs.cast_mut(), Ordering::Release))
}

/// The pipeline of another module, if this one has joined it.
#[inline]
pub(crate) fn joined() -> Option<Joined> {
    let theirs = JOINED.load(Ordering::Acquire);
    // SAFETY: what `join` was given lives as long as the process.
    unsafe { theirs.as_ref() }.map(Joined)
}

#[derive(Clone, Copy)]
pub(crate) struct Joined(&'static Vtable);

/// Takes a context over that is borrowed for the time of the call.
unsafe extern "C" fn take(context: *const CContext, to: *mut c_void) {
    // SAFETY: `to` is the slot that `given` passes; the context is valid for the time of the call.
    unsafe { *to.cast::<Option<SpanContext>>() = context.as_ref().map(|context| context.read()) };
}

/// The context that `call` gives.
fn given<T>(call: impl FnOnce(Give, *mut c_void) -> T) -> (T, Option<SpanContext>) {
    let mut slot: Option<SpanContext> = None;
    let outcome = call(take, (&raw mut slot).cast());
    (outcome, slot)
}

// Each call passes structs of the version that `join` has checked, alive for its time.
impl Joined {
    pub(crate) fn enabled(self, level: Level) -> bool {
        (self.0.enabled)(level as u8) != 0
    }

    pub(crate) fn current(self) -> Option<SpanContext> {
        // SAFETY: see above.
        given(|give, to| unsafe { (self.0.current)(give, to) }).1
    }

    /// Its context, and whether it is to be recorded; `None` when tracing is off.
    pub(crate) fn open(
        self,
        fields: &Fields,
        level: Level,
        parent: Option<&SpanContext>,
    ) -> Option<(SpanContext, bool)> {
        let parent = parent.map(CContext::of);
        let parent = parent.as_ref().map_or(null(), |parent| &raw const *parent);
        let fields = CFields::of(fields);
        let (outcome, context) = given(|give, to| {
            // SAFETY: see above.
            unsafe { (self.0.open)(parent, level as u8, &raw const fields, give, to) }
        });
        context.map(|context| (context, outcome == RECORDING))
    }

    pub(crate) fn enter(self, context: &SpanContext) {
        let context = CContext::of(context);
        // SAFETY: see above.
        unsafe { (self.0.enter)(&raw const context) };
    }

    pub(crate) fn leave(self, context: &SpanContext) {
        let context = CContext::of(context);
        // SAFETY: see above.
        unsafe { (self.0.leave)(&raw const context) };
    }

    pub(crate) fn submit(self, mut record: SpanRecord) {
        // An exception's frames stay here, its text goes.
        record.render_exceptions(&mut Sources::default(), &self.limits());
        with_record(&record, |record| {
            // SAFETY: see above.
            unsafe { (self.0.submit)(&raw const *record) };
        });
    }

    pub(crate) fn limits(self) -> Limits {
        let number = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let none = number(0) as u64;
        let mut limits = CLimits {
            attributes: none,
            value_length: none,
            events: none,
            links: none,
            event_attributes: none,
            link_attributes: none,
        };
        // SAFETY: see above.
        unsafe { (self.0.limits)(&raw mut limits) };
        Limits {
            attributes: number(limits.attributes),
            value_length: (limits.value_length != u64::MAX).then(|| number(limits.value_length)),
            events: number(limits.events),
            links: number(limits.links),
            event_attributes: number(limits.event_attributes),
            link_attributes: number(limits.link_attributes),
        }
    }

    #[cfg(feature = "layer")]
    pub(crate) fn event_owner(self, in_rust: bool) -> Owner {
        match (self.0.event_owner)(u8::from(in_rust)) {
            FOREIGN => Owner::Foreign,
            NOBODY => Owner::Nobody,
            _ => Owner::Rust,
        }
    }

    /// Adds an event to the foreign span there, whose limits are kept there.
    #[cfg(feature = "layer")]
    pub(crate) fn add_event(self, name: &str, time_ns: u64, attributes: &[(String, Value)]) {
        let mut fields = Fields::new(name, Vec::new());
        for (key, value) in attributes {
            fields.set(key, value.into(), usize::MAX);
        }
        let event = CEvent {
            time_ns,
            fields: CFields::of(&fields),
        };
        // SAFETY: see above.
        unsafe { (self.0.add_event)(&raw const event) };
    }

    pub(crate) fn flush(self, timeout: Duration) -> bool {
        (self.0.flush)(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX)) != 0
    }

    pub(crate) fn stats(self) -> Stats {
        let mut stats = CStats::default();
        // SAFETY: see above.
        unsafe { (self.0.stats)(&raw mut stats) };
        Stats {
            recorded: stats.recorded,
            exported: stats.exported,
            dropped: stats.dropped,
            failed: stats.failed,
            sampled_out: stats.sampled_out,
            coerced: stats.coerced,
            queue_depth: usize::try_from(stats.queue_depth).unwrap_or(usize::MAX),
            last_error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    #[test]
    fn a_record_crosses_whole() {
        let limits = Limits::default();
        let mut record = SpanRecord::unstarted(Fields::new("näme", Vec::new()), Level::Warn);
        let parent = SpanContext {
            trace_id: TraceId(u128::MAX - 1),
            span_id: SpanId(7),
            flags: 3,
            remote: true,
            tracestate: Some("a=1".into()),
        };
        record.place(Some(&parent));
        record.kind = Kind::Server;
        record.start_ns = 1;
        record.end_ns = 2;
        record.set(
            "key",
            (&Value::List(vec![1.into(), 2.into()])).into(),
            &limits,
        );
        record.add_event("event", 5, &[("a".to_owned(), true.into())], &limits);
        record.add_link(parent, &[("b".to_owned(), "x".into())], &limits);
        record.set_status(Status::Error, "broken");
        record.extra().dropped_events = 4;
        // SAFETY: the record outlives the call.
        let read = with_record(&record, |crossing| unsafe { crossing.read(vec![1; 9]) });
        assert_eq!(format!("{read:?}"), format!("{record:?}"));

        let mut plain = SpanRecord::unstarted(Fields::new("", Vec::new()), Level::Info);
        plain.place(None);
        // SAFETY: the record outlives the call.
        let read = with_record(&plain, |crossing| unsafe { crossing.read(Vec::new()) });
        assert_eq!(format!("{read:?}"), format!("{plain:?}"));
    }

    #[test]
    fn another_version_is_refused() {
        for (version, size) in [(VERSION + 1, OURS.size), (VERSION, OURS.size - 8), (0, 0)] {
            let other = Vtable {
                version,
                size,
                ..OURS
            };
            // SAFETY: a vtable that outlives the call, and is refused.
            let refused = unsafe { join(&raw const other) };
            let refused = refused.expect_err("another version").to_string();
            assert!(refused.contains(&format!("version {version}")), "{refused}");
            assert!(joined().is_none());
        }
        // SAFETY: our own.
        assert_eq!(unsafe { join(vtable()) }, Ok(()));
        assert!(joined().is_none(), "a module does not join itself");
    }
}

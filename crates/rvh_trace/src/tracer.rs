//! The tracer of the process: set up once, then asked for spans from anywhere.

use crate::context::SAMPLED;
use crate::exception::Exception;
use crate::installed::{self, pipeline};
use crate::pipeline::Pipeline;
use crate::redaction::KnownKeys;
use crate::shared::{self, Joined};
use crate::span::now_ns;
use crate::{
    Error, Fields, Kind, Level, Limits, Settings, SpanContext, SpanRecord, Stats, Status, Value,
    ValueRef, ids, sampler,
};
use arc_swap::ArcSwapOption;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// The least level that is recorded; [`Level::Off`] while there is no pipeline. Apart from the
/// pipeline so that a span that is not recorded costs one load.
static LEAST_LEVEL: AtomicU8 = AtomicU8::new(Level::Off as u8);
/// Most samplers look at the parent and else at the trace id only. For those this is true, and
/// `ROOT_BOUND` is what they compare the trace id to: no need to look at the pipeline.
static ROOT_RATIO_KNOWN: AtomicBool = AtomicBool::new(false);
static ROOT_BOUND: AtomicU64 = AtomicU64::new(0);
/// Held while the pipeline is exchanged, never on the way of a span. The child of a fork has a new
/// one: another thread may have held the parent's, and is not there to let it go.
static SET_UP: ArcSwapOption<Mutex<()>> = ArcSwapOption::const_empty();

/// Calls a function while nobody else exchanges the pipeline.
fn alone<T>(function: impl FnOnce() -> T) -> T {
    let lock = loop {
        if let Some(lock) = SET_UP.load_full() {
            break lock;
        }
        SET_UP.compare_and_swap(&None::<Arc<_>>, Some(Arc::default()));
    };
    let _held = lock.lock().unwrap_or_else(PoisonError::into_inner);
    function()
}

/// Whether spans of this level are recorded.
#[inline]
pub fn enabled(level: Level) -> bool {
    let least = LEAST_LEVEL.load(Ordering::Relaxed);
    if least == Level::Off as u8 {
        // A module that has joined another one has no pipeline.
        return shared::joined().is_some_and(|shared| shared.enabled(level));
    }
    level as u8 >= least
}

/// The same, of the pipeline of this module.
pub(crate) fn enabled_here(level: Level) -> bool {
    level < Level::Off && level as u8 >= LEAST_LEVEL.load(Ordering::Relaxed)
}

/// Whether the sampler records this span.
#[inline]
pub fn samples(parent: Option<&SpanContext>, record: &SpanRecord) -> bool {
    if ROOT_RATIO_KNOWN.load(Ordering::Relaxed) {
        return match parent.filter(|context| context.is_valid()) {
            Some(parent) => parent.is_sampled(),
            None => sampler::in_bound(record.trace_id, ROOT_BOUND.load(Ordering::Relaxed)),
        };
    }
    pipeline().is_some_and(|pipeline| pipeline.settings.sampler.samples(parent, record))
}

/// Counts values that were recorded as text, or not at all.
pub fn count_coerced(values: u64) {
    if values > 0
        && let Some(pipeline) = pipeline()
    {
        pipeline.count_coerced(values);
    }
}

/// Takes back the buffer of a span that is not recorded.
pub fn discard(record: SpanRecord) {
    if let Some(pipeline) = pipeline() {
        pipeline.recycle(record);
    }
}

/// Sets the tracer up. A second call with equal settings changes nothing; one with other settings
/// is an error. The guard flushes and shuts down when it is dropped: keep it in `main`.
///
/// ```
/// use rvh_trace::{ExporterSettings, Settings};
/// let settings = Settings { exporter: ExporterSettings::Memory, ..Settings::default() };
/// let _guard = rvh_trace::init(settings)?;
/// rvh_trace::in_span("work", |span| span.record("items", 3));
/// assert_eq!(rvh_trace::finished_spans()[0].name(), "work");
/// # Ok::<(), rvh_trace::Error>(())
/// ```
pub fn init(settings: Settings) -> Result<Guard, Error> {
    install(settings, false)?;
    Ok(Guard {
        timeout: Duration::from_secs(2),
    })
}

/// Like [`init`], without a guard, and with the choice to replace what was set up before (which is
/// flushed first).
pub fn install(settings: Settings, reconfigure: bool) -> Result<(), Error> {
    alone(|| install_alone(settings, reconfigure))
}

fn install_alone(settings: Settings, reconfigure: bool) -> Result<(), Error> {
    if shared::joined().is_some() {
        return Err(Error::Shared);
    }
    if let Some(current) = installed::get() {
        if current.settings == settings {
            return Ok(());
        }
        if !reconfigure {
            return Err(Error::AlreadyInitialised {
                differing: differing(&current.settings, &settings),
            });
        }
    }
    let level = settings.level;
    let pipeline = Pipeline::start(settings)?;
    let bound = pipeline.settings.sampler.root_bound();
    let off = pipeline.settings.sampler == crate::Sampler::AlwaysOff;
    let previous = installed::replace(Some(pipeline));
    let least = if off { Level::Off } else { level };
    ROOT_BOUND.store(bound.unwrap_or_default(), Ordering::Release);
    ROOT_RATIO_KNOWN.store(bound.is_some(), Ordering::Release);
    LEAST_LEVEL.store(least as u8, Ordering::Release);
    if let Some(previous) = previous {
        previous.shutdown(Duration::from_secs(2));
    }
    Ok(())
}

/// Calls a function unless there is a pipeline, and while none can be set up.
pub(crate) fn unless_set_up(function: impl FnOnce()) -> Result<(), Error> {
    alone(|| {
        if installed::get().is_some() {
            let cause = "this module has set up a pipeline of its own before";
            return Err(Error::NotShared(cause.to_owned()));
        }
        function();
        Ok(())
    })
}

fn differing(current: &Settings, wanted: &Settings) -> String {
    let pairs = [
        ("level", current.level != wanted.level),
        ("exporter", current.exporter != wanted.exporter),
        ("sampler", current.sampler != wanted.sampler),
        (
            "service name or resource",
            current.resource != wanted.resource,
        ),
        ("limits", current.limits != wanted.limits),
        ("batch", current.batch != wanted.batch),
        ("tail", current.tail != wanted.tail),
        ("redaction", current.redaction != wanted.redaction),
    ];
    let names: Vec<&str> = pairs
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(n, _)| *n)
        .collect();
    names.join(", ")
}

/// Flushes and shuts the tracer down when it is dropped.
///
/// ```
/// use rvh_trace::{ExporterSettings, Settings};
/// use std::time::Duration;
/// let settings = Settings { exporter: ExporterSettings::Memory, ..Settings::default() };
/// let mut guard = rvh_trace::init(settings)?;
/// guard.timeout = Duration::from_millis(500); // how long the end of the program may take
/// drop(guard);
/// rvh_trace::in_span("too late", |span| assert!(!span.is_recording()));
/// # Ok::<(), rvh_trace::Error>(())
/// ```
#[must_use = "dropping the guard shuts tracing down: keep it until the program ends"]
pub struct Guard {
    /// The longest that the drop may take; 2 seconds unless changed.
    pub timeout: Duration,
}

impl Drop for Guard {
    fn drop(&mut self) {
        shutdown(self.timeout);
    }
}

/// Exports what is queued. False when it takes longer than `timeout`; true without a tracer.
pub fn flush(timeout: Duration) -> bool {
    match shared::joined() {
        Some(shared) => shared.flush(timeout),
        None => flush_here(timeout),
    }
}

pub(crate) fn flush_here(timeout: Duration) -> bool {
    installed::get().is_none_or(|pipeline| pipeline.flush(timeout))
}

/// Flushes and ends tracing; spans are no-ops afterwards, until the next [`init`].
/// False when it takes longer than `timeout`.
pub fn shutdown(timeout: Duration) -> bool {
    alone(|| {
        LEAST_LEVEL.store(Level::Off as u8, Ordering::Release);
        installed::replace(None).is_none_or(|pipeline| pipeline.shutdown(timeout))
    })
}

/// What the memory exporter kept, oldest first, after a flush; nothing with another exporter.
pub fn finished_spans() -> Vec<SpanRecord> {
    let Some(pipeline) = installed::get() else {
        return Vec::new();
    };
    pipeline.flush(Duration::from_secs(5));
    pipeline.store().spans()
}

/// Cleans spans that are shown before they are exported, as the settings say.
pub fn redact<'a>(records: impl IntoIterator<Item = &'a mut SpanRecord>) {
    if let Some(pipeline) = installed::get() {
        let mut known = KnownKeys::default();
        for record in records {
            pipeline.settings.redaction.clean(record, &mut known);
        }
    }
}

/// What the pipeline has done; zeros without one.
pub fn stats() -> Stats {
    match shared::joined() {
        Some(shared) => shared.stats(),
        None => stats_here(),
    }
}

pub(crate) fn stats_here() -> Stats {
    installed::get().map_or_else(Stats::default, |pipeline| pipeline.stats())
}

/// To be called in the child of a fork, before anything else of this crate: the parent's export
/// thread is not there, and what its queue held is the parent's to send.
pub fn after_fork_in_child() {
    ids::reseed_after_fork();
    std::mem::forget(SET_UP.swap(None));
    let Some(old) = installed::get() else {
        return;
    };
    // The old pipeline's mutex may be held by a thread that no longer exists: never touch it.
    let mut settings = old.settings.clone();
    if settings.resource.get("process.pid").is_some() {
        settings
            .resource
            .set("process.pid", Value::Int(i64::from(std::process::id())));
    }
    let renewed = Pipeline::start(settings).ok();
    if renewed.is_none() {
        LEAST_LEVEL.store(Level::Off as u8, Ordering::Release);
    }
    std::mem::forget(installed::replace(renewed));
    std::mem::forget(old);
}

/// The span of another language that has called into Rust on this thread.
#[derive(Clone, Copy)]
pub struct Foreign {
    /// Reads its context; `None` on a thread that is not in that language's code.
    pub context: fn() -> Option<SpanContext>,
    /// Adds an event to it, where it is recorded: name, nanoseconds since 1970, attributes.
    pub add_event: fn(&str, u64, &[(String, Value)]),
}

static FOREIGN: OnceLock<Foreign> = OnceLock::new();

/// Lets Rust spans find their parent in another language's context (the Python binding's), and
/// events their span. Only the first one counts.
pub fn set_foreign(foreign: Foreign) {
    let _ = FOREIGN.set(foreign);
}

fn foreign_context() -> Option<SpanContext> {
    FOREIGN.get().and_then(|foreign| (foreign.context)())
}

/// A Rust span that is entered, and what the foreign context was then.
struct Entered {
    context: SpanContext,
    foreign: Option<SpanContext>,
}

thread_local! {
    static ENTERED: RefCell<Vec<Entered>> = const { RefCell::new(Vec::new()) };
}

/// The innermost Rust span on this thread, unless the foreign context has moved on since it was
/// entered: then the foreign span is the inner one.
pub fn innermost(foreign: Option<SpanContext>) -> Option<SpanContext> {
    ENTERED.with_borrow(|entered| match entered.last() {
        Some(top) if foreign.is_none() || top.foreign == foreign => Some(top.context.clone()),
        _ => foreign,
    })
}

/// Where an event of this thread belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// To the innermost Rust span, if there is one.
    Rust,
    /// To the foreign span, which is the inner one or the only one.
    Foreign,
    /// To a foreign span that is not sampled.
    Nobody,
}

/// Where an event belongs that happens now on this thread. `in_rust` says whether there is a Rust
/// span that takes events.
#[cfg(feature = "layer")]
pub(crate) fn event_owner(in_rust: bool) -> Owner {
    match shared::joined() {
        Some(shared) => shared.event_owner(in_rust),
        None => event_owner_here(in_rust),
    }
}

pub(crate) fn event_owner_here(in_rust: bool) -> Owner {
    let Some(foreign) = foreign_context() else {
        return Owner::Rust;
    };
    // As for `innermost`.
    let rust_is_inner = || {
        ENTERED.with_borrow(|entered| {
            (entered.last()).is_some_and(|top| top.foreign.as_ref() == Some(&foreign))
        })
    };
    if in_rust && rust_is_inner() {
        Owner::Rust
    } else if foreign.is_sampled() {
        Owner::Foreign
    } else {
        Owner::Nobody
    }
}

/// Adds an event to the foreign span of this thread, if that is recorded.
#[cfg(feature = "layer")]
pub(crate) fn add_foreign_event(name: &str, attributes: &[(String, Value)]) {
    match shared::joined() {
        Some(shared) => shared.add_event(name, now_ns(), attributes),
        None => add_foreign_event_here(name, now_ns(), attributes),
    }
}

pub(crate) fn add_foreign_event_here(name: &str, time_ns: u64, attributes: &[(String, Value)]) {
    if let Some(foreign) = FOREIGN.get() {
        (foreign.add_event)(name, time_ns, attributes);
    }
}

/// Makes a span the innermost one of this thread.
pub(crate) fn push(context: SpanContext) {
    match shared::joined() {
        Some(shared) => shared.enter(&context),
        None => push_here(context),
    }
}

pub(crate) fn push_here(context: SpanContext) {
    let entered = Entered {
        context,
        foreign: foreign_context(),
    };
    ENTERED.with_borrow_mut(|stack| stack.push(entered));
    ANYWHERE.fetch_add(1, Ordering::Relaxed);
}

/// Takes it back, also when others were entered since and not left.
pub(crate) fn remove(context: &SpanContext) {
    match shared::joined() {
        Some(shared) => shared.leave(context),
        None => remove_here(context),
    }
}

pub(crate) fn remove_here(context: &SpanContext) {
    ENTERED.with_borrow_mut(|stack| {
        if let Some(at) = stack
            .iter()
            .rposition(|entered| entered.context == *context)
        {
            stack.remove(at);
            ANYWHERE.fetch_sub(1, Ordering::Relaxed);
        }
    });
}

/// How many Rust spans are entered on all threads.
static ANYWHERE: AtomicUsize = AtomicUsize::new(0);

/// Whether a Rust span may be entered on this thread: most programs have none anywhere, and then
/// this costs less than a look at the thread's own stack.
#[inline]
pub fn is_any_entered() -> bool {
    ANYWHERE.load(Ordering::Relaxed) > 0
}

/// The context of the innermost span of this thread.
pub fn current_context() -> Option<SpanContext> {
    match shared::joined() {
        Some(shared) => shared.current(),
        None => current_context_here(),
    }
}

pub(crate) fn current_context_here() -> Option<SpanContext> {
    innermost(foreign_context())
}

/// A span of Rust code. It ends when it is dropped.
pub struct Span {
    record: Option<SpanRecord>,
    context: Option<SpanContext>,
}

/// Opens a span, child of the innermost one of this thread. It is not itself made the innermost:
/// see [`Span::enter`] and [`in_span`].
///
/// ```
/// # let _guard = rvh_trace::init(rvh_trace::Settings {
/// #     exporter: rvh_trace::ExporterSettings::Memory, ..Default::default()
/// # })?;
/// let mut order = rvh_trace::new_span("order");
/// {
///     let _entered = order.enter();
///     rvh_trace::new_span("payment").record("card", true); // ends at once
/// }
/// order.end();
/// let spans = rvh_trace::finished_spans();
/// assert_eq!(spans[0].parent_span_id, spans[1].span_id);
/// # Ok::<(), rvh_trace::Error>(())
/// ```
pub fn new_span(name: &str) -> Span {
    new_span_at(name, Level::Info)
}

/// [`new_span`] with a level.
pub fn new_span_at(name: &str, level: Level) -> Span {
    if !enabled(level) {
        return Span {
            record: None,
            context: None,
        };
    }
    child_of(name, level, current_context().as_ref())
}

/// Opens a span with an explicit parent; without one it is the root of a new trace.
pub fn child_of(name: &str, level: Level, parent: Option<&SpanContext>) -> Span {
    let nothing = Span {
        record: None,
        context: None,
    };
    if !enabled(level) {
        return nothing;
    }
    if let Some(shared) = shared::joined() {
        return child_in(shared, name, level, parent).unwrap_or(nothing);
    }
    let Some(pipeline) = pipeline() else {
        return nothing;
    };
    let fields = Fields::new(name, pipeline.buffer());
    let mut record = SpanRecord::unstarted(fields, level);
    record.place(parent);
    if samples(parent, &record) {
        record.start_ns = now_ns();
        let context = record.context();
        return Span {
            record: Some(record),
            context: Some(context),
        };
    }
    record.flags &= !SAMPLED;
    let context = record.context();
    pipeline.recycle(record);
    Span {
        record: None,
        context: Some(context),
    }
}

/// Opens a span in the pipeline of another module, which draws its identifiers: only that one
/// knows of a fork.
fn child_in(
    shared: Joined,
    name: &str,
    level: Level,
    parent: Option<&SpanContext>,
) -> Option<Span> {
    let fields = Fields::new(name, Vec::new());
    let (context, sampled) = shared.open(&fields, level, parent)?;
    let record = sampled.then(|| {
        let mut record = SpanRecord::unstarted(fields, level);
        record.place_as(&context, parent);
        record.start_ns = now_ns();
        record
    });
    Some(Span {
        record,
        context: Some(context),
    })
}

/// For a span of another module: its context, and whether it is to be recorded.
pub(crate) fn place_here(
    fields: Fields,
    level: Level,
    parent: Option<&SpanContext>,
) -> Option<(SpanContext, bool)> {
    if !enabled_here(level) {
        return None;
    }
    let mut record = SpanRecord::unstarted(fields, level);
    record.place(parent);
    let sampled = samples(parent, &record);
    if !sampled {
        record.flags &= !SAMPLED;
    }
    Some((record.context(), sampled))
}

/// Runs `work` in a span, which is the innermost one meanwhile.
///
/// ```
/// # let _guard = rvh_trace::init(rvh_trace::Settings {
/// #     exporter: rvh_trace::ExporterSettings::Memory, ..Default::default()
/// # })?;
/// let total = rvh_trace::in_span("sum", |span| {
///     let total: i64 = (1..=3).sum();
///     span.record("total", total);
///     total
/// });
/// assert_eq!(rvh_trace::finished_spans()[0].fields.get("total"), Some(total.into()));
/// # Ok::<(), rvh_trace::Error>(())
/// ```
pub fn in_span<T>(name: &str, work: impl FnOnce(&mut Span) -> T) -> T {
    let mut span = new_span(name);
    let _entered = span.enter();
    work(&mut span)
}

/// Runs a future in a span, which is the innermost one whenever the future is polled. It ends when
/// the future is ready, or is dropped.
///
/// ```
/// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     let mut future = pin!(future);
/// #     loop {
/// #         let mut context = Context::from_waker(Waker::noop());
/// #         if let Poll::Ready(output) = future.as_mut().poll(&mut context) { return output; }
/// #     }
/// # }
/// # let _guard = rvh_trace::init(rvh_trace::Settings {
/// #     exporter: rvh_trace::ExporterSettings::Memory, ..Default::default()
/// # })?;
/// block_on(rvh_trace::in_span_async("request", async {
///     rvh_trace::in_span_async("query", async {}).await;
/// }));
/// let spans = rvh_trace::finished_spans();
/// assert_eq!(spans[0].name(), "query");
/// assert_eq!(spans[0].parent_span_id, spans[1].span_id);
/// # Ok::<(), rvh_trace::Error>(())
/// ```
pub fn in_span_async<F: Future>(name: &str, future: F) -> InSpan<F> {
    InSpan {
        span: new_span(name),
        future: Box::pin(future),
    }
}

/// A future in a span; see [`in_span_async`].
pub struct InSpan<F> {
    span: Span,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for InSpan<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = self.span.enter();
        let polled = self.future.as_mut().poll(context);
        drop(_entered);
        if polled.is_ready() {
            self.span.end();
        }
        polled
    }
}

/// While it lives, its span is the innermost one of the thread.
pub struct EnterGuard {
    entered: Option<SpanContext>,
    /// Must be dropped on the thread that entered.
    _thread: std::marker::PhantomData<*const ()>,
}

impl Drop for EnterGuard {
    fn drop(&mut self) {
        if let Some(context) = &self.entered {
            remove(context);
        }
    }
}

/// Sets attributes of a span: `record_span!(span, key = value, ...)`, where a key that is no
/// identifier is written as text; or one as `record_span!(span, key, value)`, with a key that is
/// computed. Of a span that is not recorded the values are not even evaluated.
///
/// ```
/// use rvh_trace::record_span;
/// # let _guard = rvh_trace::init(rvh_trace::Settings {
/// #     exporter: rvh_trace::ExporterSettings::Memory, ..Default::default()
/// # })?;
/// let mut span = rvh_trace::new_span("order");
/// record_span!(span, items = 2, http.method = "GET", "url.full" = "http://localhost/");
/// record_span!(span, format!("line.{}", 1), 9.5);
/// rvh_trace::in_span("payment", |span| record_span!(span, card = true));
/// span.end();
/// let fields = &rvh_trace::finished_spans()[1].fields;
/// assert_eq!(fields.get("items"), Some(2.into()));
/// assert_eq!(fields.get("http.method"), Some("GET".into()));
/// assert_eq!(fields.get("line.1"), Some(9.5.into()));
/// # Ok::<(), rvh_trace::Error>(())
/// ```
#[macro_export]
macro_rules! record_span {
    (@set $span:ident,) => {};
    (@set $span:ident, $key:literal = $value:expr $(, $($rest:tt)*)?) => {
        $span.record($key, $value);
        $crate::record_span!(@set $span, $($($rest)*)?);
    };
    (@set $span:ident, $first:ident $(. $more:ident)* = $value:expr $(, $($rest:tt)*)?) => {
        $span.record(concat!(stringify!($first) $(, ".", stringify!($more))*), $value);
        $crate::record_span!(@set $span, $($($rest)*)?);
    };
    ($span:expr, $key:literal = $($rest:tt)+) => {
        $crate::record_span!(@if $span, $key = $($rest)+)
    };
    ($span:expr, $first:ident $(. $more:ident)* = $($rest:tt)+) => {
        $crate::record_span!(@if $span, $first $(. $more)* = $($rest)+)
    };
    (@if $span:expr, $($pairs:tt)+) => {{
        let span = $span.itself();
        if span.is_recording() {
            $crate::record_span!(@set span, $($pairs)+);
        }
    }};
    ($span:expr, $key:expr, $value:expr $(,)?) => {{
        let span = $span.itself();
        if span.is_recording() {
            span.record(::core::convert::AsRef::<str>::as_ref(&$key), $value);
        }
    }};
}

fn limits<T>(with: impl FnOnce(&Limits) -> T) -> Option<T> {
    if let Some(shared) = shared::joined() {
        return Some(with(&shared.limits()));
    }
    pipeline().map(|pipeline| with(&pipeline.settings.limits))
}

pub(crate) fn limits_here() -> Option<Limits> {
    pipeline().map(|pipeline| pipeline.settings.limits.clone())
}

impl Span {
    /// Makes it the innermost span of this thread until the guard is dropped.
    pub fn enter(&self) -> EnterGuard {
        if let Some(context) = &self.context {
            push(context.clone());
        }
        EnterGuard {
            entered: self.context.clone(),
            _thread: std::marker::PhantomData,
        }
    }

    /// For `record_span!`, which thus takes a span and a reference to one alike.
    #[doc(hidden)]
    pub fn itself(&mut self) -> &mut Self {
        self
    }

    /// Whether anything is recorded.
    pub fn is_recording(&self) -> bool {
        self.record.is_some()
    }

    /// What a child, or another process, needs to know of it; `None` when tracing is off.
    pub fn context(&self) -> Option<&SpanContext> {
        self.context.as_ref()
    }

    /// Sets an attribute.
    pub fn record<'a>(&mut self, key: &str, value: impl Into<ValueRef<'a>>) {
        if let Some(record) = &mut self.record {
            limits(|limits| record.set(key, value.into(), limits));
        }
    }

    /// Adds an event that happens now.
    pub fn add_event(&mut self, name: &str, attributes: &[(String, Value)]) {
        if let Some(record) = &mut self.record {
            limits(|limits| record.add_event(name, now_ns(), attributes, limits));
        }
    }

    /// Links another span.
    pub fn add_link(&mut self, context: SpanContext, attributes: &[(String, Value)]) {
        if let Some(record) = &mut self.record {
            limits(|limits| record.add_link(context, attributes, limits));
        }
    }

    /// Says how it went.
    pub fn set_status(&mut self, status: Status, message: &str) {
        if let Some(record) = &mut self.record {
            record.set_status(status, message);
        }
    }

    /// Says which side of a call it is.
    pub fn set_kind(&mut self, kind: Kind) {
        if let Some(record) = &mut self.record {
            record.kind = kind;
        }
    }

    /// Records an error: an exception event and the error status.
    pub fn record_error(&mut self, error: &dyn std::error::Error) {
        if let Some(record) = &mut self.record {
            let message = error.to_string();
            let exception = Exception::from_error(error);
            limits(|limits| record.record_exception(exception, now_ns(), &[], limits));
            record.set_status(Status::Error, &message);
        }
    }

    /// Ends it now; later calls do nothing.
    pub fn end(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.end_ns = now_ns().max(record.start_ns);
            if let Some(shared) = shared::joined() {
                shared.submit(record);
            } else if let Some(pipeline) = pipeline() {
                pipeline.submit(record);
            }
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.end();
    }
}

//! The span object, but for opening and closing it, which is in `hot_path`.

use crate::current::{self, SpanContext};
use crate::finished::attributes_dict;
use crate::generators::Call;
use crate::values::{attributes, shown, with_text, with_value};
use crate::{exceptions, hot_path, live};
use pyo3::exceptions::{
    PyBaseException, PyException, PyGeneratorExit, PyRuntimeError, PyStopIteration, PySystemExit,
    PyTypeError,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rvh_trace::{
    Fields, Kind, Limits, SAMPLED, SpanRecord, Status, Value, count_coerced as coerced,
};
use std::cell::{BorrowError, BorrowMutError, Ref, RefCell, RefMut};

/// Where a span is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Made, and not entered yet.
    New,
    /// Entered.
    Open,
    /// Over; or never to be recorded, as the one shared no-op span.
    Ended,
}

/// What a span of OpenTelemetry's API does with an exception that ends it.
#[derive(Clone, Copy)]
pub(crate) struct ApiRules {
    pub(crate) record_exception: bool,
    pub(crate) set_status: bool,
}

/// A piece of work with a start, an end, attributes and a parent. Made by ``span(name)``.
#[pyclass(module = "rvh_trace", frozen, subclass)]
pub struct Span(RefCell<State>);

// SAFETY: guarded by the GIL, which all that touches a span's state holds. (A Python without a GIL
// turns it on for this module.) PyO3's own cell counts its borrows by atomic operations, which take
// a span 15 ns more.
unsafe impl Sync for Span {}

impl Span {
    pub(crate) fn try_borrow(&self) -> Result<Ref<'_, State>, BorrowError> {
        self.0.try_borrow()
    }

    #[inline]
    pub(crate) fn try_borrow_mut(&self) -> Result<RefMut<'_, State>, BorrowMutError> {
        self.0.try_borrow_mut()
    }

    /// For an object that is used again.
    #[inline]
    pub(crate) fn become_new(&self, state: State) {
        *self.0.borrow_mut() = state;
    }

    /// For what may raise, which only a fault of this module makes it do.
    fn state(&self) -> PyResult<Ref<'_, State>> {
        self.try_borrow()
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }
}

impl From<State> for Span {
    fn from(state: State) -> Self {
        Self(RefCell::new(state))
    }
}

/// What is known of a span.
pub(crate) struct State {
    pub(crate) record: SpanRecord,
    pub(crate) phase: Phase,
    /// Whether what is said about it is kept.
    pub(crate) recording: bool,
    /// What was current before it was entered.
    pub(crate) previous: Option<Py<PyAny>>,
    /// Takes it back from being current.
    pub(crate) token: Option<Py<PyAny>>,
    /// What was current when it was suspended, where that was a span opened below it.
    pub(crate) inner: Option<Py<PyAny>>,
    /// How many of its children are open.
    pub(crate) open_children: u32,
    /// The address of the generator's frame that entered it; 0 for other code.
    pub(crate) generator: usize,
    /// Where it was made.
    pub(crate) call: Call,
    /// Its place among the live ones.
    pub(crate) live: live::Slot,
    /// Set for a span of OpenTelemetry's API, whose rules for exceptions are its own.
    pub(crate) api: Option<ApiRules>,
    /// The exception that was recorded last, in it or in a child of it: its address and text.
    pub(crate) recorded_exception: (usize, u64),
}

impl State {
    pub(crate) fn new(fields: Fields, level: rvh_trace::Level) -> Self {
        Self {
            record: SpanRecord::unstarted(fields, level),
            phase: Phase::New,
            recording: true,
            previous: None,
            token: None,
            inner: None,
            open_children: 0,
            generator: 0,
            call: Call::UNKNOWN,
            live: live::Slot::default(),
            api: None,
            recorded_exception: (0, 0),
        }
    }

    pub(crate) fn no_op() -> Self {
        let mut span = Self::new(Fields::new("", Vec::new()), rvh_trace::Level::Off);
        span.recording = false;
        span.phase = Phase::Ended;
        span
    }

    /// Gives it its place below `parent` and asks the sampler. It starts now unless a time is given.
    #[inline]
    pub(crate) fn start(&mut self, parent: Option<&rvh_trace::SpanContext>, start_ns: Option<u64>) {
        self.phase = Phase::Open;
        self.record.place(parent);
        if rvh_trace::samples(parent, &self.record) {
            self.record.start_ns = start_ns.unwrap_or_else(rvh_trace::now_ns);
        } else {
            self.recording = false;
            self.record.flags &= !SAMPLED;
            rvh_trace::discard(self.record.take());
        }
    }

    /// What its children need to know; `None` before it is entered, and for the no-op span.
    #[inline]
    pub(crate) fn span_context(&self) -> Option<rvh_trace::SpanContext> {
        self.record
            .span_id
            .is_valid()
            .then(|| self.record.context())
    }

    /// Ends it, now unless a time is given, and queues it.
    #[inline]
    pub(crate) fn end_at(&mut self, end_ns: Option<u64>) {
        self.phase = Phase::Ended;
        self.live.give_back();
        if std::mem::replace(&mut self.recording, false) {
            let end_ns = end_ns.unwrap_or_else(rvh_trace::now_ns);
            let Some(pipeline) = rvh_trace::pipeline() else {
                return;
            };
            // The identifiers stay: children and log records still ask for them.
            let mut record = self.record.take();
            record.end_ns = end_ns.max(record.start_ns);
            pipeline.submit(record);
        }
    }
}

impl Span {
    /// Records an exception that ends the span, and the error status. The exception is recorded
    /// once for all spans that it leaves, but for spans of OpenTelemetry's API in each.
    pub(crate) fn failed(slf: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) {
        let Ok((api, recorded)) = slf
            .get()
            .try_borrow()
            .map(|span| (span.api, span.recorded_exception))
        else {
            return;
        };
        let counts = match api {
            Some(_) => exception.is_instance_of::<PyException>(),
            None => !is_no_failure(exception),
        };
        // `__exit__` may be called with anything.
        if !counts || !exception.is_instance_of::<PyBaseException>() {
            return;
        }
        // Captured first: `str(exception)` is foreign code and may come back to this span.
        let text = shown(exception);
        let kind = exceptions::kind(exception);
        let mark = (exception.as_ptr() as usize, hash(&text));
        let name = kind.rsplit('.').next().unwrap_or_default();
        let message = if text.is_empty() {
            name.to_owned()
        } else {
            [name, ": ", &text].concat()
        };
        let capture = api.map_or(recorded != mark, |rules| rules.record_exception);
        let captured = capture.then(|| exceptions::capture(exception, kind, text));
        let Ok(mut span) = slf.get().try_borrow_mut() else {
            return;
        };
        if !span.recording {
            return;
        }
        span.recorded_exception = mark;
        if let Some(captured) = captured {
            let now = rvh_trace::now_ns();
            limits(|limits| span.record.record_exception(captured, now, &[], limits));
        }
        if api.is_none_or(|rules| rules.set_status) {
            span.record.set_status(Status::Error, &message);
        }
        let parent = span
            .previous
            .as_ref()
            .map(|previous| previous.bind(slf.py()).clone());
        drop(span);
        if let Some(parent) = parent.as_ref().and_then(|p| p.cast::<Self>().ok())
            && let Ok(mut parent) = parent.get().try_borrow_mut()
        {
            parent.recorded_exception = mark;
        }
    }
}

impl Span {
    /// Adds an event, if it is recorded and has not ended.
    pub(crate) fn add_event_at(
        slf: &Bound<'_, Self>,
        name: &str,
        time_ns: u64,
        attributes: &[(String, Value)],
    ) {
        if let Ok(mut span) = slf.get().try_borrow_mut()
            && span.recording
        {
            limits(|limits| span.record.add_event(name, time_ns, attributes, limits));
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.live.give_back();
    }
}

/// What was given, be it None; `Option` would take that for nothing.
#[allow(
    clippy::unnecessary_wraps,
    reason = "PyO3 asks for a result, and for an option of an argument that may be left out"
)]
fn given<'py>(argument: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(Some(argument.clone()))
}

/// A generator that is closed, and `sys.exit()` with success, are no failures.
fn is_no_failure(exception: &Bound<'_, PyAny>) -> bool {
    exception.is_instance_of::<PyGeneratorExit>()
        || exception.is_instance_of::<PySystemExit>()
            && exception
                .getattr("code")
                .and_then(|code| code.is_truthy())
                .is_ok_and(|code| !code)
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn limits<T>(with: impl FnOnce(&Limits) -> T) -> Option<T> {
    rvh_trace::pipeline().map(|pipeline| with(&pipeline.settings.limits))
}

#[pymethods]
impl Span {
    /// Sets the attribute ``key``. bool, int, float, str, bytes and sequences of one of them keep
    /// their type; every other value is recorded as its ``str()``. Never raises.
    pub(crate) fn record(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) {
        if !slf.get().try_borrow().is_ok_and(|span| span.recording) {
            return;
        }
        let ((), typed) = with_value(value, |value| {
            with_text(key, |key| {
                if let Ok(mut span) = slf.get().try_borrow_mut()
                    && span.recording
                {
                    limits(|limits| span.record.set(key, value, limits));
                }
            });
        });
        coerced(u64::from(!typed));
    }

    /// Sets all attributes of a mapping, and those given by name.
    #[pyo3(signature = (attributes=None, /, **fields))]
    fn set_attributes(
        slf: &Bound<'_, Self>,
        attributes: Option<&Bound<'_, PyAny>>,
        fields: Option<&Bound<'_, PyAny>>,
    ) {
        for mapping in [attributes, fields] {
            let (pairs, count) = self::attributes(mapping);
            coerced(count);
            if let Ok(mut span) = slf.get().try_borrow_mut()
                && span.recording
            {
                limits(|limits| {
                    for (key, value) in &pairs {
                        span.record.set(key, value.into(), limits);
                    }
                });
            }
        }
    }

    /// Adds an event, now or at ``timestamp`` (nanoseconds since 1970).
    // The name is positional, so that an attribute may be called ``name``. OpenTelemetry's callers
    // may write ``name=``: without a positional one that is the event's.
    #[pyo3(signature = (name=None, /, attributes=None, timestamp=None, **fields))]
    fn add_event(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = given)] name: Option<Bound<'_, PyAny>>,
        attributes: Option<&Bound<'_, PyAny>>,
        timestamp: Option<u64>,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let name = match (name, fields) {
            (Some(name), _) => Some(name),
            (None, Some(fields)) => {
                let name = fields.get_item("name")?;
                if name.is_some() {
                    fields.del_item("name")?;
                }
                name
            }
            (None, None) => None,
        };
        let Some(name) = name else {
            let text = "add_event() missing 1 required positional argument: 'name'";
            return Err(PyTypeError::new_err(text));
        };
        if !slf.get().try_borrow().is_ok_and(|span| span.recording) {
            return Ok(());
        }
        let (mut pairs, count) = self::attributes(attributes);
        let (more, more_count) = self::attributes(fields.map(Bound::as_any));
        pairs.extend(more);
        coerced(count + more_count);
        let time = timestamp.unwrap_or_else(rvh_trace::now_ns);
        with_text(&name, |name| Self::add_event_at(slf, name, time, &pairs));
        Ok(())
    }

    /// The same as ``record``, by OpenTelemetry's name.
    fn set_attribute(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) {
        Self::record(slf, key, value);
    }

    /// Links another span: a ``Span`` or a ``SpanContext``. What is neither is ignored.
    #[pyo3(signature = (context, attributes=None))]
    fn add_link(
        slf: &Bound<'_, Self>,
        context: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyAny>>,
    ) {
        let (pairs, count) = self::attributes(attributes);
        coerced(count);
        let Some(context) = current::context_of(context) else {
            return coerced(1);
        };
        if let Ok(mut span) = slf.get().try_borrow_mut()
            && span.recording
        {
            limits(|limits| span.record.add_link(context, &pairs, limits));
        }
    }

    /// Says how it went: ``"ok"``, which is final, or ``"error"`` with what went wrong. A status of
    /// OpenTelemetry's API will do as well.
    #[pyo3(signature = (status, description=None))]
    fn set_status<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        description: Option<&Bound<'py, PyAny>>,
    ) {
        let py = slf.py();
        let attribute = |object: &Bound<'py, PyAny>, name| object.getattr_opt(name).ok().flatten();
        let (code, description) = match attribute(status, "status_code") {
            Some(code) => (code, status.getattr("description").ok()),
            None => (status.clone(), description.cloned()),
        };
        let code = attribute(&code, "name").unwrap_or(code);
        let status = with_text(&code, |name| Status::from_name(&name.to_ascii_lowercase()));
        let description = description.unwrap_or_else(|| py.None().into_bound(py));
        let description = if description.is_none() {
            String::new()
        } else {
            with_text(&description, str::to_owned)
        };
        match status {
            Some(status) => {
                if let Ok(mut span) = slf.get().try_borrow_mut()
                    && span.recording
                {
                    span.record.set_status(status, &description);
                }
            }
            None => coerced(1),
        }
    }

    /// Records an exception as an event, with its stack. The status stays as it is.
    #[pyo3(signature = (exception, attributes=None, timestamp=None, escaped=false))]
    fn record_exception(
        slf: &Bound<'_, Self>,
        exception: &Bound<'_, PyAny>,
        attributes: Option<&Bound<'_, PyAny>>,
        timestamp: Option<u64>,
        escaped: bool,
    ) {
        // OpenTelemetry has deprecated the attribute that this argument stands for.
        let _ = escaped;
        let (pairs, count) = self::attributes(attributes);
        coerced(count);
        if !exception.is_instance_of::<PyBaseException>() {
            return coerced(1);
        }
        let text = shown(exception);
        let mark = (exception.as_ptr() as usize, hash(&text));
        let captured = exceptions::capture(exception, exceptions::kind(exception), text);
        if let Ok(mut span) = slf.get().try_borrow_mut()
            && span.recording
        {
            span.recorded_exception = mark;
            let time = timestamp.unwrap_or_else(rvh_trace::now_ns);
            limits(|limits| span.record.record_exception(captured, time, &pairs, limits));
        }
    }

    /// Does what is done when an exception ends the span, which goes on.
    #[pyo3(name = "failed")]
    fn failed_by(slf: &Bound<'_, Self>, exception: &Bound<'_, PyAny>) {
        if exception.is_instance_of::<PyBaseException>() {
            Self::failed(slf, exception);
        }
    }

    /// Gives it another name.
    fn update_name(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) {
        with_text(name, |name| {
            if let Ok(mut span) = slf.get().try_borrow_mut()
                && span.recording
            {
                span.record.fields.rename(name);
            }
        });
    }

    /// Says which side of a call it is: internal, server, client, producer or consumer.
    fn set_kind(&self, kind: &str) {
        match Kind::from_name(&kind.to_ascii_lowercase()) {
            Some(kind) => {
                if let Ok(mut span) = self.try_borrow_mut()
                    && span.recording
                {
                    span.record.kind = kind;
                }
            }
            None => coerced(1),
        }
    }

    /// Which side of a call it is: a name, or a kind of OpenTelemetry's API where that is in use.
    #[getter]
    fn kind(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        current::kind_to_api(py, self.state()?.record.kind)
    }

    /// Its attributes so far, as a copy; none for a span that is over or not recorded.
    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        attributes_dict(py, &self.state()?.record.fields)
    }

    /// Whether what is said about it is kept.
    fn is_recording(&self) -> PyResult<bool> {
        Ok(self.state()?.recording)
    }

    /// Its name; empty for a span that is over or not recorded.
    #[getter]
    fn name(&self) -> PyResult<String> {
        Ok(self.state()?.record.name().to_owned())
    }

    /// What travels of it; ``None`` before it is entered and where nothing is recorded.
    #[getter]
    fn context(&self) -> PyResult<Option<SpanContext>> {
        Ok(self.state()?.span_context().map(SpanContext))
    }

    /// The trace, as 32 hexadecimal digits; zeros when there is none.
    #[getter]
    fn trace_id(&self) -> PyResult<String> {
        Ok(self.state()?.record.trace_id.to_string())
    }

    /// The span, as 16 hexadecimal digits; zeros when there is none.
    #[getter]
    fn span_id(&self) -> PyResult<String> {
        Ok(self.state()?.record.span_id.to_string())
    }

    /// Ends it, now or at ``end_time`` (nanoseconds since 1970), whether or not it is current.
    #[pyo3(signature = (end_time=None))]
    fn end(&self, end_time: Option<u64>) {
        if let Ok(mut span) = self.try_borrow_mut()
            && span.phase == Phase::Open
        {
            span.end_at(end_time);
        }
    }

    /// What travels of it, as OpenTelemetry's API has it where that is in use.
    fn get_span_context(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let context = self.state()?.span_context();
        current::to_api(py, context)
    }

    /// Makes it current, and starts it if it has not begun: for work that goes on in steps, such
    /// as a generator's. ``suspend`` makes current again what was before.
    fn resume(slf: &Bound<'_, Self>) {
        hot_path::resume_span(slf);
    }

    /// Makes current again what was before ``resume``; the span goes on.
    fn suspend(slf: &Bound<'_, Self>) {
        hot_path::suspend_span(slf);
    }

    /// Gives the span itself, at once and not entered: ``async with await span(...)``.
    fn __await__(slf: &Bound<'_, Self>) -> Ready {
        Ready {
            value: Some(slf.clone().into_any().unbind()),
        }
    }

    fn __aenter__(slf: &Bound<'_, Self>) -> Ready {
        hot_path::enter_with(slf);
        Ready {
            value: Some(slf.clone().into_any().unbind()),
        }
    }

    fn __aexit__(
        slf: &Bound<'_, Self>,
        _kind: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> Ready {
        hot_path::exit_span(slf, Some(exception).filter(|e| !e.is_none()));
        Ready { value: None }
    }

    fn __repr__(&self) -> PyResult<String> {
        let record = &self.state()?.record;
        let context = record.context();
        Ok(format!(
            "<Span {:?} {}>",
            record.name(),
            context.traceparent()
        ))
    }
}

/// An awaitable that is ready at once: entering a span waits for nothing.
#[pyclass(module = "rvh_trace")]
pub struct Ready {
    value: Option<Py<PyAny>>,
}

#[pymethods]
impl Ready {
    fn __await__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&mut self) -> PyResult<()> {
        Err(PyStopIteration::new_err((self.value.take(),)))
    }
}

/// The span that is current here; the no-op span when there is none.
#[pyfunction]
pub(crate) fn current_span(py: Python<'_>) -> Py<Span> {
    match current::span(py) {
        Some(span) => span.unbind(),
        None => hot_path::no_op_span(py),
    }
}

/// What travels of the innermost span, be it of Python or Rust; ``None`` when there is none.
#[pyfunction]
pub(crate) fn current_context(py: Python<'_>) -> Option<SpanContext> {
    current::innermost(&current::get(py)?).map(SpanContext)
}

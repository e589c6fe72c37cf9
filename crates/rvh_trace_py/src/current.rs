//! The current span: a `ContextVar`, so that asyncio tasks and `copy_context().run` just work.

use crate::context_var::ContextVar;
use crate::span::Span;
use crate::values::utf8;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

static VARIABLE: PyOnceLock<ContextVar> = PyOnceLock::new();

/// What travels of a span: its identifiers, and the trace's flags.
#[pyclass(module = "rvh_trace", frozen, eq, from_py_object)]
#[derive(Clone, PartialEq)]
pub struct SpanContext(pub rvh_trace::SpanContext);

#[pymethods]
impl SpanContext {
    /// The trace, as 32 hexadecimal digits.
    #[getter]
    fn trace_id(&self) -> String {
        self.0.trace_id.to_string()
    }

    /// The span, as 16 hexadecimal digits.
    #[getter]
    fn span_id(&self) -> String {
        self.0.span_id.to_string()
    }

    /// The W3C trace flags; bit 0 says that the trace is recorded.
    #[getter]
    fn trace_flags(&self) -> u8 {
        self.0.flags
    }

    /// Vendor data as it came, empty when there is none.
    #[getter]
    fn tracestate(&self) -> &str {
        self.0.tracestate.as_deref().unwrap_or_default()
    }

    /// Whether the span is in another process.
    #[getter]
    fn is_remote(&self) -> bool {
        self.0.remote
    }

    /// The same, as if it were of this process.
    fn as_local(&self) -> Self {
        Self(rvh_trace::SpanContext {
            remote: false,
            ..self.0.clone()
        })
    }

    /// The W3C ``traceparent`` header.
    #[getter]
    fn traceparent(&self) -> String {
        self.0.traceparent()
    }

    fn __repr__(&self) -> String {
        format!("SpanContext({:?})", self.0.traceparent())
    }
}

pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    VARIABLE.get_or_try_init(py, || ContextVar::new(py, "rvh_trace_current"))?;
    rvh_trace::set_foreign(rvh_trace::Foreign {
        context: || if_attached(python_context).flatten(),
        add_event: |name, time_ns, attributes| {
            if_attached(|py| {
                if let Some(span) = span(py) {
                    Span::add_event_at(&span, name, time_ns, attributes);
                }
            });
        },
    });
    Ok(())
}

/// Calls a function where this thread runs Python code now, or code that it has called.
fn if_attached<T>(function: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    // SAFETY: by its documentation it may be called without a thread state, and then returns
    // NULL. (PyGILState_Check, which says the same, is not in the limited API.)
    let attached = unsafe { !ffi::PyThreadState_GetDict().is_null() };
    attached.then(|| Python::attach(function))
}

/// The object that is current in Python: a span, a remote context, or None.
#[inline]
pub(crate) fn get(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    VARIABLE.get(py)?.get(py)
}

/// Makes an object current; the token is for `reset`.
#[inline]
pub(crate) fn set<'py>(py: Python<'py>, object: *mut ffi::PyObject) -> Option<Bound<'py, PyAny>> {
    VARIABLE.get(py)?.set(py, object)
}

/// Makes current again what was before `set`, for a little less than another `set`. False in
/// another context than that of the token: nothing is changed then.
#[inline]
pub(crate) fn reset(token: &Bound<'_, PyAny>) -> bool {
    let variable = VARIABLE.get(token.py());
    variable.is_some_and(|variable| variable.reset(token))
}

/// A context of OpenTelemetry's API that was attached, and the span in it: a `Span`, a
/// `SpanContext`, or None.
#[pyclass(module = "rvh_trace", frozen)]
pub struct ForeignContext {
    context: Py<PyAny>,
    parent: Py<PyAny>,
}

#[pymethods]
impl ForeignContext {
    #[new]
    fn new(context: Py<PyAny>, parent: Py<PyAny>) -> Self {
        Self { context, parent }
    }

    /// The context that was attached.
    #[getter]
    fn context(&self) -> &Py<PyAny> {
        &self.context
    }
}

/// The span or remote context in an object that was current.
#[inline]
fn span_in<'py>(object: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
    match object.cast::<ForeignContext>() {
        Ok(foreign) => foreign.get().parent.bind(object.py()).clone(),
        Err(_) => object.clone(),
    }
}

/// The span that is current, if it is one of this process.
pub(crate) fn span(py: Python<'_>) -> Option<Bound<'_, Span>> {
    span_in(&get(py)?).cast_into().ok()
}

/// The context of an object that was current.
pub(crate) fn context_of(object: &Bound<'_, PyAny>) -> Option<rvh_trace::SpanContext> {
    let object = span_in(object);
    if let Ok(span) = object.cast::<Span>() {
        span.get().try_borrow().ok()?.span_context()
    } else if let Ok(context) = object.cast::<SpanContext>() {
        Some(context.get().0.clone())
    } else if object.is_none() {
        None
    } else {
        from_api(&object)
    }
}

/// How to make contexts of OpenTelemetry's API of ours and back; absent until it is in use.
struct Converters {
    to_api: Py<PyAny>,
    from_api: Py<PyAny>,
    kind_to_api: Py<PyAny>,
}

static CONVERTERS: PyOnceLock<Converters> = PyOnceLock::new();

/// Gives the functions that convert: span contexts of ours to OpenTelemetry's, and back, and the
/// name of a kind to its kind.
#[pyfunction]
#[pyo3(signature = (to_api, from_api, kind_to_api, /))]
pub(crate) fn convert_contexts_by(
    py: Python<'_>,
    to_api: Py<PyAny>,
    from_api: Py<PyAny>,
    kind_to_api: Py<PyAny>,
) {
    CONVERTERS.get_or_init(py, || Converters {
        to_api,
        from_api,
        kind_to_api,
    });
}

/// A kind as OpenTelemetry's API has it where that is in use, else its name.
pub(crate) fn kind_to_api(py: Python<'_>, kind: rvh_trace::Kind) -> PyResult<Py<PyAny>> {
    match CONVERTERS.get(py) {
        Some(converters) => converters.kind_to_api.call1(py, (kind.as_str(),)),
        None => Ok(kind.as_str().into_pyobject(py)?.into_any().unbind()),
    }
}

/// A context as OpenTelemetry's API has it where that is in use, else ours.
pub(crate) fn to_api(
    py: Python<'_>,
    context: Option<rvh_trace::SpanContext>,
) -> PyResult<Py<PyAny>> {
    let context = context.map(SpanContext);
    match CONVERTERS.get(py) {
        Some(converters) => converters.to_api.call1(py, (context,)),
        None => Ok(context.into_pyobject(py)?.unbind()),
    }
}

fn from_api(object: &Bound<'_, PyAny>) -> Option<rvh_trace::SpanContext> {
    let converted = CONVERTERS
        .get(object.py())?
        .from_api
        .call1(object.py(), (object,))
        .ok()?;
    let context = converted.bind(object.py()).cast::<SpanContext>().ok()?;
    Some(context.get().0.clone())
}

/// The object that is current, and the nearest attached context of OpenTelemetry at or below it.
#[pyfunction]
pub(crate) fn current_object(py: Python<'_>) -> (Option<Py<PyAny>>, Option<Py<PyAny>>) {
    let current = get(py);
    let mut below = current.clone();
    while let Some(object) = below {
        if let Ok(foreign) = object.cast::<ForeignContext>() {
            let context = foreign.get().context.clone_ref(py);
            return (current.map(Bound::unbind), Some(context));
        }
        let span = object
            .cast::<Span>()
            .ok()
            .and_then(|span| span.get().try_borrow().ok());
        below = span.and_then(|span| span.previous.as_ref().map(|p| p.bind(py).clone()));
    }
    (current.map(Bound::unbind), None)
}

/// The context of the innermost Python span.
fn python_context(py: Python<'_>) -> Option<rvh_trace::SpanContext> {
    get(py).as_ref().and_then(context_of)
}

/// The innermost span's context, be it of Python or of Rust.
pub(crate) fn innermost(current: &Bound<'_, PyAny>) -> Option<rvh_trace::SpanContext> {
    let python = context_of(current);
    if rvh_trace::is_any_entered() {
        rvh_trace::innermost(python)
    } else {
        python
    }
}

/// The same, for a span that is about to be its child: the parent counts it.
#[inline]
pub(crate) fn adopt(current: &Bound<'_, PyAny>) -> Option<rvh_trace::SpanContext> {
    if current.is_none() && !rvh_trace::is_any_entered() {
        return None;
    }
    let python = match current.cast::<Span>() {
        _ if current.is_none() => None,
        Ok(span) => span.get().try_borrow_mut().ok().and_then(|mut span| {
            span.open_children += 1;
            span.span_context()
        }),
        Err(_) => context_of(current),
    };
    if rvh_trace::is_any_entered() {
        rvh_trace::innermost(python)
    } else {
        python
    }
}

/// The context of a ``traceparent`` header and its ``tracestate``; ``None`` when it is not one.
#[pyfunction]
#[pyo3(signature = (traceparent, tracestate=None))]
pub(crate) fn parse_traceparent(
    traceparent: &Bound<'_, PyString>,
    tracestate: Option<&Bound<'_, PyString>>,
) -> Option<SpanContext> {
    let context = rvh_trace::SpanContext::from_traceparent(&utf8(traceparent.as_any()))?;
    let state = tracestate
        .map(|state| utf8(state.as_any()).into_owned())
        .unwrap_or_default();
    Some(SpanContext(context.with_tracestate(&state)))
}

/// What `attach` made current and what was before.
#[pyclass(frozen)]
pub(crate) struct Attached {
    token: Py<PyAny>,
    object: Py<PyAny>,
    previous: Py<PyAny>,
}

/// Makes a span or a remote context current, until `detach` is given the result.
#[pyfunction]
pub(crate) fn attach<'py>(
    py: Python<'py>,
    object: Bound<'py, PyAny>,
) -> PyResult<Option<Attached>> {
    let Some(previous) = get(py) else {
        return Ok(None);
    };
    let Some(token) = set(py, object.as_ptr()) else {
        return Ok(None);
    };
    let (token, previous) = (token.unbind(), previous.unbind());
    Ok(Some(Attached {
        token,
        object: object.unbind(),
        previous,
    }))
}

/// Takes back what `attach` did; in another context, or when something else is current, nothing.
#[pyfunction]
pub(crate) fn detach(py: Python<'_>, attached: &Bound<'_, PyAny>) {
    let Ok(attached) = attached.cast::<Attached>() else {
        return;
    };
    let attached = attached.get();
    let is_current = || get(py).is_some_and(|current| current.is(&attached.object));
    if is_current() && !reset(attached.token.bind(py)) && is_current() {
        set(py, attached.previous.as_ptr());
    }
}

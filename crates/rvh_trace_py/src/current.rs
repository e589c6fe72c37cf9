//! The current span: a `ContextVar`, so that asyncio tasks and `copy_context().run` just work.
//!
//! The limited C API has no functions for context variables, so their methods are called.

use crate::span::Span;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

struct Variable {
    get: Py<PyAny>,
    set: Py<PyAny>,
    reset: Py<PyAny>,
}

static VARIABLE: PyOnceLock<Variable> = PyOnceLock::new();

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
    VARIABLE.get_or_try_init(py, || {
        let keywords = pyo3::types::PyDict::new(py);
        keywords.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        let variable = class.call(("rvh_trace_current",), Some(&keywords))?;
        Ok::<_, PyErr>(Variable {
            get: variable.getattr("get")?.unbind(),
            set: variable.getattr("set")?.unbind(),
            reset: variable.getattr("reset")?.unbind(),
        })
    })?;
    rvh_trace::set_foreign_context(|| {
        // SAFETY: by its documentation it may be called without a thread state, and then returns
        // NULL. (PyGILState_Check, which says the same, is not in the limited API.)
        let attached = unsafe { !ffi::PyThreadState_GetDict().is_null() };
        attached.then(|| Python::attach(python_context)).flatten()
    });
    Ok(())
}

/// Calls a method that we hold with at most one argument. `None` when it raised.
#[inline]
fn call<'py>(
    py: Python<'py>,
    method: &Py<PyAny>,
    argument: Option<*mut ffi::PyObject>,
) -> Option<Bound<'py, PyAny>> {
    let arguments = [argument.unwrap_or(std::ptr::null_mut())];
    // SAFETY: `method` is a callable that we hold; `arguments` outlives the call and its element,
    // when it counts, is borrowed from the caller; the result is a new reference or NULL.
    let result = unsafe {
        let count = usize::from(argument.is_some());
        let names = std::ptr::null_mut();
        let result = ffi::PyObject_Vectorcall(method.as_ptr(), arguments.as_ptr(), count, names);
        Bound::from_owned_ptr_or_opt(py, result)
    };
    if result.is_none() {
        drop(PyErr::take(py));
    }
    result
}

/// The object that is current in Python: a span, a remote context, or None.
#[inline]
pub(crate) fn get(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    call(py, &VARIABLE.get(py)?.get, None)
}

/// Makes an object current; the token is for `reset`.
#[inline]
pub(crate) fn set<'py>(py: Python<'py>, object: *mut ffi::PyObject) -> Option<Bound<'py, PyAny>> {
    call(py, &VARIABLE.get(py)?.set, Some(object))
}

/// Makes current again what was before `set`, for a little less than another `set`. False in
/// another context than that of the token: nothing is changed then.
#[inline]
pub(crate) fn reset(py: Python<'_>, token: &Bound<'_, PyAny>) -> bool {
    let variable = VARIABLE.get(py);
    variable.is_some_and(|variable| call(py, &variable.reset, Some(token.as_ptr())).is_some())
}

/// The context of an object that was current.
#[inline]
pub(crate) fn context_of(object: &Bound<'_, PyAny>) -> Option<rvh_trace::SpanContext> {
    if object.is_none() {
        None
    } else if let Ok(span) = object.cast::<Span>() {
        span.try_borrow().ok()?.span_context()
    } else if let Ok(context) = object.cast::<SpanContext>() {
        Some(context.get().0.clone())
    } else {
        None
    }
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
    let python = match current.cast::<Span>() {
        _ if current.is_none() => None,
        Ok(span) => span.try_borrow_mut().ok().and_then(|mut span| {
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

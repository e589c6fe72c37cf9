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

/// The object that is current in Python: a span, a remote context, or None.
#[inline]
pub(crate) fn get(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let variable = VARIABLE.get(py)?;
    // SAFETY: `get` is a callable that we hold; the result is a new reference or NULL.
    let current = unsafe {
        Bound::from_owned_ptr_or_opt(
            py,
            ffi::PyObject_Vectorcall(
                variable.get.as_ptr(),
                std::ptr::null(),
                0,
                std::ptr::null_mut(),
            ),
        )
    };
    if current.is_none() {
        drop(PyErr::take(py));
    }
    current
}

/// Makes an object current.
#[inline]
pub(crate) fn set(py: Python<'_>, object: *mut ffi::PyObject) {
    let Some(variable) = VARIABLE.get(py) else {
        return;
    };
    let arguments = [object];
    // SAFETY: `set` is a callable that we hold, `arguments` outlives the call and its element is
    // borrowed from the caller; the result is a new reference or NULL.
    let token = unsafe {
        Bound::from_owned_ptr_or_opt(
            py,
            ffi::PyObject_Vectorcall(
                variable.set.as_ptr(),
                arguments.as_ptr(),
                1,
                std::ptr::null_mut(),
            ),
        )
    };
    if token.is_none() {
        drop(PyErr::take(py));
    }
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

fn python_context(py: Python<'_>) -> Option<rvh_trace::SpanContext> {
    get(py).as_ref().and_then(context_of)
}

/// The innermost span's context, be it of Python or of Rust.
#[inline]
pub(crate) fn innermost(previous: &Bound<'_, PyAny>) -> Option<rvh_trace::SpanContext> {
    let python = context_of(previous);
    if rvh_trace::is_any_entered() {
        rvh_trace::innermost(python)
    } else {
        python
    }
}

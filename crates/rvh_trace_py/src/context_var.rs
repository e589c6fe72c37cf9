//! A `ContextVar`, by the interpreter's own functions.
//!
//! `PyContextVar_Get`, `_Set` and `_Reset` are documented and the same in every Python since 3.7.1,
//! but not part of the limited API. So they are looked up at run time. By the variable's methods,
//! which do the same where the functions are not found, a span takes a tenth longer.

use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;

/// <https://docs.python.org/3/c-api/contextvars.html>
#[derive(Clone, Copy)]
struct Functions {
    get: unsafe extern "C" fn(
        *mut ffi::PyObject,
        *mut ffi::PyObject,
        *mut *mut ffi::PyObject,
    ) -> c_int,
    set: unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> *mut ffi::PyObject,
    reset: unsafe extern "C" fn(*mut ffi::PyObject, *mut ffi::PyObject) -> c_int,
}

impl Functions {
    #[cfg(unix)]
    fn find(_py: Python<'_>) -> Option<Self> {
        Self::in_library(&libloading::os::unix::Library::this())
    }

    #[cfg(windows)]
    fn find(py: Python<'_>) -> Option<Self> {
        // The module itself is linked to python3.dll, which has the limited API alone.
        let version = py.version_info();
        let name = format!("python{}{}.dll", version.major, version.minor);
        Self::in_library(&libloading::os::windows::Library::open_already_loaded(name).ok()?)
    }

    fn in_library(
        #[cfg(unix)] library: &libloading::os::unix::Library,
        #[cfg(windows)] library: &libloading::os::windows::Library,
    ) -> Option<Self> {
        // SAFETY: the types are those of the documentation, and the interpreter, whose functions
        // they are, stays loaded as long as this module does.
        unsafe {
            Some(Self {
                get: *library.get(b"PyContextVar_Get\0").ok()?,
                set: *library.get(b"PyContextVar_Set\0").ok()?,
                reset: *library.get(b"PyContextVar_Reset\0").ok()?,
            })
        }
    }
}

pub(crate) struct ContextVar {
    variable: Py<PyAny>,
    functions: Option<Functions>,
    get: Py<PyAny>,
    set: Py<PyAny>,
    reset: Py<PyAny>,
}

impl ContextVar {
    /// A new one; where it is not set it is None.
    pub(crate) fn new(py: Python<'_>, name: &str) -> PyResult<Self> {
        let keywords = pyo3::types::PyDict::new(py);
        keywords.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        let variable = class.call((name,), Some(&keywords))?;
        // For the tests of the other way, which is taken only where there is nothing else.
        let by_methods = std::env::var_os("RVH_TRACE_CONTEXT_VAR_BY_METHODS").is_some();
        Ok(Self {
            functions: Functions::find(py).filter(|_| !by_methods),
            get: variable.getattr("get")?.unbind(),
            set: variable.getattr("set")?.unbind(),
            reset: variable.getattr("reset")?.unbind(),
            variable: variable.unbind(),
        })
    }

    /// What it is in the current context. `None` only where memory has run out.
    #[inline]
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let Some(functions) = self.functions else {
            return call(py, &self.get, None);
        };
        let mut value = std::ptr::null_mut();
        // SAFETY: attached; the variable is one. The value is a new reference, or NULL when it
        // failed: it has a default.
        let value = unsafe {
            (functions.get)(self.variable.as_ptr(), std::ptr::null_mut(), &raw mut value);
            Bound::from_owned_ptr_or_opt(py, value)
        };
        none_if_raised(py, value)
    }

    /// Sets it in the current context; the token is for `reset`.
    #[inline]
    pub(crate) fn set<'py>(
        &self,
        py: Python<'py>,
        value: *mut ffi::PyObject,
    ) -> Option<Bound<'py, PyAny>> {
        let Some(functions) = self.functions else {
            return call(py, &self.set, Some(value));
        };
        // SAFETY: attached; the variable is one, and the caller holds the value. The token is a
        // new reference, or NULL.
        let token = unsafe {
            let token = (functions.set)(self.variable.as_ptr(), value);
            Bound::from_owned_ptr_or_opt(py, token)
        };
        none_if_raised(py, token)
    }

    /// Makes it again what it was before `set` gave the token. False in another context than that
    /// of the token: nothing is changed then.
    #[inline]
    pub(crate) fn reset(&self, token: &Bound<'_, PyAny>) -> bool {
        let py = token.py();
        let Some(functions) = self.functions else {
            return call(py, &self.reset, Some(token.as_ptr())).is_some();
        };
        // SAFETY: attached; the variable is one, and only `set` makes what is given to this.
        let was_reset = unsafe { (functions.reset)(self.variable.as_ptr(), token.as_ptr()) == 0 };
        if !was_reset {
            drop(PyErr::take(py));
        }
        was_reset
    }
}

#[inline]
fn none_if_raised<'py>(
    py: Python<'py>,
    object: Option<Bound<'py, PyAny>>,
) -> Option<Bound<'py, PyAny>> {
    if object.is_none() {
        drop(PyErr::take(py));
    }
    object
}

/// Calls a method that we hold with at most one argument. `None` when it raised.
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
    none_if_raised(py, result)
}

//! One pipeline for all extension modules of the process: the Python package's compiled module
//! offers its own as a capsule, and the others join it.

use pyo3::exceptions::{PyImportError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use rvh_trace::shared::{self, Vtable};
use std::ffi::CStr;

/// The path of the capsule; what is in it says of which version it is.
const CAPSULE: &CStr = c"rvh_trace._native._shared";

/// Lets the Rust spans of the extension module that calls this go to the pipeline of the Python
/// package rvh_trace, below the Python spans that call into the module. To be called once, when the
/// module is imported:
///
/// ```ignore
/// #[pymodule_init]
/// fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
///     rvh_trace_py::join(module.py())
/// }
/// ```
///
/// # Errors
/// `ImportError` when the Python package is not installed, `RuntimeError` when its version is another
/// one or this module has set up tracing before. The module can go on: its spans are then recorded
/// by a pipeline of its own, if it sets one up, and else not at all.
pub fn join(py: Python<'_>) -> PyResult<()> {
    let theirs = PyCapsule::import_pointer(py, CAPSULE).map_err(|cause| {
        let error = PyImportError::new_err(
            "the Python package rvh_trace, whose pipeline this module shares, is not there or offers \
             none: install it in this module's version",
        );
        error.set_cause(py, Some(cause));
        error
    })?;
    let theirs = theirs.cast::<Vtable>();
    if !theirs.is_aligned() {
        return Err(PyRuntimeError::new_err(
            "rvh_trace._native._shared does not hold a pipeline",
        ));
    }
    // SAFETY: what has this name is such a table, of whatever version, and lives as long as the
    // module that made it, which is never unloaded.
    unsafe { shared::join(theirs.as_ptr()) }
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))
}

/// Puts the capsule where the others look.
#[cfg(feature = "module")]
pub(crate) fn offer(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let table = std::ptr::NonNull::from(shared::vtable()).cast();
    // SAFETY: the table is static.
    let capsule = unsafe { PyCapsule::new_with_pointer(module.py(), table, CAPSULE) }?;
    module.add("_shared", capsule)
}

//! The start of a span, logged by name on the logger `rvh_trace` at INFO.
//!
//! Asking `logger.isEnabledFor` for each span would cost as much as the span. It keeps its answers
//! in a dictionary, which `logging` empties when any level changes; looking there first is cheap.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use std::cell::Cell;

struct Logger {
    logger: Py<PyAny>,
    /// Absent when a later Python keeps its answers elsewhere; then the logger is asked.
    answers: Option<Py<PyDict>>,
    info: Py<PyAny>,
}

static LOGGER: PyOnceLock<Logger> = PyOnceLock::new();

thread_local! {
    /// A handler may open spans itself, whose start is not logged again.
    static LOGGING: Cell<bool> = const { Cell::new(false) };
}

/// Gives the logger; only the first one counts.
#[pyfunction]
pub(crate) fn log_starts_to(py: Python<'_>, logger: &Bound<'_, PyAny>) -> PyResult<()> {
    LOGGER.get_or_try_init(py, || {
        let answers = logger.getattr("_cache").ok();
        Ok::<_, PyErr>(Logger {
            logger: logger.clone().unbind(),
            answers: answers
                .and_then(|dict| dict.cast_into().ok())
                .map(Bound::unbind),
            info: logger.py().import("logging")?.getattr("INFO")?.unbind(),
        })
    })?;
    Ok(())
}

/// Whether the start of a span is to be logged.
#[inline]
pub(crate) fn is_wanted(py: Python<'_>) -> bool {
    let Some(logger) = LOGGER.get(py) else {
        return false;
    };
    if let Some(answers) = &logger.answers {
        // SAFETY: both are objects that we hold; the result is borrowed, or NULL, and only
        // compared. Looking up an int raises nothing, and so there is no error to keep or clear.
        let answer =
            unsafe { ffi::PyDict_GetItemWithError(answers.as_ptr(), logger.info.as_ptr()) };
        // SAFETY: the address of a constant of the interpreter.
        if answer == unsafe { ffi::Py_False() } {
            return false;
        }
    }
    ask(py, logger)
}

#[cold]
fn ask(py: Python<'_>, logger: &Logger) -> bool {
    let answer = logger
        .logger
        .call_method1(py, "isEnabledFor", (&logger.info,));
    answer.is_ok_and(|answer| answer.is_truthy(py).unwrap_or_default())
}

/// Logs the start of a span. What a handler raises is dropped: it is not the traced code's.
#[cold]
pub(crate) fn log_start(py: Python<'_>, name: &str) {
    let Some(logger) = LOGGER.get(py) else { return };
    if !LOGGING.replace(true) {
        let _ = logger.logger.call_method1(py, "info", ("%s", name));
        LOGGING.set(false);
    }
}

//! Long work without the GIL, that Ctrl-C ends.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use poh_holdmetrics::{HoldError, Stop};
use pyo3::prelude::*;

use crate::errors::to_py;

/// Below this many rows the work is over before anyone could press a key.
const LONG: usize = 1_000_000;

/// Runs `work` with the GIL released; while it runs, this thread looks for signals.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    rows: usize,
    work: impl FnOnce(&Stop) -> Result<T, HoldError> + Send,
) -> PyResult<T> {
    if rows < LONG {
        let stop = Stop::default();
        return py.detach(|| work(&stop)).map_err(|error| to_py(py, error));
    }
    watched(py, None, work)
}

/// As [`detached`] for work that may be long; `progress` is called with the bytes read so far, and
/// ends the work when it raises.
pub(crate) fn watched<T: Send>(
    py: Python<'_>,
    progress: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Stop) -> Result<T, HoldError> + Send,
) -> PyResult<T> {
    let stop = Stop::default();
    let (done, finished) = channel();
    thread::scope(|scope| {
        let stop = &stop;
        let worker = scope.spawn(move || {
            let result = work(stop);
            // The receiver waits until it has this or the worker has ended.
            let _ = done.send(());
            result
        });
        let mut signal = Ok(());
        let finished = &std::sync::Mutex::new(finished);
        loop {
            let ended = py.detach(|| match finished.lock() {
                Ok(finished) => finished.recv_timeout(Duration::from_millis(50)),
                Err(_) => Err(RecvTimeoutError::Disconnected),
            });
            if ended != Err(RecvTimeoutError::Timeout) {
                break;
            }
            signal = py.check_signals().and_then(|()| match progress {
                Some(progress) => progress.call1((stop.bytes(),)).map(drop),
                None => Ok(()),
            });
            if signal.is_err() {
                stop.ask();
                break;
            }
        }
        let result = py.detach(|| worker.join());
        signal?;
        match result {
            Ok(result) => result.map_err(|error| to_py(py, error)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

//! An extension module of somebody else, who links the crate rvh_trace.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rvh_trace::{ExporterSettings, Kind, Settings, record_span};
use std::time::Duration;
use tracing_subscriber::prelude::*;

#[pymodule]
mod second_module {
    use super::*;

    #[pyfunction]
    fn join(py: Python<'_>) -> PyResult<()> {
        rvh_trace_py::join(py)
    }

    /// A span around a call.
    #[pyfunction]
    fn work(name: &str, call: &Bound<'_, PyAny>) -> PyResult<()> {
        rvh_trace::in_span(name, |span| {
            span.set_kind(Kind::Client);
            record_span!(span, language = "Rust", items = 3, ratio = 0.5);
            span.add_event("called", &[("by".to_owned(), "Python".into())]);
            call.call0().map(drop)
        })
    }

    /// A span with an error, recorded on a thread that Python does not know.
    #[pyfunction]
    fn fail_on_a_thread(py: Python<'_>) {
        let parent = rvh_trace::current_context();
        py.detach(|| {
            let thread = std::thread::spawn(move || {
                let level = rvh_trace::Level::Info;
                let mut span = rvh_trace::child_of("failing", level, parent.as_ref());
                if let Some(parent) = parent {
                    span.add_link(parent, &[]);
                }
                span.record_error(&std::io::Error::other("disk"));
            });
            let _ = thread.join();
        });
    }

    /// Spans of the crate `tracing`.
    #[pyfunction]
    fn with_tracing() {
        in_subscriber(|| {
            let _outer = tracing::info_span!("tracing", rows = 7).entered();
            tracing::debug_span!("below the level").in_scope(|| ());
            rvh_trace::in_span("inside", |_| ());
        });
    }

    /// Events of the crate `tracing`, outside of all its spans: on this thread; where the GIL is
    /// released; on another thread.
    #[pyfunction]
    fn events(py: Python<'_>) {
        in_subscriber(|| {
            tracing::warn!(rows = 7, kind = "slow", "of the caller");
            tracing::debug!("below the level");
            tracing::error!(parent: None, "of nobody");
            py.detach(|| {
                tracing::info!("with the GIL released");
                let thread = std::thread::spawn(|| in_subscriber(|| tracing::info!("elsewhere")));
                let _ = thread.join();
            });
        });
    }

    /// Calls a function in a span of the crate `tracing`, between two events.
    #[pyfunction]
    fn call_in_tracing(call: &Bound<'_, PyAny>) -> PyResult<()> {
        in_subscriber(|| {
            let _outer = tracing::info_span!("tracing").entered();
            tracing::info!("before");
            call.call0()?;
            tracing::info!("after");
            Ok(())
        })
    }

    fn in_subscriber<T>(work: impl FnOnce() -> T) -> T {
        let subscriber = tracing_subscriber::registry().with(rvh_trace::layer());
        tracing::subscriber::with_default(subscriber, work)
    }

    /// Sets up a pipeline of its own, which is for modules that have not joined one.
    #[pyfunction]
    fn init() -> PyResult<()> {
        let settings = Settings {
            exporter: ExporterSettings::Memory,
            ..Settings::default()
        };
        rvh_trace::init(settings)
            .map(std::mem::forget)
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    #[pyfunction]
    fn own_spans() -> Vec<String> {
        let spans = rvh_trace::finished_spans();
        spans.iter().map(|span| span.name().to_owned()).collect()
    }

    #[pyfunction]
    fn flushed_and_recorded() -> (bool, u64) {
        let flushed = rvh_trace::flush(Duration::from_secs(10));
        (flushed, rvh_trace::stats().recorded)
    }
}

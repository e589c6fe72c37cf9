//! An exporter written in Python: an object with `export(spans)` and perhaps `shutdown()`.

use crate::finished::FinishedSpan;
use pyo3::prelude::*;
use rvh_trace::export::{Exporter, Run};
use rvh_trace::{Error, SpanRecord};

pub(crate) struct PyExporter(pub(crate) Py<PyAny>);

impl Exporter for PyExporter {
    fn export(&mut self, batch: &[SpanRecord], _run: &Run<'_>) -> Result<usize, Error> {
        let spans: Vec<FinishedSpan> = batch.iter().cloned().map(FinishedSpan).collect();
        // None while the interpreter shuts down: then nobody can be called any more.
        let called = Python::try_attach(|py| {
            self.0
                .call_method1(py, "export", (spans,))
                .map(drop)
                .map_err(|error| Error::Export(format!("the exporter object raised {error}")))
        });
        called
            .unwrap_or_else(|| Err(Error::Export("the interpreter is shutting down".to_owned())))
            .map(|()| batch.len())
    }

    fn shutdown(&mut self) {
        let _ = Python::try_attach(|py| {
            let exporter = self.0.bind(py);
            if let Ok(Some(shutdown)) = exporter.getattr_opt("shutdown")
                && let Err(error) = shutdown.call0()
            {
                // Nobody waits for it who could handle it.
                error.write_unraisable(py, Some(exporter));
            }
        });
    }
}

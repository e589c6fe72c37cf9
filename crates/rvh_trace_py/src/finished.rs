//! Finished spans, as Python sees them.

use crate::current::SpanContext;
use crate::values::to_python;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rvh_trace::{Fields, SpanRecord};

pub(crate) fn attributes_dict<'py>(
    py: Python<'py>,
    fields: &Fields,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in fields.iter() {
        dict.set_item(key, to_python(py, &value)?)?;
    }
    Ok(dict)
}

/// Something that happened in a span.
#[pyclass(module = "rvh_trace", frozen)]
pub struct Event(rvh_trace::Event);

#[pymethods]
impl Event {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        self.0.fields.name()
    }

    /// When, in nanoseconds since 1970.
    #[getter]
    fn timestamp(&self) -> u64 {
        self.0.time_ns
    }

    /// Its attributes.
    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        attributes_dict(py, &self.0.fields)
    }

    fn __repr__(&self) -> String {
        format!("<Event {:?}>", self.0.fields.name())
    }
}

/// A pointer from one span to another.
#[pyclass(module = "rvh_trace", frozen)]
pub struct Link(rvh_trace::Link);

#[pymethods]
impl Link {
    /// The other span.
    #[getter]
    fn context(&self) -> SpanContext {
        SpanContext(self.0.context.clone())
    }

    /// The link's attributes.
    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        attributes_dict(py, &self.0.fields)
    }
}

/// A span that has ended.
#[pyclass(module = "rvh_trace", frozen)]
pub struct FinishedSpan(pub(crate) SpanRecord);

#[pymethods]
impl FinishedSpan {
    /// Its name.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

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

    /// The parent, as 16 hexadecimal digits; ``None`` for a root.
    #[getter]
    fn parent_span_id(&self) -> Option<String> {
        let parent = self.0.parent_span_id;
        parent.is_valid().then(|| parent.to_string())
    }

    /// Its attributes.
    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        attributes_dict(py, &self.0.fields)
    }

    /// What happened in it.
    #[getter]
    fn events(&self) -> Vec<Event> {
        let extra = self.0.extra.as_ref();
        extra.map_or_else(Vec::new, |extra| {
            extra.events.iter().cloned().map(Event).collect()
        })
    }

    /// Other spans that it belongs with.
    #[getter]
    fn links(&self) -> Vec<Link> {
        let extra = self.0.extra.as_ref();
        extra.map_or_else(Vec::new, |extra| {
            extra.links.iter().cloned().map(Link).collect()
        })
    }

    /// ``"unset"``, ``"ok"`` or ``"error"``.
    #[getter]
    fn status(&self) -> &'static str {
        self.0.status.as_str()
    }

    /// What the error was.
    #[getter]
    fn status_description(&self) -> &str {
        self.0
            .extra
            .as_ref()
            .map_or("", |extra| extra.status_message.as_str())
    }

    /// Start, in nanoseconds since 1970.
    #[getter]
    fn start(&self) -> u64 {
        self.0.start_ns
    }

    /// End, in nanoseconds since 1970.
    #[getter]
    fn end(&self) -> u64 {
        self.0.end_ns
    }

    /// How much it matters.
    #[getter]
    fn level(&self) -> &'static str {
        self.0.level.as_str()
    }

    /// internal, server, client, producer or consumer.
    #[getter]
    fn kind(&self) -> &'static str {
        self.0.kind.as_str()
    }

    /// Attributes that a limit left out.
    #[getter]
    fn dropped_attributes(&self) -> u32 {
        self.0.fields.dropped()
    }

    /// Events that a limit left out.
    #[getter]
    fn dropped_events(&self) -> u32 {
        self.0
            .extra
            .as_ref()
            .map_or(0, |extra| extra.dropped_events)
    }

    /// Links that a limit left out.
    #[getter]
    fn dropped_links(&self) -> u32 {
        self.0.extra.as_ref().map_or(0, |extra| extra.dropped_links)
    }

    fn __repr__(&self) -> String {
        format!(
            "<FinishedSpan {:?} trace={}>",
            self.0.name(),
            self.0.trace_id
        )
    }
}

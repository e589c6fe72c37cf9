//! Spans of OpenTelemetry's API.

use crate::current;
use crate::hot_path::{self, exit_span, suspend_span};
use crate::span::{ApiRules, Span, State};
use crate::values::{attributes, set_attributes_of_new, with_text};
use crate::{live, spare};
use pyo3::intern;
use pyo3::prelude::*;
use rvh_trace::{Fields, Kind, Level, count_coerced as coerced};
use std::sync::Arc;

/// What one tracer's spans have in common.
struct Tracer {
    /// The name and version of the instrumentation library.
    scope: Arc<(String, String)>,
    /// Whether the API's context and ours are one.
    shares_context: bool,
    /// Finds the parent in a context of the API, or in its current one: a ``Span``, a context of a
    /// span, or None.
    parent_in: Py<PyAny>,
    /// Makes a function that makes a span of each call of a function.
    decorated: Py<PyAny>,
}

/// The arguments of the API's `start_span`.
struct Arguments {
    name: Py<PyAny>,
    context: Option<Py<PyAny>>,
    kind: Kind,
    attributes: Option<Py<PyAny>>,
    links: Option<Py<PyAny>>,
    start_time: Option<u64>,
    rules: ApiRules,
}

impl Tracer {
    /// Starts a span. With `current` it is made current, until it is left.
    fn start<'py>(
        &self,
        py: Python<'py>,
        arguments: &Arguments,
        current: bool,
    ) -> PyResult<Bound<'py, Span>> {
        hot_path::initialise_if_wanted(py);
        let context = arguments.context.as_ref();
        let mut parent = None;
        if context.is_some() || !self.shares_context {
            let found = self.parent_in.call1(py, (context,))?.into_bound(py);
            parent = current::context_of(&found);
        }
        // With a context of its own a span of ours may be the inner one.
        if parent.is_none() && context.is_none() {
            parent = current::get(py).as_ref().and_then(current::innermost);
        }
        let Some(pipeline) = rvh_trace::pipeline() else {
            return Ok(hot_path::no_op_span(py).into_bound(py));
        };
        let limits = &pipeline.settings.limits;
        let fields = with_text(arguments.name.bind(py), |name| {
            Fields::new(name, pipeline.buffer())
        });
        let mut span = State::new(fields, Level::Info);
        span.api = Some(arguments.rules);
        span.record.kind = arguments.kind;
        if let Some(attributes) = &arguments.attributes {
            let count = set_attributes_of_new(&mut span.record, attributes.bind(py), limits);
            coerced(count);
        }
        if let Some(links) = &arguments.links {
            for link in links.bind(py).try_iter()? {
                let link = link?;
                let (pairs, count) = attributes(link.getattr("attributes").ok().as_ref());
                coerced(count);
                let context = link.getattr("context").ok();
                if let Some(context) = context.as_ref().and_then(current::context_of) {
                    span.record.add_link(context, &pairs, limits);
                }
            }
        }
        span.record.extra().scope = Some(Arc::clone(&self.scope));
        span.start(parent.as_ref(), arguments.start_time);
        let is_recording = span.recording;
        let span = spare::object(py, span)?;
        if is_recording && let Ok(mut state) = span.get().try_borrow_mut() {
            state.live = live::Slot::take(&span);
        }
        if current {
            hot_path::resume_span(&span);
        }
        Ok(span)
    }
}

/// Makes spans for one instrumentation library.
#[pyclass(module = "rvh_trace", frozen, subclass)]
pub struct ApiTracer(Arc<Tracer>);

#[pymethods]
impl ApiTracer {
    #[new]
    #[pyo3(signature = (name, version, shares_context, parent_in, decorated, /))]
    fn new(
        name: String,
        version: String,
        shares_context: bool,
        parent_in: Py<PyAny>,
        decorated: Py<PyAny>,
    ) -> Self {
        Self(Arc::new(Tracer {
            scope: Arc::new((name, version)),
            shares_context,
            parent_in,
            decorated,
        }))
    }

    /// Start a span, which is not made current.
    #[pyo3(signature = (name, context=None, kind=None, attributes=None, links=None,
                        start_time=None, record_exception=true, set_status_on_exception=true))]
    #[allow(
        clippy::too_many_arguments,
        reason = "the arguments of the API's start_span"
    )]
    fn start_span<'py>(
        &self,
        py: Python<'py>,
        name: Py<PyAny>,
        context: Option<Py<PyAny>>,
        kind: Option<&Bound<'py, PyAny>>,
        attributes: Option<Py<PyAny>>,
        links: Option<Py<PyAny>>,
        start_time: Option<u64>,
        record_exception: bool,
        set_status_on_exception: bool,
    ) -> PyResult<Bound<'py, Span>> {
        let span = self.start_as_current_span(
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
            true,
        );
        self.0.start(py, &span.arguments, false)
    }

    /// Start a span and make it current, for a ``with`` block or as a decorator.
    #[pyo3(signature = (name, context=None, kind=None, attributes=None, links=None,
                        start_time=None, record_exception=true, set_status_on_exception=true,
                        end_on_exit=true))]
    #[allow(
        clippy::too_many_arguments,
        reason = "the arguments of the API's start_as_current_span"
    )]
    fn start_as_current_span(
        &self,
        name: Py<PyAny>,
        context: Option<Py<PyAny>>,
        kind: Option<&Bound<'_, PyAny>>,
        attributes: Option<Py<PyAny>>,
        links: Option<Py<PyAny>>,
        start_time: Option<u64>,
        record_exception: bool,
        set_status_on_exception: bool,
        end_on_exit: bool,
    ) -> CurrentSpan {
        CurrentSpan {
            tracer: Arc::clone(&self.0),
            arguments: Arguments {
                name,
                context,
                kind: kind.map_or(Kind::Internal, kind_of),
                attributes,
                links,
                start_time,
                rules: ApiRules {
                    record_exception,
                    set_status: set_status_on_exception,
                },
            },
            end_on_exit,
            span: None,
        }
    }
}

/// A `SpanKind`, whose numbers are one less than OTLP's.
fn kind_of(kind: &Bound<'_, PyAny>) -> Kind {
    // The attribute `value` of a member is looked up by a function of Python.
    let number = kind
        .getattr(intern!(kind.py(), "_value_"))
        .and_then(|value| value.extract::<u8>());
    let number = number.ok().and_then(|number| number.checked_add(1));
    number.and_then(Kind::from_number).unwrap_or_default()
}

/// A span for ``with``, or for each call of a decorated function or coroutine.
#[pyclass(module = "rvh_trace")]
pub struct CurrentSpan {
    tracer: Arc<Tracer>,
    arguments: Arguments,
    end_on_exit: bool,
    /// While it is entered.
    span: Option<Py<Span>>,
}

#[pymethods]
impl CurrentSpan {
    fn __enter__<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, Span>> {
        let span = self.tracer.start(py, &self.arguments, true)?;
        self.span = Some(span.clone().unbind());
        Ok(span)
    }

    fn __exit__(
        slf: &Bound<'_, Self>,
        _kind: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (span, end) = {
            let mut current = slf.try_borrow_mut()?;
            (current.span.take(), current.end_on_exit)
        };
        if let Some(span) = span {
            let error = (!exception.is_none()).then_some(exception);
            leave(span.bind(slf.py()), error, end);
        }
        Ok(())
    }

    /// Make a span of each call of a function.
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        function: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let decorated = slf.try_borrow()?.tracer.decorated.clone_ref(py);
        let enter = slf.getattr(intern!(py, "start"))?;
        let leave = slf.getattr(intern!(py, "leave"))?;
        decorated.bind(py).call1((function, enter, leave))
    }

    /// Start another span of this kind, and make it current.
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Span>> {
        self.tracer.start(py, &self.arguments, true)
    }

    /// Leave a span that was started, with an exception or without one.
    #[pyo3(signature = (span, error=None, /))]
    fn leave(&self, span: &Bound<'_, Span>, error: Option<&Bound<'_, PyAny>>) {
        leave(span, error, self.end_on_exit);
    }
}

fn leave(span: &Bound<'_, Span>, error: Option<&Bound<'_, PyAny>>, end: bool) {
    if end {
        return exit_span(span, error);
    }
    if let Some(error) = error {
        Span::failed(span, error);
    }
    suspend_span(span);
}

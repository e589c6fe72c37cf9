//! Setting the tracer up, and asking how it does.

use crate::finished::FinishedSpan;
use crate::live;
use crate::pyexporter::PyExporter;
use crate::values::{attributes, level_of, shown};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rvh_trace::{
    CustomExporter, Error, ExporterChoice, ExporterSettings, RateLimit, Redaction, Rule, Sampler,
    Tail, Value,
};
use std::path::PathBuf;
use std::time::Duration;

fn to_py_err(error: Error) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Setting { .. } => PyValueError::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}

/// Any number of seconds that a person may write; what is negative or not a number is none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 1e9)).unwrap_or_default()
}

/// A sampling rule: a pattern of names or none, patterns of attributes, the part to record.
type RuleArguments = (Option<String>, Vec<(String, String)>, f64);

/// Sets the tracer up from the environment and then from the arguments, those that are not None.
/// Returns the warnings about variables that were ignored.
#[pyfunction]
#[pyo3(signature = (*, level, service_name, exporter, exporter_object, endpoint, protocol, headers,
                    timeout, file, sampler, sampler_argument, sampling_rules, rate_limit, tail_ratio,
                    tail_slower_than, runtime, resource, redact_defaults,
                    redact_keys, redact_values, reconfigure))]
#[allow(
    clippy::too_many_arguments,
    reason = "one for each keyword of init_tracing"
)]
pub(crate) fn install(
    py: Python<'_>,
    level: &Bound<'_, PyAny>,
    service_name: Option<String>,
    exporter: Option<String>,
    exporter_object: Option<Py<PyAny>>,
    endpoint: Option<String>,
    protocol: Option<String>,
    headers: Option<Vec<(String, String)>>,
    timeout: Option<f64>,
    file: Option<PathBuf>,
    sampler: Option<&str>,
    sampler_argument: Option<&str>,
    sampling_rules: Vec<RuleArguments>,
    rate_limit: Option<f64>,
    tail_ratio: Option<f64>,
    tail_slower_than: Option<f64>,
    runtime: &Bound<'_, PyAny>,
    resource: Option<&Bound<'_, PyAny>>,
    redact_defaults: bool,
    redact_keys: Vec<String>,
    redact_values: Vec<String>,
    reconfigure: bool,
) -> PyResult<Vec<String>> {
    let choice = ExporterChoice {
        exporter,
        endpoint,
        protocol,
        headers,
        timeout,
        file,
    };
    let from_env = choice.over_env().map_err(to_py_err)?;
    let mut settings = from_env.settings;
    settings.level = match level_of(level) {
        Some(level) => level,
        // The parser's error says what to write.
        None => shown(level).parse().map_err(to_py_err)?,
    };
    settings
        .resource
        .set("telemetry.sdk.language", Value::Str("python".to_owned()));
    let (pairs, _) = attributes(Some(runtime));
    for (key, value) in pairs {
        // What the environment says counts more than what was found out.
        if settings.resource.get(&key).is_none() {
            settings.resource.set(key, value);
        }
    }
    let (pairs, _) = attributes(resource);
    for (key, value) in pairs {
        settings.resource.set(key, value);
    }
    if let Some(name) = service_name {
        settings.resource.set("service.name", Value::Str(name));
    }
    settings.redaction =
        Redaction::new(redact_defaults, &redact_keys, &redact_values).map_err(to_py_err)?;
    if let Some(name) = sampler {
        settings.sampler = Sampler::from_name(name, sampler_argument).map_err(|error| {
            to_py_err(match error {
                // By the name that it was given under.
                Error::Setting { name, value, mend } if name == "OTEL_TRACES_SAMPLER" => {
                    Error::setting("sampler", value, mend)
                }
                other => other,
            })
        })?;
    }
    if !sampling_rules.is_empty() {
        let rules = sampling_rules
            .iter()
            .map(|(name, attributes, ratio)| Rule::new(name.as_deref(), attributes, *ratio))
            .collect::<Result<_, _>>()
            .map_err(to_py_err)?;
        settings.sampler = Sampler::ByRules(rules, Box::new(settings.sampler));
    }
    if let Some(per_second) = rate_limit {
        if !per_second.is_finite() || per_second < 0.0 {
            let mend = "give a number of traces a second, 0 or more";
            return Err(to_py_err(Error::setting(
                "rate_limit",
                per_second.to_string(),
                mend,
            )));
        }
        let limit = RateLimit::new(per_second, settings.sampler);
        settings.sampler = Sampler::RateLimited(Box::new(limit));
    }
    if let Some(slow) = tail_slower_than
        && (slow.is_nan() || slow < 0.0)
    {
        let mend = "give seconds, 0 or more";
        return Err(to_py_err(Error::setting(
            "tail_slower_than",
            slow.to_string(),
            mend,
        )));
    }
    if tail_ratio.is_some() || tail_slower_than.is_some() {
        let ratio = tail_ratio.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&ratio) {
            let mend = "give a number from 0.0 to 1.0";
            return Err(to_py_err(Error::setting(
                "tail_ratio",
                ratio.to_string(),
                mend,
            )));
        }
        settings.tail = Some(Tail {
            ratio,
            slower_than: tail_slower_than.map(seconds),
        });
    }
    if from_env.disabled {
        return Ok(Vec::new());
    }
    if let Some(object) = exporter_object {
        let id = object.as_ptr() as usize;
        let make = move || {
            let object = Python::attach(|py| object.clone_ref(py));
            Box::new(PyExporter(object)) as Box<dyn rvh_trace::export::Exporter>
        };
        settings.exporter = ExporterSettings::Custom(CustomExporter::new(id, make));
    }
    py.detach(|| rvh_trace::install(settings, reconfigure))
        .map_err(to_py_err)?;
    Ok(from_env.warnings.iter().map(ToString::to_string).collect())
}

/// Whether tracing is set up.
#[pyfunction]
pub(crate) fn is_set_up() -> bool {
    rvh_trace::pipeline().is_some()
}

/// Exports what is queued. False when it takes longer than ``timeout`` seconds.
#[pyfunction]
#[pyo3(signature = (timeout=5.0))]
pub(crate) fn flush(py: Python<'_>, timeout: f64) -> bool {
    py.detach(|| rvh_trace::flush(seconds(timeout)))
}

/// Exports what is queued and ends tracing: spans are no-ops afterwards. False when it takes
/// longer than ``timeout`` seconds; the rest is then given up.
#[pyfunction]
#[pyo3(signature = (timeout=2.0))]
pub(crate) fn shutdown(py: Python<'_>, timeout: f64) -> bool {
    py.detach(|| rvh_trace::shutdown(seconds(timeout)))
}

/// What the exporter "memory" kept, oldest first.
#[pyfunction]
pub(crate) fn finished_spans(py: Python<'_>) -> Vec<FinishedSpan> {
    py.detach(rvh_trace::finished_spans)
        .into_iter()
        .map(FinishedSpan)
        .collect()
}

/// What the exporter is called in metrics, and how many spans may wait for it; ``None`` where
/// tracing is not set up.
#[pyfunction]
pub(crate) fn exporter_and_capacity() -> Option<(&'static str, usize)> {
    rvh_trace::pipeline().map(|pipeline| {
        let settings = &pipeline.settings;
        (settings.exporter.component_type(), settings.batch.queue)
    })
}

/// What the pipeline has done since it was set up.
#[pyfunction]
pub(crate) fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let stats = py.detach(rvh_trace::stats);
    let dict = PyDict::new(py);
    dict.set_item("recorded", stats.recorded)?;
    dict.set_item("exported", stats.exported)?;
    dict.set_item("dropped", stats.dropped)?;
    dict.set_item("failed", stats.failed)?;
    dict.set_item("sampled_out", stats.sampled_out)?;
    dict.set_item("coerced", stats.coerced)?;
    dict.set_item("queue_depth", stats.queue_depth)?;
    dict.set_item("live", live::count(py))?;
    dict.set_item("last_error", stats.last_error)?;
    Ok(dict)
}

/// For ``os.register_at_fork``: the child gets a pipeline of its own.
#[pyfunction]
pub(crate) fn after_fork_in_child(py: Python<'_>) {
    live::forget_other_threads(py);
    rvh_trace::after_fork_in_child();
}

/// How this module was built: ``profile``, ``version`` and ``target``.
#[pyfunction]
pub(crate) fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("profile", env!("RVH_TRACE_PROFILE"))?;
    dict.set_item("version", rvh_trace::VERSION)?;
    dict.set_item("target", env!("RVH_TRACE_TARGET"))?;
    Ok(dict)
}

/// Calls a function of no arguments in a span that is opened by the Rust API: how a Rust library
/// that calls back into Python is seen from there.
#[pyfunction]
pub(crate) fn call_in_rust_span(name: &str, function: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    rvh_trace::in_span(name, |_| function.call0().map(Bound::unbind))
}

//! OTLP over HTTP with protobuf (OpenTelemetry protocol 1.x, "OTLP/HTTP").

use super::{Exporter, Run};
use crate::{Error, Event, Fields, Link, OtlpSettings, Resource, SpanRecord, Value};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first pause before a retry; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A collector's answer is a few bytes; what is longer is not one.
const LONGEST_ANSWER: u64 = 64 << 10;

/// Sends batches to a collector by `http/protobuf`.
pub struct HttpExporter {
    agent: ureq::Agent,
    settings: OtlpSettings,
}

enum Attempt {
    Delivered {
        rejected: usize,
        message: String,
    },
    Retry {
        after: Option<Duration>,
        cause: String,
    },
    Refused(String),
}

impl HttpExporter {
    /// Makes the client; nothing is sent yet.
    pub fn new(settings: &OtlpSettings) -> Result<Self, Error> {
        let tls = ureq::tls::TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(format!("rvh_trace/{}", crate::VERSION))
            .tls_config(tls)
            .build()
            .new_agent();
        let exporter = Self {
            agent,
            settings: settings.clone(),
        };
        for (name, value) in &exporter.settings.headers {
            let valid = ureq::http::HeaderName::try_from(name.as_str()).is_ok()
                && ureq::http::HeaderValue::try_from(value.as_str()).is_ok();
            if !valid {
                return Err(Error::setting(
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    name,
                    "an HTTP header has a plain name and a value of one line",
                ));
            }
        }
        Ok(exporter)
    }

    fn attempt(&self, body: &[u8], gzip: bool) -> Attempt {
        let mut request = self
            .agent
            .post(&self.settings.endpoint)
            .header("content-type", "application/x-protobuf");
        if gzip {
            request = request.header("content-encoding", "gzip");
        }
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        let mut response = match request.send(body) {
            Ok(response) => response,
            Err(error) => {
                return Attempt::Retry {
                    after: None,
                    cause: error.to_string(),
                };
            }
        };
        let status = response.status().as_u16();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().parse().ok())
            .map(Duration::from_secs);
        let answer = response
            .body_mut()
            .with_config()
            .limit(LONGEST_ANSWER)
            .read_to_vec()
            .unwrap_or_default();
        match status {
            200..=299 => {
                let partial = ExportTraceServiceResponse::decode(answer.as_slice())
                    .ok()
                    .and_then(|response| response.partial_success)
                    .unwrap_or_default();
                Attempt::Delivered {
                    rejected: usize::try_from(partial.rejected_spans).unwrap_or(0),
                    message: partial.error_message,
                }
            }
            // The retryable codes of the specification.
            429 | 502 | 503 | 504 => Attempt::Retry {
                after,
                cause: format!("it answered HTTP {status}"),
            },
            _ => Attempt::Refused(format!("it answered HTTP {status}")),
        }
    }

    fn failure(&self, cause: &str) -> Error {
        Error::Export(format!(
            "cannot deliver spans to {}: {cause}; is the collector running there?",
            without_credentials(&self.settings.endpoint)
        ))
    }
}

impl Exporter for HttpExporter {
    fn export(&mut self, batch: &[SpanRecord], run: &Run<'_>) -> Result<usize, Error> {
        let plain = request(batch, run.resource).encode_to_vec();
        let (body, gzip) = match self.settings.gzip.then(|| compressed(&plain)) {
            Some(Ok(body)) => (body, true),
            _ => (plain, false),
        };
        let mut pause = FIRST_PAUSE;
        loop {
            match self.attempt(&body, gzip) {
                Attempt::Delivered { rejected: 0, .. } => return Ok(batch.len()),
                Attempt::Delivered { rejected, message } => {
                    log::warn!("the collector rejected {rejected} spans: {message}");
                    return Ok(batch.len().saturating_sub(rejected));
                }
                Attempt::Refused(cause) => return Err(self.failure(&cause)),
                Attempt::Retry { after, cause } => {
                    // Half to all of the pause, so that many clients do not come back at once.
                    let jitter = 0.5 + rand::random::<f64>() / 2.0;
                    if !run.wait(after.unwrap_or_else(|| pause.mul_f64(jitter)))
                        || Instant::now() >= run.deadline
                    {
                        return Err(self.failure(&cause));
                    }
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
            }
        }
    }
}

/// `user:password@` does not belong into a message.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let path = path.split('?').next().unwrap_or_default();
    format!("{scheme}://{host}/{path}")
}

fn compressed(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// The OTLP message of a batch: one resource, one scope for each instrumentation library.
pub fn request(batch: &[SpanRecord], resource: &Resource) -> ExportTraceServiceRequest {
    let mut scopes: Vec<proto::ScopeSpans> = Vec::new();
    for record in batch {
        let (name, version) = match record.extra.as_ref().and_then(|extra| extra.scope.as_ref()) {
            Some(scope) => (scope.0.as_str(), scope.1.as_str()),
            None => ("rvh_trace", crate::VERSION),
        };
        let known = scopes.iter_mut().find(|scope| {
            scope
                .scope
                .as_ref()
                .is_some_and(|s| s.name == name && s.version == version)
        });
        match known {
            Some(scope) => scope.spans.push(span(record)),
            None => scopes.push(proto::ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    ..Default::default()
                }),
                spans: vec![span(record)],
                ..Default::default()
            }),
        }
    }
    let attributes = resource
        .attributes
        .iter()
        .map(|(key, value)| key_value(key, value.clone()))
        .collect();
    ExportTraceServiceRequest {
        resource_spans: vec![proto::ResourceSpans {
            resource: Some(ProtoResource {
                attributes,
                ..Default::default()
            }),
            scope_spans: scopes,
            ..Default::default()
        }],
    }
}

fn span(record: &SpanRecord) -> proto::Span {
    let parent = record.parent_span_id;
    let extra = record.extra.as_deref();
    proto::Span {
        trace_id: record.trace_id.0.to_be_bytes().to_vec(),
        span_id: record.span_id.0.to_be_bytes().to_vec(),
        parent_span_id: if parent.is_valid() {
            parent.0.to_be_bytes().to_vec()
        } else {
            Vec::new()
        },
        trace_state: extra
            .and_then(|extra| extra.tracestate.as_deref())
            .unwrap_or_default()
            .to_owned(),
        // Bit 8: it is known whether the parent is remote; bit 9: it is.
        flags: u32::from(record.flags) | 0x100 | (u32::from(record.remote_parent) << 9),
        name: record.name().to_owned(),
        kind: record.kind as i32,
        start_time_unix_nano: record.start_ns,
        end_time_unix_nano: record.end_ns,
        attributes: key_values(&record.fields),
        dropped_attributes_count: record.fields.dropped(),
        events: extra.map_or_else(Vec::new, |extra| extra.events.iter().map(event).collect()),
        dropped_events_count: extra.map_or(0, |extra| extra.dropped_events),
        links: extra.map_or_else(Vec::new, |extra| extra.links.iter().map(link).collect()),
        dropped_links_count: extra.map_or(0, |extra| extra.dropped_links),
        status: Some(proto::Status {
            code: record.status as i32,
            message: extra.map_or_else(String::new, |extra| extra.status_message.clone()),
        }),
    }
}

fn event(event: &Event) -> proto::span::Event {
    proto::span::Event {
        time_unix_nano: event.time_ns,
        name: event.fields.name().to_owned(),
        attributes: key_values(&event.fields),
        dropped_attributes_count: event.fields.dropped(),
    }
}

fn link(link: &Link) -> proto::span::Link {
    proto::span::Link {
        trace_id: link.context.trace_id.0.to_be_bytes().to_vec(),
        span_id: link.context.span_id.0.to_be_bytes().to_vec(),
        trace_state: link
            .context
            .tracestate
            .as_deref()
            .unwrap_or_default()
            .to_owned(),
        attributes: key_values(&link.fields),
        dropped_attributes_count: link.fields.dropped(),
        flags: u32::from(link.context.flags) | 0x100 | (u32::from(link.context.remote) << 9),
    }
}

fn key_values(fields: &Fields) -> Vec<KeyValue> {
    fields
        .iter()
        .map(|(key, value)| key_value(key, value))
        .collect()
}

fn key_value(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(any_value(value)),
        ..Default::default()
    }
}

fn any_value(value: Value) -> AnyValue {
    let value = match value {
        Value::Bool(v) => any_value::Value::BoolValue(v),
        Value::Int(v) => any_value::Value::IntValue(v),
        Value::Float(v) => any_value::Value::DoubleValue(v),
        Value::Str(v) => any_value::Value::StringValue(v),
        Value::Bytes(v) => any_value::Value::BytesValue(v),
        Value::List(values) => any_value::Value::ArrayValue(ArrayValue {
            values: values.into_iter().map(any_value).collect(),
        }),
    };
    AnyValue { value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(
            without_credentials("http://me:pw@host:1/a?key=2"),
            "http://host:1/a"
        );
    }
}

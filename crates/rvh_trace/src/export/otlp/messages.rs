//! Spans as the messages of the OpenTelemetry protocol (opentelemetry-proto 1.x).

use crate::{Event, Fields, Link, Resource, SpanRecord, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1 as proto;

/// The OTLP message of a batch: one resource, one scope for each instrumentation library.
pub(crate) fn request(batch: &[SpanRecord], resource: &Resource) -> ExportTraceServiceRequest {
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

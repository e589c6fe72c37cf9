//! Spans as messages of the OpenTelemetry protocol (opentelemetry-proto 1.x), encoded.
//!
//! By hand, because a span's fields are in one buffer: to make the structures of the protocol's
//! crate, each with texts of its own, takes the exporting thread three times as long. A test reads
//! what is written by that crate.

use crate::fields::Stored;
use crate::{Event, Fields, Link, Resource, SpanRecord};
use prost::encoding::{encode_varint, encoded_len_varint};

/// The wire types of protobuf.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const SIZED: u64 = 2;
const FIXED32: u64 = 5;

/// `ExportTraceServiceRequest` of a batch: one resource, one scope for each instrumentation
/// library.
pub(crate) fn request(batch: &[SpanRecord], resource: &Resource) -> Vec<u8> {
    let mut scopes: Vec<((&str, &str), Vec<u8>)> = Vec::new();
    let mut message = Vec::with_capacity(512);
    for record in batch {
        let scope = match record.extra.as_ref().and_then(|extra| extra.scope.as_ref()) {
            Some(scope) => (scope.0.as_str(), scope.1.as_str()),
            None => ("rvh_trace", crate::VERSION),
        };
        let at = scopes.iter().position(|(known, _)| *known == scope);
        let at = at.unwrap_or_else(|| {
            let mut spans = Vec::with_capacity(batch.len() * 256);
            message.clear();
            put_text(&mut message, 1, scope.0);
            put_text(&mut message, 2, scope.1);
            put_sized(&mut spans, 1, &message);
            scopes.push((scope, spans));
            scopes.len() - 1
        });
        message.clear();
        put_span(&mut message, record);
        put_sized(&mut scopes[at].1, 2, &message);
    }
    let mut attributes = Fields::new("", Vec::new());
    for (key, value) in &resource.attributes {
        attributes.push(key, value.into());
    }
    message.clear();
    put_attributes(&mut message, 1, &attributes);
    let size: usize = scopes.iter().map(|(_, spans)| spans.len() + 8).sum();
    let mut resource_spans = Vec::with_capacity(message.len() + size + 8);
    put_sized(&mut resource_spans, 1, &message);
    for (_, spans) in &scopes {
        put_sized(&mut resource_spans, 2, spans);
    }
    let mut request = Vec::with_capacity(resource_spans.len() + 8);
    put_sized(&mut request, 1, &resource_spans);
    request
}

fn put_span(to: &mut Vec<u8>, record: &SpanRecord) {
    let extra = record.extra.as_deref();
    put_sized(to, 1, &record.trace_id.0.to_be_bytes());
    put_sized(to, 2, &record.span_id.0.to_be_bytes());
    put_text(
        to,
        3,
        extra
            .and_then(|extra| extra.tracestate.as_deref())
            .unwrap_or_default(),
    );
    if record.parent_span_id.is_valid() {
        put_sized(to, 4, &record.parent_span_id.0.to_be_bytes());
    }
    put_text(to, 5, record.name());
    put_number(to, 6, record.kind as u64);
    put_time(to, 7, record.start_ns);
    put_time(to, 8, record.end_ns);
    put_attributes(to, 9, &record.fields);
    put_number(to, 10, u64::from(record.fields.dropped()));
    let mut message = Vec::new();
    if let Some(extra) = extra {
        for event in &extra.events {
            message.clear();
            put_event(&mut message, event);
            put_sized(to, 11, &message);
        }
        put_number(to, 12, u64::from(extra.dropped_events));
        for link in &extra.links {
            message.clear();
            put_link(&mut message, link);
            put_sized(to, 13, &message);
        }
        put_number(to, 14, u64::from(extra.dropped_links));
    }
    message.clear();
    put_text(
        &mut message,
        2,
        extra.map_or("", |extra| &extra.status_message),
    );
    put_number(&mut message, 3, record.status as u64);
    put_sized(to, 15, &message);
    put_flags(to, 16, record.flags, record.remote_parent);
}

fn put_event(to: &mut Vec<u8>, event: &Event) {
    put_time(to, 1, event.time_ns);
    put_text(to, 2, event.fields.name());
    put_attributes(to, 3, &event.fields);
    put_number(to, 4, u64::from(event.fields.dropped()));
}

fn put_link(to: &mut Vec<u8>, link: &Link) {
    put_sized(to, 1, &link.context.trace_id.0.to_be_bytes());
    put_sized(to, 2, &link.context.span_id.0.to_be_bytes());
    put_text(
        to,
        3,
        link.context.tracestate.as_deref().unwrap_or_default(),
    );
    put_attributes(to, 4, &link.fields);
    put_number(to, 5, u64::from(link.fields.dropped()));
    put_flags(to, 6, link.context.flags, link.context.remote);
}

/// Each as a `KeyValue`, which is its key and an `AnyValue`.
fn put_attributes(to: &mut Vec<u8>, field: u64, fields: &Fields) {
    for (key, value) in fields.stored() {
        let size = any_value_len(value);
        let key_len = if key.is_empty() {
            0
        } else {
            sized_len(key.len())
        };
        put_key(to, field, SIZED);
        encode_varint((key_len + sized_len(size)) as u64, to);
        put_text(to, 1, key);
        put_key(to, 2, SIZED);
        encode_varint(size as u64, to);
        put_any_value(to, value);
    }
}

/// What `put_any_value` writes, in bytes.
fn any_value_len(value: Stored<'_>) -> usize {
    match value {
        Stored::Bool(_) => 2,
        Stored::Int(number) => 1 + encoded_len_varint(number as u64),
        Stored::Float(_) => 9,
        Stored::Str(text) => sized_len(text.len()),
        Stored::Bytes(bytes) => sized_len(bytes.len()),
        Stored::List(items) => sized_len(items.map(|item| sized_len(any_value_len(item))).sum()),
    }
}

/// An `AnyValue`, which has one field: also one that is false, zero or empty.
fn put_any_value(to: &mut Vec<u8>, value: Stored<'_>) {
    match value {
        Stored::Str(text) => put_sized(to, 1, text.as_bytes()),
        Stored::Bool(flag) => {
            put_key(to, 2, VARINT);
            to.push(u8::from(flag));
        }
        Stored::Int(number) => {
            put_key(to, 3, VARINT);
            encode_varint(number as u64, to);
        }
        Stored::Float(number) => {
            put_key(to, 4, FIXED64);
            to.extend_from_slice(&number.to_le_bytes());
        }
        Stored::List(items) => {
            let size: usize = items.map(|item| sized_len(any_value_len(item))).sum();
            put_key(to, 5, SIZED);
            encode_varint(size as u64, to);
            for item in items {
                put_key(to, 1, SIZED);
                encode_varint(any_value_len(item) as u64, to);
                put_any_value(to, item);
            }
        }
        Stored::Bytes(bytes) => put_sized(to, 7, bytes),
    }
}

#[inline]
fn put_key(to: &mut Vec<u8>, field: u64, wire_type: u64) {
    encode_varint((field << 3) | wire_type, to);
}

/// A field of bytes, a text or a message, and its length; also an empty one.
#[inline]
fn put_sized(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(to, field, SIZED);
    encode_varint(bytes.len() as u64, to);
    to.extend_from_slice(bytes);
}

/// What such a field takes, in bytes, where its number is below 16.
fn sized_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

fn put_text(to: &mut Vec<u8>, field: u64, text: &str) {
    if !text.is_empty() {
        put_sized(to, field, text.as_bytes());
    }
}

fn put_number(to: &mut Vec<u8>, field: u64, number: u64) {
    if number != 0 {
        put_key(to, field, VARINT);
        encode_varint(number, to);
    }
}

fn put_time(to: &mut Vec<u8>, field: u64, nanoseconds: u64) {
    if nanoseconds != 0 {
        put_key(to, field, FIXED64);
        to.extend_from_slice(&nanoseconds.to_le_bytes());
    }
}

/// W3C's flags. Bit 8 says that it is known whether the other span is remote, bit 9 that it is.
fn put_flags(to: &mut Vec<u8>, field: u64, flags: u8, remote: bool) {
    put_key(to, field, FIXED32);
    let flags = u32::from(flags) | 0x100 | (u32::from(remote) << 9);
    to.extend_from_slice(&flags.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::tests::any_value;
    use crate::{Kind, Level, Limits, SpanContext, SpanId, Status, TraceId, Value};
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Proto;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use proptest::prelude::*;
    use prost::Message as _;
    use std::sync::Arc;

    fn pairs() -> impl Strategy<Value = Vec<(String, Value)>> {
        let keys = prop_oneof!["[a-z]{1,3}", "[a-z]{120,140}"];
        proptest::collection::btree_map(keys, any_value(), 0..6)
            .prop_map(|map| map.into_iter().collect())
    }

    fn read(value: Option<AnyValue>) -> Value {
        match value.and_then(|value| value.value) {
            Some(Proto::BoolValue(v)) => Value::Bool(v),
            Some(Proto::IntValue(v)) => Value::Int(v),
            Some(Proto::DoubleValue(v)) => Value::Float(v),
            Some(Proto::StringValue(v)) => Value::Str(v),
            Some(Proto::BytesValue(v)) => Value::Bytes(v),
            Some(Proto::ArrayValue(list)) => {
                Value::List(list.values.into_iter().map(|v| read(Some(v))).collect())
            }
            other => unreachable!("{other:?} is never written"),
        }
    }

    fn read_all(attributes: Vec<KeyValue>) -> Vec<(String, Value)> {
        attributes
            .into_iter()
            .map(|pair| (pair.key, read(pair.value)))
            .collect()
    }

    fn context(number: u64) -> SpanContext {
        SpanContext {
            trace_id: TraceId((u128::from(number) << 64) | 7),
            span_id: SpanId(number),
            flags: 1,
            remote: true,
            tracestate: Some("a=1".into()),
        }
    }

    proptest! {
        #[test]
        fn the_protocols_own_crate_reads_what_is_written(
            name in any::<String>(),
            attributes in pairs(),
            of_resource in pairs(),
            of_event in pairs(),
            of_link in pairs(),
            number in 1..u64::MAX,
            is_root in any::<bool>(),
        ) {
            let limits = Limits::default();
            let mut record = SpanRecord::unstarted(Fields::new(&name, Vec::new()), Level::Info);
            record.place((!is_root).then(|| context(number)).as_ref());
            (record.start_ns, record.end_ns) = (number, number);
            record.kind = Kind::Consumer;
            for (key, value) in &attributes {
                record.set(key, value.into(), &limits);
            }
            record.fields.count_dropped();
            record.add_event(&name, number, &of_event, &limits);
            record.add_link(context(number), &of_link, &limits);
            record.set_status(Status::Error, &name);
            record.extra().scope = Some(Arc::new((name.clone(), "1.0".to_owned())));
            let plain = SpanRecord::unstarted(Fields::new("plain", Vec::new()), Level::Info);
            let resource = Resource { attributes: of_resource.clone() };

            let bytes = request(&[record.clone(), plain, record.clone()], &resource);
            let mut request = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("it is one");
            // Nothing is there that the crate does not know or would write otherwise.
            prop_assert_eq!(request.encode_to_vec(), bytes);

            let mut spans = request.resource_spans.remove(0);
            let resource = spans.resource.take().unwrap_or_default();
            prop_assert_eq!(read_all(resource.attributes), of_resource);
            prop_assert_eq!(spans.scope_spans.len(), 2);
            prop_assert_eq!(spans.scope_spans[1].spans.len(), 1);
            prop_assert_eq!(&spans.scope_spans[1].spans[0].name, "plain");
            let mut scope = spans.scope_spans.remove(0);
            prop_assert_eq!(scope.scope.map(|s| (s.name, s.version)), Some((name.clone(), "1.0".into())));
            prop_assert_eq!(scope.spans.len(), 2);
            let mut span = scope.spans.remove(1);
            prop_assert_eq!(span.trace_id, record.trace_id.0.to_be_bytes());
            prop_assert_eq!(span.span_id, record.span_id.0.to_be_bytes());
            prop_assert_eq!(span.parent_span_id.is_empty(), is_root);
            prop_assert_eq!(span.trace_state.is_empty(), is_root);
            prop_assert_eq!(span.flags, if is_root { 0x101 } else { 0x301 });
            prop_assert_eq!((&span.name, span.kind), (&name, 5));
            prop_assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (number, number));
            prop_assert_eq!(read_all(span.attributes), attributes);
            prop_assert_eq!(span.dropped_attributes_count, 1);
            let event = span.events.remove(0);
            prop_assert_eq!((event.time_unix_nano, &event.name), (number, &name));
            prop_assert_eq!(read_all(event.attributes), of_event);
            let link = span.links.remove(0);
            prop_assert_eq!(link.span_id, number.to_be_bytes());
            prop_assert_eq!((&link.trace_state[..], link.flags), ("a=1", 0x301));
            prop_assert_eq!(read_all(link.attributes), of_link);
            prop_assert_eq!(span.status.map(|s| (s.message, s.code)), Some((name, 2)));
        }
    }
}

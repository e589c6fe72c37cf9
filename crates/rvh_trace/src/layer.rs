//! Spans and events of the crate `tracing`, recorded in the same pipeline.
//!
//! ```
//! use rvh_trace::{ExporterSettings, Settings};
//! use tracing_subscriber::prelude::*;
//!
//! let settings = Settings { exporter: ExporterSettings::Memory, ..Settings::default() };
//! let _guard = rvh_trace::init(settings)?;
//! let subscriber = tracing_subscriber::registry().with(rvh_trace::layer());
//! tracing::subscriber::with_default(subscriber, || {
//!     let order = tracing::info_span!("order", items = 2).entered();
//!     tracing::info!(low = true, "stock");
//!     rvh_trace::in_span("payment", |_| ());
//!     drop(order);
//! });
//! let spans = rvh_trace::finished_spans();
//! assert_eq!(spans[0].parent_span_id, spans[1].span_id);
//! assert_eq!(spans[1].extra.as_ref().unwrap().events[0].fields.name(), "stock");
//! # Ok::<(), rvh_trace::Error>(())
//! ```

use crate::tracer::{self, Owner, Span};
use crate::{Level, SpanContext, Status, Value, ValueRef};
use std::fmt::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// A layer for `tracing_subscriber` that records in this pipeline. A span's parent is the one that
/// `tracing` says; a span without one is a child of the innermost span of this crate, or of the
/// Python code that called. Events become events of their span. One outside of all spans of `tracing`
/// becomes an event of the Python span that is current on its thread, as does one below a span of
/// `tracing` that has called Python code, which has opened a span. Where there is no such span either,
/// or the thread has released the GIL and so can't ask for it, the event has none, and is not recorded.
///
/// Below the level of [`crate::Settings`] nothing comes here; other layers have what they want.
pub fn layer<S>() -> impl tracing_subscriber::Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Asked each time, because the level may change; and for this layer only, which its own
    // `enabled` would not be.
    Layer.with_filter(dynamic_filter_fn(|metadata, _| {
        tracer::enabled(level_of(metadata))
    }))
}

struct Layer;

fn level_of(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::ERROR => Level::Error,
    }
}

/// Gives each field to a function, by its type.
struct Fields<F: FnMut(&str, ValueRef<'_>)>(F);

impl<F: FnMut(&str, ValueRef<'_>)> Visit for Fields<F> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        (self.0)(field.name(), ValueRef::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        (self.0)(field.name(), ValueRef::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => (self.0)(field.name(), ValueRef::Int(value)),
            Err(_) => (self.0)(field.name(), ValueRef::Str(&value.to_string())),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        (self.0)(field.name(), ValueRef::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        (self.0)(field.name(), ValueRef::Str(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        (self.0)(field.name(), ValueRef::Str(&value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // A Debug that fails leaves what it has written so far.
        let _ = write!(text, "{value:?}");
        (self.0)(field.name(), ValueRef::Str(&text));
    }
}

/// What is kept with a span of `tracing`: ours, and its place on the stack of the thread.
struct Kept {
    span: Span,
    context: Option<SpanContext>,
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(entry) = context.span(id) else {
            return;
        };
        let metadata = attributes.metadata();
        let of_parent = entry.parent().and_then(|parent| {
            parent
                .extensions()
                .get::<Kept>()
                .and_then(|kept| kept.context.clone())
        });
        let parent = match of_parent {
            // The innermost span of all may be one of this crate, opened inside of the parent.
            Some(parent) if attributes.is_contextual() => {
                tracer::current_context().or(Some(parent))
            }
            Some(parent) => Some(parent),
            None if attributes.is_contextual() => tracer::current_context(),
            None => None,
        };
        let mut span = tracer::child_of(metadata.name(), level_of(metadata), parent.as_ref());
        attributes.record(&mut Fields(|key, value| span.record(key, value)));
        let context = span.context().cloned();
        entry.extensions_mut().replace(Kept { span, context });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(entry) = context.span(id) else {
            return;
        };
        if let Some(kept) = entry.extensions_mut().get_mut::<Kept>() {
            values.record(&mut Fields(|key, value| kept.span.record(key, value)));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let entry = context.event_span(event);
        let owner = if event.is_contextual() {
            tracer::event_owner(entry.is_some())
        } else {
            Owner::Rust
        };
        if owner == Owner::Nobody || (owner == Owner::Rust && entry.is_none()) {
            return;
        }
        let level = level_of(event.metadata());
        let mut name = String::new();
        let mut pairs = vec![
            ("level".to_owned(), Value::Str(level.as_str().to_owned())),
            (
                "target".to_owned(),
                Value::Str(event.metadata().target().to_owned()),
            ),
        ];
        event.record(&mut Fields(|key, value| {
            if let ("message", ValueRef::Str(text)) = (key, value) {
                text.clone_into(&mut name);
            } else {
                pairs.push((key.to_owned(), value.into()));
            }
        }));
        if name.is_empty() {
            event.metadata().name().clone_into(&mut name);
        }
        if owner == Owner::Foreign {
            // Whether the caller has failed is the caller's to say: its status stays.
            tracer::add_foreign_event(&name, &pairs);
        } else if let Some(entry) = entry
            && let Some(kept) = entry.extensions_mut().get_mut::<Kept>()
        {
            kept.span.add_event(&name, &pairs);
            if level == Level::Error {
                kept.span.set_status(Status::Error, &name);
            }
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: Context<'_, S>) {
        let target = context.span(follows).and_then(|followed| {
            followed
                .extensions()
                .get::<Kept>()
                .and_then(|kept| kept.context.clone())
        });
        if let (Some(target), Some(entry)) = (target, context.span(id))
            && let Some(kept) = entry.extensions_mut().get_mut::<Kept>()
        {
            kept.span.add_link(target, &[]);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let Some(entry) = context.span(id) else {
            return;
        };
        if let Some(entered) = entry
            .extensions()
            .get::<Kept>()
            .and_then(|k| k.context.clone())
        {
            tracer::push(entered);
        }
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let Some(entry) = context.span(id) else {
            return;
        };
        if let Some(left) = entry
            .extensions()
            .get::<Kept>()
            .and_then(|k| k.context.clone())
        {
            tracer::remove(&left);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(entry) = context.span(&id)
            && let Some(mut kept) = entry.extensions_mut().remove::<Kept>()
        {
            kept.span.end();
        }
    }
}

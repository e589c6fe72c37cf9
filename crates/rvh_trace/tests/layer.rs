//! The crate `tracing` over this pipeline, beside another layer.
#![cfg(feature = "layer")]

use rvh_trace::{ExporterSettings, Settings, SpanRecord, Status, Value};
use std::sync::{Arc, Mutex};
use tracing::{Level, debug_span, error, info, info_span, trace};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

/// Another layer, which wants everything.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Level>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Heard {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut levels = self.0.lock().expect("no panic in here");
        levels.push(*event.metadata().level());
    }
}

fn install(level: rvh_trace::Level) {
    let settings = Settings {
        level,
        exporter: ExporterSettings::Memory,
        ..Settings::default()
    };
    rvh_trace::install(settings, true).expect("settings");
}

fn named<'a>(spans: &'a [SpanRecord], name: &str) -> &'a SpanRecord {
    let mut found = spans.iter().filter(|span| span.name() == name);
    let first = found.next().expect(name);
    assert!(found.next().is_none(), "{name} is there twice");
    first
}

#[test]
fn spans_and_events_of_tracing_are_recorded_beside_what_others_hear() {
    install(rvh_trace::Level::Info);
    let heard = Heard::default();
    let subscriber = tracing_subscriber::registry()
        .with(rvh_trace::layer())
        .with(heard.clone());
    tracing::subscriber::with_default(subscriber, || {
        info!("outside of all spans");
        rvh_trace::in_span("ours", |_| {
            let outer = info_span!("outer", rows = 2, late = tracing::field::Empty);
            let _entered = outer.enter();
            outer.record("late", "x");
            debug_span!("below the level").in_scope(|| {
                info!(user = "me", huge = u64::MAX, "happened");
                trace!("below the level");
            });
            let other = info_span!(parent: None, "other");
            other.follows_from(&outer);
            other.in_scope(|| error!("failed"));
            std::thread::scope(|scope| {
                let explicit = info_span!(parent: &outer, "explicit");
                scope
                    .spawn(move || explicit.in_scope(|| rvh_trace::in_span("in a thread", |_| ())));
            });
        });
    });
    assert_eq!(
        *heard.0.lock().expect("no panic in here"),
        [Level::INFO, Level::INFO, Level::TRACE, Level::ERROR]
    );

    let spans = rvh_trace::finished_spans();
    let parents = [
        ("outer", "ours"),
        ("explicit", "outer"),
        ("in a thread", "explicit"),
    ];
    for (child, parent) in parents {
        let (child, parent) = (named(&spans, child), named(&spans, parent));
        assert_eq!(child.parent_span_id, parent.span_id, "{}", child.name());
    }
    assert_eq!(spans.len(), 5);
    let outer = named(&spans, "outer");
    assert_eq!(outer.fields.get("rows"), Some(Value::Int(2)));
    assert_eq!(outer.fields.get("late"), Some(Value::Str("x".into())));
    // Its own span is not recorded, so it happened in the one around that.
    let event = &outer.extra.as_ref().expect("an event").events[0];
    assert_eq!(event.fields.name(), "happened");
    assert_eq!(event.fields.get("user"), Some(Value::Str("me".into())));
    let huge = Value::Str(u64::MAX.to_string());
    assert_eq!(event.fields.get("huge"), Some(huge));
    let other = named(&spans, "other");
    assert!(!other.parent_span_id.is_valid());
    assert_eq!(other.status, Status::Error);
    let extra = other.extra.as_ref().expect("a link");
    assert_eq!(extra.links[0].context.span_id, outer.span_id);
    assert_eq!(extra.events[0].fields.name(), "failed");

    // The level may change afterwards.
    install(rvh_trace::Level::Error);
    let subscriber = tracing_subscriber::registry().with(rvh_trace::layer());
    tracing::subscriber::with_default(subscriber, || {
        info_span!("not any more").in_scope(|| error!("nowhere"));
        install(rvh_trace::Level::Trace);
        debug_span!("again").in_scope(|| ());
    });
    let names: Vec<_> = rvh_trace::finished_spans();
    assert_eq!(
        names.iter().map(SpanRecord::name).collect::<Vec<_>>(),
        ["again"]
    );
}

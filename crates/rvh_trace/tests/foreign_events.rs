//! Events of the crate `tracing` in Rust code that another language has called in a span of its own.
#![cfg(feature = "layer")]

use rvh_trace::{ExporterSettings, Foreign, Settings, SpanContext, SpanRecord, Value};
use std::cell::RefCell;
use tracing::{debug, error, info, info_span};
use tracing_subscriber::prelude::*;

type Added = (String, Vec<(String, Value)>);

thread_local! {
    static CONTEXT: RefCell<Option<SpanContext>> = const { RefCell::new(None) };
    static ADDED: RefCell<Vec<Added>> = const { RefCell::new(Vec::new()) };
}

/// Calls a function in a foreign span of these flags.
fn in_foreign<T>(flags: u8, function: impl FnOnce() -> T) -> T {
    let context = SpanContext {
        trace_id: rvh_trace::TraceId(1),
        span_id: rvh_trace::SpanId(CONTEXT.with_borrow(|c| c.as_ref().map_or(7, |_| 8))),
        flags,
        ..SpanContext::default()
    };
    let before = CONTEXT.replace(Some(context));
    let result = function();
    CONTEXT.set(before);
    result
}

fn added() -> Vec<String> {
    let added = ADDED.take();
    added.into_iter().map(|(name, _)| name).collect()
}

fn event_names(span: &SpanRecord) -> Vec<&str> {
    let extra = span.extra.as_ref();
    extra.map_or_else(Vec::new, |extra| {
        extra.events.iter().map(|e| e.fields.name()).collect()
    })
}

#[test]
fn an_event_outside_of_all_spans_is_the_callers() {
    rvh_trace::set_foreign(Foreign {
        context: || CONTEXT.with_borrow(Clone::clone),
        add_event: |name, time_ns, attributes| {
            assert!(time_ns > 0);
            ADDED.with_borrow_mut(|added| added.push((name.to_owned(), attributes.to_vec())));
        },
    });
    let settings = Settings {
        exporter: ExporterSettings::Memory,
        ..Settings::default()
    };
    rvh_trace::install(settings, true).expect("settings");
    let subscriber = tracing_subscriber::registry().with(rvh_trace::layer());
    let _default = tracing::subscriber::set_default(subscriber);

    info!("no caller");
    assert!(added().is_empty());
    in_foreign(1, || {
        info!(rows = 7, "of the caller");
        debug!("below the level");
        info!(parent: None, "of nobody");
        std::thread::scope(|scope| {
            let subscriber = tracing_subscriber::registry().with(rvh_trace::layer());
            let work = || tracing::subscriber::with_default(subscriber, || info!("elsewhere"));
            let of_thread = scope.spawn(|| {
                work();
                added()
            });
            assert!(of_thread.join().expect("no panic").is_empty());
        });
    });
    let (name, attributes) = ADDED.take().pop().expect("an event");
    assert_eq!(name, "of the caller");
    let pair = |key: &str, value: Value| (key.to_owned(), value);
    let target = pair("target", "foreign_events".into());
    let level = pair("level", "info".into());
    assert_eq!(attributes, [level, target, pair("rows", Value::Int(7))]);

    in_foreign(0, || error!("the caller is not sampled"));
    assert!(added().is_empty());

    // The innermost of all spans has it, be it of Rust or not.
    in_foreign(1, || {
        let outer = info_span!("outer").entered();
        info!("in outer");
        in_foreign(1, || {
            info!("in the inner caller");
            info_span!("innermost").in_scope(|| info!("in innermost"));
            info!(parent: &outer, "by its parent");
        });
        in_foreign(0, || error!("the inner caller is not sampled"));
        info!("in outer again");
        drop(outer);
        // A span of this crate's own takes no events of `tracing`.
        rvh_trace::in_span("ours", |_| info!("around ours"));
    });
    assert_eq!(added(), ["in the inner caller", "around ours"]);
    let spans = rvh_trace::finished_spans();
    let events: Vec<_> = spans.iter().map(|s| (s.name(), event_names(s))).collect();
    assert_eq!(
        events,
        [
            ("innermost", vec!["in innermost"]),
            ("outer", vec!["in outer", "by its parent", "in outer again"]),
            ("ours", vec![]),
        ]
    );
}

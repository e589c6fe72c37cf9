//! The Rust API as a program uses it. One test a process state: the tracer is global.

use rvh_trace::{ExporterSettings, Settings, Status, Value};
use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return output;
        }
    }
}

#[test]
fn spans_of_threads_and_futures_find_their_parents() {
    let settings = Settings {
        exporter: ExporterSettings::Memory,
        ..Settings::default()
    };
    let guard = rvh_trace::init(settings.clone()).expect("settings that can be used");
    rvh_trace::init(settings.clone())
        .map(std::mem::forget)
        .expect("equal settings are fine");
    let other = Settings {
        level: rvh_trace::Level::Error,
        ..settings
    };
    let refused = rvh_trace::init(other)
        .map(std::mem::forget)
        .expect_err("other settings");
    assert!(refused.to_string().contains("level"), "{refused}");

    rvh_trace::in_span("root", |root| {
        rvh_trace::record_span!(root, answer = 42, large = u64::MAX,);
        let parent = root.context().cloned();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _ =
                            rvh_trace::child_of("thread", rvh_trace::Level::Info, parent.as_ref());
                    }
                });
            }
        });
        block_on(rvh_trace::in_span_async("future", async {
            rvh_trace::in_span("in future", |span| {
                span.record_error(&std::io::Error::other("disk"));
            });
        }));
    });
    assert!(rvh_trace::current_context().is_none());

    let spans = rvh_trace::finished_spans();
    let named = |name: &str| {
        spans
            .iter()
            .filter(|s| s.name() == name)
            .collect::<Vec<_>>()
    };
    let root = named("root")[0];
    assert_eq!(root.fields.get("answer"), Some(Value::Int(42)));
    assert_eq!(root.fields.get("large"), Some(Value::Int(i64::MAX)));
    assert_eq!(named("thread").len(), 2000);
    assert!(
        named("thread")
            .iter()
            .all(|s| s.parent_span_id == root.span_id)
    );
    assert_eq!(named("future")[0].parent_span_id, root.span_id);
    let failed = named("in future")[0];
    assert_eq!(failed.parent_span_id, named("future")[0].span_id);
    assert_eq!(failed.status, Status::Error);
    let unique: HashSet<_> = spans.iter().map(|s| s.span_id).collect();
    assert_eq!(unique.len(), spans.len());
    let stats = rvh_trace::stats();
    assert_eq!(
        (stats.recorded, stats.exported, stats.dropped),
        (2003, 2003, 0)
    );

    drop(guard);
    let mut evaluated = false;
    let mut value = || {
        evaluated = true;
        1
    };
    rvh_trace::in_span("after the guard", |span| {
        rvh_trace::record_span!(span, key = value(), "other key" = value());
        rvh_trace::record_span!(span, "key", value());
    });
    assert!(!evaluated, "a value of a span that is not recorded");
}

//! Many threads at once: what is recorded is exported once, or counted as dropped.

use rvh_trace::export::{Exporter, Run};
use rvh_trace::{
    Batch, CustomExporter, Error, ExporterSettings, Level, Settings, SpanId, SpanRecord,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const THREADS: u64 = 4;
const SPANS: u64 = 3000;

#[derive(Default, Clone)]
struct Kept(Arc<Mutex<Vec<SpanId>>>);

impl Exporter for Kept {
    fn export(&mut self, batch: &[SpanRecord], _run: &Run<'_>) -> Result<usize, Error> {
        let mut kept = self.0.lock().expect("no panic in here");
        kept.extend(batch.iter().map(|record| {
            // What one thread has written the other must see whole.
            let number = record.fields.get("number");
            assert_eq!(number, Some(record.name().len().into()));
            record.span_id
        }));
        Ok(batch.len())
    }
}

fn settings(kept: &Kept, queue: usize, size: usize) -> Settings {
    let kept = kept.clone();
    Settings {
        exporter: ExporterSettings::Custom(CustomExporter::new(1, move || Box::new(kept.clone()))),
        batch: Batch {
            queue,
            size,
            ..Batch::default()
        },
        ..Settings::default()
    }
}

fn record(number: u64) {
    let name = &"name of a span"[..(number % 14) as usize];
    rvh_trace::in_span(name, |span| {
        rvh_trace::record_span!(span, number = name.len());
    });
}

#[test]
fn nothing_is_lost_uncounted_and_nothing_comes_twice() {
    let kept = Kept::default();
    // Small, so that it is often full and its slots are used again and again.
    rvh_trace::install(settings(&kept, 64, 16), false).expect("settings");
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..SPANS).for_each(record));
        }
        scope.spawn(|| {
            for _ in 0..50 {
                assert!(rvh_trace::flush(Duration::from_secs(60)));
                assert!(rvh_trace::stats().queue_depth <= 64);
            }
        });
    });
    assert!(rvh_trace::flush(Duration::from_secs(60)));
    let stats = rvh_trace::stats();
    assert_eq!(stats.recorded + stats.dropped, THREADS * SPANS);
    assert_eq!((stats.exported, stats.failed), (stats.recorded, 0));
    let exported = std::mem::take(&mut *kept.0.lock().expect("no panic in here"));
    assert_eq!(exported.len() as u64, stats.recorded);
    assert_eq!(
        exported.iter().collect::<HashSet<_>>().len(),
        exported.len()
    );

    // The pipeline is exchanged while others record.
    let going = AtomicBool::new(true);
    let opened = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while going.load(Ordering::Relaxed) {
                    record(opened.fetch_add(1, Ordering::Relaxed));
                    rvh_trace::child_of("other level", Level::Debug, None).end();
                }
            });
        }
        for size in 1..30 {
            rvh_trace::install(settings(&kept, 32, size), true).expect("settings");
            rvh_trace::flush(Duration::from_secs(60));
        }
        going.store(false, Ordering::Relaxed);
    });
    assert!(rvh_trace::shutdown(Duration::from_secs(60)));
    let exported = kept.0.lock().expect("no panic in here");
    assert_eq!(
        exported.iter().collect::<HashSet<_>>().len(),
        exported.len()
    );
    assert!(exported.len() as u64 <= opened.load(Ordering::Relaxed));
}

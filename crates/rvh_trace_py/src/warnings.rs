//! The core's warnings, which come from the exporting thread, go to standard error: Python's
//! logging would need the GIL there.

use log::{LevelFilter, Log, Metadata, Record};
use std::io::Write as _;

struct ToStderr;

impl Log for ToStderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("rvh_trace")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_lowercase();
            // A closed standard error is no reason to fail.
            let _ = writeln!(std::io::stderr(), "rvh_trace: {level}: {}", record.args());
        }
    }

    fn flush(&self) {}
}

pub(crate) fn install() {
    // Each extension module has its own copy of `log`, so there is no other logger to respect.
    if log::set_logger(&ToStderr).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

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
            let _ = write(&format!("rvh_trace: {level}: {}\n", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Past the lock of Rust's standard error: the exporting thread may hold that at a fork, and in the
/// child it would never be let go.
#[cfg(unix)]
fn write(text: &str) -> std::io::Result<()> {
    use std::os::fd::AsFd as _;
    let stderr = std::io::stderr().as_fd().try_clone_to_owned()?;
    std::fs::File::from(stderr).write_all(text.as_bytes())
}

#[cfg(not(unix))]
fn write(text: &str) -> std::io::Result<()> {
    std::io::stderr().write_all(text.as_bytes())
}

pub(crate) fn install() {
    // Each extension module has its own copy of `log`, so there is no other logger to respect.
    if log::set_logger(&ToStderr).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

//! One line a span on standard output, for people.

use super::{Exporter, Run};
use crate::{Error, SpanRecord, Status, Value};
use std::fmt::Write as _;
use std::io::Write as _;

/// The console exporter.
pub struct Console;

impl Exporter for Console {
    fn export(&mut self, batch: &[SpanRecord], _run: &Run<'_>) -> Result<usize, Error> {
        let mut text = String::new();
        for record in batch {
            write_line(&mut text, record);
        }
        write(&text)
            .map_err(|error| Error::Export(format!("cannot write to standard output: {error}")))?;
        Ok(batch.len())
    }
}

/// Past the lock of Rust's standard output: a thread may hold that at a fork, and in the child it
/// would never be let go.
#[cfg(unix)]
fn write(text: &str) -> std::io::Result<()> {
    use std::os::fd::AsFd as _;
    let stdout = std::io::stdout().as_fd().try_clone_to_owned()?;
    std::fs::File::from(stdout).write_all(text.as_bytes())
}

#[cfg(not(unix))]
fn write(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn write_line(text: &mut String, record: &SpanRecord) {
    let milliseconds = record.duration_ns() as f64 / 1e6;
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{} {:>10.3} ms {:5} {} trace={} span={}",
        utc(record.start_ns),
        milliseconds,
        record.level,
        shown(record.name()),
        record.trace_id,
        record.span_id
    );
    if record.parent_span_id.is_valid() {
        let _ = write!(text, " parent={}", record.parent_span_id);
    }
    for (key, value) in record.fields.iter() {
        let _ = write!(text, " {}={}", shown(key), value_text(&value));
    }
    if record.status != Status::Unset {
        let _ = write!(text, " status={}", record.status.as_str());
    }
    if let Some(extra) = &record.extra {
        if !extra.status_message.is_empty() {
            let _ = write!(text, " message={:?}", extra.status_message);
        }
        for event in &extra.events {
            let _ = write!(text, " event={}", shown(event.fields.name()));
        }
    }
    text.push('\n');
}

/// Control characters are escaped: a span's name must not move the cursor or fake a line.
fn shown(text: &str) -> String {
    let plain = !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if plain {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Float(v) => format!("{v:?}"),
        Value::Str(v) => shown(v),
        Value::Bytes(v) => format!("<{} bytes>", v.len()),
        Value::List(values) => {
            format!(
                "[{}]",
                values.iter().map(value_text).collect::<Vec<_>>().join(",")
            )
        }
    }
}

/// RFC 3339 in UTC with milliseconds. Civil date from days after Howard Hinnant's
/// `civil_from_days`: a calendar library for this one line would be larger than the crate.
fn utc(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        ns / 1_000_000 % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use crate::{Fields, Level, Resource};
    #[cfg(unix)]
    use std::sync::mpsc;
    #[cfg(unix)]
    use std::time::{Duration, Instant};

    /// As in the child of a fork, where no thread is left that could let it go.
    #[test]
    #[cfg(unix)]
    fn a_lock_of_standard_output_that_is_held_is_no_hindrance() {
        let held = std::io::stdout().lock();
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            let run = Run {
                resource: &Resource::default(),
                deadline: Instant::now(),
                noted: &|_| (),
                interrupted: &|_| None,
            };
            let span = SpanRecord::unstarted(Fields::new("span", Vec::new()), Level::Info);
            done.send(Console.export(&[span], &run))
        });
        let outcome = is_done.recv_timeout(Duration::from_secs(30));
        drop(held);
        assert_eq!(outcome, Ok(Ok(1)));
    }

    #[test]
    fn dates_are_right() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_399_999_000_000), "2000-02-28T23:59:59.999Z");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_735_689_600_000_000_000), "2025-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_name_cannot_fake_a_line() {
        assert_eq!(shown("a\nb"), "\"a\\nb\"");
        assert!(!shown("\u{1b}[2J").contains('\u{1b}'));
    }
}

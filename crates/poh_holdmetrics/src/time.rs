//! Instants: `i64` microseconds since 1970-01-01 00:00 UTC.

use crate::error::Fault;

/// The end of a hold that has none: it accrues until the instant asked about.
pub const OPEN: i64 = i64::MAX;
/// The earliest instant that is kept, about 146,000 years before 1970.
pub const MIN_MICROS: i64 = -(1 << 62);
/// The latest instant that is kept. The span from earliest to latest still fits in `i64`.
pub const MAX_MICROS: i64 = (1 << 62) - 1;

/// The unit in which a column of integers counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Second,
    /// Milliseconds.
    Milli,
    /// Microseconds.
    Micro,
    /// Nanoseconds; what is below a microsecond is cut off (towards the past).
    Nano,
}

/// Checks that an instant is one that is kept.
pub(crate) fn in_range(micros: i64) -> Result<i64, Fault> {
    if (MIN_MICROS..=MAX_MICROS).contains(&micros) {
        Ok(micros)
    } else {
        Err(Fault::TimeOutOfRange)
    }
}

/// An integer instant of any unit, as microseconds.
///
/// # Errors
/// [`Fault::TimeOutOfRange`] beyond [`MIN_MICROS`] and [`MAX_MICROS`].
pub fn micros_from_unit(value: i64, unit: TimeUnit) -> Result<i64, Fault> {
    let micros = match unit {
        TimeUnit::Second => value.checked_mul(1_000_000),
        TimeUnit::Milli => value.checked_mul(1_000),
        TimeUnit::Micro => Some(value),
        TimeUnit::Nano => Some(value.div_euclid(1_000)),
    };
    in_range(micros.ok_or(Fault::TimeOutOfRange)?)
}

/// Epoch seconds as a float, to the nearest microsecond (ties to even, as Python's datetime does).
///
/// # Errors
/// [`Fault::NotFinite`] for NaN and infinity, [`Fault::TimeOutOfRange`] outside the kept range.
pub fn micros_from_seconds(seconds: f64) -> Result<i64, Fault> {
    if !seconds.is_finite() {
        return Err(Fault::NotFinite(seconds.to_string()));
    }
    let whole = seconds.trunc();
    if whole.abs() > 4.7e12 {
        return Err(Fault::TimeOutOfRange);
    }
    // The fraction of a float is exact, so the one rounding is the one asked for.
    let fraction = ((seconds - whole) * 1e6).round_ties_even();
    in_range(whole as i64 * 1_000_000 + fraction as i64)
}

/// An instant as text: RFC 3339 (`2024-05-01T12:00:00Z`, `2024-05-01 14:00+02:00`), a date or a
/// date and time without a zone (read as UTC) or followed by ` UTC` (as BigQuery writes it), or
/// epoch seconds. Digits below a microsecond are cut off (towards the past).
///
/// # Errors
/// [`Fault::NotAnInstant`], and [`Fault::TimeOutOfRange`] outside the kept range.
pub fn micros_from_text(text: &str) -> Result<i64, Fault> {
    if let Ok(seconds) = text.parse::<i64>() {
        return micros_from_unit(seconds, TimeUnit::Second);
    }
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let instant = zoned.or_else(|| {
        let local = text.strip_suffix(" UTC").unwrap_or(text);
        let local = local.parse::<jiff::civil::DateTime>().ok()?;
        local
            .to_zoned_datetime(jiff::tz::TimeZone::UTC)
            .ok()
            .map(|zoned| zoned.timestamp())
    });
    if let Some(instant) = instant {
        let micros = instant.as_nanosecond().div_euclid(1_000);
        return in_range(i64::try_from(micros).map_err(|_| Fault::TimeOutOfRange)?);
    }
    match text.parse::<f64>() {
        Ok(seconds) => micros_from_seconds(seconds),
        Err(_) => Err(Fault::NotAnInstant(crate::weight::excerpt(text))),
    }
}

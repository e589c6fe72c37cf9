//! Instants: `i64` microseconds since 1970-01-01 00:00 UTC.

use jiff::tz::{Offset, TimeZone};

use crate::error::{Fault, HoldError};

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
#[inline]
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
    micros_from_text_in(text, &Naive::Utc)
}

/// As [`micros_from_text`], with another way to read what names no zone.
///
/// # Errors
/// As [`micros_from_text`] and [`Naive::instant`].
pub fn micros_from_text_in(text: &str, naive: &Naive) -> Result<i64, Fault> {
    if let Ok(seconds) = text.parse::<i64>() {
        return micros_from_unit(seconds, TimeUnit::Second);
    }
    let micros = |instant: jiff::Timestamp| {
        let micros = instant.as_nanosecond().div_euclid(1_000);
        in_range(i64::try_from(micros).map_err(|_| Fault::TimeOutOfRange)?)
    };
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return micros(instant);
    }
    let (local, naive) = match text.strip_suffix(" UTC") {
        Some(local) => (local, &Naive::Utc),
        None => (text, naive),
    };
    if let Ok(local) = local.parse::<jiff::civil::DateTime>()
        && let Ok(as_utc) = local.to_zoned_datetime(TimeZone::UTC)
    {
        return naive.instant(micros(as_utc.timestamp())?);
    }
    match text.parse::<f64>() {
        // Digits without end are a number, though no float is large enough.
        Ok(seconds) if seconds.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) => {
            Err(Fault::TimeOutOfRange)
        }
        Ok(seconds) => micros_from_seconds(seconds),
        Err(_) => Err(Fault::NotAnInstant(crate::weight::excerpt(text))),
    }
}

/// An instant for people: RFC 3339 in UTC where the calendar has it, else microseconds.
pub(crate) struct Shown(pub(crate) i64);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(f, "{instant}"),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

/// How instants that name no time zone are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Naive {
    /// As UTC.
    #[default]
    Utc,
    /// As a clock in a time zone shows them. Where clocks go back and show them twice it is the
    /// first time; where they go forward and skip them it is as long after the change as they are
    /// after what is skipped.
    Zone(TimeZone),
    /// Not at all.
    Refuse,
}

impl Naive {
    /// In the time zone with a name of IANA.
    ///
    /// # Errors
    /// [`HoldError::Argument`] for a name that is not known.
    pub fn zone(name: &str) -> Result<Self, HoldError> {
        zone_named(name).map(Naive::Zone)
    }

    /// In a zone that is always so many seconds ahead of UTC.
    ///
    /// # Errors
    /// [`HoldError::Argument`] for more than a day.
    pub fn offset(seconds: i32) -> Result<Self, HoldError> {
        let offset = Offset::from_seconds(seconds);
        let offset = offset.map_err(|error| HoldError::Argument(error.to_string()))?;
        Ok(Naive::Zone(offset.to_time_zone()))
    }

    /// The instant at which a clock shows what it would show in UTC at `as_utc`.
    ///
    /// # Errors
    /// [`Fault::NoZone`] where such instants are refused, [`Fault::TimeOutOfRange`] outside the
    /// years that the calendar of a zone has.
    pub fn instant(&self, as_utc: i64) -> Result<i64, Fault> {
        let zone = match self {
            Naive::Utc => return Ok(as_utc),
            Naive::Refuse => return Err(Fault::NoZone),
            Naive::Zone(zone) => zone,
        };
        let shown = jiff::Timestamp::from_microsecond(as_utc).map_err(|_| Fault::TimeOutOfRange)?;
        let shown = Offset::UTC.to_datetime(shown);
        let zoned = shown.to_zoned_datetime(zone.clone());
        zoned
            .map(|zoned| zoned.timestamp().as_microsecond())
            .map_err(|_| Fault::TimeOutOfRange)
    }
}

/// The time zone with a name of IANA.
pub(crate) fn zone_named(name: &str) -> Result<TimeZone, HoldError> {
    TimeZone::get(name).map_err(|_| {
        HoldError::Argument(format!(
            "no time zone named {:?}; give an IANA name such as \"Europe/Paris\"",
            crate::weight::excerpt(name)
        ))
    })
}

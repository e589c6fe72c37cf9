//! Instants: `i64` microseconds since 1970-01-01 00:00 UTC.

use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use ruint::aliases::U256;

use crate::error::{Fault, HoldError};
use crate::weight::{Weight, excerpt};

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
/// date and time without a zone (read as UTC), followed by ` UTC` (as BigQuery writes it) or by a
/// zone's name in brackets, or epoch seconds. Digits below a microsecond are cut off (towards the
/// past).
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
    if let Ok(instant) = text.parse::<Timestamp>() {
        return whole_micros(instant.as_duration());
    }
    let (local, naive) = match text.strip_suffix(" UTC") {
        Some(local) => (local, &Naive::Utc),
        None => (text, naive),
    };
    if let Ok(pieces) = Pieces::parse(local) {
        let time = pieces.time().unwrap_or(Time::midnight());
        let as_utc = micros_as_utc(pieces.date().to_datetime(time))?;
        if let Some(offset) = pieces.to_numeric_offset() {
            // One of the last hours of the year 9999, which are beyond a Timestamp.
            return in_range(as_utc - i64::from(offset.seconds()) * 1_000_000);
        }
        return match pieces.to_time_zone() {
            Ok(Some(zone)) => Naive::of(zone).instant(as_utc),
            Ok(None) => naive.instant(as_utc),
            Err(_) => Err(Fault::NotAnInstant(excerpt(text))),
        };
    }
    micros_from_decimal(text)
}

/// Epoch seconds in decimal digits, every one of which counts.
fn micros_from_decimal(text: &str) -> Result<i64, Fault> {
    let (before_1970, digits) = match text.strip_prefix('-') {
        Some(digits) if !digits.starts_with(['+', '-']) => (true, digits),
        _ => (false, text),
    };
    let seconds: Weight = match digits.parse() {
        Ok(seconds) => seconds,
        // More than 77 digits: those that a float has are enough.
        Err(Fault::TooLarge(_)) => return micros_from_many_digits(text),
        Err(Fault::NotFinite(_)) => return Err(Fault::NotFinite(text.to_owned())),
        Err(_) => return Err(Fault::NotAnInstant(excerpt(text))),
    };
    let Some(micros) = seconds.whole().checked_mul(U256::from(1_000_000u64)) else {
        return micros_from_many_digits(text);
    };
    // Past 77 digits a power of ten has more than 256 bits: nothing is left but what is below one.
    let one = U256::from(10u64).checked_pow(U256::from(seconds.digits()));
    let (whole, rest) = one.map_or((U256::ZERO, micros), |one| micros.div_rem(one));
    let whole = i64::try_from(whole).map_err(|_| Fault::TimeOutOfRange)?;
    in_range(match before_1970 {
        true => -whole - i64::from(rest > U256::ZERO),
        false => whole,
    })
}

fn micros_from_many_digits(text: &str) -> Result<i64, Fault> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => micros_from_seconds(seconds),
        _ => Err(Fault::TimeOutOfRange),
    }
}

/// A length in whole microseconds, what is below cut off towards the past.
fn whole_micros(length: SignedDuration) -> Result<i64, Fault> {
    let micros = length.as_nanos().div_euclid(1_000);
    in_range(i64::try_from(micros).map_err(|_| Fault::TimeOutOfRange)?)
}

/// The instant at which a clock in UTC shows a date and time.
fn micros_as_utc(shown: DateTime) -> Result<i64, Fault> {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    whole_micros(shown.duration_since(EPOCH))
}

/// An instant for people: RFC 3339 in UTC where the calendar has it, else microseconds.
pub(crate) struct Shown(pub(crate) i64);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Timestamp::from_microsecond(self.0) {
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
        zone_named(name).map(Naive::of)
    }

    /// UTC needs no calendar, and so has no end.
    fn of(zone: TimeZone) -> Self {
        match zone == TimeZone::UTC {
            true => Naive::Utc,
            false => Naive::Zone(zone),
        }
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

    /// The instant at which a clock shows what it would show in UTC at `as_utc`. Before and after the
    /// years of the calendar, -9999 to 9999, a zone has the offset of its first and its last day.
    ///
    /// # Errors
    /// [`Fault::NoZone`] where such instants are refused, [`Fault::TimeOutOfRange`] outside the
    /// range that is kept.
    pub fn instant(&self, as_utc: i64) -> Result<i64, Fault> {
        let zone = match self {
            Naive::Utc => return Ok(as_utc),
            Naive::Refuse => return Err(Fault::NoZone),
            Naive::Zone(zone) => zone,
        };
        let shown = Timestamp::from_microsecond(as_utc).map(|shown| Offset::UTC.to_datetime(shown));
        if let Ok(zoned) = shown.and_then(|shown| shown.to_zoned_datetime(zone.clone())) {
            return Ok(zoned.timestamp().as_microsecond());
        }
        let nearest = match as_utc < 0 {
            true => Timestamp::MIN,
            false => Timestamp::MAX,
        };
        let ahead = i64::from(zone.to_offset(nearest).seconds()) * 1_000_000;
        in_range(as_utc.saturating_sub(ahead))
    }
}

/// The time zone with a name of IANA.
pub(crate) fn zone_named(name: &str) -> Result<TimeZone, HoldError> {
    TimeZone::get(name).map_err(|_| {
        HoldError::Argument(format!(
            "no time zone named {:?}; give an IANA name such as \"Europe/Paris\"",
            excerpt(name)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_of_epoch_seconds_counts() {
        for (text, micros) in [
            ("8589934592.000001", 8_589_934_592_000_001),
            ("253402300799.999999", 253_402_300_799_999_999),
            ("-0.5", -500_000),
            ("1e3", 1_000_000_000),
            (".25", 250_000),
            // Cut off towards the past.
            ("1.9999999", 1_999_999),
            ("-1.9999999", -2_000_000),
            ("-0.0000001", -1),
            ("1e-90", 0),
            (&format!("1.{}1", "0".repeat(90)), 1_000_000),
            (&format!("1.{}1", "0".repeat(72)), 1_000_000),
        ] {
            assert_eq!(micros_from_text(text), Ok(micros), "{text}");
        }
        for text in ["", "-", "-+5", "--5", "--0", "1_000", "0x10", " 1"] {
            let found = micros_from_text(text);
            assert!(
                matches!(found, Err(Fault::NotAnInstant(_))),
                "{text}: {found:?}"
            );
        }
        assert_eq!(micros_from_text("1e300"), Err(Fault::TimeOutOfRange));
        assert!(matches!(micros_from_text("nan"), Err(Fault::NotFinite(_))));
    }

    #[test]
    fn the_last_day_of_the_calendar_is_an_instant() -> Result<(), HoldError> {
        const LAST: i64 = 253_402_300_799_000_000;
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59",
            "9999-12-31 23:59:59 UTC",
            "9999-12-31T22:59:59-01:00",
        ] {
            assert_eq!(micros_from_text(text), Ok(LAST), "{text}");
        }
        let utc = Naive::zone("UTC")?;
        assert_eq!(utc.instant(LAST), Ok(LAST));
        assert_eq!(utc.instant(2 * LAST), Ok(2 * LAST));
        let tokyo = Naive::zone("Asia/Tokyo")?;
        assert_eq!(tokyo.instant(LAST), Ok(LAST - 9 * 3_600_000_000));
        for beyond in [i64::MIN, i64::MAX] {
            assert_eq!(tokyo.instant(beyond), Err(Fault::TimeOutOfRange));
        }
        Ok(())
    }

    #[test]
    fn a_zone_in_brackets_counts() {
        let noon = micros_from_text("2024-05-01T10:00Z");
        for text in [
            "2024-05-01T12:00[Europe/Paris]",
            "2024-05-01T12:00+02:00[Europe/Paris]",
        ] {
            assert_eq!(micros_from_text(text), noon, "{text}");
        }
        let nowhere = micros_from_text("2024-05-01T12:00[Europe/Atlantis]");
        assert!(matches!(nowhere, Err(Fault::NotAnInstant(_))));
    }
}

//! Epochs: consecutive windows of one length, in seconds or by the calendar.

use jiff::{Span, Timestamp};

use crate::error::HoldError;
use crate::time::{in_range, zone_named};

/// More epochs than anyone reads: a wrong length is likelier.
const MOST: usize = 1_000_000;

/// The length of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// A fixed number of microseconds.
    Micros(i64),
    /// Calendar days in the time zone; 23 or 25 hours where clocks change.
    Days(i64),
    /// Calendar weeks.
    Weeks(i64),
    /// Calendar months; the 31st becomes the last day of a shorter month.
    Months(i64),
}

/// The boundaries of the epochs that cover `[start, until)`: one more than there are epochs.
/// The last epoch may reach past `until`.
///
/// # Errors
/// [`HoldError::Argument`] for a zone that is not known, a length that is not positive, instants
/// outside the calendar (years -9999 to 9999, for calendar lengths) or more than a million epochs.
pub fn epoch_boundaries(
    every: Every,
    start: i64,
    until: i64,
    zone: &str,
) -> Result<Vec<i64>, HoldError> {
    let wrong = |what: String| HoldError::Argument(what);
    let span = Span::new();
    // None for a length of more than the calendar has.
    let steps = |count: i64| match every {
        Every::Micros(_) => None,
        Every::Days(_) => span.try_days(count).ok(),
        Every::Weeks(_) => span.try_weeks(count).ok(),
        Every::Months(_) => span.try_months(count).ok(),
    };
    let (Every::Micros(count) | Every::Days(count) | Every::Weeks(count) | Every::Months(count)) =
        every;
    if count <= 0 {
        return Err(wrong(
            "an epoch is longer than nothing; give an `every` above zero".into(),
        ));
    }
    let zone = zone_named(zone)?;
    let first = Timestamp::from_microsecond(start).map(|instant| instant.to_zoned_datetime(zone));
    let mut boundaries = vec![start];
    for number in 1.. {
        let last = boundaries[number - 1];
        if last >= until {
            break;
        }
        if number > MOST {
            return Err(wrong(format!(
                "that makes more than {MOST} epochs; give a longer one"
            )));
        }
        let next = match every {
            Every::Micros(length) => last.checked_add(length),
            // From the first boundary each time, so that the 31st does not stay the 28th.
            _ => first.as_ref().ok().and_then(|first| {
                let steps = steps(count.checked_mul(number as i64)?)?;
                first
                    .checked_add(steps)
                    .ok()
                    .map(|next| next.timestamp().as_microsecond())
            }),
        };
        let next = next.and_then(|next| in_range(next).ok());
        boundaries.push(next.ok_or_else(|| {
            wrong("an epoch ends outside the calendar; give instants of the years 1 to 9999".into())
        })?);
    }
    Ok(boundaries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::micros_from_text;

    fn calendar(every: Every, start: &str, until: &str, zone: &str) -> Vec<String> {
        let micros = |text: &str| micros_from_text(text).unwrap_or(0);
        epoch_boundaries(every, micros(start), micros(until), zone)
            .unwrap_or_default()
            .into_iter()
            .map(|at| {
                Timestamp::from_microsecond(at)
                    .map(|at| at.to_string())
                    .unwrap_or_default()
            })
            .collect()
    }

    #[test]
    fn days_follow_the_clock_of_the_zone() {
        let days = calendar(
            Every::Days(1),
            "2024-03-30T00:00+01:00",
            "2024-04-01T00:00+02:00",
            "Europe/Paris",
        );
        assert_eq!(
            days,
            [
                "2024-03-29T23:00:00Z",
                "2024-03-30T23:00:00Z",
                "2024-03-31T22:00:00Z"
            ]
        );
    }

    #[test]
    fn months_keep_their_day() {
        let months = calendar(Every::Months(1), "2024-01-31", "2024-04-30", "UTC");
        let days: Vec<&str> = months.iter().map(|at| &at[5..10]).collect();
        assert_eq!(days, ["01-31", "02-29", "03-31", "04-30"]);
    }

    #[test]
    fn lengths_that_make_no_sense_are_refused() {
        assert!(epoch_boundaries(Every::Micros(0), 0, 10, "UTC").is_err());
        assert!(epoch_boundaries(Every::Micros(1), 0, 10_000_000, "UTC").is_err());
        assert!(epoch_boundaries(Every::Days(1), 0, 10, "Mars/Olympus").is_err());
        for every in [Every::Days, Every::Weeks, Every::Months] {
            assert!(epoch_boundaries(every(i64::MAX), 0, 10, "UTC").is_err());
        }
    }
}

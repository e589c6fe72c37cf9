//! What a hold's age does to its weight.

use ruint::aliases::U256;

use crate::error::{Fault, HoldError};
use crate::exact::Amount;
use crate::time::OPEN;
use crate::weight::{Rounding, Weight};

const DAY: i64 = 86_400_000_000;
/// Digits of a microsecond that decays keep: a boosted time is a count of 10^-15 s.
const DECAY_DIGITS: u32 = 9;
/// The most digits that multipliers may have.
const MULTIPLIER_DIGITS: u8 = 9;
/// The longest half-life and decay: past it the integers below would not be wide enough.
const MAX_DAYS: u32 = 36_525_000;

/// A multiplier of the weight that depends on the age of the hold.
///
/// Age counts from the event's start, or with [`Overlap::Union`](crate::Overlap::Union) and
/// [`Overlap::Max`](crate::Overlap::Max) from the start of the unbroken run of holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boost(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Steps {
        steps: Vec<Step>,
        digits: u32,
        cap: Option<Weight>,
    },
    Linear {
        over: i64,
    },
    HalfLife {
        micros: i64,
        roots: Vec<u128>,
    },
}

/// What a boost is made from; lengths in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoostParts {
    /// Ages and multipliers, and the cap.
    Steps {
        /// Each multiplier holds from its age on.
        steps: Vec<(i64, Weight)>,
        /// Weight times multiplier is never more.
        cap: Option<Weight>,
    },
    /// Linear decay over a length.
    Linear(i64),
    /// The half-life.
    HalfLife(i64),
}

/// From this age on the weight counts `units / 10^digits` times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    age: i64,
    units: u64,
}

impl Boost {
    /// Piecewise constant multipliers `(days, multiplier)`: each holds from its age on. Before the
    /// first age the multiplier is 1. With a cap, weight times multiplier is never more than it.
    ///
    /// # Errors
    /// [`HoldError::Argument`] when ages do not rise from 0 upward or a multiplier has more than
    /// 9 digits after the point or does not fit in 63 bits.
    pub fn steps(
        steps: impl IntoIterator<Item = (i64, Weight)>,
        cap: Option<Weight>,
    ) -> Result<Self, HoldError> {
        let steps: Vec<(i64, Weight)> = steps.into_iter().collect();
        if steps.is_empty() && cap.is_none() {
            return Err(HoldError::Argument(
                "a boost needs at least one step".to_owned(),
            ));
        }
        let digits = steps
            .iter()
            .map(|(_, multiplier)| multiplier.digits())
            .max()
            .unwrap_or(0);
        let scale = u8::try_from(digits)
            .unwrap_or(u8::MAX)
            .min(MULTIPLIER_DIGITS);
        let one = Step {
            age: 0,
            units: 10u64.pow(u32::from(scale)),
        };
        let mut table = vec![one];
        for (age, multiplier) in steps {
            let wrong = |fault: Fault| HoldError::Argument(format!("a multiplier {fault}"));
            let units = multiplier
                .units_at(scale, Rounding::Refuse)
                .map_err(wrong)?;
            let units = u64::try_from(units)
                .ok()
                .filter(|&units| i64::try_from(units).is_ok())
                .ok_or_else(|| wrong(Fault::TooLarge(multiplier.to_string())))?;
            let last = table[table.len() - 1].age;
            if age == 0 && table.len() == 1 {
                table[0].units = units;
            } else if age > last {
                table.push(Step { age, units });
            } else {
                return Err(HoldError::Argument(format!(
                    "the ages of a boost rise from 0 upward; {} days comes after {} days",
                    days(age),
                    days(last)
                )));
            }
        }
        Ok(Boost(Kind::Steps {
            steps: table,
            digits: u32::from(scale),
            cap,
        }))
    }

    /// The multiplier falls in a straight line to 0 at the hold's end: (end - t) / `over`, at most
    /// 1, as vote-escrow weighs a lock by the time it still has. An open hold does not decay.
    ///
    /// # Errors
    /// [`HoldError::Argument`] unless `over` is positive and at most 100,000 years.
    pub fn linear(over: i64) -> Result<Self, HoldError> {
        Ok(Boost(Kind::Linear {
            over: checked_length("the lock", over)?,
        }))
    }

    /// The multiplier halves every `half_life`: 2^(-age / half_life).
    ///
    /// # Errors
    /// [`HoldError::Argument`] unless `half_life` is positive and at most 100,000 years.
    pub fn half_life(half_life: i64) -> Result<Self, HoldError> {
        let micros = checked_length("the half-life", half_life)?;
        Ok(Boost(Kind::HalfLife {
            micros,
            roots: roots_of_half(),
        }))
    }

    /// What the boost was made from.
    pub fn parts(&self) -> BoostParts {
        match &self.0 {
            Kind::Steps { steps, digits, cap } => {
                let multiplier = |step: &Step| Weight::new(U256::from(step.units), *digits);
                let steps = steps
                    .iter()
                    .map(|step| (step.age, multiplier(step)))
                    .collect();
                BoostParts::Steps { steps, cap: *cap }
            }
            Kind::Linear { over } => BoostParts::Linear(*over),
            Kind::HalfLife { micros, .. } => BoostParts::HalfLife(*micros),
        }
    }

    /// Digits after the decimal point that the boost adds to a total.
    pub(crate) fn digits(&self) -> u32 {
        match &self.0 {
            Kind::Steps { digits, .. } => *digits,
            Kind::Linear { .. } | Kind::HalfLife { .. } => DECAY_DIGITS,
        }
    }

    /// Whether the boost looks at the end of each single hold.
    pub(crate) fn needs_lots(&self) -> bool {
        matches!(self.0, Kind::Linear { .. })
    }

    /// `weight` held over `[from, to)`, with the age counted from `origin` and a lock that ends at
    /// `end`, in units of the weight x microseconds x 10^-[`digits`](Self::digits).
    /// `scale` is that of the weight. `None` when the lane is too narrow.
    pub(crate) fn accrue<A: Amount>(&self, weight: A, hold: Held, scale: u8) -> Option<A::Sum> {
        let Held {
            origin,
            from,
            to,
            end,
        } = hold;
        match &self.0 {
            Kind::Steps { steps, digits, cap } => {
                let mut sum = A::ZERO;
                let cap = match cap {
                    Some(cap) => {
                        let units = cap.units_at(scale, Rounding::HalfEven).ok()?;
                        Some(A::stretch(A::sum_of_wide(units)?, 10u128.pow(*digits))?)
                    }
                    None => None,
                };
                for (place, step) in steps.iter().enumerate() {
                    let starts = origin.saturating_add(step.age).max(from);
                    let ends = match steps.get(place + 1) {
                        Some(next) => origin.saturating_add(next.age).min(to),
                        None => to,
                    };
                    if ends > starts {
                        let mut rate = A::stretch(weight.as_sum(), u128::from(step.units))?;
                        if let Some(cap) = cap {
                            rate = rate.min(cap);
                        }
                        let piece = A::stretch(rate, u128::from(starts.abs_diff(ends)))?;
                        sum = A::add(sum, piece)?;
                    }
                }
                Some(sum)
            }
            Kind::Linear { over } => {
                // Rounded antiderivatives, so that windows that touch add up exactly.
                let area = |instant: i64| linear_area(end, instant, *over);
                A::stretch(weight.as_sum(), area(from).checked_sub(area(to))?)
            }
            Kind::HalfLife { micros, roots } => {
                let rest = |instant: i64| half_life_rest(instant.abs_diff(origin), *micros, roots);
                A::stretch(weight.as_sum(), rest(from).checked_sub(rest(to))?)
            }
        }
    }
}

/// One stretch of holding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) origin: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) end: i64,
}

fn days(micros: i64) -> f64 {
    micros as f64 / DAY as f64
}

fn checked_length(what: &str, micros: i64) -> Result<i64, HoldError> {
    if micros > 0 && micros <= i64::from(MAX_DAYS) * DAY {
        return Ok(micros);
    }
    Err(HoldError::Argument(format!(
        "{what} is {} days; it is more than 0 and at most {MAX_DAYS} days",
        days(micros)
    )))
}

/// What is left of a lock from `instant` to its end under linear decay, in 10^-15 s, rounded down:
/// left^2 / (2 over) while left < over, before that one second a second.
fn linear_area(end: i64, instant: i64, over: i64) -> u128 {
    const UNIT: u128 = 10u128.pow(DECAY_DIGITS);
    if end == OPEN {
        // Counted down from the end of time: only differences matter.
        return u128::from(instant.abs_diff(OPEN)) * UNIT;
    }
    let left = u128::from(instant.abs_diff(end));
    let over = u128::from(over.unsigned_abs());
    let falling = left.min(over);
    // falling <= 2^62, so its square times 10^9 needs 256 bits.
    let square = U256::from(falling) * U256::from(falling) * U256::from(UNIT);
    let area = square / U256::from(2 * over);
    u128::try_from(area).unwrap_or(u128::MAX) + (left - falling) * UNIT
}

/// The boosted time that is still to come at `age`, to the end of all time, in 10^-15 s:
/// half_life / ln 2 x 2^(-age / half_life), rounded down.
fn half_life_rest(age: u64, half_life: i64, roots: &[u128]) -> u128 {
    /// 2^64 / ln 2, rounded down.
    const TO_LOG2E: u128 = 26_613_026_195_688_644_983;
    let half_life = half_life.unsigned_abs();
    let whole = age / half_life;
    if whole >= 128 {
        return 0;
    }
    // The fraction of a half-life as 64 binary digits; each one set halves by 2^-(1/2^place).
    let fraction = ((u128::from(age % half_life)) << 64) / u128::from(half_life);
    let mut factor = U256::from(1u128 << 127);
    for (place, &root) in roots.iter().enumerate() {
        if fraction >> (63 - place) & 1 == 1 {
            factor = (factor * U256::from(root)) >> 127;
        }
    }
    let time = U256::from(half_life) * U256::from(10u64.pow(DECAY_DIGITS)) * U256::from(TO_LOG2E);
    // time < 2^62 x 2^30 x 2^65 and factor <= 2^127: shift before the product would overflow.
    let product = ((time >> 32) * factor) >> (127 + 32);
    u128::try_from(product >> whole as usize).unwrap_or(u128::MAX)
}

/// 2^-(1/2), 2^-(1/4), ... as fractions of 2^127, rounded down: integers alone, so that every
/// machine has the same.
fn roots_of_half() -> Vec<u128> {
    let mut roots = Vec::with_capacity(64);
    let mut last = 1u128 << 126; // one half
    for _ in 0..64 {
        let square = U256::from(last) << 127usize;
        last = 0;
        for bit in (0..128).rev() {
            let higher = last | 1 << bit;
            if U256::from(higher) * U256::from(higher) <= square {
                last = higher;
            }
        }
        roots.push(last);
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boosted(boost: &Boost, hold: Held) -> f64 {
        let sum = boost
            .accrue(1i64, hold, 0)
            .map_or(f64::NAN, |sum| sum as f64);
        sum / 10f64.powi(boost.digits() as i32) / 1e6
    }

    fn held(origin: i64, from: i64, to: i64, end: i64) -> Held {
        Held {
            origin,
            from,
            to,
            end,
        }
    }

    #[test]
    fn half_life_follows_the_curve() -> Result<(), HoldError> {
        let boost = Boost::half_life(10 * DAY)?;
        for (from, to) in [(0, 10), (0, 1), (5, 25), (100, 300), (0, 1300)] {
            let curve = |day: i64| (-(day as f64) / 10.0).exp2();
            let exact = 10.0 * 86_400.0 / std::f64::consts::LN_2 * (curve(from) - curve(to));
            let found = boosted(&boost, held(0, from * DAY, to * DAY, OPEN));
            assert!(
                (found - exact).abs() <= exact * 1e-12 + 1e-9,
                "{from}..{to}: {found} {exact}"
            );
        }
        Ok(())
    }

    #[test]
    fn linear_decay_is_a_triangle() -> Result<(), HoldError> {
        let boost = Boost::linear(4 * DAY)?;
        assert_eq!(
            boosted(&boost, held(0, 0, 4 * DAY, 4 * DAY)),
            2.0 * 86_400.0
        );
        assert_eq!(
            boosted(&boost, held(0, 0, 6 * DAY, 6 * DAY)),
            4.0 * 86_400.0
        );
        assert_eq!(boosted(&boost, held(0, 0, DAY, OPEN)), 86_400.0);
        Ok(())
    }

    #[test]
    fn decays_add_up_over_windows_that_touch() -> Result<(), HoldError> {
        for boost in [Boost::half_life(7 * DAY)?, Boost::linear(90 * DAY)?] {
            let part = |from, to| boost.accrue(3i64, held(-5, from, to, 80 * DAY + 3), 0);
            let (Some(whole), Some(left), Some(right)) = (
                part(0, 77 * DAY),
                part(0, 1_234_567),
                part(1_234_567, 77 * DAY),
            ) else {
                return Err(HoldError::Argument("too narrow".to_owned()));
            };
            assert_eq!(whole, left + right);
        }
        Ok(())
    }
}

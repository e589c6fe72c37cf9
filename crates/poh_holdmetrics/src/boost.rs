//! What a hold's age does to its weight.

use std::sync::Arc;

use ruint::aliases::U256;

use crate::error::{Fault, HoldError};
use crate::exact::{Amount, U512};
use crate::time::OPEN;
use crate::weight::{MAX_SCALE, Rounding, Weight};

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
        /// Those of the multipliers.
        digits: u32,
        cap: Option<Weight>,
    },
    Linear {
        over: i64,
    },
    HalfLife {
        micros: i64,
        powers: Arc<[[u128; 256]]>,
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
    /// The most digits that a boost adds to a total: those of a cap.
    pub(crate) const MOST_DIGITS: u32 = MAX_SCALE as u32;

    /// Piecewise constant multipliers `(days, multiplier)`: each holds from its age on. Before the
    /// first age the multiplier is 1. With a cap, weight times multiplier is never more than it.
    ///
    /// # Errors
    /// [`HoldError::Argument`] when ages do not rise from 0 upward, a multiplier has more than 9
    /// digits after the point or does not fit in 63 bits, or the cap has more than 18 digits.
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
        if let Some(digits) = cap.map(|cap| cap.digits())
            && digits > Self::MOST_DIGITS
        {
            return Err(HoldError::Argument(format!(
                "the cap has {digits} digits after the decimal point; give at most {}",
                Self::MOST_DIGITS
            )));
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
        for (place, (age, multiplier)) in steps.into_iter().enumerate() {
            let wrong = |fault: Fault| HoldError::Argument(format!("a multiplier {fault}"));
            let units = multiplier
                .units_at(scale, Rounding::Refuse)
                .map_err(wrong)?;
            let units = u64::try_from(units)
                .ok()
                .filter(|&units| i64::try_from(units).is_ok())
                .ok_or_else(|| wrong(Fault::TooLarge(multiplier.to_string())))?;
            let last = table[table.len() - 1].age;
            if age == 0 && place == 0 {
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
            powers: powers_of_half().into(),
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
            // A cap is exact too, whatever digits weights are counted in.
            Kind::Steps { digits, cap, .. } => cap.map_or(0, |cap| cap.digits()).max(*digits),
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
                let kept = self.digits();
                let finer = 10u128.pow(kept - digits);
                let cap = match cap {
                    Some(cap) => {
                        // At most 18 + 18 digits, so the factor fits in 120 bits.
                        let factor = 10u128.pow(u32::from(scale) + kept - cap.digits());
                        Some(A::stretch(A::sum_of_wide(cap.whole())?, factor)?)
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
                        let multiplier = u128::from(step.units) * finer;
                        let mut rate = A::stretch(weight.as_sum(), multiplier)?;
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
            Kind::HalfLife { micros, powers } => {
                let rest = |instant: i64| half_life_rest(instant.abs_diff(origin), *micros, powers);
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
///
/// All factors are fractions of 2^127 that were rounded down, some 150 of them, so they come out too
/// small by less than one part in 2^119; a time has at most 92 bits, so the error is below 2^-27 of
/// 10^-15 s. Ages that differ by a microsecond differ by more than one part in 2^62, so a greater age
/// never has the greater rest.
fn half_life_rest(age: u64, half_life: i64, powers: &[[u128; 256]]) -> u128 {
    /// 2^127 / ln 2, rounded down.
    const LOG2E: u128 = 245_461_841_629_398_282_873_184_673_143_046_618_760;
    let half_life = half_life.unsigned_abs();
    let whole = age / half_life;
    if whole >= 128 {
        return 0;
    }
    // The fraction of a half-life as 128 binary digits.
    let fraction = (U256::from(age % half_life) << 128usize) / U256::from(half_life);
    let mut factor = U256::from(ONE);
    for (place, powers) in powers.iter().enumerate() {
        let byte = fraction.byte(15 - place);
        factor = (factor * U256::from(powers[usize::from(byte)])) >> 127usize;
    }
    let time = U256::from(half_life) * U256::from(10u64.pow(DECAY_DIGITS)) * U256::from(LOG2E);
    let product = U512::from(time) * U512::from(factor);
    u128::try_from(product >> (254 + whole as usize)).unwrap_or(u128::MAX)
}

/// 1 as a fraction of 2^127.
const ONE: u128 = 1 << 127;

/// 2^-x for each byte of the 128 binary digits of x, as fractions of 2^127: integers alone, so that
/// every machine has the same.
fn powers_of_half() -> Vec<[u128; 256]> {
    let mut powers = vec![[ONE; 256]; 16];
    let mut root = ONE >> 1; // one half
    for powers in &mut powers {
        for bit in (0..8).rev() {
            root = root_of(root);
            for (byte, power) in powers.iter_mut().enumerate() {
                if byte >> bit & 1 == 1 {
                    *power = ((U256::from(*power) * U256::from(root)) >> 127usize).saturating_to();
                }
            }
        }
    }
    powers
}

/// The square root of a fraction of 2^127, rounded down.
fn root_of(fraction: u128) -> u128 {
    let square = U256::from(fraction) << 127usize;
    let higher = |root: u128, bit: u32| {
        let higher = root | (1u128 << bit);
        match U256::from(higher) * U256::from(higher) <= square {
            true => higher,
            false => root,
        }
    };
    (0..128).rev().fold(0, higher)
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
    fn a_cap_is_exact_in_weights_of_any_digits() -> Result<(), HoldError> {
        let cap = "2.000000000000000001"
            .parse::<Weight>()
            .map_err(HoldError::from)?;
        let boost = Boost::steps([(0, Weight::ONE)], Some(cap))?;
        for (weight, scale) in [(3i64, 0u8), (3_000_000_000, 9)] {
            let sum = boost.accrue(weight.widest(), held(0, 0, 1_000_000, OPEN), scale);
            let digits = boost.digits() + u32::from(scale) + 6;
            let total = sum.map(|sum| U256::total(sum).to_decimal(digits));
            assert_eq!(total.as_deref(), Some("2.000000000000000001"));
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

//! Weights: decimals, zero or more, of up to 256 bits.

use std::str::FromStr;

use ruint::aliases::U256;

use crate::error::Fault;

/// The most digits after the decimal point that a table of holds keeps.
pub const MAX_SCALE: u8 = 18;

/// What to do with digits beyond the scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// They are an error.
    #[default]
    Refuse,
    /// Round to the nearest, ties to the even digit.
    HalfEven,
}

/// One weight as it was given: `units / 10^digits`, with no trailing zero after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Weight {
    units: U256,
    digits: u32,
}

impl Weight {
    /// The weight of a hold that names none.
    pub const ONE: Weight = Weight {
        units: U256::from_limbs([1, 0, 0, 0]),
        digits: 0,
    };

    /// `units / 10^digits`.
    pub fn new(mut units: U256, mut digits: u32) -> Weight {
        let ten = U256::from(10u64);
        while digits > 0 && units % ten == U256::ZERO {
            if units == U256::ZERO {
                digits = 0;
                break;
            }
            units /= ten;
            digits -= 1;
        }
        Weight { units, digits }
    }

    /// `units / 10^digits`, where the units fit in 64 bits.
    pub fn from_narrow(mut units: u64, mut digits: u32) -> Weight {
        while digits > 0 && units.is_multiple_of(10) {
            if units == 0 {
                digits = 0;
                break;
            }
            units /= 10;
            digits -= 1;
        }
        Weight {
            units: U256::from(units),
            digits,
        }
    }

    /// The shortest decimal that reads back as the same float.
    ///
    /// # Errors
    /// [`Fault::NotFinite`], [`Fault::Negative`], [`Fault::TooLarge`].
    pub fn from_f64(value: f64) -> Result<Weight, Fault> {
        if !value.is_finite() {
            return Err(Fault::NotFinite(value.to_string()));
        }
        format!("{value:e}").parse()
    }

    /// An unsigned 256-bit integer, big-endian, as contracts and logs carry it.
    pub fn from_be_bytes(bytes: [u8; 32]) -> Weight {
        Weight {
            units: U256::from_be_bytes(bytes),
            digits: 0,
        }
    }

    /// The weight as an integer count of `10^-scale`.
    ///
    /// # Errors
    /// [`Fault::TooManyDigits`] unless rounding was asked for; [`Fault::TooLarge`] past 256 bits.
    pub fn units_at(&self, scale: u8, rounding: Rounding) -> Result<U256, Fault> {
        let scale_digits = u32::from(scale);
        if self.digits <= scale_digits {
            let factor = U256::from(10u64).pow(U256::from(scale_digits - self.digits));
            return self
                .units
                .checked_mul(factor)
                .ok_or_else(|| Fault::TooLarge(self.to_string()));
        }
        if rounding == Rounding::Refuse {
            return Err(Fault::TooManyDigits {
                digits: self.digits,
                scale,
            });
        }
        let Some(divisor) = U256::from(10u64).checked_pow(U256::from(self.digits - scale_digits))
        else {
            return Ok(U256::ZERO); // 256 bits hold 77 digits: less than half of one unit
        };
        let (quotient, rest) = self.units.div_rem(divisor);
        let half = divisor >> 1; // a power of ten is even
        let up = rest > half || (rest == half && quotient.bit(0));
        Ok(if up {
            quotient + U256::from(1u64)
        } else {
            quotient
        })
    }

    /// As [`units_at`](Self::units_at) for the weights that fit in 63 bits, which nearly all do.
    #[inline]
    pub fn narrow_units_at(&self, scale: u8) -> Option<i64> {
        if self.digits > u32::from(scale) {
            return None;
        }
        let units = i64::try_from(self.units).ok()?;
        units.checked_mul(10i64.pow(u32::from(scale) - self.digits))
    }

    /// The weight times `10^digits`.
    pub(crate) fn whole(&self) -> U256 {
        self.units
    }

    /// Digits after the decimal point, without trailing zeros.
    pub(crate) fn digits(&self) -> u32 {
        self.digits
    }

    /// The nearest float.
    pub fn to_f64(self) -> f64 {
        // The standard library's parser rounds correctly; it can't fail on our own text.
        self.to_string().parse().unwrap_or(f64::INFINITY)
    }
}

impl From<u64> for Weight {
    fn from(value: u64) -> Self {
        Weight {
            units: U256::from(value),
            digits: 0,
        }
    }
}

impl std::fmt::Display for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::exact::decimal(&self.units.to_string(), self.digits))
    }
}

/// The shortest decimal of a float as a count of `10^-scale`, where 15 digits are enough to tell.
///
/// Two decimals of at most 15 digits never share a float, so one that reads back as `value` is its
/// shortest form.
pub(crate) fn narrow_float_units(value: f64, scale: u8) -> Option<i64> {
    let power = 10f64.powi(i32::from(scale)); // exact: scale <= 18
    let units = (value * power).round();
    if !(0.0..1e15).contains(&units) || units / power != value || (value == 0.0) != (units == 0.0) {
        return None;
    }
    Some(units as i64)
}

/// Reads `12`, `12.5`, `.5` and `1.25e3`, with an optional sign; no spaces, no underscores.
impl FromStr for Weight {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Weight, Fault> {
        let wrong = || Fault::NotADecimal(excerpt(text));
        let (negative, body) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match body.find(['e', 'E']) {
            Some(at) => (
                &body[..at],
                parse_exponent(&body[at + 1..]).ok_or_else(wrong)?,
            ),
            None => (body, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty())
            || !digits_only(whole)
            || !digits_only(fraction)
        {
            return Err(match body {
                "nan" | "NaN" | "inf" | "Infinity" | "sNaN" => Fault::NotFinite(text.to_owned()),
                _ => wrong(),
            });
        }
        let all: String = [whole, fraction].concat();
        let trimmed = all.trim_end_matches('0');
        let dropped = (all.len() - trimmed.len()) as i64;
        let trimmed = trimmed.trim_start_matches('0');
        if trimmed.is_empty() {
            return Ok(Weight {
                units: U256::ZERO,
                digits: 0,
            });
        }
        if negative {
            return Err(Fault::Negative(excerpt(text)));
        }
        let too_large = || Fault::TooLarge(excerpt(text));
        // The value is trimmed * 10^power.
        let power = exponent
            .saturating_sub(fraction.len() as i64)
            .saturating_add(dropped);
        let units = U256::from_str_radix(trimmed, 10).map_err(|_| too_large())?;
        if power <= 0 {
            let digits = u32::try_from(power.unsigned_abs()).unwrap_or(u32::MAX);
            return Ok(Weight { units, digits });
        }
        let factor = U256::from(10u64).checked_pow(U256::from(power.unsigned_abs()));
        let units = factor
            .and_then(|factor| units.checked_mul(factor))
            .ok_or_else(too_large)?;
        Ok(Weight { units, digits: 0 })
    }
}

/// An exponent of any length; one beyond `i64` counts as the largest.
fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let limit = if text.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    };
    Some(text.parse().unwrap_or(limit))
}

/// Enough of an untrusted text to find it again; for errors.
pub fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn narrow_weights_are_weights(units in any::<u64>(), shift in 0u32..64, digits in 0u32..25) {
            for units in [units >> shift, (units >> shift) / 1000 * 1000] {
                let weight = Weight::from_narrow(units, digits);
                prop_assert_eq!(weight, Weight::new(U256::from(units), digits));
            }
        }
    }
}

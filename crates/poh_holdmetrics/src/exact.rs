//! Exact totals: integers wide enough for what they add up, written out in full.
//!
//! A total is an integer count of `10^-6 s x 10^-scale`. The usual lane multiplies 63-bit weights
//! by 63-bit spans into `i128`. The wide lane multiplies 256-bit weights by 63-bit spans into 384
//! bits, which leaves room for 2^65 rows: more than there can be.

use ruint::Uint;
use ruint::aliases::U256;

/// A total of the wide lane.
pub type U384 = Uint<384, 6>;

/// A weight in units of the scale, of one of the two widths.
pub trait Amount: Copy + Ord + Send + Sync + 'static {
    /// What sums of `amount x microseconds` are kept in.
    type Sum: Copy + Send + Sync + 'static;
    /// Width of a sum in bits.
    const BITS: u32;
    /// The empty sum.
    const ZERO: Self::Sum;
    /// An amount that fits in 63 bits.
    fn from_narrow(units: i64) -> Self;
    /// `self x micros`; always fits.
    fn times(self, micros: u64) -> Self::Sum;
    /// `None` when the sum does not fit.
    fn add(left: Self::Sum, right: Self::Sum) -> Option<Self::Sum>;
}

impl Amount for i64 {
    type Sum = i128;
    const BITS: u32 = 128;
    const ZERO: i128 = 0;

    fn from_narrow(units: i64) -> i64 {
        units
    }

    #[inline]
    fn times(self, micros: u64) -> i128 {
        i128::from(self) * i128::from(micros)
    }

    #[inline]
    fn add(left: i128, right: i128) -> Option<i128> {
        left.checked_add(right)
    }
}

impl Amount for U256 {
    type Sum = U384;
    const BITS: u32 = 384;
    const ZERO: U384 = U384::ZERO;

    fn from_narrow(units: i64) -> U256 {
        U256::from(units.unsigned_abs())
    }

    fn times(self, micros: u64) -> U384 {
        U384::from(self) * U384::from(micros)
    }

    fn add(left: U384, right: U384) -> Option<U384> {
        left.checked_add(right)
    }
}

/// One exact total of either width, zero or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// It fits in 127 bits.
    Narrow(i128),
    /// It was added up in 384 bits.
    Wide(U384),
}

impl Total {
    /// The total divided by `10^digits`, every digit, without trailing zeros.
    pub fn to_decimal(self, digits: u32) -> String {
        match self {
            Total::Narrow(value) => decimal(&value.to_string(), digits),
            Total::Wide(value) => decimal(&value.to_string(), digits),
        }
    }

    /// The total divided by `10^digits`, rounded once to the nearest float.
    pub fn to_f64(self, digits: u32) -> f64 {
        match self {
            Total::Narrow(value) => nearest_float(value.unsigned_abs(), digits)
                .unwrap_or_else(|| parsed(&self.to_decimal(digits))),
            Total::Wide(_) => parsed(&self.to_decimal(digits)),
        }
    }

    /// The same value, in 384 bits.
    pub fn widened(self) -> U384 {
        match self {
            Total::Narrow(value) => U384::from(value.unsigned_abs()),
            Total::Wide(value) => value,
        }
    }
}

/// Puts the decimal point into a run of digits and drops trailing zeros after it.
pub(crate) fn decimal(digits: &str, after_point: u32) -> String {
    let after_point = after_point as usize;
    if after_point == 0 || digits == "0" {
        return digits.to_owned();
    }
    let padded = format!("{digits:0>width$}", width = after_point.saturating_add(1));
    let (whole, fraction) = padded.split_at(padded.len() - after_point);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        whole.to_owned()
    } else {
        format!("{whole}.{fraction}")
    }
}

/// The standard library's parser rounds correctly, and our own text always reads.
fn parsed(text: &str) -> f64 {
    text.parse().unwrap_or(f64::INFINITY)
}

/// `value / 10^digits`, correctly rounded, where one 128-bit division is enough.
fn nearest_float(value: u128, digits: u32) -> Option<f64> {
    if digits > 18 {
        return None; // the quotient below could have fewer than 55 bits
    }
    if value == 0 {
        return Some(0.0);
    }
    let divisor = 10u128.pow(digits); // < 2^60
    let shift = value.leading_zeros();
    let shifted = value << shift; // >= 2^127, so the quotient has at least 67 bits
    let quotient = shifted / divisor;
    // A sticky lowest bit stands for the rest, so that the conversion rounds as if it saw it.
    let sticky = quotient | u128::from(quotient * divisor != shifted);
    Some(sticky as f64 * (-f64::from(shift)).exp2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_keep_every_digit() {
        assert_eq!(decimal("0", 9), "0");
        assert_eq!(decimal("5", 3), "0.005");
        assert_eq!(decimal("1500", 3), "1.5");
        assert_eq!(decimal("12000", 3), "12");
        assert_eq!(decimal("120", 0), "120");
    }

    proptest! {
        #[test]
        fn floats_are_rounded_once(value in 0u128..=u128::MAX >> 1, shift in 0u32..127, digits in 0u32..=18) {
            let value = value >> shift;
            let exact = Total::Narrow(value as i128);
            prop_assert_eq!(
                exact.to_f64(digits).to_bits(),
                exact.to_decimal(digits).parse::<f64>().unwrap_or(f64::NAN).to_bits()
            );
        }
    }
}

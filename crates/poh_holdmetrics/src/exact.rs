//! Exact totals: integers wide enough for what they add up, written out in full.
//!
//! A total is an integer count of `10^-6 s x 10^-scale`. The usual lane multiplies 63-bit weights
//! by 63-bit spans into `i128`. The wide lane adds up in 512 bits: 256 of the weight, 128 of the
//! (boosted) time, which leaves room for 2^128 rows.

use std::iter::repeat_n;

use ruint::Uint;
use ruint::aliases::U256;

/// A total of the wide lane.
pub type U512 = Uint<512, 8>;

/// A weight in units of the scale, of one of the two widths.
pub trait Amount: Copy + Default + Ord + Send + Sync + 'static {
    /// What sums of `amount x microseconds` are kept in.
    type Sum: Copy + Ord + Send + Sync + 'static;
    /// Width of a sum in bits.
    const BITS: u32;
    /// The empty sum.
    const ZERO: Self::Sum;
    /// An amount that fits in 63 bits.
    fn from_narrow(units: i64) -> Self;
    /// The amount in the widest width.
    fn widest(self) -> U256;
    /// A sum of either width.
    fn total(sum: Self::Sum) -> Total;
    /// The amount in the width of a sum.
    fn as_sum(self) -> Self::Sum;
    /// A sum of 256 bits; `None` when it does not fit.
    fn sum_of_wide(units: U256) -> Option<Self::Sum>;
    /// `self x micros`; always fits.
    fn times(self, micros: u64) -> Self::Sum;
    /// `sum x factor`; `None` when it does not fit.
    fn stretch(sum: Self::Sum, factor: u128) -> Option<Self::Sum>;
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
    fn widest(self) -> U256 {
        U256::from(self.unsigned_abs())
    }

    #[inline]
    fn total(sum: i128) -> Total {
        Total::Narrow(sum)
    }

    #[inline]
    fn as_sum(self) -> i128 {
        i128::from(self)
    }

    fn sum_of_wide(units: U256) -> Option<i128> {
        i128::try_from(units).ok()
    }

    #[inline]
    fn times(self, micros: u64) -> i128 {
        i128::from(self) * i128::from(micros)
    }

    #[inline]
    fn stretch(sum: i128, factor: u128) -> Option<i128> {
        sum.checked_mul(i128::try_from(factor).ok()?)
    }

    #[inline]
    fn add(left: i128, right: i128) -> Option<i128> {
        left.checked_add(right)
    }
}

impl Amount for U256 {
    type Sum = U512;
    const BITS: u32 = 512;
    const ZERO: U512 = U512::ZERO;

    fn from_narrow(units: i64) -> U256 {
        U256::from(units.unsigned_abs())
    }

    fn widest(self) -> U256 {
        self
    }

    fn total(sum: U512) -> Total {
        Total::Wide(sum)
    }

    fn as_sum(self) -> U512 {
        U512::from(self)
    }

    fn sum_of_wide(units: U256) -> Option<U512> {
        Some(U512::from(units))
    }

    fn times(self, micros: u64) -> U512 {
        U512::from(self) * U512::from(micros)
    }

    fn stretch(sum: U512, factor: u128) -> Option<U512> {
        sum.checked_mul(U512::from(factor))
    }

    fn add(left: U512, right: U512) -> Option<U512> {
        left.checked_add(right)
    }
}

/// One exact total of either width, zero or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// It fits in 127 bits.
    Narrow(i128),
    /// It was added up in 512 bits.
    Wide(U512),
}

impl Total {
    /// The total divided by `10^digits`, every digit, without trailing zeros.
    pub fn to_decimal(self, digits: u32) -> String {
        let mut text = String::new();
        self.write_decimal(digits, &mut text);
        text
    }

    /// Appends what [`to_decimal`](Self::to_decimal) gives.
    pub(crate) fn write_decimal(self, digits: u32, text: &mut String) {
        match self {
            Total::Narrow(value) => {
                let mut buffer = itoa::Buffer::new();
                // Most are of 64 bits, which take half the time.
                let digits_of_it = match u64::try_from(value) {
                    Ok(value) => buffer.format(value),
                    Err(_) => buffer.format(value.unsigned_abs()),
                };
                push_decimal(digits_of_it, digits, text);
            }
            Total::Wide(value) => push_decimal(&value.to_string(), digits, text),
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

    /// The same value, in 512 bits.
    pub fn widened(self) -> U512 {
        match self {
            Total::Narrow(value) => U512::from(value.unsigned_abs()),
            Total::Wide(value) => value,
        }
    }
}

/// Puts the decimal point into a run of digits and drops trailing zeros after it.
pub(crate) fn decimal(digits: &str, after_point: u32) -> String {
    let mut text = String::new();
    push_decimal(digits, after_point, &mut text);
    text
}

/// Appends what [`decimal`] gives.
fn push_decimal(digits: &str, after_point: u32, text: &mut String) {
    let after_point = after_point as usize;
    let (whole, fraction) = digits.split_at(digits.len().saturating_sub(after_point));
    text.push_str(if whole.is_empty() { "0" } else { whole });
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        text.push('.');
        text.extend(repeat_n('0', after_point.saturating_sub(digits.len())));
        text.push_str(fraction);
    }
}

/// The standard library's parser rounds correctly, and our own text always reads.
fn parsed(text: &str) -> f64 {
    text.parse().unwrap_or(f64::INFINITY)
}

/// `numerator / denominator`, rounded once to the nearest float; 0 for 0 / 0.
///
/// `denominator` is not 0 unless the numerator is.
pub(crate) fn ratio_to_f64(numerator: U512, denominator: U512) -> f64 {
    if numerator == U512::ZERO {
        return 0.0;
    }
    type Wide = Uint<1024, 16>;
    // Scaled so that the quotient has at least 500 bits; a sticky bit stands for the rest.
    let shift = 511 + numerator.leading_zeros();
    let scaled = Wide::from(numerator) << shift;
    let (quotient, rest) = scaled.div_rem(Wide::from(denominator));
    let extra = quotient.bit_len().saturating_sub(100);
    let top = u128::try_from(quotient >> extra).unwrap_or(u128::MAX);
    let lost = rest != Wide::ZERO || quotient.trailing_zeros() < extra;
    let sticky = top | u128::from(lost);
    sticky as f64 * (extra as f64 - shift as f64).exp2()
}

/// `value / 10^digits`, correctly rounded, where one division is enough.
fn nearest_float(value: u128, digits: u32) -> Option<f64> {
    /// 10^digits, exactly.
    const POWERS: [f64; 19] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18,
    ];
    let power = POWERS.get(digits as usize)?; // the quotient below could have fewer than 55 bits
    if value < 1 << 53 {
        // Both sides are exact floats, so the division rounds once.
        return Some(value as u64 as f64 / power);
    }
    if digits == 0 {
        return Some(value as f64);
    }
    let divisor = 10u64.pow(digits); // < 2^60
    let bits = |number: u64| u64::BITS - number.leading_zeros();
    if let Ok(value) = u64::try_from(value) {
        // Shifted so far that the quotient has 62 or 63 bits: it is a number of the processor.
        let shift = 62 + bits(divisor) - bits(value);
        let shifted = u128::from(value) << shift; // of 62 + 60 bits at most
        let quotient = (shifted / u128::from(divisor)) as u64;
        let is_exact = u128::from(quotient) * u128::from(divisor) == shifted;
        // A sticky lowest bit stands for the rest, so that the conversion rounds as if it saw it.
        let sticky = (quotient | u64::from(!is_exact)).cast_signed();
        return Some(sticky as f64 * two_to_minus(shift));
    }
    let shift = value.leading_zeros();
    let shifted = value << shift; // >= 2^127, so the quotient has at least 67 bits
    let quotient = shifted / u128::from(divisor);
    let sticky = quotient | u128::from(quotient * u128::from(divisor) != shifted);
    Some(sticky as f64 * two_to_minus(shift))
}

/// `2^-power`, for powers up to 1022.
fn two_to_minus(power: u32) -> f64 {
    const ONE: u64 = 1023; // the exponent of 1.0
    f64::from_bits((ONE - u64::from(power)) << 52)
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
        fn decimals_are_the_quotient(value in any::<u128>(), shift in 0u32..128, digits in 0u32..=45) {
            let value = value >> shift;
            for value in [value, value - value % 1_000_000] {
                let text = Total::Narrow((value >> 1).cast_signed()).to_decimal(digits);
                let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
                prop_assert!(!fraction.ends_with('0') && fraction.len() <= digits as usize);
                prop_assert!(whole == "0" || !whole.starts_with('0'));
                let all = format!("{whole}{fraction:0<width$}", width = digits as usize);
                let all = all.trim_start_matches('0');
                prop_assert_eq!(if all.is_empty() { "0" } else { all }, (value >> 1).to_string());
            }
        }
    }

    #[test]
    fn ratios_are_rounded_once() {
        let ratio = |a: u64, b: u64| ratio_to_f64(U512::from(a), U512::from(b));
        assert_eq!(ratio(1, 3), 1.0 / 3.0);
        assert_eq!(ratio(10, 4), 2.5);
        assert_eq!(ratio(0, 0), 0.0);
        assert_eq!(ratio(u64::MAX, 7), u64::MAX as f64 / 7.0);
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

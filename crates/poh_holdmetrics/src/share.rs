//! A pot divided by score.

use ruint::Uint;
use ruint::aliases::U256;

use crate::error::HoldError;
use crate::scores::Scores;

/// A 256-bit pot times a 512-bit score.
type U768 = Uint<768, 12>;

/// Whole units of a pot for each row of `scores`, in proportion to the scores: they add up exactly
/// to the pot. Each row gets its quota rounded down; the units left go to the largest remainders
/// (the method of Hamilton), of equal ones to the smaller id.
///
/// # Errors
/// [`HoldError::Argument`] when no row has a score above zero, so that nobody can get the pot.
pub fn share(scores: &Scores, pot: U256) -> Result<Vec<U256>, HoldError> {
    let weights: Vec<U768> = (0..scores.len())
        .map(|row| U768::from(scores.weighted(row).widened()))
        .collect();
    let total = weights.iter().fold(U768::ZERO, |sum, &weight| sum + weight);
    if total == U768::ZERO {
        return Err(HoldError::Argument(
            "no score is above zero, so the pot has nobody to go to".to_owned(),
        ));
    }
    let mut given = U768::ZERO;
    let mut units = Vec::with_capacity(weights.len());
    let mut rests: Vec<(U768, usize)> = Vec::with_capacity(weights.len());
    for (row, &weight) in weights.iter().enumerate() {
        let (quota, rest) = (U768::from(pot) * weight).div_rem(total);
        given += quota;
        units.push(quota.saturating_to::<U256>()); // at most the pot

        rests.push((rest, row));
    }
    let left = (U768::from(pot) - given).saturating_to::<usize>();
    let id = |row: usize| (scores.holder_id(row), scores.token_id(row));
    rests.sort_unstable_by(|(left, a), (right, b)| {
        right.cmp(left).then_with(|| id(*a).cmp(&id(*b)))
    });
    for &(_, row) in rests.iter().take(left) {
        units[row] += U256::from(1u64);
    }
    Ok(units)
}

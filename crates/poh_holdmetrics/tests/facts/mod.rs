//! All that a row of an answer says, to be compared.

use poh_holdmetrics::Scores;

/// Holder, token, microseconds, exact score, last boundary.
pub(crate) type Facts<'a> = (Option<&'a str>, Option<&'a str>, i128, String, Option<i64>);

pub(crate) fn facts(scores: &Scores) -> Vec<Facts<'_>> {
    (0..scores.len())
        .map(|row| {
            (
                scores.holder_id(row),
                scores.token_id(row),
                scores.total_micros(row),
                scores.weighted_exact(row),
                scores.updated_at(row),
            )
        })
        .collect()
}

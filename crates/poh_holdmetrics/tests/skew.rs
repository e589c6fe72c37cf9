//! One holder has most rows: the answer is that of the rows one by one, on any number of threads.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod facts;

use std::collections::BTreeMap;

use poh_holdmetrics::{By, HoldEvent, Holds, Overlap, Query, Stop, score, score_epochs};

use facts::facts;

const AT: i64 = 1_000_000;

/// So many that what one holder has does not go to one thread as a whole.
const ROWS: usize = 170_000;

struct Row {
    holder: u64,
    token: u64,
    start: i64,
    end: i64,
}

fn rows() -> Vec<Row> {
    let drawn = |row: usize| (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    (0..ROWS)
        .map(|row| {
            let number = drawn(row);
            let holder = if number % 8 == 0 { number % 97 } else { 1 };
            let start = (number / 97 % 900_000) as i64;
            Row {
                holder,
                token: number / 8 % 300,
                start,
                end: start + (number / 7_919 % 400) as i64,
            }
        })
        .collect()
}

fn table(rows: &[Row]) -> Holds {
    let mut holds = Holds::new(0).unwrap();
    for row in rows {
        let ids = (format!("t{}", row.token), format!("h{}", row.holder));
        let event = HoldEvent::new(ids.0, ids.1, row.start, Some(row.end), 1u64.into());
        holds.push(&event.unwrap()).unwrap();
    }
    holds
}

/// Time within a window in which each holder had each token, by name.
fn held(rows: &[Row], from: i64, to: i64) -> BTreeMap<(String, String), i128> {
    let mut spans: BTreeMap<(u64, u64), Vec<(i64, i64)>> = BTreeMap::new();
    for row in rows {
        let span = (row.start.max(from), row.end.min(to));
        spans.entry((row.holder, row.token)).or_default().push(span);
    }
    let union = |mut spans: Vec<(i64, i64)>| {
        spans.sort_unstable();
        let (mut sum, mut reached) = (0, from);
        for (start, end) in spans {
            sum += (end - start.max(reached)).max(0);
            reached = reached.max(end);
        }
        i128::from(sum)
    };
    let named =
        |((holder, token), spans)| ((format!("h{holder}"), format!("t{token}")), union(spans));
    spans.into_iter().map(named).collect()
}

fn sums<K: Ord>(
    pairs: &BTreeMap<(String, String), i128>,
    key: impl Fn(&str, &str) -> K,
) -> BTreeMap<K, i128> {
    let mut sums = BTreeMap::new();
    for ((holder, token), micros) in pairs {
        *sums.entry(key(holder, token)).or_default() += micros;
    }
    sums
}

#[test]
fn most_rows_are_of_one_holder() {
    let rows = rows();
    let (holds, pairs) = (table(&rows), held(&rows, 0, AT));
    let by_holder = sums(&pairs, |holder, _| (Some(holder.to_owned()), None));
    let by_token = sums(&pairs, |_, token| (None, Some(token.to_owned())));
    let by_pair = sums(&pairs, |holder, token| {
        (Some(holder.to_owned()), Some(token.to_owned()))
    });
    for (by, expected) in [
        (By::Holder, by_holder),
        (By::Token, by_token),
        (By::Both, by_pair),
    ] {
        for (overlap, threads) in [(Overlap::Union, 1), (Overlap::Union, 3), (Overlap::Max, 2)] {
            let threads = Some(threads);
            let query = Query {
                by,
                overlap,
                threads,
                ..Query::at(AT)
            };
            let scores = score(&holds, &query).unwrap();
            let found: BTreeMap<_, _> = facts(&scores)
                .into_iter()
                .map(|(holder, token, micros, ..)| {
                    (
                        (holder.map(str::to_owned), token.map(str::to_owned)),
                        micros,
                    )
                })
                .collect();
            assert_eq!(found.len(), scores.len());
            assert!(found == expected, "{by:?} {overlap:?} {threads:?}");
        }
    }
}

#[test]
fn epochs_of_a_holder_with_most_rows() {
    let rows = rows();
    let holds = table(&rows);
    let boundaries = [0, 300_000, 600_000, AT];
    let query = Query {
        overlap: Overlap::Union,
        threads: Some(2),
        ..Query::at(AT)
    };
    let found = score_epochs(&holds, &query, &boundaries, &Stop::default()).unwrap();
    for (scores, window) in found.iter().zip(boundaries.windows(2)) {
        let mut expected = sums(&held(&rows, window[0], window[1]), |holder, _| {
            holder.to_owned()
        });
        expected.retain(|_, micros| *micros > 0);
        let found: BTreeMap<_, _> = (0..scores.len())
            .map(|row| {
                (
                    scores.holder_id(row).unwrap().to_owned(),
                    scores.total_micros(row),
                )
            })
            .collect();
        assert_eq!(found.len(), scores.len());
        assert!(found == expected, "{window:?}");
    }
}

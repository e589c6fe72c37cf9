//! All windows in one pass say what each of them says alone.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod facts;

use poh_holdmetrics::{
    Boost, By, HoldError, HoldEvent, Holds, Overlap, Query, Scores, Stop, score, score_epochs,
};
use proptest::prelude::*;

use facts::facts;

const DAY: i64 = 86_400_000_000;

fn alone(holds: &Holds, query: &Query, window: &[i64]) -> Scores {
    let query = Query {
        start: Some(window[0]),
        end: Some(window[1]),
        ..query.clone()
    };
    score(holds, &query).unwrap().held()
}

fn hold() -> impl Strategy<Value = HoldEvent> {
    let weight = prop_oneof![
        8 => (0u32..5).prop_map(|weight| format!("{weight}.5")),
        1 => Just(format!("7{}", "0".repeat(45))),
    ];
    (
        0u8..4,
        0u8..3,
        -30i64..60,
        prop::option::weighted(0.9, 0i64..40),
        weight,
    )
        .prop_map(|(holder, token, start, days, weight)| {
            let end = days.map(|days| (start + days) * DAY);
            let ids = (format!("t{token}"), format!("h{holder}"));
            HoldEvent::new(ids.0, ids.1, start * DAY, end, weight.parse().unwrap()).unwrap()
        })
}

fn boost() -> impl Strategy<Value = Option<Boost>> {
    let steps = [(0, "1"), (5 * DAY, "1.5"), (20 * DAY, "0.25")];
    let steps = steps.map(|(age, multiplier)| (age, multiplier.parse().unwrap()));
    prop_oneof![
        2 => Just(None),
        1 => Just(Some(Boost::steps(steps, Some("3".parse().unwrap())).unwrap())),
        1 => Just(Some(Boost::half_life(7 * DAY).unwrap())),
        1 => Just(Some(Boost::linear(30 * DAY).unwrap())),
    ]
}

proptest! {
    #[test]
    fn every_window_is_as_if_it_were_asked_alone(
        events in prop::collection::vec(hold(), 0..40),
        days in prop::collection::vec(-40i64..70, 0..9),
        by in prop_oneof![Just(By::Holder), Just(By::Token), Just(By::Both)],
        overlap in prop_oneof![Just(Overlap::Sum), Just(Overlap::Union), Just(Overlap::Max)],
        boost in boost(),
        at in -20i64..80,
    ) {
        let mut holds = Holds::new(9).unwrap();
        events.iter().for_each(|event| holds.push(event).unwrap());
        let mut boundaries: Vec<i64> = days.iter().map(|day| day * DAY).collect();
        boundaries.sort_unstable(); // some windows are empty
        let query = Query { by, overlap, boost, ..Query::at(at * DAY) };
        let found = score_epochs(&holds, &query, &boundaries, &Stop::default());
        let linear = matches!(query.boost, Some(ref boost) if *boost == Boost::linear(30 * DAY).unwrap());
        if linear && overlap != Overlap::Sum {
            prop_assert!(matches!(found, Err(HoldError::Argument(_))));
            return Ok(());
        }
        let found = found.unwrap();
        prop_assert_eq!(found.len(), boundaries.len().saturating_sub(1));
        for (scores, window) in found.iter().zip(boundaries.windows(2)) {
            let expected = alone(&holds, &query, window);
            prop_assert_eq!(facts(scores), facts(&expected));
            prop_assert_eq!(scores.at(), query.at);
        }
    }
}

#[test]
fn many_rows_on_any_number_of_threads() {
    let mut holds = Holds::new(9).unwrap();
    let number =
        |row: i64| (row.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64) >> 20).unsigned_abs();
    for row in 0..110_000 {
        let drawn = number(row);
        // One holder has half of the rows.
        let holder = if drawn % 2 == 0 { 0 } else { drawn % 9_973 };
        let start = (drawn * 7_919) as i64 % (300 * DAY);
        let end = start + (drawn * 104_729) as i64 % (40 * DAY);
        let ids = (format!("t{}", drawn % 31), format!("h{holder}"));
        let weight = (drawn % 1_000).into();
        let event = HoldEvent::new(ids.0, ids.1, start, Some(end), weight);
        holds.push(&event.unwrap()).unwrap();
    }
    let boundaries: Vec<i64> = (0..5).map(|quarter| quarter * 75 * DAY).collect();
    for (by, overlap) in [
        (By::Holder, Overlap::Sum),
        (By::Token, Overlap::Sum),
        (By::Token, Overlap::Union),
        (By::Both, Overlap::Max),
    ] {
        let query = |threads| Query {
            by,
            overlap,
            threads: Some(threads),
            ..Query::at(320 * DAY)
        };
        let windows = boundaries.windows(2);
        let expected: Vec<Scores> = windows
            .map(|window| alone(&holds, &query(2), window))
            .collect();
        for threads in [1, 2] {
            let found = score_epochs(&holds, &query(threads), &boundaries, &Stop::default());
            for (scores, expected) in found.unwrap().iter().zip(&expected) {
                assert!(!scores.is_empty());
                assert!(facts(scores) == facts(expected), "{by:?} {overlap:?}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_and_what_makes_no_sense() {
    let mut holds = Holds::new(0).unwrap();
    let most = format!("0x{}", "f".repeat(64));
    let most = u256(&most);
    let latest = poh_holdmetrics::MAX_MICROS;
    holds
        .push(&HoldEvent::new("t", "few", 0, None, 1u64.into()).unwrap())
        .unwrap();
    holds
        .push(&HoldEvent::new("t", "many", 0, None, most).unwrap())
        .unwrap();
    let steps = [(0, poh_holdmetrics::Weight::from(i64::MAX.unsigned_abs()))];
    // 256 bits of weight, 62 of time, 63 of a multiplier: 381 of 512. All of it fits.
    let query = Query {
        boost: Some(Boost::steps(steps, None).unwrap()),
        ..Query::at(latest)
    };
    let found = score_epochs(&holds, &query, &[0, latest], &Stop::default()).unwrap();
    assert_eq!(
        facts(&found[0]),
        facts(&alone(&holds, &query, &[0, latest]))
    );
    let falling = score_epochs(&holds, &query, &[5, 3], &Stop::default());
    assert!(matches!(falling, Err(HoldError::Argument(_))));
    let stop = Stop::default();
    stop.ask();
    let ended = score_epochs(&holds, &query, &[0, 5], &stop);
    assert!(matches!(ended, Err(HoldError::Interrupted)));
}

fn u256(hex: &str) -> poh_holdmetrics::Weight {
    let units: poh_holdmetrics::U256 = hex.parse().unwrap();
    poh_holdmetrics::Weight::new(units, 0)
}

//! The table of cases that the Python tests read too.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use poh_holdmetrics::{
    By, Fault, Field, HoldError, Holds, OPEN, Overlap, Query, Rounding, Scores, Weight,
    micros_from_seconds, score,
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Table {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    query: Question,
    events: Vec<Event>,
    expect: Option<Vec<Expected>>,
    error: Option<ExpectedError>,
}

#[derive(Deserialize)]
struct Question {
    at: f64,
    start: Option<f64>,
    end: Option<f64>,
    by: Option<String>,
    overlap: Option<String>,
    scale: Option<u8>,
    rounding: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    holder_id: String,
    token_id: String,
    start: f64,
    end: Option<f64>,
    weight: Option<Value>,
}

#[derive(Deserialize)]
struct Expected {
    holder_id: Option<String>,
    token_id: Option<String>,
    total_seconds: String,
    weighted_score_exact: String,
    updated_at: Option<f64>,
}

#[derive(Deserialize)]
struct ExpectedError {
    row: u64,
    field: String,
}

fn ask(case: &Case) -> Result<Scores, HoldError> {
    let question = &case.query;
    let rounding = match question.rounding.as_deref() {
        Some("half-even") => Rounding::HalfEven,
        _ => Rounding::Refuse,
    };
    let mut holds = Holds::new(question.scale.unwrap_or(9))?.with_rounding(rounding);
    for (row, event) in case.events.iter().enumerate() {
        let at = |field: Field| {
            move |fault: Fault| HoldError::Row {
                row: row as u64,
                field,
                fault,
            }
        };
        let weight = match &event.weight {
            None => Ok(Weight::ONE),
            Some(Value::String(text)) => text.parse(),
            Some(number) => Weight::from_f64(number.as_f64().unwrap()),
        };
        holds.push_row(
            &event.holder_id,
            &event.token_id,
            micros_from_seconds(event.start).map_err(at(Field::Start))?,
            event
                .end
                .map_or(Ok(OPEN), micros_from_seconds)
                .map_err(at(Field::End))?,
            &weight.map_err(at(Field::Weight))?,
        )?;
    }
    let micros = |seconds: f64| micros_from_seconds(seconds).unwrap();
    score(
        &holds,
        &Query {
            by: match question.by.as_deref() {
                Some("token") => By::Token,
                Some("both") => By::Both,
                _ => By::Holder,
            },
            overlap: match question.overlap.as_deref() {
                Some("union") => Overlap::Union,
                Some("max") => Overlap::Max,
                _ => Overlap::Sum,
            },
            at: micros(question.at),
            start: question.start.map(micros),
            end: question.end.map(micros),
            boost: None,
            columns: None,
            threads: Some(1),
        },
    )
}

#[test]
fn every_case_of_the_table() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../python/poh_holdmetrics/tests/data/cases.json"
    );
    let table: Table = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(table.cases.len() > 30);
    for case in &table.cases {
        let name = &case.name;
        match (ask(case), &case.expect, &case.error) {
            (Ok(scores), Some(expected), None) => {
                assert_eq!(scores.len(), expected.len(), "{name}");
                for (row, expected) in expected.iter().enumerate() {
                    assert_eq!(
                        scores.holder_id(row),
                        expected.holder_id.as_deref(),
                        "{name}"
                    );
                    assert_eq!(scores.token_id(row), expected.token_id.as_deref(), "{name}");
                    assert_eq!(
                        scores.weighted_exact(row),
                        expected.weighted_score_exact,
                        "{name}"
                    );
                    let seconds = scores.total_seconds(row).to_string();
                    assert_eq!(seconds, expected.total_seconds, "{name}");
                    let updated = expected
                        .updated_at
                        .map(|at| micros_from_seconds(at).unwrap());
                    assert_eq!(scores.updated_at(row), updated, "{name}");
                }
            }
            (Err(HoldError::Row { row, field, .. }), None, Some(expected)) => {
                assert_eq!(
                    (row, field.to_string()),
                    (expected.row, expected.field.clone()),
                    "{name}"
                );
            }
            (outcome, ..) => panic!("{name}: {outcome:?}"),
        }
    }
}

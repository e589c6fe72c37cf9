//! The table of cases that the Python tests read too.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use poh_holdmetrics::{
    Boost, By, Fault, Field, HoldError, HoldEvent, Holds, OPEN, Overlap, Query, Rounding, Scores,
    Weight, micros_from_seconds, score,
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
    /// Corrections of the table that the events make.
    #[serde(default)]
    then: Vec<Correction>,
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
    boost: Option<Multiplier>,
}

/// Lengths are days.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Multiplier {
    Linear(i64),
    HalfLife(i64),
    #[serde(untagged)]
    Steps {
        steps: Vec<(i64, String)>,
        cap: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Correction {
    Retract(Event),
    Amend(Event, Event),
    Close {
        holder_id: String,
        token_id: String,
        at: f64,
    },
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

impl Event {
    fn weight(&self) -> Result<Weight, Fault> {
        match &self.weight {
            None => Ok(Weight::ONE),
            Some(Value::String(text)) => text.parse(),
            Some(number) => Weight::from_f64(number.as_f64().unwrap()),
        }
    }

    fn to_hold(&self) -> HoldEvent {
        let (start, end) = (micros(self.start), self.end.map(micros));
        let weight = self.weight().unwrap();
        HoldEvent::new(&self.token_id, &self.holder_id, start, end, weight).unwrap()
    }
}

impl Multiplier {
    fn to_boost(&self) -> Boost {
        const DAY: i64 = 86_400_000_000;
        let boost = match self {
            Multiplier::Linear(over) => Boost::linear(over * DAY),
            Multiplier::HalfLife(half) => Boost::half_life(half * DAY),
            Multiplier::Steps { steps, cap } => {
                let number = |text: &String| text.parse::<Weight>().unwrap();
                let steps = steps.iter().map(|(age, by)| (age * DAY, number(by)));
                Boost::steps(steps, cap.as_ref().map(number))
            }
        };
        boost.unwrap()
    }
}

fn micros(seconds: f64) -> i64 {
    micros_from_seconds(seconds).unwrap()
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
        holds.push_row(
            &event.holder_id,
            &event.token_id,
            micros_from_seconds(event.start).map_err(at(Field::Start))?,
            event
                .end
                .map_or(Ok(OPEN), micros_from_seconds)
                .map_err(at(Field::End))?,
            &event.weight().map_err(at(Field::Weight))?,
        )?;
    }
    for correction in &case.then {
        match correction {
            Correction::Retract(event) => holds.retract(&event.to_hold())?,
            Correction::Amend(event, corrected) => {
                holds.amend(&event.to_hold(), &corrected.to_hold())?;
            }
            Correction::Close {
                holder_id,
                token_id,
                at,
            } => {
                holds.close(holder_id, token_id, micros(*at))?;
            }
        }
    }
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
            boost: question.boost.as_ref().map(Multiplier::to_boost),
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

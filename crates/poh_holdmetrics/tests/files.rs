//! Files of holds: what they may hold, and that no bytes at all make the readers fall.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use poh_holdmetrics::{Field, HoldError, Holds, Query, Stop, score};
use proptest::prelude::*;

fn csv(text: &str) -> Result<Holds, HoldError> {
    let mut holds = Holds::new(9)?;
    holds.read_csv(text.as_bytes(), &Stop::default())?;
    Ok(holds)
}

fn json(text: &str) -> Result<Holds, HoldError> {
    let mut holds = Holds::new(9)?;
    holds.read_json_lines(text.as_bytes(), &Stop::default())?;
    Ok(holds)
}

fn total(holds: &Holds) -> String {
    score(holds, &Query::at(100_000_000))
        .unwrap()
        .weighted_exact(0)
}

#[test]
fn csv_in_any_order_with_quotes() {
    let text = "weight,start,x,holder_id,token_id,end\n\
                2.5,1970-01-01T00:00:00Z,,\"a,\"\"b\",t,10\n\
                ,1970-01-01 00:01:30,y,\"a,\"\"b\",t,\n";
    let holds = csv(text).unwrap();
    assert_eq!(holds.holders().get(0), "a,\"b");
    assert_eq!(total(&holds), "35");
}

#[test]
fn json_numbers_keep_their_digits() {
    let text = "{\"holder_id\": \"a\\u0000\", \"token_id\": 7, \"start\": 0, \"end\": 1, \"weight\": 123456789012345678901234567890}\n\n\
                {\"holder_id\": \"a\\u0000\", \"token_id\": 7, \"start\": \"0\", \"end\": 1, \"weight\": 0.1, \"more\": [{}]}\n";
    let holds = json(text).unwrap();
    assert_eq!(holds.holders().get(0), "a\0");
    assert_eq!(total(&holds), "123456789012345678901234567890.1");
}

#[test]
fn faults_name_the_row_and_the_field() {
    let head = "holder_id,token_id,start,end,weight\na,t,0,1,1\n";
    for (line, field) in [
        (",t,0,1,1", Field::HolderId),
        ("a,,0,1,1", Field::TokenId),
        ("a,t,,1,1", Field::Start),
        ("a,t,soon,1,1", Field::Start),
        ("a,t,5,1,1", Field::End),
        ("a,t,0,1,one", Field::Weight),
        ("a,t,0,1,-1", Field::Weight),
    ] {
        match csv(&format!("{head}{line}\n")) {
            Err(HoldError::Row {
                row: 1,
                field: found,
                ..
            }) => assert_eq!(found, field, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    let text = "{\"holder_id\":\"a\",\"token_id\":\"t\",\"start\":0,\"weight\":[1]}";
    let Err(HoldError::Row {
        row: 0,
        field: Field::Weight,
        ..
    }) = json(text)
    else {
        panic!("a list is no weight");
    };
}

#[test]
fn broken_files_name_the_line() {
    for (outcome, says) in [
        (csv("holder_id,token_id\na,t\n"), "no column \"start\""),
        (
            csv("holder_id,token_id,start\na,t,0\nb,t\n"),
            "row 1 has 2 fields",
        ),
        (json("{\"holder_id\": \"a\"\n"), "line 1"),
        (json("\n[1]\n"), "line 2"),
    ] {
        match outcome {
            Err(HoldError::File(what)) => assert!(what.contains(says), "{what}"),
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_fall(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut holds = Holds::new(9).unwrap();
        let _ = holds.read_csv(bytes.as_slice(), &Stop::default());
        let _ = holds.read_json_lines(bytes.as_slice(), &Stop::default());
        let mut with_header = b"holder_id,token_id,start,end,weight\n".to_vec();
        with_header.extend(&bytes);
        let _ = holds.read_csv(with_header.as_slice(), &Stop::default());
    }

    #[test]
    fn no_line_makes_a_reader_fall(
        start in "[-+0-9eE.:TZ ]{0,25}", end in "[-+0-9eE.:TZ ]{0,25}", weight in "[-+0-9eE.naNif_]{0,25}"
    ) {
        let _ = csv(&format!("holder_id,token_id,start,end,weight\na,t,{start},{end},{weight}\n"));
        let _ = json(&format!(
            "{{\"holder_id\":\"a\",\"token_id\":\"t\",\"start\":\"{start}\",\"end\":\"{end}\",\"weight\":\"{weight}\"}}"
        ));
    }
}

//! Files of holds: what they may hold, and that no bytes at all make the readers fall.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::Write;

use poh_holdmetrics::{
    Field, Fold, HoldError, HoldEvent, Holds, Lots, OnNegative, Query, Rounding, Standard, Stop,
    Transfers, Weight, decodes_parquet, score, write_parquet,
};
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
        (
            csv("holder_id,start,token_id,start\na,0,t,0\n"),
            "two columns \"start\"",
        ),
        (
            csv("holder_id;token_id;start\na;t;0\n"),
            "separated by commas",
        ),
        (
            json("{\"holder_id\": \"a\"\n"),
            "line 1: the object has no end",
        ),
        (json("\n[1]\n"), "line 2: \"[1]\" is not a JSON object"),
        (
            json("{\"start\": 1, \"start\": 2}"),
            "line 1: column 24: \"start\" is there twice",
        ),
        (json("{\"start\": 1} {}"), "line 1: column 14: trailing"),
    ] {
        match outcome {
            Err(HoldError::File(what) | HoldError::Argument(what)) => {
                assert!(what.contains(says), "{what}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_not_utf_8_is_named() {
    let mut text = b"holder_id,token_id,start\na,t,0\n".to_vec();
    text.extend(b"\xe9,t,0\n");
    let csv = Holds::new(9).unwrap().read_csv(&text[..], &Stop::default());
    assert!(matches!(csv, Err(HoldError::File(what)) if what.starts_with("row 1 is not UTF-8")));
    let head = Holds::new(9)
        .unwrap()
        .read_csv(&b"\xff\xfeh"[..], &Stop::default());
    assert!(
        matches!(head, Err(HoldError::File(what)) if what.starts_with("the header is not UTF-8"))
    );
    let json = Holds::new(9)
        .unwrap()
        .read_json_lines(&b"\n{\"holder_id\":\"\xe9\"}"[..], &Stop::default());
    assert!(
        matches!(json, Err(HoldError::File(what)) if what.starts_with("line 2: it is not UTF-8"))
    );
}

#[test]
fn errors_of_long_texts_are_short() {
    let long = "x".repeat(1_000_000);
    for outcome in [
        csv(&long),
        csv(&format!("{}a", "a,".repeat(500_000))),
        json(&long),
        json(&format!(
            "{{\"holder_id\":\"a\",\"token_id\":\"t\",\"start\":\"{long}\"}}"
        )),
    ] {
        assert!(outcome.unwrap_err().to_string().len() < 500);
    }
    let digits = csv(&format!(
        "holder_id,token_id,start\na,t,{}\n",
        "9".repeat(1_000)
    ));
    assert!(
        digits
            .unwrap_err()
            .to_string()
            .starts_with("row 0, start is out of range")
    );
}

const HEAD: &str = "holder_id,token_id,start,end\n";

/// The second of two files is wrong in its row 1.
#[test]
fn faults_name_the_file_and_the_row_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("one.csv"), format!("{HEAD}a,t,0,1\nb,t,0,1\n")).unwrap();
    fs::write(path("two.csv"), format!("{HEAD}a,t,0,1\nb,t,5,1\n")).unwrap();
    let stop = Stop::default();
    let mut holds = Holds::new(9).unwrap();
    holds.read_file(&path("one.csv"), &stop).unwrap();
    let mut fold = Fold::new(Query::at(9), 9, Rounding::Refuse).unwrap();
    fold.read_file(&path("one.csv"), &stop).unwrap();
    for error in [
        holds.read_file(&path("two.csv"), &stop).unwrap_err(),
        fold.read_file(&path("two.csv"), &stop).unwrap_err(),
    ] {
        let HoldError::InFile { file, error } = error else {
            panic!("{error:?}");
        };
        assert!(file.ends_with("two.csv"));
        assert!(
            matches!(
                *error,
                HoldError::Row {
                    row: 1,
                    field: Field::End,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

/// Times of Parquet are borrowed, and looked at when they are added up: after the next file.
#[test]
fn faults_that_are_found_late_name_their_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, ends) in [("one", [1, 1]), ("two", [1, 5]), ("three", [1, 1])] {
        let starts = arrow_array::TimestampMicrosecondArray::from(vec![0i64, 3]);
        let ends = arrow_array::TimestampMicrosecondArray::from(ends.map(|end| end + 3).to_vec());
        let ends = if name == "two" {
            arrow_array::TimestampMicrosecondArray::from(vec![1i64, 2])
        } else {
            ends
        };
        let ids = || std::sync::Arc::new(arrow_array::StringArray::from(vec!["a", "b"]));
        let batch = poh_holdmetrics::batch(vec![
            ("holder_id", ids()),
            ("token_id", ids()),
            ("start", std::sync::Arc::new(starts)),
            ("end", std::sync::Arc::new(ends)),
        ])
        .unwrap();
        let file = fs::File::create(path(&format!("{name}.parquet"))).unwrap();
        write_parquet(&batch, file).unwrap();
    }
    for query in [
        Query::at(9),
        Query {
            overlap: poh_holdmetrics::Overlap::Union,
            ..Query::at(9)
        },
    ] {
        let mut fold = Fold::new(query, 9, Rounding::Refuse).unwrap();
        let read: Result<(), HoldError> = ["one", "two", "three"].iter().try_for_each(|name| {
            fold.read_file(&path(&format!("{name}.parquet")), &Stop::default())
        });
        let error = read.and_then(|()| fold.finish(&Stop::default()).map(drop));
        let said = error.unwrap_err().to_string();
        assert!(said.contains("two.parquet: row 1, end"), "{said}");
    }
    let mut holds = Holds::new(9).unwrap();
    let said = holds
        .read_file(&path("two.parquet"), &Stop::default())
        .unwrap_err()
        .to_string();
    assert!(said.contains("two.parquet: row 1, end"), "{said}");
}

#[test]
fn transfers_name_their_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let head =
        "token_address,from_address,to_address,value,block_timestamp,block_number,log_index\n";
    let zero = "0x0000000000000000000000000000000000000000";
    let (one, two) = (folder.path().join("1.csv"), folder.path().join("2.csv"));
    let stop = Stop::default();
    fs::write(&one, format!("{head}t,{zero},a,5,0,1,0\n")).unwrap();
    for (lines, says) in [
        ("t,a,b,x,0,2,0\n", "2.csv: transfer 0: value \"x\""),
        (
            "t,a,b,1,0,2,0\nt,a,b,9,0,3,0\n",
            "2.csv: transfer 1: a sends 9",
        ),
        (
            "t,a,b,1,0,18446744073709551616,0\n",
            "2.csv: transfer 0: block_number is 18446744073709551616; a block",
        ),
    ] {
        fs::write(&two, format!("{head}{lines}")).unwrap();
        let mut logs = Transfers::new(Standard::Erc20);
        let read = [&one, &two]
            .iter()
            .try_for_each(|path| logs.read_file(path, &stop));
        let error = read.and_then(|()| {
            logs.to_holds(Lots::Balance, OnNegative::Refuse, 0, &stop)
                .map(drop)
        });
        let said = error.unwrap_err().to_string();
        assert!(said.contains(says), "{said}");
    }
}

/// Each byte of a file of its own, changed: the library of Parquet panics at some of them.
#[test]
fn no_damaged_parquet_makes_a_reader_fall() {
    std::panic::set_hook(Box::new(|panic| {
        if !decodes_parquet() {
            eprintln!("{panic}");
        }
    }));
    let mut holds = Holds::new(9).unwrap();
    for row in 0..40i64 {
        let end = (row % 3 > 0).then_some(row + 9);
        let id = ["a", "bb", "ccc"][row as usize % 3];
        holds
            .push(&HoldEvent::new(id, id, row, end, Weight::ONE).unwrap())
            .unwrap();
    }
    let mut file = tempfile::tempfile().unwrap();
    write_parquet(&holds.to_batch(None).unwrap(), file.try_clone().unwrap()).unwrap();
    let mut whole = Vec::new();
    std::io::Seek::rewind(&mut file).unwrap();
    std::io::Read::read_to_end(&mut file, &mut whole).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.parquet");
    let mut damaged = 0;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= if at % 2 == 0 { 0xff } else { 1 };
        fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
        let read = Holds::new(9).unwrap().read_file(&path, &Stop::default());
        let mut fold = Fold::new(Query::at(9), 9, Rounding::Refuse).unwrap();
        let folded = fold.read_file(&path, &Stop::default());
        for error in [read, folded].into_iter().filter_map(Result::err) {
            damaged += 1;
            let said = error.to_string();
            assert!(said.contains("damaged.parquet: "), "{said}");
        }
    }
    assert!(damaged > 100, "{damaged}");
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

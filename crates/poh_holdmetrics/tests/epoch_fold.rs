//! Scores by epoch of files are those of a table, whether or not the files fit in memory.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod facts;

use std::fmt::Write as _;
use std::fs;

use poh_holdmetrics::{
    Boost, By, EpochFold, Field, HoldError, Holds, Overlap, Query, Rounding, Stop, score,
    write_parquet,
};

use facts::facts;

const HOUR: i64 = 3_600_000_000;

fn lines(rows: i64) -> String {
    let mut text = String::from("holder_id,token_id,start,end,weight\n");
    for row in 0..rows {
        let (holder, token, start) = (row * row % 211, row % 7, row * 37 % 90_000);
        let end = match row % 5 {
            0 => String::new(),
            _ => (start + row % 4_001).to_string(),
        };
        // One weight in a hundred is a wide one.
        let weight = match row % 100 {
            99 => "1".repeat(40),
            _ => format!("{}.5", row % 13),
        };
        writeln!(text, "h{holder},t{token},{start},{end},{weight}").unwrap();
    }
    text
}

#[test]
fn files_by_epoch_are_as_good_as_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, parquet) = (folder.path().join("a.csv"), folder.path().join("a.parquet"));
    fs::write(&csv, lines(9_000)).unwrap();
    let mut holds = Holds::new(9).unwrap();
    holds.read_file(&csv, &Stop::default()).unwrap();
    let file = fs::File::create(&parquet).unwrap();
    write_parquet(&holds.to_batch(None).unwrap(), file).unwrap();
    holds.read_file(&parquet, &Stop::default()).unwrap();
    let boundaries: Vec<i64> = (0..6).map(|hour| hour * 5 * HOUR).collect();
    let boost = Boost::steps([(HOUR, "1.5".parse().unwrap())], None).unwrap();
    for (by, overlap) in [
        (By::Holder, Overlap::Sum),
        (By::Token, Overlap::Sum),
        (By::Both, Overlap::Sum),
        (By::Holder, Overlap::Union),
        (By::Token, Overlap::Max),
        (By::Both, Overlap::Max),
    ] {
        let query = Query {
            by,
            overlap,
            boost: Some(boost.clone()),
            ..Query::at(22 * HOUR)
        };
        for memory in [0, 100_000, 1 << 30] {
            let fold = EpochFold::new(&query, &boundaries, 9, Rounding::Refuse).unwrap();
            let mut fold = fold.with_memory(memory);
            fold.read_file(&csv, &Stop::default()).unwrap();
            fold.read_file(&parquet, &Stop::default()).unwrap();
            let found = fold.finish(&Stop::default()).unwrap();
            assert_eq!(found.len(), boundaries.len() - 1);
            for (scores, window) in found.iter().zip(boundaries.windows(2)) {
                let query = Query {
                    start: Some(window[0]),
                    end: Some(window[1]),
                    ..query.clone()
                };
                let all = score(&holds, &query).unwrap().held();
                assert!(!all.is_empty());
                assert!(facts(scores) == facts(&all), "{by:?} {overlap:?} {memory}");
            }
        }
    }
}

#[test]
fn a_fault_names_the_file_and_the_row_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("a.csv"), folder.path().join("b.csv"));
    fs::write(&good, lines(9_000)).unwrap();
    fs::write(&bad, lines(9_000) + "h,t,5,1,1\n").unwrap();
    for memory in [0, 1 << 30] {
        let fold = EpochFold::new(&Query::at(HOUR), &[0, HOUR], 9, Rounding::Refuse).unwrap();
        let mut fold = fold.with_memory(memory);
        fold.read_file(&good, &Stop::default()).unwrap();
        let HoldError::InFile { file, error } = fold.read_file(&bad, &Stop::default()).unwrap_err()
        else {
            panic!("the file is not named");
        };
        assert!(file.ends_with("b.csv"));
        assert!(
            matches!(
                *error,
                HoldError::Row {
                    row: 9_000,
                    field: Field::End,
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

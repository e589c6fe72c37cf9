//! Batches that are not kept give the same answer as a table of all rows.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod facts;

use std::fs::File;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use poh_holdmetrics::{
    Boost, By, Fault, Field, Fold, HoldError, Holds, Overlap, Query, Rounding, ScoreColumn, Scores,
    Stop, batch, score,
};
use proptest::prelude::*;

use facts::facts;

#[derive(Debug, Clone)]
struct Row {
    holder: u8,
    token: u8,
    start: i64,
    length: Option<i64>,
    weight: u64,
}

/// How the weights of a batch are given; the last ones need 256 bits.
#[derive(Debug, Clone, Copy)]
enum Weights {
    None,
    Whole,
    Text,
    Wide,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        0u8..9,
        0u8..3,
        -50i64..50,
        prop::option::weighted(0.9, 0i64..40),
        0u64..5,
    );
    let row = row.prop_map(|(holder, token, start, length, weight)| Row {
        holder,
        token,
        start: start * 86_400_000_000,
        length: length.map(|days| days * 86_400_000_000),
        weight,
    });
    prop::collection::vec(row, 1..60)
}

fn weights() -> impl Strategy<Value = Weights> {
    prop_oneof![
        Just(Weights::None),
        Just(Weights::Whole),
        Just(Weights::Text),
        Just(Weights::Wide)
    ]
}

fn table(rows: &[Row], weights: Weights, views: bool) -> RecordBatch {
    let ids = |letter: &'static str, id: fn(&Row) -> u8| -> ArrayRef {
        // Long ids and short ones.
        let ids = rows
            .iter()
            .map(|row| format!("{letter}{}", letter.repeat(2 * usize::from(id(row)))));
        match views {
            true => Arc::new(ids.map(Some).collect::<StringViewArray>()),
            false => Arc::new(ids.map(Some).collect::<StringArray>()),
        }
    };
    let end = |row: &Row| row.length.map(|length| row.start + length);
    let starts: Vec<i64> = rows.iter().map(|row| row.start).collect();
    let ends: Vec<Option<i64>> = rows.iter().map(end).collect();
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("holder_id", ids("h", |row| row.holder)),
        ("token_id", ids("t", |row| row.token)),
        ("start", Arc::new(TimestampMicrosecondArray::from(starts))),
        ("end", Arc::new(TimestampMicrosecondArray::from(ends))),
    ];
    let whole = rows.iter().map(|row| row.weight);
    let column: Option<ArrayRef> = match weights {
        Weights::None => None,
        Weights::Whole => Some(Arc::new(
            whole.map(|weight| weight as i64).collect::<Int64Array>(),
        )),
        Weights::Text => Some(Arc::new(
            whole
                .map(|weight| Some(format!("{weight}.5")))
                .collect::<StringArray>(),
        )),
        Weights::Wide => Some(Arc::new(
            whole
                .map(|weight| Some(format!("{weight}{}", "0".repeat(40))))
                .collect::<StringArray>(),
        )),
    };
    columns.extend(column.map(|column| ("weight", column)));
    batch(columns).unwrap()
}

fn query() -> impl Strategy<Value = Query> {
    let by = prop_oneof![Just(By::Holder), Just(By::Token), Just(By::Both)];
    let overlap = prop_oneof![Just(Overlap::Sum), Just(Overlap::Union), Just(Overlap::Max)];
    let boost = prop_oneof![
        Just(None),
        Just(Some(Boost::half_life(7 * 86_400_000_000).unwrap()))
    ];
    (by, overlap, boost, -20i64..80, prop::option::of(-40i64..0)).prop_map(
        |(by, overlap, boost, at, start)| {
            let mut query = Query::at(at * 86_400_000_000);
            (query.by, query.overlap, query.boost) = (by, overlap, boost);
            query.start = start.map(|day| day * 86_400_000_000);
            query
        },
    )
}

/// What is known where no time was asked for.
fn sums(scores: &Scores) -> Vec<(Option<&str>, Option<&str>, String)> {
    let row = |row| {
        (
            scores.holder_id(row),
            scores.token_id(row),
            scores.weighted_exact(row),
        )
    };
    (0..scores.len()).map(row).collect()
}

proptest! {
    // Each case may make 64 temporary files.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn batches_are_as_good_as_a_table(
        parts in prop::collection::vec((rows(), weights(), any::<bool>()), 1..6),
        query in query(),
        memory in prop_oneof![Just(0), Just(1500), Just(usize::MAX)],
    ) {
        let stop = Stop::default();
        let mut holds = Holds::new(9).unwrap();
        let fold_of = |query: &Query| {
            Fold::new(query.clone(), 9, Rounding::Refuse).unwrap().with_memory(memory)
        };
        let few = Query { columns: Some(vec![ScoreColumn::WeightedScoreExact]), ..query.clone() };
        let (mut fold, mut few_folded) = (fold_of(&query), fold_of(&few));
        for (rows, weights, views) in &parts {
            let batch = table(rows, *weights, *views);
            holds.append(&batch).unwrap();
            fold.push(&batch, &stop).unwrap();
            few_folded.push(&batch, &stop).unwrap();
        }
        prop_assert_eq!(fold.rows(), holds.len() as u64);
        let (all, folded) = (score(&holds, &query).unwrap(), fold.finish(&stop).unwrap());
        prop_assert_eq!(facts(&all), facts(&folded));
        for few in [score(&holds, &few).unwrap(), few_folded.finish(&stop).unwrap()] {
            prop_assert_eq!(sums(&few), sums(&all));
        }
    }
}

fn many(count: usize) -> Vec<Row> {
    let number = |row: usize| row.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    (0..count)
        .map(|row| Row {
            holder: (number(row) % 97) as u8,
            token: (number(row) / 97 % 13) as u8,
            start: number(row) as i64 % 1_000_000_000_000,
            length: Some((number(row) >> 7) as i64 % 300_000_000_000),
            weight: number(row) as u64 % 1000,
        })
        .collect()
}

fn write_parquet(path: &std::path::Path, batch: &RecordBatch, rows_in_group: usize) {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(rows_in_group));
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn threads_share_batches_again_and_again() {
    let stop = Stop::default();
    let early = many(120_000);
    // New holders come between the known ones, and in another order.
    let late: Vec<Row> = many(120_000)
        .into_iter()
        .rev()
        .map(|row| Row {
            holder: row.holder.wrapping_mul(3) % 200,
            ..row
        })
        .collect();
    let batches = [
        table(&early, Weights::Whole, false),
        table(&late, Weights::Whole, true),
        table(&late[..1000], Weights::Text, false),
    ];
    for by in [By::Holder, By::Token] {
        let mut query = Query::at(2_000_000_000_000);
        (query.by, query.threads) = (by, Some(3));
        let mut holds = Holds::new(9).unwrap();
        let mut fold = Fold::new(query.clone(), 9, Rounding::Refuse).unwrap();
        for (batch, times) in batches.iter().zip([9, 9, 1]) {
            for _ in 0..times {
                holds.append(batch).unwrap();
                fold.push(batch, &stop).unwrap();
            }
        }
        assert_eq!(fold.rows(), holds.len() as u64);
        let (all, folded) = (score(&holds, &query).unwrap(), fold.finish(&stop).unwrap());
        assert!(facts(&all) == facts(&folded), "{by:?}");
    }
}

/// Rows whose ids are plain text: of up to 7 bytes, or longer ones where the kind says so.
fn plain(rows: usize, holders: usize, kind: &str) -> RecordBatch {
    let number = |row: usize| row.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let name = |letter: &str, number: usize, len: usize| match kind {
        "one length" => format!("{letter}{number:0len$}"),
        "addresses" | "addresses as views" | "fractions" | "one is too long" => {
            format!("0x{number:040x}")
        }
        "long lengths" => format!("{}{letter}{number}", "é\0".repeat(number % 14)),
        "long views" => format!("{letter}{number}{}", "\0".repeat(number % 43)),
        _ => format!("{letter}{number}"),
    };
    let mut ids: Vec<String> = (0..rows)
        .map(|row| name("h", number(row) % holders, 5))
        .collect();
    match kind {
        "one is long" => ids[rows * 2 / 3] = "a long one".to_owned(),
        "one is too long" => ids[rows * 2 / 3] = "x".repeat(48),
        _ => {}
    }
    let ids = ids.iter().map(Some);
    let tokens = (0..rows).map(|row| Some(name("t", number(row) / 97 % 130, 3)));
    let holder: ArrayRef = match kind {
        "large" => Arc::new(ids.collect::<LargeStringArray>()),
        "views" | "addresses as views" | "long views" => Arc::new(ids.collect::<StringViewArray>()),
        _ => Arc::new(ids.collect::<StringArray>()),
    };
    let starts = (0..rows).map(|row| number(row) as i64 % 1_000_000_000_000);
    let ends = starts
        .clone()
        .zip(0..)
        .map(|(start, row)| start + (number(row) >> 9) as i64 % (1 << 38));
    // Products of up to 55 bits, some hundreds of which are more than 64, and of more.
    let heavy = if kind == "heavy" { 1 << 30 } else { 1 << 17 };
    let weights = (0..rows).map(|row| number(row) as i64 % heavy);
    let weights: ArrayRef = match kind {
        "fractions" => Arc::new(
            weights
                .map(|weight| Some(format!("{}.5", weight % 1000)))
                .collect::<StringArray>(),
        ),
        _ => Arc::new(weights.collect::<Int64Array>()),
    };
    batch(vec![
        ("holder_id", holder),
        ("token_id", Arc::new(tokens.collect::<StringArray>())),
        (
            "start",
            Arc::new(TimestampMicrosecondArray::from_iter_values(starts)),
        ),
        (
            "end",
            Arc::new(TimestampMicrosecondArray::from_iter_values(ends)),
        ),
        ("weight", weights),
    ])
    .unwrap()
}

/// Sums alone are added up by the text of ids: they are those of codes, in the same order.
#[test]
fn ids_that_are_plain_text_of_any_kind() {
    let stop = Stop::default();
    let texts = table(&many(1000), Weights::Text, false);
    for parts in [
        &[("one length", 1500, 12)][..],
        &[("lengths", 30_000, 9), ("one length", 700, 3)],
        &[("large", 900, 1), ("views", 2000, 9), ("large", 3000, 2)],
        &[
            ("one length", 300, 2),
            ("one is long", 900, 9),
            ("views", 1200, 9),
        ],
        &[("lengths", 200, 9), ("heavy", 900, 9), ("lengths", 1500, 1)],
        &[
            ("lengths", 200, 1),
            ("texts", 0, 1),
            ("one length", 1000, 2),
        ],
        &[("one is long", 900, 6)],
        &[("one length", 1500, 2), ("large", 900, 1)],
        &[("addresses", 1500, 12)],
        &[
            ("addresses", 900, 2),
            ("addresses as views", 3000, 9),
            ("one length", 700, 2),
        ],
        &[("long lengths", 2000, 9), ("long views", 3000, 3)],
        &[
            ("addresses", 300, 2),
            ("one is too long", 900, 9),
            ("addresses", 1200, 9),
        ],
        &[("addresses", 200, 1), ("texts", 0, 1), ("views", 1000, 2)],
        &[("one is too long", 900, 1)],
        // One thread names its ids in the first round, others do not.
        &[("one is too long", 300, 3), ("addresses", 900, 7)],
        &[("one is too long", 300, 3), ("addresses", 900, 16)],
        // A thread whose weights have other digits, or whose ids other kinds, than those of others.
        &[("addresses", 900, 6), ("fractions", 900, 3)],
        &[("one length", 900, 3), ("addresses", 900, 6)],
        // Each thread has ids of its own, and then all have new ones.
        &[
            ("lengths", 300, 3),
            ("one length", 500, 6),
            ("lengths", 5000, 9),
        ],
    ] {
        let few = parts.iter().map(|part| part.2).sum::<usize>() < 9;
        for (by, threads) in [(By::Holder, 3), (By::Holder, 1), (By::Token, 2)] {
            if !few && threads != 3 {
                continue; // one table of many rows is as another
            }
            let mut query = Query::at(1_100_000_000_000);
            (query.by, query.threads) = (by, Some(threads));
            query.columns = Some(vec![ScoreColumn::WeightedScoreExact]);
            let mut holds = Holds::new(9).unwrap();
            let mut fold = Fold::new(query.clone(), 9, Rounding::Refuse).unwrap();
            for &(kind, holders, times) in parts {
                let rows = match kind {
                    "texts" => texts.clone(),
                    _ => plain(120_000, holders, kind),
                };
                for _ in 0..times {
                    holds.append(&rows).unwrap();
                    fold.push(&rows, &stop).unwrap();
                }
            }
            let (all, folded) = (score(&holds, &query).unwrap(), fold.finish(&stop).unwrap());
            assert!(sums(&all) == sums(&folded), "{by:?} {threads} {parts:?}");
        }
    }
}

#[test]
fn faults_of_ids_that_are_plain_text_name_the_row() {
    for kind in ["one length", "addresses"] {
        faults_name_the_row(&plain(120_000, 900, kind));
    }
}

fn faults_name_the_row(good: &RecordBatch) {
    let with = |name: &str, array: ArrayRef| {
        let columns = good.schema();
        let columns = columns
            .fields()
            .iter()
            .map(|field| match field.name() == name {
                true => (field.name().as_str(), Arc::clone(&array)),
                false => (
                    field.name().as_str(),
                    Arc::clone(good.column_by_name(field.name()).unwrap()),
                ),
            });
        batch(columns.collect()).unwrap()
    };
    const ROW: usize = 77_777;
    let texts = |id: Option<&'static str>| -> ArrayRef {
        Arc::new(
            (0..120_000)
                .map(|row| if row == ROW { id } else { Some("h1") })
                .collect::<StringArray>(),
        )
    };
    let ends = (0..120_000).map(|row| if row == ROW { -1 } else { 1_000_000_000_000 });
    let weights = (0..120_000).map(|row| if row == ROW { -1 } else { 1 });
    for (field, array) in [
        (Field::HolderId, texts(Some(""))),
        (Field::HolderId, texts(None)),
        (Field::TokenId, texts(Some(""))),
        (
            Field::End,
            Arc::new(TimestampMicrosecondArray::from_iter_values(ends)) as ArrayRef,
        ),
        (
            Field::Weight,
            Arc::new(Int64Array::from_iter_values(weights)) as ArrayRef,
        ),
    ] {
        for threads in [1, 3] {
            let stop = Stop::default();
            let mut query = Query::at(1_100_000_000_000);
            query.threads = Some(threads);
            query.columns = Some(vec![ScoreColumn::WeightedScoreExact]);
            let mut fold = Fold::new(query, 9, Rounding::Refuse).unwrap();
            fold.push(good, &stop).unwrap();
            let pushed = fold.push(&with(field.name(), Arc::clone(&array)), &stop);
            match pushed.and_then(|()| fold.finish(&stop).map(drop)) {
                Err(HoldError::Row {
                    row, field: found, ..
                }) => {
                    assert_eq!((row, found), (120_000 + ROW as u64, field));
                }
                other => panic!("{field:?} {other:?}"),
            }
        }
    }
}

/// The same rows with ids as the codes of a dictionary, whose entries are in order of the text.
fn coded(batch: &RecordBatch) -> RecordBatch {
    let column = |name: &str| -> ArrayRef {
        let ids = batch.column_by_name(name).unwrap().as_string::<i32>();
        let mut entries: Vec<&str> = ids.iter().flatten().collect();
        entries.sort_unstable();
        entries.dedup();
        let code = |id: &str| entries.binary_search(&id).unwrap() as i32;
        let codes: Int32Array = ids.iter().map(|id| id.map(code)).collect();
        let entries: StringArray = entries.iter().map(|&id| Some(id)).collect();
        Arc::new(DictionaryArray::new(codes, Arc::new(entries)))
    };
    let columns = ["holder_id", "token_id", "start", "end", "weight"].map(|name| match name {
        "holder_id" | "token_id" => (name, column(name)),
        _ => (name, Arc::clone(batch.column_by_name(name).unwrap())),
    });
    self::batch(columns.to_vec()).unwrap()
}

#[test]
fn threads_share_dictionaries() {
    let stop = Stop::default();
    let rows = |holders: u8| -> Vec<Row> {
        let row = |row: Row| Row {
            holder: row.holder.wrapping_mul(3) % holders,
            ..row
        };
        many(120_000).into_iter().map(row).collect()
    };
    let plain = |holders| table(&rows(holders), Weights::Whole, false);
    let [few, more, all, even_more] = [50, 120, 200, 250].map(plain);
    let one_thread = coded(&even_more).slice(0, 1000);
    let batches = [coded(&few), coded(&more), all, coded(&few), one_thread];
    // All of one dictionary, several of them in turn, and dictionaries among plain ids.
    for (by, parts) in [
        (By::Holder, &[(0, 9)][..]),
        (By::Holder, &[(0, 9), (1, 9)]),
        (By::Token, &[(0, 5), (1, 5), (2, 9), (0, 9)]),
        (By::Holder, &[(2, 9), (0, 9), (1, 1)]),
        (By::Holder, &[(0, 9), (3, 9), (0, 1)]),
        (By::Holder, &[(2, 9), (4, 1)]),
        (By::Token, &[(2, 9), (4, 1), (2, 9)]),
    ] {
        let has_few = parts.contains(&(4, 1));
        for threads in if has_few { 1..4 } else { 3..4 } {
            let mut query = Query::at(2_000_000_000_000);
            (query.by, query.threads) = (by, Some(threads));
            let mut sums_alone = query.clone();
            sums_alone.columns = Some(vec![ScoreColumn::WeightedScoreExact]);
            let mut holds = Holds::new(9).unwrap();
            let mut folds = [&query, &sums_alone]
                .map(|query| Fold::new(query.clone(), 9, Rounding::Refuse).unwrap());
            for &(part, times) in parts {
                for _ in 0..times {
                    holds.append(&batches[part]).unwrap();
                    for fold in &mut folds {
                        fold.push(&batches[part], &stop).unwrap();
                    }
                }
            }
            let all = score(&holds, &query).unwrap();
            let [folded, alone] = folds.map(|fold| fold.finish(&stop).unwrap());
            assert!(facts(&all) == facts(&folded), "{by:?} {parts:?}");
            assert!(sums(&all) == sums(&alone), "{by:?} {threads} {parts:?}");
        }
    }
}

#[test]
fn every_digit_of_many_rows() {
    const ROWS: usize = 250_000;
    let rows = 0..ROWS as i64;
    let names: StringArray = rows.clone().map(|n| Some(format!("h{n}"))).collect();
    let starts: ArrayRef = Arc::new(TimestampMicrosecondArray::from_value(0, ROWS));
    // Of one digit, with zeros before and after the point, and of more than 64 bits.
    let ends = TimestampMicrosecondArray::from_iter_values(rows.map(|n| (n << (n % 40)) + n % 3));
    let ends: ArrayRef = Arc::new(ends);
    let weights: ArrayRef = Arc::new(Int64Array::from_value(4_000, ROWS));
    let mut holds = Holds::new(9).unwrap();
    let names: ArrayRef = Arc::new(names);
    let columns = [
        ("holder_id", Arc::clone(&names)),
        ("token_id", names),
        ("start", starts),
        ("end", ends),
        ("weight", weights),
    ];
    holds.append(&batch(columns.to_vec()).unwrap()).unwrap();
    let scores = score(&holds, &Query::at(i64::MAX >> 2)).unwrap();
    let table = scores.to_batch().unwrap();
    let exact = table.column_by_name("weighted_score_exact").unwrap();
    for (row, shown) in exact.as_string::<i32>().iter().enumerate() {
        let n = row as u128;
        let units = ((n << (n % 40)) + n % 3) * 4_000;
        let (whole, rest) = (units / 1_000_000, units % 1_000_000);
        let expected = format!("{whole}.{rest:06}");
        let expected = expected.trim_end_matches('0').trim_end_matches('.');
        assert_eq!(
            (shown, &*scores.weighted_exact(row)),
            (Some(expected), expected)
        );
    }
}

#[test]
fn faults_name_the_row_also_where_batches_wait() {
    let mut rows = many(200_000);
    for row in [123_456, 123_457, 198_765] {
        rows[row].length = Some(-1);
    }
    let (good, bad) = (
        table(&rows[..100_000], Weights::Whole, false),
        table(&rows, Weights::Whole, false),
    );
    // Of one dictionary, and of plain ids.
    let all = coded(&bad);
    for (good, bad) in [(&good, &bad), (&all.slice(0, 100_000), &all)] {
        let stop = Stop::default();
        let mut query = Query::at(2_000_000_000_000);
        query.threads = Some(4);
        let mut fold = Fold::new(query, 9, Rounding::Refuse).unwrap();
        let mut result = fold.push(good, &stop);
        for _ in 0..6 {
            result = result.and_then(|()| fold.push(bad, &stop));
        }
        match result.and_then(|()| fold.finish(&stop).map(drop)) {
            Err(HoldError::Row { row, field, .. }) => {
                assert_eq!((row, field), (223_456, Field::End));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn parquet_by_row_groups_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holds.parquet");
    write_parquet(&path, &table(&many(110_000), Weights::Whole, false), 15_000);
    let stop = Stop::default();
    let mut holds = Holds::new(9).unwrap();
    holds.read_file(&path, &stop).unwrap();
    holds.read_file(&path, &stop).unwrap();
    for (by, overlap) in [
        (By::Holder, Overlap::Sum),
        (By::Token, Overlap::Sum),
        (By::Both, Overlap::Sum),
        (By::Holder, Overlap::Union),
        (By::Both, Overlap::Max),
    ] {
        for threads in [1, 4] {
            let mut query = Query::at(2_000_000_000_000);
            (query.by, query.overlap, query.threads) = (by, overlap, Some(threads));
            let mut fold = Fold::new(query.clone(), 9, Rounding::Refuse).unwrap();
            fold.read_file(&path, &stop).unwrap();
            fold.read_file(&path, &stop).unwrap();
            assert_eq!(fold.rows(), 220_000);
            let (all, folded) = (score(&holds, &query).unwrap(), fold.finish(&stop).unwrap());
            assert!(
                facts(&all) == facts(&folded),
                "{by:?} {overlap:?} {threads}"
            );
        }
    }
}

#[test]
fn faults_name_the_row_also_where_threads_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holds.parquet");
    let mut rows = many(210_000);
    rows[150_001].length = Some(-1);
    let batch = table(&rows, Weights::Whole, false);
    write_parquet(&path, &batch, 30_000);
    for overlap in [Overlap::Sum, Overlap::Union] {
        let mut query = Query::at(2_000_000_000_000);
        (query.overlap, query.threads) = (overlap, Some(4));
        let mut fold = Fold::new(query, 9, Rounding::Refuse).unwrap();
        let read = fold
            .read_file(&path, &Stop::default())
            .and_then(|()| fold.finish(&Stop::default()).map(drop));
        match read.unwrap_err().without_file() {
            HoldError::Row { row, field, fault } => {
                assert_eq!((*row, *field), (150_001, Field::End));
                assert!(matches!(fault, Fault::EndBeforeStart { .. }));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn text_files_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, json) = (folder.path().join("a.csv"), folder.path().join("a.jsonl"));
    let mut lines = String::from("holder_id,token_id,start,end,weight\n");
    let mut objects = String::new();
    for row in 0..10_000 {
        let (holder, token) = (row % 71, row % 5);
        lines += &format!("h{holder},t{token},{row},{},0.{holder}\n", row + 50);
        objects += &format!(
            "{{\"holder_id\": \"h{holder}\", \"token_id\": \"t{token}\", \"start\": {row}, \"end\": {}, \"weight\": 0.{holder}}}\n",
            row + 50
        );
    }
    std::fs::write(&csv, &lines).unwrap();
    std::fs::write(&json, objects).unwrap();
    let stop = Stop::default();
    for overlap in [Overlap::Sum, Overlap::Max] {
        let mut query = Query::at(9_000_000_000);
        query.overlap = overlap;
        let mut holds = Holds::new(9).unwrap();
        holds.read_file(&csv, &stop).unwrap();
        let all = score(&holds, &query).unwrap();
        for path in [&csv, &json] {
            let fold = Fold::new(query.clone(), 9, Rounding::Refuse).unwrap();
            let mut fold = fold.with_memory(100_000);
            fold.read_file(path, &stop).unwrap();
            assert_eq!(facts(&all), facts(&fold.finish(&stop).unwrap()));
        }
    }
    std::fs::write(&csv, lines + "h,t,0,1,-1\n").unwrap();
    let mut query = Query::at(9_000_000_000);
    query.overlap = Overlap::Max;
    let fold = Fold::new(query, 9, Rounding::Refuse).unwrap();
    let mut fold = fold.with_memory(0);
    match fold.read_file(&csv, &stop).unwrap_err().without_file() {
        HoldError::Row { row, field, .. } => {
            assert_eq!((*row, *field), (10_000, Field::Weight));
        }
        other => panic!("{other:?}"),
    }
}

//! Any bytes in a file of events or of transfers: an answer or an error, and never a panic.

use std::io::BufReader;

use poh_holdmetrics::{
    Holds, Lots, OnNegative, Query, Standard, Stop, Transfers, U256, Weight, micros_from_text,
    score,
};
use proptest::prelude::*;

const EVENTS: &str = "holder_id,token_id,start,end,weight\n";
const LOGS: &str =
    "token_address,from_address,to_address,value,block_timestamp,block_number,log_index,token_id\n";

/// Bytes that are often near to what a parser knows.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        EVENTS,
        LOGS,
        "a,t,0,5,1\n",
        "a,t,2024-01-01T00:00:00Z,,1.5\n",
        "t,a,b,5,0,1,0,7\n",
        "\"",
        "\u{feff}",
        "\0",
        ",",
        "\n",
        "{\"holder_id\":\"a\",\"token_id\":\"t\",\"start\":0}\n",
        "{",
        "}",
        "\"start\":",
        "null",
        "1e308",
        "-1",
        "99999999999999999999",
        "\\ud800",
    ]);
    let part = prop_oneof![
        3 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn answer(holds: &Holds) {
    // What was read must be fit to be asked, or say why not.
    let _ = score(holds, &Query::at(1_000_000_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn events(bytes in content(), header in any::<bool>()) {
        let stop = Stop::default();
        let whole = [if header { EVENTS.as_bytes() } else { b"" }, &bytes].concat();
        for json in [false, true] {
            if let Ok(mut holds) = Holds::new(9) {
                let read = if json {
                    holds.read_json_lines(BufReader::new(&whole[..]), &stop)
                } else {
                    holds.read_csv(&whole[..], &stop)
                };
                if let Err(error) = read {
                    prop_assert!(error.to_string().len() < 1_000);
                }
                answer(&holds);
            }
        }
    }

    #[test]
    fn transfers(bytes in content(), header in any::<bool>()) {
        let stop = Stop::default();
        let whole = [if header { LOGS.as_bytes() } else { b"" }, &bytes].concat();
        for standard in [Standard::Erc20, Standard::Erc721, Standard::Erc1155] {
            for json in [false, true] {
                let mut logs = Transfers::new(standard);
                let read = if json {
                    logs.read_json_lines(BufReader::new(&whole[..]), &stop)
                } else {
                    logs.read_csv(&whole[..], &stop)
                };
                if let Err(error) = read {
                    prop_assert!(error.to_string().len() < 1_000);
                }
                for lots in [Lots::Balance, Lots::Fifo, Lots::Lifo] {
                    if let Ok(ledger) = logs.to_holds(lots, OnNegative::Clip, 0, &stop) {
                        answer(&ledger.holds);
                    }
                }
            }
        }
    }

    #[test]
    fn instants_and_weights(text in ".{0,24}", number in "-?[0-9.eE+-]{0,40}") {
        for text in [text, number] {
            let _ = micros_from_text(&text);
            if let Ok(weight) = text.parse::<Weight>() {
                // What is read is what is written.
                prop_assert_eq!(weight.to_string().parse::<Weight>(), Ok(weight));
            }
        }
    }

    #[test]
    fn numbers_of_any_size(bytes in any::<[u8; 32]>()) {
        let number = U256::from_be_bytes(bytes);
        prop_assert_eq!(number.to_string().parse::<Weight>(), Ok(Weight::from_be_bytes(bytes)));
    }
}

//! Holds from token transfer logs.

use std::path::PathBuf;

use poh_holdmetrics::{
    Fault, Field, HoldError, Lots, OnNegative, Standard, TRANSFER_COLUMNS, Transfer, Transfers,
    U256, excerpt, missing_transfer_column,
};
use pyo3::prelude::*;
use pyo3::types::PyMapping;
use pyo3_arrow::input::AnyRecordBatch;

use crate::arguments::Data;
use crate::errors::{Place, to_py};
use crate::holds::Holds;
use crate::input::{between_rows, carried, rows, some_paths};
use crate::interrupt::{detached, watched};
use crate::options::{self, LotsWord, OnNegativeWord, StandardWord};
use crate::values::{Clock, id, weight};

/// The columns of logs that may have ints of more than 64 bits.
const AMOUNTS: [&str; 2] = ["value", "token_id"];

/// Token transfer logs as holds.
///
/// Logs may come in any order; they count in order of (block_number, log_index). A log that is given
/// twice, as by exports that overlap, counts once (`Holds.repeated`); with "erc1155", where one log
/// has a row for each id, give each once. Mints come from the zero address and burns go to it; a
/// self-transfer changes nothing. Hexadecimal addresses count in lower case.
///
/// Parameters
/// ----------
/// data
///     Logs as an iterable of dicts, a dict of columns or a table with the Arrow PyCapsule
///     interface, with the columns of ethereum-etl's token_transfers: token_address, from_address,
///     to_address, value, block_timestamp, block_number, log_index; and token_id for ERC-1155.
/// standard
///     "erc20" (value is an amount), "erc721" (value, or token_id, is the id of the thing) or
///     "erc1155" (value is an amount of token_id). With ids the token of a hold is "address/id".
/// lots
///     "balance": one hold for each stretch of time with one balance. "fifo" and "lifo": one hold
///     for each lot received, the oldest or the newest leaving first, for boosts by age.
/// on_negative
///     What to do when a holder sends more than it has: "error" names the log, "clip" leaves the
///     sender with nothing, gives the receiver all of it, and counts (`Holds.clipped`).
/// decimals
///     Weights are amounts of 10**-decimals, 0 to 18.
///
/// Returns
/// -------
/// Holds
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import from_transfers
/// >>> zero = "0x" + "0" * 40
/// >>> log = {"token_address": "0xt", "block_number": 1, "log_index": 0, "block_timestamp": 0}
/// >>> holds = from_transfers([
/// ...     log | {"from_address": zero, "to_address": "0xa", "value": 10},
/// ...     log | {"from_address": "0xa", "to_address": "0xb", "value": 4, "block_number": 2,
/// ...            "block_timestamp": 100},
/// ... ])
/// >>> [(row["holder_id"], row["weighted_score_exact"])
/// ...  for row in holds.score(at=200).to_pylist()]
/// [('0xa', '1600'), ('0xb', '400')]
#[pyfunction]
#[pyo3(signature = (
    data, *, standard=StandardWord(Standard::Erc20), lots=LotsWord(Lots::Balance),
    on_negative=OnNegativeWord(OnNegative::Refuse), decimals=0
))]
pub(crate) fn from_transfers(
    data: Data<'_>,
    standard: StandardWord,
    lots: LotsWord,
    on_negative: OnNegativeWord,
    decimals: i64,
) -> PyResult<Holds> {
    let data = &data.0;
    let py = data.py();
    let digits = options::digits(py, "decimals", decimals)?;
    let mut transfers = Transfers::new(standard.0);
    if data.hasattr("__arrow_c_stream__")? || data.hasattr("__arrow_c_array__")? {
        for batch in carried(data, &AMOUNTS, &[], 0)?
            .extract::<AnyRecordBatch>()?
            .into_reader()?
        {
            let batch = batch.map_err(|error| to_py(py, HoldError::Argument(error.to_string())))?;
            py.detach(|| transfers.append(&batch))
                .map_err(|error| to_py(py, error))?;
        }
    } else if let Ok(columns) = data.cast::<PyMapping>() {
        push_columns(&mut transfers, columns)?;
    } else {
        for row in rows(data, "transfer logs", "read_transfers", "dicts")? {
            let row = row?;
            let Ok(row) = row.cast::<PyMapping>() else {
                let what = format!("is a {}; give a dict", row.get_type().name()?);
                let row = transfers.len() as u64;
                return Err(to_py(py, HoldError::Transfer { row, what }));
            };
            push(&mut transfers, |name| Ok(row.get_item(name).ok()))?;
            between_rows(py, transfers.len())?;
        }
    }
    let ledger = detached(py, transfers.len(), |stop| {
        transfers.to_holds(lots.0, on_negative.0, digits, stop)
    })?;
    Ok(Holds::of_transfers(ledger))
}

/// The token transfer logs of files as holds: CSV with a header, JSON lines (.jsonl, .ndjson) or
/// Parquet.
///
/// Parameters
/// ----------
/// paths
///     One path or several; logs may be in any file and in any order. The columns or keys are those
///     of `from_transfers`; others are not read. Numbers of JSON are read digit by digit.
/// standard, lots, on_negative, decimals
///     As for `from_transfers`.
/// progress
///     Called with the number of bytes read so far, every so often.
///
/// Raises
/// ------
/// HoldMetricsError
///     With the file, and the log (from 0, in that file) or the line that is not valid.
#[pyfunction]
#[pyo3(signature = (
    *paths: "object", standard: "Standard"=StandardWord(Standard::Erc20),
    lots: "Lots"=LotsWord(Lots::Balance),
    on_negative: "OnNegative"=OnNegativeWord(OnNegative::Refuse), decimals: "int"=0,
    progress: "object"=None
))]
pub(crate) fn read_transfers(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    standard: StandardWord,
    lots: LotsWord,
    on_negative: OnNegativeWord,
    decimals: i64,
    progress: Option<Bound<'_, PyAny>>,
) -> PyResult<Holds> {
    let digits = options::digits(py, "decimals", decimals)?;
    some_paths(py, &paths)?;
    let ledger = watched(py, progress.as_ref(), |stop| {
        let mut transfers = Transfers::new(standard.0);
        paths
            .iter()
            .try_for_each(|path| transfers.read_file(path, stop))?;
        transfers.to_holds(lots.0, on_negative.0, digits, stop)
    })?;
    Ok(Holds::of_transfers(ledger))
}

fn push_columns(transfers: &mut Transfers, columns: &Bound<'_, PyMapping>) -> PyResult<()> {
    let mut iterators = Vec::new();
    for name in TRANSFER_COLUMNS {
        match columns.get_item(name) {
            Ok(values) => iterators.push((name, values.try_iter()?)),
            Err(_) if name == "token_id" => {}
            Err(_) => {
                return Err(to_py(columns.py(), missing_transfer_column(name)));
            }
        }
    }
    loop {
        let mut row = Vec::new();
        for (name, values) in &mut iterators {
            if let Some(value) = values.next() {
                row.push((*name, value?));
            }
        }
        if row.is_empty() {
            return Ok(());
        }
        if row.len() < iterators.len() {
            let error = HoldError::Argument("columns of transfers are of different lengths".into());
            return Err(to_py(columns.py(), error));
        }
        let value = |wanted: &str| {
            Ok(row
                .iter()
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value.clone()))
        };
        push(transfers, value)?;
        between_rows(columns.py(), transfers.len())?;
    }
}

fn push<'py>(
    transfers: &mut Transfers,
    value: impl Fn(&str) -> PyResult<Option<Bound<'py, PyAny>>>,
) -> PyResult<()> {
    let row = transfers.len();
    let found = |name: &str| -> PyResult<Bound<'py, PyAny>> {
        value(name)?
            .filter(|value| !value.is_none())
            .ok_or_else(|| wrong(row, name, &Fault::Missing.of_a_log()))
    };
    let place = Place::of(row, Field::Weight);
    let number = |name: &str| -> PyResult<U256> {
        let given = found(name)?;
        let number = weight(&given, place).map_err(|_| {
            wrong(
                row,
                name,
                &format!("is {}, not a whole number of up to 256 bits", shown(&given)),
            )
        })?;
        number
            .units_at(0, poh_holdmetrics::Rounding::Refuse)
            .map_err(|fault| wrong(row, name, &fault.of_a_log()))
    };
    let place_in_chain = |name: &str| -> PyResult<u64> {
        let number = number(name)?;
        u64::try_from(number)
            .map_err(|_| wrong(row, name, &Fault::NoPlace(number.to_string()).to_string()))
    };
    let address = |name: &str| -> PyResult<String> {
        let given = found(name)?;
        let text = id(&given, place).map_err(|_| wrong(row, name, "is not text"))?;
        Ok(text.as_ref().to_owned())
    };
    let at = found("block_timestamp")?;
    let clock = Clock::new(
        Some(&pyo3::types::PyString::new(at.py(), "UTC").into_any()),
        false,
    )?;
    let micros = clock
        .micros_or_text(&at, Place::of(row, Field::Start))
        .map_err(|_| {
            wrong(
                row,
                "block_timestamp",
                &format!("is {}, not an instant", shown(&at)),
            )
        })?;
    let (token, from, to) = (
        address("token_address")?,
        address("from_address")?,
        address("to_address")?,
    );
    let token_id = match value("token_id")?.filter(|id| !id.is_none()) {
        Some(_) => Some(number("token_id")?),
        None => None,
    };
    let transfer = Transfer {
        token_address: &token,
        from_address: &from,
        to_address: &to,
        value: number("value")?,
        token_id,
        at: micros,
        block_number: place_in_chain("block_number")?,
        log_index: place_in_chain("log_index")?,
    };
    transfers
        .push(&transfer)
        .map_err(|error| to_py(at.py(), error))
}

/// Enough of a value to find it again.
fn shown(value: &Bound<'_, PyAny>) -> String {
    excerpt(&value.to_string())
}

fn wrong(row: usize, name: &str, what: &str) -> PyErr {
    let error = HoldError::Transfer {
        row: row as u64,
        what: format!("{name} {what}"),
    };
    Python::attach(|py| to_py(py, error))
}

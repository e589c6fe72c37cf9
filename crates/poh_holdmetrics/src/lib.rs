//! Exact hold-time scores: how much was held, by whom, for how long.
//!
//! A [`HoldEvent`] says that a holder held a token over the half-open interval `[start, end)` with
//! a weight. [`Holds`] keeps many of them as columns, and [`score`] adds them up. Times are `i64`
//! microseconds since 1970-01-01 UTC and weights are decimals of a fixed scale, so every sum is an
//! integer: the same bits whatever the order of the rows, the number of threads or the platform.
//!
//! ```
//! use poh_holdmetrics::{HoldEvent, Holds, Query, score};
//!
//! let mut holds = Holds::new(9)?;
//! holds.push(&HoldEvent::new("punk-7", "alice", 0, Some(10_000_000), "2.5".parse()?)?)?;
//! let scores = score(&holds, &Query::at(60_000_000))?;
//! assert_eq!(scores.holder_id(0), Some("alice"));
//! assert_eq!(scores.total_micros(0), 10_000_000);
//! assert_eq!(scores.weighted_exact(0), "25");
//! # Ok::<(), poh_holdmetrics::HoldError>(())
//! ```

mod arrow;
mod block;
mod boost;
mod column;
mod epoch_fold;
mod epoch_sums;
mod epochs;
mod error;
mod event;
mod exact;
mod files;
mod fold;
mod groups;
mod holds;
mod id_sums;
mod ids;
mod large_pages;
mod long_sums;
pub mod merkle;
mod overlap;
mod parquet_file;
mod partial;
mod plain;
mod plain_sums;
mod prefetch;
mod query;
mod runs;
mod score;
mod scores;
mod share;
mod short_sums;
mod spill;
mod tally;
mod text_file;
mod threads;
mod time;
mod tracker;
mod transfer_files;
mod transfers;
mod weight;

pub use arrow::{batch, runs_to_batch};
pub use boost::{Boost, BoostParts};

pub use epoch_fold::EpochFold;
pub use epoch_sums::score_epochs;
pub use epochs::{Every, epoch_boundaries};
pub use error::{Fault, Field, HoldError};
pub use event::{HoldEvent, HoldStat};
pub use exact::{Amount, Total, U512};
pub use files::{Format, write_parquet};
pub use fold::Fold;
pub use holds::Holds;
pub use ids::Ids;
pub use large_pages::LargePages;
pub use parquet_file::decodes_parquet;
pub use partial::{finish, merge, partial, state_schema};
pub use query::{By, Overlap, Query, ScoreColumn, Stop};
pub use ruint::aliases::U256;
pub use runs::{Run, holders_over_time, longest_holds};
pub use score::{score, score_until, total};
pub use scores::Scores;
pub use share::share;
pub use time::{
    MAX_MICROS, MIN_MICROS, Naive, OPEN, TimeUnit, micros_from_seconds, micros_from_text,
    micros_from_text_in, micros_from_unit,
};
pub use tracker::{Tracked, Tracker};
pub use transfers::{
    COLUMNS as TRANSFER_COLUMNS, Ledger, Lots, OnNegative, Standard, Transfer, Transfers,
    missing_column as missing_transfer_column,
};
pub use weight::{MAX_SCALE, Rounding, Weight, excerpt};

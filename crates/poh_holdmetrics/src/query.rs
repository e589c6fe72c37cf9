//! What can be asked of a table of holds.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::boost::Boost;
use crate::error::HoldError;
use crate::time::{MIN_MICROS, Shown, in_range};

/// What one row of the answer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// A holder.
    #[default]
    Holder,
    /// A token.
    Token,
    /// A holder and a token.
    Both,
}

/// What holds of one holder and one token that overlap count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// Lots add up.
    #[default]
    Sum,
    /// An instant counts once, with weight 1.
    Union,
    /// An instant counts once, with the heaviest weight of that instant.
    Max,
}

/// A column of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreColumn {
    /// The holder; not where rows are tokens.
    HolderId,
    /// The token; not where rows are holders.
    TokenId,
    /// Time held, in seconds.
    TotalSeconds,
    /// Seconds times weight, as the nearest float.
    WeightedScore,
    /// Seconds times weight, every digit.
    WeightedScoreExact,
    /// The last start or end at or before the instant of the answer.
    UpdatedAt,
}

impl ScoreColumn {
    /// All of them, in the order of an answer.
    pub const ALL: [ScoreColumn; 6] = [
        ScoreColumn::HolderId,
        ScoreColumn::TokenId,
        ScoreColumn::TotalSeconds,
        ScoreColumn::WeightedScore,
        ScoreColumn::WeightedScoreExact,
        ScoreColumn::UpdatedAt,
    ];

    /// The column's name.
    pub const fn name(self) -> &'static str {
        match self {
            ScoreColumn::HolderId => "holder_id",
            ScoreColumn::TokenId => "token_id",
            ScoreColumn::TotalSeconds => "total_seconds",
            ScoreColumn::WeightedScore => "weighted_score",
            ScoreColumn::WeightedScoreExact => "weighted_score_exact",
            ScoreColumn::UpdatedAt => "updated_at",
        }
    }

    /// Whether an answer has it whose rows are of holders, or of tokens, or of both.
    pub(crate) fn is_of(self, holders: bool, tokens: bool) -> bool {
        match self {
            ScoreColumn::HolderId => holders,
            ScoreColumn::TokenId => tokens,
            _ => true,
        }
    }

    /// Whether it needs more of each row than what it adds to the weighted sum.
    fn is_of_time(self) -> bool {
        matches!(self, ScoreColumn::TotalSeconds | ScoreColumn::UpdatedAt)
    }
}

/// A question to a table of holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// One row a holder, a token or a pair of them.
    pub by: By,
    /// How overlaps count.
    pub overlap: Overlap,
    /// The instant of the answer: all later time is cut off.
    pub at: i64,
    /// The window's start: all earlier time is cut off.
    pub start: Option<i64>,
    /// The window's end, where that is before `at`.
    pub end: Option<i64>,
    /// What a hold's age does to its weight.
    pub boost: Option<Boost>,
    /// The columns that are wanted, in their order; `None` for all. Without those of time there is
    /// less to do for each hold.
    pub columns: Option<Vec<ScoreColumn>>,
    /// Threads; `None` for one a processor.
    pub threads: Option<usize>,
}

impl Query {
    /// The default question as of one instant: by holder, lots add up, all time before `at`.
    pub fn at(at: i64) -> Self {
        Query {
            by: By::default(),
            overlap: Overlap::default(),
            at,
            start: None,
            end: None,
            boost: None,
            columns: None,
            threads: None,
        }
    }

    /// Finds what is wrong with the columns that are asked for.
    pub(crate) fn check_columns(&self) -> Result<(), HoldError> {
        let has = |column: &ScoreColumn| column.is_of(self.by != By::Token, self.by != By::Holder);
        let Some(wanted) = &self.columns else {
            return Ok(());
        };
        let all = ScoreColumn::ALL.iter().filter(|column| has(column));
        let all: Vec<&str> = all.map(|column| column.name()).collect();
        let wrong = |what: String| {
            let known = all.join(", ");
            Err(HoldError::Argument(format!(
                "{what}; columns are some of {known}"
            )))
        };
        if wanted.is_empty() {
            return wrong("no column is asked for".to_owned());
        }
        for (place, column) in wanted.iter().enumerate() {
            let name = column.name();
            if !has(column) {
                return wrong(format!("rows of this answer have no {name}"));
            }
            if wanted[..place].contains(column) {
                return wrong(format!("{name} is asked for twice"));
            }
        }
        Ok(())
    }

    /// Whether a column of time is wanted.
    pub(crate) fn has_times(&self) -> bool {
        let is_of_time = |columns: &Vec<ScoreColumn>| columns.iter().any(|c| c.is_of_time());
        self.columns.as_ref().is_none_or(is_of_time)
    }

    /// Whether rows must meet those of the same holder and token.
    pub(crate) fn is_grouped(&self) -> bool {
        self.overlap != Overlap::Sum || self.by == By::Both
    }

    pub(crate) fn window(&self) -> Result<Window, HoldError> {
        for instant in [Some(self.at), self.start, self.end].into_iter().flatten() {
            in_range(instant)
                .map_err(|fault| HoldError::Argument(format!("an instant {fault}")))?;
        }
        if let (Some(start), Some(end)) = (self.start, self.end)
            && end < start
        {
            return Err(HoldError::Argument(format!(
                "the window ends at {}, before it starts at {}",
                Shown(end),
                Shown(start)
            )));
        }
        Ok(Window {
            from: self.start.unwrap_or(MIN_MICROS),
            to: self.end.map_or(self.at, |end| end.min(self.at)),
        })
    }
}

/// The half-open stretch of time that counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// A row that was seen and has no boundary at or before the window's end.
pub(crate) const NEVER: i64 = i64::MIN + 1;
/// A slot that no row has used.
pub(crate) const ABSENT: i64 = i64::MIN;

impl Window {
    #[inline]
    pub(crate) fn clip(self, start: i64, end: i64) -> (i64, i64) {
        (start.max(self.from), end.min(self.to))
    }

    /// The last of the two boundaries at or before the window's end, or [`NEVER`].
    #[inline]
    pub(crate) fn last_boundary(self, start: i64, end: i64) -> i64 {
        let started = if start <= self.to { start } else { NEVER };
        if end <= self.to { end } else { started }
    }
}

/// What another thread may ask of long work, and may know of it: that it ends early, and how many
/// bytes of files it has read.
#[derive(Debug, Default)]
pub struct Stop {
    asked: AtomicBool,
    bytes: AtomicU64,
}

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Bytes of files that have been read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), HoldError> {
        if self.asked.load(Ordering::Relaxed) {
            Err(HoldError::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// A file that counts what is read of it.
pub(crate) struct Counted<'a> {
    pub(crate) file: File,
    pub(crate) stop: &'a Stop,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.stop.advance(bytes as u64);
        Ok(bytes)
    }
}

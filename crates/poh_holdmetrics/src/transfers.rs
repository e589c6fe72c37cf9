//! Token transfer logs (ERC-20, ERC-721, ERC-1155) as holds.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;

use hashbrown::HashMap;
use ruint::aliases::U256;

use crate::error::HoldError;
use crate::holds::Holds;
use crate::ids::Ids;
use crate::query::Stop;
use crate::time::{OPEN, in_range};
use crate::weight::{Weight, excerpt};

/// The address that tokens are minted from and burned to.
const ZERO_ADDRESS: &str = "0x0000000000000000000000000000000000000000";

/// The columns of transfer logs, named as ethereum-etl names them; all but the last must be there.
pub const COLUMNS: [&str; 8] = [
    "token_address",
    "from_address",
    "to_address",
    "value",
    "block_timestamp",
    "block_number",
    "log_index",
    "token_id",
];

/// That a column of transfers is not there, and what to do.
pub fn missing_column(name: &str) -> HoldError {
    let mend = match name {
        "block_timestamp" => "; join it from ethereum-etl's blocks, by block_number",
        _ => "; they are those of ethereum-etl's token_transfers",
    };
    HoldError::Argument(format!("there is no column \"{name}\" of transfers{mend}"))
}

/// What a log's value and token id mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standard {
    /// An amount of one token.
    #[default]
    Erc20,
    /// The value is the id of the one thing that moves; each thing is a token of its own.
    Erc721,
    /// An amount of the token with an id; each id is a token of its own.
    Erc1155,
}

/// Which holds a balance is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lots {
    /// One hold for each stretch of time with one balance.
    #[default]
    Balance,
    /// One hold for each lot received; the oldest leaves first.
    Fifo,
    /// One hold for each lot received; the newest leaves first.
    Lifo,
}

/// What to do when a holder sends more than it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnNegative {
    /// An error that names the log.
    #[default]
    Refuse,
    /// The sender is left with nothing and the receiver gets it all; such logs are counted.
    Clip,
}

/// One log of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer<'a> {
    /// The contract.
    pub token_address: &'a str,
    /// The sender; the zero address mints.
    pub from_address: &'a str,
    /// The receiver; the zero address burns.
    pub to_address: &'a str,
    /// The amount, or with [`Standard::Erc721`] the id.
    pub value: U256,
    /// The id of [`Standard::Erc1155`].
    pub token_id: Option<U256>,
    /// The block's time in microseconds since 1970 UTC.
    pub at: i64,
    /// The block's number.
    pub block_number: u64,
    /// The log's place in the block.
    pub log_index: u64,
}

/// Transfer logs in any order.
#[derive(Debug, Default)]
pub struct Transfers {
    standard: Standard,
    addresses: Ids,
    tokens: Ids,
    logs: Vec<Log>,
    /// Which logs are of which file.
    pub(crate) files: Vec<(Range<usize>, PathBuf)>,
}

#[derive(Debug)]
struct Log {
    block: u64,
    index: u64,
    row: usize,
    at: i64,
    token: u32,
    /// `None` is the zero address.
    from: Option<u32>,
    to: Option<u32>,
    value: U256,
}

impl Transfers {
    /// No logs yet, of one standard.
    pub fn new(standard: Standard) -> Self {
        Transfers {
            standard,
            ..Transfers::default()
        }
    }

    /// The number of logs.
    pub fn len(&self) -> usize {
        self.logs.len()
    }

    /// Whether there is no log.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Adds a log. Addresses in hexadecimal count in lower case, whatever their checksum says.
    ///
    /// # Errors
    /// [`HoldError::Transfer`] for an empty address, a time out of range, or an ERC-1155 log
    /// without its id.
    pub fn push(&mut self, transfer: &Transfer<'_>) -> Result<(), HoldError> {
        let row = self.logs.len();
        let wrong = |what: String| HoldError::Transfer {
            row: row as u64,
            what,
        };
        let at =
            in_range(transfer.at).map_err(|fault| wrong(format!("block_timestamp {fault}")))?;
        for (name, address) in [
            ("token_address", transfer.token_address),
            ("from_address", transfer.from_address),
            ("to_address", transfer.to_address),
        ] {
            if address.is_empty() {
                return Err(wrong(format!("{name} is empty")));
            }
        }
        let contract = normal(transfer.token_address);
        let (token, value) = match (self.standard, transfer.token_id) {
            (Standard::Erc20, _) => (contract, transfer.value),
            (Standard::Erc721, id) => (
                format!("{contract}/{}", id.unwrap_or(transfer.value)),
                U256::from(1u64),
            ),
            (Standard::Erc1155, Some(id)) => (format!("{contract}/{id}"), transfer.value),
            (Standard::Erc1155, None) => {
                return Err(wrong(
                    "token_id is missing; ERC-1155 logs name one".to_owned(),
                ));
            }
        };
        let token = self.tokens.intern(&token);
        let (from, to) = (normal(transfer.from_address), normal(transfer.to_address));
        let mut code =
            |address: String| (address != ZERO_ADDRESS).then(|| self.addresses.intern(&address));
        self.logs.push(Log {
            block: transfer.block_number,
            index: transfer.log_index,
            row,
            at,
            token,
            from: code(from),
            to: code(to),
            value,
        });
        Ok(())
    }

    /// The holds that the logs make, in order of time, then of (block, log index). Amounts are
    /// integers of `10^-decimals`. A self-transfer changes nothing; what comes and goes at one
    /// instant leaves no hold.
    ///
    /// # Errors
    /// [`HoldError::Transfer`] when a balance would go below zero, or past 256 bits, when time goes
    /// backwards from one block to a later one, or when two different logs have one place in a
    /// block; [`HoldError::Argument`] for more than 18 decimals; [`HoldError::Interrupted`] when
    /// `stop` was asked for.
    pub fn to_holds(
        &self,
        lots: Lots,
        on_negative: OnNegative,
        decimals: u8,
        stop: &Stop,
    ) -> Result<Ledger, HoldError> {
        /// Logs between two looks at whether to stop.
        const AT_ONCE: usize = 1024;
        let order = self.in_order()?;
        let mut books = Books {
            transfers: self,
            lots,
            decimals,
            accounts: HashMap::new(),
            changed: Vec::new(),
            holds: Holds::new(decimals)?,
        };
        let mut clipped = 0;
        let mut last: Option<&Log> = None;
        for (number, &log) in order.iter().enumerate() {
            if number.is_multiple_of(AT_ONCE) {
                stop.check()?;
            }
            if let Some(last) = last.replace(log) {
                if log.at < last.at {
                    let what = format!(
                        "its time is before that of block {}, which comes earlier",
                        last.block
                    );
                    return Err(self.wrong(log, what));
                }
                if log.at > last.at {
                    books.settle(last.at)?;
                }
            }
            let mut moved = log.value;
            if let Some(from) = log.from {
                let balance = books.balance(from, log);
                if balance < moved {
                    if on_negative == OnNegative::Refuse {
                        let what = format!(
                            "{} sends {moved} of {} and has {balance}; the log of an earlier \
                             transfer is missing, or say on_negative=\"clip\"",
                            excerpt(self.addresses.get(from)),
                            excerpt(self.tokens.get(log.token)),
                        );
                        return Err(self.wrong(log, what));
                    }
                    clipped += 1;
                    moved = balance;
                }
                if log.from == log.to {
                    continue;
                }
                books.take(from, log, moved)?;
            }
            if let Some(to) = log.to {
                books.give(to, log)?;
            }
        }
        if let Some(last) = last {
            books.settle(last.at)?;
        }
        Ok(Ledger {
            holds: books.close()?,
            clipped,
            repeated: (self.logs.len() - order.len()) as u64,
        })
    }

    /// The logs in order of (block, log index), each once: exports that overlap give a log twice.
    /// An ERC-1155 batch is one log with a row for each id, so there a row is never a repetition.
    fn in_order(&self) -> Result<Vec<&Log>, HoldError> {
        let mut order: Vec<&Log> = self.logs.iter().collect();
        order.sort_by_key(|log| (log.block, log.index, log.row));
        if self.standard == Standard::Erc1155 {
            return Ok(order);
        }
        let mut other = None;
        order.dedup_by(|log, kept| {
            let same_place = (log.block, log.index) == (kept.block, kept.index);
            let same = same_place && log.values() == kept.values();
            if same_place && !same {
                other.get_or_insert(*log);
            }
            same
        });
        match other {
            None => Ok(order),
            Some(log) => Err(self.wrong(
                log,
                "another log with other values has its place; log_index is that of the log in its \
                 block, of one chain"
                    .to_owned(),
            )),
        }
    }

    /// What is wrong with a log, with its place in the chain and the file that it is of.
    fn wrong(&self, log: &Log, what: String) -> HoldError {
        self.in_its_file(HoldError::Transfer {
            row: log.row as u64,
            what: format!("{what} (block {}, log {})", log.block, log.index),
        })
    }

    /// The error of a log, with the file that it is of.
    fn in_its_file(&self, error: HoldError) -> HoldError {
        let HoldError::Transfer { row, .. } = &error else {
            return error;
        };
        let of = |(rows, _): &&(Range<usize>, PathBuf)| rows.contains(&(*row as usize));
        match self.files.iter().find(of) {
            Some((rows, path)) => error.in_file(path, rows.start as u64),
            None => error,
        }
    }
}

impl Log {
    /// All that a log says beside its place.
    fn values(&self) -> (i64, u32, Option<u32>, Option<u32>, U256) {
        (self.at, self.token, self.from, self.to, self.value)
    }
}

/// What transfer logs come to.
#[derive(Debug)]
pub struct Ledger {
    /// The holds.
    pub holds: Holds,
    /// How many logs moved more than there was, with [`OnNegative::Clip`].
    pub clipped: u64,
    /// How many rows gave a log once more. They count once.
    pub repeated: u64,
}

/// All accounts, while the logs go by.
struct Books<'a> {
    transfers: &'a Transfers,
    lots: Lots,
    decimals: u8,
    /// By holder and token.
    accounts: HashMap<(u32, u32), Account>,
    /// With [`Lots::Balance`] the accounts with logs at this instant.
    changed: Vec<(u32, u32)>,
    holds: Holds,
}

impl Books<'_> {
    fn balance(&self, holder: u32, log: &Log) -> U256 {
        let account = self.accounts.get(&(holder, log.token));
        account.map_or(U256::ZERO, |account| account.balance)
    }

    /// Puts what a log moves into an account.
    fn give(&mut self, holder: u32, log: &Log) -> Result<(), HoldError> {
        let account = self.accounts.entry((holder, log.token)).or_default();
        let Some(balance) = account.balance.checked_add(log.value) else {
            let what = "a balance goes past 256 bits".to_owned();
            return Err(self.transfers.wrong(log, what));
        };
        account.balance = balance;
        if self.lots == Lots::Balance {
            self.changed.push((holder, log.token));
        } else if log.value > U256::ZERO {
            account.lots.push_back(Lot {
                since: log.at,
                units: log.value,
            });
        }
        Ok(())
    }

    /// Takes an amount out of an account, which has that much.
    fn take(&mut self, holder: u32, log: &Log, mut amount: U256) -> Result<(), HoldError> {
        let key = (holder, log.token);
        let account = self.accounts.entry(key).or_default();
        account.balance -= amount;
        if self.lots == Lots::Balance {
            self.changed.push(key);
            return Ok(());
        }
        let mut ended = Vec::new();
        while amount > U256::ZERO {
            let next = match self.lots {
                Lots::Fifo => account.lots.front_mut(),
                _ => account.lots.back_mut(),
            };
            let Some(lot) = next else { break };
            let units = amount.min(lot.units);
            ended.push(Lot { units, ..*lot });
            amount -= units;
            lot.units -= units;
            if lot.units == U256::ZERO {
                match self.lots {
                    Lots::Fifo => account.lots.pop_front(),
                    _ => account.lots.pop_back(),
                };
            }
        }
        ended
            .into_iter()
            .try_for_each(|lot| self.hold(key, lot, log.at))
    }

    /// Ends the holds of all balances that are others after an instant than before it.
    fn settle(&mut self, at: i64) -> Result<(), HoldError> {
        for key in std::mem::take(&mut self.changed) {
            let account = self.accounts.entry(key).or_default();
            let units = account.balance;
            let before = account.lots.pop_back();
            if let Some(before) = before.filter(|before| before.units == units) {
                account.lots.push_back(before);
                continue;
            }
            if units > U256::ZERO {
                account.lots.push_back(Lot { since: at, units });
            }
            if let Some(before) = before {
                self.hold(key, before, at)?;
            }
        }
        Ok(())
    }

    /// What is left is open, in the order of the accounts' codes.
    fn close(mut self) -> Result<Holds, HoldError> {
        let accounts = std::mem::take(&mut self.accounts);
        let mut left: Vec<((u32, u32), Lot)> = accounts
            .into_iter()
            .flat_map(|(key, account)| account.lots.into_iter().map(move |lot| (key, lot)))
            .collect();
        left.sort_by_key(|(key, lot)| (*key, lot.since));
        for (key, lot) in left {
            self.hold(key, lot, OPEN)?;
        }
        Ok(self.holds)
    }

    /// A lot as a hold, unless it came and went at one instant.
    fn hold(&mut self, (holder, token): (u32, u32), lot: Lot, end: i64) -> Result<(), HoldError> {
        if lot.since == end {
            return Ok(());
        }
        let weight = Weight::new(lot.units, u32::from(self.decimals));
        let (addresses, tokens) = (&self.transfers.addresses, &self.transfers.tokens);
        let (holder, token) = (addresses.get(holder), tokens.get(token));
        self.holds.push_row(holder, token, lot.since, end, &weight)
    }
}

/// What one holder has of one token.
#[derive(Debug, Default)]
struct Account {
    /// In order of arrival; with [`Lots::Balance`] at most one: the balance before this instant,
    /// since when it is the same.
    lots: VecDeque<Lot>,
    balance: U256,
}

/// Some units, held since an instant.
#[derive(Debug, Clone, Copy)]
struct Lot {
    since: i64,
    units: U256,
}

fn normal(address: &str) -> String {
    match address
        .strip_prefix("0x")
        .or_else(|| address.strip_prefix("0X"))
    {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("0x{}", digits.to_ascii_lowercase())
        }
        _ => address.to_owned(),
    }
}

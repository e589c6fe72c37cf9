//! Token transfer logs (ERC-20, ERC-721, ERC-1155) as holds.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;

use hashbrown::HashMap;
use ruint::aliases::U256;

use crate::error::HoldError;
use crate::holds::Holds;
use crate::ids::Ids;
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

    /// The holds that the logs make, in order of (block, log index), and how many logs were
    /// clipped. Amounts are integers of `10^-decimals`. A self-transfer changes nothing; what comes
    /// and goes at one instant leaves no hold.
    ///
    /// # Errors
    /// [`HoldError::Transfer`] when a balance would go below zero, or past 256 bits, or when time
    /// goes backwards from one block to a later one; [`HoldError::Argument`] for more than 18
    /// decimals.
    pub fn to_holds(
        &self,
        lots: Lots,
        on_negative: OnNegative,
        decimals: u8,
    ) -> Result<(Holds, u64), HoldError> {
        let mut holds = Holds::new(decimals)?;
        let mut order: Vec<&Log> = self.logs.iter().collect();
        order.sort_by_key(|log| (log.block, log.index, log.row));
        let mut accounts: HashMap<(u32, u32), Account> = HashMap::new();
        let mut clipped = 0;
        let mut last: Option<&Log> = None;
        for log in order {
            let wrong = |what: String| {
                self.in_its_file(HoldError::Transfer {
                    row: log.row as u64,
                    what: format!("{what} (block {}, log {})", log.block, log.index),
                })
            };
            if let Some(last) = last.replace(log)
                && log.at < last.at
            {
                return Err(wrong(format!(
                    "its time is before that of block {}, which comes earlier",
                    last.block
                )));
            }
            let mut moved = log.value;
            if let Some(from) = log.from {
                let account = accounts.entry((from, log.token)).or_default();
                let balance = account.balance;
                if balance < moved {
                    if on_negative == OnNegative::Refuse {
                        return Err(wrong(format!(
                            "{} sends {moved} of {} and has {balance}; the log of an earlier \
                             transfer is missing, or say on_negative=\"clip\"",
                            excerpt(self.addresses.get(from)),
                            excerpt(self.tokens.get(log.token)),
                        )));
                    }
                    clipped += 1;
                    moved = balance;
                }
                if log.from == log.to {
                    continue;
                }
                self.take(&mut holds, account, (from, log), moved, lots, decimals)?;
            }
            if let Some(to) = log.to {
                let account = accounts.entry((to, log.token)).or_default();
                let whole = account
                    .balance
                    .checked_add(log.value)
                    .ok_or_else(|| wrong("a balance goes past 256 bits".to_owned()))?;
                if log.value == U256::ZERO {
                    continue;
                }
                if lots == Lots::Balance
                    && let Some(lot) = account.lots.pop_back()
                {
                    self.hold(&mut holds, (to, log), lot, lot.units, decimals)?;
                    account.lots.push_back(Lot {
                        since: log.at,
                        units: whole,
                    });
                } else {
                    account.lots.push_back(Lot {
                        since: log.at,
                        units: log.value,
                    });
                }
                account.balance = whole;
            }
        }
        // What is left is open, in the order of the accounts' codes.
        let mut left: Vec<((u32, u32), Lot)> = accounts
            .into_iter()
            .flat_map(|(key, account)| account.lots.into_iter().map(move |lot| (key, lot)))
            .collect();
        left.sort_by_key(|(key, lot)| (*key, lot.since));
        for ((holder, token), lot) in left {
            let weight = Weight::new(lot.units, u32::from(decimals));
            let (holder, token) = (self.addresses.get(holder), self.tokens.get(token));
            holds.push_row(holder, token, lot.since, OPEN, &weight)?;
        }
        Ok((holds, clipped))
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

    /// Takes an amount out of an account, as holds that end now. It has that much.
    fn take(
        &self,
        holds: &mut Holds,
        account: &mut Account,
        (from, log): (u32, &Log),
        mut amount: U256,
        lots: Lots,
        decimals: u8,
    ) -> Result<(), HoldError> {
        account.balance -= amount;
        while amount > U256::ZERO {
            let next = if lots == Lots::Fifo {
                account.lots.pop_front()
            } else {
                account.lots.pop_back()
            };
            let Some(lot) = next else { break };
            let leaves = amount.min(lot.units);
            let stays = lot.units - leaves;
            let ended = if lots == Lots::Balance {
                lot.units
            } else {
                leaves
            };
            self.hold(holds, (from, log), lot, ended, decimals)?;
            if stays > U256::ZERO {
                // A lot keeps its age; a balance that changes starts anew.
                let since = if lots == Lots::Balance {
                    log.at
                } else {
                    lot.since
                };
                let rest = Lot {
                    since,
                    units: stays,
                };
                if lots == Lots::Fifo {
                    account.lots.push_front(rest)
                } else {
                    account.lots.push_back(rest)
                }
            }
            amount -= leaves;
        }
        Ok(())
    }

    fn hold(
        &self,
        holds: &mut Holds,
        (holder, log): (u32, &Log),
        lot: Lot,
        units: U256,
        decimals: u8,
    ) -> Result<(), HoldError> {
        if lot.since == log.at {
            return Ok(());
        }
        let weight = Weight::new(units, u32::from(decimals));
        let (holder, token) = (self.addresses.get(holder), self.tokens.get(log.token));
        holds.push_row(holder, token, lot.since, log.at, &weight)
    }
}

/// What one holder has of one token.
#[derive(Debug, Default)]
struct Account {
    /// In order of arrival; with [`Lots::Balance`] at most one.
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

//! The live tracker: holds that are recorded as they happen, and sums that are ready at any time.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

use crate::error::{Fault, Field, HoldError};
use crate::event::check_times;
use crate::exact::Total;
use crate::ids::{is_long, key_of};
use crate::prefetch::{in_line, prefetch};
use crate::time::OPEN;
use crate::weight::{Rounding, Weight, excerpt};

/// More shards than processors, so that two writers seldom meet.
const SHARDS: usize = 64;
const FORMAT: &str = "poh_holdmetrics-tracker-v1";

/// Holds in memory, in shards by holder: writers of different holders do not wait for each other.
///
/// Lots add up. Each holder has the exact sum of its collected holds, and the holds that are still
/// kept: [`collect`](Self::collect) turns closed ones into sums.
#[derive(Debug)]
pub struct Tracker {
    scale: u8,
    /// Microseconds that a closed hold is kept for.
    ttl: i64,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

/// Some holders, with the [`key_of`] their ids, found by the hash that also chose the shard.
type Shard = HashTable<(u64, Account)>;

/// What is kept of one holder.
#[derive(Debug, Default)]
struct Account {
    holder: Box<str>,
    /// Microseconds and weighted sum of the collected holds.
    micros: i128,
    weighted: i128,
    /// Closed holds that are kept, in order of arrival.
    closed: Vec<Hold>,
    open: Vec<(Box<str>, Hold)>,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    start: i64,
    end: i64,
    units: i64,
}

impl Hold {
    fn micros_until(&self, at: i64) -> u64 {
        let end = self.end.min(at);
        if end > self.start {
            self.start.abs_diff(end)
        } else {
            0
        }
    }

    fn weighted_until(&self, at: i64) -> i128 {
        i128::from(self.units) * i128::from(self.micros_until(at))
    }
}

/// What one holder has, exactly: microseconds, the score as an integer of `10^-(scale + 6)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    /// Who holds.
    pub holder_id: String,
    /// Time held.
    pub micros: i128,
    /// Seconds times weight.
    pub weighted: Total,
}

impl Tracker {
    /// An empty tracker whose weights keep `scale` digits after the point.
    ///
    /// # Errors
    /// [`HoldError::Argument`] for a scale beyond 18.
    pub fn new(scale: u8) -> Result<Self, HoldError> {
        crate::holds::Holds::new(scale)?;
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Ok(Tracker {
            scale,
            ttl: 0,
            hasher: RandomState::default(),
            shards,
        })
    }

    /// The same tracker, whose closed holds are kept for `ttl` microseconds (0 for a new one).
    ///
    /// # Errors
    /// [`HoldError::Argument`] below zero.
    pub fn with_ttl(self, ttl: i64) -> Result<Self, HoldError> {
        if ttl < 0 {
            return Err(HoldError::Argument(
                "ttl is below zero; a hold is kept for no time or some".to_owned(),
            ));
        }
        Ok(Tracker { ttl, ..self })
    }

    /// Digits after the decimal point of a score.
    pub fn digits(&self) -> u32 {
        u32::from(self.scale) + 6
    }

    /// Calls `change` with the account of a holder, under the lock of its shard.
    #[inline]
    fn with_account<T>(&self, holder: &str, change: impl FnOnce(&mut Account) -> T) -> T {
        let key = key_of(holder.as_bytes(), &self.hasher);
        let mut shard = self.lock(key);
        if let Some(account) = self.find(&mut shard, key, holder) {
            return change(account);
        }
        change(self.add(&mut shard, key, holder.into()))
    }

    #[inline]
    fn find<'s>(&self, shard: &'s mut Shard, key: u64, holder: &str) -> Option<&'s mut Account> {
        let found = shard.find_mut(self.hash(key), |(known, account)| {
            *known == key && (!is_long(key) || *account.holder == *holder)
        });
        found.map(|(_, account)| account)
    }

    #[cold]
    fn add<'s>(&self, shard: &'s mut Shard, key: u64, holder: Box<str>) -> &'s mut Account {
        let account = Account {
            holder,
            ..Account::default()
        };
        let rehash = |&(key, _): &(u64, Account)| self.hash(key);
        let added = shard.insert_unique(self.hash(key), (key, account), rehash);
        &mut added.into_mut().1
    }

    #[inline]
    fn hash(&self, key: u64) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    fn lock(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The middle of the hash: the table uses its two ends.
        locked(&self.shards[(self.hash(key) >> 32) as usize % SHARDS])
    }

    /// Records a hold; `end` is [`OPEN`] for one without an end.
    ///
    /// # Errors
    /// [`HoldError::Value`] for an empty id, times out of order or range, or a weight that does not
    /// fit the scale and 63 bits.
    pub fn record(
        &self,
        token_id: &str,
        holder_id: &str,
        start: i64,
        end: i64,
        weight: &Weight,
    ) -> Result<(), HoldError> {
        if token_id.is_empty() {
            return Err(HoldError::Value {
                field: Field::TokenId,
                fault: Fault::EmptyId,
            });
        }
        let wrong = |fault| HoldError::Value {
            field: Field::Weight,
            fault,
        };
        let units = match weight.narrow_units_at(self.scale) {
            Some(units) => units,
            None => {
                let units = weight.units_at(self.scale, Rounding::Refuse);
                let narrow = |units| {
                    i64::try_from(units).map_err(|_| {
                        Fault::Type(format!(
                            "is {weight}; a live tracker keeps weights of up to 63 bits, digits of \
                             the scale included"
                        ))
                    })
                };
                units.and_then(narrow).map_err(wrong)?
            }
        };
        if end != OPEN {
            return self.record_closed(holder_id, start, end, units);
        }
        check(holder_id, start, end)?;
        self.with_account(holder_id, |account| {
            account
                .open
                .push((token_id.into(), Hold { start, end, units }));
        });
        Ok(())
    }

    /// Records a hold that has an end, by the units of its weight in `10^-scale`, 0 or more: the
    /// quickest way, since of such holds the token does not matter.
    ///
    /// # Errors
    /// [`HoldError::Value`] for an empty id, times out of order or range.
    #[inline]
    pub fn record_closed(
        &self,
        holder_id: &str,
        start: i64,
        end: i64,
        units: i64,
    ) -> Result<(), HoldError> {
        check(holder_id, start, end)?;
        let hold = Hold { start, end, units };
        self.with_account(holder_id, |account| {
            account.closed.push(hold);
            // What comes next of this holder begins a new line of memory about every third time, and
            // to let go of the lock waits until it is here: a third of a call, when not asked for.
            let spare = account.closed.spare_capacity_mut();
            prefetch(spare, in_line::<Hold>() + 1);
        });
        Ok(())
    }

    /// Digits after the decimal point that weights keep.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// Ends the oldest open hold of one token by one holder: the one with the earliest start, of equal
    /// ones the first recorded.
    ///
    /// # Errors
    /// [`HoldError::NoSuchHold`] when none is open, [`HoldError::Value`] when `at` is out of range
    /// or before its start; the hold then stays open.
    pub fn stop(&self, token_id: &str, holder_id: &str, at: i64) -> Result<(), HoldError> {
        let missing = || HoldError::NoSuchHold {
            what: format!(
                "open hold of {:?} by {:?}",
                excerpt(token_id),
                excerpt(holder_id)
            ),
        };
        let key = key_of(holder_id.as_bytes(), &self.hasher);
        let mut shard = self.lock(key);
        let account = self.find(&mut shard, key, holder_id);
        let account = account.ok_or_else(missing)?;
        let open = account.open.iter().enumerate();
        let of_token = open.filter(|(_, (token, _))| **token == *token_id);
        let starts = of_token.map(|(place, (_, hold))| (hold.start, place));
        let (start, place) = starts.min().ok_or_else(missing)?;
        check_times(start, at).map_err(|(field, fault)| HoldError::Value { field, fault })?;
        let (_, hold) = account.open.remove(place);
        account.closed.push(Hold { end: at, ..hold });
        Ok(())
    }

    /// What every holder has by `at`, in order of id. Collected holds count in full.
    ///
    /// # Errors
    /// [`HoldError::Overflow`] when a score does not fit in 128 bits.
    pub fn snapshot(&self, at: i64) -> Result<Vec<Tracked>, HoldError> {
        let mut all = Vec::new();
        for shard in &self.shards {
            for (_, account) in locked(shard).iter() {
                let holder = &account.holder;
                let holds = account
                    .closed
                    .iter()
                    .chain(account.open.iter().map(|(_, hold)| hold));
                let (mut micros, mut weighted) = (account.micros, Some(account.weighted));
                for hold in holds {
                    micros += i128::from(hold.micros_until(at));
                    weighted = weighted.and_then(|sum| sum.checked_add(hold.weighted_until(at)));
                }
                let weighted = weighted.ok_or_else(|| overflow(holder))?;
                let holder_id = holder.to_string();
                all.push(Tracked {
                    holder_id,
                    micros,
                    weighted: Total::Narrow(weighted),
                });
            }
        }
        all.sort_unstable_by(|left, right| left.holder_id.cmp(&right.holder_id));
        Ok(all)
    }

    /// Turns holds that ended the tracker's ttl or longer before `now` into sums; says how many. The
    /// sums stay.
    ///
    /// # Errors
    /// [`HoldError::Overflow`] when a sum does not fit in 128 bits; its holds are then kept.
    pub fn collect(&self, now: i64) -> Result<u64, HoldError> {
        let before = now.saturating_sub(self.ttl);
        let mut collected = 0;
        for shard in &self.shards {
            for (_, account) in locked(shard).iter_mut() {
                let mut kept = Vec::new();
                let mut sum = account.weighted;
                let mut micros = account.micros;
                for hold in &account.closed {
                    if hold.end > before {
                        kept.push(*hold);
                        continue;
                    }
                    sum = sum
                        .checked_add(hold.weighted_until(hold.end))
                        .ok_or_else(|| overflow(&account.holder))?;
                    micros += i128::from(hold.micros_until(hold.end));
                    collected += 1;
                }
                (account.weighted, account.micros) = (sum, micros);
                account.closed = kept;
            }
        }
        Ok(collected)
    }

    /// The number of holds that are kept, open ones too.
    pub fn len(&self) -> usize {
        let kept = |shard: &Mutex<Shard>| -> usize {
            let holds = |(_, account): &(u64, Account)| account.closed.len() + account.open.len();
            locked(shard).iter().map(holds).sum()
        };
        self.shards.iter().map(kept).sum()
    }

    /// Whether no hold is kept; sums may be.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole state as text: a header line with format and checksum, then one JSON object.
    ///
    /// # Errors
    /// [`HoldError::File`] when it can't be written as JSON.
    pub fn to_state(&self) -> Result<String, HoldError> {
        let mut accounts = Vec::new();
        for shard in &self.shards {
            accounts.extend(locked(shard).iter().map(|(_, account)| account.to_saved()));
        }
        accounts.sort_unstable_by(|left, right| left.holder_id.cmp(&right.holder_id));
        let body = serde_json::to_string(&Saved {
            scale: self.scale,
            ttl: self.ttl,
            accounts,
        })
        .map_err(|error| HoldError::File(error.to_string()))?;
        Ok(format!("{FORMAT} {}\n{body}\n", checksum(&body)))
    }

    /// A tracker from what [`to_state`](Self::to_state) gave.
    ///
    /// # Errors
    /// [`HoldError::File`] for another format, or a state that was changed or cut short.
    pub fn from_state(state: &str) -> Result<Self, HoldError> {
        let wrong = |what: &str| HoldError::File(what.to_owned());
        let (header, body) = state.split_once('\n').unwrap_or((state, ""));
        let (format, sum) = header.split_once(' ').unwrap_or((header, ""));
        if format != FORMAT {
            let format = crate::weight::excerpt(format);
            return Err(HoldError::File(format!(
                "the state is of the format {format:?}; this version reads {FORMAT:?}"
            )));
        }
        let body = body
            .strip_suffix('\n')
            .ok_or_else(|| wrong("the state is cut short"))?;
        if checksum(body) != sum {
            return Err(wrong(
                "the state was changed or cut short: its checksum does not match",
            ));
        }
        let saved: Saved =
            serde_json::from_str(body).map_err(|error| HoldError::File(error.to_string()))?;
        let tracker = Tracker::new(saved.scale)?.with_ttl(saved.ttl)?;
        for account in saved.accounts {
            let account = account.into_account()?;
            let holder = account.holder.clone();
            tracker.with_account(&holder, |known| *known = account);
        }
        Ok(tracker)
    }
}

/// Nothing panics half-way through a change, so a poisoned shard is whole.
#[inline]
fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[inline]
fn check(holder_id: &str, start: i64, end: i64) -> Result<(), HoldError> {
    let wrong = |(field, fault)| HoldError::Value { field, fault };
    if holder_id.is_empty() {
        return Err(wrong((Field::HolderId, Fault::EmptyId)));
    }
    check_times(start, end).map_err(wrong)
}

fn overflow(holder: &str) -> HoldError {
    HoldError::Overflow {
        id: holder.to_owned(),
        bits: 128,
    }
}

fn checksum(body: &str) -> String {
    crate::merkle::to_hex(&Keccak256::digest(body))
}

/// The state as JSON; sums as text, since they have up to 128 bits.
#[derive(Serialize, Deserialize)]
struct Saved {
    scale: u8,
    ttl: i64,
    accounts: Vec<SavedAccount>,
}

#[derive(Serialize, Deserialize)]
struct SavedAccount {
    holder_id: String,
    micros: String,
    weighted: String,
    closed: Vec<(i64, i64, i64)>,
    open: Vec<(String, i64, i64)>,
}

impl Account {
    fn to_saved(&self) -> SavedAccount {
        SavedAccount {
            holder_id: self.holder.to_string(),
            micros: self.micros.to_string(),
            weighted: self.weighted.to_string(),
            closed: self
                .closed
                .iter()
                .map(|hold| (hold.start, hold.end, hold.units))
                .collect(),
            open: self
                .open
                .iter()
                .map(|(token, hold)| (token.to_string(), hold.start, hold.units))
                .collect(),
        }
    }
}

impl SavedAccount {
    fn into_account(self) -> Result<Account, HoldError> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| HoldError::File(format!("{text:?} is not a sum")))
        };
        let closed = self
            .closed
            .into_iter()
            .map(|(start, end, units)| Hold { start, end, units });
        let open = |(token, start, units): (String, i64, i64)| {
            (
                token.into_boxed_str(),
                Hold {
                    start,
                    end: OPEN,
                    units,
                },
            )
        };
        Ok(Account {
            holder: self.holder_id.into_boxed_str(),
            micros: number(&self.micros)?,
            weighted: number(&self.weighted)?,
            closed: closed.collect(),
            open: self.open.into_iter().map(open).collect(),
        })
    }
}

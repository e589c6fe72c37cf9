//! Merkle trees of claims (address, uint256 amount) that Solidity contracts accept.
//!
//! Two layouts: that of OpenZeppelin's StandardMerkleTree (the leaf is the hash of the hash of the
//! ABI encoding; leaves sorted; a complete binary tree in one array) and that of Uniswap's
//! merkle-distributor (the leaf is the hash of the packed index, address and amount; an odd node
//! goes up a level by itself). Both hash pairs in sorted order with Keccak-256.

use std::str::FromStr;

use ruint::aliases::U256;
use sha3::{Digest, Keccak256};

use crate::error::HoldError;
use crate::threads::in_threads_with;

/// A Keccak-256 hash.
pub type Hash = [u8; 32];

/// An Ethereum address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 20]);

impl FromStr for Address {
    type Err = HoldError;

    /// Reads `0x` and 40 hexadecimal digits. Mixed case must be the checksum of EIP-55.
    fn from_str(text: &str) -> Result<Self, HoldError> {
        let wrong = |why: &str| {
            HoldError::Proof(format!(
                "{:?} is not an address: {why}",
                crate::weight::excerpt(text)
            ))
        };
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| wrong("it does not start with 0x"))?;
        if digits.len() != 40 {
            return Err(wrong("it needs 40 hexadecimal digits"));
        }
        let mut bytes = [0; 20];
        from_hex(digits, &mut bytes).ok_or_else(|| wrong("it needs hexadecimal digits"))?;
        let address = Address(bytes);
        let mixed = digits.bytes().any(|byte| byte.is_ascii_lowercase())
            && digits.bytes().any(|byte| byte.is_ascii_uppercase());
        if mixed && address.to_string() != text {
            return Err(wrong("its checksum (EIP-55) does not match"));
        }
        Ok(address)
    }
}

impl Address {
    /// The 40 digits in ASCII, with the checksum of EIP-55.
    fn digits(&self) -> [u8; 40] {
        let mut digits = [0; 40];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&hex_pair(byte));
        }
        let hash = keccak(&digits);
        for (place, digit) in digits.iter_mut().enumerate() {
            let nibble = hash[place / 2] >> (4 * (1 - place % 2)) & 15;
            if nibble >= 8 {
                digit.make_ascii_uppercase();
            }
        }
        digits
    }
}

impl std::fmt::Display for Address {
    /// With the checksum of EIP-55.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits: String = self.digits().into_iter().map(char::from).collect();
        write!(f, "0x{digits}")
    }
}

/// `0x` and lower-case digits.
pub fn to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|&byte| hex_pair(byte));
    "0x".chars().chain(digits.map(char::from)).collect()
}

fn hex_pair(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 15].map(|value| DIGITS[usize::from(value)])
}

/// An amount from digits of `radix`, 10 or 16, and nothing else; `None` above 256 bits too.
pub fn amount_from_digits(digits: &str, radix: u32) -> Option<U256> {
    // ruint skips "_", and takes no digits for 0.
    let digits = Some(digits).filter(|digits| !digits.is_empty())?;
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    U256::from_str_radix(digits, u64::from(radix)).ok()
}

/// A hash from `0x` and 64 digits.
///
/// # Errors
/// [`HoldError::Proof`] for anything else.
pub fn hash_from_hex(text: &str) -> Result<Hash, HoldError> {
    let mut hash = [0; 32];
    text.strip_prefix("0x")
        .filter(|digits| digits.len() == 64)
        .and_then(|digits| from_hex(digits, &mut hash))
        .ok_or_else(|| {
            let text = crate::weight::excerpt(text);
            HoldError::Proof(format!(
                "{text:?} is not a hash: give 0x and 64 hexadecimal digits"
            ))
        })?;
    Ok(hash)
}

fn from_hex(digits: &str, bytes: &mut [u8]) -> Option<()> {
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(())
}

fn keccak(bytes: &[u8]) -> Hash {
    Keccak256::digest(bytes).into()
}

/// The hash of two nodes, whichever comes first.
fn parent(left: &Hash, right: &Hash) -> Hash {
    let (low, high) = if left <= right {
        (left, right)
    } else {
        (right, left)
    };
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(low);
    bytes[32..].copy_from_slice(high);
    keccak(&bytes)
}

/// A claim of an amount by an address.
pub type Claim = (Address, U256);

/// The leaf of OpenZeppelin's standard tree: the hash of the hash of `abi.encode(address, amount)`.
pub fn standard_leaf((address, amount): &Claim) -> Hash {
    let mut encoded = [0; 64];
    encoded[12..32].copy_from_slice(&address.0);
    encoded[32..].copy_from_slice(&amount.to_be_bytes::<32>());
    keccak(&keccak(&encoded))
}

/// The leaf of Uniswap's distributor: the hash of `abi.encodePacked(index, address, amount)`.
pub fn distributor_leaf(index: u64, (address, amount): &Claim) -> Hash {
    let mut encoded = [0; 84];
    encoded[24..32].copy_from_slice(&index.to_be_bytes());
    encoded[32..52].copy_from_slice(&address.0);
    encoded[52..].copy_from_slice(&amount.to_be_bytes::<32>());
    keccak(&encoded)
}

/// Whether `proof` leads from `leaf` to `root`; for both layouts.
pub fn verify(root: &Hash, leaf: Hash, proof: &[Hash]) -> bool {
    proof
        .iter()
        .fold(leaf, |node, sibling| parent(&node, sibling))
        == *root
}

/// A proof of several leaves at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiProof {
    /// The leaves, in the order that the proof takes them.
    pub leaves: Vec<Hash>,
    /// The nodes that the leaves do not give.
    pub proof: Vec<Hash>,
    /// For each step whether the second node comes from the leaves (or from `proof`).
    pub flags: Vec<bool>,
}

/// Whether a multi-proof leads to `root`; `false` also for one that does not add up.
pub fn verify_multi(root: &Hash, multi: &MultiProof) -> bool {
    let MultiProof {
        leaves,
        proof,
        flags,
    } = multi;
    // Every step uses up one node: else the proof could stop short or reach outside.
    if leaves.len() + proof.len() != flags.len() + 1 {
        return false;
    }
    let mut nodes: Vec<Hash> = leaves.clone();
    let (mut next, mut rest) = (0, proof.iter());
    for &from_nodes in flags {
        let Some(&first) = nodes.get(next) else {
            return false;
        };
        next += 1;
        let second = if from_nodes {
            next += 1;
            nodes.get(next - 1).copied()
        } else {
            rest.next().copied()
        };
        let Some(second) = second else { return false };
        nodes.push(parent(&first, &second));
    }
    let last = if flags.is_empty() {
        leaves.first().or(proof.first())
    } else {
        nodes.last()
    };
    rest.next().is_none_or(|_| flags.is_empty()) && last == Some(root)
}

/// OpenZeppelin's StandardMerkleTree with the leaf encoding `["address", "uint256"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandardTree {
    claims: Vec<Claim>,
    /// Node `i` has the children `2i + 1` and `2i + 2`; the root is first, the leaves last.
    nodes: Vec<Hash>,
    /// Where each claim's leaf is in `nodes`.
    places: Vec<usize>,
    /// Which claim each leaf is of, in the order of the leaves among `nodes`.
    by_leaf: Vec<usize>,
}

impl StandardTree {
    /// A tree of claims; it keeps their order.
    ///
    /// # Errors
    /// [`HoldError::Proof`] without any claim.
    pub fn of(claims: Vec<Claim>) -> Result<Self, HoldError> {
        if claims.is_empty() {
            return Err(HoldError::Proof(
                "a tree needs at least one claim".to_owned(),
            ));
        }
        let hashes = in_parallel(&claims, standard_leaf);
        let mut leaves: Vec<(Hash, usize)> = hashes
            .into_iter()
            .enumerate()
            .map(|(claim, hash)| (hash, claim))
            .collect();
        leaves.sort_unstable();
        let size = 2 * leaves.len() - 1;
        let mut nodes = vec![[0; 32]; size];
        let mut places = vec![0; leaves.len()];
        let mut by_leaf = vec![0; leaves.len()];
        let first_leaf = leaves.len() - 1;
        for (rank, (hash, claim)) in leaves.into_iter().enumerate() {
            let place = size - 1 - rank;
            nodes[place] = hash;
            places[claim] = place;
            by_leaf[place - first_leaf] = claim;
        }
        for place in (0..places.len() - 1).rev() {
            nodes[place] = parent(&nodes[2 * place + 1], &nodes[2 * place + 2]);
        }
        Ok(StandardTree {
            claims,
            nodes,
            places,
            by_leaf,
        })
    }

    /// The number of a claim, of equal ones the first.
    pub fn find(&self, claim: &Claim) -> Option<usize> {
        let leaf = standard_leaf(claim);
        // The leaves are sorted, the largest first.
        let leaves = &self.nodes[self.claims.len() - 1..];
        let last = leaves
            .partition_point(|node| *node >= leaf)
            .checked_sub(1)?;
        (leaves[last] == leaf).then(|| self.by_leaf[last])
    }

    /// A tree from its parts, as a dump has them, checked in full.
    ///
    /// # Errors
    /// [`HoldError::Proof`] where a node is not the hash of what is under it.
    pub fn from_parts(
        claims: Vec<Claim>,
        places: Vec<usize>,
        nodes: Vec<Hash>,
    ) -> Result<Self, HoldError> {
        let rebuilt = StandardTree::of(claims)?;
        if rebuilt.nodes.len() != nodes.len() || rebuilt.places.len() != places.len() {
            return Err(HoldError::Proof(format!(
                "the tree has {} nodes and {} values; {} claims make {} nodes",
                nodes.len(),
                places.len(),
                rebuilt.claims.len(),
                rebuilt.nodes.len()
            )));
        }
        if let Some(node) = (0..nodes.len()).find(|&node| nodes[node] != rebuilt.nodes[node]) {
            return Err(HoldError::Proof(format!(
                "node {node} of the tree is not the hash of what is under it"
            )));
        }
        let same_leaf = |(claim, &place): (usize, &usize)| {
            nodes.get(place) == Some(&nodes[rebuilt.places[claim]])
        };
        if let Some(claim) = places.iter().enumerate().position(|pair| !same_leaf(pair)) {
            return Err(HoldError::Proof(format!(
                "the treeIndex of value {claim} is not its leaf"
            )));
        }
        Ok(StandardTree { places, ..rebuilt })
    }

    /// The hash that the contract keeps.
    pub fn root(&self) -> Hash {
        self.nodes[0]
    }

    /// The claims, in the order given.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// All nodes, the root first.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Where each claim's leaf is among the nodes.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// The siblings from a claim's leaf up to the root.
    ///
    /// # Errors
    /// [`HoldError::Proof`] for a number that is none of a claim.
    pub fn proof(&self, claim: usize) -> Result<Vec<Hash>, HoldError> {
        let mut place = self.place(claim)?;
        let mut siblings = Vec::new();
        while place > 0 {
            siblings.push(self.nodes[sibling(place)]);
            place = (place - 1) / 2;
        }
        Ok(siblings)
    }

    /// A proof of several claims at once, and these claims in the order of its leaves.
    ///
    /// # Errors
    /// [`HoldError::Proof`] for a number that is none of a claim, or twice the same.
    pub fn multi_proof(&self, claims: &[usize]) -> Result<(MultiProof, Vec<usize>), HoldError> {
        let mut placed = claims
            .iter()
            .map(|&claim| Ok((self.place(claim)?, claim)))
            .collect::<Result<Vec<_>, HoldError>>()?;
        placed.sort_unstable_by(|left, right| right.cmp(left));
        if placed.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(HoldError::Proof("a claim is named twice".to_owned()));
        }
        let (mut places, in_order): (Vec<usize>, Vec<usize>) = placed.into_iter().unzip();
        let leaves = places.iter().map(|&place| self.nodes[place]).collect();
        let (mut proof, mut flags) = (Vec::new(), Vec::new());
        if places.is_empty() {
            proof.push(self.root());
        }
        let mut next = 0;
        while next < places.len() && places[next] > 0 {
            let place = places[next];
            next += 1;
            if places.get(next) == Some(&sibling(place)) {
                next += 1;
                flags.push(true);
            } else {
                flags.push(false);
                proof.push(self.nodes[sibling(place)]);
            }
            places.push((place - 1) / 2);
        }
        let multi = MultiProof {
            leaves,
            proof,
            flags,
        };
        Ok((multi, in_order))
    }

    fn place(&self, claim: usize) -> Result<usize, HoldError> {
        let count = self.places.len();
        self.places.get(claim).copied().ok_or_else(|| {
            HoldError::Proof(format!("there is no claim {claim}; there are {count}"))
        })
    }
}

fn sibling(place: usize) -> usize {
    if place % 2 == 1 { place + 1 } else { place - 1 }
}

/// Uniswap's merkle-distributor: each claim has an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistributorTree {
    claims: Vec<Claim>,
    /// The sorted leaves first, the root alone last.
    levels: Vec<Vec<Hash>>,
    places: Vec<usize>,
}

impl DistributorTree {
    /// A tree of claims, which get their indexes as Uniswap's script numbers them: in order of the
    /// addresses' text with its checksum, where "B" is before "a".
    ///
    /// # Errors
    /// [`HoldError::Proof`] without any claim, or for an address that claims twice.
    pub fn of(mut claims: Vec<Claim>) -> Result<Self, HoldError> {
        claims.sort_by_cached_key(|(address, _)| address.digits());
        DistributorTree::numbered(claims)
    }

    /// A tree of claims that have their indexes.
    ///
    /// # Errors
    /// [`HoldError::Proof`] as [`of`](Self::of), and where the indexes are not 0, 1, 2 and so on, each
    /// once.
    pub fn indexed(claims: Vec<(u64, Claim)>) -> Result<Self, HoldError> {
        let count = claims.len();
        let mut by_index: Vec<Option<Claim>> = vec![None; count];
        for (index, claim) in claims {
            let place = usize::try_from(index)
                .ok()
                .and_then(|index| by_index.get_mut(index));
            let why = match place {
                Some(place @ None) => {
                    *place = Some(claim);
                    continue;
                }
                Some(Some((other, _))) => format!("is that of {other} too"),
                None => format!("is too high for {count} claims"),
            };
            return Err(HoldError::Proof(format!(
                "the index of {}, {index}, {why}; number the claims from 0, without a gap",
                claim.0
            )));
        }
        // There are as many places as claims, so each has one.
        DistributorTree::numbered(by_index.into_iter().flatten().collect())
    }

    /// A tree of claims that are in order of index.
    fn numbered(claims: Vec<Claim>) -> Result<Self, HoldError> {
        if claims.is_empty() {
            return Err(HoldError::Proof(
                "a tree needs at least one claim".to_owned(),
            ));
        }
        let mut addresses: Vec<Address> = claims.iter().map(|&(address, _)| address).collect();
        addresses.sort_unstable();
        if let Some(pair) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(HoldError::Proof(format!(
                "{} claims twice; give it one claim of the sum",
                pair[0]
            )));
        }
        let indexed: Vec<(u64, Claim)> = (0..).zip(claims.iter().copied()).collect();
        let hashes = in_parallel(&indexed, |(index, claim)| distributor_leaf(*index, claim));
        let mut sorted: Vec<(Hash, usize)> = hashes
            .into_iter()
            .enumerate()
            .map(|(claim, hash)| (hash, claim))
            .collect();
        sorted.sort_unstable();
        let mut places = vec![0; sorted.len()];
        for (rank, &(_, claim)) in sorted.iter().enumerate() {
            places[claim] = rank;
        }
        let mut levels = vec![
            sorted
                .into_iter()
                .map(|(hash, _)| hash)
                .collect::<Vec<Hash>>(),
        ];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let up = level.chunks(2).map(|pair| match pair {
                [left, right] => parent(left, right),
                odd => odd[0],
            });
            let up = up.collect();
            levels.push(up);
        }
        Ok(DistributorTree {
            claims,
            levels,
            places,
        })
    }

    /// The hash that the contract keeps.
    pub fn root(&self) -> Hash {
        self.levels[self.levels.len() - 1][0]
    }

    /// The claims in order of index.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// The siblings from a claim's leaf up to the root.
    ///
    /// # Errors
    /// [`HoldError::Proof`] for an index that is none of a claim.
    pub fn proof(&self, index: usize) -> Result<Vec<Hash>, HoldError> {
        let mut place = *self.places.get(index).ok_or_else(|| {
            HoldError::Proof(format!(
                "there is no claim {index}; there are {}",
                self.places.len()
            ))
        })?;
        let mut siblings = Vec::new();
        for level in &self.levels {
            siblings.extend(level.get(place ^ 1));
            place /= 2;
        }
        Ok(siblings)
    }
}

/// Hashes on all processors where there are many.
fn in_parallel<T: Sync>(items: &[T], hash: impl Fn(&T) -> Hash + Sync) -> Vec<Hash> {
    const FEW: usize = 4096;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    if items.len() < FEW || threads == 1 {
        return items.iter().map(hash).collect();
    }
    let mut hashes = vec![[0; 32]; items.len()];
    let share = items.len().div_ceil(threads);
    let shares = items.chunks(share).zip(hashes.chunks_mut(share));
    in_threads_with(&mut shares.collect::<Vec<_>>(), |_, (items, hashes)| {
        for (item, out) in items.iter().zip(hashes.iter_mut()) {
            *out = hash(item);
        }
    });
    hashes
}

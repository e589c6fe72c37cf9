//! Merkle trees of claims.

use poh_holdmetrics::merkle::{
    Address, Claim, DistributorTree, Hash, MultiProof, StandardTree, distributor_leaf,
    hash_from_hex, standard_leaf, to_hex, verify, verify_multi,
};
use poh_holdmetrics::{HoldError, U256, excerpt};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyMapping, PyTuple};

use crate::arguments::{Dump, Leaf, Leaves};
use crate::errors::to_py;
use crate::values::{WideInt, wide_int};

/// A Merkle tree of (address, uint256) in the format of OpenZeppelin's StandardMerkleTree, whose
/// proofs OpenZeppelin's MerkleProof contract accepts.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import StandardMerkleTree
/// >>> claims = [("0x" + "11" * 20, 5000000000000000000), ("0x" + "22" * 20, 2500000000000000000)]
/// >>> tree = StandardMerkleTree.of(claims)
/// >>> tree.root
/// '0xd4dee0beab2d53f2cc83e567171bd2820e49898130a22622b10ead383e90bd77'
/// >>> tree.verify(claims[0], tree.get_proof(0))
/// True
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct StandardMerkleTree {
    tree: StandardTree,
}

#[pymethods]
impl StandardMerkleTree {
    /// A tree of claims: pairs of an address (0x and 40 digits) and a whole amount.
    #[staticmethod]
    fn of(values: Leaves<'_>) -> PyResult<Self> {
        let py = values.0.py();
        let claims = claims(&values.0)?;
        let tree = py
            .detach(|| StandardTree::of(claims))
            .map_err(|error| to_py(py, error))?;
        Ok(StandardMerkleTree { tree })
    }

    /// A tree from what `dump` gave, checked in full.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     Where the dump is of another format, or a node is not the hash of what is under it.
    #[staticmethod]
    fn load(data: Dump<'_>) -> PyResult<Self> {
        let py = data.0.py();
        let wrong = |what: String| to_py(py, HoldError::Proof(what));
        let data = data
            .0
            .cast::<PyMapping>()
            .map_err(|_| wrong("a dump is a JSON object".into()))?;
        let part = |name: &str| {
            data.get_item(name)
                .map_err(|_| wrong(format!("the dump has no \"{name}\"")))
        };
        let format: String = part("format")?.extract().unwrap_or_default();
        if format != "standard-v1" {
            return Err(wrong(format!(
                "the format is {format:?}; this reads \"standard-v1\""
            )));
        }
        let encoding: Vec<String> = part("leafEncoding")?.extract().unwrap_or_default();
        if encoding != ["address", "uint256"] {
            return Err(wrong(format!(
                "the leafEncoding is {encoding:?}; this reads address, uint256"
            )));
        }
        let mut nodes = Vec::new();
        for node in list(&part("tree")?, "tree")? {
            let text: String = node
                .extract()
                .map_err(|_| wrong("a node is not text".into()))?;
            nodes.push(hash_from_hex(&text).map_err(|error| to_py(py, error))?);
        }
        let (mut found, mut places) = (Vec::new(), Vec::new());
        for value in list(&part("values")?, "values")? {
            let of = |name: &str| {
                value
                    .get_item(name)
                    .map_err(|_| wrong(format!("a value has no \"{name}\"")))
            };
            found.push(claim(&of("value")?)?);
            places.push(
                of("treeIndex")?
                    .extract()
                    .map_err(|_| wrong("a treeIndex is no number".into()))?,
            );
        }
        let tree = py.detach(|| StandardTree::from_parts(found, places, nodes));
        Ok(StandardMerkleTree {
            tree: tree.map_err(|error| to_py(py, error))?,
        })
    }

    /// The tree as a JSON object, as OpenZeppelin's `dump`.
    fn dump<'py>(&self, py: Python<'py>) -> PyResult<Dump<'py>> {
        let values = PyList::empty(py);
        for ((address, amount), place) in self.tree.claims().iter().zip(self.tree.places()) {
            let value = PyDict::new(py);
            value.set_item("value", [address.to_string(), amount.to_string()])?;
            value.set_item("treeIndex", place)?;
            values.append(value)?;
        }
        let dump = PyDict::new(py);
        dump.set_item("format", "standard-v1")?;
        dump.set_item("leafEncoding", ["address", "uint256"])?;
        let nodes: Vec<String> = self.tree.nodes().iter().map(|node| to_hex(node)).collect();
        dump.set_item("tree", nodes)?;
        dump.set_item("values", values)?;
        Ok(Dump(dump.into_any()))
    }

    /// The hash that the contract keeps, as 0x and 64 digits.
    #[getter]
    fn root(&self) -> String {
        to_hex(&self.tree.root())
    }

    fn __len__(&self) -> usize {
        self.tree.claims().len()
    }

    /// The proof of one claim, named by its number or by its (address, amount).
    fn get_proof(&self, leaf: Leaf<'_>) -> PyResult<Vec<String>> {
        let claim = self.number(&leaf.0)?;
        let proof = self
            .tree
            .proof(claim)
            .map_err(|error| to_py(leaf.0.py(), error))?;
        Ok(proof.iter().map(|node| to_hex(node)).collect())
    }

    /// One proof of several claims: a dict of `leaves` (claims in the order that the proof takes
    /// them), `proof` and `proofFlags`.
    fn get_multi_proof<'py>(&self, py: Python<'py>, leaves: Leaves<'py>) -> PyResult<Dump<'py>> {
        let mut numbers = Vec::new();
        for leaf in leaves.0.try_iter()? {
            numbers.push(self.number(&leaf?)?);
        }
        let multi = self
            .tree
            .multi_proof(&numbers)
            .map_err(|error| to_py(py, error))?;
        let in_order = PyList::empty(py);
        for hash in &multi.leaves {
            if let Some(at) = numbers
                .iter()
                .position(|&number| self.leaf(number) == Some(hash))
            {
                let (address, amount) = &self.tree.claims()[numbers.remove(at)];
                in_order.append((address.to_string(), wide_int(py, amount)?))?;
            }
        }
        let answer = PyDict::new(py);
        answer.set_item("leaves", in_order)?;
        let nodes: Vec<String> = multi.proof.iter().map(|node| to_hex(node)).collect();
        answer.set_item("proof", nodes)?;
        answer.set_item("proofFlags", multi.flags)?;
        Ok(Dump(answer.into_any()))
    }

    /// Whether a proof leads from a claim to this root.
    fn verify(&self, leaf: Leaf<'_>, proof: Vec<String>) -> PyResult<bool> {
        let py = leaf.0.py();
        let claim = if leaf.0.is_instance_of::<PyInt>() {
            let number = self.number(&leaf.0)?;
            self.tree.claims()[number]
        } else {
            claim(&leaf.0)?
        };
        Ok(verify(
            &self.tree.root(),
            standard_leaf(&claim),
            &hashes(py, &proof)?,
        ))
    }

    /// Whether a proof of several claims, as `get_multi_proof` gives it, leads to this root.
    fn verify_multi_proof(&self, multi_proof: Dump<'_>) -> PyResult<bool> {
        let py = multi_proof.0.py();
        let wrong = |_| {
            let what =
                "a multi-proof has leaves, proof and proofFlags, as get_multi_proof gives it";
            to_py(py, HoldError::Proof(what.into()))
        };
        let part = |name: &str| multi_proof.0.get_item(name).map_err(wrong);
        let mut leaves = Vec::new();
        for leaf in list(&part("leaves")?, "leaves")? {
            leaves.push(standard_leaf(&claim(&leaf)?));
        }
        let proof = part("proof")?.extract::<Vec<String>>().map_err(wrong)?;
        let proof = hashes(py, &proof)?;
        let flags = part("proofFlags")?.extract().map_err(wrong)?;
        Ok(verify_multi(
            &self.tree.root(),
            &MultiProof {
                leaves,
                proof,
                flags,
            },
        ))
    }
}

impl StandardMerkleTree {
    fn leaf(&self, claim: usize) -> Option<&Hash> {
        self.tree.nodes().get(*self.tree.places().get(claim)?)
    }

    fn number(&self, leaf: &Bound<'_, PyAny>) -> PyResult<usize> {
        if leaf.is_instance_of::<PyInt>() {
            let count = self.tree.claims().len();
            let number = leaf.extract().ok().filter(|&number: &usize| number < count);
            return number.ok_or_else(|| {
                let what = format!("there is no claim {leaf}; there are {count}, from 0");
                to_py(leaf.py(), HoldError::Proof(what))
            });
        }
        let wanted = claim(leaf)?;
        self.tree.find(&wanted).ok_or_else(|| {
            let what = format!("the tree has no claim of {} by {}", wanted.1, wanted.0);
            to_py(leaf.py(), HoldError::Proof(what))
        })
    }
}

/// A Merkle tree of claims in the format of Uniswap's merkle-distributor: claims in order of
/// address, each with an index.
///
/// Examples
/// --------
/// >>> from poh_holdmetrics import MerkleDistributor
/// >>> tree = MerkleDistributor.of([("0x" + "22" * 20, 250), ("0x" + "11" * 20, 500)])
/// >>> claims = tree.dump()["claims"]
/// >>> claims["0x" + "11" * 20]["index"], claims["0x" + "11" * 20]["amount"]
/// (0, '0x01f4')
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct MerkleDistributor {
    tree: DistributorTree,
}

#[pymethods]
impl MerkleDistributor {
    /// A tree of claims: pairs of an address (0x and 40 digits) and a whole amount.
    #[staticmethod]
    fn of(values: Leaves<'_>) -> PyResult<Self> {
        let py = values.0.py();
        let claims = claims(&values.0)?;
        let tree = py
            .detach(|| DistributorTree::of(claims))
            .map_err(|error| to_py(py, error))?;
        Ok(MerkleDistributor { tree })
    }

    /// The hash that the contract keeps, as 0x and 64 digits.
    #[getter]
    fn root(&self) -> String {
        to_hex(&self.tree.root())
    }

    fn __len__(&self) -> usize {
        self.tree.claims().len()
    }

    /// The proof of the claim with an index.
    fn get_proof(&self, py: Python<'_>, index: usize) -> PyResult<Vec<String>> {
        let proof = self.tree.proof(index).map_err(|error| to_py(py, error))?;
        Ok(proof.iter().map(|node| to_hex(node)).collect())
    }

    /// Whether a proof leads from the claim with an index, an (address, amount), to this root.
    fn verify(&self, index: u64, leaf: Leaf<'_>, proof: Vec<String>) -> PyResult<bool> {
        let leaf_hash = distributor_leaf(index, &claim(&leaf.0)?);
        let proof = hashes(leaf.0.py(), &proof)?;
        Ok(verify(&self.tree.root(), leaf_hash, &proof))
    }

    /// A tree from what `dump` gave, checked in full.
    ///
    /// Raises
    /// ------
    /// HoldMetricsError
    ///     Where a part is of another form, or is not what the claims make.
    #[staticmethod]
    fn load(py: Python<'_>, data: Dump<'_>) -> PyResult<Self> {
        let wrong = |what: String| to_py(py, HoldError::Proof(what));
        let claims_by_address = part(&data.0, "claims")?;
        let claims_by_address = claims_by_address
            .cast::<PyMapping>()
            .map_err(|_| wrong("\"claims\" is not an object".into()))?;
        let mut claims = Vec::new();
        for pair in claims_by_address.items()? {
            let (address, claim): (String, Bound<'_, PyAny>) = pair
                .extract()
                .map_err(|_| wrong("an address of \"claims\" is not text".into()))?;
            let amount: String = part(&claim, "amount")?.extract().unwrap_or_default();
            let units = amount
                .strip_prefix("0x")
                .filter(|digits| !digits.is_empty())
                .and_then(|digits| U256::from_str_radix(digits, 16).ok())
                .ok_or_else(|| {
                    let shown = excerpt(&amount);
                    wrong(format!(
                        "{shown:?} is no amount; give 0x and hexadecimal digits"
                    ))
                })?;
            let address: Address = address.parse().map_err(|error| to_py(py, error))?;
            claims.push((address, units));
        }
        let tree = py
            .detach(|| DistributorTree::of(claims))
            .map_err(|error| to_py(py, error))?;
        let tree = MerkleDistributor { tree };
        let rebuilt = tree.dump(py)?.0;
        for name in ["merkleRoot", "tokenTotal"] {
            let (found, made) = (part(&data.0, name)?, rebuilt.get_item(name)?);
            if !found.eq(&made)? {
                return Err(wrong(format!(
                    "{name} is not {made}, which the claims make"
                )));
            }
        }
        for (address, _) in tree.tree.claims() {
            let address = address.to_string();
            let made = rebuilt.get_item("claims")?.get_item(&address)?;
            // Addresses may be written without their checksum.
            let found = claims_by_address
                .get_item(&address)
                .or_else(|_| claims_by_address.get_item(address.to_lowercase()))?;
            for name in ["index", "proof"] {
                if !part(&found, name)?.eq(made.get_item(name)?)? {
                    return Err(wrong(format!(
                        "the {name} of {address} is not that which the claims make"
                    )));
                }
            }
        }
        Ok(tree)
    }

    /// `merkleRoot`, `tokenTotal` and the `claims` by address, as the distributor's web service
    /// reads them.
    fn dump<'py>(&self, py: Python<'py>) -> PyResult<Dump<'py>> {
        let claims = PyDict::new(py);
        let mut total = PyInt::new(py, 0).into_any();
        for (index, (address, amount)) in self.tree.claims().iter().enumerate() {
            let claim = PyDict::new(py);
            claim.set_item("index", index)?;
            claim.set_item("amount", even_hex(amount))?;
            claim.set_item("proof", self.get_proof(py, index)?)?;
            claims.set_item(address.to_string(), claim)?;
            total = total.add(wide_int(py, amount)?)?;
        }
        let digits = total.call_method1("__format__", ("x",))?.to_string();
        let dump = PyDict::new(py);
        dump.set_item("merkleRoot", self.root())?;
        dump.set_item(
            "tokenTotal",
            format!("0x{}{digits}", if digits.len() % 2 == 1 { "0" } else { "" }),
        )?;
        dump.set_item("claims", claims)?;
        Ok(Dump(dump.into_any()))
    }
}

/// Hexadecimal with an even number of digits.
fn even_hex(amount: &U256) -> String {
    let bytes = amount.to_be_bytes::<32>();
    let first = bytes.iter().position(|&byte| byte != 0).unwrap_or(31);
    to_hex(&bytes[first..])
}

/// A part that a dump must have.
fn part<'py>(of: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    of.get_item(name).map_err(|_| {
        let what = format!("the dump has no \"{name}\"");
        to_py(of.py(), HoldError::Proof(what))
    })
}

fn hashes(py: Python<'_>, proof: &[String]) -> PyResult<Vec<Hash>> {
    proof
        .iter()
        .map(|node| hash_from_hex(node).map_err(|error| to_py(py, error)))
        .collect()
}

/// The items of a part of a JSON object that must be a list.
fn list<'py>(part: &Bound<'py, PyAny>, name: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
    match (part.cast::<PyList>(), part.cast::<PyTuple>()) {
        (Ok(items), _) => Ok(items.iter().collect()),
        (_, Ok(items)) => Ok(items.iter().collect()),
        _ => {
            let what = format!("\"{name}\" is not a list");
            Err(to_py(part.py(), HoldError::Proof(what)))
        }
    }
}

fn claims(values: &Bound<'_, PyAny>) -> PyResult<Vec<Claim>> {
    let rows = values.try_iter().map_err(|_| {
        let what = "claims are pairs of an address and an amount, as [(\"0x...\", 5)]";
        to_py(values.py(), HoldError::Proof(what.to_owned()))
    })?;
    rows.map(|value| claim(&value?)).collect()
}

/// An (address, amount); the amount an int or decimal digits.
fn claim(value: &Bound<'_, PyAny>) -> PyResult<Claim> {
    let py = value.py();
    let wrong = || {
        let shown = value
            .repr()
            .map_or_else(|_| "?".to_owned(), |shown| shown.to_string());
        let what = "is not a pair of an address and an amount";
        to_py(py, HoldError::Proof(format!("{} {what}", excerpt(&shown))))
    };
    let pair: Vec<Bound<'_, PyAny>> = value.extract().map_err(|_| wrong())?;
    let [address, amount] = pair.as_slice() else {
        return Err(wrong());
    };
    let address: String = address.extract().map_err(|_| wrong())?;
    let address: Address = address.parse().map_err(|error| to_py(py, error))?;
    let amount = match amount.extract::<String>() {
        Ok(digits) => U256::from_str_radix(&digits, 10).map_err(|_| wrong())?,
        Err(_) => match amount.extract::<WideInt>() {
            Ok(units) => units.0,
            Err(error) if error.is_instance_of::<PyTypeError>(py) => return Err(wrong()),
            Err(too_large) => return Err(too_large),
        },
    };
    Ok((address, amount))
}

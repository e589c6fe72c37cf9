//! Merkle trees of claims.

use poh_holdmetrics::merkle::{
    Address, Claim, DistributorTree, Hash, MultiProof, StandardTree, amount_from_digits,
    distributor_leaf, hash_from_hex, standard_leaf, to_hex, verify, verify_multi,
};
use poh_holdmetrics::{HoldError, U256, excerpt};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyInt, PyList, PyMapping, PyTuple};

use crate::arguments::{Dump, Leaf, LeafEncoding, Leaves};
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
///
/// Who has the root and no tree can check a proof too:
///
/// >>> root, proof = tree.root, tree.get_proof(0)
/// >>> StandardMerkleTree.verify_by_root(root, ["address", "uint256"], claims[0], proof)
/// True
/// >>> StandardMerkleTree.verify_by_root(root, ["address", "uint256"], claims[1], proof)
/// False
#[pyclass(frozen, module = "poh_holdmetrics")]
pub(crate) struct StandardMerkleTree {
    tree: StandardTree,
}

#[pymethods]
impl StandardMerkleTree {
    /// A tree of claims: pairs of an address (0x and 40 digits) and a whole amount.
    ///
    /// Parameters
    /// ----------
    /// values
    ///     The claims; the tree keeps their order.
    /// leaf_encoding
    ///     ["address", "uint256"], as OpenZeppelin's `of` asks for; it is the only one.
    #[staticmethod]
    #[pyo3(signature = (values, leaf_encoding=None))]
    fn of(values: Leaves<'_>, leaf_encoding: Option<LeafEncoding<'_>>) -> PyResult<Self> {
        let py = values.0.py();
        leaf_encoding.map_or(Ok(()), |encoding| check_encoding(&encoding))?;
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
        if encoding != ENCODING {
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
        dump.set_item("leafEncoding", ENCODING)?;
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
        let (multi, numbers) = py
            .detach(|| self.tree.multi_proof(&numbers))
            .map_err(|error| to_py(py, error))?;
        let in_order = PyList::empty(py);
        for number in numbers {
            let (address, amount) = &self.tree.claims()[number];
            in_order.append((address.to_string(), wide_int(py, amount)?))?;
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
        Ok(verify_multi(
            &self.tree.root(),
            &self::multi_proof(&multi_proof.0)?,
        ))
    }

    /// Whether a proof leads from a claim to a root, for who has no tree: OpenZeppelin's static
    /// `verify(root, leafEncoding, leaf, proof)`.
    ///
    /// Parameters
    /// ----------
    /// root
    ///     The hash that the contract keeps.
    /// leaf_encoding
    ///     ["address", "uint256"]; it is the only one.
    /// leaf
    ///     The claim: its address and amount.
    /// proof
    ///     The hashes, as `get_proof` gives them.
    #[staticmethod]
    fn verify_by_root(
        root: &str,
        leaf_encoding: LeafEncoding<'_>,
        leaf: Leaf<'_>,
        proof: Vec<String>,
    ) -> PyResult<bool> {
        let py = leaf.0.py();
        check_encoding(&leaf_encoding)?;
        let root = hash_from_hex(root).map_err(|error| to_py(py, error))?;
        let leaf_hash = standard_leaf(&claim(&leaf.0)?);
        Ok(verify(&root, leaf_hash, &hashes(py, &proof)?))
    }

    /// Whether a proof of several claims, as `get_multi_proof` gives it, leads to a root, for who has no
    /// tree: OpenZeppelin's static `verifyMultiProof(root, leafEncoding, multiProof)`.
    #[staticmethod]
    fn verify_multi_proof_by_root(
        root: &str,
        leaf_encoding: LeafEncoding<'_>,
        multi_proof: Dump<'_>,
    ) -> PyResult<bool> {
        check_encoding(&leaf_encoding)?;
        let root = hash_from_hex(root).map_err(|error| to_py(multi_proof.0.py(), error))?;
        Ok(verify_multi(&root, &self::multi_proof(&multi_proof.0)?))
    }
}

impl StandardMerkleTree {
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

/// A Merkle tree of claims in the format of Uniswap's merkle-distributor, where each has an index:
/// its place in the order of the addresses' text with its checksum, as Uniswap's script numbers them.
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

    /// A tree from what `dump` or another script gave, checked in full. Claims keep their indexes,
    /// whatever the order of their addresses.
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
        let (mut claims, mut proofs) = (Vec::new(), Vec::new());
        for pair in claims_by_address.items()? {
            let (address, claim): (String, Bound<'_, PyAny>) = pair
                .extract()
                .map_err(|_| wrong("an address of \"claims\" is not text".into()))?;
            let address: Address = address.parse().map_err(|error| to_py(py, error))?;
            let amount: String = part(&claim, "amount")?.extract().unwrap_or_default();
            let units = amount
                .strip_prefix("0x")
                .and_then(|digits| amount_from_digits(digits, 16))
                .ok_or_else(|| {
                    let shown = excerpt(&amount);
                    wrong(format!(
                        "{shown:?} is no amount; give 0x and hexadecimal digits, up to 256 bits"
                    ))
                })?;
            let index = Some(part(&claim, "index")?)
                .filter(|index| !index.is_instance_of::<PyBool>())
                .and_then(|index| index.extract::<u64>().ok())
                .ok_or_else(|| {
                    wrong(format!(
                        "the index of {address} is no number; number the claims from 0"
                    ))
                })?;
            let proof: Vec<String> = part(&claim, "proof")?.extract().map_err(|_| {
                wrong(format!(
                    "the proof of {address} is no list of hashes; give what the script gave"
                ))
            })?;
            claims.push((index, (address, units)));
            proofs.push((index, hashes(py, &proof)?));
        }
        let tree = py
            .detach(|| DistributorTree::indexed(claims))
            .map_err(|error| to_py(py, error))?;
        let tree = MerkleDistributor { tree };
        let root = part(&data.0, "merkleRoot")?.extract::<String>();
        let root = root.ok().and_then(|text| hash_from_hex(&text).ok());
        if root != Some(tree.tree.root()) {
            let made = tree.root();
            return Err(wrong(format!(
                "merkleRoot is not {made}, which the claims make"
            )));
        }
        // Others write other numbers of zeros in front.
        let written = part(&data.0, "tokenTotal")?.extract::<String>();
        let written = written.unwrap_or_default().to_lowercase();
        let made = tree.total(py)?;
        let digits = |text: &str| {
            let digits = text.strip_prefix("0x").filter(|digits| !digits.is_empty());
            digits.map(|digits| digits.trim_start_matches('0').to_owned())
        };
        if digits(&written) != digits(&made) {
            return Err(wrong(format!(
                "tokenTotal is not {made}, which the claims make"
            )));
        }
        for (index, proof) in proofs {
            // It is that of a claim, so it fits.
            let index = index as usize;
            if tree.tree.proof(index).map_err(|error| to_py(py, error))? != proof {
                let (address, _) = tree.tree.claims()[index];
                return Err(wrong(format!(
                    "the proof of {address} is not that which the claims make"
                )));
            }
        }
        Ok(tree)
    }

    /// `merkleRoot`, `tokenTotal` and the `claims` by address, as the distributor's web service
    /// reads them.
    fn dump<'py>(&self, py: Python<'py>) -> PyResult<Dump<'py>> {
        let claims = PyDict::new(py);
        for (index, (address, amount)) in self.tree.claims().iter().enumerate() {
            let claim = PyDict::new(py);
            claim.set_item("index", index)?;
            claim.set_item("amount", even_hex(amount))?;
            claim.set_item("proof", self.get_proof(py, index)?)?;
            claims.set_item(address.to_string(), claim)?;
        }
        let dump = PyDict::new(py);
        dump.set_item("merkleRoot", self.root())?;
        dump.set_item("tokenTotal", self.total(py)?)?;
        dump.set_item("claims", claims)?;
        Ok(Dump(dump.into_any()))
    }
}

impl MerkleDistributor {
    /// The sum of all claims, which may pass 256 bits, in hexadecimal with an even number of digits.
    fn total(&self, py: Python<'_>) -> PyResult<String> {
        let mut total = PyInt::new(py, 0).into_any();
        for (_, amount) in self.tree.claims() {
            total = total.add(wide_int(py, amount)?)?;
        }
        let digits = total.call_method1("__format__", ("x",))?.to_string();
        let zero = if digits.len() % 2 == 1 { "0" } else { "" };
        Ok(format!("0x{zero}{digits}"))
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

/// The types of a leaf's values, in the words of Solidity's ABI.
const ENCODING: [&str; 2] = ["address", "uint256"];

fn check_encoding(encoding: &LeafEncoding<'_>) -> PyResult<()> {
    let types: Vec<String> = encoding.0.extract().unwrap_or_default();
    if types == ENCODING {
        return Ok(());
    }
    let shown = excerpt(&encoding.0.repr()?.to_string());
    let what = format!("leaf_encoding={shown} can't be; give {ENCODING:?}, the only one there is");
    Err(to_py(encoding.0.py(), HoldError::Argument(what)))
}

/// What `get_multi_proof` gave.
fn multi_proof(value: &Bound<'_, PyAny>) -> PyResult<MultiProof> {
    let py = value.py();
    let wrong = |_| {
        let what = "a multi-proof has leaves, proof and proofFlags, as get_multi_proof gives it";
        to_py(py, HoldError::Proof(what.into()))
    };
    let part = |name: &str| value.get_item(name).map_err(wrong);
    let mut leaves = Vec::new();
    for leaf in list(&part("leaves")?, "leaves")? {
        leaves.push(standard_leaf(&claim(&leaf)?));
    }
    let proof = part("proof")?.extract::<Vec<String>>().map_err(wrong)?;
    let proof = hashes(py, &proof)?;
    let flags = part("proofFlags")?.extract().map_err(wrong)?;
    Ok(MultiProof {
        leaves,
        proof,
        flags,
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
        Ok(digits) => amount_from_digits(&digits, 10).ok_or_else(|| {
            let shown = excerpt(&digits);
            let what = "is no amount; give an int or decimal digits, up to 256 bits";
            to_py(py, HoldError::Proof(format!("{shown:?} {what}")))
        })?,
        Err(_) => match amount.extract::<WideInt>() {
            Ok(units) => units.0,
            Err(error) if error.is_instance_of::<PyTypeError>(py) => return Err(wrong()),
            Err(too_large) => return Err(too_large),
        },
    };
    Ok((address, amount))
}

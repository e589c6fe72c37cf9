"""Merkle trees: those of OpenZeppelin's own library, and every proof against its root."""

import copy
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import (
    HoldEvent,
    HoldMetricsError,
    MerkleDistributor,
    StandardMerkleTree,
    score,
)

PEER = json.loads((Path(__file__).parent / "data" / "merkle_peer.json").read_text("utf-8"))

addresses = st.integers(0, 2**160 - 1).map(lambda number: f"0x{number:040x}")
amounts = st.integers(0, 2**256 - 1)
claims = st.lists(st.tuples(addresses, amounts), min_size=1, max_size=40)


@pytest.mark.parametrize("peer", PEER, ids=lambda peer: str(len(peer["proofs"])))
def test_the_same_tree_as_openzeppelin(peer):
    values = [value["value"] for value in peer["dump"]["values"]]
    tree = StandardMerkleTree.of(values)
    assert tree.root == peer["root"]
    assert tree.dump()["tree"] == peer["dump"]["tree"]
    assert [tree.get_proof(number) for number in range(len(tree))] == peer["proofs"]
    multi = tree.get_multi_proof(peer["some"])
    assert multi["proof"] == peer["multi"]["proof"]
    assert multi["proofFlags"] == peer["multi"]["proofFlags"]
    assert [amount for _, amount in multi["leaves"]] == [
        int(amount) for _, amount in peer["multi"]["leaves"]
    ]
    loaded = StandardMerkleTree.load(peer["dump"])
    assert loaded.root == peer["root"]
    assert loaded.get_proof(0) == peer["proofs"][0]


@settings(max_examples=50)
@given(claims, st.data())
def test_every_proof_leads_to_the_root(values, data):
    tree = StandardMerkleTree.of(values)
    number = data.draw(st.integers(0, len(values) - 1))
    proof = tree.get_proof(number)
    assert tree.get_proof(values[number]) is not None
    assert tree.verify(values[number], proof)
    address, amount = values[number]
    assert not tree.verify((address, amount ^ 1), proof)
    some = data.draw(st.sets(st.integers(0, len(values) - 1)))
    multi = tree.get_multi_proof(some)
    assert tree.verify_multi_proof(multi)
    assert StandardMerkleTree.load(json.loads(json.dumps(tree.dump()))).root == tree.root


@settings(max_examples=50)
@given(claims.map(dict).map(lambda pairs: list(pairs.items())))
def test_the_distributor_has_a_proof_for_each_claim(values):
    tree = MerkleDistributor.of(values)
    dump = tree.dump()
    assert dump["merkleRoot"] == tree.root
    assert int(dump["tokenTotal"], 16) == sum(amount for _, amount in values)
    found = {address.lower(): int(claim["amount"], 16) for address, claim in dump["claims"].items()}
    assert found == dict(values)
    assert MerkleDistributor.load(json.loads(json.dumps(dump))).root == tree.root
    for address, claim in dump["claims"].items():
        leaf = (address, int(claim["amount"], 16))
        assert tree.verify(claim["index"], leaf, claim["proof"])
        assert not tree.verify(claim["index"] + 1, leaf, claim["proof"])
        assert not tree.verify(claim["index"], (address, leaf[1] ^ 1), claim["proof"])
    indexes = [claim["index"] for claim in dump["claims"].values()]
    assert indexes == list(range(len(values)))
    assert [int(address, 16) for address in dump["claims"]] == sorted(
        int(address, 16) for address, _ in values
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda dump: dump.update(format="core-v1"), "format"),
        (lambda dump: dump.update(leafEncoding=["address"]), "leafEncoding"),
        (lambda dump: dump.pop("tree"), 'no "tree"'),
        (lambda dump: dump["tree"].pop(), "nodes"),
        (lambda dump: dump["tree"].__setitem__(1, "0x" + "00" * 32), "node 1"),
        (lambda dump: dump["tree"].__setitem__(1, "0xzz"), "not a hash"),
        (lambda dump: dump["values"][0].update(treeIndex=0), "treeIndex of value 0"),
        (lambda dump: dump["values"][0].update(treeIndex=10**9), "treeIndex of value 0"),
        (lambda dump: dump["values"][0].update(value=["0x00", "1"]), "not an address"),
        (lambda dump: dump["values"][0].update(value=[1]), "not a pair"),
        (lambda dump: dump["values"][0]["value"].__setitem__(1, "-1"), "not a pair"),
        (lambda dump: dump["values"][0]["value"].__setitem__(1, None), "not a pair"),
        (lambda dump: dump["values"][0]["value"].__setitem__(1, True), "not a pair"),
    ],
)
def test_a_dump_that_was_changed(change, message):
    dump = copy.deepcopy(PEER[3]["dump"])
    change(dump)
    with pytest.raises(HoldMetricsError, match=message):
        StandardMerkleTree.load(dump)


ONE, TWO = "0x" + "11" * 20, "0x" + "22" * 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda dump: dump.pop("claims"), 'no "claims"'),
        (lambda dump: dump.update(claims=[]), "not an object"),
        (lambda dump: dump.update(claims={}), "at least one claim"),
        (lambda dump: dump.update(merkleRoot="0x" + "00" * 32), "merkleRoot is not 0x"),
        (lambda dump: dump.update(tokenTotal="0x00"), "tokenTotal is not 0x08"),
        (lambda dump: dump["claims"][ONE].pop("amount"), 'no "amount"'),
        (lambda dump: dump["claims"][ONE].update(amount="5"), '"5" is no amount'),
        (lambda dump: dump["claims"][ONE].update(amount="0x06"), "merkleRoot is not"),
        (lambda dump: dump["claims"][ONE].update(index=1), f"the index of {ONE}"),
        (lambda dump: dump["claims"][TWO].update(proof=[]), f"the proof of {TWO}"),
        (lambda dump: dump["claims"].update({"0x": dump["claims"][ONE]}), "not an address"),
    ],
)
def test_a_dump_of_a_distributor_that_was_changed(change, message):
    dump = MerkleDistributor.of([(ONE, 5), (TWO, 3)]).dump()
    assert MerkleDistributor.load(dump).dump() == dump
    change(dump)
    with pytest.raises(HoldMetricsError, match=message):
        MerkleDistributor.load(dump)


def test_a_claim_is_found_by_its_value():
    claims = [(f"0x{number:040x}", number % 7) for number in range(500)]
    tree = StandardMerkleTree.of([*claims, claims[3]])
    for number, leaf in enumerate(claims):
        assert tree.get_proof(leaf) == tree.get_proof(number)
        with pytest.raises(HoldMetricsError, match="the tree has no claim of 9 by"):
            tree.get_proof((leaf[0], 9))


def test_addresses_with_a_wrong_checksum():
    right = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # an example of EIP-55
    assert StandardMerkleTree.of([(right, 1)]).dump()["values"][0]["value"][0] == right
    with pytest.raises(HoldMetricsError, match="checksum"):
        StandardMerkleTree.of([(right.replace("5aA", "5AA"), 1)])


def test_claims_that_cannot_be():
    with pytest.raises(HoldMetricsError, match="at least one claim"):
        StandardMerkleTree.of([])
    with pytest.raises(HoldMetricsError, match="claims twice"):
        MerkleDistributor.of([("0x" + "11" * 20, 1), ("0x" + "11" * 20, 2)])
    tree = StandardMerkleTree.of([("0x" + "11" * 20, 1)])
    with pytest.raises(HoldMetricsError, match="no claim 7"):
        tree.get_proof(7)
    with pytest.raises(HoldMetricsError, match="named twice"):
        tree.get_multi_proof([0, 0])


def test_scores_as_claims():
    alice = "0x" + "aa" * 20
    scores = score([HoldEvent("t", alice, 0, 3, "0.5")], at=10)
    tree = StandardMerkleTree.of(scores.amounts(unit="1e-9").items())
    assert tree.verify((alice, 1_500_000_000), tree.get_proof(0))
    with pytest.raises(HoldMetricsError, match="not a whole number"):
        scores.amounts(unit=1)
    with pytest.raises(HoldMetricsError, match="unit of 0"):
        scores.amounts(unit=0)


# ---- With the real libraries --------------------------------------------------------------------

NODE_PACKAGES = (
    "@openzeppelin/merkle-tree@1.0.8",
    "@uniswap/merkle-distributor@1.0.1",
    "@ethereumjs/evm@10",
    "@ethereumjs/util@10",
    "ethers@6",
)


@pytest.mark.slow
def test_libraries_and_contracts_of_others_accept_the_proofs(tmp_path):
    """OpenZeppelin's library and this one take each other's trees; Uniswap's contract pays."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("the peers are JavaScript, and there is no node and npm")
    make = random.Random(20240501)
    standard, distributor = [], []
    for size in (1, 2, 3, 7, 64, 333):
        claims = [
            (f"0x{make.randrange(2**160):040x}", make.randrange(2 ** make.choice((8, 90, 240))))
            for _ in range(size)
        ]
        tree = StandardMerkleTree.of(claims)
        some = sorted(make.sample(range(size), make.randint(0, size)))
        multi = tree.get_multi_proof(some)
        multi["leaves"] = [(address, str(amount)) for address, amount in multi["leaves"]]
        standard.append(
            {
                "values": [(address, str(amount)) for address, amount in claims],
                "root": tree.root,
                "dump": tree.dump(),
                "proofs": [tree.get_proof(number) for number in range(size)],
                "some": some,
                "multi": multi,
            }
        )
        if size < 100:
            distributor.append(MerkleDistributor.of(claims).dump())
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", tmp_path]
    subprocess.run([*install, *NODE_PACKAGES], check=True, capture_output=True)
    script = shutil.copy(Path(__file__).parent / "data" / "merkle_contracts.mjs", tmp_path)
    done = subprocess.run(
        [node, script],
        input=json.dumps({"standard": standard, "distributor": distributor}),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(standard, json.loads(done.stdout), strict=True):
        tree = StandardMerkleTree.load(theirs["dump"])
        assert tree.root == ours["root"]
        # Theirs keeps an address as it was written, ours writes its checksum.
        assert json.dumps(tree.dump()).lower() == json.dumps(theirs["dump"]).lower()
        assert [tree.get_proof(number) for number in range(len(tree))] == theirs["proofs"]
        assert tree.verify_multi_proof(theirs["multi"])
        assert theirs["multi"]["proof"] == ours["multi"]["proof"]

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
    assert list(dump["claims"]) == sorted(dump["claims"])


# ---- Held against the definitions, in plain Python ----------------------------------------------


def keccak(data):
    """Keccak-256, from its definition."""

    def turned(lane, by):
        return (lane << by % 64 | lane >> (64 - by % 64)) % 2**64

    padded = bytearray(data + b"\x01" + bytes(-(len(data) + 1) % 136))
    padded[-1] |= 0x80
    places = [(x, y) for y in range(5) for x in range(5)]
    state = dict.fromkeys(places, 0)
    for block in range(0, len(padded), 136):
        for number, place in enumerate(places[:17]):
            begin = block + 8 * number
            state[place] ^= int.from_bytes(padded[begin : begin + 8], "little")
        register = 1
        for _ in range(24):
            columns = [0] * 5
            for x, y in places:
                columns[x] ^= state[x, y]
            for x, y in places:
                state[x, y] ^= columns[x - 1] ^ turned(columns[(x + 1) % 5], 1)
            moved = {(0, 0): state[0, 0]}
            x, y, by = 1, 0, 0
            for step in range(1, 25):
                by += step
                moved[y, (2 * x + 3 * y) % 5] = turned(state[x, y], by)
                x, y = y, (2 * x + 3 * y) % 5
            for x, y in places:
                state[x, y] = moved[x, y] ^ ~moved[(x + 1) % 5, y] & moved[(x + 2) % 5, y]
            for power in range(7):
                state[0, 0] ^= (register & 1) << (2**power - 1)
                register = register << 1 ^ (0x171 if register >> 7 else 0)
    return b"".join(state[place].to_bytes(8, "little") for place in places[:4])


def checksummed(address):
    """The address as EIP-55 writes it."""
    digits = address[2:].lower()
    marks = keccak(digits.encode()).hex()
    pairs = zip(digits, marks, strict=False)
    return "0x" + "".join(digit.upper() if mark > "7" else digit for digit, mark in pairs)


def distribution(amounts):
    """What a script writes that numbers these amounts by address in the order that they have."""
    leaves = {
        address: keccak(
            index.to_bytes(32) + bytes.fromhex(address[2:]) + amount.to_bytes(32),
        )
        for index, (address, amount) in enumerate(amounts.items())
    }
    levels = [sorted(leaves.values())]
    while len(levels[-1]) > 1:
        level = levels[-1]
        pairs = [sorted(level[place : place + 2]) for place in range(0, len(level), 2)]
        levels.append([keccak(b"".join(pair)) if pair[1:] else pair[0] for pair in pairs])

    def proof(address):
        place = levels[0].index(leaves[address])
        found = []
        for level in levels:
            found += [f"0x{node.hex()}" for node in level[place ^ 1 : (place ^ 1) + 1]]
            place //= 2
        return found

    claims = {
        address: {"index": index, "amount": even(amount), "proof": proof(address)}
        for index, (address, amount) in enumerate(amounts.items())
    }
    root = f"0x{levels[-1][0].hex()}"
    return {"merkleRoot": root, "tokenTotal": even(sum(amounts.values())), "claims": claims}


def even(number):
    digits = f"{number:x}"
    return "0x" + digits.zfill(len(digits) + len(digits) % 2)


# 20 addresses whose checksum gives the first letters both capitals and small ones.
MIXED = {checksummed(f"0x{0xA000 + 0x0411 * n:04x}{n:036x}"): 5 * n + 1 for n in range(20)}


def test_the_definition_of_keccak_here():
    assert keccak(b"").hex().startswith("c5d2460186f7233c927e7db2dcc703c0")
    right = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # an example of EIP-55
    assert checksummed(right.lower()) == right


def test_the_distributor_numbers_claims_as_uniswaps_script():
    """By the text of the addresses, where "B" is before "a"."""
    in_order = dict(sorted(MIXED.items()))
    assert list(in_order) != sorted(MIXED, key=str.lower)
    made = MerkleDistributor.of([(address.lower(), amount) for address, amount in MIXED.items()])
    assert made.dump() == distribution(in_order)
    assert list(made.dump()["claims"]) == list(in_order)


@settings(max_examples=20)
@given(st.permutations(list(MIXED.items())))
def test_a_distribution_in_another_order(pairs):
    """Older scripts number the claims as the balances came."""
    written = distribution(dict(pairs))
    tree = MerkleDistributor.load(written)
    assert tree.root == written["merkleRoot"]
    assert tree.dump() == written
    assert list(tree.dump()["claims"]) == [address for address, _ in pairs]
    for index, (address, _) in enumerate(pairs):
        assert tree.get_proof(index) == written["claims"][address]["proof"]


def test_a_distribution_that_others_wrote():
    """Small letters, no zero in front, more than we know, and the claims in any order."""
    written = distribution(MIXED)
    claims = sorted(written["claims"].items())
    for address, claim in claims:
        claim["amount"] = hex(MIXED[address])
        claim["flags"] = {"isLP": True}
    written |= {"tokenTotal": hex(sum(MIXED.values())), "numDrops": len(claims)}
    written["claims"] = {address.lower(): claim for address, claim in claims}
    assert MerkleDistributor.load(written).dump() == distribution(MIXED)
    written["claims"][claims[0][0]] = claims[0][1] | {"index": len(claims)}
    with pytest.raises(HoldMetricsError, match=f"{claims[0][0]} claims twice; give it one claim"):
        MerkleDistributor.load(written)


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
        (lambda dump: dump["values"][0]["value"].__setitem__(1, "-1"), '"-1" is no amount'),
        (lambda dump: dump["values"][0]["value"].__setitem__(1, ""), '"" is no amount'),
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
        (lambda dump: dump["claims"][ONE].update(index=1), "1, is that of 0x.* too; number"),
        (lambda dump: dump["claims"][TWO].update(index=2), f"{TWO}, 2, is too high for 2 claims"),
        (lambda dump: dump["claims"][TWO].update(index=2**64), f"the index of {TWO} is no number"),
        (lambda dump: dump["claims"][TWO].update(index=-1), f"the index of {TWO} is no number"),
        (lambda dump: dump["claims"][TWO].update(index=True), f"the index of {TWO} is no number"),
        (lambda dump: dump["claims"][TWO].update(index="1"), f"the index of {TWO} is no number"),
        (lambda dump: dump["claims"][TWO].pop("index"), 'no "index"'),
        (lambda dump: dump["claims"][TWO].update(proof=[]), f"the proof of {TWO} is not"),
        (lambda dump: dump["claims"][TWO].update(proof=5), f"the proof of {TWO} is no list"),
        (lambda dump: dump["claims"][TWO].update(proof=["0x"]), "not a hash"),
        (lambda dump: dump.update(tokenTotal="0x_8"), "tokenTotal is not 0x08"),
        (lambda dump: dump.update(tokenTotal="8"), "tokenTotal is not 0x08"),
        (lambda dump: dump.update(tokenTotal=8), "tokenTotal is not 0x08"),
        (lambda dump: dump.update(merkleRoot=None), "merkleRoot is not 0x"),
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


def test_the_encoding_of_leaves_is_that_of_openzeppelins_call():
    assert StandardMerkleTree.of([(ONE, 5)], ["address", "uint256"]).root
    assert StandardMerkleTree.of([(ONE, 5)], leaf_encoding=("address", "uint256")).root
    for wrong in (["address", "uint128"], ["uint256", "address"], ["address"], "address", 5):
        with pytest.raises(HoldMetricsError, match=r'leaf_encoding=.* give \["address", "uint256"'):
            StandardMerkleTree.of([(ONE, 5)], wrong)


@pytest.mark.parametrize("peer", PEER, ids=lambda peer: str(len(peer["proofs"])))
def test_a_proof_is_checked_without_the_tree(peer):
    encoding = ["address", "uint256"]
    root, other = peer["root"], "0x" + "00" * 32
    for value, proof in zip(peer["dump"]["values"], peer["proofs"], strict=True):
        leaf = value["value"]
        assert StandardMerkleTree.verify_by_root(root, encoding, leaf, proof)
        assert not StandardMerkleTree.verify_by_root(other, encoding, leaf, proof)
        assert not StandardMerkleTree.verify_by_root(root, encoding, (leaf[0], 9), proof)
    verify_multi = StandardMerkleTree.verify_multi_proof_by_root
    assert verify_multi(root, encoding, peer["multi"])
    assert not verify_multi(other, encoding, peer["multi"])
    for verify in (StandardMerkleTree.verify_by_root, verify_multi):
        rest = [(ONE, 5), []] if verify != verify_multi else [peer["multi"]]
        with pytest.raises(HoldMetricsError, match="leaf_encoding="):
            verify(root, ["address"], *rest)
        with pytest.raises(HoldMetricsError, match="not a hash"):
            verify("0x", encoding, *rest)
    with pytest.raises(HoldMetricsError, match="5 is not a pair"):
        StandardMerkleTree.verify_by_root(root, encoding, 5, [])


def test_a_proof_of_very_many_claims():
    """Each leaf is put in its place without a look at all others."""
    claims = [(f"0x{number:040x}", number % 7) for number in range(5_000)]
    tree = StandardMerkleTree.of([*claims, *claims[:5]])
    multi = tree.get_multi_proof(range(len(tree)))
    assert tree.verify_multi_proof(multi)
    leaves = [(address.lower(), amount) for address, amount in multi["leaves"]]
    assert sorted(leaves) == sorted([*claims, *claims[:5]])


@pytest.mark.parametrize(
    "digits", ["", "_", "1_000", "_1", "1_", "+1", " 1", "0x1", "1.0", "\u0661"]
)
def test_an_amount_is_digits_alone(digits):
    for make in (StandardMerkleTree.of, MerkleDistributor.of):
        with pytest.raises(HoldMetricsError, match="is no amount; give an int or decimal digits"):
            make([(ONE, digits)])


@pytest.mark.parametrize("amount", ["0x", "0x_", "0x1_0", "0x10_", "0x+10", "10", "0x" + "f" * 65])
def test_an_amount_in_a_file_is_hexadecimal_digits(amount):
    dump = MerkleDistributor.of([(ONE, 16)]).dump()
    dump["claims"][ONE]["amount"] = amount
    with pytest.raises(HoldMetricsError, match="is no amount; give 0x and hexadecimal digits"):
        MerkleDistributor.load(dump)


def test_amounts_of_up_to_256_bits_as_text():
    most = 2**256 - 1
    tree = StandardMerkleTree.of([(ONE, str(most)), (TWO, "007")])
    assert [value["value"][1] for value in tree.dump()["values"]] == [str(most), "7"]
    with pytest.raises(HoldMetricsError, match="up to 256 bits"):
        StandardMerkleTree.of([(ONE, str(most + 1))])


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

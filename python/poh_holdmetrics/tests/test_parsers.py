"""Any bytes in a file: an answer, or one clear error; never a crash and never another exception.

The core's own parsers meet any bytes in crates/poh_holdmetrics/tests/parsers.rs too.
"""

import copy
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poh_holdmetrics import (
    HoldAggregator,
    HoldEvent,
    HoldMetricsError,
    Holds,
    MerkleDistributor,
    StandardMerkleTree,
    bundle,
    finish,
    from_transfers,
    partial,
    read_transfers,
    score,
)

EVENT = {"holder_id": "a", "token_id": "t", "start": 0, "end": 5, "weight": "1.5"}
LOG = {
    "token_address": "0xt",
    "from_address": "0x" + "0" * 40,
    "to_address": "b",
    "value": 5,
    "block_timestamp": "2024-01-01T00:00:00Z",
    "block_number": 1,
    "log_index": 0,
    "token_id": 7,
}
ALICE, BOB = "0x" + "aa" * 20, "0x" + "bb" * 20
TREE = StandardMerkleTree.of([(ALICE, 1), (BOB, 2), (ALICE, 3)])

many = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "0", "-1", "1e999", "1e-30", "NaN", "9" * 90, ALICE, "0x" + "0" * 64])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def may_refuse(work):
    """Run what either works or says why not."""
    try:
        work()
    except HoldMetricsError as error:
        said = str(error)
    except OverflowError as error:
        said = str(error)
        # A total that is too large for its type, or an amount of more than 256 bits.
        if not re.search("does not fit|not within", said):
            raise
    else:
        return
    if not 0 < len(said) < 2_000:
        pytest.fail(f"an error of {len(said)} letters")


def changed(good, data):
    """A JSON object with a value anywhere in it replaced, taken away or doubled."""
    found = copy.deepcopy(good)
    place = found
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return found
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
            place = inner
            continue
        what = data.draw(st.sampled_from(["replace", "take", "double"]))
        if what == "replace":
            place[key] = data.draw(values)
        elif what == "take":
            del place[key]
        elif isinstance(place, list):
            place.insert(key, copy.deepcopy(inner))
        return found


# ---- Files of events and of transfers -----------------------------------------------------------


@pytest.mark.parametrize("name", ["any.csv", "any.jsonl", "any.parquet"])
@many
@given(data=st.data())
def test_any_bytes_in_a_file(tmp_path, name, data):
    heads = [b"", b"PAR1", ",".join(EVENT).encode() + b"\n", ",".join(LOG).encode() + b"\n"]
    content = data.draw(st.sampled_from(heads)) + data.draw(st.binary(max_size=200))
    path = tmp_path / name
    path.write_bytes(content + data.draw(st.sampled_from([b"", b"PAR1", b"\n"])))
    may_refuse(lambda: Holds.read(path).score(at=9))
    may_refuse(lambda: read_transfers(path).score(at=9))


@many
@given(data=st.data())
def test_any_values_in_csv_and_json_lines(tmp_path, data):
    for good, read in ((EVENT, Holds.read), (LOG, read_transfers)):
        rows = [good, {name: data.draw(values) for name in good}, changed(good, data)]
        path = tmp_path / "values.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
        may_refuse(lambda path=path, read=read: read(path).score(at=9))
        cells = [",".join(str(value) for value in row.values()) for row in rows]
        path = tmp_path / "values.csv"
        text = "\n".join([",".join(good), *cells])
        path.write_text(text, "utf-8", errors="replace")
        may_refuse(lambda path=path, read=read: read(path).score(at=9))


@many
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(EVENT, values)), max_size=3))
def test_any_python_values(rows):
    may_refuse(lambda: score(rows, at=9))
    may_refuse(lambda: Holds({name: [row[name] for row in rows] for name in EVENT}))


@many
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(LOG, values)), min_size=1, max_size=3))
def test_any_python_values_of_transfers(rows):
    for standard in ("erc20", "erc721", "erc1155"):
        may_refuse(lambda standard=standard: from_transfers(rows, standard=standard))
    columns = {name: [row[name] for row in rows] for name in LOG}
    may_refuse(lambda: from_transfers(columns))


# ---- Bundles, Merkle dumps, states --------------------------------------------------------------


@pytest.fixture(scope="module")
def good_bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "bundle.json"
    rows = [HoldEvent("t", ALICE, 0, 10, "1.5"), HoldEvent("t", BOB, 5)]
    Holds(rows).snapshot(at=20).proof_bundle(path, unit="1e-9")
    assert bundle.verify(path) == []
    return json.loads(path.read_text("utf-8"))


@many
@given(data=st.data())
def test_any_change_of_a_bundle(tmp_path, good_bundle, data):
    path = tmp_path / "bundle.json"
    content = changed(good_bundle, data)
    path.write_text(json.dumps(content), "utf-8")
    said = []
    may_refuse(lambda: said.extend(bundle.verify(path)))
    text = path.read_text("utf-8")
    cut = data.draw(st.integers(0, len(text)))
    path.write_text(text[:cut] + data.draw(st.text(max_size=3)), "utf-8")
    may_refuse(lambda: bundle.verify(path))


def test_a_bundle_of_brackets(tmp_path_factory):
    path = tmp_path_factory.mktemp("deep") / "bundle.json"
    path.write_text("[" * 200_000, "utf-8")
    with pytest.raises(HoldMetricsError, match=r"bundle\.json: not a bundle"):
        bundle.verify(path)


@many
@given(st.binary(max_size=100))
def test_any_bytes_in_a_bundle(tmp_path, content):
    path = tmp_path / "bundle.json"
    path.write_bytes(content)
    with pytest.raises(HoldMetricsError):
        bundle.verify(path)


@many
@given(data=st.data())
def test_any_change_of_a_merkle_dump(data):
    found = changed(TREE.dump(), data)
    may_refuse(lambda: StandardMerkleTree.load(found))


@many
@given(values, st.lists(values, max_size=3))
def test_any_values_as_dumps_claims_and_proofs(value, several):
    may_refuse(lambda: StandardMerkleTree.load(value))
    may_refuse(lambda: StandardMerkleTree.of(several))
    may_refuse(lambda: MerkleDistributor.of(several))
    may_refuse(lambda: TREE.get_proof(value))
    may_refuse(lambda: TREE.get_multi_proof(several))
    may_refuse(lambda: TREE.verify(value, []))
    may_refuse(lambda: TREE.verify_multi_proof(value))
    parts = {"leaves": several, "proof": [], "proofFlags": []}
    may_refuse(lambda: TREE.verify_multi_proof(parts))


@many
@given(data=st.data())
def test_any_change_of_a_state_of_the_tracker(data):
    tracker = HoldAggregator()
    tracker.record(HoldEvent("t", "a", 0, 10))
    tracker.record(HoldEvent("t", "b", 0))
    text = tracker.to_state()
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.text(max_size=2))
    found = text[:place] + other + text[place + 1 :]
    if found != text:
        with pytest.raises(HoldMetricsError):
            HoldAggregator.from_state(found)
    may_refuse(lambda: HoldAggregator.from_state(data.draw(st.text(max_size=60))))


@many
@given(data=st.data())
def test_any_change_of_a_state_of_a_part(data):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    rows = pa.table(partial([HoldEvent("t", "a", 0, 10)], at=20)).to_pylist()
    name = data.draw(st.sampled_from(sorted(rows[0])))
    rows[0][name] = data.draw(
        st.none() | st.text(max_size=3) | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=70)
    )
    table = pa.Table.from_pylist(rows)
    may_refuse(lambda: finish(table).to_pylist())

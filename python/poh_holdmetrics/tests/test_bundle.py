"""Proof bundles: what differs is said."""

import json

import pytest

from poh_holdmetrics import (
    Boost,
    HoldEvent,
    HoldMetricsError,
    Holds,
    MerkleDistributor,
    build_info,
    bundle,
)

ALICE, BOB = "0x" + "aa" * 20, "0x" + "bb" * 20
HOLDS = Holds(
    [HoldEvent("t", ALICE, 0, 10, "1.5"), HoldEvent("t", BOB, 5), HoldEvent("u", BOB, 7, 9, 2**80)]
)


@pytest.mark.parametrize("overlap", ["sum", "union", "max"])
@pytest.mark.parametrize(
    "boost", [None, Boost([(0, 1), (30, "1.5")], cap=7), Boost.half_life(3), "linear"]
)
def test_a_bundle_is_as_its_events_say(tmp_path, overlap, boost):
    if boost == "linear":
        boost, overlap = Boost.linear_decay(over=10), "sum"
    unit = "1e-24"
    scores = HOLDS.score(at=20, start=1, overlap=overlap, boost=boost)
    scores.proof_bundle(tmp_path / "bundle.json", unit=unit)
    assert bundle.verify(tmp_path / "bundle.json") == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content.update(root="0x00"), "root: "),
        (lambda content: content.update(inputs_sha256="00"), "inputs_sha256: "),
        (lambda content: content["events"][0].__setitem__(3, 11_000_000), "inputs_sha256: "),
        (lambda content: content["parameters"].update(at_us=10), "root: "),
        (lambda content: content["scores"].pop(), "scores: the bundle has 1 rows"),
        (lambda content: content["scores"][0].update(total_us=1), "scores, row 0: "),
        (lambda content: content.update(unit="1e-10"), "root: "),
        (lambda content: content["parameters"].update(cap=5), "parameters: "),
    ],
)
def test_what_differs_is_said(tmp_path, change, says):
    path = tmp_path / "bundle.json"
    HOLDS.snapshot(at=20).proof_bundle(path, unit="1e-9")
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content), "utf-8")
    assert any(difference.startswith(says) for difference in bundle.verify(path))


def test_a_name_that_is_there_twice(tmp_path):
    path = tmp_path / "bundle.json"
    HOLDS.snapshot(at=20).proof_bundle(path)
    text = path.read_text("utf-8")
    path.write_text(text.replace("{", '{"root": "0x00",', 1), "utf-8")
    with pytest.raises(HoldMetricsError, match="'root' is there twice"):
        bundle.verify(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "poh_holdmetrics-bundle-v2"}',
        '{"format": "poh_holdmetrics-bundle-v1"}',
    ],
)
def test_files_that_are_no_bundles(tmp_path, text):
    path = tmp_path / "bundle.json"
    path.write_text(text, "utf-8")
    with pytest.raises(HoldMetricsError, match=r"bundle\.json: "):
        bundle.verify(path)


@pytest.mark.parametrize("version", [None, 1, "", ["0.1.0"]])
def test_a_bundle_says_which_version_made_it(tmp_path, version):
    path = tmp_path / "bundle.json"
    HOLDS.snapshot(at=20).proof_bundle(path)
    assert bundle.examine(path) == bundle.Verdict([], build_info()["version"])
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(content | {"version": "0.0.7"}), "utf-8")
    assert bundle.examine(path) == bundle.Verdict([], "0.0.7")
    del content["version"]
    path.write_text(json.dumps(content if version is None else content | {"version": version}))
    with pytest.raises(HoldMetricsError, match=r"bundle\.json: the bundle has .*version"):
        bundle.verify(path)


def test_a_bundle_of_the_other_tree(tmp_path):
    path = tmp_path / "bundle.json"
    scores = HOLDS.snapshot(at=20)
    claims = scores.amounts(unit="1e-9")
    bundle.write(scores, path, "1e-9", "uniswap")
    content = json.loads(path.read_text("utf-8"))
    assert content["tree"] == "uniswap"
    assert content["root"] == MerkleDistributor.of(claims.items()).root
    assert bundle.verify(path) == []
    for change in ({"root": "0x00"}, {"tree": "openzeppelin"}):
        path.write_text(json.dumps(content | change), "utf-8")
        assert [said.partition(": ")[0] for said in bundle.verify(path)] == ["root"]
    for tree in ("other", 7, ["uniswap"]):
        path.write_text(json.dumps(content | {"tree": tree}), "utf-8")
        with pytest.raises(HoldMetricsError, match="wrong form"):
            bundle.verify(path)


def test_a_bundle_is_of_holders_or_tokens(tmp_path):
    path = tmp_path / "bundle.json"
    with pytest.raises(HoldMetricsError, match=r'by pairs of them; ask with by="holder" or'):
        HOLDS.snapshot(at=20, by="both").proof_bundle(path)
    assert list(tmp_path.iterdir()) == []
    HOLDS.snapshot(at=20, by="token").proof_bundle(path)
    assert bundle.verify(path) == []


def test_a_bundle_needs_the_whole_answer(tmp_path):
    with pytest.raises(ValueError, match="selection of rows"):
        HOLDS.snapshot(at=20).top_n(1).proof_bundle(tmp_path / "bundle.json", unit=1)
    with pytest.raises(HoldMetricsError, match="not a whole number"):
        HOLDS.snapshot(at=20).proof_bundle(tmp_path / "bundle.json", unit=7)
    assert list(tmp_path.iterdir()) == []

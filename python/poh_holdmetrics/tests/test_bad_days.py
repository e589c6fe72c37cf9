"""Bad input and bad days: one clear error with the row and the field, and never a crash.

Where another file has the test already, it is named here: full disk, Ctrl-C, closed pipe in
test_command.py; a worker that is killed in test_cluster.py; any bytes in test_parsers.py.
"""

import csv
import datetime as dt
import json
import os
import subprocess
import sys

import pytest

from poh_holdmetrics import (
    Boost,
    HoldAggregator,
    HoldEvent,
    HoldMetricsError,
    Holds,
    from_transfers,
    score,
)
from poh_holdmetrics.tracker import load, save

FIELDS = ["holder_id", "token_id", "start", "end", "weight"]
YEAR = 31_556_952
EVIL = [
    "\U0001f469\u200d\U0001f680",
    "a\x00b",
    "\x00",
    "\u202e",
    "\ufeff",
    " ",
    "\u0645",
    "x" * 10**6,
]


def written(folder, name, rows):
    path = folder / name
    if name.endswith(".csv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS, restval="")
            writer.writeheader()
            writer.writerows(rows)
    elif name.endswith(".parquet"):
        parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
        pa = pytest.importorskip("pyarrow")
        columns = {field: [row[field] for row in rows] for field in FIELDS}
        parquet.write_table(pa.table(columns), path, row_group_size=max(len(rows) // 5, 1))
    else:
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


def good(row=0):
    return {"holder_id": f"h{row % 7}", "token_id": "t", "start": row, "end": row + 5, "weight": 1}


def exact(scores):
    return {row["holder_id"]: row["weighted_score_exact"] for row in scores.to_pylist()}


# ---- A wrong type in a far row ------------------------------------------------------------------

WRONG = [
    ("start", "soon"),
    ("end", "later"),
    ("weight", "heavy"),
    ("holder_id", ""),
    ("weight", -1),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
@pytest.mark.parametrize("name", ["far.csv", "far.jsonl"])
def test_a_wrong_value_in_a_far_row_of_a_file(tmp_path, name, field, value):
    rows = [good(row) for row in range(20_000)]
    rows[17_321] |= {field: value}
    with pytest.raises(HoldMetricsError) as caught:
        Holds.read(written(tmp_path, name, rows))
    assert (caught.value.row, caught.value.field) == (17_321, field)
    assert f"{name}: row 17321, {field} " in str(caught.value)


@pytest.mark.parametrize(("field", "value"), WRONG)
@pytest.mark.parametrize("form", ["dicts", "columns", "arrow"])
def test_a_wrong_value_in_a_far_row_of_memory(form, field, value):
    rows = [good(row) for row in range(3_000)]
    rows[2_345] |= {field: value}
    data = rows
    if form != "dicts":
        data = {name: [row[name] for row in rows] for name in FIELDS}
    if form == "arrow":
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        data = pa.table({name: [str(cell) for cell in cells] for name, cells in data.items()})
    with pytest.raises(HoldMetricsError) as caught:
        Holds(data)
    assert (caught.value.row, caught.value.field) == (2_345, field)


@pytest.mark.slow
def test_a_wrong_type_in_row_7_million(tmp_path):
    path = tmp_path / "long.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("holder_id,token_id,start,end,weight\n")
        for block in range(700):
            file.writelines(
                f"h{row % 997},t,{row},{row + 5},1.5\n"
                for row in range(block * 10_000, (block + 1) * 10_000)
            )
        file.write("h1,t,0,5,heavy\n")
    with pytest.raises(HoldMetricsError) as caught:
        Holds.read(path)
    assert (caught.value.row, caught.value.field) == (7_000_000, "weight")


# ---- Nulls, duplicates, zones -------------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("form", ["dicts", "columns", "arrow", "csv", "jsonl", "parquet"])
def test_a_null_in_each_column(tmp_path, form, field):
    rows = [good(0), good(1) | {field: None}, good(2)]

    def read():
        if form == "dicts":
            return Holds(rows)
        if form in {"csv", "jsonl", "parquet"}:
            return Holds.read(written(tmp_path, f"nulls.{form}", rows))
        data = {name: [row[name] for row in rows] for name in FIELDS}
        if form == "arrow":
            pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
            data = pa.table(data)
        return Holds(data)

    if field == "end":
        assert exact(read().score(at=100))["h1"] == "99"  # an open hold
    elif field == "weight" and form in {"dicts", "csv", "jsonl"}:
        assert exact(read().score(at=100))["h1"] == "5"  # without a weight it is 1
    else:
        with pytest.raises(HoldMetricsError) as caught:
            read()
        assert (caught.value.row, caught.value.field) == (1, field)


def test_the_same_row_twice_is_two_lots():
    rows = [good(0), good(0)]
    assert exact(score(rows, at=100)) == {"h0": "10"}
    assert exact(score(rows, at=100, overlap="union")) == {"h0": "5"}
    assert exact(score(rows, at=100, overlap="max")) == {"h0": "5"}


def test_mixed_time_zones():
    # By their offsets: a Windows without tzdata knows no names.
    paris, tokyo = (dt.timezone(dt.timedelta(hours=hours)) for hours in (1, 9))
    rows = [
        good() | {"start": dt.datetime(2024, 1, 1, 1, tzinfo=paris), "end": 1_704_067_260},
        good() | {"start": dt.datetime(2024, 1, 1, 9, tzinfo=tokyo), "end": 1_704_067_260.0},
        good() | {"start": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "end": 1_704_067_260},
    ]
    assert exact(score(rows, at=2 * 10**9)) == {"h0": "180"}
    text = [f"2024-01-01T{hour}" for hour in ("01:00:00+01:00", "09:00:00+09:00", "00:00:00Z")]
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = pa.table(
        {
            "holder_id": ["a"] * 3,
            "token_id": ["t"] * 3,
            "start": text,
            "end": pa.array([1_704_067_260_000] * 3, pa.timestamp("ms", "America/Lima")),
        }
    )
    assert exact(score(table, at=2 * 10**9)) == {"a": "180"}


def test_a_naive_time_among_aware_ones_is_said():
    rows = [good(), good() | {"start": dt.datetime(1970, 1, 1), "end": 5}]
    with pytest.warns(UserWarning, match="without a time zone is read as UTC") as said:
        assert exact(score(rows, at=100)) == {"h0": "10"}
    assert len(said) == 1
    with pytest.raises(HoldMetricsError, match=r"row 1, start is .* without a time zone"):
        Holds(rows, strict=True)


def test_a_hold_that_ends_before_its_start_is_said_in_dates():
    with pytest.raises(
        HoldMetricsError, match="is 2024-01-01T00:00:00Z, before start, 2024-01-02T"
    ):
        HoldEvent("t", "a", 1_704_153_600, 1_704_067_200)


def test_values_of_pandas_that_are_not_there():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    assert exact(score([good() | {"end": pd.NA}, good() | {"end": pd.NaT}], at=9)) == {"h0": "18"}
    for field, value in [("start", pd.NaT), ("start", pd.NA), ("holder_id", pd.NA)]:
        with pytest.raises(HoldMetricsError, match=f"row 0, {field} is missing"):
            Holds([good() | {field: value}])
    with pytest.raises(HoldMetricsError, match=r"row 0, end is NaN; .*None .* for an open hold"):
        Holds([good() | {"end": float("nan")}])
    ids = {"holder_id": ["a", "b"], "token_id": ["t", "t"], "start": [0, 1]}
    ends = pd.Series([5, None], dtype="Int64")
    times = pd.Series(pd.to_datetime(["1970-01-01T00:00:05Z", None]))
    for column in (ends, times):
        assert exact(score(ids | {"end": column}, at=9)) == {"a": "5", "b": "8"}


def test_columns_of_other_libraries_that_have_nulls():
    ids = {"holder_id": ["a", "b"], "token_id": ["t", "t"], "start": [0, 1]}
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    masked = np.ma.masked_array([5, 7], mask=[False, True])
    assert exact(score(ids | {"end": masked}, at=9)) == {"a": "5", "b": "8"}
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert exact(score(ids | {"end": pa.array([5, None])}, at=9)) == {"a": "5", "b": "8"}
    assert exact(score({name: pa.array(cells) for name, cells in ids.items()}, at=9)) == {
        "a": "9",
        "b": "8",
    }
    pl = pytest.importorskip("polars", reason="polars is not installed")
    assert exact(score(ids | {"end": pl.Series([5, None])}, at=9)) == {"a": "5", "b": "8"}


# ---- Long times, strange and long ids -----------------------------------------------------------


@pytest.mark.parametrize("overlap", ["sum", "union", "max"])
def test_holds_of_ten_thousand_years(overlap):
    row = good() | {"start": -5_000 * YEAR, "end": 5_000 * YEAR}
    scores = score([row], at=6_000 * YEAR, overlap=overlap)
    assert exact(scores) == {"h0": str(10_000 * YEAR)}
    assert scores[0]["updated_at"] == dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(
        seconds=5_000 * YEAR
    )
    far = score([good() | {"end": None}], at=100_000 * YEAR, overlap=overlap)
    assert exact(far) == {"h0": str(100_000 * YEAR)}
    boosted = score([row], at=6_000 * YEAR, boost=Boost([(30, 2)]))
    assert exact(boosted) == {"h0": str(2 * 10_000 * YEAR - 30 * 86_400)}
    with pytest.raises(HoldMetricsError, match="out of range"):
        score([good() | {"end": 200_000 * YEAR}], at=1)


def test_strange_and_long_ids_keep_apart(tmp_path):
    rows = [
        good() | {"holder_id": holder, "token_id": token, "start": 0, "end": place + 1}
        for place, holder in enumerate(EVIL)
        for token in EVIL[:3]
    ]
    expected = {holder: str(3 * (place + 1)) for place, holder in enumerate(EVIL)}
    assert exact(score(rows, at=100)) == expected
    assert exact(score({name: [row[name] for row in rows] for name in FIELDS}, at=100)) == expected
    for name in ("ids.csv", "ids.jsonl"):
        assert exact(Holds.read(written(tmp_path, name, rows)).score(at=100)) == expected
    tracker = HoldAggregator()
    for row in rows:
        tracker.record(HoldEvent(**row))
    save(tracker, tmp_path / "state")
    assert dict(load(tmp_path / "state").snapshot(at=100)) == {
        holder: float(score) for holder, score in expected.items()
    }
    answer = score(rows, at=100)
    assert [row["holder_id"] for row in answer.top_n(1).to_pylist()] == [EVIL[-1]]
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    answer.write_parquet(tmp_path / "ids.parquet")
    assert parquet.read_table(tmp_path / "ids.parquet")["holder_id"].to_pylist() == list(expected)


@pytest.mark.parametrize("half", ["\ud800", "a\udfff"])
def test_half_a_letter_is_no_id(half):
    with pytest.raises(HoldMetricsError, match=r"row 0, holder_id .*surrogate"):
        Holds([good() | {"holder_id": half}])
    columns = {name: [cell] for name, cell in (good() | {"token_id": half}).items()}
    with pytest.raises(HoldMetricsError, match=r"row 0, token_id .*surrogate"):
        Holds(columns)


def test_errors_of_long_ids_are_short():
    log = {
        "token_address": "0xt",
        "from_address": "x" * 10**6,
        "to_address": "b",
        "value": 5,
        "block_timestamp": 0,
        "block_number": 1,
        "log_index": 0,
    }
    with pytest.raises(HoldMetricsError, match="transfer 0") as caught:
        from_transfers([log])
    assert len(str(caught.value)) < 1_000
    with pytest.raises(HoldMetricsError, match="there is no") as unknown:
        Holds([good()]).close(holder_id="z" * 10**6, token_id="t", at=5)
    assert len(str(unknown.value)) < 1_000
    with pytest.raises(HoldMetricsError, match="there is no") as unknown:
        Holds([good()]).retract(HoldEvent("t", "z" * 10**6, 0))
    assert len(str(unknown.value)) < 1_000
    tracker = HoldAggregator()
    with pytest.raises(HoldMetricsError, match="there is no") as unknown:
        tracker.record_stop("t", "z" * 10**6)
    assert len(str(unknown.value)) < 1_000


# ---- Files that were cut, changed or are of a later version -------------------------------------


@pytest.mark.parametrize("name", ["two.csv", "two.jsonl"])
def test_the_row_is_that_of_its_file(tmp_path, name):
    one = written(tmp_path, "one.csv", [good(row) for row in range(5)])
    two = written(tmp_path, name, [good(), good() | {"weight": "heavy"}])
    for read in (Holds.read, lambda *paths: score(paths, at=9)):
        with pytest.raises(HoldMetricsError, match=f"{name}: row 1, weight") as caught:
            read(one, two)
        assert (caught.value.row, caught.value.field) == (1, "weight")


def test_damaged_parquet(tmp_path, capfd):
    path = written(tmp_path, "damaged.parquet", [good(row) for row in range(300)])
    whole = path.read_bytes()
    said = []
    for place in range(4, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        for read in (Holds.read, lambda path: score(path, at=9)):
            try:
                read(path)
            except HoldMetricsError as error:
                said.append(str(error))
    assert len(said) > 100
    assert all("damaged.parquet: " in text and len(text) < 1_000 for text in said)
    assert capfd.readouterr().err == ""  # no panic of the library that decodes is shown


def test_truncated_parquet(tmp_path):
    path = written(tmp_path, "cut.parquet", [good(row) for row in range(5_000)])
    whole = path.read_bytes()
    for size in [*range(0, len(whole), max(len(whole) // 40, 1)), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(HoldMetricsError, match=r"cut\.parquet: "):
            Holds.read(path)
    # The end is there and the middle is not what it says.
    middle = bytearray(whole)
    middle[100:1_100] = bytes(1_000)
    path.write_bytes(middle)
    with pytest.raises(HoldMetricsError):
        Holds.read(path)


def test_a_state_file_that_was_cut_or_changed_or_comes_from_later(tmp_path):
    tracker = HoldAggregator()
    tracker.record(HoldEvent("t", "alice", 0, 10))
    tracker.record(HoldEvent("t", "bob", 5))
    path = tmp_path / "state"
    save(tracker, path)
    text = path.read_text("utf-8")
    for size in range(len(text)):
        path.write_text(text[:size], "utf-8")
        with pytest.raises(HoldMetricsError):
            load(path)
    path.write_text(text.replace("alice", "alicf"), "utf-8")
    with pytest.raises(HoldMetricsError):
        load(path)
    path.write_text(text.replace("v1", "v2", 1), "utf-8")
    with pytest.raises(HoldMetricsError, match="version"):
        load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HoldMetricsError):
        load(path)
    with pytest.raises(OSError, match="nowhere"):
        load(tmp_path / "nowhere")


FORKED = """
import os, sys
import numpy as np
from poh_holdmetrics import score

rows = np.arange(400_000)
ids = np.char.mod("h%d", rows % 1000)
data = {"holder_id": ids, "token_id": ids, "start": rows, "end": rows + 5, "weight": rows}
asked = {"at": 10**9, "threads": 4}
before = score(data, **asked).to_pylist()
for _ in range(3):
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if score(data, **asked).to_pylist() != before:
        os._exit(1)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_was_forked_has_threads_of_its_own():
    """Those of its parent, which wait for work, are not in it: it would wait for them for ever."""
    pytest.importorskip("numpy", reason="numpy is not installed")
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    assert subprocess.run(command, timeout=120, check=False).returncode == 0

"""Files and streams of any length: read in batches that are not kept."""

import datetime as dt
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from poh_holdmetrics import Boost, HoldMetricsError, Holds, epochs, score

pa = pytest.importorskip("pyarrow", reason="streams are made with it")
pq = pytest.importorskip("pyarrow.parquet", reason="Parquet files are made with it")

AT = 2_000_000
DAY = 86_400
QUERIES = [
    {},
    {"by": "token"},
    {"by": "both"},
    {"start": 50_000, "end": 900_000, "boost": Boost([(0, 1), (2, "1.5")])},
    {"overlap": "union"},
    {"overlap": "max", "by": "both"},
    {"overlap": "max", "by": "token", "boost": Boost.half_life(3)},
]


def batch(seed, rows=3_000):
    make = np.random.default_rng(seed)
    start = make.integers(0, 1_000_000, rows)
    end = start + make.integers(0, 100_000, rows)
    return pa.record_batch(
        {
            "holder_id": pa.array(
                [f"h{n}" for n in make.integers(0, 50, rows)]
            ).dictionary_encode(),
            "token_id": pa.array([f"token-of-a-long-name-{n}" for n in make.integers(0, 9, rows)]),
            "start": pa.array(start * 10**6, pa.timestamp("us")),
            "end": pa.array(end * 10**6, pa.timestamp("us"), mask=make.random(rows) < 0.1),
            "weight": pa.array(make.integers(0, 1_000, rows)),
        }
    )


BATCHES = [batch(seed) for seed in range(5)]
TABLE = pa.Table.from_batches(
    [part.set_column(0, "holder_id", part["holder_id"].cast(pa.string())) for part in BATCHES]
)


def stream():
    """Batches one after the other, each made when it is asked for."""
    return pa.RecordBatchReader.from_batches(BATCHES[0].schema, iter(BATCHES))


@pytest.mark.parametrize("query", QUERIES, ids=str)
@pytest.mark.parametrize("memory", [None, 0])
def test_a_stream_is_as_good_as_a_table(query, memory):
    expected = Holds(TABLE).score(at=AT, **query).to_pylist()
    assert score(stream(), at=AT, memory=memory, **query).to_pylist() == expected
    assert score(TABLE, at=AT, **query).to_pylist() == expected


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_files_are_as_good_as_a_table(tmp_path, query):
    parquet, coded, csv, lines = (
        tmp_path / f"a.{kind}" for kind in ("parquet", "pq", "csv", "jsonl")
    )
    pq.write_table(TABLE, parquet, row_group_size=2_000)
    pq.write_table(pa.Table.from_batches(BATCHES), coded)
    rows = TABLE.to_pylist()
    with csv.open("w") as file:
        file.write("weight,holder_id,token_id,start,end\n")
        for row in rows:
            end = row["end"] and row["end"].isoformat()
            values = (row["weight"], row["holder_id"], row["token_id"], row["start"].isoformat())
            file.write(",".join(map(str, values)) + f",{end or ''}\n")
    with lines.open("w") as file:
        for row in rows:
            file.write(json.dumps(row, default=str) + "\n")
    expected = Holds(TABLE).score(at=AT, **query).to_pylist()
    for path in (parquet, coded, csv, lines):
        assert score(path, at=AT, **query).to_pylist() == expected, path.name
    twice = Holds.read(parquet, csv).score(at=AT, **query).to_pylist()
    assert score([parquet, str(csv)], at=AT, **query).to_pylist() == twice


@pytest.mark.parametrize("memory", [None, 0])
@pytest.mark.parametrize("by", ["holder", "token", "both"])
@pytest.mark.parametrize("overlap", ["sum", "max"])
def test_epochs_of_files_are_as_good_as_those_of_a_table(tmp_path, memory, by, overlap):
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path, row_group_size=1_000)
    first = min(TABLE["start"].to_pylist()).replace(tzinfo=dt.UTC)
    asked = {"every": "1w", "start": first, "at": AT, "by": by, "overlap": overlap}
    asked |= {"tz": "Europe/Paris", "finalized_before": AT}
    table = epochs(TABLE, **asked).to_pylist()
    assert len(table) > 10
    assert epochs((path,), memory=memory, **asked).to_pylist() == table


def test_columns_that_nobody_asks_for_are_not_read(tmp_path):
    path = tmp_path / "a.parquet"
    table = TABLE.set_column(1, "token_id", pa.array([None] * len(TABLE), pa.string()))
    pq.write_table(table, path)
    assert len(score(path, at=AT)) == 50
    with pytest.raises(HoldMetricsError, match="token_id is missing"):
        score(path, at=AT, overlap="union")
    pq.write_table(TABLE.drop_columns("token_id"), path)
    with pytest.raises(HoldMetricsError, match='no column "token_id"'):
        score(path, at=AT)
    with pytest.raises(HoldMetricsError, match='no column "token_id"'):
        score(TABLE.drop_columns("token_id"), at=AT)


@pytest.mark.parametrize("column", ["holder_id", "token_id"])
@pytest.mark.parametrize("value", [None, ""])
def test_ids_of_a_table_are_checked_also_where_nobody_asks(column, value):
    fault = "missing" if value is None else "empty"
    for kind in (
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), "utf8"),
    ):
        ids = pa.array(["a", "b", value, "c"]).cast(kind)
        table = pa.table({"holder_id": ["h"] * 4, "token_id": ["t"] * 4, "start": [0] * 4})
        table = table.set_column(table.column_names.index(column), column, ids)
        with pytest.raises(HoldMetricsError, match=f"row 2, {column} is {fault}"):
            score(table, at=1)


@pytest.mark.parametrize(
    "query", [{}, {"overlap": "union"}, {"overlap": "union", "memory": 0}], ids=str
)
def test_faults_name_the_row_of_the_whole_stream(query):
    wrong = pa.RecordBatch.from_pylist(
        [{"holder_id": "a", "token_id": "t", "start": 9, "end": 3}],
    )
    schema = wrong.schema
    good = pa.RecordBatch.from_pylist(
        [{"holder_id": "a", "token_id": "t", "start": 0, "end": 3}] * 70_000, schema
    )
    parts = [good] * 20
    reader = pa.RecordBatchReader.from_batches(schema, iter([*parts, wrong]))
    with pytest.raises(HoldMetricsError, match="row 1400000, end") as caught:
        score(reader, at=AT, **query)
    assert (caught.value.row, caught.value.field) == (1_400_000, "end")


def test_an_error_of_the_source_is_told():
    def broken():
        yield BATCHES[0]
        raise OSError("the line is dead")

    reader = pa.RecordBatchReader.from_batches(BATCHES[0].schema, broken())
    with pytest.raises(HoldMetricsError, match="the line is dead"):
        score(reader, at=AT)


def test_an_empty_stream_has_no_rows():
    for query in QUERIES:
        reader = pa.RecordBatchReader.from_batches(BATCHES[0].schema, iter([]))
        assert score(reader, at=AT, **query).to_pylist() == []


def test_a_stream_has_no_bundle(tmp_path):
    with pytest.raises(ValueError, match="only the whole answer of Holds"):
        score(TABLE, at=AT).proof_bundle(tmp_path / "a.json", unit="1e-9")


def test_progress_counts_bytes(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path)
    seen = []
    score([path] * 200, at=AT, progress=seen.append)
    assert seen == sorted(seen)


IN_PROCESS = """
import sys
import numpy as np
import pyarrow as pa
from poh_holdmetrics import score

rows = 1 << 16
start = np.arange(rows)
names = pa.array([f"h{n % 1000}" for n in range(rows)]).dictionary_encode()
tokens = pa.array([f"t{n % 10}" for n in range(rows)]).dictionary_encode()

def batches(count):
    for part in range(count):
        moved = start + part * rows * 2
        columns = [names, tokens, moved, moved + 1]
        yield pa.record_batch(columns, ["holder_id", "token_id", "start", "end"])

def peak_after(count, **query):
    parts = batches(count)
    first = next(parts)
    reader = pa.RecordBatchReader.from_batches(first.schema, parts)
    score(reader, at=2**40, **query)
    # Of this program alone: ru_maxrss would count the process that started it too.
    with open("/proc/self/status") as status:
        return int(status.read().partition("VmHWM:")[2].split()[0]) / 1024

query = eval(sys.argv[1])
few, many = peak_after(16, **query), peak_after(160, **query)
print(few, many)
assert many - few < float(sys.argv[2]), (few, many)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a program's own peak")
@pytest.mark.parametrize(
    ("query", "growth"),
    [({}, 64), ({"overlap": "union", "memory": 8 << 20}, 64)],
    ids=["sum", "union"],
)
def test_memory_does_not_grow_with_the_stream(query, growth):
    """Ten times the rows, which are 250 MB as they come, within some megabytes of the same peak."""
    subprocess.run([sys.executable, "-c", IN_PROCESS, repr(query), str(growth)], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="the folder is named otherwise")
def test_no_room_for_temporary_files(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet")
    code = (
        "import poh_holdmetrics as p, sys\n"
        "try: p.score(sys.argv[1], at=1, overlap='union', memory=0)\n"
        "except p.HoldMetricsError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.parquet")],
        env={**os.environ, "TMPDIR": str(tmp_path / "gone")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "temporary files in" in done.stdout
    assert "TMPDIR" in done.stdout

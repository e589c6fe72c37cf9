"""Holds from files, and answers to files."""

import json
import os
import sys

import pytest

from poh_holdmetrics import HoldEvent, HoldMetricsError, Holds, report, whole_file

CSV = "holder_id,token_id,start,end,weight\na,t,0,10,1\nb,t,1970-01-01T00:00:10Z,,2.5\n"


def exact(holds):
    return {row["holder_id"]: row["weighted_score_exact"] for row in holds.score(at=20).to_pylist()}


def test_formats_agree(tmp_path):
    (tmp_path / "holds.csv").write_text("\ufeff" + CSV, "utf-8")
    lines = [
        {"holder_id": "a", "token_id": "t", "start": 0, "end": 10, "weight": 1},
        {"holder_id": "b", "token_id": "t", "start": 10, "end": None, "weight": "2.5"},
    ]
    (tmp_path / "holds.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, lines)), "utf-8")
    for name in ("holds.csv", "holds.jsonl"):
        assert exact(Holds.read(tmp_path / name)) == {"a": "10", "b": "25"}
    both = Holds.read(tmp_path / "holds.csv", tmp_path / "holds.jsonl")
    assert exact(both) == {"a": "20", "b": "50"}


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table(
        {
            "other": [[1], [2]],
            "holder_id": ["a", "b"],
            "token_id": pa.array(["t", "t"]).dictionary_encode(),
            "start": pa.array([0, 10], pa.timestamp("ms")),
            "end": pa.array([10_000, None], pa.timestamp("ms")),
            "weight": [1.0, 2.5],
        }
    ).set_column(3, "start", pa.array([0, 10_000], pa.timestamp("ms")))
    for compression in ("snappy", "zstd", "lz4", "none"):
        path = tmp_path / f"{compression}.parquet"
        parquet.write_table(table, path, compression=compression, row_group_size=1)
        assert exact(Holds.read(path)) == {"a": "10", "b": "25"}
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(HoldMetricsError, match=r"none\.parquet"):
        Holds.read(path)


def test_an_answer_as_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    (tmp_path / "holds.csv").write_text(CSV, "utf-8")
    scores = Holds.read(tmp_path / "holds.csv").score(at=20)
    scores.write_parquet(tmp_path / "scores.parquet")
    assert parquet.read_table(tmp_path / "scores.parquet").to_pylist() == scores.to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["holds.csv", "scores.parquet"]


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "holds.csv").write_text(CSV, "utf-8")
    scores = Holds.read(tmp_path / "holds.csv").score(at=20)
    with pytest.raises(FileNotFoundError, match=r"can't be written: .*folder\.parquet"):
        scores.write_parquet(tmp_path / "no" / "such" / "folder.parquet")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("holds.csv", CSV + "c,t,5,4,1\n", r"row 2, end"),
        ("holds.csv", "a,b\n1,2\n", r'holds\.csv: there is no column "holder_id"'),
        ("holds.csv", CSV + "c,t\n", r"holds\.csv: row 2 has 2 fields, and the header 5"),
        ("holds.csv", CSV.replace("\n", "\r\n") + "c,t\r\n", "row 2 has 2 fields"),
        ("holds.csv", "", r'there is no column "holder_id"'),
        ("holds.jsonl", '{"holder_id": "a"', r"holds\.jsonl: line 1"),
        ("holds.jsonl", '{"holder_id": "a", "token_id": "t", "start": true}', "row 0, start"),
        ("holds.parquet", "not parquet", r"holds\.parquet: "),
        ("holds.txt", "", "the name says no format"),
    ],
)
def test_files_that_are_wrong(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(HoldMetricsError, match=message):
        Holds.read(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(HoldMetricsError, match=r"nowhere\.csv: "):
        Holds.read(tmp_path / "nowhere.csv")


# ---- Files that are replaced -------------------------------------------------------------------


def test_two_that_write_one_path_at_once(tmp_path):
    """As two threads may, or two containers that share a folder and both have process 1."""
    path = tmp_path / "state"
    with whole_file.writing(path) as first:
        first.write("first")
        with whole_file.writing(path) as second:
            second.write("second, and longer")
        assert path.read_text("utf-8") == "second, and longer"
        first.write(" to last")
    assert path.read_text("utf-8") == "first to last"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
@pytest.mark.parametrize("name", ["scores.parquet", "page.html"])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, name):
    holds = Holds([HoldEvent("t", "a", 0)])

    def write(path):
        if name == "page.html":
            report.write(holds, path, at=20)
        else:
            holds.score(at=20).write_parquet(path)

    path = tmp_path / name
    for mode in (0o600, 0o640, 0o400):
        path.unlink(missing_ok=True)
        path.write_text("as it was", "utf-8")
        path.chmod(mode)
        write(path)
        assert path.stat().st_size > 9
        assert path.stat().st_mode & 0o777 == mode
    umask = os.umask(0o027)
    try:
        write(tmp_path / f"new-{name}")
    finally:
        os.umask(umask)
    assert (tmp_path / f"new-{name}").stat().st_mode & 0o777 == 0o640

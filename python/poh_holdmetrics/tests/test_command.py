"""The command, as a person runs it."""

import json
import os
import subprocess
import sys

import pytest

ALICE, BOB = "0x" + "aa" * 20, "0x" + "bb" * 20
CSV = f"""holder_id,token_id,start,end,weight
{ALICE},t,0,10,1
{BOB},t,1970-01-01T00:00:10Z,,2.5
"""


def run(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "poh_holdmetrics", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "200", **environment},
    )


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "with space \u00e9"
    folder.mkdir()
    (folder / "holds.csv").write_text(CSV, "utf-8")
    return folder


def test_score_as_csv_json_and_table(folder):
    asked = ("score", "holds.csv", "--at", "20")
    text = run(*asked, "--format", "csv", cwd=folder).stdout
    assert text.splitlines()[1:] == [
        f"{ALICE},10.0,10.0,10,1970-01-01T00:00:10+00:00",
        f"{BOB},10.0,25.0,25,1970-01-01T00:00:10+00:00",
    ]
    answer = json.loads(run(*asked, "--format", "json", cwd=folder).stdout)
    assert answer["at_us"] == 20_000_000
    assert answer["rows"][1]["weighted_score_exact"] == "25"
    table = run(*asked, "--top", "1", cwd=folder).stdout
    assert BOB in table
    assert ALICE not in table
    assert "\x1b" not in table


def test_score_by_epoch_with_a_boost(folder):
    asked = ("score", "holds.csv", "--from", "0", "--at", "1970-01-01T00:00:20Z", "--every", "10")
    rows = json.loads(run(*asked, "--format", "json", cwd=folder).stdout)["rows"]
    assert [(row["epoch"], row["holder_id"]) for row in rows] == [(0, ALICE), (1, BOB)]
    boosted = run(
        "score", "holds.csv", "--at", "20", "--boost", "0:3", "--format", "csv", cwd=folder
    )
    assert ",30.0,30," in boosted.stdout


def test_output_files(folder):
    done = run("score", "holds.csv", "--at", "20", "-o", "scores.csv", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert (folder / "scores.csv").read_text("utf-8").startswith("holder_id,total_seconds")
    assert run("score", "holds.csv", "-o", "scores.parquet", cwd=folder).returncode == 0
    assert (folder / "scores.parquet").read_bytes()[:4] == b"PAR1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "holds.csv",
        "scores.csv",
        "scores.parquet",
    ]


def test_transfers(folder):
    zero = "0x" + "0" * 40
    (folder / "logs.csv").write_text(
        "token_address,from_address,to_address,value,block_timestamp,block_number,log_index\n"
        f"0xt,{zero},a,10,1970-01-01 00:00:00 UTC,1,0\n".replace(" UTC", "Z")
        + "0xt,a,b,4,10,2,0\n",
        "utf-8",
    )
    text = run("transfers", "logs.csv", "--at", "20", "--format", "csv", cwd=folder).stdout
    assert [line.split(",")[3] for line in text.splitlines()[1:]] == ["160", "40"]


def test_merkle_and_verify(folder):
    made = run(
        *("merkle", "holds.csv", "--at", "20", "--unit", "1e-9"),
        *("-o", "tree.json", "--bundle", "bundle.json"),
        cwd=folder,
    )
    root = made.stdout.strip()
    assert json.loads((folder / "tree.json").read_text("utf-8"))["tree"][0] == root
    assert json.loads((folder / "bundle.json").read_text("utf-8"))["root"] == root
    good = run("verify", "bundle.json", cwd=folder)
    assert (good.returncode, good.stdout) == (0, "the bundle is as its events say\n")
    text = (folder / "bundle.json").read_text("utf-8")
    (folder / "bundle.json").write_text(text.replace('"25"', '"26"'), "utf-8")
    bad = run("verify", "bundle.json", cwd=folder)
    assert bad.returncode == 1
    assert bad.stdout.startswith("scores, row 1: ")
    (folder / "bundle.json").write_text(text[:-100], "utf-8")
    cut = run("verify", "bundle.json", cwd=folder)
    assert cut.returncode == 1
    assert "cut short" in cut.stderr
    uniswap = run(
        *("merkle", "holds.csv", "--at", "20", "--unit", "1e-9", "--tree", "uniswap"), cwd=folder
    )
    assert uniswap.stdout.startswith("0x")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("score", "nowhere.csv"), "nowhere.csv"),
        (("score", "holds.csv", "--at", "soon"), "'soon' is not an instant"),
        (("score", "holds.csv", "--every", "1d"), "--every needs --from"),
        (("score", "holds.csv", "--boost", "x"), "--boost x"),
        (("score", "holds.csv", "--format", "parquet"), "give a file"),
        (("score", "holds.csv", "-o", "scores.xyz"), "give --format"),
        (("merkle", "holds.csv", "--at", "20", "--unit", "7"), "not a whole number"),
    ],
)
def test_errors_are_one_sentence(folder, arguments, says):
    done = run(*arguments, cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_ids_that_would_move_the_cursor(folder):
    (folder / "evil.csv").write_text(
        "holder_id,token_id,start,end\n\x1b[2J[red]\u202ex,t,0,1\n", "utf-8"
    )
    table = run("score", "evil.csv", "--at", "1", cwd=folder).stdout
    assert "\\x1b[2J[red]\\u202ex" in table


def test_doctor_and_help(folder):
    assert "build profile" in run("doctor", cwd=folder).stdout
    done = run("--help", cwd=folder)
    assert done.returncode == 0
    for name in ("score", "transfers", "merkle", "verify", "doctor"):
        assert name in done.stdout

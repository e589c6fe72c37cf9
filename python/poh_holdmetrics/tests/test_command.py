"""The command, as a person runs it."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from poh_holdmetrics import __version__, self_check

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


def test_a_bundle_has_the_root_of_the_tree_that_was_asked(folder):
    asked = ("merkle", "holds.csv", "--at", "20", "--unit", "1e-9", "--bundle", "bundle.json")
    roots = set()
    for tree in ("openzeppelin", "uniswap"):
        made = run(*asked, "--tree", tree, cwd=folder)
        content = json.loads((folder / "bundle.json").read_text("utf-8"))
        assert made.stdout == f"{content['root']}\n"
        assert run("verify", "bundle.json", cwd=folder).returncode == 0
        roots.add(content["root"])
    assert len(roots) == 2


def test_verify_tells_which_version_made_a_bundle(folder):
    run("merkle", "holds.csv", "--at", "20", "--unit", "1", "--bundle", "b.json", cwd=folder)
    assert run("verify", "b.json", cwd=folder).stderr == ""
    content = json.loads((folder / "b.json").read_text("utf-8"))
    version = content["version"]
    (folder / "b.json").write_text(json.dumps(content | {"version": "0.0.7\x1b[2J"}), "utf-8")
    other = run("verify", "b.json", cwd=folder)
    assert (other.returncode, other.stdout) == (0, "the bundle is as its events say\n")
    assert other.stderr == f"made by version 0.0.7\\x1b[2J; this is {version}\n"
    del content["version"]
    (folder / "b.json").write_text(json.dumps(content), "utf-8")
    one_sentence(run("verify", "b.json", cwd=folder), 1, "b.json: the bundle has no version")


def one_sentence(done, code, says):
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("score", "nowhere.csv"), "nowhere.csv"),
        (("merkle", "holds.csv", "--at", "20", "--unit", "1e-9", "-o", "."), ".: can't be written"),
        (("score", "holds.csv", "-o", "no/folder.csv"), "folder.csv: can't be written"),
        (("report", "holds.csv", "-o", "no/folder.html"), "folder.html: can't be written"),
        (("transfers", "holds.csv"), 'no column "token_address" of transfers'),
        (("merkle", "holds.csv", "--at", "20", "--unit", "7"), "not a whole number"),
    ],
)
def test_errors_are_one_sentence(folder, arguments, says):
    one_sentence(run(*arguments, cwd=folder), 1, says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--at soon", '"soon" is not an instant'),
        ("--from soon", '"soon" is not an instant'),
        ("--to soon", '"soon" is not an instant'),
        ("--tz Mars/Olympus", 'no time zone named "Mars/Olympus"'),
        ("--every 1d", "--every needs --from"),
        ("--every 1e99 --from 0", "every=1e+99 is no length"),
        ("--every 1d --from 0 --top 1", "--top is for one"),
        ("--finalized-before 0", "give --every"),
        ("--from 20 --to 10", "before it starts"),
        ("--boost 30", "--boost 30: "),
        ("--boost x:2", "'x' is no number of days"),
        ("--boost x", "--boost x"),
        ("--boost linear:9 --overlap union", 'goes with overlap="sum"'),
        ("--boost half-life:9 --cap 3", "give steps"),
        ("--cap much", 'the cap "much" is not a decimal number'),
        ("--format parquet", "give a file"),
        ("-o scores.xyz", "give --format"),
    ],
)
@pytest.mark.parametrize("command", ["score", "transfers"])
def test_what_the_options_ask_wrongly_is_2(folder, command, words, says):
    """Before any work: there is no such file, and it is not looked for."""
    one_sentence(run(command, "nowhere.csv", *words.split(), cwd=folder), 2, says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("score nowhere.csv --data-tz Mars/Olympus", 'no time zone named "Mars/Olympus"'),
        ("score nowhere.csv --scale 19", "scale is 19"),
        ("transfers nowhere.csv --decimals 19", "decimals is 19"),
        ("merkle nowhere.csv --at soon --unit 1", '"soon" is not an instant'),
        ("merkle nowhere.csv --at 20 --unit one", 'the unit "one" is not'),
        ("report nowhere.csv -o page.html --from 20 --to 10", "before it starts"),
        ("report nowhere.csv -o page.html --from 20 --at 10", "give a start that is not after"),
    ],
)
def test_what_other_options_ask_wrongly_is_2(folder, words, says):
    one_sentence(run(*words.split(), cwd=folder), 2, says)


@pytest.mark.parametrize("name", ["kept.json", "kept.txt", "kept.xyz", "kept"])
def test_holds_go_only_where_they_can_be_read(folder, name):
    done = run("transfers", "nowhere.csv", "--holds", name, cwd=folder)
    one_sentence(done, 2, f"--holds {name}: no holds are read from a file of such a name; let it")


def test_ids_that_would_move_the_cursor(folder):
    (folder / "evil.csv").write_text(
        "holder_id,token_id,start,end\n\x1b[2J[red]\u202ex,t,0,1\n", "utf-8"
    )
    table = run("score", "evil.csv", "--at", "1", cwd=folder).stdout
    assert "\\x1b[2J[red]\\u202ex" in table


def test_ids_that_would_be_emojis(folder):
    line = "holder_id,token_id,start,end\nnft:100:7 :smile:,t,0,1\n"
    (folder / "codes.csv").write_text(line, "utf-8")
    assert "nft:100:7 :smile:" in run("score", "codes.csv", "--at", "1", cwd=folder).stdout


def test_a_file_has_no_colour(folder):
    run("score", "holds.csv", "--at", "20", "-o", "out.txt", cwd=folder, FORCE_COLOR="1")
    text = (folder / "out.txt").read_text("utf-8")
    assert ALICE in text
    assert "\x1b" not in text


def test_ids_that_would_end_a_line(folder):
    ids = ["a\rb", "c\nd", 'e"f,g', "\r\n"]
    lines = [{"holder_id": name, "token_id": "t", "start": 0, "end": 1} for name in ids]
    (folder / "ends.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    run("score", "ends.jsonl", "--at", "1", "-o", "out.csv", cwd=folder)
    with (folder / "out.csv").open(encoding="utf-8", newline="") as file:
        assert [row["holder_id"] for row in csv.DictReader(file)] == ids
    assert (folder / "out.csv").read_bytes().startswith(b"holder_id,total_seconds")
    assert (folder / "out.csv").read_bytes().endswith(b"+00:00\n")


def test_doctor_and_help(folder):
    said = run("doctor", cwd=folder)
    assert said.returncode == 0
    assert "build profile" in said.stdout
    assert said.stdout.endswith("the answers of this build are right\n")
    found = json.loads(run("doctor", "--json", cwd=folder).stdout)
    assert found["ok"] is True
    assert found["build panic"] == "unwind"
    done = run("--help", cwd=folder)
    assert done.returncode == 0
    for name in ("score", "transfers", "merkle", "verify", "report", "doctor", "bench"):
        assert name in done.stdout


def test_doctor_says_what_computes_wrong(monkeypatch):
    monkeypatch.setattr(self_check, "Boost", lambda _steps: None)
    assert [fault.partition(" is ")[0] for fault in self_check.faults()] == ["a boost by age"]


def test_bench(folder):
    asked = ("bench", "--events", "2000", "--holders", "50")
    assert "ns a event" in run(*asked, cwd=folder).stdout
    found = json.loads(run(*asked, "--json", cwd=folder).stdout)
    assert (found["events"], found["holders"]) == (2000, 50)
    assert all(cost["nanoseconds"] > 0 for cost in found["costs"])


def test_wrong_use_is_2(folder):
    for words in (("score",), ("score", "holds.csv", "--by", "nobody"), ("nonsense",)):
        done = run(*words, cwd=folder)
        assert (done.returncode, done.stdout) == (2, "")


def test_machines_read_json(folder):
    asked = ("score", "holds.csv", "--at", "20", "--json")
    assert len(json.loads(run(*asked, cwd=folder).stdout)["rows"]) == 2
    made = run("merkle", "holds.csv", "--at", "20", "--unit", "1e-9", "--json", cwd=folder)
    assert json.loads(made.stdout)["claims"] == 2
    run("merkle", "holds.csv", "--at", "20", "--unit", "1e-9", "--bundle", "b.json", cwd=folder)
    good = run("verify", "b.json", "--json", cwd=folder)
    assert json.loads(good.stdout) == {"ok": True, "differences": [], "made_by": __version__}
    text = (folder / "b.json").read_text("utf-8")
    (folder / "b.json").write_text(text.replace('"25"', '"26"'), "utf-8")
    bad = run("verify", "b.json", "--json", cwd=folder)
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["ok"] is False


def test_options_of_score(folder):
    def rows(*words):
        done = run("score", "holds.csv", *words, "--format", "json", cwd=folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["rows"]

    assert [row["total_seconds"] for row in rows("--at", "20", "--from", "5", "--to", "15")] == [
        5,
        5,
    ]
    assert list(rows("--at", "20", "--by", "both")[0])[:2] == ["holder_id", "token_id"]
    assert [row["token_id"] for row in rows("--at", "20", "--by", "token")] == ["t"]
    assert rows("--at", "20", "--overlap", "union", "--threads", "1")[1]["weighted_score"] == 10
    assert rows("--at", "20", "--scale", "18")[1]["weighted_score_exact"] == "25"
    epochs = ("--every", "10", "--from", "0", "--to", "20", "--finalized-before", "10")
    assert [row["final"] for row in rows(*epochs)] == [True, False]
    assert [row["final"] for row in rows("--at", "15", *epochs)] == [True, False]
    assert rows("--at", "15", *epochs)[1]["total_seconds"] == 5
    (folder / "fine.csv").write_text("holder_id,token_id,start,weight\na,t,0,0.00000000005\n")
    refused = run("score", "fine.csv", "--at", "20", cwd=folder)
    assert "row 0, weight has 11 digits" in refused.stderr
    rounded = run(
        *("score", "fine.csv", "--at", "20", "--rounding", "half-even", "--json"), cwd=folder
    )
    assert json.loads(rounded.stdout)["rows"][0]["weighted_score"] == 0


def test_epochs_end_now_whatever_to_says(folder):
    asked = ("score", "holds.csv", "--from", "2020-01-01", "--every", "365d", "--json")
    now = json.loads(run(*asked, cwd=folder).stdout)
    later = json.loads(run(*asked, "--to", "2099-01-01", cwd=folder).stdout)
    assert 0 <= later["at_us"] - now["at_us"] < 3600 * 10**6
    assert [row["epoch"] for row in later["rows"]] == [row["epoch"] for row in now["rows"]]
    assert later["rows"][-1]["total_seconds"] < 365 * 86_400
    past = json.loads(run(*asked, "--to", "2020-01-02", cwd=folder).stdout)
    assert past["at_us"] == 1_577_923_200_000_000
    assert [row["total_seconds"] for row in past["rows"]] == [86_400]


@pytest.mark.parametrize("words", ["", "--every 1000000000 --from 0", "--to 5", "--top 1"])
@pytest.mark.parametrize("out", ["--format table", "--format csv", "-o out.csv", "-o out.jsonl"])
def test_an_answer_of_now_can_be_had_again(folder, words, out):
    asked = ("score", "holds.csv", *words.split(), *out.split())

    def answer(*more):
        done = run(*asked, *more, cwd=folder)
        assert done.returncode == 0
        files = [path for path in folder.iterdir() if path.stem == "out"]
        return done.stderr, [done.stdout, *(path.read_text("utf-8") for path in files)]

    said, first = answer()
    found = re.fullmatch(
        r"as of (\S+Z); (--at) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) gives .* again\n", said
    )
    assert found is not None
    assert found[1] == found[3]
    assert answer(found[2], found[3]) == ("", first)


def test_every_command_says_the_instant_of_now(folder):
    for words in ("score holds.csv -o out.parquet", "report holds.csv -o page.html"):
        said = run(*words.split(), cwd=folder).stderr
        assert re.search(r"^as of \S+\.\d{6}Z; --at ", said, re.MULTILINE)
        assert "as of" not in run(*words.split(), "--at", "20", cwd=folder).stderr
    micros = re.search(r"\(([\d,]+) µs since 1970", (folder / "page.html").read_text("utf-8"))
    assert micros is not None
    epochs = ("score", "holds.csv", "--every", "10", "--from", "0", "--json")
    asked = run(*epochs, "--at", "15.000001", cwd=folder)
    assert (json.loads(asked.stdout)["at_us"], asked.stderr) == (15_000_001, "")


def test_a_cap(folder):
    def exact(*words):
        done = run(*words, "--at", "20", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        return [row["weighted_score_exact"] for row in json.loads(done.stdout)["rows"]]

    assert exact("score", "holds.csv", "--boost", "0:2") == ["20", "50"]
    assert exact("score", "holds.csv", "--boost", "0:2", "--cap", "3.5") == ["20", "35"]
    assert exact("score", "holds.csv", "--cap", "2") == ["10", "20"]
    capped = ("--at", "20", "--boost", "0:2", "--cap", "3.5")
    made = run("merkle", "holds.csv", *capped, "--unit", "1", "-o", "tree.json", cwd=folder)
    tree = json.loads((folder / "tree.json").read_text("utf-8"))
    assert sorted(leaf["value"][1] for leaf in tree["values"]) == ["20", "35"], made.stderr
    run("report", "holds.csv", *capped, "-o", "page.html", cwd=folder)
    assert "cap=3.5" in (folder / "page.html").read_text("utf-8")


def test_options_of_transfers(folder):
    zero = "0x" + "0" * 40
    (folder / "logs.csv").write_text(
        "token_address,from_address,to_address,value,block_timestamp,block_number,log_index\n"
        f"0xt,{zero},a,10,0,1,0\n0xt,{zero},a,4,10,2,0\n",
        "utf-8",
    )

    def exact(*words):
        asked = ("transfers", "logs.csv", "--lots", "fifo", "--at", "20", *words, "--json")
        done = run(*asked, cwd=folder)
        assert done.returncode == 0, done.stderr
        return [row["weighted_score_exact"] for row in json.loads(done.stdout)["rows"]]

    assert exact() == exact("--threads", "1") == ["240"]
    assert exact("--overlap", "union") == ["20"]
    assert exact("--overlap", "max", "--threads", "2") == ["200"]
    assert exact("--boost", "0:2", "--cap", "12") == ["320"]
    epochs = ("--every", "10", "--from", "0", "--overlap", "max", "--threads", "1")
    assert exact(*epochs) == ["100", "100"]


def test_zones_of_the_command(folder):
    def rows(*words):
        done = run(*words, "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["rows"]

    lines = "holder_id,token_id,start\na,t,2024-07-01 02:00\n"
    (folder / "local.csv").write_text(lines, "utf-8")
    asked = ("score", "local.csv", "--at", "2024-07-01T01:00Z")
    assert rows(*asked)[0]["total_seconds"] == 0
    assert rows(*asked, "--data-tz", "Europe/Paris")[0]["total_seconds"] == 3_600
    # What the options say without a zone is in that of the epochs.
    local = ("score", "local.csv", "--data-tz", "Europe/Paris", "--tz", "Europe/Paris")
    assert rows(*local, "--at", "2024-07-01 03:00")[0]["total_seconds"] == 3_600
    (epoch,) = rows(*local, "--from", "2024-07-01", "--every", "1d", "--at", "2024-07-01T12:00")
    assert epoch["epoch_start"] == "2024-06-30T22:00:00+00:00"
    assert epoch["total_seconds"] == 10 * 3_600
    for words in (
        ("score", "local.csv", "--at", "1"),
        ("score", "local.csv", "--at", "1", "--from", "0", "--every", "1d"),
        ("merkle", "local.csv", "--at", "1", "--unit", "1"),
        ("report", "local.csv", "-o", "page.html"),
    ):
        done = run(*words, "--strict", cwd=folder)
        assert done.returncode == 1
        assert "local.csv: row 0, start names no time zone" in done.stderr
        assert "--data-tz" in done.stderr
    wrong = run("score", "local.csv", "--data-tz", "Mars/Olympus", cwd=folder)
    assert 'no time zone named "Mars/Olympus"' in wrong.stderr


def test_a_table_on_the_screen_is_no_flood(folder):
    lines = "".join(f"h{n},t,0,1,1\n" for n in range(1000))
    (folder / "many.csv").write_text("holder_id,token_id,start,end,weight\n" + lines, "utf-8")
    done = run("score", "many.csv", "--at", "1", cwd=folder)
    assert "200 of 1,000 rows are shown" in done.stderr
    assert len(done.stdout.splitlines()) == 204
    run("score", "many.csv", "--at", "1", "--format", "table", "-o", "all.txt", cwd=folder)
    assert len((folder / "all.txt").read_text("utf-8").splitlines()) == 1004


def test_holds_of_transfers_go_on_to_the_other_commands(folder):
    zero = "0x" + "0" * 40
    (folder / "logs.csv").write_text(
        "token_address,from_address,to_address,value,block_timestamp,block_number,log_index\n"
        f"0xt,{zero},{ALICE},10,1970-01-01 00:00:00 UTC,1,0\n0xt,{ALICE},{BOB},4,10,2,0\n",
        "utf-8",
    )
    for name in ("kept.csv", "kept.parquet", "kept.pq", "kept.jsonl", "kept.ndjson"):
        scored = run("transfers", "logs.csv", "--at", "20", "--holds", name, "--json", cwd=folder)
        again = run("score", name, "--at", "20", "--json", cwd=folder)
        rows = json.loads(scored.stdout)["rows"]
        assert [row["weighted_score_exact"] for row in rows] == ["160", "40"]
        assert json.loads(again.stdout)["rows"] == rows
    twice = run("transfers", "logs.csv", "logs.csv", "--at", "20", "--json", cwd=folder)
    assert json.loads(twice.stdout)["rows"] == rows
    assert "2 rows gave a log once more and count once" in twice.stderr


BEGUN = {
    "bash": {"COMP_WORDS": "poh_holdmetrics re", "COMP_CWORD": "1"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "poh_holdmetrics re"},
    "fish": {
        "_TYPER_COMPLETE_ARGS": "poh_holdmetrics re",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    },
}


@pytest.mark.parametrize("shell", BEGUN)
def test_shell_completion(folder, shell):
    asked = {"_POH_HOLDMETRICS_COMPLETE": f"complete_{shell}", **BEGUN[shell]}
    offered = run(cwd=folder, **asked).stdout
    assert re.search(r"\breport\b", offered)
    assert not re.search(r"\b(score|transfers|merkle|verify|doctor|bench)\b", offered)
    script = run(cwd=folder, _POH_HOLDMETRICS_COMPLETE=f"source_{shell}").stdout
    assert f"_POH_HOLDMETRICS_COMPLETE=complete_{shell}" in script


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals, pipes and limits of POSIX")


def start(*arguments, cwd, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "poh_holdmetrics", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONUTF8": "1"},
        **options,
    )


@POSIX
def test_a_reader_that_goes_away(folder):
    lines = "".join(f"h{n},t,0,1,1\n" for n in range(20_000))
    (folder / "many.csv").write_text("holder_id,token_id,start,end,weight\n" + lines, "utf-8")
    asked = ("score", "many.csv", "--at", "1", "--format", "csv")
    with start(*asked, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"holder_id")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@POSIX
@pytest.mark.parametrize("command", ["score", "transfers"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_ctrl_c_while_reading(folder, command, number):
    fifo = folder / "slow.csv"
    os.mkfifo(fifo)
    asked = (command, fifo, "--at", "20", "-o", "out.csv")
    header = "holder_id,token_id,start\n"
    row = "a,t,0\n"
    if command == "transfers":
        header = "token_address,from_address,to_address,value,block_timestamp,"
        header += "block_number,log_index\n"
        row = f"t,0x{'0' * 40},a,1,0,0,0\n"
    with start(*asked, cwd=folder, stderr=subprocess.PIPE) as process:
        # The file opens when the command does: from here on it reads, and the file has no end.
        with contextlib.suppress(BrokenPipeError), fifo.open("w") as file:
            file.write(header)
            file.flush()
            process.send_signal(getattr(signal, number))
            while process.poll() is None:
                file.write(row * 10_000)
        said = process.stderr.read().decode()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped: no part of a file is left"
    assert [path.name for path in folder.iterdir() if "out" in path.name] == []


@POSIX
@pytest.mark.parametrize("name", ["out.csv", "out.json", "out.parquet", "out.html", "tree.json"])
def test_no_room_for_the_file(folder, name):
    lines = "".join(f"0x{n:040x},t,0,1,1\n" for n in range(3000))
    (folder / "many.csv").write_text("holder_id,token_id,start,end,weight\n" + lines, "utf-8")
    (folder / name).write_text("as it was", "utf-8")
    command = ["score"]
    if name == "out.html":
        command = ["report"]
    elif name == "tree.json":
        command = ["merkle", "--unit", "1"]

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, 8_192))

    asked = (*command, "many.csv", "--at", "1", "-o", name)
    with start(*asked, cwd=folder, stderr=subprocess.PIPE, preexec_fn=limit) as process:
        said = process.stderr.read().decode()
    assert process.returncode == 1
    assert len(said.splitlines()) == 1
    assert said.startswith("error: ")
    assert f"{name}" in said
    assert "can't be written: File too large; this file system or a limit" in said
    assert sorted(path.name for path in folder.iterdir()) == sorted(["holds.csv", "many.csv", name])
    assert (folder / name).read_text("utf-8") == "as it was"


@POSIX
def test_an_answer_into_a_pipe_or_through_a_link(folder):
    asked = ("score", "holds.csv", "--at", "20", "--format")
    shown = run(*asked, "csv", cwd=folder).stdout
    assert run(*asked, "csv", "-o", "/dev/stdout", cwd=folder).stdout == shown
    assert Path("/dev/stdout").is_symlink()
    fifo = folder / "pipe"
    os.mkfifo(fifo)
    for form in ("csv", "parquet"):
        with start(*asked, form, "-o", fifo, cwd=folder) as process:
            content = fifo.read_bytes()
        assert process.returncode == 0
        assert content == shown.encode() if form == "csv" else content.startswith(b"PAR1")
    assert fifo.is_fifo()
    (folder / "kept").mkdir()
    for name in ("a.csv", "a.parquet"):
        (folder / name).symlink_to(folder / "kept" / name)
        run("score", "holds.csv", "--at", "20", "-o", name, cwd=folder)
        assert (folder / name).is_symlink()
        assert (folder / "kept" / name).is_file()
    assert (folder / "kept" / "a.csv").read_text("utf-8") == shown


@POSIX
@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="there is no /dev/shm")
def test_no_room_in_memory_that_looks_like_a_device(folder):
    lines = "".join(f"h{n},t,0,1,1\n" for n in range(3000))
    (folder / "many.csv").write_text("holder_id,token_id,start,end,weight\n" + lines, "utf-8")

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, 8_192))

    with tempfile.TemporaryDirectory(dir="/dev/shm") as shared:
        out = Path(shared) / "out.csv"
        out.write_text("as it was", "utf-8")
        asked = ("score", "many.csv", "--at", "1", "-o", out)
        with start(*asked, cwd=folder, stderr=subprocess.PIPE, preexec_fn=limit) as process:
            assert "can't be written" in process.stderr.read().decode()
        assert process.returncode == 1
        assert out.read_text("utf-8") == "as it was"
        assert list(Path(shared).iterdir()) == [out]
        assert run("score", "many.csv", "--at", "1", "-o", out, cwd=folder).returncode == 0
        assert len(out.read_text("utf-8").splitlines()) == 3001


@POSIX
def test_a_screen_that_is_a_file_is_written_where_it_is(folder):
    asked = ("score", "holds.csv", "--at", "20", "--format", "csv")
    with (folder / "screen.csv").open("w+b") as screen:
        with start(*asked, "-o", "/dev/stdout", cwd=folder, stdout=screen) as process:
            pass
        assert process.returncode == 0
        assert screen.read().decode() == run(*asked, cwd=folder).stdout


# Wine shows this machine's /dev to programs for Windows.
@POSIX
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_the_screen(folder):
    with Path("/dev/full").open("w") as full:
        asked = ("score", "holds.csv", "--at", "20", "--format", "csv")
        with start(*asked, cwd=folder, stdout=full, stderr=subprocess.PIPE) as process:
            said = process.stderr.read().decode()
    assert process.returncode == 1
    assert "No space left on device; free some space" in said
    assert len(said.splitlines()) == 1


@POSIX
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ("score holds.csv --at 20", 1, "the output is closed; give a file with -o"),
        ("score holds.csv --at 20 -o out.csv", 0, ""),
        ("--version", 1, "the output is closed"),
    ],
)
def test_a_screen_that_is_closed(folder, arguments, code, says):
    command = f'exec "$0" -m poh_holdmetrics {arguments} >&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable], cwd=folder, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == code
    without_words = ["sh", "-c", f"{command} 2>&-", sys.executable]
    assert subprocess.run(without_words, cwd=folder).returncode == code


@POSIX
def test_progress_by_bytes_on_a_terminal(folder):
    import pty

    lines = "".join(f"h{n % 997},t,{n},{n + 5},1.5\n" for n in range(400_000))
    (folder / "long.csv").write_text("holder_id,token_id,start,end,weight\n" + lines, "utf-8")
    leader, follower = pty.openpty()
    asked = ("score", "long.csv", "--at", "20", "-o", "out.csv")
    with start(*asked, cwd=folder, stderr=follower) as process:
        os.close(follower)
        said = b""
        with contextlib.suppress(OSError):  # how a terminal ends on Linux
            while part := os.read(leader, 4096):
                said += part
    os.close(leader)
    assert process.returncode == 0
    assert "reading" in said.decode()
    assert "MiB" in said.decode()

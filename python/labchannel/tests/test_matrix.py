"""Rows of packages, systems and Pythons: what runs, what is told, what is remembered.

The packages are tiny, and `python` among them is a script that runs this Python; environments,
installs, scripts and processes are real.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from labchannel import matrix as matrices
from labchannel import report as reports
from labchannel.channel.publish import publish
from labchannel.environment import current_platform
from labchannel.errors import LabchannelError
from labchannel.installed import (
    CANNOT,
    FAILED,
    PASSED,
    STOPPED,
    Result,
    Row,
    failed_tests,
    left_out,
)
from labchannel.matrix import MatrixOptions, MatrixReport, all_rows, chosen_rows, run_matrix
from labchannel.progress import Progressor

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are sh scripts")

QUIET = Progressor(quiet=True)
HERE = current_platform()
ELSEWHERE = "win-64" if HERE != "win-64" else "linux-64"
PYTHONS = ("3.12", "3.13")


@pytest.fixture
def lab(checkout, make_package):
    """A checkout whose channel holds Pythons; `lab.package(NAME, LINE)` builds a package.

    The line is its test, and runs in rows alone: no Python is there while it is packaged.
    """
    # The tiny packages can't be imported.
    program = '#!/bin/sh\ncase "$2" in "import "*) exit 0;; esac\nexit 1\n'
    pythons = [
        make_package("python", f"{python}.1", programs={"bin/python": program})
        for python in PYTHONS
    ]
    publish(checkout.channel, pythons)

    def package(name: str, line: str = "true") -> None:
        test = f'if ls "$CONDA_PREFIX"/conda-meta/python-3.*; then {line}; fi'
        checkout.recipe(name, test=json.dumps(test))
        assert checkout.build(name).good

    checkout.package = package
    return checkout


def rows(*names: str, platform: str = HERE, pythons=PYTHONS) -> list[Row]:
    return [Row((name,), platform, python) for name in names for python in pythons]


def run(lab, wanted, **options) -> MatrixReport:
    asked = MatrixOptions(channel=lab.channel, build=False, **options)
    return run_matrix(lab.workspace, wanted, asked, QUIET)


def statuses(report: MatrixReport) -> list[str]:
    return [result.status for result in report.results]


def test_rows_do_not_stop_each_other(lab):
    lab.package("good")
    lab.package("bad", "false")
    report = run(lab, [*rows("good"), *rows("bad"), *rows("none")])
    assert statuses(report) == [PASSED, PASSED, FAILED, FAILED, FAILED, FAILED]
    assert "no none for" in report.results[-1].detail
    assert report.exit_code(require_all=False) == 1


def test_no_channel_is_told_once_and_not_by_each_row(checkout):
    with pytest.raises(LabchannelError, match=r"no channel at .*channel\. Build it first"):
        run(checkout, rows("gauge"))


def test_the_environment_has_the_rows_python(lab):
    lab.package("gauge", 'test -f "$CONDA_PREFIX"/conda-meta/python-3.12.1-*.json')
    assert statuses(run(lab, rows("gauge"))) == [PASSED, FAILED]


def test_output_of_a_failure_is_shown_and_kept(lab):
    lab.package("bad", "echo it is broken; false")
    (result,) = run(lab, rows("bad", pythons=["3.12"])).results
    assert "it is broken" in result.output
    assert "it is broken" in Path(result.log).read_text(encoding="utf-8")


def test_a_hung_row_is_ended_and_the_rest_goes_on(lab):
    lab.package("hung", "sleep 3600")
    lab.package("good")
    report = run(lab, [*rows("hung"), *rows("good")], minutes=0.05)
    assert statuses(report) == [FAILED, FAILED, PASSED, PASSED]
    assert "time limit" in report.results[0].detail


def test_a_row_of_another_system_is_never_passed(lab, monkeypatch):
    monkeypatch.setattr(matrices, "why_not", lambda platform: f"no {platform} here")
    report = run(lab, rows("gauge", platform=ELSEWHERE))
    assert statuses(report) == [CANNOT, CANNOT]
    assert report.results[0].detail == f"no {ELSEWHERE} here"
    assert report.exit_code(require_all=False) == 0
    assert report.exit_code(require_all=True) == 1
    assert report.summary == "0 passed, 2 cannot run here"


def test_rows_that_have_passed_are_reused_only_when_asked_and_say_so(lab):
    lab.package("gauge", "true")
    wanted = rows("gauge", pythons=["3.12"])
    assert "not run again" not in run(lab, wanted).results[0].detail
    assert "not run again" not in run(lab, wanted).results[0].detail
    again = run(lab, wanted, reuse=True)
    assert statuses(again) == [PASSED]
    assert "not run again" in again.results[0].detail
    assert "with the same inputs" in again.results[0].detail


def test_other_bytes_are_run_again(lab):
    lab.package("gauge")
    wanted = rows("gauge", pythons=["3.12"])
    run(lab, wanted)
    lab.package("gauge", "true; true")
    assert "not run again" not in run(lab, wanted, reuse=True).results[0].detail


def test_a_failure_is_never_reused(lab):
    lab.package("bad", "false")
    wanted = rows("bad", pythons=["3.12"])
    run(lab, wanted)
    assert statuses(run(lab, wanted, reuse=True)) == [FAILED]


def test_rerun_failed_runs_what_did_not_pass(lab):
    lab.package("good")
    lab.package("bad", "false")
    both = [*rows("good"), *rows("bad")]
    with pytest.raises(LabchannelError, match="without --rerun-failed"):
        run(lab, both, rerun_failed=True)
    run(lab, both)
    again = run(lab, both, rerun_failed=True)
    assert [result.row.package for result in again.results] == ["bad", "bad"]
    assert again.notes[0].startswith("2 rows passed")
    lab.package("bad", "true; true")
    assert statuses(run(lab, both, rerun_failed=True)) == [PASSED, PASSED]
    assert run(lab, both, rerun_failed=True).results == ()


def test_interrupt_ends_what_runs_and_tells_what_is_known(lab, mailbox):
    """Ctrl-C at the command line: a table, nothing left running, exit code 130."""
    lab.package("good")
    lab.package("hung", f'echo $$ > "{mailbox.path}"; sleep 3600')
    process = subprocess.Popen(
        [sys.executable, "-m", "labchannel", "test-installed", "--python", "3.12"],
        cwd=lab.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    hung = int(mailbox.wait(process))
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, (output, errors)
    assert f"hung  {HERE}  3.12  stopped" in output
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)


def test_each_compiled_package_and_all_together_on_each_system_and_python(checkout):
    for name in ("gauge", "scale", "tool"):
        checkout.recipe(name)
    for name in ("gauge", "scale"):
        checkout.write(f"crates/{name}_py/Cargo.toml", "")
    labels = [row.label for row in all_rows(checkout.workspace)]
    assert len(labels) == len(set(labels)) == 18
    assert labels[0] == "gauge linux-64 3.12"
    assert "gauge+scale win-64 3.14" in labels
    assert not any("tool" in label for label in labels)


def test_only():
    known = rows("gauge", "scale")
    assert [row.label for row in chosen_rows(known, ["scale", "3.13"])] == [
        f"gauge {HERE} 3.13",
        f"scale {HERE} 3.12",
        f"scale {HERE} 3.13",
    ]
    assert chosen_rows(known, []) == known
    with pytest.raises(LabchannelError, match=r"no row fits 'meter'(.|\n)*gauge"):
        chosen_rows(known, ["meter"])


def test_what_wine_cannot_do_is_left_out_there_alone(checkout):
    checkout.write("tests/wine.toml", '[tests]\n"tests/test_a.py::test_b" = "no such thing"\n')
    assert left_out(checkout.workspace, HERE) == []
    assert left_out(checkout.workspace, ELSEWHERE) == ["tests/test_a.py::test_b"]
    checkout.write("tests/wine.toml", '[tests]\n"tests/test_a.py::test_b" = 3\n')
    with pytest.raises(LabchannelError, match="a test and its cause"):
        left_out(checkout.workspace, ELSEWHERE)


def results(**bits: str) -> list[Result]:
    return [
        Result(Row(("gauge",), platform.replace("_", "-"), "3.12"), PASSED, bits={"gauge": text})
        for platform, text in bits.items()
    ]


def test_the_same_bits():
    (row,) = matrices._compare_bits(results(linux_64="1\n2\n", win_64="1\n2\n"))
    assert (row.status, row.row.platform) == (PASSED, "linux-64 = win-64")
    assert row.detail == "2 files of 2 lines compared"


def test_other_bits_name_the_first_difference():
    (row,) = matrices._compare_bits(results(linux_64="1\n2\n", win_64="1\n3\n"))
    assert row.status == FAILED
    assert "gauge win-64 3.12: line 2 is '3', not '2'" in row.detail


def test_fewer_lines_are_a_difference():
    (row,) = matrices._compare_bits(results(linux_64="1\n2\n", win_64="1\n"))
    assert row.status == FAILED


def test_one_system_alone_compares_nothing():
    elsewhere = Result(Row(("gauge",), "win-64", "3.12"), CANNOT, detail="no Wine")
    (row,) = matrices._compare_bits([*results(linux_64="1\n"), elsewhere])
    assert row.status == CANNOT
    assert row.detail == "linux-64 alone ran: there is nothing to compare"


@pytest.mark.parametrize("pythons", [PYTHONS, PYTHONS[:1]])
def test_a_comparison_that_was_not_asked_for_is_no_failure(checkout, monkeypatch, pythons):
    """As in CI: `--only PLATFORM --require-all` on a machine for each system."""
    publish(checkout.channel, [])
    monkeypatch.setattr(
        matrices,
        "run_row",
        lambda _workspace, _channel, row, *_rest: Result(row, PASSED, bits={"gauge": "1\n"}),
    )
    wanted = [*rows("gauge", pythons=pythons), *rows("gauge", platform=ELSEWHERE, pythons=pythons)]
    report = run(checkout, wanted, only=(HERE,))
    assert set(statuses(report)) == {PASSED}
    assert report.exit_code(require_all=True) == 0
    assert len(report.results) == (3 if len(pythons) == 2 else 1)


def test_the_pythons_of_one_system_are_compared(checkout, monkeypatch):
    publish(checkout.channel, [])
    monkeypatch.setattr(
        matrices,
        "run_row",
        lambda _workspace, _channel, row, *_rest: Result(row, PASSED, bits={"gauge": row.python}),
    )
    report = run(checkout, rows("gauge"))
    assert statuses(report) == [PASSED, PASSED, FAILED]


class Text(HTMLParser):
    """The text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def report():
    return MatrixReport(
        (
            Result(Row(("gauge",), "linux-64", "3.12"), PASSED, 1.5, "7 passed"),
            Result(
                Row(("gauge",), "win-64", "3.12"),
                FAILED,
                2.0,
                "a | b <c>",
                output="]]>\x1b[0m<&",
            ),
            Result(Row(("gauge",), "win-64", "3.13"), CANNOT, detail="no Wine"),
            Result(Row(("gauge",), "win-64", "3.14"), STOPPED, detail="not begun"),
        ),
        ("a note",),
        3.5,
    )


def test_a_line_a_row(report):
    lines = reports.lines(report)
    assert [line.split("  ")[0] for line in lines] == ["gauge"] * 4
    assert "failed" in lines[1]
    assert "cannot run here" in lines[2]
    assert "passed" not in "".join(lines[1:])


def test_json(report):
    told = json.loads(json.dumps(reports.as_json(report)))
    assert [row["status"] for row in told["rows"]] == [PASSED, FAILED, CANNOT, STOPPED]
    assert told["rows"][1]["platform"] == "win-64"
    assert told["counts"] == {PASSED: 1, FAILED: 1, CANNOT: 1, STOPPED: 1}


def test_junit(report):
    root = ET.fromstring(reports.junit(report))
    suites = {suite.get("name"): suite for suite in root}
    assert suites["linux-64"].get("failures") == "0"
    windows = suites["win-64"]
    counts = [windows.get(name) for name in ("tests", "failures", "skipped")]
    assert counts == ["3", "2", "1"]
    assert [len(case) for case in suites["linux-64"]] == [1]
    assert [case[0].tag for case in windows] == ["failure", "skipped", "failure"]
    assert "<&" in windows[0][0].text


def test_markdown(report):
    text = reports.markdown(report)
    table = [line for line in text.splitlines() if line.startswith("| gauge")]
    assert len(table) == 4
    assert "a \\| b &lt;c>" in table[1].replace("&gt;", ">")
    assert "- a note" in text


def test_page(report):
    reader = Text()
    reader.feed(reports.page(report))
    assert "1 passed, 1 failed, 1 cannot run here, 1 stopped" in reader.text
    assert "]]>" in reader.text
    assert "a | b <c>" in reader.text


def test_the_tests_that_failed_are_read_from_pytests_summary():
    output = textwrap.dedent(
        """\
        FAILED python/gauge/tests/test_a.py::test_b[x y] - assert
        FAILED python\\gauge\\tests\\test_a.py::test_c - assert
        ERROR python/gauge/tests/test_d.py
        2 failed in 0.1s
        """
    )
    assert failed_tests(output)[1:] == (
        "python/gauge/tests/test_a.py::test_c",
        "python/gauge/tests/test_d.py",
    )


def test_the_command_writes_what_is_asked_for(lab, tool, tmp_path):
    lab.package("gauge")
    lab.write("crates/gauge_py/Cargo.toml", "")
    lab.write("pixi.toml", lab.workspace.manifest.read_text().replace(', "win-64"', ""))
    files = {name: tmp_path / "out" / name for name in ("junit", "html", "markdown")}
    done = tool(
        *("matrix", "--no-build", "--json", "--only", "3.12"),
        *(part for name, path in files.items() for part in (f"--{name}", path)),
        cwd=lab.root,
    )
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in json.loads(done.stdout)["rows"]] == [PASSED]
    for path in files.values():
        assert "gauge" in path.read_text(encoding="utf-8")
    again = tool("matrix", "--no-build", "--only", "3.12", "--reuse", cwd=lab.root)
    assert "not run again" in again.stdout
    assert again.stdout.splitlines()[-1].startswith("1 passed in")


def test_a_report_that_cannot_be_written_is_told_before_anything_runs(lab, tool, tmp_path):
    lab.write("crates/gauge_py/Cargo.toml", "")
    lab.package("gauge", f"touch '{tmp_path}/ran'")
    done = tool("matrix", "--no-build", "--only", HERE, "--junit", tmp_path, cwd=lab.root)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path} can't be written")
    assert not (tmp_path / "ran").exists()


def test_a_report_that_cannot_be_written_afterwards_costs_no_result(lab, tool, tmp_path):
    lab.write("crates/gauge_py/Cargo.toml", "")
    # The row itself puts a folder where the report should be.
    lab.package("gauge", f"rm -f '{tmp_path}/junit' && mkdir '{tmp_path}/junit'")
    done = tool(
        "matrix", "--no-build", "--only", "3.12", "--junit", tmp_path / "junit", cwd=lab.root
    )
    assert done.returncode == 1
    assert f"gauge  {HERE}  3.12  passed" in done.stdout
    assert f"error: {tmp_path / 'junit'} can't be written" in done.stderr

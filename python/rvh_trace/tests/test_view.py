import json
import re
import subprocess
import sys

import pytest

import rvh_trace
from rvh_trace import span, view


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "sp äns.jsonl"
    rvh_trace.init_tracing(exporter="file", file=path, service_name="shop")

    def fail():
        with span("payment", blob=b"\x00", tags=["a", "b"], n=1, ok=True):
            raise ValueError("<no money>")

    with (
        span("order <script>alert(1)</script>", evil="</td><img src=x>"),
        pytest.raises(ValueError),
    ):
        fail()
    assert rvh_trace.flush(10.0), rvh_trace.stats()
    return path


def test_the_file_is_otlp_json(written):
    (line,) = written.read_text(encoding="utf-8").splitlines()
    message = json.loads(line)
    spans = message["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert re.fullmatch(r"[0-9a-f]{32}", spans[0]["traceId"])
    assert spans[0]["parentSpanId"] == spans[1]["spanId"]
    assert isinstance(spans[0]["startTimeUnixNano"], str)


def test_what_is_read_is_what_was_recorded(written):
    order, payment = view.read(written)
    assert payment.attributes == {"blob": b"\x00", "tags": ["a", "b"], "n": 1, "ok": True}
    assert payment.parent_span_id == order.span_id
    assert (payment.failed, payment.message) == (True, "ValueError: <no money>")
    assert payment.events[0][0] == "exception"
    assert order.service == "shop"


def test_the_tree(written):
    lines = view.tree(view.read(written)).splitlines()
    assert lines[0].endswith("shop")
    assert " order " in lines[1]
    assert "   payment " in lines[2]
    assert "FAILED ValueError" in lines[2]


def test_the_page_escapes_everything(written):
    text = view.page(view.read(written), "<title>")
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    assert "http://" not in text
    assert "https://" not in text


def test_the_command(written, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "rvh_trace", "view", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert "payment" in run(written).stdout
    page = tmp_path / "page.html"
    assert run(written, "-o", page).returncode == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    missing = run(tmp_path / "none.jsonl")
    assert missing.returncode == 2
    assert len(missing.stderr.splitlines()) == 1


def test_a_killed_writer_leaves_a_file_that_can_be_read(written):
    with written.open("a") as file:
        file.write('{"resourceSpans": [{"sco')
    assert len(view.read(written)) == 2


def test_what_is_not_otlp_is_a_clear_error(tmp_path):
    path = tmp_path / "other.txt"
    path.write_text("hello\nworld\n")
    with pytest.raises(view.ViewError, match="line 1"):
        view.read(path)


def test_a_forged_cycle_ends():
    def forged(own, parent):
        return view.ViewedSpan("t", own, parent, own, 0, 1, "", {}, False, "", [])

    assert "a" in view.tree([forged("a", "a")])
    view.tree([forged("a", "b"), forged("b", "a")])


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(RuntimeError, match="cannot write spans"):
        rvh_trace.init_tracing(exporter="file", file=tmp_path)

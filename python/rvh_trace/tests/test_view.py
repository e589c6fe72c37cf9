import html
import io
import json
import re
import shutil
import socket
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


def test_the_tree_on_a_terminal(written):
    console = pytest.importorskip("rich.console", reason="rich is not installed")
    order, payment = view.read(written)
    order.name = "order [red]\x1b[31m"
    shown = console.Console(width=200, record=True, file=io.StringIO(), force_terminal=True)
    for tree in view.rich_trees([order, payment]):
        shown.print(tree, soft_wrap=True)
    lines = shown.export_text().splitlines()
    assert lines[0].endswith("shop")
    assert lines[1].startswith("└── order [red]\\x1b[31m ")
    assert lines[2].startswith("    └── payment ")
    assert "FAILED ValueError: <no money>" in lines[2]
    assert "\x1b[1;31mpayment" in shown.file.getvalue()


def test_a_forged_deep_trace_is_shown(tmp_path):
    pytest.importorskip("rich.console", reason="rich is not installed")
    spans = [
        view.ViewedSpan("t", str(n), str(n - 1), f"s{n}", n, n + 1, "", {}, False, "", [])
        for n in range(3000)
    ]
    (tree,) = view.rich_trees(spans)
    assert tree.children[0].children[0].label.plain.startswith("s1 ")


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


def test_a_writer_may_be_killed_inside_of_a_character(written):
    with written.open("ab") as file:
        file.write('{"resourceSpans": [{"scö'.encode()[:-1])
    assert len(view.read(written)) == 2


def test_what_is_written_after_a_killed_writer_is_read(written):
    """The exporter ends the half line that it finds, and goes on below it."""
    with written.open("ab") as file:
        file.write('{"resourceSpans": [{"scö'.encode()[:-1])
    rvh_trace.init_tracing(exporter="file", file=written, reconfigure=True)
    with span("later"):
        pass
    assert rvh_trace.flush(10.0)
    assert [item.name for item in view.read(written)][1:] == ["payment", "later"]


def test_a_line_ends_only_where_json_lines_end(tmp_path):
    path = tmp_path / "spans.jsonl"
    rvh_trace.init_tracing(exporter="file", file=path)
    texts = ["a\u2028b", "a\u2029b", "a\x85b", "a\x1cb\x0b\x0c"]
    for text in texts:
        with span("s", text=text):
            pass
        assert rvh_trace.flush(10.0)
    assert [item.attributes["text"] for item in view.read(path)] == texts
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(view.read(path)) == len(texts)


def test_what_is_no_text_is_a_clear_error(tmp_path):
    path = tmp_path / "other.txt"
    path.write_bytes(b"\xff\n{}\n")
    with pytest.raises(view.ViewError, match="line 1"):
        view.read(path)


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


# ---- In a browser ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="looks for Debian's chromium")
def test_a_browser_shows_the_page_and_loads_nothing(tmp_path, request):
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    # Nobody may come here, whatever the page says.
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    request.addfinalizer(listener.close)
    here = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    evil = [
        f"<img src={here}><link rel=stylesheet href={here}>",
        f"</title><meta http-equiv=refresh content='0;url={here}'>",
        "<script>document.title='owned'</script>",
        "</style><script>document.title='owned'</script>",
        "<img src=x onerror=\"document.title='owned'\">",
        "'><svg onload=\"document.title='owned'\">",
        "&lt;script&gt; \U0001f600 \u202e\x00",
        "javascript:alert(1)",
    ]
    path = tmp_path / "spans.jsonl"
    rvh_trace.init_tracing(exporter="file", file=path, service_name=evil[0])
    with span("root"):
        for text in evil:
            with span(text, **{text: text, "list": [text]}) as opened:
                opened.add_event(text, {text: text})
                opened.set_status("error", text)
    assert rvh_trace.shutdown(10.0)
    page = tmp_path / "page.html"
    page.write_text(view.page(view.read(path), evil[1]), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    result = subprocess.run(
        [
            program,
            *flags,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        timeout=300,
        check=True,
        encoding="utf-8",
    )
    dom = result.stdout
    # What ran would have changed the title; what was escaped is text in the document again.
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]
    assert title == html.escape(evil[1], quote=False)
    assert not re.search(r"<(script|img|svg|link)", dom)
    assert dom.count("<summary>") == 1 + len(evil)
    assert html.escape(evil[-3], quote=False) in dom
    with pytest.raises(BlockingIOError):
        listener.accept()

import os
import subprocess
import sys

import pytest

import rvh_trace
from rvh_trace import span

HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_span_continues_the_trace_of_its_caller(memory):
    carrier = {"TraceParent": HEADER, "tracestate": "a=1,b=2"}
    with rvh_trace.extract(carrier), span("server"):
        headers = rvh_trace.inject({})
    with span("unrelated"):
        pass
    server = memory()["server"]
    assert server.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert server.parent_span_id == "b7ad6b7169203331"
    assert headers["traceparent"] == f"00-{server.trace_id}-{server.span_id}-01"
    assert headers["tracestate"] == "a=1,b=2"
    assert memory()["unrelated"].parent_span_id is None


def test_a_caller_that_did_not_sample_is_followed(memory):
    with rvh_trace.extract({"traceparent": HEADER[:-2] + "00"}), span("server"):
        assert rvh_trace.inject({})["traceparent"].endswith("-00")
    assert memory() == {}


@pytest.mark.parametrize(
    "header",
    ["", "x", HEADER.upper(), HEADER + "-x", "00" + "-" * 53, "\ud800" * 55, "é" * 55, HEADER[:-1]],
)
def test_a_malformed_header_is_left_out(memory, header):
    with rvh_trace.extract({"traceparent": header}), span("s"):
        pass
    assert memory()["s"].parent_span_id is None


@pytest.mark.parametrize(
    "carrier",
    [
        [("TraceParent", HEADER)],
        [(b"accept", b"*"), (b"traceparent", HEADER.encode())],
        {b"traceparent": HEADER.encode()},
        {"traceparent": [HEADER]},
        ((name, value) for name, value in [("traceparent", HEADER)]),
    ],
)
def test_headers_may_be_pairs_and_bytes(memory, carrier):
    with rvh_trace.extract(carrier), span("s"):
        pass
    assert memory()["s"].parent_span_id == "b7ad6b7169203331"


@pytest.mark.parametrize(
    "carrier",
    [None, 5, [5], ["x"], [("traceparent", 5)], {"traceparent": [HEADER, HEADER]}, {3: HEADER}],
)
def test_what_holds_no_headers_is_no_context(memory, carrier):
    with rvh_trace.extract(carrier), span("s"):
        pass
    assert memory()["s"].parent_span_id is None


def test_fuzzed_headers_never_raise():
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    strategies = hypothesis.strategies
    text = strategies.text() | strategies.text("0123456789abcdef-", min_size=50, max_size=60)

    @hypothesis.given(text, text, text)
    def check(traceparent, tracestate, baggage):
        carrier = {"traceparent": traceparent, "tracestate": tracestate, "baggage": baggage}
        with rvh_trace.extract(carrier):
            rvh_trace.inject({})

    check()


def test_baggage_survives_the_journey():
    members = {"a b": "ü,;=", "k": "v"}
    with rvh_trace.baggage(**members):
        carrier = rvh_trace.inject({})
    assert rvh_trace.get_baggage() == {}
    assert carrier["baggage"].isascii()
    with rvh_trace.extract({"Baggage": carrier["baggage"] + ",prop=1;meta=2,broken"}):
        assert rvh_trace.get_baggage() == {**members, "prop": "1"}


def test_propagators_are_chosen_by_the_environment(memory, monkeypatch):
    monkeypatch.setenv("OTEL_PROPAGATORS", "baggage")
    with rvh_trace.baggage(a="1"), span("s"):
        assert rvh_trace.inject({}) == {"baggage": "a=1"}
    assert rvh_trace.extract({"traceparent": HEADER}).span_context is None


def test_a_subprocess_continues_the_trace(memory):
    code = (
        "import os, rvh_trace\n"
        "with rvh_trace.extract(os.environ):\n"
        "    print(rvh_trace.current_context().traceparent)\n"
    )
    with span("parent") as parent:
        environment = rvh_trace.environment()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout.strip() == f"00-{parent.trace_id}-{parent.span_id}-01"
    assert "TRACEPARENT" not in os.environ


def test_repeated_headers_are_one_list():
    pairs = [("traceparent", HEADER), ("tracestate", "a=1"), ("baggage", "k=1")]
    found = rvh_trace.extract([*pairs, ("Tracestate", "b=2"), (b"baggage", b"l=2,m=3")])
    assert found.span_context.tracestate == "a=1,b=2"
    assert found.baggage == {"k": "1", "l": "2", "m": "3"}
    assert rvh_trace.extract([*pairs, ("traceparent", HEADER)]).span_context is None


def test_baggage_that_is_too_long_loses_whole_members():
    fill = "fill=" + "x" * (8192 - len("fill=,user=12"))
    assert rvh_trace.extract({"baggage": f"{fill},user=12345"}).baggage.keys() == {"fill"}
    # What just fits stays, also when more follows.
    assert rvh_trace.extract({"baggage": f"{fill},user=12"}).baggage["user"] == "12"
    assert rvh_trace.extract({"baggage": f"{fill},user=12,more=1"}).baggage.keys() == {
        "fill",
        "user",
    }
    assert rvh_trace.extract({"baggage": "user=" + "1" * 9000}).baggage == {}


@pytest.mark.parametrize("names", ["tracecontext,baggage", "tracecontext,baggage,b3multi,jaeger"])
def test_a_subprocess_gets_nothing_of_an_older_trace(memory, monkeypatch, names):
    monkeypatch.setenv("OTEL_PROPAGATORS", names)
    old = {"TRACEPARENT": HEADER, "TRACESTATE": "old=1", "BAGGAGE": "old=1", "tracestate": "old=2"}
    if "jaeger" in names:
        old |= {"UBERCTX_OLD": "1", "X_B3_FLAGS": "1", "X_B3_PARENTSPANID": "1" * 16}
    for name, value in old.items():
        monkeypatch.setenv(name, value)
    # Where nothing is current, what was given is passed on.
    assert rvh_trace.environment() == dict(os.environ)
    with span("new") as opened:
        environment = rvh_trace.environment()
    found = rvh_trace.extract(environment)
    assert found.span_context.trace_id == opened.trace_id
    assert not found.span_context.tracestate
    assert found.baggage == {}
    assert old.keys() & environment.keys() == {"TRACEPARENT"}
    assert os.environ["BAGGAGE"] == "old=1"

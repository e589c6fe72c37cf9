"""B3 and Jaeger headers, alone and with OpenTelemetry's own propagators at the other end."""

import os
import subprocess
import sys
import warnings

import pytest

import rvh_trace
from rvh_trace import span

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def use(monkeypatch, memory):
    return lambda names: monkeypatch.setenv("OTEL_PROPAGATORS", names)


def read(headers):
    context = rvh_trace.extract(headers).span_context
    return context and (context.trace_id, context.span_id, context.trace_flags & 1)


@pytest.mark.parametrize("names", ["b3", "b3multi", "jaeger", "tracecontext", "b3,jaeger"])
@pytest.mark.parametrize("sampled", [True, False])
def test_what_is_written_is_read(use, names, sampled):
    use(names)
    rvh_trace.init_tracing(exporter="memory", sampler=float(sampled), reconfigure=True)
    with span("s") as opened:
        headers = rvh_trace.inject({})
    assert read(headers) == (opened.trace_id, opened.span_id, int(sampled))
    assert read({name.upper(): value for name, value in headers.items()}) is not None


def test_the_headers_are_those_of_the_formats(use):
    use("b3,b3multi,jaeger")
    with span("s") as opened:
        headers = rvh_trace.inject({})
    assert headers == {
        "b3": f"{opened.trace_id}-{opened.span_id}-1",
        "x-b3-traceid": opened.trace_id,
        "x-b3-spanid": opened.span_id,
        "x-b3-sampled": "1",
        "uber-trace-id": f"{opened.trace_id}:{opened.span_id}:0:1",
    }


@pytest.mark.parametrize("names", ["b3", "b3multi"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"b3": f"{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"}, (TRACE, SPAN, 1)),
        ({"B3": f"{TRACE}-{SPAN}-d"}, (TRACE, SPAN, 1)),
        ({"b3": f"{TRACE}-{SPAN}"}, (TRACE, SPAN, 1)),
        ({"b3": f"{TRACE}-{SPAN}-0"}, (TRACE, SPAN, 0)),
        ({"b3": f"{TRACE[16:]}-{SPAN}-1"}, ("0" * 16 + TRACE[16:], SPAN, 1)),
        ({"b3": "0"}, None),
        ({"b3": f"{'0' * 32}-{SPAN}-1"}, None),
        ({"b3": f"{TRACE}-{SPAN[1:]}-1"}, None),
        ({"b3": "\ud800-\ud800-1"}, None),
        (
            {"X-B3-TraceId": TRACE.upper(), "X-B3-SpanId": SPAN, "X-B3-Sampled": "1"},
            (TRACE, SPAN, 1),
        ),
        ({"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "false"}, (TRACE, SPAN, 0)),
        ({"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Flags": "1"}, (TRACE, SPAN, 1)),
        ({"X-B3-TraceId": TRACE}, None),
    ],
)
def test_b3(use, names, headers, expected):
    use(names)
    assert read(headers) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"{TRACE}:{SPAN}:0:1", (TRACE, SPAN, 1)),
        (f"{TRACE}%3A{SPAN}%3A0%3A0", (TRACE, SPAN, 0)),
        ("ab:cd:0:3", ("ab".rjust(32, "0"), "cd".rjust(16, "0"), 1)),
        ("0:cd:0:1", None),
        (f"{TRACE}:{SPAN}:1", None),
        (f"{TRACE}:{SPAN}:0:x", None),
        (f"{TRACE}:{SPAN}:0:", None),
        (":::", None),
    ],
)
def test_jaeger(use, header, expected):
    use("jaeger")
    assert read({"uber-trace-id": header}) == expected


def test_jaeger_carries_baggage(use):
    use("jaeger")
    with rvh_trace.baggage(tenant="ü b", **{"no header": "x"}):
        headers = rvh_trace.inject({})
    assert headers == {"uberctx-tenant": "%C3%BC%20b"}
    with rvh_trace.extract(headers):
        assert rvh_trace.get_baggage() == {"tenant": "ü b"}


def test_an_unknown_name_is_one_warning(use):
    use("b3, xray,xray, tracecontext")
    with pytest.warns(
        RuntimeWarning, match=r"xray cannot be used .* use tracecontext, baggage, b3"
    ):
        rvh_trace.inject({})
    with warnings.catch_warnings(), span("s"):
        warnings.simplefilter("error")
        assert set(rvh_trace.inject({})) == {"b3", "traceparent"}


def test_none_carries_nothing(use):
    use("none")
    with span("s"), rvh_trace.baggage(a="1"):
        assert rvh_trace.inject({}) == {}


def test_a_subprocess_reads_every_format(use):
    code = (
        "import os, rvh_trace\n"
        "with rvh_trace.extract(os.environ):\n"
        "    print(rvh_trace.current_context().traceparent, rvh_trace.get_baggage())\n"
    )
    for names in ("b3", "b3multi", "jaeger"):
        use(names)
        with span("parent") as parent:
            environment = rvh_trace.environment()
        assert not [name for name in set(environment) - set(os.environ) if "-" in name]
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert result.stdout.strip() == f"00-{parent.trace_id}-{parent.span_id}-01 {{}}"


def peers():
    pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")
    b3 = pytest.importorskip(
        "opentelemetry.propagators.b3", reason="opentelemetry-propagator-b3 is not installed"
    )
    jaeger = pytest.importorskip(
        "opentelemetry.propagators.jaeger",
        reason="opentelemetry-propagator-jaeger is not installed",
    )
    return {
        "b3": b3.B3SingleFormat(),
        "b3multi": b3.B3MultiFormat(),
        "jaeger": jaeger.JaegerPropagator(),
    }


@pytest.mark.parametrize("name", ["b3", "b3multi", "jaeger"])
def test_opentelemetry_s_propagators_understand_ours_and_we_theirs(use, name):
    peer = peers()[name]
    from opentelemetry import trace

    use(name)
    with span("s") as opened:
        headers = rvh_trace.inject({})
    theirs = trace.get_current_span(peer.extract(headers)).get_span_context()
    assert (f"{theirs.trace_id:032x}", f"{theirs.span_id:016x}", theirs.trace_flags) == (
        opened.trace_id,
        opened.span_id,
        1,
    )
    carrier = {}
    context = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), True, trace.TraceFlags(1))
    peer.inject(carrier, trace.set_span_in_context(trace.NonRecordingSpan(context)))
    assert read(carrier) == (TRACE, SPAN, 1)


def test_fuzzed_headers_never_raise(use):
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    strategies = hypothesis.strategies
    use("b3,b3multi,jaeger,baggage")
    names = strategies.sampled_from(
        ["b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags", "uber-trace-id"]
    ) | strategies.text().map("uberctx-{}".format)
    text = strategies.text(strategies.characters(exclude_categories=())) | strategies.text(
        "0123456789abcdef-:%", max_size=70
    )

    @hypothesis.settings(deadline=None)
    @hypothesis.given(strategies.dictionaries(names, text))
    def check(carrier):
        with rvh_trace.extract(carrier):
            rvh_trace.inject({})

    check()


def test_jaeger_s_baggage_is_lower_case_as_all_headers(use):
    use("jaeger")
    with rvh_trace.baggage(userId="1"):
        assert rvh_trace.inject({}) == {"uberctx-userid": "1"}

"""OpenTelemetry's API on this tracer, in processes of its own because its globals are set once."""

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("opentelemetry.trace", reason="opentelemetry-api is not installed")


def run(code, *, context=True):
    import os

    environment = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    environment["OTEL_PYTHON_TRACER_PROVIDER"] = "rvh_trace"
    environment["OTEL_TRACES_EXPORTER"] = "memory"
    if context:
        environment["OTEL_PYTHON_CONTEXT"] = "rvh_trace"
    preamble = """
        import asyncio
        import rvh_trace
        from opentelemetry import baggage, context, propagate, trace
        from opentelemetry.trace import Link, SpanKind, Status, StatusCode
        tracer = trace.get_tracer("lib", "1.2")
        def spans():
            return {span.name: span for span in rvh_trace.finished_spans()}
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(preamble) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "Failed to" not in result.stderr, result.stderr


@pytest.mark.parametrize("context", [True, False])
def test_spans_nest_and_say_what_they_are(context):
    run(
        """
        with tracer.start_as_current_span("outer", kind=SpanKind.SERVER, attributes={"a": 1}) as o:
            assert trace.get_current_span() is o
            assert o.is_recording()
            o.set_attribute("b", [1, 2])
            o.add_event("e", {"x": True}, timestamp=7)
            with tracer.start_as_current_span("inner", links=[Link(o.get_span_context())]) as i:
                assert i.get_span_context().trace_id == o.get_span_context().trace_id
                i.update_name("renamed")
            assert trace.get_current_span() is o
        assert not trace.get_current_span().get_span_context().is_valid
        outer, inner = spans()["outer"], spans()["renamed"]
        assert outer.kind == "server" and outer.attributes == {"a": 1, "b": (1, 2)}
        assert outer.events[0].timestamp == 7
        assert inner.parent_span_id == outer.span_id
        assert inner.links[0].context.span_id == outer.span_id
        assert int(outer.trace_id, 16) == o.get_span_context().trace_id
        """,
        context=context,
    )


def test_both_apis_are_each_others_parents():
    run(
        """
        with rvh_trace.span("ours"):
            with tracer.start_as_current_span("theirs"):
                with rvh_trace.span("ours again") as again:
                    current = trace.get_current_span().get_span_context()
                    assert current.span_id == int(again.span_id, 16)
                    with tracer.start_as_current_span("theirs again"):
                        pass
        s = spans()
        names = ["ours", "theirs", "ours again", "theirs again"]
        for parent, child in zip(names, names[1:]):
            assert s[child].parent_span_id == s[parent].span_id, child
        """
    )


def test_start_span_and_explicit_contexts():
    run(
        """
        a = tracer.start_span("a", start_time=5)
        assert not trace.get_current_span().get_span_context().is_valid
        b = tracer.start_span("b", context=trace.set_span_in_context(a))
        with trace.use_span(b):
            c = tracer.start_span("c")
            root = tracer.start_span("root", context=context.Context())
        for span in (c, b, root):
            span.end()
        a.end(end_time=9)
        a.set_attribute("late", 1)
        s = spans()
        assert s["b"].parent_span_id == s["a"].span_id
        assert s["c"].parent_span_id == s["b"].span_id
        assert s["root"].parent_span_id is None
        assert (s["a"].start, s["a"].end, s["a"].attributes) == (5, 9, {})
        """
    )


def test_exceptions_and_status():
    run(
        """
        try:
            with tracer.start_as_current_span("fails"):
                raise ValueError("bad")
        except ValueError:
            pass
        try:
            with tracer.start_as_current_span(
                "quiet", record_exception=False, set_status_on_exception=False
            ):
                raise ValueError("bad")
        except ValueError:
            pass
        with tracer.start_as_current_span("ok") as span:
            span.set_status(Status(StatusCode.OK))
            span.set_status(StatusCode.ERROR, "ignored: ok is final")
        s = spans()
        assert s["fails"].status == "error"
        assert s["fails"].status_description == "ValueError: bad"
        assert s["fails"].events[0].attributes["exception.type"] == "ValueError"
        assert (s["quiet"].status, s["quiet"].events) == ("unset", [])
        assert s["ok"].status == "ok"
        """
    )


def test_context_baggage_and_propagation():
    run(
        """
        token = context.attach(baggage.set_baggage("tenant", "x"))
        with rvh_trace.span("ours"), tracer.start_as_current_span("theirs"):
            assert baggage.get_baggage("tenant") == "x"
            carrier = {}
            propagate.inject(carrier)
        context.detach(token)
        assert baggage.get_baggage("tenant") is None
        remote = propagate.extract(carrier)
        with tracer.start_as_current_span("server", context=remote):
            pass
        s = spans()
        assert s["server"].parent_span_id == s["theirs"].span_id
        token = context.attach(remote)
        with rvh_trace.span("ours too"):
            pass
        context.detach(token)
        assert spans()["ours too"].parent_span_id == s["theirs"].span_id
        """
    )


def test_decorators_and_tasks():
    run(
        """
        @tracer.start_as_current_span("function")
        def function():
            return trace.get_current_span()
        @tracer.start_as_current_span("coroutine")
        async def coroutine(n):
            await asyncio.sleep(0)
            with tracer.start_as_current_span(f"child {n}"):
                await asyncio.sleep(0)
            return trace.get_current_span().get_span_context().span_id
        function()
        function()
        async def main():
            with tracer.start_as_current_span("root"):
                return await asyncio.gather(*(coroutine(n) for n in range(3)))
        ids = asyncio.run(main())
        finished = rvh_trace.finished_spans()
        assert len([s for s in finished if s.name == "function"]) == 2
        root = spans()["root"]
        coroutines = [s for s in finished if s.name == "coroutine"]
        assert {s.parent_span_id for s in coroutines} == {root.span_id}
        assert sorted(int(s.span_id, 16) for s in coroutines) == sorted(ids)
        assert {spans()[f"child {n}"].parent_span_id for n in range(3)} == {
            s.span_id for s in coroutines
        }
        """
    )


def test_a_span_that_is_not_sampled_has_a_context():
    run(
        """
        rvh_trace.init_tracing(exporter="memory", sampler=0.0, reconfigure=True)
        with tracer.start_as_current_span("s") as span:
            assert not span.is_recording()
            assert span.get_span_context().is_valid
            assert not span.get_span_context().trace_flags.sampled
        assert spans() == {}
        """
    )


def test_the_sqlite3_instrumentation_records_here():
    pytest.importorskip(
        "opentelemetry.instrumentation.sqlite3", reason="the instrumentation is not installed"
    )
    run(
        """
        import sqlite3
        from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
        SQLite3Instrumentor().instrument()
        with rvh_trace.span("ours"):
            connection = sqlite3.connect(":memory:")
            cursor = connection.cursor()
            cursor.execute("create table t (a)")
            try:
                cursor.execute("nonsense")
            except sqlite3.OperationalError:
                pass
        s = spans()
        assert s["create"].parent_span_id == s["ours"].span_id, s
        assert s["create"].kind == "client"
        assert s["create"].attributes["db.statement"] == "create table t (a)"
        assert s["nonsense"].status == "error"
        """
    )


def test_the_requests_instrumentation_propagates(collector):
    pytest.importorskip(
        "opentelemetry.instrumentation.requests", reason="the instrumentation is not installed"
    )
    run(
        f"""
        import requests
        from opentelemetry.instrumentation.requests import RequestsInstrumentor
        RequestsInstrumentor().instrument()
        with rvh_trace.span("ours"):
            requests.post({collector.endpoint!r}, data=b"")
        s = spans()
        assert s["POST"].parent_span_id == s["ours"].span_id, s
        print(s["POST"].trace_id, s["POST"].span_id)
        """
    )
    ((_, headers),) = collector.requests
    sent = {name.lower(): value for name, value in headers.items()}
    assert sent["traceparent"].startswith("00-")


def test_the_asgi_instrumentation_serves():
    pytest.importorskip(
        "opentelemetry.instrumentation.asgi", reason="the instrumentation is not installed"
    )
    run(
        """
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        async def app(scope, receive, send):
            with rvh_trace.span("work"):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b""})
        header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        scope = {
            "type": "http", "method": "GET", "path": "/x", "headers": [(b"traceparent", header)],
            "query_string": b"", "scheme": "http", "server": ("h", 80), "http_version": "1.1",
        }
        async def receive():
            return {"type": "http.request"}
        async def send(message):
            pass
        asyncio.run(OpenTelemetryMiddleware(app)(scope, receive, send))
        server = next(s for s in rvh_trace.finished_spans() if s.kind == "server")
        assert server.parent_span_id == "b7ad6b7169203331"
        assert server.trace_id == spans()["work"].trace_id
        """
    )

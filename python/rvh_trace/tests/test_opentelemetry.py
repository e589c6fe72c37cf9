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
@pytest.mark.parametrize("where", ["call", "part"])
def test_the_baggage_of_a_request_that_fails_ends_with_it(context, where):
    run(
        f"""
        from rvh_trace.middleware import WsgiMiddleware

        def app(environ, start_response):
            if {where == "call"}:
                raise RuntimeError("broken")
            def parts():
                raise RuntimeError("broken")
                yield b""
            return parts()

        environ = {{"REQUEST_METHOD": "GET", "HTTP_BAGGAGE": "tenant=one"}}
        try:
            list(WsgiMiddleware(app)(environ, lambda *_: None))
        except RuntimeError:
            pass
        assert rvh_trace.get_baggage() == {{}}
        assert not baggage.get_all() and "baggage" not in rvh_trace.inject({{}})
        """,
        context=context,
    )


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


def test_baggage_is_that_of_both_apis():
    run(
        """
        header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        token = context.attach(baggage.set_baggage("theirs", "1"))
        assert rvh_trace.get_baggage() == {"theirs": "1"}
        with rvh_trace.span("outer") as outer, rvh_trace.baggage(ours="2"):
            assert rvh_trace.current_span() is trace.get_current_span() is outer
            rvh_trace.record("a", 1)
            assert dict(baggage.get_all()) == {"theirs": "1", "ours": "2"}
            for sent in (rvh_trace.inject({}), {}):
                propagate.inject(sent)
                assert sorted(sent["baggage"].split(",")) == ["ours=2", "theirs=1"]
                assert sent["traceparent"].split("-")[2] == outer.span_id
            with tracer.start_as_current_span("inner"):
                # Who takes it away before a call to strangers does it for both.
                without = context.attach(baggage.clear())
                assert "baggage" not in rvh_trace.inject({})
                context.detach(without)
            with rvh_trace.extract({"traceparent": header, "baggage": "ours=3"}):
                assert dict(baggage.get_all()) == {"theirs": "1", "ours": "3"}
                remote = trace.get_current_span().get_span_context()
                assert remote.is_remote and remote.span_id == 0xb7ad6b7169203331
                with rvh_trace.span("of another trace"):
                    pass
            assert rvh_trace.get_baggage() == {"theirs": "1", "ours": "2"}
        assert rvh_trace.get_baggage() == {"theirs": "1"}
        context.detach(token)
        assert rvh_trace.get_baggage() == {}
        assert spans()["outer"].attributes == {"a": 1}
        assert spans()["inner"].parent_span_id == outer.span_id
        assert spans()["of another trace"].trace_id == header.split("-")[1]
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


def test_the_httpx_instrumentation_propagates(collector):
    pytest.importorskip(
        "opentelemetry.instrumentation.httpx", reason="the instrumentation is not installed"
    )
    run(
        f"""
        import httpx
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
        HTTPXClientInstrumentor().instrument()
        async def main():
            async with httpx.AsyncClient() as client:
                await client.post({collector.endpoint!r}, content=b"")
        with rvh_trace.span("ours"):
            httpx.post({collector.endpoint!r}, content=b"")
            asyncio.run(main())
        posts = [s for s in rvh_trace.finished_spans() if s.name == "POST"]
        assert [s.kind for s in posts] == ["client", "client"]
        assert {{s.parent_span_id for s in posts}} == {{spans()["ours"].span_id}}
        """
    )
    sent = [
        {name.lower(): value for name, value in headers.items()}
        for _, headers in collector.requests
    ]
    assert len({headers["traceparent"].split("-")[1] for headers in sent}) == 1
    assert len({headers["traceparent"].split("-")[2] for headers in sent}) == 2


def test_the_fastapi_instrumentation_serves():
    for name in ("opentelemetry.instrumentation.fastapi", "fastapi", "httpx"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    run(
        """
        import fastapi, httpx
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        app = fastapi.FastAPI()
        FastAPIInstrumentor.instrument_app(app)
        async def database():
            with rvh_trace.span("connection"):
                yield "connection"
        @app.get("/items/{number}")
        async def item(number: int, connection: str = fastapi.Depends(database)):
            with rvh_trace.span("work", number=number):
                await asyncio.sleep(0)
            return {}
        @app.get("/thread")
        def in_a_thread():
            with rvh_trace.span("in a thread"):
                return {}
        @app.get("/fails")
        async def fails():
            raise ValueError("bad")
        header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        async def main():
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://h") as client:
                headers = {"traceparent": header}
                assert (await client.get("/items/7", headers=headers)).status_code == 200
                assert (await client.get("/thread")).status_code == 200
                assert (await client.get("/fails")).status_code == 500
        asyncio.run(main())
        s = spans()
        server = s["GET /items/{number}"]
        assert server.kind == "server"
        assert server.trace_id == header.split("-")[1] == s["work"].trace_id
        assert server.parent_span_id == header.split("-")[2]
        assert server.attributes.get("http.route") == "/items/{number}"
        by_id = {item.span_id: item for item in rvh_trace.finished_spans()}
        def root_of(item):
            while item.parent_span_id in by_id:
                item = by_id[item.parent_span_id]
            return item.name
        assert root_of(s["work"]) == "GET /items/{number}"
        assert root_of(s["connection"]) == "GET /items/{number}"
        assert root_of(s["in a thread"]) == "GET /thread"
        assert s["GET /fails"].status == "error"
        assert rvh_trace.live_spans() == []
        """
    )


def test_the_logging_instrumentation_finds_the_span():
    pytest.importorskip(
        "opentelemetry.instrumentation.logging", reason="the instrumentation is not installed"
    )
    run(
        """
        import logging
        from opentelemetry.instrumentation.logging import LoggingInstrumentor
        LoggingInstrumentor().instrument(set_logging_format=True)
        seen = []
        class Keep(logging.Handler):
            def emit(self, record):
                seen.append(record)
        logging.getLogger().addHandler(Keep())
        logging.getLogger().setLevel(logging.INFO)
        with rvh_trace.span("ours") as ours:
            logging.getLogger("shop").info("hello")
        (record,) = [r for r in seen if r.name == "shop"]
        assert (record.otelTraceID, record.otelSpanID) == (ours.trace_id, ours.span_id)
        assert (record.trace_id, record.span_id) == (ours.trace_id, ours.span_id)
        """
    )


def test_the_grpc_instrumentation_traces_both_ends():
    for name in ("opentelemetry.instrumentation.grpc", "grpc"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    run(
        """
        from concurrent.futures import ThreadPoolExecutor
        import grpc
        from opentelemetry.instrumentation.grpc import (
            GrpcInstrumentorClient,
            GrpcInstrumentorServer,
        )
        GrpcInstrumentorClient().instrument()
        GrpcInstrumentorServer().instrument()
        def handler(request, context):
            with rvh_trace.span("work"):
                return request
        methods = {"Echo": grpc.unary_unary_rpc_method_handler(handler)}
        server = grpc.server(ThreadPoolExecutor(1))
        service = grpc.method_handlers_generic_handler("shop.Orders", methods)
        server.add_generic_rpc_handlers([service])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with rvh_trace.span("ours"), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert channel.unary_unary("/shop.Orders/Echo")(b"x", timeout=20) == b"x"
        server.stop(None).wait()
        kinds = {s.kind: s for s in rvh_trace.finished_spans() if s.name == "/shop.Orders/Echo"}
        assert kinds["client"].parent_span_id == spans()["ours"].span_id
        assert kinds["server"].parent_span_id == kinds["client"].span_id
        assert spans()["work"].parent_span_id == kinds["server"].span_id
        """
    )

import asyncio

import pytest

import rvh_trace
from rvh_trace import span
from rvh_trace.middleware import AsgiMiddleware, WsgiMiddleware

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def asgi(app, path="/items"):
    sent = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": [(b"traceparent", TRACEPARENT.encode())],
    }

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    asyncio.run(AsgiMiddleware(app)(scope, receive, send))
    return sent


def test_asgi(memory):
    async def app(scope, receive, send):
        class Route:
            path = "/{name}"

        scope["route"] = Route()
        with span("work"):
            await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    assert len(asgi(app)) == 2
    request = memory()["GET /{name}"]
    assert request.kind == "server"
    assert request.parent_span_id == "b7ad6b7169203331"
    assert request.attributes["http.response.status_code"] == 503
    assert request.status == "error"
    assert memory()["work"].parent_span_id == request.span_id


def test_asgi_that_fails(memory):
    async def app(scope, receive, send):
        raise ValueError("bad")

    with pytest.raises(ValueError):
        asgi(app)
    assert memory()["GET"].events[0].name == "exception"


def wsgi(app):
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/x", "HTTP_TRACEPARENT": TRACEPARENT}
    return WsgiMiddleware(app)(environ, lambda status, headers: None)


def test_wsgi(memory):
    def app(environ, start_response):
        start_response("200 OK", [])
        for number in range(2):
            with span(f"part {number}"):
                yield b"x"

    for part in wsgi(app):
        assert part == b"x"
        # While the server sends, its own context is not the request's.
    assert rvh_trace.current_context() is None
    request = memory()["POST"]
    assert request.parent_span_id == "b7ad6b7169203331"
    assert request.attributes["http.response.status_code"] == 200
    assert memory()["part 1"].trace_id == request.trace_id


def test_wsgi_that_fails(memory):
    def app(environ, start_response):
        raise ValueError("bad")

    with pytest.raises(ValueError):
        list(wsgi(app))
    assert memory()["POST"].status == "error"

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
        "query_string": b"q=1&sig=secret",
        "scheme": "https",
        "http_version": "2",
        "server": ("shop.example", None),
        "client": ("10.0.0.1", 5000),
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
    assert request.attributes == {
        "http.request.method": "GET",
        "url.path": "/items",
        "url.query": "q=1&sig=REDACTED",
        "url.scheme": "https",
        "network.protocol.version": "2",
        "server.address": "shop.example",
        "server.port": 443,
        "client.address": "10.0.0.1",
        "client.port": 5000,
        "http.response.status_code": 503,
        "error.type": "503",
        "http.route": "/{name}",
    }
    assert request.status == "error"
    assert memory()["work"].parent_span_id == request.span_id


def test_asgi_that_fails(memory):
    async def app(scope, receive, send):
        raise ValueError("bad")

    with pytest.raises(ValueError):
        asgi(app)
    assert memory()["GET"].events[0].name == "exception"
    assert memory()["GET"].attributes["error.type"] == "ValueError"


def wsgi(app):
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/shop",
        "PATH_INFO": "/x",
        "QUERY_STRING": "a=b",
        "SERVER_NAME": "h",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "10.0.0.1",
        "HTTP_USER_AGENT": "curl",
        "HTTP_TRACEPARENT": TRACEPARENT,
        "wsgi.url_scheme": "http",
    }
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
    assert request.attributes == {
        "http.request.method": "POST",
        "url.path": "/shop/x",
        "url.query": "a=b",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "user_agent.original": "curl",
        "server.address": "h",
        "server.port": 8000,
        "client.address": "10.0.0.1",
        "http.response.status_code": 200,
    }
    assert memory()["part 1"].trace_id == request.trace_id


def test_wsgi_that_fails(memory):
    def app(environ, start_response):
        raise ValueError("bad")

    with pytest.raises(ValueError):
        list(wsgi(app))
    assert memory()["POST"].status == "error"

import asyncio

import pytest

import rvh_trace
from rvh_trace import span
from rvh_trace.middleware import AsgiMiddleware, WsgiMiddleware

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def asgi(app, path="/items", headers=()):
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
        "headers": [(b"traceparent", TRACEPARENT.encode()), *headers],
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


def wsgi(app, **variables):
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
        **variables,
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


def test_wsgi_that_fails_to_close(memory):
    class Body:
        def __iter__(self):
            return iter([b"x"])

        def close(self):
            raise OSError("disk")

    def app(environ, start_response):
        start_response("200 OK", [])
        return Body()

    with pytest.raises(OSError, match="disk"):
        list(wsgi(app))
    request = memory()["POST"]
    assert request.status == "error"
    assert request.attributes["error.type"] == "OSError"
    assert request.events[0].attributes["exception.message"] == "disk"
    assert rvh_trace.live_spans() == []


def test_wsgi_has_the_caller_s_baggage(memory):
    seen = []

    def app(environ, start_response):
        start_response("200 OK", [])
        for _ in range(2):
            seen.append((rvh_trace.get_baggage(), rvh_trace.inject({})["baggage"]))
            yield b"x"

    for _ in wsgi(app, HTTP_BAGGAGE="user=a%20b"):
        # While the server sends, its own context is not the request's.
        assert rvh_trace.get_baggage() == {}
    assert rvh_trace.get_baggage() == {}
    assert seen == [({"user": "a b"}, "user=a%20b")] * 2


def test_wsgi_that_is_no_generator_has_the_caller_s_baggage(memory):
    seen = []

    def app(environ, start_response):
        start_response("200 OK", [])
        seen.append(rvh_trace.get_baggage())
        return [b"x"]

    assert list(wsgi(app, HTTP_BAGGAGE="user=1")) == [b"x"]
    assert seen == [{"user": "1"}]
    assert rvh_trace.get_baggage() == {}


def test_asgi_headers_may_be_repeated(memory):
    seen = []

    async def app(scope, receive, send):
        seen.append((rvh_trace.get_baggage(), rvh_trace.inject({})["tracestate"]))

    repeated = [(b"baggage", b"a=1"), (b"tracestate", b"x=1"), (b"tracestate", b"y=2")]
    asgi(app, headers=[*repeated, (b"Baggage", b"b=2")])
    assert seen == [({"a": "1", "b": "2"}, "x=1,y=2")]
    assert memory()["GET"].parent_span_id == "b7ad6b7169203331"


def test_asgi_with_two_parents_has_none(memory):
    async def app(scope, receive, send):
        pass

    asgi(app, headers=[(b"traceparent", TRACEPARENT.replace("b7ad", "1111").encode())])
    assert memory()["GET"].parent_span_id is None


@pytest.mark.parametrize("name", ["X-Amz-Signature", "x-amz-signature"])
def test_what_signs_a_presigned_url_is_not_recorded(memory, name):
    def app(environ, start_response):
        return [b""]

    list(wsgi(app, QUERY_STRING=f"X-Amz-Expires=60&{name}=hunter2&x=1"))
    query = memory()["POST"].attributes["url.query"]
    assert query == f"X-Amz-Expires=60&{name}=REDACTED&x=1"

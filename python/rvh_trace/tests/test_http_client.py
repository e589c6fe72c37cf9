"""Requests of requests and httpx to a real server."""

import asyncio
import http.server
import threading

import pytest

import rvh_trace
from rvh_trace import http_client, http_conventions, span


class Server:
    """Answers with the status in the path, and keeps what it was asked."""

    def __init__(self):
        self.seen = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.seen.append({key.lower(): value for key, value in self.headers.items()})
                status = int(self.path.strip("/").split("?")[0] or 200)
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "/200")
                self.send_header("content-length", "0")
                self.end_headers()

            do_POST = do_BREW = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


def by_requests(method, url, *, follow=True):
    requests = pytest.importorskip("requests", reason="requests is not installed")
    with http_client.trace_requests(requests.Session()) as session:
        http_client.trace_requests(session)
        return session.request(method, url, allow_redirects=follow, timeout=20)


def by_httpx(method, url, *, follow=True):
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    with http_client.trace_httpx(httpx.Client(follow_redirects=follow)) as client:
        http_client.trace_httpx(client)
        return client.request(method, url)


def by_async_httpx(method, url, *, follow=True):
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")

    async def main():
        async with http_client.trace_httpx(httpx.AsyncClient(follow_redirects=follow)) as client:
            return await client.request(method, url)

    return asyncio.run(main())


ALL = pytest.mark.parametrize("send", [by_requests, by_httpx, by_async_httpx])


@ALL
def test_a_request_is_a_client_span_that_the_server_continues(memory, server, send):
    with span("work") as work:
        assert send("GET", f"{server.url}/200?q=1&sig=secret").status_code == 200
        assert rvh_trace.current_span() is work
    request = memory()["GET"]
    assert request.parent_span_id == memory()["work"].span_id
    assert (request.kind, request.status) == ("client", "unset")
    assert request.attributes == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "url.full": f"{server.url}/200?q=1&sig=REDACTED",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    (headers,) = server.seen
    assert headers["traceparent"] == f"00-{request.trace_id}-{request.span_id}-01"


@ALL
@pytest.mark.parametrize("status", [404, 503])
def test_a_refusal_is_an_error(memory, server, send, status):
    assert send("POST", f"{server.url}/{status}").status_code == status
    request = memory()["POST"]
    assert request.status == "error"
    assert request.attributes["error.type"] == str(status)
    assert request.events == []


@ALL
def test_a_redirect_is_a_request_of_its_own(memory, server, send):
    with span("work"):
        send("GET", f"{server.url}/302")
    requests = [item for item in rvh_trace.finished_spans() if item.name == "GET"]
    assert [item.attributes["http.response.status_code"] for item in requests] == [302, 200]
    sent = [headers["traceparent"].split("-")[2] for headers in server.seen]
    assert sent == [item.span_id for item in requests]


@ALL
def test_no_answer_is_an_error_that_propagates(memory, server, send):
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(Exception, match=r"(?i)connection"):
        send("GET", server.url)
    request = memory()["GET"]
    assert request.status == "error"
    assert request.attributes["error.type"] in ("ConnectionError", "ConnectError")
    assert request.events[0].name == "exception"


@ALL
def test_an_unknown_method(memory, server, send):
    send("BREW", f"{server.url}/200")
    attributes = memory()["HTTP"].attributes
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "BREW"


@ALL
def test_without_tracing_it_just_works(server, send):
    assert send("GET", f"{server.url}/200").status_code == 200
    assert "traceparent" not in server.seen[0]


def test_the_url_shows_no_secret():
    clean = http_conventions.without_secrets
    assert clean("https://u@h/") == "https://REDACTED:REDACTED@h/"
    assert clean("https://h/a@b?x=me@b") == "https://h/a@b?x=me@b"
    assert clean("https://h/?Signature=a%20b&design=1") == "https://h/?Signature=REDACTED&design=1"
    assert clean("x=1&AWSAccessKeyId=AK") == "x=1&AWSAccessKeyId=REDACTED"

"""A span for each request of a web application, ASGI or WSGI.

The span continues the caller's trace, is named as OpenTelemetry's conventions for HTTP servers say
(the method, and the route where the framework tells it), and lasts until the response is sent.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from rvh_trace import http_conventions
from rvh_trace._native import span
from rvh_trace.propagation import RemoteContext, extract

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping

    from rvh_trace._native import Span

    type Message = MutableMapping[str, Any]
    type Send = Callable[[Message], Awaitable[None]]
    type Receive = Callable[[], Awaitable[Message]]
    type AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]
    type WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_FAILED = 500


class AsgiMiddleware:
    """Trace an ASGI application: ``app = AsgiMiddleware(app)``."""

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection; only HTTP requests and websockets are traced."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        # A list, as a header may be repeated.
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope.get("headers", [])
        ]
        # A websocket begins as a GET.
        method = str(scope.get("method", "GET"))
        name, attributes = http_conventions.method_of(method)
        scheme = str(scope.get("scheme", "http"))
        attributes |= _request(
            path=str(scope.get("path", "")),
            query=scope.get("query_string", b"").decode("latin-1"),
            scheme=scheme,
            version=str(scope.get("http_version", "")),
            agent=dict(headers).get("user-agent", ""),
        )
        host, port = scope.get("server") or (None, None)
        attributes |= http_conventions.server_of(host, port, scheme)
        attributes |= _client(*(scope.get("client") or (None, None)))
        opened = span(name, **attributes)
        opened.set_kind("server")
        with extract(headers), opened:

            async def sending(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _answered(opened, int(message["status"]))
                await send(message)

            try:
                await self.app(scope, receive, sending)
            except Exception as error:
                opened.record("error.type", type(error).__qualname__)
                raise
            finally:
                # A framework that routes has told the route by now.
                route = getattr(scope.get("route"), "path", None)
                if isinstance(route, str):
                    opened.update_name(f"{name} {route}")
                    opened.record("http.route", route)


class WsgiMiddleware:
    """Trace a WSGI application: ``app = WsgiMiddleware(app)``."""

    def __init__(self, app: WsgiApp) -> None:
        self.app = app

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterator[bytes]:
        """Serve one request."""
        headers = {
            name[5:].replace("_", "-"): str(value)
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        name, attributes = http_conventions.method_of(str(environ.get("REQUEST_METHOD", "GET")))
        scheme = str(environ.get("wsgi.url_scheme", "http"))
        attributes |= _request(
            path=str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", "")),
            query=str(environ.get("QUERY_STRING", "")),
            scheme=scheme,
            version=str(environ.get("SERVER_PROTOCOL", "")).removeprefix("HTTP/"),
            agent=str(environ.get("HTTP_USER_AGENT", "")),
        )
        host, port = environ.get("SERVER_NAME"), str(environ.get("SERVER_PORT", ""))
        attributes |= http_conventions.server_of(
            host, int(port) if port.isdecimal() else None, scheme
        )
        attributes |= _client(environ.get("REMOTE_ADDR"))
        opened = span(name, **attributes)
        opened.set_kind("server")
        with extract(headers) as caller:
            opened.resume()
            opened.suspend()
        baggage = RemoteContext(None, caller.baggage)

        def starting(status: str, *arguments: object) -> object:
            code = status.split(" ", 1)[0]
            _answered(opened, int(code) if code.isdigit() else 0)
            return start_response(status, *arguments)

        body: Iterable[bytes] | None = None
        try:
            with _working(opened, baggage):
                body = self.app(environ, starting)
            parts = iter(body)
            while True:
                # Current only while the application works, not while the server sends.
                with _working(opened, baggage):
                    part = next(parts, None)
                if part is None:
                    break
                yield part
        except BaseException as error:
            _raised(opened, error)
            raise
        finally:
            try:
                close = getattr(body, "close", None)
                if close is not None:
                    close()
            except BaseException as error:
                _raised(opened, error)
                raise
            finally:
                opened.suspend()
                opened.end()


@contextlib.contextmanager
def _working(opened: Span, baggage: RemoteContext) -> Iterator[None]:
    """Have the span and the caller's baggage current; the inner one is the first to leave."""
    with baggage:
        opened.resume()
        try:
            yield
        finally:
            opened.suspend()


def _request(*, path: str, query: str, scheme: str, version: str, agent: str) -> dict[str, object]:
    found = {
        "url.path": path,
        "url.query": http_conventions.without_secrets(query),
        "url.scheme": scheme,
        "network.protocol.version": version,
        "user_agent.original": agent,
    }
    return {key: value for key, value in found.items() if value or key == "url.path"}


def _client(address: str | None, port: int | None = None) -> dict[str, object]:
    found = {"client.address": address, "client.port": port}
    return {key: value for key, value in found.items() if value}


def _raised(opened: Span, error: BaseException) -> None:
    opened.failed(error)
    if isinstance(error, Exception):
        opened.record("error.type", type(error).__qualname__)


def _answered(opened: Span, status: int) -> None:
    opened.record("http.response.status_code", status)
    if status >= _FAILED:
        opened.record("error.type", str(status))
        opened.set_status("error")

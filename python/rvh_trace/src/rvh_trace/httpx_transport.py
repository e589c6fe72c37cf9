"""Transports for httpx that trace what they send. Needs the package ``httpx``."""

from __future__ import annotations

from typing import overload

import httpx

from rvh_trace.http_client import answered, request_span


class TracedTransport(httpx.BaseTransport):
    """Sends by another transport, an ``httpx.HTTPTransport`` unless given, each request in a span.

    ``httpx.Client(transport=TracedTransport())``
    """

    def __init__(self, inner: httpx.BaseTransport | None = None) -> None:
        self.inner = inner or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request in a span, with the trace in its headers."""
        with request_span(request.method, str(request.url), request.headers) as opened:
            response = self.inner.handle_request(request)
            answered(opened, response.status_code, _version(response))
        return response

    def close(self) -> None:
        """Close the inner transport."""
        self.inner.close()


class TracedAsyncTransport(httpx.AsyncBaseTransport):
    """The same for ``httpx.AsyncClient``."""

    def __init__(self, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self.inner = inner or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request in a span, with the trace in its headers."""
        with request_span(request.method, str(request.url), request.headers) as opened:
            response = await self.inner.handle_async_request(request)
            answered(opened, response.status_code, _version(response))
        return response

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self.inner.aclose()


@overload
def traced(transport: httpx.BaseTransport) -> TracedTransport: ...
@overload
def traced(transport: httpx.AsyncBaseTransport) -> TracedAsyncTransport: ...
def traced(
    transport: httpx.BaseTransport | httpx.AsyncBaseTransport,
) -> TracedTransport | TracedAsyncTransport:
    """Return a transport that traces what this one sends."""
    if isinstance(transport, TracedTransport | TracedAsyncTransport):
        return transport
    if isinstance(transport, httpx.BaseTransport):
        return TracedTransport(transport)
    return TracedAsyncTransport(transport)


def _version(response: httpx.Response) -> str | None:
    version: bytes = response.extensions.get("http_version", b"")
    return version.decode("ascii", "replace").removeprefix("HTTP/") or None

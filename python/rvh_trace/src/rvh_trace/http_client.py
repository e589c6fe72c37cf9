"""A span for each request that a program makes, and the trace in the request's headers.

For requests and httpx, neither of which is needed to import this module::

    session = trace_requests(requests.Session())
    client = trace_httpx(httpx.Client())  # or httpx.AsyncClient()

A redirect is a request of its own. A span ends when the response's head has come.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rvh_trace import http_conventions
from rvh_trace._native import span
from rvh_trace.propagation import inject

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    import httpx
    import requests

    from rvh_trace._native import Span

_REFUSED = 400


@contextlib.contextmanager
def request_span(method: str, url: str, headers: MutableMapping[str, str]) -> Iterator[Span]:
    """Open the span of one request and write the trace into its headers."""
    name, attributes = http_conventions.method_of(method)
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        attributes |= http_conventions.server_of(parts.hostname, parts.port, parts.scheme)
    attributes["url.full"] = http_conventions.without_secrets(url)
    opened = span(name, **attributes)
    opened.set_kind("client")
    with opened:
        inject(headers)
        try:
            yield opened
        except Exception as error:
            opened.record("error.type", type(error).__qualname__)
            raise


def answered(opened: Span, status: int, version: str | None) -> None:
    """Note what the answer was: to a client a status of 400 and more is an error."""
    opened.record("http.response.status_code", status)
    if version:
        opened.record("network.protocol.version", version)
    if status >= _REFUSED:
        opened.record("error.type", str(status))
        opened.set_status("error")


def trace_requests(session: requests.Session) -> requests.Session:
    """Let a session of requests trace what it sends, by its adapters; twice is as good as once.

    An adapter that is mounted later is not traced: mount ``requests_adapter.TracedAdapter(it)``.
    """
    from rvh_trace.requests_adapter import TracedAdapter

    for prefix, adapter in list(session.adapters.items()):
        if not isinstance(adapter, TracedAdapter):
            # In place, so that the order of prefixes stays.
            session.adapters[prefix] = TracedAdapter(adapter)
    return session


def trace_httpx[Client: (httpx.Client, httpx.AsyncClient)](client: Client) -> Client:
    """Let a client of httpx trace what it sends, by its transports; twice is as good as once.

    For a client with a transport of its own there are ``httpx_transport.TracedTransport`` and
    ``TracedAsyncTransport``.
    """
    from rvh_trace.httpx_transport import traced

    # There is no public way to exchange them after a client was made, nor to learn which ones
    # httpx chose for proxies.
    inner: Any = client
    inner._transport = traced(inner._transport)
    inner._mounts = {
        pattern: transport and traced(transport) for pattern, transport in inner._mounts.items()
    }
    return client

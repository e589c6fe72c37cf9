"""An adapter for requests that traces what it sends. Needs the package ``requests``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from requests.adapters import BaseAdapter, HTTPAdapter

from rvh_trace.http_client import answered, request_span

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

_VERSIONS = {10: "1.0", 11: "1.1", 20: "2"}


class TracedAdapter(BaseAdapter):
    """Sends by another adapter, an ``HTTPAdapter`` unless given, each request in a span.

    ``session.mount("https://", TracedAdapter())``
    """

    def __init__(self, inner: BaseAdapter | None = None) -> None:
        super().__init__()
        self.inner = inner or HTTPAdapter()

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send a request in a span, with the trace in its headers."""
        # Its type allows bytes too; only text is written.
        headers: Any = request.headers
        with request_span(request.method or "", request.url or "", headers) as opened:
            response = self.inner.send(request, *args, **kwargs)
            version = _VERSIONS.get(getattr(response.raw, "version", None) or 0)
            answered(opened, response.status_code, version)
        return response

    def close(self) -> None:
        """Close the inner adapter."""
        self.inner.close()

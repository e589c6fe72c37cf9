"""What spans of HTTP requests are called and say: OpenTelemetry's stable conventions for HTTP.

https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import re

_METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
# The parameters that the conventions name, and those of AWS's newer signatures: who has their
# values can use the URL.
_SIGNED = re.compile(
    r"(?<![^?&])(AWSAccessKeyId|Signature|sig|X-Goog-Signature"
    r"|X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token)=[^&#]*",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"^([a-zA-Z][\w+.-]*://)[^/?#@]*@")


def method_of(method: str) -> tuple[str, dict[str, object]]:
    """Return the name of a span for a request by this method, and the attributes that tell it.

    >>> method_of("GET")
    ('GET', {'http.request.method': 'GET'})
    >>> method_of("Brew")
    ('HTTP', {'http.request.method': '_OTHER', 'http.request.method_original': 'Brew'})
    """
    if method in _METHODS:
        return method, {"http.request.method": method}
    return "HTTP", {"http.request.method": "_OTHER", "http.request.method_original": method}


def without_secrets(url: str) -> str:
    """Return a URL, or its query, without user, password and signatures.

    >>> without_secrets("https://me:pw@host/a?sig=abc&x=1")
    'https://REDACTED:REDACTED@host/a?sig=REDACTED&x=1'
    """
    return _SIGNED.sub(r"\1=REDACTED", _CREDENTIALS.sub(r"\1REDACTED:REDACTED@", url))


def server_of(host: str | None, port: int | None, scheme: str) -> dict[str, object]:
    """Return the attributes of who was asked; the port that the scheme implies is told too."""
    found: dict[str, object] = {"server.address": host} if host else {}
    port = port or _PORTS.get(scheme)
    if host and port:
        found["server.port"] = port
    return found

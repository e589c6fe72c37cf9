"""Carrying a trace from process to process: W3C Trace Context and Baggage.

The names of the headers are those of the specifications (https://www.w3.org/TR/trace-context/,
https://www.w3.org/TR/baggage/), in lower case, as HTTP/2 and ASGI want them. Which of the two are
written and read, ``OTEL_PROPAGATORS`` says (``tracecontext,baggage`` unless set).
"""

from __future__ import annotations

import contextlib
import contextvars
import os
from urllib.parse import quote, unquote

from rvh_trace import _native

TYPE_CHECKING = False  # as type checkers know it; see current.py
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from types import TracebackType

    from rvh_trace._native import SpanContext

_MOST_MEMBERS = 64
_LONGEST = 8192
# What a baggage value may hold as it is (section 3.3.1.3); a key is a token, so fewer.
_VALUE_SAFE = "!#$&'()*+-./:<=>?@[]^_`{|}~"
_KEY_SAFE = "!#$&'*+-.^_`|~"

_baggage: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar(
    "rvh_trace_baggage", default=None
)


def propagators() -> frozenset[str]:
    """Which headers are written and read: of ``tracecontext`` and ``baggage``."""
    names = os.environ.get("OTEL_PROPAGATORS", "").strip() or "tracecontext,baggage"
    return frozenset(name.strip() for name in names.split(","))


def get_baggage() -> dict[str, str]:
    """Return the baggage that is current here, as a copy."""
    return dict(_baggage.get() or {})


class RemoteContext:
    """What ``extract`` found: a parent in another process, and its baggage.

    In a ``with`` block it is current, so that spans opened there are its children.
    """

    __slots__ = ("_tokens", "baggage", "span_context")

    def __init__(self, span_context: SpanContext | None, baggage: Mapping[str, str]) -> None:
        self.span_context = span_context
        self.baggage = dict(baggage)
        self._tokens: list[tuple[object, contextvars.Token[dict[str, str] | None] | None]] = []

    def __enter__(self) -> RemoteContext:
        parent = None if self.span_context is None else _native.attach(self.span_context)
        merged = {**(_baggage.get() or {}), **self.baggage} if self.baggage else None
        self._tokens.append((parent, None if merged is None else _baggage.set(merged)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        parent, baggage = self._tokens.pop()
        if parent is not None:
            _native.detach(parent)
        if baggage is not None:
            # In another context than the one in which it began there is nothing to take back.
            with contextlib.suppress(ValueError):
                _baggage.reset(baggage)

    def __repr__(self) -> str:
        return f"RemoteContext({self.span_context!r}, {self.baggage!r})"


def baggage(**members: str) -> RemoteContext:
    """Add to the baggage for a ``with`` block.

    >>> import rvh_trace
    >>> with rvh_trace.baggage(tenant="a b"):
    ...     rvh_trace.inject({})
    {'baggage': 'tenant=a%20b'}
    """
    return RemoteContext(None, {key: str(value) for key, value in members.items()})


def inject[M: MutableMapping[str, str]](carrier: M) -> M:
    """Write the current context into a mapping of headers, and return it.

    >>> import rvh_trace
    >>> rvh_trace.init_tracing(exporter="memory", reconfigure=True)
    >>> with rvh_trace.span("request") as opened:
    ...     headers = rvh_trace.inject({})
    >>> headers["traceparent"] == f"00-{opened.trace_id}-{opened.span_id}-01"
    True
    """
    chosen = propagators()
    context = _native.current_context() if "tracecontext" in chosen else None
    if context is not None:
        carrier["traceparent"] = context.traceparent
        if context.tracestate:
            carrier["tracestate"] = context.tracestate
    members = _baggage.get() if "baggage" in chosen else None
    if members:
        text = _baggage_header(members)
        if text:
            carrier["baggage"] = text
    return carrier


def environment() -> dict[str, str]:
    """Return the environment for a subprocess that continues the current trace.

    The child reads it by ``rvh_trace.extract(os.environ)``.
    """
    headers: dict[str, str] = inject({})
    return {**os.environ, **{name.upper(): value for name, value in headers.items()}}


def extract(carrier: Mapping[str, str]) -> RemoteContext:
    """Read the context that a mapping of headers, or ``os.environ``, carries.

    Names are found in any case. What is malformed is left out, as the specifications say; this
    never raises.

    >>> import rvh_trace
    >>> header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    >>> with rvh_trace.extract({"Traceparent": header}):
    ...     rvh_trace.current_context().trace_id
    '0af7651916cd43dd8448eb211c80319c'
    """
    found: dict[str, str] = {}
    for key, value in carrier.items():
        name = key.lower() if isinstance(key, str) else ""
        if name in ("traceparent", "tracestate", "baggage") and isinstance(value, str):
            found[name] = value
    chosen = propagators()
    context = None
    if "tracecontext" in chosen and "traceparent" in found:
        context = _native.parse_traceparent(found["traceparent"], found.get("tracestate", ""))
    members = _parsed_baggage(found.get("baggage", "")) if "baggage" in chosen else {}
    return RemoteContext(context, members)


def _baggage_header(members: Mapping[str, str]) -> str:
    parts: list[str] = []
    size = 0
    for key, value in list(members.items())[:_MOST_MEMBERS]:
        part = f"{quote(key, safe=_KEY_SAFE, errors='replace')}=" + quote(
            value, safe=_VALUE_SAFE, errors="replace"
        )
        size += len(part) + 1
        if size > _LONGEST:
            break
        parts.append(part)
    return ",".join(parts)


def _parsed_baggage(header: str) -> dict[str, str]:
    members: dict[str, str] = {}
    for part in header[:_LONGEST].split(",")[:_MOST_MEMBERS]:
        pair = part.split(";", 1)[0]
        key, separator, value = pair.partition("=")
        if separator and key.strip():
            members[unquote(key.strip())] = unquote(value.strip())
    return members

"""The formats in which a trace travels in headers, by their names in ``OTEL_PROPAGATORS``.

Header names are written in lower case, as HTTP/2 and ASGI want them, and are read in any.
"""

from __future__ import annotations

from functools import cache
from urllib.parse import quote, unquote

from rvh_trace import _native

TYPE_CHECKING = False  # as type checkers know it; see current.py
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from rvh_trace._native import SpanContext

_MOST_MEMBERS = 64
_LONGEST = 8192
# What a baggage value may hold as it is (section 3.3.1.3); a key is a token, so fewer.
_VALUE_SAFE = "!#$&'()*+-./:<=>?@[]^_`{|}~"
_KEY_SAFE = "!#$&'*+-.^_`|~"
_HEX = frozenset("0123456789abcdefABCDEF")


class Propagator:
    """One format. Each method may leave out what the format does not carry."""

    names: frozenset[str] = frozenset()
    """The headers that are read or written, in lower case."""

    def owns(self, name: str) -> bool:
        """Whether a header (in lower case) is one of this format."""
        return name in self.names

    def write(
        self,
        headers: MutableMapping[str, str],
        context: SpanContext | None,
        baggage: Mapping[str, str],
    ) -> None:
        """Add headers that carry the context and the baggage."""
        raise NotImplementedError

    def read(self, headers: Mapping[str, str]) -> SpanContext | None:
        """Return the context that headers (names in lower case) carry; None if malformed."""
        return None

    def read_baggage(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the baggage that headers (names in lower case) carry."""
        return {}


class TraceContext(Propagator):
    """W3C Trace Context: https://www.w3.org/TR/trace-context/."""

    names = frozenset({"traceparent", "tracestate"})

    def write(
        self,
        headers: MutableMapping[str, str],
        context: SpanContext | None,
        baggage: Mapping[str, str],
    ) -> None:
        """Add ``traceparent`` and ``tracestate``."""
        if context is not None:
            headers["traceparent"] = context.traceparent
            if context.tracestate:
                headers["tracestate"] = context.tracestate

    def read(self, headers: Mapping[str, str]) -> SpanContext | None:
        """Read ``traceparent`` and ``tracestate``."""
        parent = headers.get("traceparent", "")
        return _native.parse_traceparent(parent, headers.get("tracestate", ""))


class Baggage(Propagator):
    """W3C Baggage: https://www.w3.org/TR/baggage/."""

    names = frozenset({"baggage"})

    def write(
        self,
        headers: MutableMapping[str, str],
        context: SpanContext | None,
        baggage: Mapping[str, str],
    ) -> None:
        """Add ``baggage``, within the specification's limits."""
        parts: list[str] = []
        size = 0
        for key, value in list(baggage.items())[:_MOST_MEMBERS]:
            part = f"{_quoted(key, _KEY_SAFE)}={_quoted(value, _VALUE_SAFE)}"
            size += len(part) + 1
            if size > _LONGEST:
                break
            parts.append(part)
        if parts:
            headers["baggage"] = ",".join(parts)

    def read_baggage(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Read ``baggage``; properties of members are left out."""
        members: dict[str, str] = {}
        text = headers.get("baggage", "")
        if len(text) > _LONGEST:
            # Half a value would be a wrong one.
            text = text[: _LONGEST + 1].rpartition(",")[0]
        for part in text.split(",")[:_MOST_MEMBERS]:
            key, separator, value = part.split(";", 1)[0].partition("=")
            if separator and key.strip():
                members[unquote(key.strip())] = unquote(value.strip())
        return members


class B3(Propagator):
    """Zipkin's B3: https://github.com/openzipkin/b3-propagation. Both forms are read.

    Who leaves the decision open is answered by recording.
    """

    names = frozenset(
        {"b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"}
    )

    def __init__(self, *, single: bool) -> None:
        self.single = single

    def write(
        self,
        headers: MutableMapping[str, str],
        context: SpanContext | None,
        baggage: Mapping[str, str],
    ) -> None:
        """Add ``b3``, or ``x-b3-traceid``, ``x-b3-spanid`` and ``x-b3-sampled``."""
        if context is None:
            return
        sampled = str(context.trace_flags & 1)
        if self.single:
            headers["b3"] = f"{context.trace_id}-{context.span_id}-{sampled}"
        else:
            headers["x-b3-traceid"] = context.trace_id
            headers["x-b3-spanid"] = context.span_id
            headers["x-b3-sampled"] = sampled

    def read(self, headers: Mapping[str, str]) -> SpanContext | None:
        """Read the one form, else the other."""
        trace_id, span_id, state = (*headers.get("b3", "").split("-"), "", "")[:3]
        context = _context(trace_id, span_id, sampled=state != "0")
        if context is not None:
            return context
        sampled = headers.get("x-b3-sampled", "").lower() not in ("0", "false")
        return _context(
            headers.get("x-b3-traceid", ""),
            headers.get("x-b3-spanid", ""),
            sampled=sampled or headers.get("x-b3-flags") == "1",
        )


class Jaeger(Propagator):
    """Jaeger's ``uber-trace-id`` and ``uberctx-*``.

    https://www.jaegertracing.io/sdk-migration/#propagation-format
    """

    def owns(self, name: str) -> bool:
        """Whether it is one of both."""
        return name == "uber-trace-id" or name.startswith("uberctx-")

    def write(
        self,
        headers: MutableMapping[str, str],
        context: SpanContext | None,
        baggage: Mapping[str, str],
    ) -> None:
        """Add both."""
        if context is not None:
            flags = context.trace_flags & 1
            headers["uber-trace-id"] = f"{context.trace_id}:{context.span_id}:0:{flags}"
        for key, value in baggage.items():
            # What is no name of a header is not sent.
            if key and all(c.isascii() and (c.isalnum() or c in _KEY_SAFE) for c in key):
                headers[f"uberctx-{key.lower()}"] = _quoted(value, _VALUE_SAFE)

    def read(self, headers: Mapping[str, str]) -> SpanContext | None:
        """Read ``uber-trace-id``, whose identifiers may lack leading zeros."""
        parts = unquote(headers.get("uber-trace-id", "")).split(":")
        if len(parts) != 4:
            return None
        trace_id, span_id, _parent, flags = parts
        # The last digit has the bit of sampling; the other bits are Jaeger's own.
        if not 0 < len(flags) <= 2 or not _HEX.issuperset(flags):
            return None
        sampled = int(flags, 16) & 1 == 1
        return _context(trace_id.rjust(32, "0"), span_id.rjust(16, "0"), sampled=sampled)

    def read_baggage(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Read ``uberctx-*``."""
        prefix = "uberctx-"
        return {
            name.removeprefix(prefix): unquote(value)
            for name, value in headers.items()
            if name.startswith(prefix) and name != prefix
        }


PROPAGATORS: dict[str, Propagator | None] = {
    "tracecontext": TraceContext(),
    "baggage": Baggage(),
    "b3": B3(single=True),
    "b3multi": B3(single=False),
    "jaeger": Jaeger(),
    "none": None,
}


@cache
def named(names: str) -> tuple[Propagator, ...]:
    """Return the propagators of a list as in ``OTEL_PROPAGATORS``; an unknown name is warned of.

    >>> [type(propagator).__name__ for propagator in named("tracecontext, b3")]
    ['TraceContext', 'B3']
    """
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    unknown = sorted({name for name in wanted if name not in PROPAGATORS})
    if unknown:
        import warnings

        warnings.warn(
            f"OTEL_PROPAGATORS = {names!r}: {', '.join(unknown)} cannot be used and is left out: "
            f"use {', '.join(PROPAGATORS)}",
            RuntimeWarning,
            stacklevel=3,
        )
    found = (PROPAGATORS.get(name) for name in dict.fromkeys(wanted))
    return tuple(propagator for propagator in found if propagator is not None)


def _context(trace_id: str, span_id: str, *, sampled: bool) -> SpanContext | None:
    """Return what W3C's format, which is strict about digits and lengths, makes of it."""
    # The older identifiers of 64 bits are the lower half.
    trace_id = trace_id.rjust(32, "0") if len(trace_id) == 16 else trace_id
    return _native.parse_traceparent(f"00-{trace_id}-{span_id}-{sampled:02x}".lower())


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="replace")

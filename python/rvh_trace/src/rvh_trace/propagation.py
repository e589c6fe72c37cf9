"""Carrying a trace from process to process, in headers or in the environment.

In which formats, ``OTEL_PROPAGATORS`` says: a list of ``tracecontext``, ``baggage``, ``b3``,
``b3multi``, ``jaeger`` and ``none``; ``tracecontext,baggage`` unless set.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys

from rvh_trace import _native
from rvh_trace.propagators import named

TYPE_CHECKING = False  # as type checkers know it; see current.py
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, MutableMapping
    from types import ModuleType, TracebackType
    from typing import Any

    from rvh_trace._native import SpanContext
    from rvh_trace.propagators import Propagator

    type _Value = str | bytes | list[str] | list[bytes]
    type Carrier = (
        Mapping[str, str]
        | Mapping[str, _Value]
        | Mapping[bytes, bytes]
        | Iterable[tuple[str | bytes, str | bytes]]
    )

_baggage: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar(
    "rvh_trace_baggage", default=None
)


def _chosen() -> tuple[Propagator, ...]:
    return named(os.environ.get("OTEL_PROPAGATORS", "").strip() or "tracecontext,baggage")


def _opentelemetry() -> ModuleType | None:
    """Return what knows OpenTelemetry's context, where that is kept in the same place as ours.

    Its baggage is then ours, too.
    """
    module = sys.modules.get("rvh_trace.opentelemetry_context")
    return module if module is not None and module.RuntimeContext.is_active() else None


def get_baggage() -> dict[str, str]:
    """Return the baggage that is current here, as a copy."""
    shared = _opentelemetry()
    if shared is not None:
        found: dict[str, str] = shared.current_baggage()
        return found
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
        shared = _opentelemetry()
        if shared is not None and (self.span_context or self.baggage):
            self._tokens.append((shared.attach_remote(self.span_context, self.baggage), None))
            return self
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
    context = _native.current_context()
    members = get_baggage()
    for propagator in _chosen():
        propagator.write(carrier, context, members)
    return carrier


def environment() -> dict[str, str]:
    """Return the environment for a subprocess that continues the current trace.

    The child reads it by ``rvh_trace.extract(os.environ)``.
    """
    headers: dict[str, str] = inject({})
    kept = dict(os.environ)
    if headers:
        # What this process was given itself, such as the baggage, is none of this trace.
        own = [name for name in kept if any(p.owns(_name_of(name)) for p in _chosen())]
        for name in own:
            del kept[name]
    return kept | {name.upper().replace("-", "_"): value for name, value in headers.items()}


def _name_of(key: str) -> str:
    """Return a header's name as propagators know it."""
    # Names of environment variables have no hyphen.
    return (key if "-" in key else key.replace("_", "-")).lower()


def _headers(carrier: Carrier) -> Iterator[tuple[str, str]]:
    pairs: Any = carrier.items() if hasattr(carrier, "items") else carrier
    # Who passes what holds no pairs has passed no headers.
    with contextlib.suppress(TypeError, ValueError):
        for name, value in pairs:
            values = value if isinstance(value, list | tuple) else [value]
            key, *parts = (
                part.decode("latin-1") if isinstance(part, bytes) else part
                for part in [name, *values]
            )
            if isinstance(key, str) and all(isinstance(part, str) for part in parts):
                yield key, ",".join(parts)


def extract(carrier: Carrier) -> RemoteContext:
    """Read the context that headers, or ``os.environ``, carry: a mapping, or pairs of a list.

    Names are found in any case. Names and values may be bytes, as in ASGI and gRPC; a name may be
    repeated, and a value may be a list of values. What is malformed is left out, as the
    specifications say; this never raises.

    >>> import rvh_trace
    >>> header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    >>> with rvh_trace.extract({"Traceparent": header}):
    ...     rvh_trace.current_context().trace_id
    '0af7651916cd43dd8448eb211c80319c'
    """
    headers: dict[str, str] = {}
    for key, value in _headers(carrier):
        name = _name_of(key)
        # A header that is repeated is a list, as HTTP says. Of a `traceparent` there may be no
        # two, and a list of them is malformed.
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    context = None
    members: dict[str, str] = {}
    for propagator in _chosen():
        # Of several the last that finds one counts, as OpenTelemetry's composite does it.
        context = propagator.read(headers) or context
        members |= propagator.read_baggage(headers)
    return RemoteContext(context, members)

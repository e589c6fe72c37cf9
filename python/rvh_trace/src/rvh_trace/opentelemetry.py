"""OpenTelemetry's API on this tracer.

With ``OTEL_PYTHON_TRACER_PROVIDER=rvh_trace`` and ``OTEL_PYTHON_CONTEXT=rvh_trace`` code and
instrumentation packages that are written to the OpenTelemetry API record into this pipeline, and
their spans and ours are each other's parents. Needs the package ``opentelemetry-api``.

A span of ours has all methods of the API's, so it is one. Without the second variable OpenTelemetry
keeps its context itself: its spans are then the parents of ours only where they were opened by
``start_as_current_span``, and ours are not the parents of its.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api

from rvh_trace import _native, setup
from rvh_trace.opentelemetry_context import RuntimeContext, parent_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind
    from opentelemetry.util.types import Attributes

trace_api.Span.register(_native.Span)

_INTERNAL = trace_api.SpanKind.INTERNAL


class CurrentSpan:
    """A span for ``with``, or for each call of a decorated function or coroutine."""

    __slots__ = ("_arguments", "_end_on_exit", "_span", "_token", "_tracer")

    _span: _native.Span
    _token: Token[Context]

    def __init__(self, tracer: Tracer, arguments: tuple[Any, ...], end_on_exit: bool) -> None:
        self._tracer = tracer
        self._arguments = arguments
        self._end_on_exit = end_on_exit

    def __enter__(self) -> trace_api.Span:
        tracer = self._tracer
        self._span = span = tracer.start(*self._arguments, current=True)
        shown: Any = span
        if not tracer.shares_context:
            self._token = context_api.attach(trace_api.set_span_in_context(shown))
        return shown  # type: ignore[no-any-return]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._tracer.shares_context:
            context_api.detach(self._token)
        if self._end_on_exit:
            self._span.__exit__(kind, exception, traceback)
        else:
            if exception is not None:
                self._span.failed(exception)
            self._span.suspend()

    def __call__[**P, R](self, function: Callable[P, R]) -> Callable[P, R]:
        """Make a span of each call."""
        again = functools.partial(CurrentSpan, self._tracer, self._arguments, self._end_on_exit)
        wrapper: Any
        if inspect.iscoroutinefunction(function):

            async def wrapper(*args: P.args, **kwargs: P.kwargs) -> object:
                with again():
                    return await function(*args, **kwargs)

        else:

            def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
                with again():
                    return function(*args, **kwargs)

        decorated: Callable[P, R] = functools.wraps(function)(wrapper)
        return decorated


class Tracer(trace_api.Tracer):
    """Makes spans for one instrumentation library."""

    def __init__(self, name: str, version: str | None) -> None:
        self._scope = _native.Scope(name or "", version or "")
        self.shares_context = RuntimeContext.is_active()

    def start(
        self,
        name: str,
        context: Context | None,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link] | None,
        start_time: int | None,
        record_exception: bool,
        set_status_on_exception: bool,
        *,
        current: bool,
    ) -> _native.Span:
        """Start a span, as ``start_span`` of the API does, and perhaps make it current."""
        parent = None
        if context is not None or not self.shares_context:
            parent = parent_in(trace_api.get_current_span(context))
        return _native.start_span(
            self._scope,
            name,
            parent,
            # With OpenTelemetry's own context a span of ours may be the inner one.
            parent is None and context is not None,
            None if kind is _INTERNAL else kind.name.lower(),
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
            current,
        )

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = _INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> trace_api.Span:
        """Start a span, which is not made current."""
        span: Any = self.start(
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
            current=False,
        )
        return span  # type: ignore[no-any-return]

    def start_as_current_span(  # type: ignore[override]
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = _INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> CurrentSpan:
        """Start a span and make it current, for a ``with`` block or as a decorator."""
        arguments = (
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
        )
        return CurrentSpan(self, arguments, end_on_exit)


class TracerProvider(trace_api.TracerProvider):
    """Gives tracers of this pipeline, which it sets up by the environment if nobody has."""

    def __init__(self) -> None:
        setup.init_from_environment()

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        """Return a tracer for an instrumentation library."""
        return Tracer(instrumenting_module_name, instrumenting_library_version)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what is queued."""
        return setup.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Export what is queued and end tracing."""
        setup.shutdown()

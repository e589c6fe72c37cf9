"""OpenTelemetry's API on this tracer.

With ``OTEL_PYTHON_TRACER_PROVIDER=rvh_trace`` and ``OTEL_PYTHON_CONTEXT=rvh_trace`` code and
instrumentation packages that are written to the OpenTelemetry API record into this pipeline, and
their spans and ours are each other's parents. Needs the package ``opentelemetry-api``.

Without the second variable OpenTelemetry keeps its context itself: its spans are then the parents
of ours only where they were opened by ``start_as_current_span``.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api
from opentelemetry.trace import Status, StatusCode

from rvh_trace import _native, setup
from rvh_trace.opentelemetry_context import RuntimeContext, from_native, span_in, to_native

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind
    from opentelemetry.util.types import AnyValue, Attributes

_STATUS = {StatusCode.UNSET: "unset", StatusCode.OK: "ok", StatusCode.ERROR: "error"}


class Span(trace_api.Span):
    """A span of this tracer, as OpenTelemetry's API sees it."""

    def __init__(
        self,
        native: _native.Span,
        *,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> None:
        self.native = native
        self._record_exception = record_exception
        self._set_status_on_exception = set_status_on_exception
        self._context: trace_api.SpanContext | None = None
        native.companion = weakref.ref(self)

    @classmethod
    def of(cls, native: _native.Span) -> Span:
        """Return the object that stands for a native span."""
        known = native.companion
        companion = None if known is None else known()
        return companion if isinstance(companion, cls) else cls(native)

    def get_span_context(self) -> trace_api.SpanContext:
        """Return what travels of it."""
        if self._context is None:
            context = self.native.context
            self._context = (
                trace_api.INVALID_SPAN_CONTEXT if context is None else from_native(context)
            )
        return self._context

    def is_recording(self) -> bool:
        """Whether what is said about it is kept."""
        return self.native.is_recording

    def end(self, end_time: int | None = None) -> None:
        """End it, now or at a time in nanoseconds since 1970."""
        self.native.end(end_time)

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Set several attributes."""
        self.native.set_attributes(attributes)

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Set an attribute."""
        self.native.record(key, value)

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Add an event."""
        self.native.add_event(name, attributes, timestamp=timestamp)

    def add_link(self, context: trace_api.SpanContext, attributes: Attributes = None) -> None:
        """Link another span."""
        native = to_native(context)
        if native is not None:
            self.native.add_link(native, attributes)

    def update_name(self, name: str) -> None:
        """Give it another name."""
        self.native.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went."""
        if isinstance(status, Status):
            self.native.set_status(_STATUS[status.status_code], status.description or "")
        else:
            self.native.set_status(_STATUS[status], description or "")

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record an exception as an event."""
        self.native.record_exception(exception, attributes)

    def failed(self, exception: BaseException) -> None:
        """Record what ended it, as it was told when it was made."""
        if isinstance(exception, Exception) and self.native.is_recording:
            if self._record_exception:
                self.native.record_exception(exception)
            if self._set_status_on_exception:
                self.native.set_status("error", f"{type(exception).__name__}: {exception}")

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        if exc_val is not None:
            self.failed(exc_val)
        self.native.end()


class CurrentSpan:
    """A span for ``with``, or for each call of a decorated function or coroutine."""

    __slots__ = ("_arguments", "_end_on_exit", "_span", "_token", "_tracer")

    def __init__(self, tracer: Tracer, arguments: tuple[Any, ...], *, end_on_exit: bool) -> None:
        self._tracer = tracer
        self._arguments = arguments
        self._end_on_exit = end_on_exit
        self._span: Span | None = None
        self._token: Token[Context] | None = None

    def __enter__(self) -> Span:
        self._span = span = self._tracer.start_span(*self._arguments)
        span.native.resume()
        if not RuntimeContext.is_active():
            self._token = context_api.attach(trace_api.set_span_in_context(span))
        return span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        span = self._span
        if span is None:
            return
        if exception is not None:
            span.failed(exception)
        span.native.suspend()
        if self._token is not None:
            context_api.detach(self._token)
        if self._end_on_exit:
            span.native.end()

    def __call__[**P, R](self, function: Callable[P, R]) -> Callable[P, R]:
        """Make a span of each call."""
        again = functools.partial(
            CurrentSpan, self._tracer, self._arguments, end_on_exit=self._end_on_exit
        )
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

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = trace_api.SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """Start a span, which is not made current."""
        parent: _native.Span | _native.SpanContext | None = None
        root = False
        if context is not None or not RuntimeContext.is_active():
            parent = span_in(trace_api.get_current_span(context))
            # With OpenTelemetry's own context a span of ours may be the inner one.
            root = parent is None and context is not None
        targets = None
        if links:
            pairs = [(to_native(link.context), link.attributes) for link in links]
            targets = [(target, attributes) for target, attributes in pairs if target is not None]
        native = _native.start_span(
            name,
            parent=parent,
            root=root,
            kind=None if kind is trace_api.SpanKind.INTERNAL else kind.name.lower(),
            attributes=attributes,
            links=targets,
            timestamp=start_time,
            scope=self._scope,
        )
        return Span(
            native,
            record_exception=record_exception,
            set_status_on_exception=set_status_on_exception,
        )

    def start_as_current_span(  # type: ignore[override]
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = trace_api.SpanKind.INTERNAL,
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
        return CurrentSpan(self, arguments, end_on_exit=end_on_exit)


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

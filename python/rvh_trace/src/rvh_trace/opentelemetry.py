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
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import context as context_api
from opentelemetry import trace as trace_api

from rvh_trace import _native, setup
from rvh_trace.decorator import around_coroutine, around_function
from rvh_trace.opentelemetry_context import RuntimeContext, parent_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.util.types import Attributes

    type Entered = tuple[_native.Span, Token[Context]]

trace_api.Span.register(_native.Span)


def _parent_in(context: Context | None) -> object:
    return parent_in(trace_api.get_current_span(context))


def _decorated(
    function: Callable[..., Any], enter: Callable[[], Any], leave: Callable[..., None]
) -> Callable[..., object]:
    """Return a function that does what another one does, in a span for each call."""
    around = around_coroutine if inspect.iscoroutinefunction(function) else around_function
    wrapper: Any = around(function, enter, leave)
    return functools.wraps(function)(wrapper)


# A type checker does not know that a span of ours is registered as one of the API's.
class Tracer(_native.ApiTracer, trace_api.Tracer):  # type: ignore[misc]
    """Makes spans for one instrumentation library.

    It starts spans in compiled code, by the arguments that the API has. What
    ``start_as_current_span`` gives is for ``with``, or decorates functions and coroutines.
    """

    def __new__(cls, name: str, version: str | None = None) -> Self:
        """Make a tracer; ``provider.get_tracer`` does it."""
        shares_context = RuntimeContext.is_active()
        return super().__new__(
            cls, name or "", version or "", shares_context, _parent_in, _decorated
        )


class TracerBesideContext(Tracer):
    """The same where OpenTelemetry keeps its context itself."""

    # The arguments are the base class's, which names them.
    def start_as_current_span(  # type: ignore[override]
        self, *arguments: Any, **named: Any
    ) -> CurrentSpan:
        """Start a span and make it current in both contexts."""
        return CurrentSpan(super().start_as_current_span(*arguments, **named))


class CurrentSpan:
    """A span that is current in our context and in OpenTelemetry's."""

    __slots__ = ("_entered", "_in_ours")

    _entered: Entered

    def __init__(self, in_ours: _native.CurrentSpan) -> None:
        self._in_ours = in_ours

    def _enter(self) -> Entered:
        span: Any = self._in_ours.start()
        return span, context_api.attach(trace_api.set_span_in_context(span))

    def _leave(self, entered: Entered, error: BaseException | None = None) -> None:
        span, token = entered
        context_api.detach(token)
        self._in_ours.leave(span, error)

    def __enter__(self) -> _native.Span:
        self._entered = self._enter()
        return self._entered[0]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave(self._entered, exception)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., object]:
        """Make a span of each call."""
        return _decorated(function, self._enter, self._leave)


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
        tracer = Tracer if RuntimeContext.is_active() else TracerBesideContext
        return tracer(instrumenting_module_name, instrumenting_library_version)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what is queued."""
        return setup.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Export what is queued and end tracing."""
        setup.shutdown()

"""Where OpenTelemetry's API keeps its context: in the same place as ours.

A module of its own because ``opentelemetry.context`` loads it while it is being imported itself;
so nothing else of OpenTelemetry may be imported here but inside of functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context.context import Context, _RuntimeContext

from rvh_trace import _native

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

    from opentelemetry import trace as trace_api


def _from_api(context: trace_api.SpanContext) -> _native.SpanContext | None:
    if not context.is_valid:
        return None
    header = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    parsed = _native.parse_traceparent(header, context.trace_state.to_header())
    return parsed if context.is_remote or parsed is None else parsed.as_local()


def _to_api(context: _native.SpanContext | None) -> trace_api.SpanContext:
    from opentelemetry import trace

    if context is None:
        return trace.INVALID_SPAN_CONTEXT
    state = trace.TraceState.from_header([context.tracestate]) if context.tracestate else None
    return trace.SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=context.is_remote,
        trace_flags=trace.TraceFlags(context.trace_flags),
        trace_state=state,
    )


def _kind_to_api(name: str) -> trace_api.SpanKind:
    from opentelemetry import trace

    return trace.SpanKind[name.upper()]


_native.convert_contexts_by(_to_api, _from_api, _kind_to_api)


def parent_in(span: Any) -> object:
    """Return what is the parent of a child of this span: itself, its context, or nothing."""
    if isinstance(span, _native.Span):
        return span
    context: trace_api.SpanContext = span.get_span_context()
    return context if context.is_valid else None


def attach_remote(span: _native.SpanContext | None, baggage: Mapping[str, str]) -> object:
    """Make current in both contexts what came from another process; ``detach`` takes it back."""
    from opentelemetry import baggage as baggage_api
    from opentelemetry import context as context_api
    from opentelemetry import trace

    context = context_api.get_current()
    if span is not None:
        context = trace.set_span_in_context(trace.NonRecordingSpan(_to_api(span)), context)
    for key, value in baggage.items():
        context = baggage_api.set_baggage(key, value, context)
    return context_api.attach(context)


def current_baggage() -> dict[str, str]:
    """Return the baggage of OpenTelemetry's context."""
    from opentelemetry import baggage as baggage_api

    return {key: str(value) for key, value in baggage_api.get_all().items()}


class RuntimeContext(_RuntimeContext):
    """Keeps OpenTelemetry's context and ours in the same place."""

    @staticmethod
    def is_active() -> bool:
        """Whether OpenTelemetry's API uses this one."""
        from opentelemetry import context

        return isinstance(context._RUNTIME_CONTEXT, RuntimeContext)

    def attach(self, context: Context) -> Token[Context]:
        """Make a context current."""
        from opentelemetry import trace

        parent = parent_in(trace.get_current_span(context))
        attached: Any = _native.attach(_native.ForeignContext(context, parent))
        token: Token[Context] = attached
        return token

    def get_current(self) -> Context:
        """Return what is current: the attached context, with the span of ours above it."""
        current, below = _native.current_object()
        base = below if isinstance(below, Context) else Context()
        if current is None or isinstance(current, _native.ForeignContext):
            return base
        from opentelemetry import trace

        span: Any = current
        if isinstance(current, _native.Span):
            # To OpenTelemetry a span of ours is a span.
            trace.Span.register(_native.Span)
        else:
            span = trace.NonRecordingSpan(_to_api(current))
        return trace.set_span_in_context(span, base)

    def detach(self, token: Token[Context]) -> None:
        """Take back an attached context."""
        _native.detach(token)

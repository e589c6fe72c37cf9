"""Where OpenTelemetry's API keeps its context: in the same place as ours.

A module of its own because ``opentelemetry.context`` loads it while it is being imported itself;
so nothing else of OpenTelemetry may be imported here but inside of functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context.context import Context, _RuntimeContext

from rvh_trace import _native

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry import trace as trace_api


def to_native(context: trace_api.SpanContext) -> _native.SpanContext | None:
    """Return a span context of OpenTelemetry as one of ours; ``None`` when it is not valid."""
    if not context.is_valid:
        return None
    header = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return _native.parse_traceparent(header, context.trace_state.to_header())


def from_native(context: _native.SpanContext) -> trace_api.SpanContext:
    """Return a span context of ours as one of OpenTelemetry."""
    from opentelemetry import trace

    state = trace.TraceState.from_header([context.tracestate]) if context.tracestate else None
    return trace.SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=context.is_remote,
        trace_flags=trace.TraceFlags(context.trace_flags),
        trace_state=state,
    )


def span_in(span: trace_api.Span) -> _native.Span | _native.SpanContext | None:
    """Return the native span behind a span of OpenTelemetry's API, or else its context."""
    native = getattr(span, "native", None)
    return native if isinstance(native, _native.Span) else to_native(span.get_span_context())


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

        parent = span_in(trace.get_current_span(context))
        token: Any = _native.attach(_native.ForeignContext(context, parent))
        return token  # type: ignore[no-any-return]

    def get_current(self) -> Context:
        """Return what is current: the attached context, with the span of ours above it."""
        current, below = _native.current_object()
        base = below if isinstance(below, Context) else Context()
        if current is None or isinstance(current, _native.ForeignContext):
            return base
        from opentelemetry import trace

        from rvh_trace.opentelemetry import Span

        span: trace.Span
        if isinstance(current, _native.Span):
            span = Span.of(current)
        else:
            span = trace.NonRecordingSpan(from_native(current))
        return trace.set_span_in_context(span, base)

    def detach(self, token: Token[Context]) -> None:
        """Take back an attached context."""
        _native.detach(token)

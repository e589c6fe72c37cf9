"""Tracing for Python and Rust in one trace, exported over OTLP.

A span is a named piece of work with a start, an end, attributes and a parent:

>>> import rvh_trace
>>> rvh_trace.init_tracing(exporter="memory", reconfigure=True)
>>> with rvh_trace.span("order", items=2):
...     with rvh_trace.span("payment") as payment:
...         payment.record("method", "card")
>>> [finished.name for finished in rvh_trace.finished_spans()]
['payment', 'order']

Spans are recorded in Rust, queued without a lock, and sent by a thread that never needs the GIL.
"""

from rvh_trace._native import (
    Event,
    FinishedSpan,
    Link,
    LiveSpan,
    Span,
    SpanContext,
    build_info,
    current_context,
    current_span,
    span,
)
from rvh_trace.current import (
    add_event,
    add_link,
    record,
    record_exception,
    set_attributes,
    set_status,
)
from rvh_trace.setup import (
    finished_spans,
    flush,
    init_tracing,
    live_spans,
    reset,
    shutdown,
    stats,
)
from rvh_trace.threads import wrap

__version__: str = build_info()["version"]

TYPE_CHECKING = False  # as type checkers know it; see current.py
if TYPE_CHECKING:
    from rvh_trace.decorator import trace, trace_sync
    from rvh_trace.executor import ThreadPoolExecutor
    from rvh_trace.exporter import SpanExporter
    from rvh_trace.log_records import SpanEventHandler
    from rvh_trace.propagation import (
        RemoteContext,
        baggage,
        environment,
        extract,
        get_baggage,
        inject,
    )
    from rvh_trace.sampling import SamplingRule

# What needs modules that take long to import comes when it is asked for.
_LATER = {
    "RemoteContext": "propagation",
    "SamplingRule": "sampling",
    "SpanEventHandler": "log_records",
    "SpanExporter": "exporter",
    "ThreadPoolExecutor": "executor",
    "baggage": "propagation",
    "environment": "propagation",
    "extract": "propagation",
    "get_baggage": "propagation",
    "inject": "propagation",
    "trace": "decorator",
    "trace_sync": "decorator",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        from importlib import import_module

        value: object = getattr(import_module(f"rvh_trace.{_LATER[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'rvh_trace' has no attribute {name!r}")


__all__ = [
    "Event",
    "FinishedSpan",
    "Link",
    "LiveSpan",
    "RemoteContext",
    "SamplingRule",
    "Span",
    "SpanContext",
    "SpanEventHandler",
    "SpanExporter",
    "ThreadPoolExecutor",
    "__version__",
    "add_event",
    "add_link",
    "baggage",
    "build_info",
    "current_context",
    "current_span",
    "environment",
    "extract",
    "finished_spans",
    "flush",
    "get_baggage",
    "init_tracing",
    "inject",
    "live_spans",
    "record",
    "record_exception",
    "reset",
    "set_attributes",
    "set_status",
    "shutdown",
    "span",
    "stats",
    "trace",
    "trace_sync",
    "wrap",
]

"""The bridge to the standard library's ``logging``.

After ``init_tracing`` every log record has ``trace_id`` and ``span_id``, hexadecimal, empty outside
of spans, so a format may name them::

    logging.basicConfig(format="%(levelname)s %(trace_id)s %(span_id)s %(message)s")

The start of each span is logged by name on the logger ``rvh_trace`` at INFO, when that logger is
enabled for it. ``SpanEventHandler`` makes span events of log records.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rvh_trace import _native

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("rvh_trace")

# What every record has, and what formatters and tracing libraries add.
_NO_EXTRA = frozenset(
    {
        *vars(logging.LogRecord("", 0, "", 0, "", (), None)),
        *("asctime", "message", "taskName", "trace_id", "span_id"),
        *("otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName"),
    }
)


class _Factory:
    """A log record factory that adds the identifiers to what another one makes."""

    def __init__(self, inner: Callable[..., logging.LogRecord]) -> None:
        self.inner = inner

    def __call__(self, *args: object, **kwargs: object) -> logging.LogRecord:
        record = self.inner(*args, **kwargs)
        context = _native.current_context()
        record.trace_id = "" if context is None else context.trace_id
        record.span_id = "" if context is None else context.span_id
        return record


def install() -> None:
    """Let log records carry the identifiers, and log the start of spans; twice is as good as once.

    ``init_tracing`` calls it.
    """
    _native.log_starts_to(LOGGER)
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _Factory):
        logging.setLogRecordFactory(_Factory(factory))


class SpanEventHandler(logging.Handler):
    """A logging handler that makes each record an event of the current span.

    The event is named as the message, and has what ``extra`` has added to the record; an exception
    in the record is recorded with its stack.

    >>> import logging, rvh_trace
    >>> rvh_trace.init_tracing(exporter="memory", reconfigure=True)
    >>> logger = logging.getLogger("shop")
    >>> logger.addHandler(rvh_trace.SpanEventHandler())
    >>> with rvh_trace.span("order"):
    ...     logger.warning("low stock: %d", 3)
    >>> rvh_trace.finished_spans()[-1].events[0].name
    'low stock: 3'
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Add the record to the current span, if there is one."""
        opened = _native.current_span()
        if not opened.is_recording() or record.name == LOGGER.name:
            return
        try:
            attributes: dict[str, object] = {
                "log.severity": record.levelname,
                "log.logger": record.name,
                "code.file.path": record.pathname,
                "code.line.number": record.lineno,
            }
            attributes |= {k: v for k, v in vars(record).items() if k not in _NO_EXTRA}
            opened.add_event(record.getMessage(), attributes)
            if record.exc_info and record.exc_info[1] is not None:
                opened.record_exception(record.exc_info[1])
        except Exception:
            self.handleError(record)

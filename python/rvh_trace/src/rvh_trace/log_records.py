"""The bridge to the standard library's ``logging``.

After ``init_tracing`` every log record has ``trace_id`` and ``span_id``, hexadecimal, empty outside
of spans, so a format may name them::

    logging.basicConfig(format="%(levelname)s %(trace_id)s %(span_id)s %(message)s")

The start of each span is logged by name on the logger ``rvh_trace`` at INFO, when that logger is
enabled for it. ``SpanEventHandler`` makes span events of log records.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

from rvh_trace import _native

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("rvh_trace")

_OURS = ("trace_id", "span_id")
# The place of ``extra`` among the arguments of ``Logger.makeRecord``.
_EXTRA = 9

# What every record has, and what formatters and tracing libraries add.
_NO_EXTRA = frozenset(
    {
        *vars(logging.LogRecord("", 0, "", 0, "", (), None)),
        *("asctime", "message", "taskName", *_OURS),
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


@functools.cache
def _let_extra_win() -> None:
    """Let an application name its own ``extra`` as ours; its values count then.

    ``logging`` refuses an extra that the factory has set already.
    """
    make_record: Callable[..., logging.LogRecord] = logging.Logger.makeRecord

    @functools.wraps(make_record)
    def make(*args: object, **kwargs: object) -> logging.LogRecord:
        extra: Any = args[_EXTRA] if len(args) > _EXTRA else kwargs.get("extra")
        own = {name: extra[name] for name in _OURS if name in extra} if extra else {}
        if not own:
            return make_record(*args, **kwargs)
        rest = {name: extra[name] for name in extra if name not in own}
        if len(args) > _EXTRA:
            args = (*args[:_EXTRA], rest, *args[_EXTRA + 1 :])
        else:
            kwargs["extra"] = rest
        record = make_record(*args, **kwargs)
        vars(record).update(own)
        return record

    logging.Logger.makeRecord = make  # type: ignore[method-assign]


def install() -> None:
    """Let log records carry the identifiers, and log the start of spans; twice is as good as once.

    ``init_tracing`` calls it.
    """
    _native.log_starts_to(LOGGER)
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _Factory):
        logging.setLogRecordFactory(_Factory(factory))
    _let_extra_win()


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

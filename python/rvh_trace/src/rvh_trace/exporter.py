"""What an exporter of one's own looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rvh_trace._native import FinishedSpan


@runtime_checkable
class SpanExporter(Protocol):
    """An exporter for ``init_tracing(exporter=...)``.

    One that has a method ``shutdown()`` is told once, on the same thread, when no more spans come.

    >>> from rvh_trace.exporter import SpanExporter
    >>> class Names:
    ...     def export(self, spans):
    ...         print([span.name for span in spans])
    >>> isinstance(Names(), SpanExporter)
    True
    """

    def export(self, spans: list[FinishedSpan], /) -> object:
        """Deliver finished spans. Called on a thread; an exception counts them as failed."""

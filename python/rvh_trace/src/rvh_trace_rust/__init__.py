"""The low-level names of earlier releases, on top of ``rvh_trace``.

>>> import rvh_trace_rust
>>> rvh_trace_rust.init_tracing("info")
>>> with rvh_trace_rust.new_span("work") as opened:
...     opened.record("items", 3)
>>> with rvh_trace_rust.sync_span("more work"):
...     pass
"""

from __future__ import annotations

import rvh_trace
from rvh_trace import Span

TYPE_CHECKING = False  # as type checkers know it; `typing` would be half of the import time
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Span", "init_tracing", "new_span", "span", "sync_span"]


def init_tracing(level: str | int = "info") -> None:
    """Set up tracing at this level, the rest by the ``OTEL_*`` variables.

    A second call with another level replaces the first.
    """
    rvh_trace.init_tracing(level, reconfigure=True)


def new_span(name: str) -> Span:
    """Make a span; it starts when it is entered by ``with``."""
    return rvh_trace.span(name)


def sync_span(name: str) -> Span:
    """Make a guard: the span lasts as long as its ``with`` block."""
    return rvh_trace.span(name)


def span(name: str, kwargs: Mapping[str, object] | None = None) -> Span:
    """Make a span that is entered by ``async with``, awaited before or not."""
    return rvh_trace.span(name, **{str(key): value for key, value in (kwargs or {}).items()})

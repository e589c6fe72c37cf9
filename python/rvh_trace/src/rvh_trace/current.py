"""What can be said about the current span, without having it at hand.

Each of these does nothing where no span is current, and none of them ever raises.
"""

from __future__ import annotations

from rvh_trace._native import current_span

TYPE_CHECKING = False  # as type checkers know it; `typing` would be half of the import time
if TYPE_CHECKING:
    from collections.abc import Mapping

    from rvh_trace._native import Span, SpanContext


def record(key: str, value: object) -> None:
    """Set an attribute of the current span.

    ``bool``, ``int``, ``float``, ``str``, ``bytes`` and sequences of one of them keep their type;
    any other value is recorded as its ``str()`` and counted in ``stats()["coerced"]``.
    """
    current_span().record(key, value)


def set_attributes(attributes: Mapping[str, object] | None = None, /, **fields: object) -> None:
    """Set several attributes of the current span."""
    current_span().set_attributes(attributes, **fields)


def add_event(
    name: str,
    /,
    attributes: Mapping[str, object] | None = None,
    timestamp: int | None = None,
    **fields: object,
) -> None:
    """Add an event to the current span, now or at ``timestamp`` (nanoseconds since 1970)."""
    current_span().add_event(name, attributes, timestamp, **fields)


def add_link(other: Span | SpanContext, /, attributes: Mapping[str, object] | None = None) -> None:
    """Link another span to the current one."""
    current_span().add_link(other, attributes)


def set_status(status: str, description: str = "", /) -> None:
    """Say how the current span went: ``"ok"``, which is final, or ``"error"``."""
    current_span().set_status(status, description)


def record_exception(
    exception: BaseException, /, attributes: Mapping[str, object] | None = None
) -> None:
    """Record an exception that was handled as an event of the current span."""
    current_span().record_exception(exception, attributes)

"""The names of an earlier package, as thin aliases of `poh_holdmetrics`.

Examples
--------
>>> from poh_holdmetrics_rust import PyAggregator, PyHoldEvent
>>> aggregator = PyAggregator()
>>> aggregator.record_sync(PyHoldEvent("t", "alice", 0, 10, 2.0))
>>> aggregator.snapshot()
[('alice', 20.0)]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from poh_holdmetrics import HoldAggregator, HoldEvent
from poh_holdmetrics import calculator as _calculator

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PyAggregator", "PyHoldEvent", "calculate_score"]


@dataclass(frozen=True, slots=True)
class PyHoldEvent:
    """One hold in whole epoch seconds."""

    token_id: str
    holder_id: str
    start: int
    end: int | None = None
    weight: float | None = None


class PyAggregator:
    """The live tracker."""

    def __init__(self) -> None:
        self._aggregator = HoldAggregator()

    async def record(self, ev: PyHoldEvent) -> None:
        """Record one hold."""
        self.record_sync(ev)

    def record_sync(self, ev: PyHoldEvent) -> None:
        """Record one hold."""
        self._aggregator.record(_event(ev))

    def snapshot(self) -> list[tuple[str, float]]:
        """Read the score of every holder by now, in order of id."""
        return self._aggregator.snapshot()


def calculate_score(events: Iterable[PyHoldEvent]) -> float:
    """Seconds times weight of all events together; overlaps add up, open holds accrue until now."""
    return _calculator.calculate_score([_event(event) for event in events])


def _event(event: PyHoldEvent) -> HoldEvent:
    return HoldEvent(event.token_id, event.holder_id, event.start, event.end, event.weight)

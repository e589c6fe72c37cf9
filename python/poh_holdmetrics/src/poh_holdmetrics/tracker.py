"""The live tracker for asyncio, its file, and its periodic collection."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from poh_holdmetrics import whole_file
from poh_holdmetrics._native import HoldAggregator, HoldEvent

if TYPE_CHECKING:
    from types import TracebackType

    from poh_holdmetrics.typing import Instant, Seconds, Weight

__all__ = ["AsyncTracker", "Scheduler", "load", "save"]


class AsyncTracker:
    """A `HoldAggregator` whose methods are awaited.

    Recording takes less than a microsecond, so it is done at once. Collecting and the file are left
    to a thread, and the loop goes on meanwhile.

    Parameters
    ----------
    aggregator
        What is wrapped; without it, a new one.
    ttl
        Seconds (or a timedelta) that a new one keeps a closed hold for before `collect` takes it.

    Examples
    --------
    >>> import asyncio
    >>> from poh_holdmetrics.data_models import HoldEvent
    >>> from poh_holdmetrics.tracker import AsyncTracker
    >>> async def main():
    ...     tracker = AsyncTracker()
    ...     await tracker.record(HoldEvent("t", "alice", 0, 10))
    ...     await tracker.record(HoldEvent("t", "alice", 5, 15))
    ...     return await tracker.snapshot()
    >>> asyncio.run(main())
    [('alice', 20.0)]
    """

    def __init__(
        self, aggregator: HoldAggregator | None = None, *, ttl: Seconds | None = None
    ) -> None:
        if aggregator is not None and ttl is not None:
            message = "an aggregator has a ttl already; give ttl to HoldAggregator, or ttl alone"
            raise ValueError(message)
        self.aggregator = HoldAggregator(ttl=ttl) if aggregator is None else aggregator

    async def record(self, event: HoldEvent) -> None:
        """Record one hold, closed or open."""
        self.aggregator.record(event)

    async def record_start(self, token_id: str, holder_id: str, weight: Weight = 1.0) -> None:
        """Record that a hold starts now."""
        self.aggregator.record_start(token_id, holder_id, weight)

    async def record_stop(self, token_id: str, holder_id: str) -> None:
        """Record that the oldest open hold of one token by one holder ends now."""
        self.aggregator.record_stop(token_id, holder_id)

    async def snapshot(self, *, at: Instant | None = None) -> list[tuple[str, float]]:
        """Read the score of every holder by `at` (now), in order of id."""
        return self.aggregator.snapshot(at=at)

    async def top_n(self, n: int, *, at: Instant | None = None) -> list[tuple[str, float]]:
        """Read the `n` highest scores by `at` (now), the highest first."""
        return self.aggregator.top_n(n, at=at)

    async def collect(self, *, now: Instant | None = None) -> int:
        """Turn closed holds that ended `ttl` or longer before `now` into sums; returns how many."""
        return await asyncio.to_thread(self.aggregator.collect, now=now)

    async def save(self, path: str | Path) -> None:
        """Save the whole state to one file, which is there whole or not at all."""
        await asyncio.to_thread(save, self, path)

    @classmethod
    async def load(cls, path: str | Path, *, ttl: Seconds | None = None) -> Self:
        """Restore what `save` wrote, as the function `load` does."""
        return cls(await asyncio.to_thread(load, path, ttl=ttl))


class Scheduler:
    """Collects closed holds every so often, in a thread, while the `with` block runs.

    Parameters
    ----------
    tracker
        What to collect.
    every
        Seconds between collections, more than zero.

    Raises
    ------
    OverflowError
        At the end of the block, when a sum did not fit. The holds are kept then.
    """

    def __init__(self, tracker: HoldAggregator | AsyncTracker, *, every: float = 60.0) -> None:
        if not 0 < every <= threading.TIMEOUT_MAX:
            most = int(threading.TIMEOUT_MAX)
            message = f"every={every} can't be; give seconds, more than zero and at most {most}"
            raise ValueError(message)
        self._tracker = tracker.aggregator if isinstance(tracker, AsyncTracker) else tracker
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="poh_holdmetrics", daemon=True)
        self._failure: Exception | None = None
        self.collected = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.collected += self._tracker.collect()
            except Exception as failure:  # told where somebody listens
                self._failure = failure


def save(tracker: HoldAggregator | AsyncTracker, path: str | Path) -> None:
    """Save the whole state to one file, which is there whole or not at all."""
    aggregator = tracker.aggregator if isinstance(tracker, AsyncTracker) else tracker
    whole_file.write_text(Path(path), aggregator.to_state())


def load(path: str | Path, *, ttl: Seconds | None = None) -> HoldAggregator:
    """Restore what `save` wrote, with the ttl that it had, or with another.

    Raises
    ------
    HoldMetricsError
        For a file of another format, or one that was changed or cut short.
    """
    text = Path(path).read_text("utf-8", errors="replace")
    return HoldAggregator.from_state(text, ttl=ttl)

"""What an event and a holder cost on this machine: time and memory of the core.

The comparison with other software is the repository's bench-hold; this one needs nothing else, and
tells how long a question will take here.
"""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING

from poh_holdmetrics._native import (
    HoldAggregator,
    HoldEvent,
    Holds,
    StandardMerkleTree,
    finish,
    merge,
    partial,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poh_holdmetrics.typing import Overlap

TOKENS = 100
FIRST, LAST, AT = 1_600_000_000, 1_700_000_000, 1_800_000_000
OVERLAPS: tuple[Overlap, ...] = ("sum", "union", "max")


def measure(events: int, holders: int, threads: int | None) -> Iterator[tuple[str, str, float]]:
    """Measure each kind of work once it is warm.

    Yields
    ------
    tuple
        What was done, of what it is the cost of one, and nanoseconds for one.
    """
    make = random.Random(20240501)  # noqa: S311 # the same events in every run
    holder = [f"h{make.randrange(holders):07}" for _ in range(events)]
    token = [f"t{make.randrange(TOKENS):03}" for _ in range(events)]
    start = [make.randrange(FIRST, LAST) for _ in range(events)]
    rows: dict[str, list[str] | list[int]] = {
        "holder_id": holder,
        "token_id": token,
        "start": start,
        "end": [since + make.randrange(10_000_000) for since in start],
        "weight": [make.randrange(1, 1_000) for _ in range(events)],
    }
    began = time.perf_counter()
    holds = Holds(rows)
    yield "take in columns of Python values", "event", (time.perf_counter() - began) * 1e9 / events
    for overlap in OVERLAPS:
        ask = functools.partial(holds.score, at=AT, overlap=overlap, threads=threads)
        spent = _best(ask)
        yield f"score with overlap {overlap!r}", "event", spent / events
    state = partial(holds, at=AT)
    spent = _best(lambda: merge([state, state]))
    yield "merge of two states", "row of a state", spent / (2 * len(state))
    yield "finish of a state", "row of a state", _best(lambda: finish(state)) / len(state)
    spent = _best(lambda: holds.epochs(every=30 * 86_400, start=FIRST, at=LAST))
    yield "epochs of 30 days, 39 of them", "event", spent / events
    few = min(events, 200_000)
    tracker = HoldAggregator()
    recorded = [HoldEvent(*row) for row in zip(token[:few], holder[:few], start[:few], strict=True)]
    began = time.perf_counter()
    for event in recorded:
        tracker.record(event)
    yield "record in the live tracker", "event", (time.perf_counter() - began) * 1e9 / few
    claims = [(f"0x{number:040x}", number) for number in range(min(holders, 100_000))]
    spent = _best(lambda: StandardMerkleTree.of(claims), rounds=1)
    yield "Merkle tree of claims", "claim", spent / len(claims)


def _best(work: Callable[[], object], rounds: int = 3) -> float:
    """Nanoseconds of the fastest round."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter_ns()
        work()
        found.append(time.perf_counter_ns() - began)
    return min(found)

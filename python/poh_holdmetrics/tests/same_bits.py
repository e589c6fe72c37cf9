"""Writes exact scores to a file that must be the same bytes on every system and every Python.

`python same_bits.py FILE`. The matrix runs it in each of its rows and compares the files. The holds
are drawn by a generator that is written out here, since no library promises its own to be the same
everywhere; doubles are written with all their bits.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from poh_holdmetrics import Boost, HoldEvent, Holds, finish, merge, partial

HOLDS = 20_000
AT = 2_000_000


def draws(seed: int) -> Iterator[int]:
    """64-bit numbers: xorshift64* (Vigna, 2016)."""
    state = seed
    while True:
        state ^= state >> 12
        state ^= state << 25 & (1 << 64) - 1
        state ^= state >> 27
        yield state * 0x2545F4914F6CDD1D & (1 << 64) - 1


def holds() -> list[HoldEvent]:
    """Holds of all kinds: open and ended, whole weights, decimals and binary fractions."""
    draw = draws(20260101)
    made = []
    for number in range(HOLDS):
        start = next(draw) % AT
        end = start + 1 + next(draw) % 500_000
        whole, part = next(draw) % 10**9, next(draw) % 10**6
        weights: tuple[int | str | float, ...] = (
            whole,
            f"{whole}.{part:06}",
            whole / 512,
        )
        made.append(
            HoldEvent(
                token_id=f"token-{next(draw) % 97}",
                holder_id=f"holder-{next(draw) % 53}",
                start=start,
                end=None if number % 11 == 0 else end,
                weight=weights[number % 3],
            )
        )
    return made


def written(value: object) -> object:
    """A value as JSON can hold it, a double with all its bits."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, Fraction):
        return str(value)
    return value


def main(target: Path) -> None:
    """Score the holds in several ways, and write every row of each."""
    events = holds()
    drawn = Holds(events)
    plain = drawn.score(at=AT)
    states = [partial(events[part::3], at=AT) for part in range(3)]
    tables = {
        "sum": plain,
        "two threads": drawn.score(at=AT, threads=2),
        "pairs, union": drawn.score(at=AT, by="both", overlap="union"),
        "tokens, max": drawn.score(at=AT, by="token", overlap="max"),
        "half-life": drawn.score(at=AT, boost=Boost.half_life(3)),
        "parts": finish(merge(states)),
        "epochs": drawn.epochs(every="1w", start=0, at=AT, tz="Europe/Paris", overlap="max"),
    }
    lines = [
        {"of": name, **{key: written(value) for key, value in row.items()}}
        for name, scores in tables.items()
        for row in scores.to_pylist()
    ]
    lines.append({"of": "shares of a pot", "shares": plain.share(10**24 + 7)})
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(json.dumps(line, sort_keys=True, default=str) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

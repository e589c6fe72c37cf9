"""The main call in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poh_holdmetrics._native import Boost, Holds, Scores

if TYPE_CHECKING:
    from poh_holdmetrics.typing import By, Data, Instant, Overlap


def score(
    data: Data | Holds,
    *,
    by: By = "holder",
    overlap: Overlap = "sum",
    at: Instant | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    boost: Boost | None = None,
    threads: int | None = None,
) -> Scores:
    """How much was held, by whom, for how long: the short form of ``Holds(data).score(...)``.

    Parameters
    ----------
    data
        An iterable of `HoldEvent` or of dicts, a dict of columns (lists or numpy arrays) or a table
        with the Arrow PyCapsule interface (pandas, polars, pyarrow, DuckDB), with the keys or
        columns holder_id, token_id, start, end and weight; or a `Holds`.
    by
        One row a "holder", a "token", or a pair of them ("both").
    overlap
        What holds of one holder and one token that overlap count: "sum" (lots add up), "union" (an
        instant counts once, with weight 1) or "max" (once, with the heaviest weight).
    at
        The instant of the answer: all later time is cut off, and open holds accrue until it. None
        reads the clock once; `Scores.at` says which instant that was.
    start, end
        Only time within [start, end) counts.
    boost
        A multiplier by the age of a hold.
    threads
        None for one a processor. The answer is the same for any number.

    Raises
    ------
    HoldMetricsError
        With the row and the field that is not valid.

    Examples
    --------
    >>> from poh_holdmetrics import score
    >>> rows = [
    ...     {"holder_id": "alice", "token_id": "t", "start": 0, "end": 10},
    ...     {"holder_id": "alice", "token_id": "t", "start": 5, "end": 15},
    ... ]
    >>> score(rows, at=100)[0]["total_seconds"]
    20.0
    >>> score(rows, at=100, overlap="union")[0]["total_seconds"]
    15.0
    """
    holds = data if isinstance(data, Holds) else Holds(data)
    return holds.score(
        by=by, overlap=overlap, at=at, start=start, end=end, boost=boost, threads=threads
    )

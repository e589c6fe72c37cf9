"""The main call in one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from poh_holdmetrics._native import (
    Boost,
    Holds,
    Scores,
    Table,
    epochs_of_files,
    score_files,
    score_stream,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from poh_holdmetrics.typing import By, Data, Every, Instant, Overlap, Path, Rounding, Zone


def score(
    data: Data | Holds | Path | list[Path] | tuple[Path, ...],
    *,
    by: By = "holder",
    overlap: Overlap = "sum",
    at: Instant | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    boost: Boost | None = None,
    threads: int | None = None,
    scale: int = 9,
    rounding: Rounding | None = None,
    memory: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Scores:
    """How much was held, by whom, for how long: the short form of ``Holds(data).score(...)``.

    Files and Arrow streams may be larger than memory: they are read in batches, of which only
    sums are kept where lots add up and rows are holders or tokens. Columns of Parquet that the
    question does not ask for are not read, nor checked: the token with overlap "sum" unless rows
    are tokens or pairs, and the weight with "union".

    Parameters
    ----------
    data
        An iterable of `HoldEvent` or of dicts, a dict of columns (lists or numpy arrays), or a
        table or stream with the Arrow PyCapsule interface (pandas, polars, pyarrow, DuckDB), with
        the keys or columns holder_id, token_id, start, end and weight; a `Holds`; or the path of a
        file (CSV, JSON lines, Parquet), or a list or tuple of paths.
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
    scale, rounding
        As for `Holds`; a `Holds` has its own.
    memory
        Bytes of a file's or stream's holds that are kept before they go to temporary files, where
        holds have to meet: with "union" and "max", and for pairs. 20 to 56 bytes a hold; the whole
        work needs about twice as much. None is 1 GiB.
    progress
        Called with the number of bytes of files read so far, every so often.

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
    if paths := _paths(data):
        return score_files(
            paths,
            by=by,
            overlap=overlap,
            at=at,
            start=start,
            end=end,
            boost=boost,
            threads=threads,
            scale=scale,
            rounding=rounding,
            memory=memory,
            progress=progress,
        )
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return score_stream(
            cast("Data", data),
            by=by,
            overlap=overlap,
            at=at,
            start=start,
            end=end,
            boost=boost,
            threads=threads,
            scale=scale,
            rounding=rounding,
            memory=memory,
        )
    holds = (
        data
        if isinstance(data, Holds)
        else Holds(cast("Data", data), scale=scale, rounding=rounding)
    )
    return holds.score(
        by=by, overlap=overlap, at=at, start=start, end=end, boost=boost, threads=threads
    )


def epochs(
    data: Data | Holds | Path | list[Path] | tuple[Path, ...],
    *,
    every: Every,
    start: Instant,
    tz: Zone | None = None,
    at: Instant | None = None,
    by: By = "holder",
    overlap: Overlap = "sum",
    boost: Boost | None = None,
    finalized_before: Instant | None = None,
    scale: int = 9,
    rounding: Rounding | None = None,
    memory: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Table:
    """Scores by epoch: the short form of ``Holds(data).epochs(...)``.

    Files may be larger than memory. Every epoch looks at every hold, so holds are kept, 24 to 56
    bytes each: past `memory` they go to temporary files, part by part of the holders. Beside them
    there is the answer, and where rows are tokens 32 bytes for each token and epoch.

    Parameters
    ----------
    data, scale, rounding, memory, progress
        As for `score`.
    every, start, tz, at, by, overlap, boost, finalized_before
        As for `Holds.epochs`.

    Examples
    --------
    >>> from poh_holdmetrics import epochs
    >>> row = {"holder_id": "alice", "token_id": "t", "start": 0, "end": 90_000}
    >>> table = epochs([row], every="1d", start=0, at=10**6)
    >>> [row["total_seconds"] for row in table.to_pylist()]
    [86400.0, 3600.0]
    """
    if paths := _paths(data):
        return epochs_of_files(
            paths,
            every=every,
            start=start,
            tz=tz,
            at=at,
            by=by,
            overlap=overlap,
            boost=boost,
            finalized_before=finalized_before,
            scale=scale,
            rounding=rounding,
            memory=memory,
            progress=progress,
        )
    holds = (
        data
        if isinstance(data, Holds)
        else Holds(cast("Data", data), scale=scale, rounding=rounding)
    )
    return holds.epochs(
        every=every,
        start=start,
        tz=tz,
        at=at,
        by=by,
        overlap=overlap,
        boost=boost,
        finalized_before=finalized_before,
    )


def _paths(data: object) -> list[object]:
    """The paths, where the data are files."""
    if isinstance(data, str | os.PathLike):
        return [data]
    if isinstance(data, list | tuple) and all(isinstance(path, str | os.PathLike) for path in data):
        return list(data)
    return []

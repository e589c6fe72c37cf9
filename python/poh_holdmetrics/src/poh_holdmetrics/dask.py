"""Scores of a Dask data frame: each worker sums its partitions, and the sums are added up.

Needs dask with its data frames (and so pandas and pyarrow).
"""

from __future__ import annotations

import datetime as dt
from importlib import import_module
from typing import TYPE_CHECKING, Any

from poh_holdmetrics._native import Boost, Holds, Scores, merge_states

if TYPE_CHECKING:
    from poh_holdmetrics.typing import By, Instant, Overlap

FAN_IN = 16
"""States that one task merges."""


def score(
    frame: Any,  # noqa: ANN401 # a dask.dataframe.DataFrame, which has no types
    *,
    by: By = "holder",
    overlap: Overlap = "sum",
    at: Instant | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    boost: Boost | None = None,
    scale: int = 9,
) -> Scores:
    """Score a Dask data frame with the columns of `Holds`; arguments as of `Holds.score`.

    With overlap "union" and "max" the frame is shuffled by holder first, so that all holds of a
    holder meet on one worker. The answer is in order of holder, then token id, and has the same
    bits as on one machine. A partition whose worker dies is computed again by Dask.
    """
    dask = _peer("dask")

    until = dt.datetime.now(dt.UTC) if at is None else at
    if overlap != "sum":
        frame = frame.shuffle("holder_id")
    query: dict[str, Any] = {
        "by": by,
        "overlap": overlap,
        "at": until,
        "start": start,
        "end": end,
        "boost": boost,
        "threads": 1,
    }
    states = [dask.delayed(_state)(part, scale, query) for part in frame.to_delayed()]
    while len(states) > FAN_IN:
        groups = [states[first : first + FAN_IN] for first in range(0, len(states), FAN_IN)]
        states = [dask.delayed(_merged)(group, until) for group in groups]
    return merge_states(dask.compute(*states), at=until)


def _state(part: Any, scale: int, query: dict[str, Any]) -> Any:  # noqa: ANN401 # see above
    pa = _peer("pyarrow")

    rows = pa.Table.from_pandas(part, preserve_index=False)
    return pa.table(Holds(rows, scale=scale).score(**query).to_state())


def _merged(states: list[Any], at: Instant) -> Any:  # noqa: ANN401 # see above
    pa = _peer("pyarrow")

    return pa.table(merge_states(states, at=at).to_state())


def _peer(name: str) -> Any:  # noqa: ANN401 # a module that may not be installed
    return import_module(name)

"""Scores of a Spark data frame: each task sums its partition, and the sums are added up.

Needs pyspark 4 and pyarrow.
"""

from __future__ import annotations

import datetime as dt
from importlib import import_module
from typing import TYPE_CHECKING, Any

from poh_holdmetrics._native import Boost, Holds, Scores, merge_states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poh_holdmetrics.typing import By, Instant, Overlap

COLUMNS = ("holder_id", "token_id", "start", "end", "weight")
STATE = (
    "holder_id string, token_id string, micros binary, weighted binary, "
    "updated_us bigint, digits bigint"
)


def score(
    frame: Any,  # noqa: ANN401 # a pyspark.sql.DataFrame; pyspark may not be installed
    *,
    by: By = "holder",
    overlap: Overlap = "sum",
    at: Instant | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    boost: Boost | None = None,
    scale: int = 9,
) -> Scores:
    """Score a Spark data frame with the columns of `Holds`; arguments as of `Holds.score`.

    With overlap "union" and "max" the frame is repartitioned by holder first, so that all holds of
    a holder meet in one task. The answer is in order of holder, then token id, and has the same
    bits as on one machine. A task that fails is run again by Spark.
    """
    until = dt.datetime.now(dt.UTC) if at is None else at
    query: dict[str, Any] = {
        "by": by,
        "overlap": overlap,
        "at": until,
        "start": start,
        "end": end,
        "boost": boost,
        "threads": 1,
    }
    frame = frame.select(*(name for name in COLUMNS if name in frame.columns))
    if overlap != "sum":
        frame = frame.repartition("holder_id")

    def states(batches: Iterator[Any]) -> Iterator[Any]:
        pa = _peer("pyarrow")

        # All batches of a partition together: with "union" a holder's holds must meet.
        if rows := list(batches):
            scores = Holds(pa.Table.from_batches(rows), scale=scale).score(**query)
            yield from pa.table(scores.to_state()).to_batches()

    return merge_states([frame.mapInArrow(states, STATE).toArrow()], at=until)


def _peer(name: str) -> Any:  # noqa: ANN401 # a module that may not be installed
    return import_module(name)

"""Scores of a Spark data frame: each task sums its partition, and the sums are added up.

Needs pyspark 4 and pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poh_holdmetrics._native import Boost, Scores, finish
from poh_holdmetrics.cluster import Question, instant, peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poh_holdmetrics.typing import By, Instant, Overlap, Rounding, Zone

COLUMNS = ("holder_id", "token_id", "start", "end", "weight")
STATE = (
    "holder_id string, token_id string, micros binary, weighted binary, "
    "updated_us bigint, digits bigint, at_us bigint"
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
    rounding: Rounding | None = None,
    tz: Zone | None = None,
    strict: bool = False,
) -> Scores:
    """Score a Spark data frame with the columns of `Holds`; arguments as of `score`.

    With overlap "union" and "max" the frame is repartitioned by holder first, so that all holds of
    a holder meet in one task. Sums of one row that are in several tasks are added up by the
    cluster too: the driver gets one row for each of the answer. The answer is in order of holder,
    then token id, and has the same bits as on one machine. A task that fails is run again by Spark.
    """
    at = instant(at, tz, strict=strict)
    question = Question(by, overlap, at, start, end, boost, scale, rounding, tz, strict)
    frame = frame.select(*(name for name in COLUMNS if name in frame.columns))
    if question.needs_whole_holders:
        frame = frame.repartition("holder_id")

    def states(batches: Iterator[Any]) -> Iterator[Any]:
        # All batches of a partition together: with "union" a holder's holds must meet.
        if rows := list(batches):
            yield from question.state(peer("pyarrow").Table.from_batches(rows)).to_batches()

    def merged(batches: Iterator[Any]) -> Iterator[Any]:
        pa = peer("pyarrow")
        if parts := [pa.Table.from_batches([batch]) for batch in batches]:
            yield from question.merged(parts).to_batches()

    sums = frame.mapInArrow(states, STATE)
    if not question.needs_whole_holders or by == "token":
        sums = sums.repartition(*question.keys).mapInArrow(merged, STATE)
    return finish(sums.toArrow(), at=question.at)

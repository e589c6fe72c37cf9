"""Scores of a Dask data frame: each worker sums its partitions, and the sums are added up.

Needs dask with its data frames (and so pandas and pyarrow).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poh_holdmetrics._native import Boost, Scores, finish
from poh_holdmetrics.cluster import Question, instant, peer, wide_as_text

if TYPE_CHECKING:
    from poh_holdmetrics.typing import By, Instant, Overlap, Rounding, Zone

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
    rounding: Rounding | None = None,
    tz: Zone | None = None,
    strict: bool = False,
) -> Scores:
    """Score a Dask data frame with the columns of `Holds`; arguments as of `score`.

    With overlap "union" and "max" the frame is shuffled by holder first, so that all holds of a
    holder meet on one worker. The answer is in order of holder, then token id, and has the same
    bits as on one machine. A partition whose worker dies is computed again by Dask.
    """
    dask = peer("dask")
    at = instant(at, tz, strict=strict)
    question = Question(by, overlap, at, start, end, boost, scale, rounding, tz, strict)
    if question.needs_whole_holders:
        # A shuffle takes the rows through Arrow too.
        frame = frame.map_partitions(wide_as_text, meta=frame._meta).shuffle("holder_id")
    states = [dask.delayed(_state)(question, part) for part in frame.to_delayed()]
    while len(states) > FAN_IN:
        groups = [states[first : first + FAN_IN] for first in range(0, len(states), FAN_IN)]
        states = [dask.delayed(question.merged)(group) for group in groups]
    return finish(question.merged(dask.compute(*states)), at=question.at)


def _state(question: Question, part: Any) -> Any:  # noqa: ANN401 # see above
    return question.state(
        peer("pyarrow").Table.from_pandas(wide_as_text(part), preserve_index=False)
    )

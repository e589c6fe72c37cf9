"""What is known of one holder."""

from __future__ import annotations

import datetime as dt  # pydantic reads the annotations at run time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poh_holdmetrics._native import Scores


@dataclass(frozen=True, slots=True)
class HoldStat:
    """What one holder has by some instant.

    Examples
    --------
    >>> from poh_holdmetrics import HoldStat
    >>> HoldStat(holder_id="alice").total_seconds
    0
    """

    holder_id: str
    total_seconds: float = 0
    """Time held, in seconds (the nearest float)."""
    weighted_score: float = 0
    """Seconds times weight (the nearest float)."""
    updated_at: dt.datetime | None = None
    """The last start or end at or before the instant asked about."""
    total_microseconds: int = 0
    """Time held, exactly."""
    weighted_score_exact: str = "0"
    """Seconds times weight, every digit."""

    @classmethod
    def of(cls, scores: Scores) -> list[HoldStat]:
        """Make one of each row of an answer; its rows are holders.

        Examples
        --------
        >>> from poh_holdmetrics import HoldStat, score
        >>> scores = score([{"holder_id": "alice", "token_id": "t", "start": 0}], at=60)
        >>> HoldStat.of(scores)[0].weighted_score
        60.0
        """
        if "token_id" in scores.columns:
            message = 'a HoldStat is of one holder; ask with by="holder"'
            raise ValueError(message)
        rows = zip(scores.to_pylist(), scores.total_microseconds, strict=True)
        return [cls(**row, total_microseconds=micros) for row, micros in rows]

from datetime import datetime
from decimal import Decimal
from poh_holdmetrics.typing import By, Data, Id, Instant, Overlap, Record, Rounding, Weight, Zone
from typing import SupportsIndex, final

__all__ = ["HoldEvent", "HoldMetricsError", "Holds", "Scores", "build_info"]

@final
class HoldEvent:
    """
    One hold of one token by one holder over the half-open interval [start, end).

    Parameters
    ----------
    token_id, holder_id
        What is held and by whom: a str, or an int, which counts as its digits.
    start, end
        An aware datetime, epoch seconds (int or float) or a numpy datetime64. A naive datetime is
        read as UTC, with a warning. No end: the hold is open and accrues until the instant asked
        about.
    weight
        How much is held, zero or more: an int, float, Decimal, decimal str or 32 bytes
        (big-endian). A float counts as its shortest decimal form.

    Raises
    ------
    HoldMetricsError
        With the name of the field that is not valid.

    Examples
    --------
    >>> from poh_holdmetrics import HoldEvent
    >>> HoldEvent(token_id="punk-7", holder_id="alice", start=0, end=60, weight="2.5")
    HoldEvent(token_id='punk-7', holder_id='alice', start=1970-01-01T00:00:00+00:00, end=1970-01-01T00:01:00+00:00, weight=2.5)
    """
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __new__(cls, /, token_id: Id, holder_id: Id, start: Instant, end: Instant | None = None, weight: Weight | None = None) -> HoldEvent: ...
    def __reduce__(self, /) -> "tuple[object, ...]": ...
    def __repr__(self, /) -> str: ...
    @staticmethod
    def _from_parts(token_id: str, holder_id: str, start_us: SupportsIndex, end_us: SupportsIndex, weight: str) -> HoldEvent:
        """
        An event from what pickle kept of one.
        """
    @property
    def end(self, /) -> datetime | None:
        """
        The first instant after the hold, in UTC; None while it is open.
        """
    @property
    def end_us(self, /) -> int | None:
        """
        The end in microseconds since 1970 UTC; None while the hold is open.
        """
    @property
    def holder_id(self, /) -> str:
        """
        Who holds it.
        """
    @property
    def start(self, /) -> datetime:
        """
        The first instant of the hold, in UTC.
        """
    @property
    def start_us(self, /) -> int:
        """
        The start in microseconds since 1970 UTC.
        """
    @property
    def token_id(self, /) -> str:
        """
        What is held.
        """
    @property
    def weight(self, /) -> float:
        """
        How much is held, as the nearest float.
        """
    @property
    def weight_exact(self, /) -> Decimal:
        """
        How much is held, every digit.
        """

@final
class HoldMetricsError(ValueError):
    """
    Input that is not valid: `row` (from 0) and `field` say where, and are None where that is not known.
    """
    def __new__(cls, /, message: str, row: SupportsIndex | None = None, field: str | None = None) -> HoldMetricsError: ...
    def __str__(self, /) -> str: ...
    @property
    def field(self, /) -> str | None:
        """
        The column.
        """
    @property
    def message(self, /) -> str: ...
    @property
    def row(self, /) -> int | None:
        """
        The row of the input, from 0.
        """

@final
class Holds:
    """
    A table of holds, read once and asked many times.

    Parameters
    ----------
    data
        An iterable of `HoldEvent` or of dicts, or a dict of columns (lists or numpy arrays). Keys
        and columns are `holder_id`, `token_id`, `start`, `end` and `weight`; without `end` every
        hold is open, without `weight` every weight is 1.
    scale
        Digits after the decimal point that weights keep, 0 to 18.
    rounding
        Digits beyond the scale are an error, or rounded with "half-even".
    tz
        The zone of datetimes that name none: an IANA name or a tzinfo. Without it they are read
        as UTC, with one warning.
    strict
        Refuse datetimes without a time zone.

    Raises
    ------
    HoldMetricsError
        With the `row` (from 0) and the `field` that is not valid.

    Examples
    --------
    >>> from poh_holdmetrics import Holds
    >>> holds = Holds({"holder_id": ["alice", "bob"], "token_id": ["t", "t"],
    ...                "start": [0, 10], "end": [10, None]})
    >>> holds.score(at=25).to_pylist()[1]["total_seconds"]
    15.0
    """
    def __len__(self, /) -> int: ...
    def __new__(cls, /, data: Data, *, scale: SupportsIndex = 9, rounding: Rounding | None = None, tz: Zone | None = None, strict: bool = False) -> Holds: ...
    def __repr__(self, /) -> str: ...
    @property
    def scale(self, /) -> int:
        """
        Digits after the decimal point that weights keep.
        """
    def score(self, /, *, by: By = ..., overlap: Overlap = ..., at: Instant | None = None, start: Instant | None = None, end: Instant | None = None, threads: SupportsIndex | None = None) -> Scores:
        """
        How much was held, by whom, for how long.

        Parameters
        ----------
        by
            One row a "holder", a "token", or a pair of them ("both").
        overlap
            What holds of one holder and one token that overlap count: "sum" (lots add up), "union"
            (an instant counts once, with weight 1) or "max" (once, with the heaviest weight).
        at
            The instant of the answer; all later time is cut off, and open holds accrue until it.
            None reads the clock once; the answer says which instant that was.
        start, end
            Only time within [start, end) counts.
        threads
            None for one a processor. The answer is the same for any number.

        Returns
        -------
        Scores
            A row for each holder (token, pair) of the table, in order of first appearance.
        """

@final
class Scores:
    """
    The answer to a question: one row for each holder (token, pair), in order of first appearance.

    Columns: `holder_id` and `token_id` (as asked by `by`), `total_seconds` (float),
    `weighted_score` (float, seconds times weight), `weighted_score_exact` (str, every digit) and
    `updated_at` (datetime in UTC of the last start or end at or before `at`, or None; epoch seconds
    where Python's calendar ends).
    """
    def __getitem__(self, row: SupportsIndex, /) -> Record: ...
    def __len__(self, /) -> int: ...
    def __repr__(self, /) -> str: ...
    @property
    def at(self, /) -> datetime:
        """
        The instant of the answer, in UTC: give it as `at` to have the same answer again.
        """
    @property
    def at_us(self, /) -> int:
        """
        The instant of the answer in microseconds since 1970 UTC.
        """
    def to_pylist(self, /) -> list[Record]:
        """
        The rows as dicts.
        """
    @property
    def total_microseconds(self, /) -> list[int]:
        """
        The time held of each row, in whole microseconds.
        """
    @property
    def updated_at_us(self, /) -> list[int | None]:
        """
        The instant of `updated_at` of each row in microseconds since 1970 UTC, or None.
        """

def build_info() -> dict[str, str]:
    """
    How this module was built: `version`, `profile` ("release" or "debug"), `target` (the
    triple) and `panic` ("unwind": a panic reaches Python as an exception).
    """

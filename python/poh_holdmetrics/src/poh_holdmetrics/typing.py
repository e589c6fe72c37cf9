"""Types of arguments, by the name that signatures show."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    from poh_holdmetrics._native import HoldEvent, Holds

type Instant = dt.datetime | np.datetime64 | float
"""An aware datetime, a numpy datetime64, or epoch seconds (int or float)."""

type Id = str | int
"""What names a holder or a token; an int counts as its decimal digits."""

type Weight = float | Decimal | str | bytes
"""How much is held: an int, float, Decimal, decimal str or 32 bytes (big-endian)."""

type Zone = str | dt.tzinfo
"""A time zone: its IANA name or a tzinfo."""

type Data = Iterable[HoldEvent | Mapping[str, Any] | Any] | Mapping[str, Iterable[Any]]
"""Rows (`HoldEvent`, dicts, objects with the fields as attributes) or a dict of columns."""

type Path = str | os.PathLike[str]
"""Where a file is."""

type Source = Data | Holds | Path | list[Path] | tuple[Path, ...]
"""Holds, or the files that they are in."""

type State = Any
"""A table with the Arrow PyCapsule interface that `partial` or `merge` made."""

type Progress = Callable[[int], object]
"""Called with the number of bytes read so far."""

type By = Literal["holder", "token", "both"]
"""What one row of an answer stands for."""

type Overlap = Literal["sum", "union", "max"]
"""What holds of one holder and one token that overlap count."""

type Column = Literal[
    "holder_id",
    "token_id",
    "total_seconds",
    "weighted_score",
    "weighted_score_exact",
    "updated_at",
]
"""A column of an answer."""

type Columns = Iterable[Column]
"""The columns that are wanted, in their order."""

type Rounding = Literal["half-even"]
"""What is done with digits beyond the scale."""

type Record = dict[str, Any]
"""One row of an answer: column name to value."""

type Shares = dict[str, int]
"""Whole units by id."""

type Days = float | dt.timedelta
"""A length of time: a number of days (86,400 s) or a timedelta."""

type Every = float | dt.timedelta | str
"""An epoch's length: seconds, a timedelta, or calendar lengths as "1d", "2w", "3mo"."""

type Steps = Iterable[tuple[Days, Weight]]
"""Pairs of age and multiplier."""

type Standard = Literal["erc20", "erc721", "erc1155"]
"""What a transfer log's value means."""

type Lots = Literal["balance", "fifo", "lifo"]
"""Which holds a balance is made of."""

type OnNegative = Literal["error", "clip"]
"""What to do when a holder sends more than it has."""

type Tree = Literal["openzeppelin", "uniswap"]
"""Whose contract takes the claims of a Merkle tree."""

type Leaf = int | tuple[str, int]
"""A claim: its number, or its address and amount."""

type Leaves = Iterable[Any]
"""Claims: pairs of an address and an amount; or their numbers."""

type LeafEncoding = Sequence[str]
"""The types of a claim's values: ["address", "uint256"]."""

type Json = dict[str, Any]
"""A JSON object."""

type Capsule = object
"""A PyCapsule of the Arrow interface."""

type Frame = Any
"""A data frame of another library."""

type Seconds = float | dt.timedelta
"""A length of time: a number of seconds or a timedelta."""

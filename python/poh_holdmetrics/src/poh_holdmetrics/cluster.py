"""What Dask and Spark have in common: the question that each part of the holds answers.

A part answers with a state (`partial`): its exact sums, as an Arrow table. States add up in any
order (`merge`), and come to the same bits as one machine has (`finish`). With overlap "union" and
"max" all holds of a holder must be in one part, so the adapters bring them together first.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from importlib import import_module
from numbers import Number
from typing import TYPE_CHECKING, Any

from poh_holdmetrics._native import Boost, Holds, merge, partial, score

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poh_holdmetrics.typing import By, Instant, Overlap, Rounding, Zone


@dataclass(frozen=True)
class Question:
    """A question to holds that are in parts; it travels to every worker."""

    by: By
    overlap: Overlap
    at: Instant
    start: Instant | None
    end: Instant | None
    boost: Boost | None
    scale: int
    rounding: Rounding | None = None
    tz: Zone | None = None
    strict: bool = False

    @property
    def needs_whole_holders(self) -> bool:
        """Whether all holds of a holder must be in one part."""
        return self.overlap != "sum"

    @property
    def keys(self) -> list[str]:
        """The columns that name a row of the answer."""
        names = {"holder": ["holder_id"], "token": ["token_id"], "both": ["holder_id", "token_id"]}
        return names[self.by]

    def state(self, rows: Any) -> Any:  # noqa: ANN401 # tables of pyarrow, which has no types
        """Sum one part of the holds; runs on a worker, that has one thread for it."""
        state = partial(
            Holds(
                aligned(rows),
                scale=self.scale,
                rounding=self.rounding,
                tz=self.tz,
                strict=self.strict,
            ),
            by=self.by,
            overlap=self.overlap,
            at=self.at,
            start=self.start,
            end=self.end,
            boost=self.boost,
            threads=1,
            tz=self.tz,
            strict=self.strict,
        )
        return peer("pyarrow").table(state)

    def merged(self, states: Iterable[Any]) -> Any:  # noqa: ANN401 # see above
        """Add up some states to one; runs on a worker."""
        return peer("pyarrow").table(merge(map(aligned, states)))


def instant(at: Instant | None, tz: Zone | None = None, *, strict: bool = False) -> Instant:
    """Name one instant for all parts: the clock is read once, and a zone that is not named too."""
    if at is None:
        return dt.datetime.now(dt.UTC)
    if isinstance(at, int | float):
        return at
    # A state has an instant and no zone, so that `finish` could not read it as the parts did.
    return score([], at=at, tz=tz, strict=strict).at


def wide_as_text(frame: Any) -> Any:  # noqa: ANN401 # a frame of pandas, which has no types
    """Give numbers that pandas has as objects as text, as `Holds` does of a data frame.

    They may have more than 64 bits, of which Arrow has no type. Other numbers of such a column are
    text too: another part of it may have the long ones.
    """
    for name, is_text in {"weight": _is_weight, "holder_id": _is_id, "token_id": _is_id}.items():
        if name not in frame.columns or frame[name].dtype != object:
            continue
        values, missing = frame[name].tolist(), frame[name].isna().tolist()
        there = [value for value, none in zip(values, missing, strict=True) if not none]
        # What is neither stays as it is, to be refused as `Holds` refuses it.
        if any(isinstance(value, Number) for value in there) and all(map(is_text, there)):
            texts = [
                None if none else str(value) for value, none in zip(values, missing, strict=True)
            ]
            # Objects as before: this is what Dask has been told of the column.
            column = peer("pandas").Series(texts, index=frame.index, dtype=object)
            frame = frame.assign(**{name: column})
    return frame


def _is_weight(value: object) -> bool:
    return isinstance(value, Number | str) and not isinstance(value, bool)


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def aligned(table: Any) -> Any:  # noqa: ANN401 # a table of pyarrow, which has no types
    """Copy a table whose memory begins where no number may.

    What Dask unpickles lies wherever its message put it. Arrow asks for multiples of 8 bytes, and
    who reads offsets as integers may take it at its word.
    """
    pa = peer("pyarrow")
    arrays = [chunk for column in table.columns for chunk in column.chunks]
    arrays += [array.dictionary for array in arrays if pa.types.is_dictionary(array.type)]
    buffers = (buffer for array in arrays for buffer in array.buffers() if buffer is not None)
    if all(buffer.address % 8 == 0 for buffer in buffers):
        return table
    memory = pa.BufferOutputStream()
    with pa.ipc.new_stream(memory, table.schema) as stream:
        stream.write_table(table)
    return pa.ipc.open_stream(memory.getvalue()).read_all()


def peer(name: str) -> Any:  # noqa: ANN401 # a module that may not be installed
    """Import a module that only some users have."""
    return import_module(name)

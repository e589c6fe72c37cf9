"""The types of one hold and of what one holder has, also as fields of pydantic models.

Examples
--------
>>> from poh_holdmetrics.data_models import HoldEvent, HoldStat
>>> HoldEvent("t", "alice", 0, 10).weight
1.0
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from poh_holdmetrics._native import HoldEvent
from poh_holdmetrics._stat import HoldStat

__all__ = ["HoldEvent", "HoldStat", "pydantic_schema"]


def pydantic_schema(_source: object, _handler: object) -> object:
    """Make the pydantic schema of `HoldEvent`: takes events and mappings, writes mappings."""
    from pydantic_core import core_schema as core

    # For JSON schemas alone, as those of web frameworks; the event itself checks its fields.
    text = core.str_schema()
    name = core.union_schema([text, core.int_schema()])
    instant = core.union_schema([core.datetime_schema(), core.float_schema()])
    amount = core.union_schema([text, core.float_schema()])
    fields = {
        "token_id": core.typed_dict_field(name),
        "holder_id": core.typed_dict_field(name),
        "start": core.typed_dict_field(instant),
        "end": core.typed_dict_field(core.nullable_schema(instant), required=False),
        "weight": core.typed_dict_field(core.nullable_schema(amount), required=False),
    }
    return core.no_info_plain_validator_function(
        _validate,
        serialization=core.plain_serializer_function_ser_schema(_serialize),
        json_schema_input_schema=core.typed_dict_schema(fields, cls_name="HoldEvent"),
    )


def _validate(value: object) -> HoldEvent:
    if isinstance(value, HoldEvent):
        return value
    if isinstance(value, Mapping):
        # What JSON has as text are instants in ISO 8601.
        times = {name: _instant(name, value[name]) for name in ("start", "end") if name in value}
        try:
            return HoldEvent(**{**value, **times})
        except TypeError as error:  # of pydantic's errors it is a ValueError
            message = str(error).removeprefix("HoldEvent.__new__() ")
            raise ValueError(message) from None
    message = f"a {type(value).__name__} is not a HoldEvent; give one, or its fields"
    raise ValueError(message)


def _instant(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return dt.datetime.fromisoformat(value)
    except ValueError as error:
        message = f"{name}: {error}"
        raise ValueError(message) from None


def _serialize(event: HoldEvent) -> dict[str, Any]:
    return {
        "token_id": event.token_id,
        "holder_id": event.holder_id,
        "start": _moment(event.start_us),
        "end": None if event.end_us is None else _moment(event.end_us),
        "weight": str(event.weight_exact),
    }


def _moment(micros: int) -> dt.datetime | float:
    """Make a datetime of an instant, or epoch seconds where Python's calendar ends."""
    try:
        return _EPOCH + dt.timedelta(microseconds=micros)
    except OverflowError:
        whole, rest = divmod(micros, 1_000_000)
        return whole if rest == 0 else micros / 1_000_000


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

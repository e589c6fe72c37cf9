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
    from pydantic_core import core_schema

    return core_schema.no_info_plain_validator_function(
        _validate,
        serialization=core_schema.plain_serializer_function_ser_schema(_serialize),
    )


def _validate(value: object) -> HoldEvent:
    if isinstance(value, HoldEvent):
        return value
    if isinstance(value, Mapping):
        # What JSON has as text are instants in ISO 8601.
        times = {name: _instant(value.get(name)) for name in ("start", "end")}
        return HoldEvent(**{**value, **times})
    message = f"a {type(value).__name__} is not a HoldEvent; give one, or its fields"
    raise ValueError(message)


def _instant(value: object) -> object:
    return dt.datetime.fromisoformat(value) if isinstance(value, str) else value


def _serialize(event: HoldEvent) -> dict[str, Any]:
    return {
        "token_id": event.token_id,
        "holder_id": event.holder_id,
        "start": event.start,
        "end": event.end,
        "weight": str(event.weight_exact),
    }

"""The table of cases that the Rust tests read too."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from poh_holdmetrics import Boost, HoldEvent, HoldMetricsError, Holds

CASES = json.loads((Path(__file__).parent / "data" / "cases.json").read_text("utf-8"))["cases"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(seconds):
    return None if seconds is None else round(Decimal(str(seconds)) * 1_000_000)


def boost_of(parts):
    match parts:
        case {"linear": days}:
            return Boost.linear_decay(over=days)
        case {"half_life": days}:
            return Boost.half_life(days)
        case {"steps": steps}:
            return Boost(steps, cap=parts.get("cap"))
    return None


def ask(data, query, corrections=()):
    query = query | {"boost": boost_of(query.get("boost"))}
    options = {key: query.pop(key) for key in ("scale", "rounding") if key in query}
    holds = Holds(data, **options)
    for correction in corrections:
        match correction:
            case {"retract": event}:
                holds.retract(HoldEvent(**event))
            case {"amend": [event, corrected]}:
                holds.amend(HoldEvent(**event), HoldEvent(**corrected))
            case {"close": pair}:
                holds.close(**pair)
    return holds.score(**query)


def columns(events):
    names = ("holder_id", "token_id", "start", "end", "weight")
    table = {name: [event.get(name) for event in events] for name in names}
    table["weight"] = ["1" if weight is None else weight for weight in table["weight"]]
    return table


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
@pytest.mark.parametrize("shape", ["dicts", "columns"])
def test_case(case, shape):
    data = case["events"] if shape == "dicts" else columns(case["events"])
    if "error" in case:
        with pytest.raises(HoldMetricsError) as caught:
            ask(data, case["query"])
        assert caught.value.row == case["error"]["row"]
        assert caught.value.field == case["error"]["field"]
        assert f"row {caught.value.row}, {caught.value.field} " in str(caught.value)
        return
    scores = ask(data, case["query"], case.get("then", ()))
    assert len(scores) == len(case["expect"])
    for row, record in enumerate(scores.to_pylist()):
        expected = case["expect"][row]
        assert record.get("holder_id") == expected.get("holder_id")
        assert record.get("token_id") == expected.get("token_id")
        assert record["weighted_score_exact"] == expected["weighted_score_exact"]
        assert record["weighted_score"] == float(expected["weighted_score_exact"])
        assert record["total_seconds"] == float(expected["total_seconds"])
        assert scores.total_microseconds[row] == micros(expected["total_seconds"])
        assert scores.updated_at_us[row] == micros(expected["updated_at"])


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case_as_events(case):
    """HoldEvent refuses what is wrong by itself; what needs the scale is refused by the table."""
    if "error" in case:
        with pytest.raises(HoldMetricsError) as caught:
            ask([HoldEvent(**event) for event in case["events"]], case["query"])
        assert caught.value.field == case["error"]["field"]
        return
    events = [HoldEvent(**event) for event in case["events"]]
    scores = ask(events, case["query"], case.get("then", ()))
    exact = [record["weighted_score_exact"] for record in scores.to_pylist()]
    assert exact == [expected["weighted_score_exact"] for expected in case["expect"]]


def test_updated_at_is_an_aware_datetime():
    record = ask([{"holder_id": "a", "token_id": "t", "start": 0, "end": 1.5}], {"at": 2})[0]
    assert record["updated_at"] == EPOCH + timedelta(seconds=1.5)
    assert record["updated_at"].tzinfo is UTC

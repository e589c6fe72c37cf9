"""Late and corrected events: the answer is that of a table built from the final set of events."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import HoldEvent, HoldMetricsError, Holds

events = st.builds(
    lambda token, holder, start, length, weight: HoldEvent(
        token, holder, start, None if length is None else start + length, weight
    ),
    st.sampled_from("tu"),
    st.sampled_from("abc"),
    st.integers(0, 50),
    st.none() | st.integers(0, 20),
    st.sampled_from([1, "0.5", 3, 2**100]),
)


def answers(holds):
    return [
        holds.score(at=60, by=by, overlap=overlap).to_pylist()
        for by in ("holder", "token", "both")
        for overlap in ("sum", "union", "max")
    ]


@settings(max_examples=150, deadline=None)
@given(start=st.lists(events, max_size=8), data=st.data())
def test_corrections_equal_a_rebuild(start, data):
    holds = Holds(start)
    final = list(start)
    for step in data.draw(st.lists(st.sampled_from(["retract", "amend", "extend", "close"]))):
        if step == "extend":
            event = data.draw(events)
            holds.extend([event])
            final.append(event)
        elif final and step == "retract":
            event = data.draw(st.sampled_from(final))
            holds.retract(event)
            final.remove(event)
        elif final and step == "amend":
            old, new = data.draw(st.sampled_from(final)), data.draw(events)
            holds.amend(old, new)
            final[final.index(old)] = new
        elif still_open := [event for event in final if event.end is None]:
            chosen = data.draw(st.sampled_from(still_open))
            key = {"holder_id": chosen.holder_id, "token_id": chosen.token_id}
            closed = holds.close(**key, at=55)
            before = len(final)
            final = [
                HoldEvent(event.token_id, event.holder_id, event.start, 55, event.weight_exact)
                if event.end is None and (event.holder_id, event.token_id) == tuple(key.values())
                else event
                for event in final
            ]
            assert 1 <= closed <= before
    assert len(holds) == len(final)
    assert answers(holds) == answers(Holds(final))


def test_corrections_of_columns_that_were_borrowed():
    """Of whole numbers, all with an end: a correction may have digits, and may have no end."""
    columns = {
        "holder_id": np.array(["a", "b"]),
        "token_id": np.array(["t", "t"]),
        "start": np.array([0, 0]),
        "end": np.array([10, 20]),
    }
    for weights in ({}, {"weight": np.array([1, 1])}):
        holds = Holds(columns | weights)
        holds.amend(HoldEvent("t", "a", 0, 10), HoldEvent("t", "a", 0, None, "1.5"))
        exact = [row["weighted_score_exact"] for row in holds.score(at=60).to_pylist()]
        assert exact == ["90", "20"]
        assert holds.close(holder_id="a", token_id="t", at=20) == 1
        holds.extend([HoldEvent("t", "c", 0, 1)])
        exact = [row["weighted_score_exact"] for row in holds.score(at=60).to_pylist()]
        assert exact == ["30", "20", "1"]
        rounding = Holds(columns | weights, rounding="half-even")
        with pytest.raises(HoldMetricsError, match=r"no hold .* with weight 1\.4"):
            rounding.retract(HoldEvent("t", "a", 0, 10, "1.4"))


def test_corrections_of_what_is_not_there():
    holds = Holds([HoldEvent("t", "a", 10)])
    since = '"t" by "a" from 1970-01-01T00:00:10Z'
    with pytest.raises(HoldMetricsError, match=f"no hold of {since} on with weight 2"):
        holds.retract(HoldEvent("t", "a", 10, weight=2))
    with pytest.raises(HoldMetricsError, match=f"{since} to 1970-01-01T00:01:00Z with weight 1"):
        holds.retract(HoldEvent("t", "a", 10, 60))
    with pytest.raises(HoldMetricsError, match='no open hold of "u" by "a"'):
        holds.close(holder_id="a", token_id="u", at=20)
    with pytest.raises(HoldMetricsError, match="before start"):
        holds.close(holder_id="a", token_id="t", at=5)
    assert holds.score(at=20)[0]["total_seconds"] == 10


def test_extend_is_all_or_nothing():
    holds = Holds([HoldEvent("t", "a", 0, 10)])
    with pytest.raises(HoldMetricsError, match="row 2, weight"):
        holds.extend(
            [
                HoldEvent("t", "b", 0, 10),
                {"holder_id": "c", "token_id": "t", "start": 0, "weight": -1},
            ]
        )
    assert [row["holder_id"] for row in holds.score(at=20).to_pylist()] == ["a"]
    # Times of Arrow are borrowed, and otherwise looked at when they are first used.
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    times = {
        "start": pa.array([0, 9], pa.timestamp("us")),
        "end": pa.array([1, 5], pa.timestamp("us")),
    }
    with pytest.raises(HoldMetricsError, match="row 2, end"):
        holds.extend(pa.table({"holder_id": ["b", "c"], "token_id": ["t", "t"], **times}))
    assert [row["holder_id"] for row in holds.score(at=20).to_pylist()] == ["a"]


def test_threads_that_extend_one_table_lose_nothing():
    holds = Holds({"holder_id": ["a"] * 20_000, "token_id": ["t"] * 20_000, "start": [0] * 20_000})

    def extend(_thread):
        for _ in range(20):
            holds.extend([HoldEvent("t", "b", 0, 10, "1.5"), HoldEvent("t", "c", 0, None, 2**80)])

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(extend, range(4))) == [None] * 4
    rows = holds.score(at=10).to_pylist()
    exact = {row["holder_id"]: row["weighted_score_exact"] for row in rows}
    assert exact == {"a": "200000", "b": "1200", "c": str(800 * 2**80)}

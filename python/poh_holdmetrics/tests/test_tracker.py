"""The live tracker, and the names of the ancestors."""

import asyncio
import datetime as dt
import threading
import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import poh_holdmetrics_rust
from poh_holdmetrics import (
    HoldAggregator,
    HoldEvent,
    HoldMetricsError,
    calculator,
    data_models,
    score,
)
from poh_holdmetrics.data_models import HoldStat
from poh_holdmetrics.tracker import AsyncTracker, Scheduler, load, save


def test_start_and_stop():
    tracker = HoldAggregator()
    tracker.record_start("t", "a", 2, at=0)
    tracker.record_start("t", "a", at=5)
    assert tracker.snapshot(at=10) == [("a", 25.0)]
    tracker.record_stop("t", "a", at=10)
    assert tracker.snapshot(at=20) == [("a", 35.0)]
    tracker.record_stop("t", "a", at=15)
    assert tracker.snapshot(at=20) == [("a", 30.0)]
    with pytest.raises(HoldMetricsError, match='no open hold of "t" by "a"'):
        tracker.record_stop("t", "a")


def test_a_stop_before_the_start_leaves_the_hold_open():
    tracker = HoldAggregator()
    tracker.record_start("t", "a", at=10)
    with pytest.raises(HoldMetricsError, match="before start"):
        tracker.record_stop("t", "a", at=5)
    assert tracker.snapshot(at=20) == [("a", 10.0)]


def test_a_stop_ends_the_hold_with_the_earliest_start():
    """Though it was recorded late; of equal starts the first recorded."""
    tracker = HoldAggregator()
    tracker.record_start("t", "a", at=100)
    tracker.record_start("u", "a", at=0)
    tracker.record_start("t", "a", 2, at=50)
    tracker.record_start("t", "a", 30, at=50)
    tracker.record_stop("u", "a", at=0)
    tracker.record_stop("t", "a", at=60)
    assert tracker.snapshot(at=100) == [("a", 2 * 10 + 30 * 50.0)]
    tracker.record_stop("t", "a", at=60)
    assert tracker.snapshot(at=101) == [("a", 2 * 10 + 30 * 10 + 1.0)]
    with pytest.raises(HoldMetricsError, match="before start"):
        tracker.record_stop("t", "a", at=60)
    tracker.record_stop("t", "a", at=100)
    assert tracker.snapshot(at=200) == [("a", 2 * 10 + 30 * 10.0)]


def test_bad_records_change_nothing():
    tracker = HoldAggregator()
    for arguments in (("", "a"), ("t", ""), ("t", "a", -1), ("t", "a", 2**80), ("t", "a", "1e-12")):
        with pytest.raises(HoldMetricsError):
            tracker.record_start(*arguments)
    assert tracker.snapshot() == []


def test_top_n():
    tracker = HoldAggregator()
    for holder, end in (("c", 5), ("a", 5), ("b", 9)):
        tracker.record(HoldEvent("t", holder, 0, end))
    assert tracker.top_n(2, at=10) == [("b", 9.0), ("a", 5.0)]


def test_now_is_the_clock():
    tracker = HoldAggregator()
    tracker.record_start("t", "a", at=time.time() - 100)
    ((_, seconds),) = tracker.snapshot()
    assert 100 <= seconds < 160


events = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.integers(0, 50),
        st.none() | st.integers(0, 20),
        st.sampled_from(["1", "0.000000001", "2.5"]),
    ),
    max_size=20,
)


@settings(max_examples=150)
@given(events, st.lists(st.integers(0, 80), max_size=3))
def test_the_tracker_agrees_with_score(rows, collections):
    """With any collections in between, and after a round trip through its state."""
    made = [
        HoldEvent("t", holder, start, None if length is None else start + length, weight)
        for holder, start, length, weight in rows
    ]
    tracker = HoldAggregator()
    for event in made:
        tracker.record(event)
    for now in collections:
        tracker.collect(now=now)
        tracker = HoldAggregator.from_state(tracker.to_state())
    found = {
        holder: (micros, Fraction(exact))
        for holder, micros, exact in tracker.snapshot_exact(at=100)
    }
    scores = score(made, at=100)
    expected = {
        row["holder_id"]: (micros, Fraction(row["weighted_score_exact"]))
        for row, micros in zip(scores.to_pylist(), scores.total_microseconds, strict=True)
    }
    assert found == expected


def test_collection_keeps_the_sums_and_the_young():
    tracker = HoldAggregator(ttl=10)
    tracker.record(HoldEvent("t", "a", 0, 5))
    tracker.record(HoldEvent("t", "a", 0, 15))
    tracker.record_start("t", "a", at=0)
    assert tracker.collect(now=20) == 1
    assert len(tracker) == 2
    assert tracker.snapshot(at=30) == [("a", 50.0)]
    assert tracker.collect(now=25) == 1


@pytest.mark.parametrize("ttl", [3600, dt.timedelta(hours=1), 3600.0])
def test_a_state_has_the_ttl(tmp_path, ttl):
    tracker = HoldAggregator(ttl=ttl)
    tracker.record(HoldEvent("t", "a", 0, 10))
    save(tracker, tmp_path / "state")
    again = load(tmp_path / "state")
    assert again.to_state() == tracker.to_state()
    assert again.collect(now=3609) == 0
    assert again.collect(now=3610) == 1
    assert load(tmp_path / "state", ttl=5).collect(now=14) == 0
    assert load(tmp_path / "state", ttl=5).collect(now=15) == 1
    assert load(tmp_path / "state", ttl=0).collect(now=10) == 1
    with pytest.raises(HoldMetricsError, match="ttl is below zero"):
        load(tmp_path / "state", ttl=-1)


def test_many_threads_lose_nothing():
    tracker = HoldAggregator()
    event = HoldEvent("t", "a", 0, 1)

    def work(number):
        for _ in range(2000):
            tracker.record(event)
            tracker.record(HoldEvent("t", f"h{number}", 0, 1))
            if _ % 500 == 0:
                tracker.collect(now=10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(tracker.snapshot(at=10)) == {"a": 8000.0, **{f"h{n}": 2000.0 for n in range(4)}}


@pytest.mark.parametrize("wrap", [lambda aggregator: aggregator, AsyncTracker])
def test_the_scheduler_collects(wrap):
    tracker = HoldAggregator()
    tracker.record(HoldEvent("t", "a", 0, 5))
    with Scheduler(wrap(tracker), every=0.001) as scheduler:
        deadline = time.monotonic() + 30
        while len(tracker) and time.monotonic() < deadline:
            threading.Event().wait(0.001)
    assert (len(tracker), scheduler.collected) == (0, 1)
    assert tracker.snapshot(at=10) == [("a", 5.0)]


def test_the_scheduler_beside_a_loop():
    """An AsyncTracker goes on recording while a thread collects."""

    async def main():
        tracker = AsyncTracker()
        with Scheduler(tracker, every=0.001) as scheduler:
            for start in range(500):
                await tracker.record(HoldEvent("t", "a", start, start + 1))
                await asyncio.sleep(0)
            deadline = time.monotonic() + 30
            while len(tracker.aggregator) and time.monotonic() < deadline:
                await asyncio.sleep(0.001)
        return scheduler.collected, await tracker.snapshot(at=600)

    assert asyncio.run(main()) == (500, [("a", 500.0)])


def test_the_scheduler_tells_what_failed():
    tracker = HoldAggregator()
    far = 4_600_000_000_000
    for _ in range(3):
        tracker.record(HoldEvent("t", "whale", -far, far, 9_000_000_000))
    tried = threading.Event()

    class Watched:
        def collect(self):
            try:
                return tracker.collect(now=far)
            finally:
                tried.set()

    with pytest.raises(OverflowError, match="whale"), Scheduler(Watched(), every=0.001):
        assert tried.wait(30)
    assert len(tracker) == 3
    with pytest.raises(ValueError, match="more than zero"):
        Scheduler(tracker, every=0)
    with pytest.raises(ValueError, match="at most"):
        Scheduler(tracker, every=float("inf"))  # no thread waits so long


@pytest.mark.parametrize("wrap", [lambda aggregator: aggregator, AsyncTracker])
def test_state_in_a_file(tmp_path, wrap):
    tracker = HoldAggregator()
    tracker.record(HoldEvent("t", "\U0001f40b\n\x00", 0, 5, "1.5"))
    tracker.record_start("t", "a", at=0)
    save(wrap(tracker), tmp_path / "state")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    again = load(tmp_path / "state")
    assert again.snapshot_exact(at=9) == tracker.snapshot_exact(at=9)
    again.record_stop("t", "a", at=5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-10], "cut short"),
        (lambda text: text[:-1], "cut short"),
        (lambda text: text.replace("1500000000", "1600000000"), "checksum"),
        (lambda text: text.replace("-v1", "-v2"), "of the format"),
        (lambda text: "", "of the format"),
        (lambda text: "\x00\xff", "of the format"),
    ],
)
def test_a_state_that_was_changed(change, message):
    tracker = HoldAggregator()
    tracker.record(HoldEvent("t", "a", 0, 5, "1.5"))
    with pytest.raises(HoldMetricsError, match=message):
        HoldAggregator.from_state(change(tracker.to_state()))


def test_async_tracker():
    async def main():
        tracker = AsyncTracker()
        await tracker.record(HoldEvent("t", "a", 0, 10))
        await tracker.record(HoldEvent("t", "a", 5, 15))
        await tracker.record_start("t", "b", weight=1.0)
        await tracker.record_stop("t", "b")
        return await tracker.snapshot(), await tracker.top_n(1)

    snapshot, top = asyncio.run(main())
    assert snapshot[0] == ("a", 20.0)
    assert [holder for holder, _ in snapshot] == ["a", "b"]
    assert top == [("a", 20.0)]


def test_async_tracker_takes_the_weight_by_place():
    """As the ancestors' callers give it."""

    async def main():
        tracker = AsyncTracker()
        before = time.time()
        await tracker.record_start("t", "a", 2.5)
        after = time.time()
        return (await tracker.snapshot(at=before + 1000)), after - before

    ((holder, score),), late = asyncio.run(main())
    assert holder == "a"
    assert 2.5 * (1000 - late) - 1 < score < 2.5 * 1000 + 1


def test_async_tracker_collects_and_has_a_file(tmp_path):
    async def main():
        tracker = AsyncTracker(ttl=10)
        await tracker.record(HoldEvent("t", "a", 0, 5))
        assert await tracker.collect(now=14) == 0
        await tracker.save(tmp_path / "state")
        assert await tracker.collect(now=15) == 1
        again = await AsyncTracker.load(tmp_path / "state")
        assert isinstance(again, AsyncTracker)
        assert await again.collect(now=14) == 0
        assert await again.collect(now=15) == 1
        assert await again.snapshot() == await tracker.snapshot() == [("a", 5.0)]
        sooner = await AsyncTracker.load(tmp_path / "state", ttl=9)
        assert await sooner.collect(now=14) == 1
        (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:-1])
        with pytest.raises(HoldMetricsError, match="cut short"):
            await AsyncTracker.load(tmp_path / "state")

    asyncio.run(main())
    with pytest.raises(ValueError, match="give ttl to HoldAggregator, or ttl alone"):
        AsyncTracker(HoldAggregator(), ttl=5)


def test_calculate_score():
    rows = [HoldEvent("t", "a", 0, 10, 0.1), HoldEvent("u", "b", 0, 20, 0.2)]
    assert calculator.calculate_score(rows) == 5.0
    assert calculator.calculate_score([]) == 0.0
    assert calculator.calculate_score(iter(rows)) == 5.0
    assert calculator.calculate_score([*rows, HoldEvent("t", "a", 0, 1, 2**100)]) == 2.0**100 + 5
    assert (
        calculator.calculate_score([{"holder_id": "a", "token_id": "t", "start": 0, "end": 3}])
        == 3.0
    )
    future = HoldEvent("t", "a", 10**11, 10**11 + 10)
    assert calculator.calculate_score([future]) == 10.0
    assert calculator.calculate_score([future, HoldEvent("t", "a", 0, 1, 2**100)]) == 2.0**100 + 10
    with pytest.raises(HoldMetricsError, match="row 1"):
        calculator.calculate_score([rows[0], {"holder_id": "a"}])


def test_the_names_of_the_ancestors():
    event = poh_holdmetrics_rust.PyHoldEvent("t", "a", 0, 10, None)
    other = poh_holdmetrics_rust.PyHoldEvent("t", "a", 5, 15, 1.0)
    assert (event.start, event.end, event.weight) == (0, 10, None)
    aggregator = poh_holdmetrics_rust.PyAggregator()
    aggregator.record_sync(event)
    asyncio.run(aggregator.record(other))
    assert aggregator.snapshot() == [("a", 20.0)]
    assert poh_holdmetrics_rust.calculate_score([event, other]) == 20.0
    assert HoldStat("a") == HoldStat(
        holder_id="a", total_seconds=0, weighted_score=0, updated_at=None
    )


def test_a_pydantic_model_of_the_data_models():
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")

    class Request(pydantic.BaseModel):
        first: data_models.HoldEvent
        more: tuple[data_models.HoldEvent, ...]
        last: data_models.HoldEvent | None = None

    text = """{
        "first": {"token_id": "t", "holder_id": "alice", "start": "2024-01-01T00:00:00Z",
                  "end": "2024-01-01T00:00:10Z", "weight": "0.1"},
        "more": [{"token_id": 7, "holder_id": "bob", "start": 0, "end": 1.5, "weight": 2},
                 {"token_id": "t", "holder_id": "bob", "start": 0, "end": null}]
    }"""
    request = Request.model_validate_json(text)
    assert all(type(event) is data_models.HoldEvent for event in (request.first, *request.more))
    assert request.first.weight_exact == Decimal("0.1")
    assert request.first.end == dt.datetime(2024, 1, 1, 0, 0, 10, tzinfo=dt.UTC)
    assert (request.more[0].token_id, request.more[0].weight) == ("7", 2.0)
    assert (request.more[1].end, request.last) == (None, None)
    assert Request.model_validate(request.model_dump()) == request
    assert Request.model_validate_json(request.model_dump_json()) == request
    scores = score([request.first, *request.more], at=2_000_000_000)
    assert scores[0]["weighted_score_exact"] == "1"
    with pytest.raises(pydantic.ValidationError, match=r"more\.1\n.*end is .*, before start"):
        Request(first=request.first, more=[request.first, HOLD | {"end": -1}])


HOLD = {"token_id": "t", "holder_id": "a", "start": 0}


def test_fields_of_pydantic_models():
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")

    class Model(pydantic.BaseModel):
        event: HoldEvent
        stat: HoldStat

    event = HoldEvent("t", "a", 0, 10, "2.5")
    model = Model(event=event, stat=HoldStat("a", 5.0))
    assert model.event is event
    assert Model.model_validate_json(model.model_dump_json()) == model
    assert (
        Model(event={"token_id": "t", "holder_id": "a", "start": 0}, stat=model.stat).event.end
        is None
    )
    fields = {"token_id": "t", "holder_id": "a", "start": 0}
    for bad, says in (
        (7, "a int is not a HoldEvent"),
        ({"token_id": "t"}, "missing 2 required"),
        (fields | {"holder_id": ""}, "holder_id is empty"),
        (fields | {"colour": "red"}, "colour"),
        (fields | {"end": "soon"}, "end: .*soon"),
        (fields | {"start": None}, "start is missing"),
    ):
        with pytest.raises(pydantic.ValidationError, match=says):
            Model(event=bad, stat=model.stat)


@pytest.mark.parametrize("end", [10**12, 10**12 + 0.5, -(10**12)])
def test_events_beyond_the_calendar_as_json(end):
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
    adapter = pydantic.TypeAdapter(HoldEvent)
    event = HoldEvent("t", "a", -(10**12), end)
    assert adapter.validate_json(adapter.dump_json(event)) == event


def test_the_json_schema_of_an_event():
    pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
    schema = pydantic.TypeAdapter(HoldEvent).json_schema()
    assert set(schema["properties"]) == {"token_id", "holder_id", "start", "end", "weight"}
    assert schema["required"] == ["token_id", "holder_id", "start"]

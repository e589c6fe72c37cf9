"""Boosts against rational arithmetic."""

import itertools
import math
from datetime import timedelta
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import (
    Boost,
    HoldEvent,
    HoldMetricsError,
    Holds,
    bundle,
    finish,
    merge,
    partial,
    score,
)

DAY = 86_400
AIRDROP = Boost(steps=[(0, 1), (30, "1.5"), (90, 2)])


def exact(events, boost, at, **query):
    (row,) = score(events, at=at * DAY, boost=boost, **query).to_pylist()
    return Fraction(row["weighted_score_exact"]) / DAY


def hold(start, end=None, weight=1):
    return HoldEvent("t", "a", start * DAY, None if end is None else end * DAY, weight)


def test_steps_by_age():
    assert exact([hold(0)], AIRDROP, 20) == 20
    assert exact([hold(0)], AIRDROP, 30) == 30
    assert exact([hold(0)], AIRDROP, 100) == 30 + 90 + 20
    assert exact([hold(50, 150, "0.5")], AIRDROP, 1000) == Fraction(140, 2)


def test_age_counts_from_the_event_or_the_run():
    touching = [hold(0, 30), hold(30, 60)]
    assert exact(touching, AIRDROP, 100) == 60
    for overlap in ("union", "max"):
        assert exact(touching, AIRDROP, 100, overlap=overlap) == 30 + 45
        assert exact([hold(0, 30), hold(31, 60)], AIRDROP, 100, overlap=overlap) == 30 + 29


def test_age_is_not_cut_by_the_window():
    for overlap in ("sum", "union", "max"):
        assert exact([hold(0)], AIRDROP, 100, start=95 * DAY, overlap=overlap) == 10


def test_before_the_first_age_the_multiplier_is_one():
    assert exact([hold(0)], Boost([(timedelta(days=10), 3)]), 20) == 10 + 30


def test_cap():
    boost = Boost(steps=[(0, 1), (10, 2)], cap=3)
    assert exact([hold(0, weight=2)], boost, 20) == 20 + 30
    assert exact([hold(0, weight=2**100)], boost, 20) == 60


@pytest.mark.parametrize("overlap", ["sum", "union", "max"])
def test_a_cap_is_exact_however_weights_are_counted(overlap, tmp_path):
    """Whole numbers of numpy and Arrow are counted as such until a weight has digits."""
    columns = {
        "holder_id": np.array(["a", "b"]),
        "token_id": np.array(["t", "t"]),
        "start": np.array([0, 0]),
        "end": np.array([10, 10]),
        "weight": np.array([3, 1]),
    }
    rows = [{name: values[row].item() for name, values in columns.items()} for row in range(2)]
    boost = Boost([(0, 2)], cap="2.500000000000000001")
    heavy = "20" if overlap == "union" else "25.00000000000000001"
    for data in (columns, rows, HoldEvent(**rows[0]), HoldEvent(**rows[1])):
        data = [data] if isinstance(data, HoldEvent) else data
        scores = score(data, at=100, boost=boost, overlap=overlap).to_pylist()
        found = {row["holder_id"]: row["weighted_score_exact"] for row in scores}
        assert found.items() <= {"a": heavy, "b": "20"}.items()
        assert found
    without = {name: values for name, values in columns.items() if name != "weight"}
    half = Boost([(0, 1)], cap="0.5")
    (row, _) = score(without, at=100, boost=half, overlap=overlap).to_pylist()
    assert row["weighted_score_exact"] == "5"
    # Files whose weights have other digits, in any order.
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    whole, digits = tmp_path / "whole.parquet", tmp_path / "digits.csv"
    parquet.write_table(pa.table(columns), whole)
    digits.write_text("holder_id,token_id,start,end,weight\nc,t,0,10,2.75\n", "utf-8")
    for files in ([whole, digits], [digits, whole]):
        scores = score(files, at=100, boost=boost, overlap=overlap).to_pylist()
        found = {row["holder_id"]: row["weighted_score_exact"] for row in scores}
        assert found == {"a": heavy, "b": "20", "c": heavy}


def test_a_bundle_of_whole_numbers_with_a_cap_verifies(tmp_path):
    holds = Holds(
        {
            "holder_id": np.array(["a"]),
            "token_id": np.array(["t"]),
            "start": np.array([0]),
            "end": np.array([10]),
            "weight": np.array([3]),
        }
    )
    holds.score(at=10, boost=Boost([(0, 1)], cap="2.5")).proof_bundle(tmp_path / "b.json")
    assert bundle.verify(tmp_path / "b.json") == []


def test_a_cap_of_many_digits_has_states():
    """Weights and caps of up to 18 digits each, and a cap of up to 256 bits."""
    event = {"holder_id": "a", "token_id": "t", "start": 0, "end": 10, "weight": 2}
    boost = Boost([(0, 1)], cap="1.000000000000000001")
    state = partial([event], at=20, scale=18, boost=boost)
    assert finish(merge([state, state]))[0]["weighted_score_exact"] == "20.00000000000000002"
    assert exact([event], Boost([(0, 2)], cap=2**250), 1) * DAY == 40


def test_what_is_wrong_in_an_iterator_of_steps_is_said():
    with pytest.raises(ZeroDivisionError):
        Boost((days, 1 / (days - 30)) for days in [30])


def test_a_boost_shows_what_it_was_made_of():
    steps = [(30, "1.5"), (90, 2)]
    assert repr(Boost(step for step in steps)) == repr(Boost(steps))


@settings(max_examples=200)
@given(
    lots=st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 300), st.integers(0, 10**12)), min_size=1
    ),
    steps=st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 10**6)), unique_by=lambda step: step[0]
    ).map(sorted),
    cap=st.none() | st.integers(0, 10**13),
)
def test_steps_against_fractions(lots, steps, cap):
    if not steps and cap is None:
        return
    boost = Boost([(days, f"{units}e-3") for days, units in steps], cap=cap)
    expected = Fraction()
    for start, length, weight in lots:
        edges = sorted({0, length, *(days for days, _ in steps if days < length)})
        for left, right in itertools.pairwise(edges):
            past = [Fraction(units, 1000) for days, units in steps if days <= left]
            rate = weight * (past[-1] if past else 1)
            expected += (right - left) * (rate if cap is None else min(rate, cap))
        del start
    events = [hold(start, start + length, weight) for start, length, weight in lots]
    assert exact(events, boost, 1000) == expected


def test_linear_decay_is_the_triangle_of_a_lock():
    boost = Boost.linear_decay(over=100)
    assert exact([hold(0, 100)], boost, 1000) == 50
    assert exact([hold(0, 50)], boost, 1000) == Fraction(25, 2)
    assert exact([hold(0, 300)], boost, 1000) == 250
    assert exact([hold(0)], boost, 10) == 10
    with pytest.raises(HoldMetricsError, match='overlap="sum"'):
        score([hold(0, 100)], at=0, boost=boost, overlap="union")


@pytest.mark.parametrize("boost", [Boost.half_life(7), Boost.linear_decay(over=90), AIRDROP])
@given(cut=st.integers(1, 80 * DAY * 10**6))
def test_windows_that_touch_add_up_exactly(boost, cut):
    holds = Holds([HoldEvent("t", "a", 0.000001, 80 * DAY, "1.25")])
    total = [
        Fraction(holds.between(low, high, boost=boost)[0]["weighted_score_exact"])
        for low, high in ((0, 100 * DAY), (0, cut / 10**6), (cut / 10**6, 100 * DAY))
    ]
    assert total[0] == total[1] + total[2]


def test_half_life():
    boost = Boost.half_life(timedelta(days=10))
    for at in (1, 10, 25, 400):
        curve = 10 / math.log(2) * (1 - 2 ** (-at / 10))
        assert float(exact([hold(0)], boost, at)) == pytest.approx(curve, rel=1e-12)


@settings(max_examples=300)
@given(half=st.integers(1, 10**15), low=st.integers(0, 10**17), length=st.integers(1, 10**17))
def test_half_lives_are_exact_to_the_last_digit(half, low, length):
    """Against the antiderivative in 90 digits, rounded down at both ends of the window."""
    high = low + length
    with localcontext(prec=90):
        log = Decimal(2).ln()

        def rest(age):
            return int(half * 10**9 / log * (-Decimal(age) / half * log).exp())

        expected = rest(low) - rest(high)
        window = {"start": micros(low), "at": micros(high)}
        event = {"holder_id": ["a"], "token_id": ["t"], "start": [0]}
        boost = Boost.half_life(timedelta(microseconds=half))
        (row,) = score(event, boost=boost, **window).to_pylist()
        # A value that is next to a whole number may round to the other side of it.
        assert abs(Decimal(row["weighted_score_exact"]) * 10**15 - expected) <= 1


def micros(count):
    return np.datetime64(count, "us")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Boost([]), "at least one step"),
        (lambda: Boost([(30, 2), (10, 1)]), "rise"),
        (lambda: Boost([(10, 2), (10, 1)]), "rise"),
        (lambda: Boost([(0, 2), (0, 3)]), "rise"),
        (lambda: Boost([(0, 2)], cap="1e-19"), "the cap has 19 digits"),
        (lambda: Boost([(timedelta(seconds=9_223_372_036_854, microseconds=900_000), 2)]), "age="),
        (lambda: Boost([(-1, 2)]), "rise"),
        (lambda: Boost([(0, "1.0000000001")]), "digits"),
        (lambda: Boost([(0, 2**70)]), "multiplier"),
        (lambda: Boost([(0, -1)]), "-1"),
        (lambda: Boost.half_life(0), "more than 0"),
        (lambda: Boost.linear_decay(over=-3), "more than 0"),
    ],
)
def test_boosts_that_make_no_sense(make, message):
    with pytest.raises(HoldMetricsError, match=message):
        make()


def test_repr_says_what_it_is():
    assert repr(Boost([(30, 2)], cap=5)) == "Boost(steps=[(30, 2)], cap=5)"
    assert repr(Boost.half_life(3)) == "Boost.half_life(3)"

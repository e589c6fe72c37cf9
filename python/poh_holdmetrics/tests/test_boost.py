"""Boosts against rational arithmetic."""

import itertools
import math
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import Boost, HoldEvent, HoldMetricsError, Holds, score

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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Boost([]), "at least one step"),
        (lambda: Boost([(30, 2), (10, 1)]), "rise"),
        (lambda: Boost([(10, 2), (10, 1)]), "rise"),
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

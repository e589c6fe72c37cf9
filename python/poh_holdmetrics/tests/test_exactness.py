"""Scores against rational arithmetic, for any order of rows and any number of threads."""

import itertools
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import HoldEvent, score

seconds = st.integers(-50, 150).map(lambda micros: micros * 1_000_003)  # in microseconds
weights = st.one_of(
    st.integers(0, 10**6).map(lambda units: f"{units}e-9"),
    st.integers(0, 2**70).map(str),
)
events = st.lists(
    st.builds(
        lambda holder, token, start, length, weight: (
            holder,
            token,
            start,
            None if length is None else start + length,
            weight,
        ),
        st.sampled_from("abc"),
        st.sampled_from("tu"),
        seconds,
        st.none() | st.integers(0, 60_000_000),
        weights,
    ),
    max_size=12,
)


def rational(rows, overlap, window):
    """Score by cutting time at every boundary: slow and plain."""
    low, high = window
    totals = {}
    for holder, token, *_ in rows:
        totals.setdefault(holder, [Fraction(), Fraction()])
        totals.setdefault(token, None)
    for holder in "abc":
        for token in "tu":
            lots = [
                (max(start, low), min(high if end is None else end, high), Fraction(weight))
                for h, t, start, end, weight in rows
                if (h, t) == (holder, token)
            ]
            cuts = sorted({edge for lot in lots for edge in lot[:2]})
            for left, right in itertools.pairwise(cuts):
                live = [weight for start, end, weight in lots if start <= left and right <= end]
                if not live:
                    continue
                width = Fraction(right - left, 10**6)
                counted = len(live) if overlap == "sum" else 1
                height = {"sum": sum(live), "union": 1, "max": max(live)}[overlap]
                totals[holder][0] += width * counted
                totals[holder][1] += width * height
    return {holder: total for holder, total in totals.items() if total is not None}


@settings(max_examples=300)
@given(
    rows=events,
    overlap=st.sampled_from(["sum", "union", "max"]),
    window=st.tuples(seconds, seconds).map(sorted),
    data=st.data(),
)
def test_against_fractions(rows, overlap, window, data):
    low, high = window
    shuffled = data.draw(st.permutations(rows))
    expected = rational(rows, overlap, window)
    scores = score(
        [
            HoldEvent(token, holder, start / 10**6, None if end is None else end / 10**6, weight)
            for holder, token, start, end, weight in shuffled
        ],
        overlap=overlap,
        at=high / 10**6,
        start=low / 10**6,
        threads=data.draw(st.integers(1, 3)),
    )
    found = {
        record["holder_id"]: [
            Fraction(micros, 10**6),
            Fraction(record["weighted_score_exact"]),
        ]
        for record, micros in zip(scores.to_pylist(), scores.total_microseconds, strict=True)
    }
    assert found == expected
    for record in scores.to_pylist():
        assert record["weighted_score"] == float(Fraction(record["weighted_score_exact"]))


def test_threads_give_the_same_bits():
    rows = {
        "holder_id": [f"h{row * row % 977}" for row in range(150_000)],
        "token_id": [row % 7 for row in range(150_000)],
        "start": [row % 1009 for row in range(150_000)],
        "end": [row % 1009 + row % 89 for row in range(150_000)],
        "weight": [row % 13 + 0.25 for row in range(150_000)],
    }
    for overlap in ("sum", "union", "max"):
        for by in ("holder", "token", "both"):
            answers = [
                score(rows, by=by, overlap=overlap, at=10**6, threads=threads).to_pylist()
                for threads in (1, 2, 3)
            ]
            assert answers[0] == answers[1] == answers[2]

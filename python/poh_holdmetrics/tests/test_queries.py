"""Queries beside `score`."""

import itertools
import warnings
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import Boost, HoldEvent, HoldMetricsError, Holds, HoldStat, bundle, score

DAY = 86_400
HOLDS = Holds(
    [
        HoldEvent("t", "alice", 0, 10, 4),
        HoldEvent("u", "alice", 20, 35),
        HoldEvent("t", "bob", 5),
        HoldEvent("t", "carol", 8, 9, 0),
    ]
)


def at(seconds):
    # Windows' own conversion knows no instant before 1970.
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def test_snapshot_and_between():
    assert HOLDS.snapshot(at=30).to_pylist() == HOLDS.score(at=30).to_pylist()
    window = HOLDS.between(5, 25)
    assert [row["weighted_score_exact"] for row in window.to_pylist()] == ["25", "20", "0"]
    assert window.at == at(25)


def test_top_n_and_leaderboard():
    scores = HOLDS.score(at=30)
    assert [row["holder_id"] for row in scores.leaderboard().to_pylist()] == [
        "alice",
        "bob",
        "carol",
    ]
    assert [row["holder_id"] for row in scores.top_n(1).to_pylist()] == ["alice"]
    assert len(scores.top_n(0)) == 0
    assert len(scores.top_n(99)) == 3


def test_equal_scores_are_in_order_of_id():
    rows = [HoldEvent("t", who, 0) for who in ("c", "a", "b")]
    top = score(rows, at=10).top_n(2).to_pylist()
    assert [row["holder_id"] for row in top] == ["a", "b"]


def test_rows_by_index():
    scores = HOLDS.score(at=30)
    assert scores[-1]["holder_id"] == scores[2]["holder_id"] == "carol"
    for outside in (3, -4):
        with pytest.raises(IndexError):
            scores[outside]


@pytest.mark.parametrize("overlap", ["sum", "union", "max"])
@pytest.mark.parametrize("by", ["holder", "token", "both"])
def test_only_the_columns_that_are_asked_for(by, overlap):
    whole = HOLDS.score(by=by, overlap=overlap, at=30)
    for asked in [*itertools.permutations(whole.columns, 2), whole.columns[::-1]]:
        few = HOLDS.score(by=by, overlap=overlap, at=30, columns=asked)
        assert few.columns == list(asked)
        assert few.to_pylist() == [{name: row[name] for name in asked} for row in whole.to_pylist()]
        assert few.leaderboard().columns == list(asked)
        assert few.leaderboard()[0] == {name: whole.leaderboard()[0][name] for name in asked}
        if by != "both":
            assert few.share(10) == whole.share(10)


def test_columns_of_arrow_are_those_asked_for():
    pa = pytest.importorskip("pyarrow", reason="the Arrow stream is read by pyarrow")
    asked = ["weighted_score_exact", "holder_id"]
    answer = pa.table(score(HOLDS, at=30, columns=asked))
    assert answer.column_names == asked
    assert answer.equals(pa.table(HOLDS.score(at=30)).select(asked))


def test_times_are_not_there_where_nobody_asked_for_them():
    scores = HOLDS.score(at=30, columns=["holder_id", "weighted_score"])
    for name in ("total_microseconds", "updated_at_us"):
        with pytest.raises(
            ValueError, match="no time was asked for; put total_seconds or updated_at"
        ):
            getattr(scores, name)
    assert HOLDS.score(at=30, columns=["total_seconds"]).total_microseconds == [20e6, 25e6, 1e6]
    with pytest.raises(ValueError, match="only the whole answer"):
        scores.proof_bundle("bundle.json")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ([], "no column is asked for; columns are some of holder_id, total_seconds"),
        (["token_id"], "rows of this answer have no token_id"),
        (["holder_id", "holder_id"], "holder_id is asked for twice"),
        (["holder"], 'columns="holder" is not known'),
        ("holder_id", r'columns is one name; give a list: \["holder_id"\]'),
        ("holder", 'columns="holder" is not known'),
        ([1], "columns=1 is not known"),
    ],
)
def test_columns_that_are_none(columns, says):
    with pytest.raises(HoldMetricsError, match=says):
        HOLDS.score(at=30, columns=columns)


def test_epochs_of_fixed_length():
    table = HOLDS.epochs(every=10, start=0, at=25, finalized_before=10).to_pylist()
    found = [
        (row["epoch"], row["holder_id"], row["weighted_score_exact"], row["final"]) for row in table
    ]
    assert found == [
        (0, "alice", "40", True),
        (0, "bob", "5", True),
        (0, "carol", "0", True),
        (1, "bob", "10", False),
        (2, "alice", "5", False),
        (2, "bob", "5", False),
    ]
    assert (table[0]["epoch_start"], table[0]["epoch_end"]) == (at(0), at(10))
    assert (
        HOLDS.epochs(every=timedelta(seconds=10), start=0, at=25).to_pylist()[0]["final"] is False
    )


def test_an_epoch_that_goes_on_is_not_final():
    """What comes after the instant of the answer is not in it yet."""
    rows = HOLDS.epochs(every=10, start=0, at=25, finalized_before=100).to_pylist()
    final = {row["epoch"]: row["final"] for row in rows}
    assert final == {0: True, 1: True, 2: False}


def test_epochs_of_the_calendar():
    holds = Holds([HoldEvent("t", "a", datetime(2024, 1, 1, tzinfo=UTC))])
    start = datetime(2024, 2, 29, 23, tzinfo=UTC)
    table = holds.epochs(
        every="1mo", start=start, at=datetime(2024, 5, 1, tzinfo=UTC), tz="Europe/Paris"
    ).to_pylist()
    starts = [row["epoch_start"].isoformat() for row in table]
    assert starts == [
        "2024-02-29T23:00:00+00:00",
        "2024-03-31T22:00:00+00:00",
        "2024-04-30T22:00:00+00:00",
    ]
    assert table[0]["total_seconds"] == 31 * DAY - 3600


@given(st.integers(1, 60), st.integers(0, 40), st.integers(0, 60))
def test_epochs_add_up_to_the_whole(every, start, length):
    total = HOLDS.between(start, start + length).to_pylist()
    parts = {row["holder_id"]: Fraction() for row in total}
    if length:
        for row in HOLDS.epochs(every=every, start=start, at=start + length).to_pylist():
            parts[row["holder_id"]] += Fraction(row["weighted_score_exact"])
    assert parts == {row["holder_id"]: Fraction(row["weighted_score_exact"]) for row in total}


events = st.lists(
    st.builds(
        lambda token, holder, start, length, weight: HoldEvent(
            token, holder, start, None if length is None else start + length, weight
        ),
        st.sampled_from("tu"),
        st.sampled_from("abc"),
        st.integers(-20, 60),
        st.none() | st.integers(0, 50),
        st.sampled_from([0, 1, "0.5", 2**200]),
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(
    events,
    st.sampled_from(["holder", "token", "both"]),
    st.sampled_from(["sum", "union", "max"]),
    st.sampled_from([None, Boost([(0, 1), (1e-4, "1.5")], cap=3), Boost.half_life(1e-4)]),
    st.tuples(st.integers(1, 30), st.integers(-30, 60), st.integers(1, 60)),
)
def test_each_epoch_is_the_window_between_its_ends(rows, by, overlap, boost, window):
    every, start, length = window
    holds = Holds(rows)
    question = {"by": by, "overlap": overlap, "boost": boost}
    found = holds.epochs(every=every, start=start, at=start + length, **question).to_pylist()
    expected = []
    for epoch, first in enumerate(range(start, start + length, every)):
        last = min(first + every, start + length)
        for row in holds.between(first, last, **question).to_pylist():
            if row["total_seconds"] > 0:
                ends = {"epoch_start": at(first), "epoch_end": at(first + every)}
                expected.append({"epoch": epoch, **ends, "final": False, **row})
    assert found == expected


def test_epochs_and_their_instants_are_in_one_zone():
    holds = Holds([HoldEvent("t", "a", datetime(2024, 1, 1, tzinfo=UTC))])
    zone = timezone(timedelta(hours=1))
    asked = {"every": "1mo", "tz": "Europe/Paris", "at": datetime(2024, 5, 1, tzinfo=UTC)}
    aware = holds.epochs(start=datetime(2024, 2, 1, tzinfo=zone), **asked).to_pylist()
    with pytest.warns(UserWarning, match="read as UTC"):
        as_utc = holds.epochs(start=datetime(2024, 2, 1), **(asked | {"tz": None})).to_pylist()
    assert as_utc[0]["epoch_start"] == aware[0]["epoch_start"] + timedelta(hours=1)
    try:
        ZoneInfo("Europe/Paris")
    except KeyError:
        pytest.skip("Python knows no time zones here: Windows without tzdata")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert holds.epochs(start=datetime(2024, 2, 1), **asked).to_pylist() == aware


def test_epochs_of_a_zone_of_python():
    before_summer = 1_711_756_800
    asked = {"every": "1d", "start": before_summer, "at": before_summer + 3 * DAY}
    named = HOLDS.epochs(tz="Europe/Paris", **asked).to_pylist()
    assert HOLDS.epochs(tz=UTC, **asked).to_pylist() == HOLDS.epochs(**asked).to_pylist() != named
    with pytest.raises(ValueError, match="has no name of a time zone"):
        HOLDS.epochs(tz=timezone(timedelta(hours=1)), **asked)
    try:
        paris = ZoneInfo("Europe/Paris")
    except KeyError:
        pytest.skip("Python knows no time zones here: Windows without tzdata")
    assert HOLDS.epochs(tz=paris, **asked).to_pylist() == named


@pytest.mark.parametrize(
    "bad",
    [
        {"every": 0},
        {"every": "1y"},
        {"every": "d"},
        {"every": "1h"},
        {"every": True},
        {"every": float("nan")},
        {"every": "1mo", "tz": "Mars/Olympus"},
        {"every": "1000000mo"},
        {"every": "1000000000000w"},
        {"every": "1000000000000d"},
    ],
)
def test_epochs_that_make_no_sense(bad):
    with pytest.raises(ValueError, match=r"long|every=|time zone|calendar"):
        HOLDS.epochs(start=0, at=10, **bad)


def test_average_balance():
    table = HOLDS.average_balance(0, 30).to_pylist()
    assert [(row["holder_id"], row["average_balance"]) for row in table] == [
        ("alice", 50 / 30),
        ("bob", 25 / 30),
        ("carol", 0.0),
    ]
    with pytest.raises(HoldMetricsError, match="after it starts"):
        HOLDS.average_balance(5, 5)


def test_holders_over_time():
    table = HOLDS.holders_over_time(at=40).to_pylist()
    assert [(row["instant"], row["holders"]) for row in table] == [
        (at(0), 1),
        (at(5), 2),
        (at(10), 1),
        (at(20), 2),
        (at(35), 1),
    ]


def test_longest_hold():
    table = HOLDS.longest_hold(at=30).to_pylist()
    assert [(row["holder_id"], row["token_id"], row["seconds"]) for row in table] == [
        ("alice", "t", 10.0),
        ("bob", "t", 25.0),
        ("carol", "t", 1.0),
    ]


@given(
    st.lists(st.integers(0, 2**80), min_size=1, max_size=30).filter(any), st.integers(0, 2**256 - 1)
)
def test_shares_add_up_exactly_to_the_pot(weights, pot):
    events = [HoldEvent("t", f"h{row}", 0, 1, weight) for row, weight in enumerate(weights)]
    shares = Holds(events, scale=0).score(at=1).share(pot)
    assert sum(shares.values()) == pot
    total = sum(weights)
    for row, weight in enumerate(weights):
        assert abs(Fraction(pot * weight, total) - shares[f"h{row}"]) < 1


def test_shares_that_cannot_be():
    nothing = score([HoldEvent("t", "a", 0, 0)], at=10)
    with pytest.raises(HoldMetricsError, match="nobody"):
        nothing.share(10)
    scores = HOLDS.score(at=30)
    with pytest.raises(OverflowError):
        scores.share(2**256)
    with pytest.raises(OverflowError):
        scores.share(-1)
    with pytest.raises(TypeError):
        scores.share(1.5)
    with pytest.raises(ValueError, match="by="):
        HOLDS.score(at=30, by="both").share(10)


def test_holds_answer_by_themselves():
    scores = HOLDS.score(at=30, by="both", overlap="max", start=2)
    question = {"at": 30, "by": "both", "overlap": "max", "start": 2}
    assert HOLDS.top_n(2, **question).to_pylist() == scores.top_n(2).to_pylist()
    assert HOLDS.leaderboard(**question).to_pylist() == scores.leaderboard().to_pylist()
    assert HOLDS.share(1_000, at=30, start=2) == HOLDS.score(at=30, start=2).share(1_000)


def test_units_go_to_holders_or_tokens_and_not_to_pairs():
    pairs = HOLDS.score(at=30, by="both")
    for ask in (lambda: pairs.share(10), lambda: pairs.amounts(unit=1)):
        with pytest.raises(ValueError, match="units go to holders or to tokens"):
            ask()
    assert HOLDS.score(at=30, by="token").amounts(unit=1) == {"t": 65, "u": 10}


@pytest.mark.parametrize(
    "ask",
    [
        lambda at: HOLDS.epochs(every="1mo", start=0, at=at),
        lambda at: HOLDS.holders_over_time(at=at),
        lambda at: HOLDS.longest_hold(at=at),
    ],
)
def test_an_answer_says_its_instant_and_can_be_repeated(ask):
    with_clock = ask(None)
    again = ask(at(0) + timedelta(microseconds=with_clock.at_us))
    assert again.at_us == with_clock.at_us
    assert again.to_pylist() == with_clock.to_pylist()
    assert HOLDS.average_balance(0, 30).at_us == 30_000_000
    assert HOLDS.to_table().at_us is None


def test_tables_by_index():
    table = HOLDS.to_table()
    assert [table[place] for place in range(len(table))] == table.to_pylist() == list(table)
    assert table[-1] == table[3]
    for outside in (4, -5):
        with pytest.raises(IndexError):
            table[outside]
    assert HOLDS.to_table(holder_id="alice").to_pylist() == table.to_pylist()[:2]
    assert len(HOLDS.to_table(holder_id="nobody")) == 0


def test_stats_have_exact_forms():
    stats = HoldStat.of(HOLDS.score(at=30))
    assert stats[0] == HoldStat("alice", 20.0, 50.0, at(20), 20_000_000, "50")
    assert HoldStat.of(HOLDS.score(at=-1))[2] == HoldStat("carol")


@pytest.mark.parametrize("weight", ["1", "0.000000001", str(2**220)])
def test_a_bundle_without_a_unit_is_exact(tmp_path, weight):
    holds = Holds([HoldEvent("t", "a", 0, 10**-6, weight)])
    holds.snapshot(at=1).proof_bundle(tmp_path / "bundle.json")
    assert bundle.verify(tmp_path / "bundle.json") == []


@pytest.mark.parametrize("instant", ["soon", float("nan"), True, 10**15])
def test_an_argument_that_is_no_instant(instant):
    for ask in (
        lambda: HOLDS.score(at=instant),
        lambda: HOLDS.between(0, instant),
        lambda: HOLDS.epochs(every=10, start=instant),
        lambda: HOLDS.holders_over_time(at=instant),
    ):
        with pytest.raises(HoldMetricsError, match="the instant is ") as caught:
            ask()
        assert caught.value.field is None

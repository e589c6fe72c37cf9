"""What data may look like."""

import importlib
import json
import pathlib
import pickle
import warnings
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from poh_holdmetrics import (
    Boost,
    HoldAggregator,
    HoldEvent,
    HoldMetricsError,
    Holds,
    HoldStat,
    StandardMerkleTree,
    epochs,
    finish,
    from_transfers,
    partial,
    read_transfers,
    score,
)


def _has_zones():
    try:
        ZoneInfo("Europe/Paris")
    except KeyError:
        return False
    return True


ZONES = _has_zones()


def exact(data, **query):
    scores = score(data, **{"at": 100, **query})
    return {record["holder_id"]: record["weighted_score_exact"] for record in scores.to_pylist()}


def row(**changes):
    return {"holder_id": "a", "token_id": "t", "start": 0, "end": 10} | changes


def test_any_iterable_of_rows():
    events = [HoldEvent("t", "a", 0, 10), HoldEvent("t", "b", 0, 5, 2)]
    assert exact(events) == exact(tuple(events)) == exact(iter(events)) == {"a": "10", "b": "10"}
    assert exact([SimpleNamespace(**row())]) == {"a": "10"}


def test_holds_can_be_asked_again():
    holds = Holds([row()])
    assert len(holds) == 1
    assert exact(holds) == exact(holds)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 10),
        (0.0, 10.0),
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC)),
        (
            datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
            datetime(1969, 12, 31, 19, 0, 10, tzinfo=timezone(timedelta(hours=-5))),
        ),
        (np.datetime64("1970-01-01"), np.datetime64("1970-01-01T00:00:10.000000000")),
        (np.int32(0), np.float32(10)),
    ],
)
def test_instants_of_every_type(start, end):
    assert exact([row(start=start, end=end)]) == {"a": "10"}
    assert exact([HoldEvent("t", "a", start, end)]) == {"a": "10"}


@pytest.mark.parametrize(
    "weight", [2, 2.0, "2", "2.000", "2e0", Decimal(2), (2).to_bytes(32), np.int8(2), np.float32(2)]
)
def test_weights_of_every_type(weight):
    assert exact([row(weight=weight)]) == {"a": "20"}
    assert HoldEvent("t", "a", 0, weight=weight).weight_exact == 2


def test_float32_weights_keep_their_own_shortest_form():
    data = {
        "holder_id": np.array(["a", "b"]),
        "token_id": np.array([1, 2]),
        "start": np.array([0, 0]),
        "end": np.array([10, 10]),
        "weight": np.array([0.1, 0.2], np.float32),
    }
    assert exact(data) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "D"])
def test_numpy_columns(unit):
    day = 86_400
    data = {
        "holder_id": np.array(["a", "b\U0001f40b", "a"]),
        "token_id": np.array([7, 7, 8], np.int16),
        "start": np.array([0, day, 0], "M8[s]").astype(f"M8[{unit}]"),
        "end": np.array([day, "NaT", day], "M8[s]").astype(f"M8[{unit}]"),
        "weight": np.array([0.5, 1, 3]),
    }
    assert exact(data, at=3 * day) == {"a": "302400", "b\U0001f40b": "172800"}


@pytest.mark.parametrize(
    "unit",
    [*"YMWDhms", "ms", "us", "ns", "ps", "fs", "as", "25s", "100ms", "7D", "5M"],
)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("count", [-13, -1, 0, 1, 14])
def test_numpy_units(unit, order, count):
    column = np.array([count], f"{order}M8[{unit}]")
    counts = column.astype("M8[ns]" if unit in {"ps", "fs", "as"} else "M8[us]").astype(int)
    micros = int(counts[0]) // (1000 if unit in {"ps", "fs", "as"} else 1)
    data = {"holder_id": ["a"], "token_id": ["t"]}
    for start in (column, [column[0]]):
        scores = score(data | {"start": start}, at=10**10)
        assert scores.total_microseconds == [10**16 - micros]


@pytest.mark.parametrize("unit", "YMWDhms")
@pytest.mark.parametrize("count", [-(2**62), 2**62])
def test_numpy_instants_that_are_too_far(unit, count):
    column = np.array([0, count], f"M8[{unit}]")
    for start in (column, list(column)):
        with pytest.raises(HoldMetricsError, match="row 1, start is out of range"):
            Holds({"holder_id": ["a"] * 2, "token_id": ["t"] * 2, "start": start})


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "g"])
def test_numpy_floats_of_every_width(kind):
    data = {
        "holder_id": ["a"],
        "token_id": ["t"],
        "start": np.array([1.5], kind),
        "end": np.array([11.5], kind),
        "weight": np.array(["0.1"], kind),
    }
    assert exact(data) == {"a": "1"}
    rows = [{name: values[0] for name, values in data.items()}]
    assert exact(rows) == {"a": "1"}


@pytest.mark.parametrize("kind", ["i4", "i8", "u4", "u8", "f8", "O"])
def test_numpy_seconds(kind):
    data = {
        "holder_id": np.array([1, 2, 1]),
        "token_id": np.array(["t"] * 3, object),
        "start": np.array([0, 1, 2]).astype(kind),
        "end": np.array([10, 10, 10]).astype(kind),
    }
    assert exact(data) == {"1": "18", "2": "9"}


def drawn_columns():
    make = np.random.default_rng(3)
    start = make.integers(-100, 100, 300)
    end = (start + make.integers(0, 90, 300)).astype("M8[s]")
    end[::7] = "NaT"
    return {
        "holder_id": make.choice(np.array(["a", "b\U0001f40b", "0x" + "c" * 40]), 300),
        "token_id": make.integers(0, 5, 300),
        "start": start.astype("M8[s]"),
        "end": end,
        "weight": make.integers(0, 9, 300),
    }


def seconds(columns):
    return columns["start"].astype(float)


def value_by_value(columns):
    """The same, but one column is a list, so that no column is read as a whole."""
    return columns | {"token_id": columns["token_id"].tolist()}


@pytest.mark.parametrize(
    "change",
    [
        lambda columns: {},
        lambda columns: {"end": None, "weight": None},
        lambda columns: {"start": columns["start"].astype("M8[ns]")},
        lambda columns: {"start": seconds(columns) - 0.25, "end": seconds(columns) + 5.5},
        lambda columns: {"weight": columns["weight"] / 8},
        lambda columns: {"weight": (columns["weight"] / 10).astype("f4")},
        lambda columns: {"holder_id": columns["token_id"] + 2**40},
    ],
)
@pytest.mark.parametrize("overlap", ["sum", "union", "max"])
def test_columns_are_as_their_values(change, overlap):
    columns = drawn_columns()
    columns |= change(columns)
    for tz in ("UTC", *(["Europe/Paris"] if ZONES else [])):
        query = {"at": 150, "by": "both", "overlap": overlap, "tz": tz}
        whole = score(columns, **query).to_pylist()
        assert whole == score(value_by_value(columns), **query).to_pylist()
        assert len(whole) > 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", np.datetime64("NaT", "s")),
        ("end", np.datetime64(-101, "s")),
        ("end", np.datetime64(2**63 - 1, "us")),
        ("start", np.datetime64(2**62, "us")),
        ("start", 2**62),
        ("start", np.nan),
        ("end", np.inf),
        ("weight", -1),
        ("weight", -0.5),
        ("weight", np.nan),
        ("weight", 0.0123456789123),
        ("holder_id", ""),
        ("holder_id", "\ud800"),
    ],
)
def test_columns_name_the_row_and_the_field(field, value):
    columns = drawn_columns()
    columns["end"][::7] = 100  # every hold has an end, also as a float
    kind = np.asarray(value).dtype
    column = columns[field].astype(kind if kind.kind != "U" else "U50")
    column[5] = value
    columns[field] = column
    faults = []
    for data in (columns, value_by_value(columns)):
        with pytest.raises(HoldMetricsError) as caught:
            Holds(data)
        faults.append((caught.value.row, caught.value.field, str(caught.value)))
    assert faults[0] == faults[1]
    assert faults[0][:2] == (5, field)


def test_strided_columns():
    start = np.arange(20)[::5]
    data = {
        "holder_id": np.array(["a", "x", "b", "x"])[::2],
        "token_id": np.array(["t", "t"]),
        "start": start[::2],
        "end": np.array([30, 30]),
    }
    assert exact(data) == {"a": "30", "b": "20"}


def test_a_naive_datetime_is_utc_with_one_warning():
    naive = datetime(1970, 1, 1)
    with pytest.warns(UserWarning, match="read as UTC") as caught:
        assert exact([row(start=naive), row(start=naive)]) == {"a": "20"}
    assert len(caught) == 1


def test_a_naive_datetime_in_a_zone():
    zone = ZoneInfo("Europe/Paris") if ZONES else timezone(timedelta(hours=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        holds = Holds([row(start=datetime(1970, 1, 1, 1))], tz=zone)
    assert exact(holds) == {"a": "10"}


class ZoneOfPytz(tzinfo):
    """As pytz has them: in a datetime it has the offset from before there were zones."""

    zone = "Europe/Paris"

    def utcoffset(self, _when):
        return timedelta(minutes=9)

    def localize(self, when):
        return when.replace(tzinfo=self)


@pytest.mark.skipif(not ZONES, reason="Python knows no time zones here: Windows without tzdata")
@pytest.mark.parametrize("tz", ["europe/paris", ZoneOfPytz()])
def test_zones_by_other_names(tz):
    row = {"holder_id": "a", "token_id": "t", "start": datetime(1970, 1, 1, 1)}
    assert score([row], at=10, tz=tz).total_microseconds == [10_000_000]


def test_what_is_no_zone():
    data = {"holder_id": ["a"], "token_id": ["t"], "start": np.array([0], "M8[s]")}
    with pytest.raises(HoldMetricsError, match="tz=5 is no time zone"):
        Holds(data, tz=5)
    with pytest.raises(HoldMetricsError, match="whole seconds"):
        Holds(data, tz=timezone(timedelta(milliseconds=500)))


def test_strict_refuses_a_naive_datetime():
    with pytest.raises(HoldMetricsError, match=r"row 0, start .* without a time zone"):
        Holds([row(start=datetime(1970, 1, 1))], strict=True)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"start": float("nan")}, "start"),
        ({"end": float("inf")}, "end"),
        ({"start": "yesterday"}, "start"),
        ({"start": True}, "start"),
        ({"start": 10**30}, "start"),
        ({"start": np.datetime64("NaT", "s")}, "start"),
        ({"start": None}, "start"),
        ({"end": -1}, "end"),
        ({"holder_id": None}, "holder_id"),
        ({"holder_id": 1.5}, "holder_id"),
        ({"holder_id": "\ud800"}, "holder_id"),
        ({"token_id": b"t"}, "token_id"),
        ({"token_id": ""}, "token_id"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": -1}, "weight"),
        ({"weight": -(2**300)}, "weight"),
        ({"weight": 10**5000}, "weight"),
        ({"weight": 1e300}, "weight"),
        ({"weight": b"\x01"}, "weight"),
        ({"weight": []}, "weight"),
        ({"weight": "1_000"}, "weight"),
        ({"weight": "\u0661"}, "weight"),
    ],
)
def test_bad_values_name_row_and_field(change, field):
    with pytest.raises(HoldMetricsError) as caught:
        Holds([row(), row(**change)])
    assert (caught.value.row, caught.value.field) == (1, field)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.row, again.field) == (str(caught.value), 1, field)


def test_bad_columns():
    with pytest.raises(HoldMetricsError, match='no column "start"'):
        Holds({"holder_id": ["a"], "token_id": ["t"]})
    with pytest.raises(HoldMetricsError, match="start has 2 values and holder_id has 1"):
        Holds({"holder_id": ["a"], "token_id": ["t"], "start": [1, 2]})
    with pytest.raises(HoldMetricsError, match="holder_id is not a column"):
        Holds({"holder_id": "a", "token_id": ["t"], "start": [1]})
    with pytest.raises(HoldMetricsError, match="one dimension"):
        Holds({"holder_id": np.zeros((2, 2), int), "token_id": ["t"], "start": [1]})
    with pytest.raises(TypeError, match="give an iterable"):
        Holds(7)


def test_bad_options():
    with pytest.raises(HoldMetricsError, match=r'overlap="maximum" is not known.*"max"'):
        score([row()], overlap="maximum")
    with pytest.raises(HoldMetricsError, match="0 to 18"):
        Holds([row()], scale=19)
    with pytest.raises(HoldMetricsError, match="before it starts"):
        score([row()], at=100, start=5, end=4)
    with pytest.raises(ValueError, match="no time zone named"):
        Holds([row()], tz="Mars/Olympus")


LOCAL = ["2024-07-01T00:00:00", "2024-01-01T00:00:00"]
PARIS = 1_719_784_800  # the first, as clocks in Paris show it
HOUR = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    "form", ["datetimes", "numpy", "scalars", "arrow", "dates", "text", "pandas"]
)
@pytest.mark.parametrize(
    "tz", ["Europe/Paris", ZoneInfo("Europe/Paris"), HOUR] if ZONES else [HOUR]
)
def test_a_zone_for_columns_that_name_none(form, tz):
    data = {"holder_id": ["a", "b"], "token_id": ["t", "t"]}
    if form == "datetimes":
        data["start"] = [datetime.fromisoformat(text) for text in LOCAL]
    elif form == "numpy":
        data["start"] = np.array(LOCAL, "datetime64[s]")
    elif form == "scalars":
        data["start"] = [np.datetime64(text) for text in LOCAL]
    elif form == "pandas":
        pd = pytest.importorskip("pandas", reason="pandas is not installed")
        data = pd.DataFrame(data | {"start": pd.to_datetime(LOCAL)})
    else:
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        kind = {"arrow": pa.timestamp("ns"), "dates": pa.date32(), "text": pa.string()}[form]
        days = pa.array([text[:10] for text in LOCAL])
        data = pa.table(data | {"start": LOCAL if form == "text" else days.cast(kind)})
    starts = [row["start"] for row in Holds(data, tz=tz).to_table().to_pylist()]
    zone = ZoneInfo(tz) if isinstance(tz, str) else tz
    assert starts == [datetime.fromisoformat(text).replace(tzinfo=zone) for text in LOCAL]
    with pytest.raises(HoldMetricsError, match=r"row 0, start .*time zone"):
        Holds(data, strict=True)


def test_a_zone_changes_nothing_that_names_its_own():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    data = {"holder_id": ["a"], "token_id": ["t"]}
    for start in (
        pa.array([PARIS], pa.timestamp("s", "Asia/Tokyo")),
        pa.array(["2024-06-30T22:00:00Z"]),
        pa.array(["2024-06-30 22:00:00 UTC"]),
        pa.array([PARIS]),
    ):
        holds = Holds(pa.table(data | {"start": start}), tz=HOUR)
        assert holds.to_table()[0]["start"].timestamp() == PARIS
        Holds(pa.table(data | {"start": start}), strict=True)


def local_file(path, start):
    """One open hold from a local time on."""
    name, kind = path.name, path.suffix
    if kind == ".csv":
        path.write_text(f"holder_id,token_id,start\na,t,{start}\n", "utf-8")
    elif kind == ".jsonl":
        path.write_text(json.dumps({"holder_id": "a", "token_id": "t", "start": start}), "utf-8")
    else:
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        parquet = importlib.import_module("pyarrow.parquet")
        column = pa.array([start]).cast(pa.timestamp("us"))
        table = pa.table({"holder_id": ["a"], "token_id": ["t"], "start": column})
        parquet.write_table(table, path)
    return name


@pytest.mark.parametrize("name", ["local.csv", "local.jsonl", "local.parquet"])
@pytest.mark.parametrize("tz", ["Europe/Paris", HOUR], ids=["name", "offset"])
def test_a_zone_for_files_that_name_none(tmp_path, name, tz):
    path = tmp_path / name
    local_file(path, LOCAL[1])
    winter = 1_704_063_600  # midnight of New Year in Paris
    asked = {"every": 60, "start": winter - 60, "at": winter + 60}
    for overlap in ("sum", "union"):
        (row,) = score(path, at=winter + 60, tz=tz, overlap=overlap).to_pylist()
        assert row["total_seconds"] == 60
        (row,) = epochs(path, data_tz=tz, overlap=overlap, **asked).to_pylist()
        assert (row["epoch"], row["total_seconds"]) == (1, 60)
    assert Holds.read(path, tz=tz).to_table()[0]["start"].timestamp() == winter
    assert finish(partial(path, at=winter + 60, tz=tz))[0]["total_seconds"] == 60
    # Without a word they are UTC, an hour later than in Paris.
    assert score(path, at=winter + 3_660)[0]["total_seconds"] == 60
    for refuse in (
        lambda: score(path, at=1, strict=True),
        lambda: score(path, at=1, strict=True, overlap="union"),
        lambda: epochs(path, strict=True, **asked),
        lambda: Holds.read(path, strict=True),
    ):
        with pytest.raises(HoldMetricsError, match=f"{name}: row 0, start names no time zone"):
            refuse()
    assert len(score(path, at=1, tz=tz, strict=True)) == 1


def test_a_zone_for_streams_that_name_none():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    start = pa.array(LOCAL).cast(pa.timestamp("us"))
    table = pa.table({"holder_id": ["a", "b"], "token_id": ["t", "t"], "start": start})
    for overlap in ("sum", "max"):
        found = score(table, at=PARIS, tz="Europe/Paris", overlap=overlap).to_pylist()
        assert [row["total_seconds"] for row in found] == [0, PARIS - 1_704_063_600]
        with pytest.raises(HoldMetricsError, match="row 0, start names no time zone"):
            score(table, at=PARIS, strict=True, overlap=overlap)


def test_a_zone_for_the_instants_of_a_question():
    rows = [row(start=datetime(2024, 1, 1, 0, 30), end=None)]
    asked = {"at": datetime(2024, 1, 1, 1), "start": datetime(2024, 1, 1)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(rows, tz=HOUR, **asked)
    assert found.at.timestamp() == 1_704_067_200
    assert found[0]["total_seconds"] == 1_800
    with pytest.raises(HoldMetricsError, match=r"the instant is .* without a time zone"):
        score([row()], at=datetime(2024, 1, 1), strict=True)


@pytest.mark.parametrize("path", ["holds.csv", pathlib.Path("holds.csv")])
def test_a_path_in_place_of_data(path):
    with pytest.raises(TypeError, match=r"Holds\.read\(path\) reads holds from files"):
        Holds(path)
    with pytest.raises(TypeError, match=r"read_transfers\(path\) reads transfer logs from files"):
        from_transfers(path)


def test_no_path_at_all():
    for read in (Holds.read, read_transfers):
        with pytest.raises(HoldMetricsError, match="no file to read"):
            read()


ONE = {"holder_id": ["a"], "token_id": ["t"], "start": [0]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Holds(5), "data is a int; give an iterable of HoldEvent"),
        (lambda: from_transfers(None), "data is a NoneType; give an iterable of dicts"),
        (lambda: from_transfers(["logs.csv"]), "transfer 0: is a str; give a dict"),
        (lambda: score(ONE, by=None, at=1), 'by=None is not known; give one of "holder"'),
        (lambda: score(ONE, threads=0, at=1), "threads=0 can't be; give a number from 1 up"),
        (lambda: score(ONE, threads=-1, at=1), "threads=-1 can't be"),
        (lambda: score(ONE, at=1).top_n(-1), "n=-1 can't be"),
        (lambda: Holds(ONE, scale=-1), "scale is -1; it is a number of digits from 0 to 18"),
        (lambda: from_transfers([], decimals=19), "decimals is 19; it is a number of digits"),
        (lambda: score(ONE, at=1).amounts(unit="x"), 'the unit "x" is not a decimal number'),
        (lambda: score(ONE, at=1).amounts(unit=-1), "the unit is -1; give zero or more"),
        (lambda: Holds([row(weight=2**300)]), "row 0, weight is an int of 301 bits"),
        (lambda: Holds([row(weight=-(2**300))]), "weight is an int of 301 bits; give zero"),
        (lambda: Boost("x"), "steps of a boost are pairs of days and multiplier"),
        (lambda: Boost(5), "steps of a boost are pairs of days and multiplier"),
        (lambda: Boost([(1, -2)]), "a multiplier is -2; give zero or more"),
        (lambda: Boost([("x", 2)]), "age=x is no length of time; give days or a timedelta"),
        (lambda: Boost([(1, 2)], cap="y"), 'the cap "y" is not a decimal number'),
        (lambda: HoldAggregator(ttl="3600"), "ttl=3600 is no length of time; give seconds"),
        (lambda: HoldAggregator(ttl=float("nan")), "ttl=nan is no length of time"),
        (lambda: HoldAggregator(ttl=-1), "ttl is below zero"),
        (lambda: Holds(ONE).between(9, 3), "ends at .* before it starts"),
        (lambda: StandardMerkleTree.of(None), "claims are pairs of an address and an amount"),
        (lambda: HoldStat.of(score(ONE, by="token", at=1)), "a HoldStat is of one holder"),
    ],
)
def test_arguments_that_make_no_sense(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_an_event_is_a_value():
    event = HoldEvent(token_id=7, holder_id="a", start=0.5, weight="1.50")
    assert (event.token_id, event.holder_id, event.end) == ("7", "a", None)
    assert event.start == datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert (event.start_us, event.end_us, event.weight) == (500_000, None, 1.5)
    assert event.weight_exact == Decimal("1.5")
    same = HoldEvent(7, "a", datetime(1970, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC), weight=1.5)
    assert event == same
    assert hash(event) == hash(same)
    assert event != HoldEvent(7, "b", 0.5, weight=1.5)
    assert pickle.loads(pickle.dumps(event)) == event
    assert "start=1970-01-01T00:00:00.500000+00:00, end=None, weight=1.5" in repr(event)


def test_instants_past_the_calendar_are_read_in_microseconds():
    event = HoldEvent("t", "a", 10**12)
    assert event.start_us == 10**18
    with pytest.raises(OverflowError, match="start_us"):
        _ = event.start
    assert "1000000000000000000 us" in repr(event)


def test_at_is_read_once_and_said():
    scores = score([row(end=None)])
    again = score([row(end=None)], at=scores.at)
    assert again.at_us == scores.at_us
    assert again.to_pylist() == scores.to_pylist()


@pytest.mark.parametrize("number", [np.float16, np.float32, np.float64, np.longdouble, Decimal])
def test_nan_of_every_type_is_an_error(number):
    nan = number("nan")
    for field in ("start", "end", "weight"):
        with pytest.raises(HoldMetricsError, match=f"row 0, {field} ") as caught:
            Holds([row(**{field: nan})])
        assert "missing" not in str(caught.value)
        if number is not Decimal:
            column = {name: [value] for name, value in row(weight=1).items()}
            with pytest.raises(HoldMetricsError, match=f"row 0, {field} "):
                Holds(column | {field: np.array([nan], number)})
    with pytest.raises(HoldMetricsError, match="end"):
        HoldEvent("t", "a", 0, nan)


def test_ids_of_pandas_are_as_those_of_rows():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    ids = ["007", 7, "1e3", "punk-7", 2**70]
    rows = [row(token_id=token, holder_id=token) for token in ids]
    found = Holds(pd.DataFrame(rows)).score(at=10, by="both").to_pylist()
    assert found == Holds(rows).score(at=10, by="both").to_pylist()
    assert [row["token_id"] for row in found] == ["007", "7", "1e3", "punk-7", str(2**70)]
    with pytest.raises(HoldMetricsError, match="row 1, token_id"):
        Holds(pd.DataFrame([row(token_id=7), row(token_id=True)]))
    with pytest.raises(HoldMetricsError, match="row 3, token_id"):
        Holds(rows[:2]).extend(pd.DataFrame([row(token_id=7), row(token_id=True)]))


def test_arrays_of_pandas_in_columns():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    data = {
        "holder_id": pd.array(["a", "b"]),
        "token_id": pd.Categorical(["t", "t"]),
        "start": pd.array([0, 5], dtype="Int64"),
        "end": pd.array([10, None], dtype="Int64"),
    }
    assert exact(data) == {"a": "10", "b": "95"}


def test_float32_seconds_are_what_they_are():
    seconds = np.array([1_700_000_128], np.float32)
    columns = {"holder_id": ["a"], "token_id": ["t"], "start": seconds}
    assert [event["start"].timestamp() for event in Holds(columns).to_table().to_pylist()] == [
        1_700_000_128
    ]


@pytest.mark.parametrize("change", [{"token_id": 1.5}, {"weight": -1}, {"end": -1}])
def test_rows_of_columns_that_extend_a_table_count_on(change):
    holds = Holds([row(), row()])
    columns = {name: [value, value] for name, value in row(weight=1).items()}
    ((field, value),) = change.items()
    columns[field] = [columns[field][0], value]
    with pytest.raises(HoldMetricsError, match=f"row 3, {field}"):
        holds.extend(columns)


def test_an_event_in_a_zone():
    naive = datetime(1970, 1, 1, 1)
    event = HoldEvent("t", "a", naive, tz=timezone(timedelta(hours=1)))
    assert event.start_us == 0
    with pytest.raises(HoldMetricsError, match="time zone"):
        HoldEvent("t", "a", naive, strict=True)


def test_the_usual_end_of_time(tmp_path):
    """9999-12-31 stands for "for ever" in many tables."""
    path = tmp_path / "holds.csv"
    path.write_text("holder_id,token_id,start,end\na,t,0,9999-12-31\n", "utf-8")
    in_file = Holds.read(path).to_table()[0]["end"]
    assert in_file == Holds([row(end=datetime(9999, 12, 31, tzinfo=UTC))]).to_table()[0]["end"]
    columns = {"holder_id": ["a"], "token_id": ["t"], "start": [0]}
    columns["end"] = np.array(["9999-12-31"], "M8[D]")
    for tz in (None, "UTC"):
        assert Holds(columns, tz=tz).to_table()[0]["end"] == in_file

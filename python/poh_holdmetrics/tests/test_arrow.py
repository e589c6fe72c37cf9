"""Arrow in, Arrow out."""

from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from poh_holdmetrics import HoldMetricsError, Holds, score

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")

SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def table(**changes):
    columns = {
        "holder_id": pa.array(["a", "b", "a"]),
        "token_id": pa.array(["t", "t", "u"]),
        "start": pa.array([0, 10, 20], pa.timestamp("s")).cast(pa.timestamp("us")),
        "end": pa.array([10, None, 30], pa.timestamp("s")).cast(pa.timestamp("us")),
        "weight": pa.array([1, 2, 3]),
    }
    return pa.table(
        {name: column for name, column in (columns | changes).items() if column is not None}
    )


def exact(data, **query):
    rows = score(data, **{"at": 100, **query}).to_pylist()
    return {row["holder_id"]: row["weighted_score_exact"] for row in rows}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
def test_timestamps_of_every_unit(unit, zone):
    kind = pa.timestamp(unit, zone)
    start = pa.array([at * SECONDS[unit] for at in (0, 10, 20)], kind)
    end = pa.array([10 * SECONDS[unit], None, 30 * SECONDS[unit]], kind)
    assert exact(table(start=start, end=end)) == {"a": "40", "b": "180"}


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.uint8(), pa.large_string()),
    ],
)
def test_ids_of_every_layout(kind):
    holder = pa.array(["a", "b", "a"])
    holder = (
        holder.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else holder.cast(kind)
    )
    assert exact(table(holder_id=holder)) == {"a": "40", "b": "180"}


def test_ids_as_integers():
    assert exact(table(holder_id=pa.array([7, 8, 7], pa.uint64()))) == {"7": "40", "8": "180"}


@pytest.mark.parametrize(
    "weight",
    [
        pa.array([1, 2, 3], pa.uint8()),
        pa.array([1, 2, 3], pa.int32()),
        pa.array([1.0, 2.0, 3.0]),
        pa.array([1.0, 2.0, 3.0], pa.float32()),
        pa.array([Decimal("1.00"), Decimal(2), Decimal(3)], pa.decimal128(10, 2)),
        pa.array([Decimal(1), Decimal(2), Decimal(3)], pa.decimal256(70, 3)),
        pa.array(["1", "2.0", "3e0"]),
        pa.array([(n).to_bytes(32) for n in (1, 2, 3)], pa.binary(32)),
        pa.array([(n).to_bytes(32) for n in (1, 2, 3)]),
    ],
    ids=lambda weight: str(weight.type),
)
def test_weights_of_every_type(weight):
    assert exact(table(weight=weight)) == {"a": "40", "b": "180"}


def test_no_end_and_no_weight():
    assert exact(table(end=None, weight=None)) == {"a": "180", "b": "90"}
    assert exact(table(end=pa.nulls(3), weight=None)) == {"a": "180", "b": "90"}


def test_batches_with_different_dictionaries_and_digits():
    first = table(holder_id=pa.array(["a", "b", "a"]).dictionary_encode())
    second = table(
        holder_id=pa.array(["b", "c", "b"]).dictionary_encode(), weight=pa.array([0.5, 1.5, 2.5])
    )
    holds = Holds(first)
    holds.extend(second)
    holds.extend([{"holder_id": "a", "token_id": "t", "start": 0, "end": 1, "weight": "0.125"}])
    assert exact(holds) == {"a": "40.125", "b": "210", "c": "135"}


def test_columns_of_matching_types_are_not_copied():
    """What changes in the memory that Arrow lends changes the answer."""

    def lent(numbers, kind):
        return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])

    start, end = np.array([0, 10**6], "i8"), np.array([10**6, 2 * 10**6], "i8")
    codes, weight = np.array([0, 1], "i4"), np.array([1, 1], "i8")
    ids = pa.DictionaryArray.from_arrays(lent(codes, pa.int32()), ["a", "b"])
    table = pa.table(
        {
            "holder_id": ids,
            "token_id": ids,
            "start": lent(start, pa.timestamp("us")),
            "end": lent(end, pa.timestamp("us")),
            "weight": lent(weight, pa.int64()),
        }
    )
    holds = Holds(table)
    assert exact(holds) == {"a": "1", "b": "1"}
    end[1], start[0], weight[1] = 4 * 10**6, 5 * 10**5, 3
    assert exact(holds) == {"a": "0.5", "b": "9"}
    codes[0] = 1
    assert exact(holds) == {"b": "9.5"}


def test_chunks_and_slices():
    data = pa.concat_tables([table(), table()]).slice(1, 4)
    assert exact(data) == {"b": "360", "a": "40"}
    for overlap in ("union", "max"):
        assert exact(data, overlap=overlap)["b"] == {"union": "90", "max": "180"}[overlap]


def test_unused_entries_of_a_dictionary_are_no_holders():
    holder = pa.DictionaryArray.from_arrays([0, 2, 0], ["a", "", "b"])
    assert exact(table(holder_id=holder)) == {"a": "40", "b": "180"}


@pytest.mark.parametrize(
    ("changes", "row", "field"),
    [
        ({"holder_id": pa.array(["a", None, "b"])}, 1, "holder_id"),
        ({"token_id": pa.array(["a", "b", ""])}, 2, "token_id"),
        ({"holder_id": pa.DictionaryArray.from_arrays([0, 1, 0], ["a", ""])}, 1, "holder_id"),
        ({"holder_id": pa.DictionaryArray.from_arrays([0, 0, 1], ["a", None])}, 2, "holder_id"),
        ({"start": pa.array([0, 1, None], pa.timestamp("us"))}, 2, "start"),
        ({"start": pa.array([0, 1, 2**63 - 1], pa.timestamp("us"))}, 2, "start"),
        (
            {
                "start": pa.array([0, 11, 25 * 10**6], pa.timestamp("us")),
                "end": pa.array([1, 12, 13], pa.timestamp("us")),
            },
            2,
            "end",
        ),
        ({"end": pa.array([10**8, 10**8, 2**63 - 1], pa.timestamp("us"))}, 2, "end"),
        ({"start": pa.array([0.0, 1.0, float("nan")])}, 2, "start"),
        ({"start": pa.array(["1970-01-01", "1970-01-01T00:00:00Z", "soon"])}, 2, "start"),
        ({"weight": pa.array([1, 2, -3])}, 2, "weight"),
        ({"weight": pa.array([1, None, 3])}, 1, "weight"),
        ({"weight": pa.array([1.0, float("inf"), 3.0])}, 1, "weight"),
        ({"weight": pa.array([1.0, 1e-12, 3.0])}, 1, "weight"),
        ({"weight": pa.array([True, False, True])}, 0, "weight"),
        ({"holder_id": pa.array([1.5, 2.5, 3.5])}, 0, "holder_id"),
    ],
)
@pytest.mark.parametrize("overlap", ["sum", "union"])
def test_bad_values_name_row_and_field(changes, row, field, overlap):
    with pytest.raises(HoldMetricsError) as caught:
        score(table(**changes), at=10**6, overlap=overlap)
    assert (caught.value.row, caught.value.field) == (row, field)


def test_a_column_that_is_missing():
    with pytest.raises(HoldMetricsError, match='no column "start"; the columns are holder_id'):
        score(table(start=None), at=1)


def test_answers_are_arrow():
    scores = score(table(), at=100)
    out = pa.table(scores)
    assert out.schema == pa.schema(
        [
            pa.field("holder_id", pa.string(), nullable=False),
            pa.field("total_seconds", pa.float64(), nullable=False),
            pa.field("weighted_score", pa.float64(), nullable=False),
            pa.field("weighted_score_exact", pa.string(), nullable=False),
            pa.field("updated_at", pa.timestamp("us", "UTC")),
        ]
    )
    assert out["weighted_score_exact"].to_pylist() == ["40", "180"]
    assert out["updated_at"].to_pylist()[0] == datetime(1970, 1, 1, 0, 0, 30, tzinfo=UTC)
    both = pa.table(score(table(), at=100, by="both"))
    assert both.column_names[:2] == ["holder_id", "token_id"]
    epochs = Holds(table()).epochs(every=10, start=0, at=20)
    assert pa.table(epochs)["epoch"].to_pylist() == [row["epoch"] for row in epochs.to_pylist()]


def test_pandas_and_polars():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    polars = pytest.importorskip("polars", reason="polars is not installed")
    scores = score(table(), at=100)
    frame = scores.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame["total_seconds"].tolist() == [20.0, 90.0]
    assert scores.to_polars()["total_seconds"].to_list() == [20.0, 90.0]
    assert exact(table().to_pandas()) == exact(polars.DataFrame(table())) == exact(table())


def test_duckdb():
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    data = table()
    assert exact(duckdb.sql("select * from data").arrow()) == exact(data)
    assert exact(duckdb.sql("select * from data")) == exact(data)


@pytest.mark.parametrize(
    "weight",
    [
        pa.array([Decimal(1), Decimal(2), Decimal(3)], pa.decimal32(9, 2)),
        pa.array([Decimal(1), Decimal(2), Decimal(3)], pa.decimal64(18, 9)),
        pa.array(["1", "2", "3"]).dictionary_encode(),
        pa.array([1, 2, 3]).dictionary_encode(),
    ],
)
def test_weights_of_rarer_types(weight):
    assert exact(table(weight=weight)) == {"a": "40", "b": "180"}


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.int16(), pa.uint8(), pa.uint16(), pa.float32(), "dictionary"]
)
def test_times_of_rarer_types(kind):
    start, end = pa.array([0, 10, 20]), pa.array([10, None, 30])
    if kind == "dictionary":
        start, end = start.dictionary_encode(), end.dictionary_encode()
    else:
        start, end = start.cast(kind), end.cast(kind)
    assert exact(table(start=start, end=end)) == {"a": "40", "b": "180"}


def test_a_key_that_its_dictionary_does_not_have():
    keys = pa.array([0, 1, 7], pa.int32())
    weight = pa.DictionaryArray.from_arrays(keys, pa.array(["1", "2"]), safe=False)
    with pytest.raises(HoldMetricsError, match="a key that its dictionary does not have"):
        Holds(table(weight=weight))


@pytest.mark.parametrize("name", ["holder_id", "token_id", "start", "weight"])
def test_a_column_without_any_value(name):
    with pytest.raises(HoldMetricsError, match=f"row 0, {name} is missing"):
        Holds(table(**{name: pa.nulls(3)}))


@pytest.mark.parametrize("read", [Holds, lambda data: score(data, at=1)])
def test_two_columns_of_one_name(read):
    twice = table().append_column("holder_id", pa.array(["x", "y", "z"]))
    with pytest.raises(HoldMetricsError, match='two columns "holder_id"'):
        read(twice)


@pytest.mark.parametrize("read", [exact, lambda data: exact(Holds(data))])
def test_wei_in_pandas(read):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    columns = {
        "holder_id": ["a", "b", "c"],
        "token_id": ["t"] * 3,
        "start": [0] * 3,
        "end": [1] * 3,
    }
    frame = pd.DataFrame(columns | {"weight": [10**30, Decimal("1.5"), "2"]})
    assert read(frame) == {"a": str(10**30), "b": "1.5", "c": "2"}
    for wrong, fault in ((-(2**70), "is -"), (None, "is missing"), (True, "True")):
        with pytest.raises(HoldMetricsError, match=f"row 2, weight .*{fault}"):
            read(pd.DataFrame(columns | {"weight": [10**30, 1, wrong]}))


def test_polars_without_any_end():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    columns = {"holder_id": ["a"], "token_id": ["t"], "start": [0]}
    frame = pl.DataFrame(columns | {"end": [None]})
    assert exact(frame) == exact(Holds(frame)) == {"a": "100"}
    with pytest.raises(TypeError, match="LazyFrame, which has no rows yet"):
        score(frame.lazy())

"""Parts, in any order and number, have the same bits as one machine; also on Dask and Spark."""

import importlib.util
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import Boost, HoldEvent, HoldMetricsError, Holds, finish, merge, partial, score

QUERIES = [
    {"by": "holder", "overlap": "sum"},
    {"by": "token", "overlap": "union"},
    {"by": "both", "overlap": "max", "start": 20},
    {"by": "holder", "overlap": "sum", "boost": Boost([(0, 1), (1, "1.5")])},
    {"by": "holder", "overlap": "max", "boost": Boost.half_life(30)},
]


def keyed(scores):
    return sorted(tuple(row.items()) for row in scores.to_pylist())


events = st.lists(
    st.builds(
        lambda token, holder, start, length, weight: HoldEvent(
            token, holder, start, None if length is None else start + length, weight
        ),
        st.sampled_from("tu"),
        st.sampled_from("abcde"),
        st.integers(0, 50),
        st.none() | st.integers(0, 20),
        st.sampled_from([1, "0.5", 3, 2**200]),
    ),
    max_size=15,
)


@settings(max_examples=150)
@given(events, st.sampled_from(QUERIES), st.integers(1, 4), st.randoms(use_true_random=False))
def test_parts_add_up_to_the_whole(rows, query, parts, chance):
    piles = [[] for _ in range(parts)]
    for event in rows:
        # With sum any part will do; else a holder's holds stay together.
        pile = (
            chance.randrange(parts) if query["overlap"] == "sum" else ord(event.holder_id) % parts
        )
        piles[pile].append(event)
    states = [partial(pile, at=100, **query) for pile in piles]
    chance.shuffle(states)
    merged = finish(merge(states), at=100)
    assert keyed(merged) == keyed(score(rows, at=100, **query))
    again = finish(merge([merge(states[:2]), *states[2:]]), at=100)
    assert again.to_pylist() == merged.to_pylist()


def test_what_is_no_state():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with pytest.raises(HoldMetricsError, match="not a state"):
        merge([pa.table({"x": [1]})])
    state = pa.table(partial([HoldEvent("t", "a", 0, 1)], at=1))
    for column, value in (
        ("micros", pa.array([b"short"])),
        ("digits", pa.array([2**32 - 1])),
        ("digits", pa.array([-1])),
        ("at_us", pa.array(["now"])),
    ):
        place = state.column_names.index(column)
        with pytest.raises(HoldMetricsError, match="not a state"):
            finish(state.set_column(place, column, value))


def test_a_state_knows_its_instant():
    rows = [HoldEvent("t", "a", 0)]
    early, late = partial(rows, at=10), partial(rows, at=datetime.fromtimestamp(20, UTC))
    assert finish(late).at == datetime.fromtimestamp(20, UTC)
    assert finish(late).to_pylist() == score(rows, at=20).to_pylist()
    with pytest.raises(HoldMetricsError, match=r"different instants.*00:00:10Z.*00:00:20Z"):
        merge([early, late])
    with pytest.raises(HoldMetricsError, match="different instants"):
        finish(late, at=10)
    nothing = partial([], at=10)
    assert finish(merge([nothing, late])).at == datetime.fromtimestamp(20, UTC)
    assert finish(nothing, at=10).to_pylist() == []
    with pytest.raises(HoldMetricsError, match="give at="):
        finish(nothing)


def test_states_of_different_questions_do_not_add_up():
    rows = [HoldEvent("t", "a", 0, 1)]
    states = [partial(rows, by=by, at=9) for by in ("holder", "token", "both")]
    for pair in itertools.permutations(states, 2):
        with pytest.raises(HoldMetricsError, match="different questions"):
            merge(pair)


def test_pieces_of_a_state_add_up():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    states = [pa.table(partial([HoldEvent("t", "a", n, n + 2)], at=9)) for n in range(3)]
    assert finish(pa.concat_tables(states)).to_pylist() == finish(merge(states)).to_pylist()
    assert finish(merge(states))[0]["weighted_score_exact"] == "6"


def test_parts_and_states_may_lie_anywhere_in_memory():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from poh_holdmetrics.cluster import Question, aligned

    def moved(table):
        """The same table, whose buffers begin one byte after a multiple of 8."""

        def column(chunks):
            (array,) = chunks.chunks
            buffers = [
                buffer and pa.py_buffer(b"." + buffer.to_pybytes()).slice(1)
                for buffer in array.buffers()
            ]
            return pa.Array.from_buffers(array.type, len(array), buffers)

        return pa.table([column(chunks) for chunks in table.columns], schema=table.schema)

    def addresses(table):
        chunks = [chunk for column in table.columns for chunk in column.chunks]
        return [buffer.address % 8 for chunk in chunks for buffer in chunk.buffers() if buffer]

    question = Question("holder", "sum", 100, None, None, None, 9)
    rows = pa.table({"holder_id": ["a", "bb", "a"], "token_id": ["t"] * 3, "start": [0, 5, 90]})
    state = question.state(rows)
    assert aligned(rows) is rows
    for table in (rows, state):
        other = moved(table)
        assert any(addresses(other))
        assert aligned(other).equals(table)
        assert not any(addresses(aligned(other)))
    assert question.state(moved(rows)).equals(state)
    assert question.merged([moved(state), state]).equals(question.merged([state, state]))


WIDE = {
    "holder_id": ["a", "b", "a", "b"],
    "token_id": [7, 2**80, 7, 8],
    "start": [0, 1, 2, 3],
    "end": [5, 6, 7, None],
    "weight": [2**70, "1.5", 10**40, 1e-7],
}


def wide_frame(pandas):
    return pandas.DataFrame(
        {
            name: pandas.Series(cells, dtype=object if name in {"token_id", "weight"} else None)
            for name, cells in WIDE.items()
        }
    )


@pytest.mark.parametrize("by", ["holder", "token", "both"])
def test_numbers_of_more_than_64_bits_in_frames_of_pandas(by):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    from poh_holdmetrics.cluster import Question
    from poh_holdmetrics.dask import _state

    whole = wide_frame(pandas)
    question = Question(by, "sum", 9, None, None, None, 9)
    states = [_state(question, whole[place : place + 1]) for place in range(4)]
    assert keyed(finish(question.merged(states))) == keyed(Holds(whole).score(at=9, by=by))
    missing = whole.assign(weight=pandas.Series([2**70, None, float("nan"), 1], dtype=object))
    for place in (1, 2):
        with pytest.raises(HoldMetricsError, match="weight is missing"):
            _state(question, missing[place - 1 : place + 1])


def test_ids_of_pandas_in_parts_are_those_of_the_whole():
    """Ints beside text are ids; what one machine refuses is refused, and becomes no other id."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    from poh_holdmetrics.cluster import Question
    from poh_holdmetrics.dask import _state

    def frame(ids):
        ids = pandas.Series(ids, dtype=object)
        return pandas.DataFrame({"holder_id": ids, "token_id": ids, "start": [0, 0]})

    question = Question("both", "sum", 9, None, None, None, 9)
    whole = frame(["007", 2**100])
    assert keyed(finish(_state(question, whole))) == keyed(Holds(whole).score(at=9, by="both"))
    for ids in ([7, 7.5], [True, False], [7, True]):
        for refuse in (lambda ids: _state(question, frame(ids)), lambda ids: Holds(frame(ids))):
            with pytest.raises((HoldMetricsError, ValueError, TypeError)):
                refuse(ids)


class Rows:
    """What the adapters ask of Dask and of Spark, done at once: parts of a table of pyarrow."""

    def __init__(self, parts):
        self.parts = parts
        self.columns = parts[0].column_names

    def select(self, *_names):
        return self

    repartition = select

    def mapInArrow(self, work, _state):
        pa = pytest.importorskip("pyarrow")
        found = [list(work(iter(part.to_batches()))) for part in self.parts]
        return Rows([pa.Table.from_batches(batches) for batches in found])

    def toArrow(self):
        return pytest.importorskip("pyarrow").concat_tables(self.parts)


def test_rounding_zone_and_strictness_go_to_the_parts():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import poh_holdmetrics.spark

    parts = [
        pa.table(
            {
                "holder_id": ["a"],
                "token_id": ["t"],
                "start": pa.array([start], pa.timestamp("us")),
                "weight": ["0.25000000005"],
            }
        )
        for start in (datetime(2024, 7, 1), datetime(2024, 7, 2))
    ]
    whole = pa.concat_tables(parts)
    at, start = datetime(2024, 7, 3, 1), datetime(2024, 7, 1, 6)
    asked = {"at": at, "start": start, "rounding": "half-even", "tz": "Europe/Paris"}
    found = poh_holdmetrics.spark.score(Rows(parts), **asked, strict=True)
    assert found.at == datetime(2024, 7, 2, 23, tzinfo=UTC)
    assert found.to_pylist() == score(whole, **asked, strict=True).to_pylist()
    asked = {"at": 1_720_000_000, "tz": None}
    with pytest.raises(HoldMetricsError, match="start names no time zone"):
        poh_holdmetrics.spark.score(Rows(parts), **asked, rounding="half-even", strict=True)
    with pytest.raises(HoldMetricsError, match="weight has 11 digits"):
        poh_holdmetrics.spark.score(Rows(parts), **asked)


def test_a_part_may_be_a_file(tmp_path):
    path = tmp_path / "part.csv"
    path.write_text("holder_id,token_id,start,end\na,t,0,5\nb,t,2,\n", "utf-8")
    for overlap in ("sum", "union"):
        found = finish(merge([partial(path, at=9, overlap=overlap)]))
        assert keyed(found) == keyed(score(path, at=9, overlap=overlap))


def test_the_columns_that_spark_declares_are_those_of_a_state():
    from poh_holdmetrics.spark import STATE

    declared = [column.split()[0] for column in STATE.split(", ")]
    assert declared == partial([], at=1).columns


def frame_of(pandas, count=4000):
    make = random.Random(5)
    start = [make.randrange(10**6) for _ in range(count)]
    return pandas.DataFrame(
        {
            "holder_id": [f"h{make.randrange(50)}" for _ in range(count)],
            "token_id": [f"t{make.randrange(5)}" for _ in range(count)],
            "start": [datetime.fromtimestamp(at, UTC) for at in start],
            "end": [datetime.fromtimestamp(at + make.randrange(10**5), UTC) for at in start],
            "weight": [make.randrange(100) / 4 for _ in range(count)],
        }
    )


def die_once(marker):
    """Kill the worker that comes here first; later ones go on."""
    from pathlib import Path

    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_dask_also_when_a_worker_is_killed(tmp_path):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    dask_frames = pytest.importorskip("dask.dataframe", reason="dask is not installed")
    dask = pytest.importorskip("dask", reason="dask is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    import poh_holdmetrics.dask

    def hurt(part, marker, die=die_once):
        die(marker)
        return part

    whole = frame_of(pandas)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        frame = dask_frames.from_pandas(whole, npartitions=40)
        for query in QUERIES:
            found = poh_holdmetrics.dask.score(frame, at=2 * 10**6, **query)
            assert keyed(found) == keyed(Holds(whole).score(at=2 * 10**6, **query))
        wide = wide_frame(pandas)
        for convert in (True, False):
            # As objects they come from partitions that Dask did not make itself.
            with dask.config.set({"dataframe.convert-string": convert}):
                wide_parts = dask_frames.from_pandas(wide, npartitions=4)
                for query in QUERIES:
                    found = poh_holdmetrics.dask.score(wide_parts, at=100, **query)
                    assert keyed(found) == keyed(Holds(wide).score(at=100, **query))
        naive = whole.assign(
            start=whole["start"].dt.tz_localize(None), end=whole["end"].dt.tz_localize(None)
        )
        local = {"at": datetime(1970, 1, 20), "tz": "Europe/Paris", "strict": True}
        local |= {"scale": 1, "rounding": "half-even"}
        found = poh_holdmetrics.dask.score(dask_frames.from_pandas(naive, npartitions=4), **local)
        assert keyed(found) == keyed(score(naive, **local))
        for query in QUERIES[::2]:
            marker = tmp_path / f"{query['by']} {query['overlap']}"
            hurt_frame = frame.map_partitions(hurt, str(marker), meta=whole)
            found = poh_holdmetrics.dask.score(hurt_frame, at=2 * 10**6, **query)
            assert marker.exists()
            assert keyed(found) == keyed(Holds(whole).score(at=2 * 10**6, **query))


@pytest.fixture
def spark(tmp_path, monkeypatch):
    """A Spark of two threads, each with a Python process; a task may fail three times.

    Where the environment has no pyspark (it is a source archive of 450 MB with no wheel), pip
    brings it into a folder that goes with the test.
    """
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    if importlib.util.find_spec("pyspark") is None:
        folder = str(tmp_path / "pyspark")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder]
        subprocess.run([*pip, "pyspark>=4,<5"], check=True)
        monkeypatch.syspath_prepend(folder)
        # Spark starts Python processes of its own, which must find it too.
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    sql = importlib.import_module("pyspark.sql")
    builder = sql.SparkSession.builder.master("local[2,4]")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": str(tmp_path / "spark"),
        "spark.sql.warehouse.dir": str(tmp_path / "warehouse"),
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    session.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.slow
def test_spark_also_when_a_worker_is_killed(spark, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    import poh_holdmetrics.spark

    def hurt(marker, die=die_once):
        def whole_batches(batches):
            for number, batch in enumerate(batches):
                if number == 0:
                    die(marker)
                yield batch

        return whole_batches

    whole = frame_of(pandas)
    frame = spark.createDataFrame(whole).repartition(7)
    for query in QUERIES:
        found = poh_holdmetrics.spark.score(frame, at=2 * 10**6, **query)
        assert keyed(found) == keyed(Holds(whole).score(at=2 * 10**6, **query))
    for query in QUERIES[::2]:
        marker = tmp_path / f"{query['by']} {query['overlap']}"
        hurt_frame = frame.mapInArrow(hurt(str(marker)), frame.schema)
        found = poh_holdmetrics.spark.score(hurt_frame, at=2 * 10**6, **query)
        assert marker.exists()
        assert keyed(found) == keyed(Holds(whole).score(at=2 * 10**6, **query))

"""Both libraries in one process: two compiled modules, one interpreter, threads between them."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import poh_holdmetrics
import pytest
import rvh_trace

pytestmark = pytest.mark.ffi


@pytest.fixture
def tracing():
    rvh_trace.reset()
    rvh_trace.init_tracing("info", exporter="memory")
    yield
    rvh_trace.reset()


def holds(count: int) -> dict[str, np.ndarray]:
    """`count` holds by 7 holders, each of 10 s and weight 2."""
    start = np.arange(count, dtype=np.int64)
    return {
        "holder_id": np.array([f"holder-{n % 7}" for n in range(count)]),
        "token_id": np.array(["token"] * count),
        "start": start,
        "end": start + 10,
        "weight": np.full(count, 2, dtype=np.int64),
    }


def test_a_score_inside_a_span(tracing) -> None:
    with rvh_trace.span("score", rows=70):
        rows = poh_holdmetrics.score(holds(70), at=1000).to_pylist()
    assert sorted(row["holder_id"] for row in rows) == [f"holder-{n}" for n in range(7)]
    assert {row["weighted_score"] for row in rows} == {200.0}
    (span,) = rvh_trace.finished_spans()
    assert (span.name, span.attributes["rows"]) == ("score", 70)


def test_threads_score_and_trace_at_once(tracing) -> None:
    """Both release the GIL and take it back: neither may wait for the other for ever."""
    gate = threading.Barrier(8)

    def work(number: int) -> float:
        gate.wait()
        with rvh_trace.span("work", number=number):
            rows = poh_holdmetrics.score(holds(7000), at=10_000, threads=2).to_pylist()
        return sum(row["weighted_score"] for row in rows)

    with ThreadPoolExecutor(8) as pool:
        totals = list(pool.map(work, range(8)))
    assert totals == [7000 * 20.0] * 8
    spans = rvh_trace.finished_spans()
    assert sorted(span.attributes["number"] for span in spans) == list(range(8))


def test_an_error_of_one_is_recorded_by_the_other(tracing) -> None:
    bad = holds(7)
    bad["end"] = bad["start"] - 1
    with pytest.raises(ValueError, match="end"), rvh_trace.span("bad"):
        poh_holdmetrics.score(bad, at=1000)
    (span,) = rvh_trace.finished_spans()
    assert span.status == "error"


@pytest.mark.parametrize("order", ["rvh_trace, poh_holdmetrics", "poh_holdmetrics, rvh_trace"])
def test_either_import_order_and_a_clean_exit(order: str) -> None:
    code = (
        f"import {order}\n"
        "rvh_trace.init_tracing('info', exporter='none')\n"
        "with rvh_trace.span('last'):\n"
        "    poh_holdmetrics.score([], at=0)\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr

import asyncio
import os
import threading

import pytest

import rvh_trace
from rvh_trace import span


def names():
    return [live.name for live in rvh_trace.live_spans()]


def test_an_open_span_is_seen_as_it_is(memory):
    with span("outer") as outer, span("inner", a=1, level="debug") as inner:
        inner.record("later", "x")
        outer_seen, seen = rvh_trace.live_spans()
        inner.record("after", 2)
    assert (outer_seen.name, outer_seen.parent_span_id) == ("outer", None)
    assert (seen.name, seen.level, seen.kind) == ("inner", "debug", "internal")
    assert (seen.trace_id, seen.span_id) == (inner.trace_id, inner.span_id)
    assert seen.parent_span_id == outer.span_id
    assert seen.attributes == {"a": 1, "later": "x"}
    assert seen.start == memory()["inner"].start
    assert seen.thread_id == threading.get_ident()
    assert seen.thread_name == threading.current_thread().name
    assert names() == []


def test_they_are_counted(memory):
    assert rvh_trace.stats()["live"] == 0
    with span("a"), span("b"):
        assert rvh_trace.stats()["live"] == 2
    assert rvh_trace.stats()["live"] == 0


def test_what_is_not_entered_or_not_recorded_is_not_live():
    waiting = span("before init")
    with waiting:
        assert names() == []
    rvh_trace.init_tracing(exporter="memory", sampler=0.0)
    with span("not sampled"):
        assert names() == []
    rvh_trace.init_tracing(exporter="memory", reconfigure=True)
    waiting = span("not entered")
    assert names() == []
    del waiting


def test_each_way_to_end_ends_it(memory):
    with span("by end") as opened:
        opened.end()
        assert names() == []
    with pytest.raises(ValueError), span("by exception"):
        raise ValueError("x")
    assert names() == []
    opened = span("forgotten")
    opened.resume()
    opened.suspend()
    assert names() == ["forgotten"]
    del opened
    assert names() == []


def test_threads(memory):
    ready, leave = threading.Barrier(4), threading.Event()

    def work(name):
        with span(name):
            ready.wait()
            leave.wait()

    threads = [threading.Thread(target=work, args=(f"w{n}",), name=f"t{n}") for n in range(3)]
    for thread in threads:
        thread.start()
    ready.wait()
    seen = {live.name: live.thread_name for live in rvh_trace.live_spans()}
    idents = {live.thread_id for live in rvh_trace.live_spans()}
    leave.set()
    for thread in threads:
        thread.join()
    assert seen == {"w0": "t0", "w1": "t1", "w2": "t2"}
    assert len(idents) == 3
    assert names() == []


def test_tasks(memory):
    async def work(name, gate):
        async with span(name):
            await gate.wait()

    async def main():
        gate = asyncio.Event()
        tasks = [asyncio.create_task(work(f"task {n}", gate)) for n in range(3)]
        await asyncio.sleep(0)
        seen = names()
        gate.set()
        await asyncio.gather(*tasks)
        return seen

    assert asyncio.run(main()) == ["task 0", "task 1", "task 2"]
    assert names() == []


def test_many_are_opened_and_closed_in_any_order(memory):
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    strategies = hypothesis.strategies

    @hypothesis.settings(deadline=None)
    @hypothesis.given(strategies.lists(strategies.integers(0, 5), max_size=40))
    def check(script):
        held = {}
        for number in script:
            if number in held:
                held.pop(number).end()
            else:
                held[number] = span(str(number))
                held[number].resume()
                held[number].suspend()
            assert sorted(names()) == sorted(map(str, held))
        held.clear()
        assert names() == []

    check()


def test_secrets_are_not_shown(memory):
    with span("s", password="hunter2"):
        (live,) = rvh_trace.live_spans()
    assert live.attributes == {"password": "[redacted]"}


def test_looking_while_others_work(memory):
    stop = threading.Event()

    def work():
        while not stop.is_set():
            with span("busy", a=1), span("inner"):
                pass

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        assert {live.name for live in rvh_trace.live_spans()} <= {"busy", "inner"}
    stop.set()
    for thread in threads:
        thread.join()
    assert names() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_has_only_what_can_end_there(memory):
    leave, ready = threading.Event(), threading.Event()

    def work():
        with span("other thread"):
            ready.set()
            leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    with span("forking"):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if names() == ["forking"] else 1)
        status = os.waitpid(pid, 0)[1]
    leave.set()
    thread.join()
    assert status == 0

"""The current span in threads, pools and coroutines that begin elsewhere."""

import asyncio
import inspect
import threading

import pytest

import rvh_trace
from rvh_trace import span


def on_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def test_a_thread_starts_empty_and_one_of_wrap_does_not(memory):
    def work():
        with span("work"):
            pass

    with span("caller"):
        on_a_thread(work)
        on_a_thread(rvh_trace.wrap(work))
    (empty, wrapped, caller) = rvh_trace.finished_spans()
    assert (empty.parent_span_id, wrapped.parent_span_id) == (None, caller.span_id)


def test_tasks_of_the_executor_are_children_of_who_submits(memory):
    def work(number):
        with span("work", number=number):
            return number

    with rvh_trace.ThreadPoolExecutor(2) as pool:
        with span("map"):
            assert list(pool.map(work, range(8))) == list(range(8))
        with span("submit"):
            assert pool.submit(work, number=8).result() == 8
    spans = {f.attributes.get("number", f.name): f for f in rvh_trace.finished_spans()}
    assert {spans[n].parent_span_id for n in range(8)} == {spans["map"].span_id}
    assert spans[8].parent_span_id == spans["submit"].span_id


def test_a_coroutine_runs_in_the_context_too(memory):
    async def work(number):
        await asyncio.sleep(0)
        with span(f"work {number}"):
            await asyncio.sleep(0)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            with span(f"clean up {number}"):
                return number

    with span("caller"):
        wrapped = rvh_trace.wrap(work)
    assert inspect.iscoroutinefunction(wrapped)

    async def main():
        async with span("elsewhere"):
            tasks = [asyncio.create_task(wrapped(number)) for number in range(2)]
            while len(rvh_trace.finished_spans()) < 3:
                await asyncio.sleep(0)
            assert rvh_trace.current_span() is not None
            for task in tasks:
                task.cancel()
            assert await asyncio.gather(*tasks) == [0, 1]

    asyncio.run(main())
    spans = memory()
    for name in ("work 0", "work 1", "clean up 0", "clean up 1"):
        assert spans[name].parent_span_id == spans["caller"].span_id
    assert spans["elsewhere"].parent_span_id is None


def test_what_a_coroutine_raises_goes_through(memory):
    @rvh_trace.wrap
    async def fail():
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(fail())

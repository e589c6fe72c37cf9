"""Spans that are open over a ``yield`` in code that is not decorated."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import textwrap
import threading

import pytest

import rvh_trace
from rvh_trace import span


def steps():
    with span("step"):
        yield 1
        with span("inside"):
            yield 2
        yield 3


def test_a_suspended_generator_does_not_leak(memory):
    with span("caller") as caller:
        for number in steps():
            assert rvh_trace.current_span() is caller
            with span(f"between {number}"):
                pass
        assert rvh_trace.current_span() is caller
    assert rvh_trace.current_context() is None
    spans = memory()
    assert {spans[f"between {n}"].parent_span_id for n in (1, 2, 3)} == {spans["caller"].span_id}
    assert spans["step"].parent_span_id == spans["caller"].span_id
    assert spans["inside"].parent_span_id == spans["step"].span_id


def test_the_first_generator_of_its_kind_does_not_leak_either(memory):
    # Each has code of its own, so that nothing is known of it yet.
    for number in range(3):
        names = {"span": span}
        exec(f"def fresh():\n    with span('fresh {number}'):\n        yield", names)
        generator = names["fresh"]()
        next(generator)
        assert rvh_trace.current_context() is None
        generator.close()
    assert rvh_trace.current_context() is None
    assert len(memory()) == 3


def test_two_that_are_suspended_at_once(memory):
    with span("caller") as caller:
        first, second = steps(), steps()
        for _ in range(3):
            next(first)
            next(second)
            assert rvh_trace.current_span() is caller
        assert next(second, None) is next(first, None) is None
    caller = memory()["caller"].span_id
    assert [s.parent_span_id for s in rvh_trace.finished_spans() if s.name == "step"] == [
        caller
    ] * 2


def test_delegation(memory):
    def outer():
        with span("outer"):
            got = yield from inner()
            with span("after"):
                yield got

    def inner():
        with span("inner"):
            sent = yield 1
            with span("deep"):
                yield sent
        return "end"

    generator = outer()
    assert next(generator) == 1
    assert rvh_trace.current_context() is None
    assert generator.send("sent") == "sent"
    assert rvh_trace.current_context() is None
    assert list(generator) == ["end"]
    spans = memory()
    for child, parent in [("inner", "outer"), ("deep", "inner"), ("after", "outer")]:
        assert spans[child].parent_span_id == spans[parent].span_id


def test_what_is_thrown_in_finds_its_spans(memory):
    def patient():
        with span("patient"):
            try:
                yield 1
            except KeyError:
                with span("handler"):
                    yield 2

    generator = patient()
    next(generator)
    assert generator.throw(KeyError("x")) == 2
    assert rvh_trace.current_context() is None
    generator.close()
    assert memory()["handler"].parent_span_id == memory()["patient"].span_id
    assert memory()["patient"].status == "unset"


def test_one_that_is_never_finished(memory):
    def abandoned():
        with span("abandoned"):
            yield

    with span("caller") as caller:
        generator = abandoned()
        next(generator)
        del generator
        gc.collect()
        assert rvh_trace.current_span() is caller
    assert memory()["abandoned"].parent_span_id == memory()["caller"].span_id


def test_one_that_goes_on_in_another_thread(memory):
    generator = steps()
    seen = []

    def go_on():
        with span("other thread") as other:
            seen.append(next(generator))
            seen.append(rvh_trace.current_span() is other)

    next(generator)
    thread = threading.Thread(target=go_on)
    thread.start()
    thread.join()
    assert list(generator) == [3]
    assert seen == [2, True]
    assert memory()["inside"].parent_span_id == memory()["step"].span_id
    assert rvh_trace.current_context() is None


def test_an_asynchronous_generator(memory):
    async def ticks():
        async with span("ticks"):
            for number in range(3):
                with span(f"tick {number}"):
                    await asyncio.sleep(0)
                yield number

    async def consume(name):
        with span(name) as caller:
            async with contextlib.aclosing(ticks()) as stream:
                async for number in stream:
                    assert rvh_trace.current_span() is caller
                    with span(f"{name} {number}"):
                        await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(consume(f"c{n}") for n in range(3)))

    asyncio.run(main())
    finished = rvh_trace.finished_spans()
    by_id = {item.span_id: item.name for item in finished}
    for item in finished:
        parent = by_id.get(item.parent_span_id)
        expected = {"ticks": "c", "tick": "ticks", "c": None}[item.name.rstrip("0123456789 ")]
        if " " in item.name and item.name.startswith("c"):
            assert parent == item.name.split()[0]
        elif expected is None:
            assert parent is None
        else:
            assert parent.rstrip("0123456789") == expected


def test_a_context_manager_acts_on_its_caller(memory):
    @contextlib.contextmanager
    def section(name):
        with span(name) as opened:
            yield opened

    with span("caller") as caller:
        with section("outer") as outer:
            assert rvh_trace.current_span() is outer
            with section("inner"), span("work"):
                pass
        assert rvh_trace.current_span() is caller
    spans = memory()
    for child, parent in [("work", "inner"), ("inner", "outer"), ("outer", "caller")]:
        assert spans[child].parent_span_id == spans[parent].span_id


def test_a_context_manager_in_a_generator_does_not_leak(memory):
    @contextlib.contextmanager
    def section():
        with span("section"):
            yield

    @contextlib.contextmanager
    def nested():
        with section(), span("nested"):
            yield

    def generator():
        with nested():
            yield 1
            with span("work"):
                yield 2

    with span("caller") as caller:
        for _ in generator():
            assert rvh_trace.current_span() is caller
        assert rvh_trace.current_span() is caller
    spans = memory()
    for child, parent in [("work", "nested"), ("nested", "section"), ("section", "caller")]:
        assert spans[child].parent_span_id == spans[parent].span_id


def test_an_asynchronous_context_manager(memory):
    @contextlib.asynccontextmanager
    async def section():
        await asyncio.sleep(0)
        with span("section"):
            await asyncio.sleep(0)
            yield
            await asyncio.sleep(0)

    async def numbers():
        async with section():
            yield 1
            await asyncio.sleep(0)
            with span("work"):
                yield 2

    async def main():
        with span("caller") as caller:
            async with section(), span("body"):
                await asyncio.sleep(0)
            async for _ in numbers():
                assert rvh_trace.current_span() is caller
            assert rvh_trace.current_span() is caller

    asyncio.run(main())
    finished = rvh_trace.finished_spans()
    by_id = {item.span_id: item.name for item in finished}
    parents = [(item.name, by_id.get(item.parent_span_id)) for item in finished]
    assert sorted(parents, key=str) == [
        ("body", "section"),
        ("caller", None),
        ("section", "caller"),
        ("section", "caller"),
        ("work", "section"),
    ]


def test_an_exception_that_leaves_a_generator(memory):
    def fails():
        with span("fails"):
            yield 1
            raise ValueError("bad")

    with span("caller") as caller:
        generator = fails()
        next(generator)
        with pytest.raises(ValueError):
            next(generator)
        assert rvh_trace.current_span() is caller
    assert memory()["fails"].status == "error"
    assert memory()["caller"].status == "unset"


def test_not_sampled_spans_do_not_leak():
    rvh_trace.init_tracing(exporter="memory", sampler=0.0)
    generator = steps()
    next(generator)
    assert rvh_trace.current_context() is None
    generator.close()


def test_any_order_of_steps_keeps_each_in_its_place(memory):
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    strategies = hypothesis.strategies

    def nest(name, depth, seen):
        with span(name) as opened:
            for _ in range(3):
                yield
                seen.append(rvh_trace.current_span() is opened)
                if depth:
                    yield from nest(name, depth - 1, seen)
                    seen.append(rvh_trace.current_span() is opened)

    @hypothesis.settings(max_examples=60, deadline=None)
    @hypothesis.given(
        strategies.lists(strategies.tuples(strategies.integers(0, 3), strategies.booleans())),
    )
    def check(script):
        seen = []
        generators = [nest(f"g{n}", 2, seen) for n in range(4)]
        with span("caller") as caller:
            for number, close in script:
                if close:
                    generators[number].close()
                else:
                    next(generators[number], None)
                assert rvh_trace.current_span() is caller
            for generator in generators:
                generator.close()
            assert rvh_trace.current_span() is caller
        assert all(seen)
        assert rvh_trace.current_context() is None

    check()


def shared_plain():
    with span("shared"):
        pass


@contextlib.contextmanager
def shared_section():
    with span("shared"):
        yield


class Shared:
    @staticmethod
    def steps():
        def inner():
            with span("shared in a class"):
                yield

        return inner()

    def plain(self):
        with span("shared in a class"):
            pass


def test_a_place_that_looks_like_another_is_told_apart(memory):
    # The name is one object for both, and so are the module and the names of the fields.
    for _ in range(100):
        shared_plain()
        Shared().plain()
    suspended = Shared.steps()
    next(suspended)
    assert rvh_trace.current_context() is None
    suspended.close()

    def generator():
        with shared_section():
            yield

    suspended = generator()
    next(suspended)
    assert rvh_trace.current_context() is None
    suspended.close()


def test_a_generator_that_is_hidden_is_found_in_the_end(memory):
    # Nothing leads from the module to it, so its name is not known before.
    names = {"span": span}
    exec("def plain():\n    with span('hidden'):\n        pass", names)
    for _ in range(100):
        names["plain"]()
    exec("def steps():\n    with span('hidden'):\n        yield", names)
    steps = names.pop("steps")
    leaks = []
    for _ in range(100):
        suspended = steps()
        next(suspended)
        leaks.append(rvh_trace.current_context() is not None)
        suspended.close()
    assert True not in leaks[65:]


def test_a_span_that_another_function_made(memory):
    def made(name):
        return span(name, by="helper")

    def generator():
        with made("one"):
            yield
            with made("two"):
                yield

    suspended = generator()
    for _ in range(2):
        next(suspended)
        assert rvh_trace.current_context() is None
    suspended.close()
    assert memory()["two"].parent_span_id == memory()["one"].span_id


def test_where_all_tools_are_taken_tracing_still_works():
    code = """
        import sys
        for tool in range(6):
            try:
                sys.monitoring.use_tool_id(tool, "another")
            except ValueError:
                pass
        import rvh_trace
        rvh_trace.init_tracing(exporter="memory")
        def steps():
            with rvh_trace.span("step"):
                yield 1
        assert list(steps()) == [1]
        assert [s.name for s in rvh_trace.finished_spans()] == ["step"]
        assert rvh_trace.current_context() is None
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr

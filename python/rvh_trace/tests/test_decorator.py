import asyncio
import contextlib
import functools
import inspect

import pytest

import rvh_trace
from rvh_trace import span, trace


def test_with_and_without_parentheses(memory):
    @trace
    def plain(x):
        """Doc."""
        return x + 1

    @trace("named", team="a", level="debug")
    def named():
        rvh_trace.record("later", 2)

    @trace()
    def empty(): ...

    assert plain(1) == 2
    assert (plain.__name__, plain.__doc__) == ("plain", "Doc.")
    named()
    empty()
    spans = memory()
    assert spans["named"].attributes == {"team": "a", "later": 2}
    assert spans["named"].level == "debug"
    assert any(name.endswith("plain") for name in spans)
    assert any(name.endswith("empty") for name in spans)


def test_the_alias(memory):
    assert rvh_trace.trace_sync is trace

    @rvh_trace.trace_sync("named", a=1)
    def function(*args, **kwargs):
        return args, kwargs

    assert function(1, b=2) == ((1,), {"b": 2})
    assert memory()["named"].attributes == {"a": 1}


def test_the_name_may_be_given_by_keyword(memory):
    @trace(name="named", team="a")
    def function(): ...

    function()
    assert memory()["named"].attributes == {"team": "a"}


def test_methods_of_all_kinds(memory):
    class Order:
        @trace("by instance")
        def by_instance(self):
            return self

        @trace("outside")
        @classmethod
        def outside(cls):
            return cls

        @classmethod
        @trace("inside")
        def inside(cls):
            return cls

        @trace
        @staticmethod
        def static(x):
            return x

    order = Order()
    assert order.by_instance() is order
    assert order.outside() is Order.outside() is order.inside() is Order
    assert order.static(1) == Order.static(1) == 1
    names = [finished.name.rpartition(".")[2] for finished in rvh_trace.finished_spans()]
    assert names == ["by instance", *["outside"] * 2, "inside", *["static"] * 2]


def test_any_callable_has_a_name(memory):
    class Callable:
        def __call__(self, x):
            return x

    assert trace(functools.partial(functools.partial(max, 1), 2))(3) == 3
    assert trace(Callable())(4) == 4
    names = [finished.name.rpartition(".")[2] for finished in rvh_trace.finished_spans()]
    assert names == ["max", "Callable"]


@pytest.mark.parametrize("what", [int, 3, object()])
def test_what_is_no_function_is_refused_at_once(what):
    with pytest.raises(TypeError, match="functions and methods"):
        trace(what)
    with pytest.raises(TypeError, match="functions and methods"):
        trace("name", a=1)(what)


def test_a_coroutine_stays_one(memory):
    @trace("c")
    async def coroutine():
        await asyncio.sleep(0)
        return rvh_trace.current_span().trace_id

    assert inspect.iscoroutinefunction(coroutine)
    trace_id = asyncio.run(coroutine())
    assert memory()["c"].trace_id == trace_id


def test_a_suspended_generator_does_not_leak_its_span(memory):
    @trace("steps")
    def steps():
        with span("in step 1"):
            pass
        got = yield 1
        assert got == "sent"
        with span("in step 2"):
            pass
        yield 2
        return "end"

    assert inspect.isgeneratorfunction(steps)
    generator = steps()
    with span("caller") as caller:
        assert next(generator) == 1
        assert rvh_trace.current_span() is caller
        with span("between"):
            pass
        assert generator.send("sent") == 2
        with pytest.raises(StopIteration) as stop:
            next(generator)
        assert stop.value.value == "end"
    spans = memory()
    assert spans["between"].parent_span_id == spans["caller"].span_id
    assert spans["in step 1"].parent_span_id == spans["steps"].span_id
    assert spans["in step 2"].parent_span_id == spans["steps"].span_id
    assert spans["steps"].parent_span_id == spans["caller"].span_id


def test_a_generator_is_thrown_into_and_closed(memory):
    seen = []

    @trace("steps")
    def steps():
        try:
            yield 1
        except KeyError as error:
            seen.append(error)
        try:
            yield 2
        finally:
            seen.append("closed")

    generator = steps()
    next(generator)
    assert generator.throw(KeyError("x")) == 2
    generator.close()
    assert [type(item).__name__ for item in seen] == ["KeyError", "str"]
    assert memory()["steps"].status == "unset"


def test_a_generator_that_fails(memory):
    @trace("steps")
    def steps():
        yield 1
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        list(steps())
    assert memory()["steps"].status == "error"


def test_an_async_generator(memory):
    @trace("ticks")
    async def ticks():
        for number in range(2):
            with span(f"tick {number}"):
                await asyncio.sleep(0)
            yield number

    async def main():
        with span("caller") as caller:
            async with contextlib.aclosing(ticks()) as stream:
                async for number in stream:
                    assert rvh_trace.current_span() is caller
                    with span(f"body {number}"):
                        pass

    assert inspect.isasyncgenfunction(ticks)
    asyncio.run(main())
    spans = memory()
    assert spans["tick 1"].parent_span_id == spans["ticks"].span_id
    assert spans["body 1"].parent_span_id == spans["caller"].span_id


def test_wrap_and_executor_carry_the_span(memory):
    from rvh_trace.executor import ThreadPoolExecutor

    def work(name):
        with span(name):
            pass

    with span("root"), ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ["a", "b"]))
        pool.submit(work, "c").result()
    spans = memory()
    assert {spans[n].parent_span_id for n in "abc"} == {spans["root"].span_id}


def test_a_span_that_is_open_over_a_yield_does_not_leak(memory):
    @trace("steps")
    def steps():
        with span("inside"):
            yield 1
            with span("second step"):
                pass
            yield 2

    generator = steps()
    with span("caller") as caller:
        next(generator)
        assert rvh_trace.current_span() is caller
        with span("between"):
            pass
        next(generator)
        assert rvh_trace.current_span() is caller
        assert next(generator, None) is None
        assert rvh_trace.current_span() is caller
    spans = memory()
    assert spans["between"].parent_span_id == spans["caller"].span_id
    assert spans["second step"].parent_span_id == spans["inside"].span_id
    assert spans["inside"].parent_span_id == spans["steps"].span_id
    assert rvh_trace.current_context() is None

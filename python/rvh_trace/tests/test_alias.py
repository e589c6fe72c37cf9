"""The low-level names that earlier releases had."""

import asyncio
import subprocess
import sys

import pytest

import rvh_trace
import rvh_trace_rust


@pytest.fixture
def spans(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "memory")
    rvh_trace_rust.init_tracing("info")
    return lambda: {span.name: span.attributes for span in rvh_trace.finished_spans()}


def test_new_span(spans):
    opened = rvh_trace_rust.new_span("a")
    assert isinstance(opened, rvh_trace_rust.Span)
    with opened:
        opened.record("key", "value")
    assert spans() == {"a": {"key": "value"}}


def test_sync_span(spans):
    with rvh_trace_rust.sync_span("b"):
        assert rvh_trace.current_context() is not None
    assert spans() == {"b": {}}


def test_span_is_awaitable(spans):
    async def main():
        async with await rvh_trace_rust.span("c", {"x": 1}):
            pass
        async with rvh_trace_rust.span("d", kwargs={1: 2, "name": 3}):
            pass

    asyncio.run(main())
    assert spans() == {"c": {"x": 1}, "d": {"1": 2, "name": 3}}


def test_what_is_awaited_is_the_span_and_may_be_awaited_again(spans):
    async def main():
        opened = rvh_trace_rust.span("e")
        assert await opened is await opened is opened
        assert not spans()
        async with opened as entered:
            assert entered is rvh_trace.current_span() is opened

    asyncio.run(main())
    assert spans() == {"e": {}}


def test_none_of_them_leaks_out_of_a_generator(spans):
    async def generator():
        with rvh_trace_rust.new_span("a"):
            yield
            with rvh_trace_rust.sync_span("b"):
                yield
                async with rvh_trace_rust.span("c"):
                    yield
                    async with await rvh_trace_rust.span("d"):
                        yield

    async def main():
        async for _ in generator():
            assert rvh_trace.current_context() is None

    asyncio.run(main())
    assert list(spans()) == ["d", "c", "b", "a"]


def test_init_again_changes_the_level(spans):
    rvh_trace_rust.init_tracing("error")
    with rvh_trace_rust.sync_span("quiet"):
        pass
    assert spans() == {}


def test_app_trace():
    def run(*arguments):
        command = [sys.executable, "-m", "rvh_trace.app_trace", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    shown = run("--level", "info", "--name", "hello")
    assert shown.returncode == 0
    assert " hello " in shown.stdout
    assert run("--level", "error", "--name", "hello").stdout == ""
    assert run("--level", "loud").returncode == 2

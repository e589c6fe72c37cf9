"""Spans that Rust code opens below Python code, and Python code below those."""

import contextlib

from rvh_trace import _native, span


def test_python_and_rust_spans_nest_in_one_trace(memory):
    def inner():
        with span("python 2"):
            return _native.call_in_rust_span("rust 2", lambda: 7)

    with span("python 1"):
        assert _native.call_in_rust_span("rust 1", inner) == 7
    with span("python 3"):
        pass
    spans = memory()
    for child, parent in [("rust 1", "python 1"), ("python 2", "rust 1"), ("rust 2", "python 2")]:
        assert spans[child].parent_span_id == spans[parent].span_id, child
    assert spans["python 3"].parent_span_id is None


def test_an_exception_passes_through_a_rust_span(memory):
    def fail():
        raise KeyError("x")

    with contextlib.suppress(KeyError):
        _native.call_in_rust_span("rust", fail)
    with span("after"):
        pass
    assert memory()["after"].parent_span_id is None

import pytest

import rvh_trace
from rvh_trace import span


def names():
    return [finished.name for finished in rvh_trace.finished_spans()]


def test_tail_rules_keep_errors_as_whole_traces():
    rvh_trace.init_tracing(exporter="memory", tail_ratio=0.0)
    for number in range(3):
        with span(f"fine {number}"), span("child"):
            pass
    with span("outer"):
        with span("before"):
            pass
        with pytest.raises(ValueError), span("fails"):
            raise ValueError("x")
    assert names() == ["before", "fails", "outer"]
    stats = rvh_trace.stats()
    assert (stats["sampled_out"], stats["exported"], stats["recorded"]) == (6, 3, 9)


def test_tail_rules_keep_slow_traces():
    rvh_trace.init_tracing(exporter="memory", tail_slower_than=0.0)
    with span("every span is slow"):
        pass
    rvh_trace.init_tracing(exporter="memory", tail_slower_than=3600.0, reconfigure=True)
    with span("none is"):
        pass
    assert names() == []


def test_tail_ratio_one_keeps_all():
    rvh_trace.init_tracing(exporter="memory", tail_ratio=1.0)
    with span("a"), span("b"):
        pass
    assert names() == ["b", "a"]


def test_a_rate_limit_counts_traces_not_spans():
    rvh_trace.init_tracing(exporter="memory", rate_limit=0.001)
    for number in range(5):
        with span(f"root {number}"), span("child"):
            pass
    assert names() == ["child", "root 0"]


def test_no_rate_is_no_trace():
    rvh_trace.init_tracing(exporter="memory", rate_limit=0)
    with span("s"):
        pass
    assert names() == []


@pytest.mark.parametrize("settings", [{"rate_limit": -1.0}, {"tail_ratio": 2.0}])
def test_what_cannot_be_is_a_clear_error(settings):
    with pytest.raises(ValueError, match="cannot be used"):
        rvh_trace.init_tracing(exporter="memory", **settings)

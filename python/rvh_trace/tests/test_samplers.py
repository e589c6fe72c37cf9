import math

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


def test_rules_by_name_and_attribute_then_the_sampler():
    rule = rvh_trace.SamplingRule
    rvh_trace.init_tracing(
        exporter="memory",
        sampler="parentbased_always_off",
        sampling_rules=[
            rule(name="GET /health?", ratio=0.0),
            rule(name="GET *", attributes={"code": 503, "paid": True}, ratio=1.0),
            rule(attributes={"user": "vip-*"}, ratio=1.0),
        ],
    )
    cases = {
        "GET /healthz": {"code": 503, "paid": True},
        "GET /a": {"code": 503, "paid": True},
        "GET /b": {"code": 503},
        "GET /c": {"code": 503, "paid": False},
        "POST /d": {"user": "vip-1"},
        "POST /e": {"user": "a vip-1"},
    }
    for name, fields in cases.items():
        with span(name, **fields), span(f"below {name}"):
            pass
    assert names() == ["below GET /a", "GET /a", "below POST /d", "POST /d"]


def test_a_rule_leaves_out_a_part_of_a_trace():
    rules = [rvh_trace.SamplingRule(name="cache*", ratio=0.0)]
    rvh_trace.init_tracing(exporter="memory", sampling_rules=rules)
    with span("request"), span("cache get"), span("below"):
        pass
    assert names() == ["request"]


def test_rules_do_not_begin_in_the_middle_of_a_trace():
    rules = [rvh_trace.SamplingRule(name="wanted", ratio=1.0)]
    rvh_trace.init_tracing(exporter="memory", sampler="always_off", sampling_rules=rules)
    with span("not wanted"), span("wanted"):
        pass
    with span("wanted"):
        pass
    assert names() == ["wanted"]


def test_a_rate_limit_holds_for_what_rules_choose():
    rules = [rvh_trace.SamplingRule(name="*", ratio=1.0)]
    rvh_trace.init_tracing(exporter="memory", sampling_rules=rules, rate_limit=0.001)
    for number in range(5):
        with span(f"root {number}"), span("child"):
            pass
    assert names() == ["child", "root 0"]


@pytest.mark.parametrize("sampler", ["always_on", "traceidratio"])
def test_a_rate_limit_counts_traces_with_any_sampler(sampler):
    rvh_trace.init_tracing(exporter="memory", sampler=sampler, rate_limit=0.001)
    for number in range(5):
        with span(f"root {number}"), span("child"):
            pass
    assert names() == ["child", "root 0"]


def test_the_sampler_of_the_environment(monkeypatch):
    for name, expected in [
        ("always_on", True),
        ("always_off", False),
        ("traceidratio", False),
        ("parentbased_always_on", True),
        ("parentbased_always_off", False),
        ("parentbased_traceidratio", False),
    ]:
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", name)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
        rvh_trace.init_tracing(exporter="memory", reconfigure=True)
        with span(name):
            pass
        assert names() == [name] * expected
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "jaeger_remote")
    with pytest.warns(RuntimeWarning, match='OTEL_TRACES_SAMPLER = "jaeger_remote" cannot'):
        rvh_trace.init_tracing(exporter="memory", reconfigure=True)
    with span("all the same"):
        pass
    assert names() == ["all the same"]


@pytest.mark.parametrize("settings", [{"rate_limit": -1.0}, {"tail_ratio": 2.0}])
def test_what_cannot_be_is_a_clear_error(settings):
    with pytest.raises(ValueError, match="cannot be used"):
        rvh_trace.init_tracing(exporter="memory", **settings)


@pytest.mark.parametrize("value", [1.0, -0.0, 0.1, 1e20, 1.5e-7, 1e300, math.nan, math.inf, -2.5])
def test_a_rule_matches_the_float_that_it_names(value):
    rules = [rvh_trace.SamplingRule(attributes={"price": value}, ratio=1.0)]
    rvh_trace.init_tracing(exporter="memory", sampler="always_off", sampling_rules=rules)
    with span("matches", price=value):
        pass
    with span("does not", price=3.25):
        pass
    assert names() == ["matches"]


@pytest.mark.parametrize("argument", ["", " "])
def test_an_empty_argument_of_the_sampler_is_as_unset(monkeypatch, recwarn, argument):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    rvh_trace.init_tracing(exporter="memory", sampler="traceidratio")
    with span("s"):
        pass
    assert names() == ["s"]
    assert not recwarn.list


@pytest.mark.parametrize("argument", ["half", "2", "-0.5", "nan", "0_1"])
def test_a_bad_argument_of_the_sampler_is_a_warning(monkeypatch, argument):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    with pytest.warns(RuntimeWarning, match="OTEL_TRACES_SAMPLER_ARG.*cannot be used") as caught:
        rvh_trace.init_tracing(exporter="memory", sampler="parentbased_traceidratio")
    assert caught[0].filename == __file__
    with span("s"):
        pass
    assert names() == ["s"]

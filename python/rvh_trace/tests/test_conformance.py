"""The behaviours of OpenTelemetry's trace SDK, asked of it and of this library with one answer.

Each test runs with both providers behind OpenTelemetry's API. The last one runs all of them again
with OpenTelemetry's context in our place for it.

Where the SDK and the specification differ we follow the specification, and nothing is asked here:
beyond a limit the first attributes, events and links stay, where the SDK keeps the last.
"""

import asyncio
import logging
import os
import subprocess
import sys

import pytest

import rvh_trace

pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")

from opentelemetry import context as context_api
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider as SdkProvider
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from rvh_trace.opentelemetry import TracerProvider as OurProvider

REMOTE = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))


class Sdk:
    def __init__(self, sampler="parentbased_always_on", ratio=None):
        argument = [] if ratio is None else [ratio]
        samplers = {
            "always_on": sampling.ALWAYS_ON,
            "always_off": sampling.ALWAYS_OFF,
            "parentbased_always_on": sampling.DEFAULT_ON,
            "parentbased_always_off": sampling.DEFAULT_OFF,
            "traceidratio": sampling.TraceIdRatioBased,
            "parentbased_traceidratio": sampling.ParentBasedTraceIdRatio,
        }
        chosen = samplers[sampler]
        self.exporter = InMemorySpanExporter()
        self.provider = SdkProvider(sampler=chosen(*argument) if argument else chosen)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def ended(self):
        return [
            {
                "name": span.name,
                "trace_id": span.context.trace_id,
                "span_id": span.context.span_id,
                "parent": span.parent.span_id if span.parent else None,
                "kind": span.kind.name.lower(),
                "attributes": dict(span.attributes),
                "events": [(e.name, dict(e.attributes), e.timestamp) for e in span.events],
                "links": [(li.context.span_id, dict(li.attributes)) for li in span.links],
                "status": (span.status.status_code.name.lower(), span.status.description or ""),
                "times": (span.start_time, span.end_time),
                "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
            }
            for span in self.exporter.get_finished_spans()
        ]


class Ours:
    def __init__(self, sampler="parentbased_always_on", ratio=None):
        os.environ["OTEL_TRACES_SAMPLER_ARG"] = str(ratio)
        rvh_trace.reset()
        rvh_trace.init_tracing(exporter="memory", sampler=sampler)
        del os.environ["OTEL_TRACES_SAMPLER_ARG"]
        self.provider = OurProvider()

    def ended(self):
        return [
            {
                "name": span.name,
                "trace_id": int(span.trace_id, 16),
                "span_id": int(span.span_id, 16),
                "parent": int(span.parent_span_id, 16) if span.parent_span_id else None,
                "kind": span.kind,
                "attributes": span.attributes,
                "events": [(e.name, e.attributes, e.timestamp) for e in span.events],
                "links": [(int(li.context.span_id, 16), li.attributes) for li in span.links],
                "status": (span.status, span.status_description),
                "times": (span.start, span.end),
                "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
            }
            for span in rvh_trace.finished_spans()
        ]


@pytest.fixture(params=[Sdk, Ours], ids=["opentelemetry-sdk", "rvh_trace"])
def make(request):
    # The SDK logs a warning where ours is silent.
    logging.disable(logging.CRITICAL)
    yield request.param
    logging.disable(logging.NOTSET)


@pytest.fixture
def side(make):
    return make()


@pytest.fixture
def tracer(side):
    return side.provider.get_tracer("conformance", "1.0")


def only(side):
    (span,) = side.ended()
    return span


# ---- Identifiers, parents, context -------------------------------------------------------------


def test_a_root_has_identifiers_and_no_parent(side, tracer):
    with tracer.start_as_current_span("root") as span:
        context = span.get_span_context()
        assert context.is_valid
        assert not context.is_remote
        assert context.trace_flags.sampled
        assert len(context.trace_state) == 0
    assert only(side)["parent"] is None
    assert only(side)["span_id"] == context.span_id


def test_a_child_of_the_current_span(side, tracer):
    with tracer.start_as_current_span("a") as a:
        with tracer.start_as_current_span("b") as b:
            c = tracer.start_span("c")
            assert api.get_current_span() is b
            c.end()
        assert api.get_current_span() is a
    assert not api.get_current_span().get_span_context().is_valid
    spans = {span["name"]: span for span in side.ended()}
    assert [span["name"] for span in side.ended()] == ["c", "b", "a"]
    assert spans["c"]["parent"] == spans["b"]["span_id"]
    assert spans["b"]["parent"] == spans["a"]["span_id"]
    assert len({span["trace_id"] for span in spans.values()}) == 1


def test_an_explicit_context_counts_more_than_the_current_span(side, tracer):
    other = tracer.start_span("other")
    with tracer.start_as_current_span("current"):
        tracer.start_span("explicit", context=api.set_span_in_context(other)).end()
        tracer.start_span("root", context=context_api.Context()).end()
        invalid = api.set_span_in_context(api.INVALID_SPAN)
        tracer.start_span("invalid", context=invalid).end()
    other.end()
    spans = {span["name"]: span for span in side.ended()}
    assert spans["explicit"]["parent"] == spans["other"]["span_id"]
    assert spans["root"]["parent"] is spans["invalid"]["parent"] is None
    assert len({span["trace_id"] for span in spans.values()}) == 4


def test_a_remote_parent(side, tracer):
    context = api.set_span_in_context(api.NonRecordingSpan(REMOTE))
    with tracer.start_as_current_span("server", context=context) as span:
        assert span.get_span_context().trace_id == REMOTE.trace_id
        assert not span.get_span_context().is_remote
    assert only(side)["parent"] == REMOTE.span_id


def test_the_trace_state_of_a_parent_goes_on(side, tracer):
    state = api.TraceState([("vendor", "x"), ("other", "y")])
    parent = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    context = api.set_span_in_context(api.NonRecordingSpan(parent))
    with tracer.start_as_current_span("a", context=context), tracer.start_as_current_span("b") as b:
        assert b.get_span_context().trace_state.to_header() == "vendor=x,other=y"


def test_use_span(side, tracer):
    span = tracer.start_span("a")
    with api.use_span(span):
        assert api.get_current_span() is span
        tracer.start_span("b").end()
    assert span.is_recording()
    with api.use_span(span, end_on_exit=True):
        pass
    assert not span.is_recording()
    assert [(s["name"], s["parent"] is None) for s in side.ended()] == [("b", False), ("a", True)]


def test_start_as_current_span_may_leave_it_open(side, tracer):
    with tracer.start_as_current_span("a", end_on_exit=False) as span:
        pass
    assert side.ended() == []
    assert span.is_recording()
    span.end()
    assert only(side)["name"] == "a"


def test_tasks_have_their_own_current_span(side, tracer):
    async def work(name):
        with tracer.start_as_current_span(name):
            await asyncio.sleep(0)
            with tracer.start_as_current_span(f"{name} child"):
                await asyncio.sleep(0)

    async def main():
        with tracer.start_as_current_span("root"):
            await asyncio.gather(*(work(f"w{n}") for n in range(3)))

    asyncio.run(main())
    spans = {span["name"]: span for span in side.ended()}
    for n in range(3):
        assert spans[f"w{n} child"]["parent"] == spans[f"w{n}"]["span_id"]
        assert spans[f"w{n}"]["parent"] == spans["root"]["span_id"]


def test_decorated_functions_and_coroutines(side, tracer):
    @tracer.start_as_current_span("function")
    def function():
        return api.get_current_span().is_recording()

    @tracer.start_as_current_span("coroutine")
    async def coroutine():
        return api.get_current_span().is_recording()

    assert function()
    assert function()
    assert asyncio.run(coroutine())
    assert [span["name"] for span in side.ended()] == ["function", "function", "coroutine"]


# ---- Times, names, kinds -----------------------------------------------------------------------


def test_times_of_ones_own(side, tracer):
    span = tracer.start_span("s", start_time=5)
    span.add_event("e", timestamp=7)
    span.end(end_time=9)
    assert only(side)["times"] == (5, 9)
    assert only(side)["events"] == [("e", {}, 7)]


def test_times_of_the_clock(side, tracer):
    with tracer.start_as_current_span("s") as span:
        span.add_event("e")
    start, end = only(side)["times"]
    assert 1_600_000_000_000_000_000 < start <= only(side)["events"][0][2] <= end


def test_a_span_is_renamed(side, tracer):
    with tracer.start_as_current_span("before") as span:
        span.update_name("after")
    assert only(side)["name"] == "after"


@pytest.mark.parametrize("kind", list(SpanKind))
def test_kinds(side, tracer, kind):
    tracer.start_span("s", kind=kind).end()
    assert only(side)["kind"] == kind.name.lower()


# ---- Attributes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [True, -3, 2.5, "text", "", b"\x00", (True, False), (1, 2), (1.5,), ("a", "b"), ()],
    ids=repr,
)
def test_values_keep_their_type(side, tracer, value):
    with tracer.start_as_current_span("s", attributes={"start": value}) as span:
        span.set_attribute("later", value)
        span.set_attributes({"many": value})
        span.add_event("e", {"event": value})
    seen = only(side)
    assert seen["attributes"] == {"start": value, "later": value, "many": value}
    assert seen["events"][0][1] == {"event": value}
    assert type(seen["attributes"]["later"]) is type(value)


def test_lists_become_tuples(side, tracer):
    tracer.start_span("s", attributes={"list": ["a", "b"]}).end()
    assert only(side)["attributes"] == {"list": ("a", "b")}


def test_what_is_set_again_is_replaced(side, tracer):
    with tracer.start_as_current_span("s", attributes={"a": 1, "b": 2}) as span:
        span.set_attribute("a", "new")
    assert only(side)["attributes"] == {"a": "new", "b": 2}


def test_a_mapping_that_changes_later_changes_nothing(side, tracer):
    attributes, items = {"a": 1}, ["x"]
    with tracer.start_as_current_span("s", attributes=attributes) as span:
        span.set_attribute("list", items)
        attributes["a"] = 2
        items.append("y")
    assert only(side)["attributes"] == {"a": 1, "list": ("x",)}


def test_an_empty_key_is_left_out(side, tracer):
    with tracer.start_as_current_span("s") as span:
        span.set_attribute("", 1)
    assert only(side)["attributes"] == {}


# ---- Events and links --------------------------------------------------------------------------


def test_events_in_their_order(side, tracer):
    with tracer.start_as_current_span("s") as span:
        span.add_event("a", {"x": 1})
        span.add_event("b")
        span.add_event("a", {"x": 2})
    assert [event[:2] for event in only(side)["events"]] == [
        ("a", {"x": 1}),
        ("b", {}),
        ("a", {"x": 2}),
    ]


def test_links(side, tracer):
    other = tracer.start_span("other")
    links = [Link(other.get_span_context()), Link(REMOTE, {"why": "batch"})]
    with tracer.start_as_current_span("s", links=links) as span:
        span.add_link(other.get_span_context(), {"n": 3})
    own = other.get_span_context().span_id
    assert only(side)["links"] == [(own, {}), (REMOTE.span_id, {"why": "batch"}), (own, {"n": 3})]


def test_a_link_to_nothing_is_left_out(side, tracer):
    with tracer.start_as_current_span("s", links=[Link(api.INVALID_SPAN_CONTEXT)]) as span:
        span.add_link(api.INVALID_SPAN_CONTEXT)
    assert only(side)["links"] == []


# ---- Status ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([], ("unset", "")),
        ([(StatusCode.OK,)], ("ok", "")),
        ([(StatusCode.ERROR,)], ("error", "")),
        ([(StatusCode.ERROR, "why")], ("error", "why")),
        ([(Status(StatusCode.ERROR, "why"),)], ("error", "why")),
        ([(StatusCode.OK, "not kept")], ("ok", "")),
        ([(Status(StatusCode.ERROR, "why"), "not used")], ("error", "why")),
        ([(StatusCode.ERROR, "a"), (StatusCode.ERROR, "b")], ("error", "b")),
        ([(StatusCode.ERROR, "a"), (StatusCode.ERROR,)], ("error", "")),
        ([(StatusCode.ERROR, "a"), (StatusCode.OK,)], ("ok", "")),
        ([(StatusCode.OK,), (StatusCode.ERROR, "late")], ("ok", "")),
        ([(StatusCode.ERROR, "a"), (StatusCode.UNSET,)], ("error", "a")),
        ([(StatusCode.OK,), (StatusCode.UNSET,)], ("ok", "")),
        ([(Status(StatusCode.UNSET),)], ("unset", "")),
    ],
)
def test_status(side, tracer, calls, expected):
    with tracer.start_as_current_span("s") as span:
        for arguments in calls:
            span.set_status(*arguments)
    assert only(side)["status"] == expected


# ---- Exceptions --------------------------------------------------------------------------------


class Bad(ValueError):
    pass


def fail(message="bad"):
    raise Bad(message)


def exception_of(span):
    ((name, attributes, _),) = span["events"]
    assert name == "exception"
    # The SDK adds exception.escaped, which the conventions have given up.
    return attributes


def test_an_exception_that_leaves_a_span(side, tracer):
    with pytest.raises(Bad), tracer.start_as_current_span("s"):
        fail()
    seen = only(side)
    assert seen["status"] == ("error", "Bad: bad")
    attributes = exception_of(seen)
    assert attributes["exception.type"] == f"{__name__}.Bad"
    assert attributes["exception.message"] == "bad"
    assert attributes["exception.stacktrace"].startswith("Traceback (most recent call last):\n")
    assert attributes["exception.stacktrace"].endswith(f"{__name__}.Bad: bad\n")
    assert "in fail" in attributes["exception.stacktrace"]


def test_a_builtin_exception_has_no_module(side, tracer):
    with pytest.raises(KeyError), tracer.start_as_current_span("s"):
        {}["x"]
    assert exception_of(only(side))["exception.type"] == "KeyError"
    assert only(side)["status"] == ("error", "KeyError: 'x'")


def test_a_span_itself_for_with(side, tracer):
    with pytest.raises(Bad), tracer.start_span("s"):
        fail()
    assert only(side)["status"] == ("error", "Bad: bad")
    assert len(only(side)["events"]) == 1


def test_each_span_that_it_leaves_records_it(side, tracer):
    with (
        pytest.raises(Bad),
        tracer.start_as_current_span("outer"),
        tracer.start_as_current_span("inner"),
    ):
        fail()
    assert [len(span["events"]) for span in side.ended()] == [1, 1]
    assert [span["status"][0] for span in side.ended()] == ["error", "error"]


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("set_status", [True, False])
def test_both_can_be_turned_off(side, tracer, record, set_status):
    options = {"record_exception": record, "set_status_on_exception": set_status}
    with pytest.raises(Bad), tracer.start_as_current_span("s", **options):
        fail()
    assert len(only(side)["events"]) == record
    assert only(side)["status"][0] == ("error" if set_status else "unset")


def test_status_ok_survives_an_exception(side, tracer):
    with pytest.raises(Bad), tracer.start_as_current_span("s"):
        fail(api.get_current_span().set_status(StatusCode.OK))
    assert only(side)["status"] == ("ok", "")
    assert len(only(side)["events"]) == 1


def test_an_exception_that_is_recorded_by_hand(side, tracer):
    with tracer.start_as_current_span("s") as span:
        try:
            fail()
        except Bad as error:
            span.record_exception(error, {"extra": 1, "exception.message": "mine"}, timestamp=9)
    seen = only(side)
    assert seen["status"] == ("unset", "")
    assert seen["events"][0][2] == 9
    attributes = exception_of(seen)
    assert (attributes["extra"], attributes["exception.message"]) == (1, "mine")
    assert attributes["exception.type"] == f"{__name__}.Bad"


def test_a_stack_of_ones_own(side, tracer):
    with tracer.start_as_current_span("s") as span:
        span.record_exception(Bad("x"), {"exception.stacktrace": "mine"})
    assert exception_of(only(side))["exception.stacktrace"] == "mine"


def test_an_exception_without_a_message(side, tracer):
    with tracer.start_as_current_span("s") as span:
        span.record_exception(Bad())
    assert exception_of(only(side))["exception.message"] == ""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_is_not_recorded(side, tracer, kind):
    with pytest.raises(kind), tracer.start_as_current_span("s"):
        raise kind
    assert only(side)["events"] == []


# ---- After the end -----------------------------------------------------------------------------


def test_after_the_end_nothing_changes(side, tracer):
    span = tracer.start_span("s", start_time=5, attributes={"a": 1})
    assert span.is_recording()
    span.end(end_time=9)
    context = span.get_span_context()
    assert not span.is_recording()
    span.set_attribute("a", 2)
    span.set_attributes({"b": 3})
    span.add_event("late")
    span.add_link(REMOTE)
    span.set_status(StatusCode.ERROR, "late")
    span.update_name("late")
    span.record_exception(Bad("late"))
    span.end(end_time=20)
    seen = only(side)
    assert (seen["name"], seen["attributes"], seen["events"]) == ("s", {"a": 1}, [])
    assert (seen["links"], seen["status"], seen["times"][1]) == ([], ("unset", ""), 9)
    assert span.get_span_context() == context


def test_a_span_that_ended_is_a_parent_still(side, tracer):
    parent = tracer.start_span("parent")
    parent.end()
    tracer.start_span("child", context=api.set_span_in_context(parent)).end()
    by_name = {span["name"]: span for span in side.ended()}
    assert by_name["child"]["parent"] == by_name["parent"]["span_id"]


def test_an_exception_after_the_end(side, tracer):
    with pytest.raises(Bad), tracer.start_as_current_span("s"):
        fail(api.get_current_span().end())
    assert only(side)["events"] == []
    assert not api.get_current_span().get_span_context().is_valid


# ---- Sampling ----------------------------------------------------------------------------------


def sampled(make, sampler, ratio=None, parent=None, trace_id=None):
    """Whether a span is recorded, which its trace flags tell too."""
    side = make(sampler, ratio)
    context = context_api.Context()
    if parent is not None:
        flags = TraceFlags(int(parent))
        remote = SpanContext(trace_id or 0xABC, 0xDEF, is_remote=True, trace_flags=flags)
        context = api.set_span_in_context(api.NonRecordingSpan(remote), context)
    tracer = side.provider.get_tracer("sampling")
    with tracer.start_as_current_span("s", context=context) as span:
        assert span.get_span_context().is_valid or sampler == "always_off"
        recording, flags = span.is_recording(), span.get_span_context().trace_flags.sampled
    assert len(side.ended()) == recording
    assert recording == flags
    return recording


@pytest.mark.parametrize(
    ("sampler", "without", "not_sampled", "is_sampled"),
    [
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_always_on", True, False, True),
        ("parentbased_always_off", False, False, True),
    ],
)
def test_samplers(make, sampler, without, not_sampled, is_sampled):
    assert sampled(make, sampler) == without
    assert sampled(make, sampler, parent=False) == not_sampled
    assert sampled(make, sampler, parent=True) == is_sampled


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("low", [1, 2**62 - 1, 2**62, 2**63, 2**64 - 1])
def test_a_ratio_chooses_by_trace_id(make, ratio, low):
    expected = low < ratio * 2**64
    trace_id = (0xFF << 64) | low
    assert sampled(make, "traceidratio", ratio, parent=False, trace_id=trace_id) is expected
    # Below a parent that has decided, the parent counts.
    for parent in (True, False):
        assert sampled(make, "parentbased_traceidratio", ratio, parent, trace_id) is parent


def test_below_a_span_that_is_not_sampled(make):
    side = make("parentbased_always_off")
    tracer = side.provider.get_tracer("sampling")
    with tracer.start_as_current_span("a") as a, tracer.start_as_current_span("b") as b:
        assert a.get_span_context().trace_id == b.get_span_context().trace_id
        assert not b.is_recording()
        b.set_attribute("a", 1)
        b.record_exception(Bad("x"))
    assert side.ended() == []


# ---- Limits ------------------------------------------------------------------------------------


@pytest.fixture
def limited(make, monkeypatch, request):
    for name, value in request.param.items():
        monkeypatch.setenv(name, str(value))
    return make()


def limits(**variables):
    return pytest.mark.parametrize("limited", [variables], indirect=True, ids=[""])


@limits(
    OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=2,
    OTEL_SPAN_EVENT_COUNT_LIMIT=3,
    OTEL_SPAN_LINK_COUNT_LIMIT=1,
    OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT=1,
    OTEL_LINK_ATTRIBUTE_COUNT_LIMIT=1,
)
def test_limits_of_number(limited):
    tracer = limited.provider.get_tracer("limits")
    with tracer.start_as_current_span("s", links=[Link(REMOTE, {"a": 1, "b": 2})] * 2) as span:
        for n in range(5):
            span.set_attribute(f"k{n}", n)
            span.add_event("e", {"a": 1, "b": 2})
    seen = only(limited)
    assert (len(seen["attributes"]), len(seen["events"]), len(seen["links"])) == (2, 3, 1)
    assert seen["dropped"] == (3, 2, 1)
    assert len(seen["events"][0][1]) == len(seen["links"][0][1]) == 1


@limits(OTEL_ATTRIBUTE_COUNT_LIMIT=1)
def test_the_limit_of_all_attributes(limited):
    tracer = limited.provider.get_tracer("limits")
    attributes = {"a": 1, "b": 2}
    with tracer.start_as_current_span("s", attributes=attributes) as span:
        span.add_event("e", attributes)
    seen = only(limited)
    assert len(seen["attributes"]) == len(seen["events"][0][1]) == 1


@limits(OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT=3)
def test_a_limit_of_length_of_span_attributes(limited):
    tracer = limited.provider.get_tracer("limits")
    attributes = {"text": "äbcdef", "list": ["abcdef", "x"], "number": 123456, "short": "ab"}
    tracer.start_span("s", attributes=attributes).end()
    assert only(limited)["attributes"] == {
        "text": "äbc",
        "list": ("abc", "x"),
        "number": 123456,
        "short": "ab",
    }


@limits(OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=3)
def test_a_limit_of_length_of_all_attributes(limited):
    tracer = limited.provider.get_tracer("limits")
    with tracer.start_as_current_span("s", attributes={"a": "abcdef"}) as span:
        span.add_event("e", {"a": "abcdef"})
        span.add_link(REMOTE, {"a": "abcdef"})
    seen = only(limited)
    assert seen["attributes"] == seen["events"][0][1] == seen["links"][0][1] == {"a": "abc"}


@limits(OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=0, OTEL_SPAN_EVENT_COUNT_LIMIT=0)
def test_nothing_at_all(limited):
    tracer = limited.provider.get_tracer("limits")
    with tracer.start_as_current_span("s", attributes={"a": 1}) as span:
        span.add_event("e")
    assert (only(limited)["attributes"], only(limited)["events"]) == ({}, [])


def test_128_unless_set(side, tracer):
    with tracer.start_as_current_span("s") as span:
        for n in range(200):
            span.set_attribute(f"k{n}", n)
            span.add_event("e")
            span.add_link(REMOTE)
    seen = only(side)
    assert (len(seen["attributes"]), len(seen["events"]), len(seen["links"])) == (128, 128, 128)


# ---- The same with our context -----------------------------------------------------------------


@pytest.mark.skipif(
    os.environ.get("RVH_TEST_CONTEXT") == "1", reason="this is the run that it starts"
)
def test_all_of_it_with_our_context():
    environment = {key: v for key, v in os.environ.items() if not key.startswith("OTEL_")}
    environment |= {"OTEL_PYTHON_CONTEXT": "rvh_trace", "RVH_TEST_CONTEXT": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=600
    )
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout

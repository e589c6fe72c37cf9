import asyncio
import contextlib
import math
import subprocess
import sys
import textwrap
import traceback

import pytest

import rvh_trace
from rvh_trace import span


def test_spans_nest(memory):
    with span("outer"), span("inner"):
        pass
    spans = memory()
    assert spans["inner"].parent_span_id == spans["outer"].span_id
    assert spans["inner"].trace_id == spans["outer"].trace_id
    assert spans["outer"].parent_span_id is None
    assert spans["outer"].start <= spans["inner"].start <= spans["inner"].end <= spans["outer"].end


def test_two_roots_are_two_traces(memory):
    with span("one"):
        pass
    with span("two"):
        pass
    assert memory()["one"].trace_id != memory()["two"].trace_id


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        (True, True),
        (3, 3),
        (-(2**63), -(2**63)),
        (2**63, str(2**63)),
        (1.5, 1.5),
        (math.inf, math.inf),
        ("é\0\U0001f600", "é\0\U0001f600"),
        (b"\x00\xff", b"\x00\xff"),
        ([1, 2], (1, 2)),
        ((), ()),
        (["a", "b"], ("a", "b")),
        ([1, "a"], "[1, 'a']"),
        (None, "None"),
        ({"a": 1}, "{'a': 1}"),
        ("\ud800x", "\ufffdx"),
    ],
)
def test_values_keep_their_type_or_become_text(memory, value, recorded):
    with span("s", at_start=value) as opened:
        opened.record("later", value)
    attributes = memory()["s"].attributes
    assert attributes == {"at_start": recorded, "later": recorded}
    assert type(attributes["later"]) is type(recorded)


def test_nan_is_kept(memory):
    with span("s", x=math.nan):
        pass
    assert math.isnan(memory()["s"].attributes["x"])


class Awkward:
    def __str__(self):
        raise ValueError("no")

    __repr__ = __str__


def test_awkward_input_never_raises(memory):
    cyclic: list = []
    cyclic.append(cyclic)
    deep: list = []
    for _ in range(10_000):
        deep = [deep]
    with span(Awkward(), **{"class": 1, "": 2, "\ud800": 3, "name": 4}) as opened:
        for key in ("k", 5, None, Awkward(), "x" * 1_000_000, "\ud800"):
            opened.record(key, "value")
        for value in (Awkward(), cyclic, deep, "y" * 10_000_000, object):
            opened.record("value", value)
        opened.set_attributes(7)
        opened.add_event(Awkward(), {"a": Awkward()})
        opened.add_link("nothing")
        opened.set_status("purple")
        opened.set_kind("unkind")
    (finished,) = rvh_trace.finished_spans()
    assert finished.name == "<unprintable Awkward>"
    assert finished.attributes["class"] == 1
    assert "" not in finished.attributes
    assert rvh_trace.stats()["coerced"] > 0


def test_str_of_a_value_may_use_the_same_span(memory):
    class Nosy:
        def __str__(self):
            rvh_trace.record("inner", 1)
            with span("in str"):
                return "nosy"

    with span("s", a=Nosy()) as opened:
        opened.record("b", Nosy())
    assert memory()["s"].attributes == {"a": "nosy", "b": "nosy", "inner": 1}


def test_an_open_span_says_what_it_has(memory):
    with span("s", a=1) as opened:
        opened.record("b", "x")
        assert (opened.name, opened.attributes) == ("s", {"a": 1, "b": "x"})
    assert opened.attributes == {}


def test_an_attribute_is_replaced(memory):
    with span("s", a=1, b=2) as opened:
        opened.record("a", "new")
    assert memory()["s"].attributes == {"b": 2, "a": "new"}


def test_limits_leave_out_and_count(monkeypatch):
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "2")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")
    rvh_trace.init_tracing(exporter="memory")
    with span("s", a="ééé", b=["xyz"]) as opened:
        for number in range(1000):
            opened.record(f"k{number}", number)
        opened.add_event("one")
        opened.add_event("two")
    (finished,) = rvh_trace.finished_spans()
    assert finished.attributes == {"a": "éé", "b": ("xy",), "k0": 0}
    assert finished.dropped_attributes == 999
    assert [event.name for event in finished.events] == ["one"]
    assert finished.dropped_events == 1


def test_what_is_said_of_the_current_span(memory):
    with span("other") as other:
        pass
    with span("s"):
        rvh_trace.set_attributes({"a": 1}, b=2)
        rvh_trace.add_event("e", {"c": 3})
        rvh_trace.add_link(other, {"d": 4})
        rvh_trace.record_exception(ValueError("bad"), {"e": 5})
        rvh_trace.set_status("error", "why")
    finished = memory()["s"]
    assert finished.attributes == {"a": 1, "b": 2}
    assert [event.name for event in finished.events] == ["e", "exception"]
    assert finished.events[1].attributes["e"] == 5
    assert finished.links[0].context.span_id == other.span_id
    assert (finished.status, finished.status_description) == ("error", "why")
    # Outside of all spans it is nobody's.
    rvh_trace.set_attributes({"a": 1})
    rvh_trace.add_link(other)
    rvh_trace.record_exception(ValueError("bad"))


def test_the_span_that_records_nothing_stays_as_it_is():
    with span("s") as opened:
        opened.set_kind("server")
        opened.update_name("other")
        opened.record("a", 1)
    with span("t") as opened:
        assert (opened.name, opened.attributes) == ("", {})
        # A name, or a kind of OpenTelemetry where that is in use.
        assert str(opened.kind).lower().endswith("internal")


def test_events_and_links(memory):
    with span("first") as first:
        first.add_event("e", {"a": 1}, timestamp=5, b=2)
    with span("second") as second:
        second.add_link(first, {"why": "x"})
    (event,) = memory()["first"].events
    assert (event.name, event.timestamp, event.attributes) == ("e", 5, {"a": 1, "b": 2})
    (link,) = memory()["second"].links
    assert (link.context.span_id, link.attributes) == (memory()["first"].span_id, {"why": "x"})


def test_an_exception_is_recorded_once_and_propagates(memory):
    with pytest.raises(KeyError), span("outer"), span("inner"):
        raise KeyError("gone")
    inner, outer = memory()["inner"], memory()["outer"]
    assert inner.status == outer.status == "error"
    assert inner.status_description == "KeyError: 'gone'"
    (event,) = inner.events
    assert outer.events == []
    assert event.attributes["exception.type"] == "KeyError"
    stack = event.attributes["exception.stacktrace"]
    assert stack.startswith("Traceback (most recent call last):\n")
    assert 'raise KeyError("gone")' in stack
    assert "test_an_exception_is_recorded_once_and_propagates" in stack
    assert stack.endswith("KeyError: 'gone'\n")


def test_a_cause_is_in_the_stack(memory):
    def fail():
        try:
            int("x")
        except ValueError as error:
            raise RuntimeError("second") from error

    with pytest.raises(RuntimeError), span("s"):
        fail()
    stack = memory()["s"].events[0].attributes["exception.stacktrace"]
    assert "direct cause" in stack
    assert stack.index("ValueError") < stack.index("RuntimeError: second")


def test_the_members_of_a_group_are_in_the_stack(memory):
    def fail(error):
        raise error

    def failed(error):
        try:
            fail(error)
        except Exception as caught:
            return caught

    inner = ExceptionGroup("inner", [failed(OSError("two\nlines")), KeyError("no stack")])
    members = [failed(ValueError("first")), failed(inner), failed(TypeError("last"))]
    with pytest.raises(ExceptionGroup) as raised, span("s"):
        fail(ExceptionGroup("outer", members))
    stack = memory()["s"].events[0].attributes["exception.stacktrace"]

    def lines(text):
        # Ours has no markers below the lines, and the functions' qualified names.
        plain = (line.partition(", in ")[0] for line in text.splitlines())
        return [line for line in plain if "^^^^" not in line and "~~~~" not in line]

    assert lines(stack) == lines("".join(traceback.format_exception(raised.value)))
    assert "      | KeyError: 'no stack'" in lines(stack)
    assert "    | TypeError: last" in lines(stack)


def test_a_group_of_any_size_is_recorded(memory):
    deep = ValueError("bottom")
    for _ in range(100):
        deep = ExceptionGroup("deep", [deep])
    wide = ExceptionGroup("wide", [ValueError(n) for n in range(10_000)])
    mixed = ExceptionGroup("mixed", [wide] * 100)
    for group in (deep, wide, mixed):
        with contextlib.suppress(ExceptionGroup), span("s"):
            raise group
    for finished in rvh_trace.finished_spans():
        stack = finished.events[0].attributes["exception.stacktrace"]
        assert "more exception" in stack
        assert len(stack) < 100_000


def test_status_ok_is_final(memory):
    with span("s") as opened:
        opened.set_status("ok")
        opened.set_status("error", "no")
    assert memory()["s"].status == "ok"


def test_levels_filter():
    rvh_trace.init_tracing("warning", exporter="memory")
    with span("a"), span("b", level="error"), span("c", level="debug"):
        pass
    (finished,) = rvh_trace.finished_spans()
    assert (finished.name, finished.level, finished.attributes) == ("b", "error", {})


def test_spans_are_no_ops_before_init():
    with span("s", a=1) as opened:
        opened.record("b", 2)
        assert not opened.is_recording()
        assert rvh_trace.current_context() is None
    assert rvh_trace.finished_spans() == []


def test_not_sampled_children_know_it():
    rvh_trace.init_tracing(exporter="memory", sampler=0.0)
    with span("outer") as outer, span("inner") as inner:
        assert inner.trace_id == outer.trace_id != "0" * 32
        assert rvh_trace.current_context().trace_flags == 0
        assert rvh_trace.current_context().span_id == inner.span_id
    assert rvh_trace.finished_spans() == []


def test_equal_settings_again_are_fine_and_others_are_refused():
    rvh_trace.init_tracing(exporter="memory")
    rvh_trace.init_tracing(exporter="memory")
    with pytest.raises(RuntimeError, match=r"level, exporter"):
        rvh_trace.init_tracing("debug", exporter="none")
    rvh_trace.init_tracing("debug", exporter="none", reconfigure=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"level": "loud"},
        {"exporter": "post"},
        {"sampler": "x"},
        {"sampler": 2.0},
        {"endpoint": "x"},
        {"protocol": "smoke"},
        {"timeout": 0},
        {"timeout": math.nan},
        {"tail_slower_than": math.nan},
        {"tail_slower_than": -1},
        {"exporter": "memory", "file": "spans.jsonl"},
    ],
)
def test_a_bad_setting_is_a_clear_error(settings):
    with pytest.raises(ValueError, match="cannot be used"):
        rvh_trace.init_tracing(**settings)


def test_async_with_and_tasks(memory):
    async def child(name):
        async with span(name) as opened:
            await asyncio.sleep(0)
            assert rvh_trace.current_span() is opened

    async def main():
        async with span("root"):
            await asyncio.gather(*(child(f"c{number}") for number in range(5)))

    asyncio.run(main())
    spans = memory()
    assert {spans[f"c{n}"].parent_span_id for n in range(5)} == {spans["root"].span_id}


def test_a_span_may_end_in_another_context(memory):
    import contextvars

    opened = span("s")
    contextvars.copy_context().run(opened.__enter__)
    opened.__exit__(None, None, None)
    assert "s" in memory()
    with span("next"):
        pass
    assert memory()["next"].parent_span_id is None


def test_parents_that_end_first(memory):
    outer, inner = span("outer"), span("inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    with span("child of inner"):
        pass
    inner.__exit__(None, None, None)
    with span("root"):
        pass
    assert memory()["child of inner"].parent_span_id == memory()["inner"].span_id
    assert memory()["root"].parent_span_id is None


def test_a_python_exporter():
    class Collect:
        def __init__(self):
            self.names = []

        def export(self, spans):
            self.names += [span.name for span in spans]

    mine = Collect()
    rvh_trace.init_tracing(exporter=mine)
    with span("s"):
        pass
    assert rvh_trace.flush(5.0)
    assert mine.names == ["s"]


def test_an_exporter_that_raises_is_counted():
    class Broken:
        def export(self, spans):
            raise OSError("disk")

    rvh_trace.init_tracing(exporter=Broken())
    with span("s"):
        pass
    assert rvh_trace.flush(5.0)
    assert rvh_trace.stats()["failed"] == 1
    assert "disk" in rvh_trace.stats()["last_error"]


def test_a_full_queue_drops_and_counts(monkeypatch):
    import threading

    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    gate = threading.Event()

    class Slow:
        def export(self, spans):
            gate.wait(10)

    rvh_trace.init_tracing(exporter=Slow())
    for _ in range(20):
        with span("s"):
            pass
    stats = rvh_trace.stats()
    gate.set()
    assert stats["dropped"] >= 20 - 4 - 1
    assert stats["recorded"] + stats["dropped"] == 20
    assert rvh_trace.flush(5.0)
    assert rvh_trace.stats()["exported"] == stats["recorded"]


def test_a_full_queue_is_one_warning():
    code = """
        import os, rvh_trace
        os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = "2"
        import threading
        gate = threading.Event()
        class Slow:
            def export(self, spans):
                gate.wait(20)
        rvh_trace.init_tracing(exporter=Slow())
        for _ in range(100):
            with rvh_trace.span("s"):
                pass
        assert rvh_trace.stats()["dropped"] > 90
        gate.set()
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert len(result.stderr.splitlines()) == 1
    assert "the queue of 2 spans is full" in result.stderr


def test_an_exporter_that_traces_and_asks_does_not_wait_for_itself():
    asked = []

    class Asking:
        def export(self, spans):
            with span("below the exporter", at=len(asked)):
                asked.append(rvh_trace.stats()["exported"])
            if len(asked) < 3:
                asked.append(rvh_trace.flush(0.01))

    rvh_trace.init_tracing(exporter=Asking())
    with span("s"):
        pass
    assert rvh_trace.flush(20.0)
    assert asked[:2] == [0, False]


def test_what_is_queued_is_sent_at_exit():
    code = (
        "import rvh_trace\n"
        "rvh_trace.init_tracing(exporter='console')\n"
        "with rvh_trace.span('last', a='x\\ny'): pass\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert len(result.stdout.splitlines()) == 1
    assert " last " in result.stdout


def test_what_is_no_exception_ends_a_span_as_well(memory):
    opened = span("s")
    opened.__enter__()
    opened.__exit__(None, object(), None)
    finished = memory()["s"]
    assert (finished.status, list(finished.events)) == ("unset", [])


def test_names_of_exception_classes_are_told_apart(memory):
    def make(name):
        return type(name, (Exception,), {"__module__": "made"})

    # More classes than are remembered, and freed ones whose address comes again.
    for number in range(400):
        with pytest.raises(Exception, match="e"), span(str(number)):
            raise make(f"E{number}")("e")
    for name, finished in memory().items():
        (event,) = finished.events
        assert event.attributes["exception.type"] == f"made.E{name}"


def test_the_level_may_come_from_a_dictionary(memory):
    rvh_trace.init_tracing("warn", exporter="memory", reconfigure=True)
    key = "".join(["lev", "el"])
    with span("kept", a=1, **{key: "error"}, b=2), span("lost", xxxxx=1, **{key: "debug"}):
        pass
    assert list(memory()) == ["kept"]
    assert memory()["kept"].attributes == {"a": 1, "b": 2}


def test_an_event_may_have_an_attribute_called_name(memory):
    with span("s") as opened:
        opened.add_event("one", name="bob")
        rvh_trace.add_event("two", {"a": 1}, name="bob")
        # As OpenTelemetry's callers may write it.
        opened.add_event(name="three", attributes={"a": 1}, timestamp=5)
        with pytest.raises(TypeError, match="name"):
            opened.add_event(attributes={})
    one, two, three = memory()["s"].events
    assert (one.name, one.attributes) == ("one", {"name": "bob"})
    assert (two.name, two.attributes) == ("two", {"a": 1, "name": "bob"})
    assert (three.name, three.attributes) == ("three", {"a": 1})

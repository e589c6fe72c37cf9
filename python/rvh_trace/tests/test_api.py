"""What the README promises of set-up and of bad input, line by line."""

import keyword
import logging
import math
import os
import subprocess
import sys
import textwrap

import pytest

import rvh_trace
from rvh_trace import span


def run(code, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "RVH_"))}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment | variables,
    )
    assert result.returncode == 0, result.stderr
    return result


# ---- Set-up ------------------------------------------------------------------------------------


class Keep:
    def __init__(self):
        self.names = []

    def export(self, spans):
        self.names += [item.name for item in spans]


def test_the_same_exporter_object_again_is_an_equal_setting():
    mine = Keep()
    rvh_trace.init_tracing(exporter=mine)
    rvh_trace.init_tracing(exporter=mine)
    with pytest.raises(RuntimeError, match="exporter"):
        rvh_trace.init_tracing(exporter=Keep())
    with span("s"):
        pass
    assert rvh_trace.flush()
    assert mine.names == ["s"]


def test_an_exporter_object_is_told_of_the_end_once():
    class Closing(Keep):
        def shutdown(self):
            self.names.append("shutdown")

    first, second = Closing(), Closing()
    rvh_trace.init_tracing(exporter=first)
    with span("s"):
        pass
    assert rvh_trace.flush(20.0)
    assert first.names == ["s"]
    with span("last"):
        pass
    rvh_trace.init_tracing(exporter=second, reconfigure=True)
    assert first.names == ["s", "last", "shutdown"]
    assert rvh_trace.shutdown(20.0)
    assert rvh_trace.shutdown(20.0)
    assert (first.names, second.names) == (["s", "last", "shutdown"], ["shutdown"])


def test_an_exporter_object_that_cannot_end_holds_nothing_up():
    result = run(
        """
        import rvh_trace
        class Broken:
            def export(self, spans):
                print([item.name for item in spans], flush=True)
            def shutdown(self):
                raise OSError("no room")
        rvh_trace.init_tracing(exporter=Broken())
        with rvh_trace.span("s"):
            pass
        assert rvh_trace.shutdown(20.0)
        """
    )
    assert result.stdout.splitlines() == ["['s']"]
    assert "no room" in result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_an_exporter_object_goes_on_in_a_forked_child():
    result = run(
        """
        import os, rvh_trace
        class Show:
            def export(self, spans):
                for item in spans:
                    os.write(1, f"{item.name} {os.getpid()}\\n".encode())
        rvh_trace.init_tracing(exporter=Show())
        with rvh_trace.span("before"):
            pass
        assert rvh_trace.flush()
        pid = os.fork()
        with rvh_trace.span("child" if pid == 0 else "parent"):
            pass
        assert rvh_trace.flush(20)
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """
    )
    seen = dict(line.split() for line in result.stdout.splitlines())
    assert set(seen) == {"before", "child", "parent"}
    assert seen["child"] != seen["parent"] == seen["before"]


def test_a_disabled_sdk_records_nothing(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    rvh_trace.init_tracing(exporter="memory")
    with span("s") as opened:
        assert not opened.is_recording()
    assert rvh_trace.finished_spans() == []


@pytest.mark.parametrize(
    ("variables", "recorded"),
    [
        ({}, False),
        ({"RVH_TRACE_AUTO": "1"}, True),
        ({"RVH_TRACE_AUTO": "0"}, False),
        ({"OTEL_PYTHON_TRACER_PROVIDER": "rvh_trace"}, True),
        ({"OTEL_PYTHON_TRACER_PROVIDER": "another"}, False),
        ({"RVH_TRACE_AUTO": "1", "RVH_TRACE_LEVEL": "error"}, False),
        ({"RVH_TRACE_AUTO": "1", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_who_asks_for_it_is_traced_without_a_call(variables, recorded):
    code = """
        import rvh_trace
        with rvh_trace.span("s") as opened:
            print(opened.is_recording())
    """
    result = run(code, OTEL_TRACES_EXPORTER="none", **variables)
    assert result.stdout.strip() == str(recorded)


def test_a_bad_variable_does_not_stop_the_first_span():
    result = run(
        "import rvh_trace\nwith rvh_trace.span('s') as s: print(s.is_recording())",
        RVH_TRACE_AUTO="1",
        RVH_TRACE_LEVEL="loud",
    )
    assert result.stdout.strip() == "True"
    assert "RVH_TRACE_LEVEL = 'loud' cannot be used and is ignored" in result.stderr


def test_settings_of_the_environment_are_those_of_the_arguments(monkeypatch, tmp_path):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "file")
    monkeypatch.setenv("RVH_TRACE_FILE", str(tmp_path / "spans.jsonl"))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=a%20b")
    rvh_trace.init_tracing()
    # Equal settings, said by arguments.
    rvh_trace.init_tracing(
        exporter="file",
        file=tmp_path / "spans.jsonl",
        service_name="shop",
        resource={"team": "a b"},
    )
    with span("s"):
        pass
    assert rvh_trace.shutdown()
    text = (tmp_path / "spans.jsonl").read_text(encoding="utf-8")
    assert '"shop"' in text
    assert '"a b"' in text


def test_a_file_implies_its_exporter(monkeypatch, tmp_path):
    path = tmp_path / "spans.jsonl"
    rvh_trace.init_tracing(file=path)
    with span("s"):
        pass
    assert rvh_trace.shutdown()
    assert path.stat().st_size > 0
    # It may be turned off, as another exporter can be.
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    rvh_trace.init_tracing(file=tmp_path / "other.jsonl")
    with span("s"):
        pass
    assert rvh_trace.shutdown()
    assert not (tmp_path / "other.jsonl").exists()


def test_a_small_batch_is_sent_when_its_time_has_come(monkeypatch, collector):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.endpoint}/custom")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a%2Cb")
    rvh_trace.init_tracing()
    with span("s"):
        pass
    while rvh_trace.stats()["exported"] != 1:
        assert rvh_trace.stats()["failed"] == 0
    ((path, headers),) = collector.requests
    assert path == "/custom"
    assert headers["x-team"] == "a,b"


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        " ",
        "x",
        "localhost:4318",
        "ftp://h",
        "http://",
        "http:// h",
        "http:///v1",
        "\ud800",
        "\0",
    ],
)
def test_an_invalid_endpoint_is_refused(endpoint):
    with pytest.raises((ValueError, UnicodeEncodeError)):
        rvh_trace.init_tracing(endpoint=endpoint)
    with span("s"):
        pass


@pytest.mark.parametrize(
    "endpoint", ["http://[::1", "http://h:99999", "http://h:x", "http://\u2603.example:1"]
)
def test_an_endpoint_that_leads_nowhere_harms_nobody(endpoint):
    try:
        rvh_trace.init_tracing(endpoint=endpoint, timeout=0.1)
    except (ValueError, RuntimeError):
        return
    with span("s"):
        pass
    rvh_trace.shutdown(0.5)


# ---- Bad input ---------------------------------------------------------------------------------


def test_fields_may_be_named_like_keywords_and_like_arguments(memory):
    names = [*keyword.kwlist, *keyword.softkwlist, "self", "name", "cls", "kwargs", "attributes"]
    with span("s", **dict.fromkeys(names, 1)) as opened:
        opened.set_attributes(None, **dict.fromkeys(names, 2))
    assert memory()["s"].attributes == dict.fromkeys(names, 2)


@pytest.mark.parametrize("bad", [None, 7, b"bytes", object(), "", "\ud800", "x" * 10_000_000])
def test_any_name_and_key_will_do(memory, bad):
    with span(bad) as opened:
        opened.record(bad, 1)
        opened.add_event(bad, {bad: 1})
        opened.update_name(bad)
    # An unoptimised build takes some seconds for the largest.
    assert rvh_trace.flush(60)
    assert len(rvh_trace.finished_spans()) == 1
    assert rvh_trace.stats()["recorded"] == 1


def test_wrong_numbers_of_arguments_are_told_where_they_are_written(memory):
    for wrong in (lambda: span(), lambda: span("a", "b")):
        with pytest.raises(TypeError):
            wrong()


def test_values_of_odd_types_are_text_with_a_note(memory):
    import datetime
    import decimal
    import enum
    import pathlib
    import uuid

    class Colour(enum.Enum):
        RED = 1

    class Number(enum.IntEnum):
        ONE = 1

    class Word(enum.StrEnum):
        A = "a"

    day = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    same = {"int": Number.ONE, "str": Word.A, "bytes": bytearray(b"x"), "mixed": (1.5, 2.5)}
    text = {
        "enum": Colour.RED,
        "day": day,
        "decimal": decimal.Decimal("1.50"),
        "path": pathlib.PurePosixPath("a/b"),
        "uuid": uuid.UUID(int=1),
        "set": {1},
        "dict": {"a": [1]},
        "complex": 1j,
        "range": range(3),
        "type": int,
        "nothing": None,
        "nested": [[1], [2]],
    }
    with span("s", **same, **text):
        pass
    attributes = memory()["s"].attributes
    assert attributes == {
        "int": 1,
        "str": "a",
        "bytes": b"x",
        "mixed": (1.5, 2.5),
        **{key: str(value) for key, value in text.items()},
    }
    assert rvh_trace.stats()["coerced"] == len(text)


def test_numbers_that_have_no_text(memory):
    with span("s", huge=10**5000):
        pass
    assert memory()["s"].attributes == {"huge": "<unprintable int>"}


def test_what_str_raises_stays_there(memory):
    class Exit:
        def __str__(self):
            raise SystemExit(3)

    class Wrong:
        def __str__(self):
            return 7

    with span("s", a=Exit(), b=Wrong()):
        pass
    assert memory()["s"].attributes == {"a": "<unprintable Exit>", "b": "<unprintable Wrong>"}


def test_ten_thousand_deep(memory, monkeypatch):
    import contextlib

    with contextlib.ExitStack() as stack:
        for _ in range(10_000):
            stack.enter_context(span("s"))
        assert len(rvh_trace.live_spans()) == 10_000
    assert rvh_trace.current_context() is None
    assert len(rvh_trace.finished_spans()) == 10_000


def test_a_recursion_without_end_is_pythons_own_error(memory):
    @rvh_trace.trace("f", level="debug")
    def f():
        return f()

    with pytest.raises(RecursionError):
        f()
    assert rvh_trace.current_context() is None
    assert {item.status for item in rvh_trace.finished_spans()} == {"error"}
    assert sum(len(item.events) for item in rvh_trace.finished_spans()) == 1


def test_an_exception_from_ten_thousand_calls_deep():
    result = run(
        """
        import sys, rvh_trace
        sys.setrecursionlimit(50_000)
        rvh_trace.init_tracing(exporter="memory")
        def deep(n):
            if n == 0:
                raise ValueError("bottom")
            deep(n - 1)
        try:
            with rvh_trace.span("s"):
                deep(10_000)
        except ValueError:
            pass
        stack = rvh_trace.finished_spans()[0].events[0].attributes["exception.stacktrace"]
        assert len(stack) < 100_000, len(stack)
        assert stack.endswith("ValueError: bottom\\n")
        """
    )
    assert result.stderr == ""


@pytest.mark.slow
def test_a_million_attributes(memory):
    many = {f"k{n}": n for n in range(1_000_000)}
    with span("by name", **many):
        pass
    with span("by mapping") as opened:
        opened.set_attributes(many)
        opened.add_event("e", many)
    for name in ("by name", "by mapping"):
        finished = memory()[name]
        assert finished.attributes == {f"k{n}": n for n in range(128)}
        assert finished.dropped_attributes == 1_000_000 - 128


def test_a_large_value_is_kept_and_one_that_is_larger_is_cut(memory):
    with span("s", ten="é" * 5_000_000, more=b"x" * 20_000_000):
        pass
    attributes = memory()["s"].attributes
    assert attributes["ten"] == "é" * 5_000_000
    assert len(attributes["more"]) == 16 << 20


def test_any_values_at_any_call_never_raise(memory):
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    strategies = hypothesis.strategies
    text = strategies.text(strategies.characters(exclude_categories=()))
    leaf = (
        strategies.none()
        | strategies.booleans()
        | strategies.integers()
        | strategies.floats()
        | text
        | strategies.binary()
        | strategies.complex_numbers()
    )
    value = strategies.recursive(
        leaf,
        lambda inner: (
            strategies.lists(inner)
            | strategies.tuples(inner, inner)
            | strategies.dictionaries(text, inner)
        ),
    )

    @hypothesis.settings(deadline=None)
    @hypothesis.given(value, value, strategies.dictionaries(text, value))
    def check(name, key, fields):
        fields.pop("level", None)
        with span(name, **fields) as opened:
            opened.record(key, fields)
            rvh_trace.record(key, name)
            opened.set_attributes(key)
            opened.set_attributes(fields)
            opened.add_event(name, fields, None)
            opened.add_link(key, fields)
            opened.set_status(key, name)
            opened.update_name(key)
            opened.record_exception(key)
            rvh_trace.inject({})

    check()


def test_levels_of_logging(memory):
    rvh_trace.init_tracing(logging.WARNING, exporter="memory", reconfigure=True)
    levels = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]
    for level in levels:
        with span("s", level=level):
            pass
    recorded = [item.level for item in rvh_trace.finished_spans()]
    assert recorded == ["warn", "error", "error"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"exporter": 5}, "exporter = 5 cannot be used"),
        ({"exporter": ["memory"]}, "exporter = .* cannot be used"),
        ({"service_name": 5}, "service_name = 5 cannot be used"),
        ({"resource": 5}, "resource = 5 cannot be used"),
        ({"headers": "key=hunter2"}, "headers cannot be used: give a mapping"),
        ({"level": 17}, 'level = "17" cannot be used'),
        ({"level": True}, 'level = "True" cannot be used'),
        ({"level": None}, 'level = "None" cannot be used'),
        ({"level": "loud"}, 'level = "loud" cannot be used'),
        ({"sampler": "loud"}, 'sampler = "loud" cannot be used'),
        ({"sampler": 2.0}, "sampler = 2.0 cannot be used"),
        ({"sampler": math.nan}, "sampler = nan cannot be used"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(settings, said):
    rvh_trace.reset()
    with pytest.raises((TypeError, ValueError), match=said) as raised:
        rvh_trace.init_tracing(**settings)
    assert "hunter2" not in str(raised.value)
    with span("s") as opened:
        assert not opened.is_recording()


def test_an_event_of_the_current_span_takes_fields(memory):
    with span("s"):
        rvh_trace.add_event("e", {"a": 1}, b=2)
    (event,) = memory()["s"].events
    assert (event.name, event.attributes) == ("e", {"a": 1, "b": 2})


def test_any_level_will_do(memory):
    for level in ("loud", None, 99, -1, object(), "\ud800", 2**80):
        with span("s", level=level):
            pass
    assert {item.level for item in rvh_trace.finished_spans()} == {"info"}

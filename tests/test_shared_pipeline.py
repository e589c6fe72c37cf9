"""An extension module that links the crate rvh_trace records into the Python package's pipeline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.ffi]
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the second module, and return the folder that it is in."""
    folder = tmp_path_factory.mktemp("second module")
    source = folder / "source"
    shutil.copytree(ROOT / "tests/crates/second_module", source)
    manifest = source / "Cargo.toml"
    crates = (ROOT / "crates").as_posix()
    manifest.write_text(manifest.read_text().replace("../../../crates", crates))
    # The versions that the workspace has compiled.
    shutil.copy(ROOT / "Cargo.lock", source)
    target = os.environ.get("CARGO_TARGET_DIR") or ROOT / "target"
    result = subprocess.run(
        ["cargo", "build", "--message-format=json", "--target-dir", target],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
        # What maturin sets: an extension module is not linked to a Python.
        env={"PYO3_PYTHON": sys.executable} | os.environ | {"PYO3_BUILD_EXTENSION_MODULE": "1"},
    )
    assert result.returncode == 0, result.stderr
    messages = [json.loads(line) for line in result.stdout.splitlines()]
    (library,) = next(
        message["filenames"]
        for message in messages
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "second_module"
    )
    suffix = ".pyd" if sys.platform == "win32" else ".abi3.so"
    shutil.copy(library, folder / f"second_module{suffix}")
    return folder


def run(folder: Path, code: str) -> Any:
    """What the code, which is given both modules, leaves in `result`."""
    before = "import json, rvh_trace, second_module\n"
    after = "\nprint(json.dumps(result))"
    outcome = subprocess.run(
        [sys.executable, "-c", before + textwrap.dedent(code) + after],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout.splitlines()[-1])


SHOWN = """
def shown():
    finished = rvh_trace.finished_spans()
    names = {span.span_id: span.name for span in finished}
    return {
        span.name: {
            "parent": names.get(span.parent_span_id),
            "trace": span.trace_id,
            "attributes": span.attributes,
            "events": [[event.name, event.attributes] for event in span.events],
            "links": [names[link.context.span_id] for link in span.links],
            "status": span.status,
            "kind": str(span.kind),
        }
        for span in finished
    }
"""


def test_spans_of_both_modules_are_one_trace(folder: Path) -> None:
    result = run(
        folder,
        SHOWN
        + textwrap.dedent("""
        second_module.join()
        second_module.join()
        rvh_trace.init_tracing(exporter="memory")
        def inner():
            with rvh_trace.span("python 2"):
                rvh_trace._native.call_in_rust_span("rust of the package", lambda: None)
        with rvh_trace.span("python 1"):
            second_module.work("rust", inner)
            second_module.fail_on_a_thread()
            second_module.with_tracing()
        second_module.work("root", lambda: None)
        result = shown()
        result["counts"] = second_module.flushed_and_recorded()
        """),
    )
    assert result.pop("counts") == [True, 8]
    parents = {name: span["parent"] for name, span in result.items()}
    assert parents == {
        "python 1": None,
        "rust": "python 1",
        "python 2": "rust",
        "rust of the package": "python 2",
        "failing": "python 1",
        "tracing": "python 1",
        "inside": "tracing",
        "root": None,
    }
    traces = {span["trace"] for name, span in result.items() if name != "root"}
    assert len(traces) == 1
    assert result["root"]["trace"] not in traces
    rust = result["rust"]
    assert rust["attributes"] == {"language": "Rust", "items": 3, "ratio": 0.5}
    assert rust["events"] == [["called", {"by": "Python"}]]
    assert rust["kind"] == "client"
    assert result["tracing"]["attributes"] == {"rows": 7}
    failing = result["failing"]
    assert failing["status"] == "error"
    assert failing["links"] == ["python 1"]
    ((name, attributes),) = failing["events"]
    assert (name, attributes["exception.message"]) == ("exception", "disk")


EVENTS = """
def events():
    return {span.name: [e.name for e in span.events] for span in rvh_trace.finished_spans()}
"""


def test_an_event_outside_of_all_spans_of_tracing_is_one_of_the_python_span(folder: Path) -> None:
    result = run(
        folder,
        SHOWN
        + textwrap.dedent("""
        second_module.join()
        second_module.events()
        rvh_trace.init_tracing(exporter="memory")
        second_module.events()
        with rvh_trace.span("caller"):
            second_module.events()
        result = shown()
        """),
    )
    target = "second_module::second_module"
    attributes = {"level": "warn", "target": target, "rows": 7, "kind": "slow"}
    assert list(result) == ["caller"]
    assert result["caller"]["events"] == [["of the caller", attributes]]
    assert result["caller"]["status"] == "unset"


def test_an_event_belongs_to_the_innermost_span_that_records(folder: Path) -> None:
    result = run(
        folder,
        EVENTS
        + textwrap.dedent("""
        import asyncio, threading
        second_module.join()
        rvh_trace.init_tracing(exporter="memory")
        def inner():
            with rvh_trace.span("inner"):
                second_module.events()
        with rvh_trace.span("outer"):
            second_module.call_in_tracing(inner)
            with rvh_trace.span("below the level", level="debug"):
                second_module.events()
            thread = threading.Thread(target=second_module.events)
            thread.start()
            thread.join()
            with rvh_trace.extract({"traceparent": f"00-{1:032x}-{2:016x}-01"}):
                second_module.events()
        with rvh_trace.span("ended") as ended:
            ended.end()
            second_module.events()
        async def task(name):
            async with rvh_trace.span(name):
                await asyncio.sleep(0)
                second_module.events()
        async def tasks():
            await asyncio.gather(task("task 1"), task("task 2"))
        asyncio.run(tasks())
        result = events()
        """),
    )
    assert result == {
        "inner": ["of the caller"],
        "tracing": ["before", "after"],
        "outer": ["of the caller"],
        "ended": [],
        "task 1": ["of the caller"],
        "task 2": ["of the caller"],
    }


def test_the_level_the_sampler_and_the_limits_hold_for_events(folder: Path) -> None:
    result = run(
        folder,
        EVENTS
        + textwrap.dedent("""
        import os
        second_module.join()
        rvh_trace.init_tracing("debug", exporter="memory")
        with rvh_trace.span("debug"):
            second_module.events()
        result = [events()]
        rvh_trace.init_tracing("error", exporter="memory", reconfigure=True)
        with rvh_trace.span("error", level="error"):
            second_module.events()
        result.append(events())
        os.environ["OTEL_SPAN_EVENT_COUNT_LIMIT"] = "1"
        rule = rvh_trace.SamplingRule(name="not sampled", ratio=0.0)
        rvh_trace.init_tracing("debug", exporter="memory", sampling_rules=[rule], reconfigure=True)
        with rvh_trace.span("not sampled"):
            second_module.events()
        with rvh_trace.span("limited"):
            second_module.events()
        result.append(events())
        result.append(rvh_trace.finished_spans()[-1].dropped_events)
        """),
    )
    assert result == [
        {"debug": ["of the caller", "below the level"]},
        {"error": []},
        {"limited": ["of the caller"]},
        1,
    ]


def test_settings_of_the_package_hold_for_both(folder: Path) -> None:
    result = run(
        folder,
        SHOWN
        + textwrap.dedent("""
        import os
        second_module.join()
        second_module.work("before", lambda: None)
        os.environ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"] = "1"
        rvh_trace.init_tracing(exporter="memory", redact_keys=["language"])
        second_module.work("limited", lambda: None)
        first = shown()
        rvh_trace.init_tracing(exporter="memory", sampler="always_off", reconfigure=True)
        second_module.work("not sampled", lambda: None)
        rvh_trace.init_tracing("error", exporter="memory", reconfigure=True)
        second_module.work("below the level", lambda: None)
        rvh_trace.init_tracing(exporter="memory", sampler=0.0, reconfigure=True)
        context = []
        second_module.work("ratio", lambda: context.append(rvh_trace.current_context()))
        result = [first, shown(), context[0].trace_flags]
        """),
    )
    first, then, flags = result
    assert list(first) == ["limited"]
    assert first["limited"]["attributes"] == {"language": "[redacted]"}
    assert (then, flags) == ({}, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no fork")
def test_a_forked_child_has_identifiers_of_its_own(folder: Path) -> None:
    result = run(
        folder,
        """
        import os
        second_module.join()
        rvh_trace.init_tracing(exporter="memory")
        second_module.work("parent", lambda: None)
        reader, writer = os.pipe()
        pid = os.fork()
        def identifier():
            contexts = []
            second_module.work("s", lambda: contexts.append(rvh_trace.current_context()))
            return contexts[0].span_id
        if pid == 0:
            os.write(writer, identifier().encode())
            os._exit(0 if second_module.flushed_and_recorded() == (True, 1) else 1)
        status = os.waitpid(pid, 0)[1]
        result = [status, os.read(reader, 16).decode(), identifier()]
        """,
    )
    status, of_child, of_parent = result
    assert status == 0
    assert of_child != of_parent


def test_a_module_that_has_joined_sets_nothing_up(folder: Path) -> None:
    result = run(
        folder,
        """
        second_module.join()
        try:
            second_module.init()
        except RuntimeError as error:
            result = str(error)
        """,
    )
    assert "rvh_trace.init_tracing()" in str(result)


def test_a_module_that_has_not_joined_has_a_pipeline_of_its_own(folder: Path) -> None:
    result = run(
        folder,
        """
        rvh_trace.init_tracing(exporter="memory")
        second_module.init()
        try:
            second_module.join()
        except RuntimeError as error:
            result = [str(error)]
        second_module.work("own", lambda: None)
        result += [second_module.own_spans(), len(rvh_trace.finished_spans())]
        """,
    )
    error, own, of_package = result
    assert "of its own" in error
    assert (own, of_package) == (["own"], 0)


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ("capsule(2, 4096)", "version 2"),
        ("capsule(1, 16)", "of 16 bytes"),
        ("capsule(0, 0)", "version 0"),
        ("capsule(1, 4096, name=b'other')", "is not there or offers none"),
        ("object()", "is not there or offers none"),
        ("None", "is not there or offers none"),
    ],
)
def test_another_version_is_refused_and_harms_nothing(
    folder: Path, offered: str, said: str
) -> None:
    result = run(
        folder,
        f"""
        import ctypes
        def capsule(version, size, name=b"rvh_trace._native._shared"):
            global kept
            kept = ((ctypes.c_uint32 * 2)(version, size), name)
            new = ctypes.pythonapi.PyCapsule_New
            new.restype = ctypes.py_object
            new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
            return new(ctypes.addressof(kept[0]), kept[1], None)
        rvh_trace._native._shared = {offered}
        rvh_trace.init_tracing(exporter="memory")
        try:
            second_module.join()
        except (ImportError, RuntimeError) as error:
            result = [str(error)]
        with rvh_trace.span("python"):
            second_module.work("not joined", lambda: None)
        second_module.init()
        second_module.work("own", lambda: None)
        result += [[span.name for span in rvh_trace.finished_spans()], second_module.own_spans()]
        """,
    )
    error, of_package, own = result
    assert said in error
    assert (of_package, own) == (["python"], ["own"])

"""What a span costs, beside the libraries that do the same, in one run.

    python bench_trace.py [--json FILE] [--rounds N]

Each library is measured in a process of its own, in turn, `--rounds` times; the least time counts,
because a machine is only ever disturbed towards more. Times differ from machine to machine and from
run to run, ratios hardly. A peer that is not installed is left out, and said so.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import threading
import time
import timeit
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, float]


def nanoseconds(function: Callable[[], object], seconds: float = 0.1) -> float:
    """The least time of one call."""
    timer = timeit.Timer(function)
    count, _ = timer.autorange()
    count = max(1, int(count * seconds / 0.2))
    return min(timer.repeat(repeat=7, number=count)) / count * 1e9


def coroutine_nanoseconds(function: Callable[[], object], count: int = 5000) -> float:
    """The least time of one awaited call."""

    async def run() -> float:
        started = time.perf_counter()
        for _ in range(count):
            await function()  # type: ignore[misc]
        return (time.perf_counter() - started) / count * 1e9

    return min(asyncio.run(run()) for _ in range(7))


def floor() -> Figures:
    """What Python itself takes: a context manager of C that does nothing of use."""
    lock = threading.Lock()

    def body() -> None:
        with lock:
            pass

    return {"no-op": nanoseconds(body)}


def rvh_trace_figures() -> Figures:
    """This library, by its own API."""
    import rvh_trace
    from rvh_trace import span

    def recorded() -> None:
        with span("work", a=1, b="text", c=2.5):
            pass

    def failing() -> None:
        try:
            with span("work", a=1, b="text", c=2.5):
                raise ValueError("bad")
        except ValueError:
            pass

    def bare_failing() -> None:
        try:
            raise ValueError("bad")
        except ValueError:
            pass

    def plain() -> None:
        pass

    async def coroutine() -> None:
        pass

    figures: Figures = {}
    rvh_trace.init_tracing(exporter="none")
    figures["recorded"] = nanoseconds(recorded)
    figures["exception"] = nanoseconds(failing) - nanoseconds(bare_failing)
    figures["function"] = nanoseconds(rvh_trace.trace(plain))
    figures["coroutine"] = coroutine_nanoseconds(rvh_trace.trace(coroutine))
    rvh_trace.init_tracing(exporter="none", sampler="always_off", reconfigure=True)
    figures["off"] = nanoseconds(recorded)
    rvh_trace.init_tracing(exporter="none", level="error", reconfigure=True)
    figures["below level"] = nanoseconds(recorded)
    rvh_trace.init_tracing(exporter="none", sampler=0.0, reconfigure=True)
    figures["not sampled"] = nanoseconds(recorded)
    return figures


def opentelemetry_api(tracer: object) -> Figures:
    """Whatever provider is behind OpenTelemetry's API."""
    from opentelemetry.trace import Tracer

    assert isinstance(tracer, Tracer)

    def recorded() -> None:
        with tracer.start_as_current_span("work", attributes={"a": 1, "b": "text", "c": 2.5}):
            pass

    def failing() -> None:
        try:
            with tracer.start_as_current_span("work", attributes={"a": 1, "b": "text", "c": 2.5}):
                raise ValueError("bad")
        except ValueError:
            pass

    def bare_failing() -> None:
        try:
            raise ValueError("bad")
        except ValueError:
            pass

    @tracer.start_as_current_span("plain")
    def plain() -> None:
        pass

    @tracer.start_as_current_span("coroutine")
    async def coroutine() -> None:
        pass

    return {
        "recorded": nanoseconds(recorded),
        "exception": nanoseconds(failing) - nanoseconds(bare_failing),
        "function": nanoseconds(plain),
        "coroutine": coroutine_nanoseconds(coroutine),
    }


def opentelemetry_api_alone() -> Figures:
    """OpenTelemetry's API with no SDK: everything is a no-op."""
    from opentelemetry import trace

    return opentelemetry_api(trace.NoOpTracerProvider().get_tracer("bench"))


def opentelemetry_sdk() -> Figures:
    """OpenTelemetry's SDK with its batch processor and an exporter that does nothing."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    class Nothing(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nothing()))
    figures = opentelemetry_api(provider.get_tracer("bench"))
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(0.0))
    provider.add_span_processor(BatchSpanProcessor(Nothing()))
    figures["not sampled"] = opentelemetry_api(provider.get_tracer("bench"))["recorded"]
    return figures


def opentelemetry_api_on_ours() -> Figures:
    """The same API with this library behind it."""
    import rvh_trace
    from rvh_trace.opentelemetry import TracerProvider

    rvh_trace.init_tracing(exporter="none")
    return opentelemetry_api(TracerProvider().get_tracer("bench"))


def logfire_figures() -> Figures:
    """Logfire, sending nowhere."""
    logfire = importlib.import_module("logfire")

    logfire.configure(send_to_logfire=False, console=False)

    def recorded() -> None:
        with logfire.span("work", a=1, b="text", c=2.5):
            pass

    return {"recorded": nanoseconds(recorded)}


def sentry_figures() -> Figures:
    """Sentry, with tracing on and a transport that does nothing."""
    sentry_sdk = importlib.import_module("sentry_sdk")

    sentry_sdk.init(
        dsn="http://key@localhost/1",
        traces_sample_rate=1.0,
        transport=lambda _envelope: None,
        default_integrations=False,
    )

    def recorded() -> None:
        with sentry_sdk.start_transaction(name="work") as opened:
            opened.set_data("a", 1)
            opened.set_data("b", "text")
            opened.set_data("c", 2.5)

    return {"recorded": nanoseconds(recorded)}


def ddtrace_figures() -> Figures:
    """Datadog's tracer; there is no agent, so its sender fails in the background."""
    tracer = importlib.import_module("ddtrace.trace").tracer

    def recorded() -> None:
        with tracer.trace("work") as opened:
            opened.set_tag("a", 1)
            opened.set_tag("b", "text")
            opened.set_tag("c", 2.5)

    return {"recorded": nanoseconds(recorded)}


MEASURED: dict[str, tuple[str | None, Callable[[], Figures]]] = {
    "python": (None, floor),
    "rvh_trace": ("rvh_trace", rvh_trace_figures),
    "opentelemetry-api": ("opentelemetry-api", opentelemetry_api_alone),
    "opentelemetry-sdk": ("opentelemetry-sdk", opentelemetry_sdk),
    "our provider": ("opentelemetry-api", opentelemetry_api_on_ours),
    "logfire": ("logfire", logfire_figures),
    "sentry-sdk": ("sentry-sdk", sentry_figures),
    "ddtrace": ("ddtrace", ddtrace_figures),
}

# What is compared: name, our figure, the peer, its figure, and the goal for ours / the peer's.
GOALS = [
    ("recorded span, 3 attributes", "recorded", "opentelemetry-sdk", "recorded", 1 / 30),
    ("recorded span, 3 attributes", "recorded", "opentelemetry-api", "recorded", 1 / 6),
    ("recorded span, 3 attributes", "recorded", "logfire", "recorded", None),
    ("recorded span, 3 attributes", "recorded", "sentry-sdk", "recorded", None),
    ("recorded span, 3 attributes", "recorded", "ddtrace", "recorded", None),
    ("always_off", "off", "python", "no-op", 1.5),
    ("below level", "below level", "python", "no-op", 1.5),
    ("not sampled by ratio", "not sampled", "opentelemetry-sdk", "not sampled", 1 / 12),
    ("decorated function", "function", "opentelemetry-sdk", "function", 1 / 25),
    ("decorated coroutine", "coroutine", "opentelemetry-sdk", "coroutine", 1 / 25),
    ("ends in an exception", "exception", "opentelemetry-sdk", "exception", 1 / 50),
    ("their API: recorded", "our provider/recorded", "opentelemetry-sdk", "recorded", 1 / 10),
    ("their API: exception", "our provider/exception", "opentelemetry-sdk", "exception", 1 / 10),
    ("their API: function", "our provider/function", "opentelemetry-sdk", "function", 1 / 10),
    ("their API: coroutine", "our provider/coroutine", "opentelemetry-sdk", "coroutine", 1 / 10),
]


def measure_in_process(name: str) -> Figures | str:
    """Measure one library in a fresh interpreter; a sentence when it cannot be."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "DD_"))}
    if name == "our provider":
        environment["OTEL_PYTHON_CONTEXT"] = "rvh_trace"
    environment |= {"OTEL_SDK_DISABLED": "false", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}
    result = subprocess.run(
        [sys.executable, __file__, "--measure", name],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines()
        return lines[-1] if lines else f"exit code {result.returncode}"
    return dict(json.loads(result.stdout.splitlines()[-1]))


def import_milliseconds() -> float:
    """The least time that `import rvh_trace` adds to a bare Python."""

    def one(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (time.perf_counter() - started) * 1e3

    return min(one("import rvh_trace") for _ in range(15)) - min(one("pass") for _ in range(15))


def main() -> int:
    """Measure, print, and say where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(MEASURED[options.measure][1]()))
        return 0
    best: dict[str, Figures] = {}
    for name, (package, _) in MEASURED.items():
        try:
            version = importlib.metadata.version(package) if package else sys.version.split()[0]
        except importlib.metadata.PackageNotFoundError:
            print(f"{name}: not installed, left out")
            continue
        print(f"{name} {version}")
        best[name] = {}
    for _ in range(options.rounds):
        for name in list(best):
            figures = measure_in_process(name)
            if isinstance(figures, str):
                print(f"{name}: left out: {figures}")
                del best[name]
                continue
            for figure, value in figures.items():
                best[name][figure] = min(value, best[name].get(figure, value))
    print(f"\n{'figure':<30}{'ours':>9}  {'peer':<20}{'theirs':>10}{'ratio':>9}{'goal':>7}")
    missed = 0
    for title, ours, peer, theirs, goal in GOALS:
        # A figure of ours is measured by our own API, unless its name says otherwise.
        library, _, figure = ours.rpartition("/")
        of_ours = best.get(library or "rvh_trace", {})
        if figure not in of_ours or theirs not in best.get(peer, {}):
            continue
        mine, other = of_ours[figure], best[peer][theirs]
        ratio = mine / other
        missed += goal is not None and ratio > goal
        shown = f"{ratio:.2f}" if ratio > 0.5 else f"1/{1 / ratio:.1f}"
        aim = "" if goal is None else f"{goal:.1f}" if goal > 0.5 else f"1/{1 / goal:.0f}"
        mark = "" if goal is None or ratio <= goal else "  missed"
        print(f"{title:<30}{mine:>6.0f} ns  {peer:<20}{other:>7.0f} ns{shown:>9}{aim:>7}{mark}")
    imports = import_milliseconds()
    print(f"{'import, over bare Python':<30}{imports:>6.1f} ms{'':<49}10 ms")
    if options.json:
        options.json.write_text(json.dumps({"ns": best, "import_ms": imports}, indent=1))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

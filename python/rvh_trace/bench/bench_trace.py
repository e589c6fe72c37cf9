"""What tracing costs, beside the libraries that do the same, in one run.

    ./pixiw run bench-trace [--rounds N] [--seconds N] [--json FILE]

The peers are fetched from the package index into the user's cache. Each is measured in a process of
its own, in turn, `--rounds` times; the least time counts, because a machine is only ever disturbed
towards more. Times differ from machine to machine and from run to run, ratios hardly. A peer that
cannot be had is left out, and said so. Exit code 1 when a goal is not met.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
import timeit
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import process
from opentelemetry_collector import CannotBuild
from peers import folder as folder_of_peers
from peers import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Figures = dict[str, float]


# A slice of time as long as what a busy machine leaves to a process at once, and how many of them.
SLICE_SECONDS = 0.004
SLICES = 60


def nanoseconds(function: Callable[[], object]) -> float:
    """The least time of one call."""
    timer = timeit.Timer(function)
    count, seconds = timer.autorange()
    count = max(1, int(count * SLICE_SECONDS / seconds))
    return min(timer.repeat(repeat=SLICES, number=count)) / count * 1e9


def coroutine_nanoseconds(function: Callable[[], Any]) -> float:
    """The least time of one awaited call."""

    async def run() -> float:
        least = float("inf")
        for _ in range(SLICES):
            started = time.perf_counter()
            for _ in range(100):
                await function()
            least = min(least, time.perf_counter() - started)
        return least / 100 * 1e9

    return asyncio.run(run())


def floor() -> Figures:
    """What Python itself takes: a context manager of C that does nothing of use."""
    lock = threading.Lock()

    def body() -> None:
        with lock:
            pass

    return {"no-op": nanoseconds(body)}


def bare_failing() -> None:
    """What the exception itself takes."""
    try:
        raise ValueError("bad")
    except ValueError:
        pass


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
    ("sampling off: always_off", "off", "python", "no-op", 1.5),
    ("sampling off: below the level", "below level", "python", "no-op", 1.5),
    (
        "not sampled by a parent-based ratio",
        "not sampled",
        "opentelemetry-sdk",
        "not sampled",
        1 / 12,
    ),
    ("decorated function", "function", "opentelemetry-sdk", "function", 1 / 25),
    ("decorated coroutine", "coroutine", "opentelemetry-sdk", "coroutine", 1 / 25),
    ("span that ends in an exception", "exception", "opentelemetry-sdk", "exception", 1 / 50),
    ("their API: recorded", "our provider/recorded", "opentelemetry-sdk", "recorded", 1 / 10),
    ("their API: exception", "our provider/exception", "opentelemetry-sdk", "exception", 1 / 10),
    ("their API: function", "our provider/function", "opentelemetry-sdk", "function", 1 / 10),
    ("their API: coroutine", "our provider/coroutine", "opentelemetry-sdk", "coroutine", 1 / 10),
]


def measure_in_process(name: str, peers: Path | None) -> Figures | str:
    """Measure one library in a fresh interpreter; a sentence when it cannot be."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "DD_"))}
    if name == "our provider":
        environment["OTEL_PYTHON_CONTEXT"] = "rvh_trace"
    if peers is not None:
        environment["PYTHONPATH"] = str(peers)
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


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    title: str
    figure: str
    peer: str
    theirs: str
    ratio: str
    goal: str
    met: bool | None
    """`None` where there is no goal."""

    def __str__(self) -> str:
        """Show it as the table has it."""
        verdict = {True: "met", False: "NOT MET", None: ""}[self.met]
        return (
            f"{self.title:<40}{self.figure:>12}  {self.peer:<18}{self.theirs:>10}"
            f"{self.ratio:>8}{self.goal:>10}  {verdict}"
        ).rstrip()


def shown(ratio: float) -> str:
    """Format a ratio: a part as 1/n."""
    return f"{ratio:.2f}" if ratio > 0.5 else f"1/{1 / ratio:.1f}"


def compared(best: dict[str, Figures]) -> Iterator[Row]:
    """What was measured beside a peer."""
    for title, ours, peer, theirs, goal in GOALS:
        # A figure of ours is measured by our own API, unless its name says otherwise.
        library, _, figure = ours.rpartition("/")
        of_ours = best.get(library or "rvh_trace", {})
        if figure not in of_ours or theirs not in best.get(peer, {}):
            yield Row(title, "", peer, "not there", "", "", None)
            continue
        mine, other = of_ours[figure], best[peer][theirs]
        ratio = mine / other
        aim = "" if goal is None else f"{goal:.1f}" if goal > 0.5 else f"1/{1 / goal:.0f}"
        met = None if goal is None else ratio <= goal
        yield Row(title, f"{mine:.0f} ns", peer, f"{other:.0f} ns", shown(ratio), aim, met)


def of_the_process(seconds: float) -> Iterator[Row]:
    """What is measured of the whole process."""

    def row(title: str, figure: str, goal: str, met: bool) -> Row:
        return Row(title, figure, "", "", "", goal, met)

    size = process.queued_bytes()
    if size is not None:
        yield row("memory of a queued span", f"{size:.0f} bytes", "300", size <= 300)
    imports = process.import_milliseconds()
    yield row("import, over bare Python", f"{imports:.1f} ms", "10 ms", imports <= 10)
    needed = process.required_dependencies()
    yield row("required Python dependencies", str(needed), "0", needed == 0)
    late = process.exit_seconds()
    yield row("a dead collector: added to exit", f"{late:.1f} s", "2 s", round(late, 1) <= 2)
    if seconds > 0:
        from bench_sustained import sustain_to_a_collector

        for protocol in ("http", "grpc"):
            try:
                outcome = sustain_to_a_collector(protocol, 100_000, seconds)
            except CannotBuild as error:
                print(error)
                return
            title = f"spans/s for {seconds:g} s by {protocol}, {outcome.stats['dropped']} dropped"
            yield row(title, f"{outcome.rate:,.0f}", "100,000", outcome.holds(100_000))


def main() -> int:
    """Measure, print, and say where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="how long spans are sent; 0 to leave that out"
    )
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--measure", choices=MEASURED, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(MEASURED[options.measure][1]()))
        return 0
    peers = folder_of_peers()
    best: dict[str, Figures] = {}
    for name, (package, _) in MEASURED.items():
        found = version(package, peers) if package else sys.version.split()[0]
        print(f"{name} {found}" if found else f"{name}: not installed, left out")
        if found:
            best[name] = {}
    for _ in range(options.rounds):
        for name in list(best):
            figures = measure_in_process(name, peers)
            if isinstance(figures, str):
                print(f"{name}: left out: {figures}")
                del best[name]
                continue
            for figure, value in figures.items():
                best[name][figure] = min(value, best[name].get(figure, value))
    print(Row("\nfigure", "  ours", "peer", "theirs", "ratio", "goal", None))
    rows = []
    for row in itertools.chain(compared(best), of_the_process(options.seconds)):
        print(row, flush=True)
        rows.append(row)
    if options.json:
        table = [asdict(row) for row in rows]
        text = json.dumps({"ns": best, "table": table}, indent=1)
        options.json.write_text(text, encoding="utf-8")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

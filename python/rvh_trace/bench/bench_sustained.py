"""How many spans a second reach a collector, with none dropped.

    python bench_sustained.py [--rate 100000] [--seconds 30] [--protocol grpc|http] [--endpoint URL]

Without an endpoint the OpenTelemetry Collector is started, which decodes what it receives, and
forgets it; it is built when it is not in the cache yet. Spans are recorded at the given rate by one
thread, in bursts of a millisecond. Exit code 1 when any was dropped or not delivered.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import rvh_trace
from rvh_trace import span

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from opentelemetry_collector import CannotBuild, OpenTelemetryCollector, build

PROTOCOLS = {"grpc": "grpc", "http": "http/protobuf"}


@dataclass(frozen=True)
class Sustained:
    """What came of a run."""

    rate: float
    """Spans a second that were recorded."""
    delivered: bool
    """Whether the collector took each of them."""
    stats: dict[str, int | str | None]

    def holds(self, rate: int) -> bool:
        """Whether all arrived, at that rate to the nearest thousand.

        Spans begin at set times, so the rate that is reached can't be above the one asked for.
        """
        return self.delivered and round(self.rate, -3) >= rate


def sustain(endpoint: str, protocol: str, rate: int, seconds: float) -> Sustained:
    """Record at a rate, then wait until all is delivered."""
    rvh_trace.init_tracing(endpoint=endpoint, protocol=PROTOCOLS[protocol], reconfigure=True)
    burst = max(1, rate // 1000)
    began = time.perf_counter()
    recorded = 0
    while (elapsed := time.perf_counter() - began) < seconds:
        if recorded > elapsed * rate:
            time.sleep(0.0002)
            continue
        for number in range(burst):
            with span("work", number=number, text="value", ratio=0.5):
                pass
        recorded += burst
    reached = recorded / (time.perf_counter() - began)
    flushed = rvh_trace.flush(30.0)
    stats = rvh_trace.stats()
    lost = not flushed or stats["dropped"] or stats["failed"] or stats["exported"] != recorded
    return Sustained(reached, not lost, stats)


def sustain_to_a_collector(protocol: str, rate: int, seconds: float) -> Sustained:
    """Do that with the OpenTelemetry Collector on this machine."""
    program = build()
    with tempfile.TemporaryDirectory() as folder:
        collector = OpenTelemetryCollector(program, folder, exporter="nop")
        try:
            return sustain(collector.endpoints[protocol], protocol, rate, seconds)
        finally:
            rvh_trace.reset()
            collector.stop()


def main() -> int:
    """Record, print, and say whether all arrived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rate", type=int, default=100_000, help="spans a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="http", help="of OTLP")
    parser.add_argument("--endpoint", help="a collector; without it one is started")
    options = parser.parse_args()
    arguments = options.protocol, options.rate, options.seconds
    try:
        if options.endpoint is None:
            outcome = sustain_to_a_collector(*arguments)
        else:
            outcome = sustain(options.endpoint, *arguments)
    except CannotBuild as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{outcome.rate:,.0f} spans a second for {options.seconds:g} s; {outcome.stats}")
    return 0 if outcome.holds(options.rate) else 1


if __name__ == "__main__":
    sys.exit(main())

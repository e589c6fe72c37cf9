"""What tracing costs a process: its import, its exit, the memory of a span that waits."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import subprocess
import sys
import time

QUEUED = 100_000
ROUNDS = 15

MEMORY = f"""
import os
import rvh_trace

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = "{QUEUED}"
from rvh_trace import span, lifecycle, log_records
before = resident()
rvh_trace.init_tracing()
for number in range({QUEUED}):
    with span("work", number=number, text="value", ratio=0.5):
        pass
after = resident()
depth = rvh_trace.stats()["queue_depth"]
print((after - before) / depth, flush=True)
os._exit(0)
"""

EXIT = """
import rvh_trace
rvh_trace.init_tracing()
with rvh_trace.span("last"):
    pass
"""


def seconds(code: str, **environment: str) -> float:
    """The time of a Python that runs some code."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stderr=subprocess.DEVNULL,
        env=os.environ | environment,
    )
    return time.perf_counter() - started


def import_milliseconds() -> float:
    """The least time that `import rvh_trace` adds to a bare Python."""
    least = [min(seconds(code) for _ in range(ROUNDS)) for code in ("import rvh_trace", "pass")]
    return (least[0] - least[1]) * 1e3


def exit_seconds() -> float:
    """The time that a collector which takes the connection and never answers adds to the exit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        dead = min(seconds(EXIT, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) for _ in range(3))
    return dead - min(seconds(EXIT, OTEL_TRACES_EXPORTER="none") for _ in range(3))


def queued_bytes() -> float | None:
    """The resident memory that each of a full queue of spans takes; `None` where not measured."""
    if not sys.platform.startswith("linux"):
        return None
    # Connections wait in the backlog: nothing is delivered, so the spans stay queued.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        result = subprocess.run(
            [sys.executable, "-c", MEMORY],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
    return float(result.stdout)


def required_dependencies() -> int:
    """How many Python packages must be there for it to work."""
    needs = importlib.metadata.requires("rvh_trace") or []
    return sum("extra ==" not in need for need in needs)

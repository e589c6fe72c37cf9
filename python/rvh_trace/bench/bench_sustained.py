"""How many spans a second reach a collector, with none dropped.

    python bench_sustained.py [--rate 100000] [--seconds 30] [--endpoint URL]

Without an endpoint a collector of a process of its own reads the requests and counts their bytes;
it does not decode them. Spans are recorded at the given rate by one thread, in bursts of a
millisecond. Exit code 1 when any was dropped or not delivered.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import time
from typing import TYPE_CHECKING

import rvh_trace
from rvh_trace import span

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


async def _serve(pipe: Connection) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = [line.partition(b":") for line in head.lower().split(b"\r\n")]
                size = next(int(value) for name, _, value in fields if name == b"content-length")
                await reader.readexactly(size)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 24)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _collector(pipe: Connection) -> None:
    asyncio.run(_serve(pipe))


def main() -> int:
    """Record, print, and say whether all arrived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rate", type=int, default=100_000, help="spans a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long")
    parser.add_argument("--endpoint", help="a collector; without it a simple one is started")
    options = parser.parse_args()
    endpoint = options.endpoint
    if endpoint is None:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        context.Process(target=_collector, args=(theirs,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{ours.recv()}"
    rvh_trace.init_tracing(endpoint=endpoint)
    burst = max(1, options.rate // 1000)
    began = time.perf_counter()
    recorded = 0
    while (elapsed := time.perf_counter() - began) < options.seconds:
        if recorded > elapsed * options.rate:
            time.sleep(0.0002)
            continue
        for number in range(burst):
            with span("work", number=number, text="value", ratio=0.5):
                pass
        recorded += burst
    rate = recorded / (time.perf_counter() - began)
    flushed = rvh_trace.flush(30.0)
    stats = rvh_trace.stats()
    print(f"{rate:,.0f} spans a second for {options.seconds:g} s; {stats}")
    lost = not flushed or stats["dropped"] or stats["failed"] or stats["exported"] != recorded
    return 1 if lost or rate < 0.95 * options.rate else 0


if __name__ == "__main__":
    sys.exit(main())

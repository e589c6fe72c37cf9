"""poh_holdmetrics beside its peers, in one run on one machine.

Events are generated: 1000 tokens, 100,000 holders, uniform or Zipf 1.1. Each figure is the best of
some rounds; rounds of all candidates alternate, so that a busy machine slows all of them. Peers
that are not installed are left out and named. DuckDB works on its native table and gives Arrow.

    python bench/holdmetrics.py [--events 10000000] [--skew uniform] [--rounds 3] [--threads 2]
"""

# ruff: noqa: T201, S608 # it prints, and its queries have no names but its own

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

import poh_holdmetrics as hold
from poh_holdmetrics.calculator import calculate_score

if TYPE_CHECKING:
    from collections.abc import Callable

HOLDERS, TOKENS = 100_000, 1_000
FIRST, LAST = 1_600_000_000_000_000, 1_700_000_000_000_000
AT = 1_800_000_000

type Candidates = dict[str, Callable[[], object]]


def main() -> None:
    """Run all figures and print them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=10_000_000)
    options.add_argument("--skew", choices=["uniform", "zipf"], default="uniform")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--claims", type=int, default=1_000_000)
    chosen = options.parse_args()
    print(versions())
    load = f"; load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(
        f"{chosen.events:,} events, {chosen.skew}, {chosen.threads} threads, "
        f"best of {chosen.rounds}{load}"
    )
    events = generated(chosen.events, chosen.skew)
    columns(events, chosen.threads, chosen.rounds)
    objects(chosen.rounds)
    tracker(chosen.rounds)
    merkle(chosen.claims)


def versions() -> str:
    """Name what is compared, and where."""
    found = [f"poh_holdmetrics {hold.__version__}", f"python {platform.python_version()}"]
    for name in ("duckdb", "numpy", "polars", "pyarrow"):
        try:
            found.append(f"{name} {importlib.import_module(name).__version__}")
        except ImportError:
            found.append(f"{name} is not installed")
    return ", ".join(found)


def generated(count: int, skew: str) -> dict[str, np.ndarray]:
    """Make events; the same ones in every run."""
    make = np.random.default_rng(20240501)
    if skew == "zipf":
        ranks = np.arange(1, HOLDERS + 1) ** -1.1
        holder = make.choice(HOLDERS, count, p=ranks / ranks.sum())
    else:
        holder = make.integers(0, HOLDERS, count)
    start = make.integers(FIRST, LAST, count)
    return {
        "holder": holder.astype(np.int32),
        "token": make.integers(0, TOKENS, count).astype(np.int32),
        "start": start,
        "end": start + make.integers(0, 10_000_000_000_000, count),
        "weight": make.integers(1, 1_000, count),
    }


def columns(events: dict[str, np.ndarray], threads: int, rounds: int) -> None:
    """Sums and unions of Arrow columns."""
    try:
        import pyarrow as pa  # a peer that may not be installed
    except ImportError:
        print("columns: pyarrow is not installed")
        return
    count = len(events["holder"])

    def ids(codes: np.ndarray, letter: str, size: int) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(codes, [f"{letter}{n:06}" for n in range(size)])

    instant = pa.timestamp("us")
    coded = pa.table(
        {
            "holder_id": ids(events["holder"], "h", HOLDERS),
            "token_id": ids(events["token"], "t", TOKENS),
            "start": pa.array(events["start"], instant),
            "end": pa.array(events["end"], instant),
            "weight": pa.array(events["weight"]),
        }
    )
    text = coded.set_column(0, "holder_id", coded["holder_id"].cast(pa.string()))
    text = text.set_column(1, "token_id", text["token_id"].cast(pa.string()))

    def ours(table: pa.Table, overlap: str) -> Callable[[], object]:
        return lambda: pa.table(hold.score(table, at=AT, overlap=overlap, threads=threads))

    def numpy_sum() -> object:
        seconds = (events["end"] - events["start"]) * events["weight"].astype(float)
        return np.bincount(events["holder"], seconds, minlength=HOLDERS)

    summed: Candidates = {"poh_holdmetrics (exact)": ours(coded, "sum"), "numpy (float)": numpy_sum}
    union: Candidates = {"poh_holdmetrics": ours(coded, "union")}
    texts: Candidates = {
        "poh_holdmetrics sum (exact)": ours(text, "sum"),
        "poh_holdmetrics union": ours(text, "union"),
    }
    for name, table, into in (("coded", coded, summed), ("texts", text, texts)):
        peers = duckdb_candidates(name, table, threads)
        into.update({key: peers[key] for key in peers if "union" not in key})
        target = union if name == "coded" else texts
        target.update({key: peers[key] for key in peers if "union" in key})
    report("sum per holder, Arrow with dictionary ids", summed, count, rounds)
    report("union per (holder, token), then per holder", union, count, rounds)
    report("the same with plain strings as ids", texts, count, rounds)


def duckdb_candidates(name: str, table: object, threads: int) -> Candidates:
    """DuckDB's float sum, exact sum, and union by a running maximum of the ends."""
    try:
        import duckdb  # a peer that may not be installed
    except ImportError:
        return {}
    database = duckdb.connect(config={"threads": threads})
    database.register("incoming", table)
    database.execute(f"create table {name} as from incoming")  # our own name
    span = 'epoch_us("end") - epoch_us(start)'
    queries = {
        "DuckDB (float)": f"""
            select holder_id, sum(({span}) * weight::double) from {name} group by 1""",
        "DuckDB (exact)": f"""
            select holder_id, sum(({span})::hugeint * weight) from {name} group by 1""",
        "DuckDB union": f"""
            select holder_id, sum(greatest(0, e - greatest(s, coalesce(reached, s)))) from (
                select holder_id, epoch_us(start) s, epoch_us("end") e,
                    max(epoch_us("end")) over (partition by holder_id, token_id order by start
                        rows between unbounded preceding and 1 preceding) reached
                from {name}) group by 1""",
    }

    def run(query: str) -> Callable[[], object]:
        return lambda: database.sql(query).to_arrow_table()

    return {key: run(query) for key, query in queries.items()}


def objects(rounds: int, count: int = 300_000) -> None:
    """Total of a list of HoldEvent objects."""
    make = random.Random(7)  # noqa: S311 # test data
    plain = [
        (make.randrange(10**9), make.randrange(10**6), make.randrange(1000) / 100)
        for _ in range(count)
    ]
    made = [
        hold.HoldEvent("t", "h", start, start + length, weight) for start, length, weight in plain
    ]

    class Event:
        __slots__ = ("end", "start", "weight")

        def __init__(self, start: int, length: int, weight: float) -> None:
            self.start, self.end, self.weight = start, start + length, weight

    own = [Event(*parts) for parts in plain]

    def python() -> float:
        total = 0.0
        for event in own:
            if event.end is not None:
                total += (event.end - event.start) * event.weight
        return total

    report(
        "calculate_score of a list of objects",
        {"poh_holdmetrics (exact)": lambda: calculate_score(made), "pure Python (float)": python},
        count,
        rounds,
    )


def tracker(rounds: int, count: int = 300_000) -> None:
    """One record call with string ids."""
    events = [hold.HoldEvent(f"t{n % 10}", f"h{n % 100}", n, n + 5) for n in range(1000)]

    def ours() -> None:
        aggregator = hold.HoldAggregator()
        record = aggregator.record
        for _ in range(count // 1000):
            for event in events:
                record(event)

    class Tracker:
        def __init__(self) -> None:
            self.totals: dict[tuple[str, str], float] = defaultdict(float)

        def record(self, token: str, holder: str, start: int, end: int, weight: float) -> None:
            if end < start or weight < 0:
                raise ValueError
            self.totals[holder, token] += (end - start) * weight

    parts = [(event.token_id, event.holder_id, n, n + 5, 1.0) for n, event in enumerate(events)]

    def python() -> None:
        record = Tracker().record
        for _ in range(count // 1000):
            for part in parts:
                record(*part)

    report(
        "record of 1000 hot pairs", {"poh_holdmetrics": ours, "pure Python": python}, count, rounds
    )


def merkle(count: int) -> None:
    """Root of a standard tree; beside OpenZeppelin's library where node has it."""
    claims = [(f"0x{n * 0x9E3779B97F4A7C15 % 2**160:040x}", n) for n in range(count)]
    report(
        f"Merkle root of {count:,} claims",
        {"poh_holdmetrics": lambda: hold.StandardMerkleTree.of(claims).root},
        count,
        1,
    )
    folder = os.environ.get("OPENZEPPELIN_MERKLE_TREE")
    node = shutil.which("node")
    if folder is None or node is None:
        print("  OpenZeppelin's library: set OPENZEPPELIN_MERKLE_TREE to a folder where npm put it")
        return
    few = count // 20
    script = (
        "const {StandardMerkleTree: T} = require('@openzeppelin/merkle-tree');"
        "const v = JSON.parse(require('fs').readFileSync(0));const t = process.hrtime.bigint();"
        "const r = T.of(v, ['address', 'uint256']).root;"
        "console.log(JSON.stringify([r, Number(process.hrtime.bigint() - t) / 1e9]))"
    )
    text = json.dumps([[address, str(amount)] for address, amount in claims[:few]])
    run = subprocess.run(
        [node, "-e", script], cwd=folder, input=text, capture_output=True, text=True, check=True
    )
    root, seconds = json.loads(run.stdout)
    if root != hold.StandardMerkleTree.of(claims[:few]).root:
        sys.exit("the roots differ")
    print(f"  {'OpenZeppelin (JavaScript)':30} {few / seconds / 1e6:9.3f} M/s  (of {few:,} claims)")


def report(what: str, candidates: Candidates, count: int, rounds: int) -> None:
    """Time the candidates in turn and print the best of each."""
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(rounds):
        for name, run in candidates.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
    print(what)
    for name, seconds in best.items():
        print(f"  {name:30} {count / seconds / 1e6:9.3f} M/s  {seconds * 1e9 / count:8.1f} ns each")


if __name__ == "__main__":
    main()

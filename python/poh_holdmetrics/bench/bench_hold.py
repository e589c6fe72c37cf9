"""poh_holdmetrics beside its peers, in one run on one machine, with the goal of each figure.

Events are generated, the same in every run: 1000 tokens, 100,000 holders, uniform and Zipf 1.1.
Rounds of all candidates alternate, so that a busy machine slows all of them; the best round counts.
Of a large file's passes it is the one in the middle: the host may have kept what was just written.
Beside it is the processor time of all threads, which other programs change little.
Peers work on their own tables and give Arrow. What is not installed is named and left out.

    ./pixiw run bench-hold [--events 10000000] [--rounds 5] [--threads 2] [--only memory]
    ./pixiw run bench-hold --large 1000000000 --only large
    ./pixiw run bench-hold --only costs --only cluster      (the tables of docs/scale.md)
"""

# ruff: noqa: ANN401, S608, T201 # it prints; peers may be missing and have no types
from __future__ import annotations

import argparse
import hashlib
import importlib
import io
import itertools
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import poh_holdmetrics as hold
from poh_holdmetrics.calculator import calculate_score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Candidates = dict[str, Callable[[], Any]]
    Columns = dict[str, np.ndarray[Any, Any]]

HOLDERS, TOKENS = 100_000, 1_000
FIRST, LAST = 1_600_000_000_000_000, 1_700_000_000_000_000
AT = 1_800_000_000
EPOCH = 30 * 86_400
OVERLAPS: tuple[Any, ...] = ("sum", "union")
OURS = "poh_holdmetrics"
OURS_WHOLE = f"{OURS} (every column)"
# What the peers' sums answer: no times, no floats beside the exact sum.
SUMS = ["holder_id", "weighted_score_exact"]
IDS = {
    "codes": "dictionary ids",
    "texts": "plain strings of 7 characters as ids",
    "addresses": "addresses of 42 characters as ids",
}
SECTIONS = ("columns", "memory", "objects", "tracker", "merkle", "large", "costs", "cluster")


def main() -> None:
    """Run the sections that were asked for."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--events", type=int, default=10_000_000)
    options.add_argument("--skew", choices=["uniform", "zipf", "both"], default="both")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--claims", type=int, default=1_000_000)
    options.add_argument("--large", type=int, default=100_000_000, help="events of section large")
    options.add_argument(
        "--only", choices=SECTIONS, action="append", help="sections (default: all)"
    )
    options.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    options.add_argument("--cost-of", nargs=2, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.peak_of is not None:
        print(json.dumps(peak_of(chosen.peak_of[0], Path(chosen.peak_of[1]), chosen.threads)))
        return
    if chosen.cost_of is not None:
        print(json.dumps(cost_of(chosen.cost_of[0], Path(chosen.cost_of[1]), chosen.threads)))
        return
    # Who ends it gets its files' room back: they are tens of gigabytes.
    signal.signal(signal.SIGTERM, ended)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a section takes minutes, also into a file
    print(versions())
    load = f"; load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{chosen.events:,} events, {chosen.threads} threads, best of {chosen.rounds}{load}")
    sections = chosen.only or SECTIONS
    skews = ["uniform", "zipf"] if chosen.skew == "both" else [chosen.skew]
    for skew in skews:
        if "columns" in sections:
            columns(generated(chosen.events, skew), skew, chosen.threads, chosen.rounds)
    if "memory" in sections:
        memory(chosen.events, chosen.threads)
    if "objects" in sections:
        objects(chosen.rounds)
    if "tracker" in sections:
        tracker(chosen.rounds)
    if "merkle" in sections:
        merkle(chosen.claims)
    if "large" in sections:
        large(chosen.large, chosen.threads)
    if "costs" in sections:
        costs(min(chosen.events, 4_000_000), chosen.threads)
    if "cluster" in sections:
        cluster(min(chosen.events // 3, 3_200_000))


def ended(number: int, _frame: object) -> None:
    """Leave in order; who is impatient meanwhile does not change that."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def versions() -> str:
    """Name what is compared, and where."""
    found = [f"{OURS} {hold.__version__}", f"python {platform.python_version()}"]
    for name in ("duckdb", "numpy", "polars", "pyarrow", "dask", "pyspark"):
        peer = peer_of(name)
        found.append(f"{name} {peer.__version__}" if peer else f"{name} is not installed")
    if node := shutil.which("node"):
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
        found.append(f"node {version.stdout.strip()}")
    return ", ".join(found)


def peer_of(name: str) -> Any:
    """A module that may not be installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def generated(count: int, skew: str, seed: int = 20240501, *, holders: int = HOLDERS) -> Columns:
    """Make events; the same ones in every run."""
    make = np.random.default_rng(seed)
    if skew == "zipf":
        ranks = np.arange(1, holders + 1) ** -1.1
        holder = make.choice(holders, count, p=ranks / ranks.sum())
    else:
        holder = make.integers(0, holders, count)
    start = make.integers(FIRST, LAST, count)
    return {
        "holder": holder.astype(np.int32),
        "token": make.integers(0, TOKENS, count).astype(np.int32),
        "start": start,
        "end": start + make.integers(0, 10_000_000_000_000, count),
        "weight": make.integers(1, 1_000, count),
    }


def arrow_of(events: Columns, ids: str = "codes", *, holders: int = HOLDERS) -> Any:
    """The events as an Arrow table, with ids as one of `IDS`."""
    pa = importlib.import_module("pyarrow")

    def column(codes: np.ndarray[Any, Any], letter: str, size: int) -> Any:
        names = [f"{letter}{n:06}" for n in range(size)]
        if ids == "addresses":
            names = [f"0x{hashlib.sha256(name.encode()).hexdigest()[:40]}" for name in names]
        coded = pa.DictionaryArray.from_arrays(codes, names)
        return coded if ids == "codes" else coded.cast(pa.string())

    instant = pa.timestamp("us")
    return pa.table(
        {
            "holder_id": column(events["holder"], "h", holders),
            "token_id": column(events["token"], "t", TOKENS),
            "start": pa.array(events["start"], instant),
            "end": pa.array(events["end"], instant),
            "weight": pa.array(events["weight"]),
        }
    )


def columns(events: Columns, skew: str, threads: int, rounds: int) -> None:
    """Sums and unions of Arrow columns."""
    if not peer_of("pyarrow"):
        print("columns: pyarrow is not installed")
        return
    pa = importlib.import_module("pyarrow")
    count = len(events["holder"])
    coded = arrow_of(events)
    peers = duckdb_of("codes", coded, threads)
    few = {name: values[: count // 50] for name, values in events.items()}
    summed = {
        OURS: ours(coded, "sum", threads, columns=SUMS),
        OURS_WHOLE: ours(coded, "sum", threads),
        **peers["sum"],
        "numpy (float, one thread)": lambda: numpy_sum(events),
        "polars (float)": polars_of(coded, threads, "sum"),
    }
    goals = {"DuckDB (float)": 4.0, "DuckDB (exact)": 8.0} if skew == "uniform" else {}
    report(f"{skew}: sum per holder, {IDS['codes']}", summed, count, rounds, goals)
    joined = {
        OURS: ours(coded, "union", threads),
        **peers["union"],
        "numpy (one thread)": lambda: numpy_union(events),
        "polars": polars_of(coded, threads, "union"),
    }
    report(
        f"{skew}: union per pair, then per holder",
        joined,
        count,
        rounds,
        best_of(peers["union"], 8),
    )
    report(
        f"{skew}: the same in pure Python",
        {"pure Python": lambda: python_union(few)},
        len(few["holder"]),
        1,
        {},
    )
    epochs = ends_of_epochs()
    by_epoch = {
        OURS: lambda: pa.table(
            hold.epochs(coded, every=EPOCH, start=epochs[0], at=epochs[-1], threads=threads)
        ),
        "a question for each epoch": lambda: by_questions(coded, epochs, threads),
        **peers["epochs"],
    }
    what = f"{skew}: sum per holder and epoch, {len(epochs) - 1} epochs of 30 days"
    report(what, by_epoch, count, 1, {})
    for ids in ("texts", "addresses"):
        text = arrow_of(events, ids)
        peers = duckdb_of(ids, text, threads)
        summed = {
            OURS: ours(text, "sum", threads, columns=SUMS),
            OURS_WHOLE: ours(text, "sum", threads),
            **peers["sum"],
        }
        report(f"{skew}: sum, {IDS[ids]}", summed, count, rounds, best_of(peers["sum"], 4))
        joined = {OURS: ours(text, "union", threads), **peers["union"]}
        report(f"{skew}: union, {IDS[ids]}", joined, count, rounds, best_of(peers["union"], 7))


def ours(table: Any, overlap: Any, threads: int, columns: Any = None) -> Callable[[], Any]:
    """One question to a table, with its answer as Arrow."""
    pa = importlib.import_module("pyarrow")

    return lambda: pa.table(
        hold.score(table, at=AT, overlap=overlap, columns=columns, threads=threads)
    )


def ends_of_epochs() -> list[int]:
    """Where epochs end, in seconds; the first one is where they start."""
    first, last = FIRST // 10**6, LAST // 10**6
    return [*range(first, last, EPOCH), first + -(-(last - first) // EPOCH) * EPOCH]


def by_questions(table: Any, ends: list[int], threads: int) -> list[Any]:
    """One question for each epoch, as it would be without `epochs`."""
    pa = importlib.import_module("pyarrow")

    holds = hold.Holds(table)
    windows = itertools.pairwise(ends)
    return [
        pa.table(holds.score(at=last, start=first, end=last, threads=threads))
        for first, last in windows
    ]


def best_of(peers: Candidates, times: float) -> dict[str, float]:
    """A goal against the best of some peers."""
    return dict.fromkeys(["best of " + ", ".join(peers)], times) if peers else {}


def duckdb_of(name: str, table: Any, threads: int) -> dict[str, Candidates]:
    """DuckDB's sums, and its unions: by a running maximum of the ends, and by islands."""
    if not peer_of("duckdb"):
        return {"sum": {}, "union": {}, "epochs": {}}
    import duckdb

    database = duckdb.connect(config={"threads": threads})
    database.register("incoming", table)
    database.execute(f"create table {name} as from incoming")
    database.unregister("incoming")
    span = 'epoch_us("end") - epoch_us(start)'
    bounds = "rows between unbounded preceding and 1 preceding"
    over = f"over (partition by holder_id, token_id order by start {bounds})"
    reached = f"""
        select holder_id, token_id, epoch_us(start) s, epoch_us("end") e,
            max(epoch_us("end")) {over} reached from {name}"""

    def sums(product: str) -> str:
        return f"select holder_id, sum({product}) from {name} group by 1"

    unions = {
        "DuckDB (running maximum)": f"""
            select holder_id, sum(greatest(0, e - greatest(s, coalesce(reached, s))))
            from ({reached}) group by 1""",
        "DuckDB (islands)": f"""
            select holder_id, sum(last - first) from (
                select holder_id, token_id, island, min(s) first, max(e) last from (
                    select *, sum((s > reached)::int) over (
                        partition by holder_id, token_id order by s) island from ({reached}))
                group by all) group by 1""",
    }

    def run(query: str) -> Callable[[], Any]:
        return lambda: database.sql(query).to_arrow_table()

    ends = [end * 10**6 for end in ends_of_epochs()]
    windows = ", ".join(str(pair) for pair in itertools.pairwise(ends))
    held = 'least(epoch_us("end"), high) - greatest(epoch_us(start), low)'
    by_epoch = f"""
        select holder_id, low, sum(({held}) * weight::double)
        from {name}, (values {windows}) epochs(low, high)
        where epoch_us(start) < high and epoch_us("end") > low group by all"""
    return {
        "epochs": {"DuckDB (float, a join with the epochs)": run(by_epoch)},
        "sum": {
            "DuckDB (float)": run(sums(f"({span}) * weight::double")),
            "DuckDB (exact)": run(sums(f"({span})::hugeint * weight")),
        },
        "union": {key: run(query) for key, query in unions.items()},
    }


def numpy_sum(events: Columns) -> Any:
    """Sums by bincount."""
    seconds = (events["end"] - events["start"]) * events["weight"].astype(float)
    return np.bincount(events["holder"], seconds, minlength=HOLDERS)


def numpy_union(events: Columns) -> Any:
    """Sort, then a running maximum that starts anew with each pair."""
    pair = events["holder"].astype(np.int64) * TOKENS + events["token"]
    order = np.lexsort((events["start"], pair))
    pair, start, end = pair[order], events["start"][order], events["end"][order]
    first = np.ones(len(pair), bool)
    first[1:] = pair[1:] != pair[:-1]
    # Each pair's ends are lifted above all of the pair before it.
    lift = np.cumsum(first) * (1 << 37)
    reached = np.maximum.accumulate(((end - FIRST) >> 10) + lift)
    before = np.empty_like(reached)
    before[1:] = reached[:-1]
    before = np.where(first, start, ((before - lift) << 10) + FIRST)
    held = np.maximum(0, end - np.maximum(start, before))
    return np.bincount(pair // TOKENS, held, minlength=HOLDERS)


def polars_of(table: Any, threads: int, overlap: str) -> Callable[[], Any]:
    """Sums and unions by expressions; polars takes its threads from the environment."""
    if not peer_of("polars"):
        return lambda: None
    os.environ.setdefault("POLARS_MAX_THREADS", str(threads))
    import polars as pl

    frame = pl.DataFrame(table).lazy()
    start, end = pl.col("start").to_physical(), pl.col("end").to_physical()
    if overlap == "sum":
        total = ((end - start) * pl.col("weight").cast(pl.Float64)).sum()
        return lambda: frame.group_by("holder_id").agg(total).collect().to_arrow()
    reached = end.cum_max().shift(1).over("holder_id", "token_id")
    held = pl.max_horizontal(0, end - pl.max_horizontal(start, reached.fill_null(start)))
    ordered = frame.sort("holder_id", "token_id", "start").select("holder_id", held=held)
    return lambda: ordered.group_by("holder_id").agg(pl.col("held").sum()).collect().to_arrow()


def python_union(events: Columns) -> dict[int, int]:
    """Dicts and lists."""
    groups = defaultdict(list)
    rows = zip(
        *(events[name].tolist() for name in ("holder", "token", "start", "end")), strict=True
    )
    for holder, token, start, end in rows:
        groups[holder, token].append((start, end))
    held: dict[int, int] = defaultdict(int)
    for (holder, _), spans in groups.items():
        spans.sort()
        reached = spans[0][0]
        for start, end in spans:
            held[holder] += max(0, end - max(start, reached))
            reached = max(reached, end)
    return held


def memory(count: int, threads: int) -> None:
    """Peak memory of the union, each candidate in a process of its own."""
    if not peer_of("pyarrow") or not Path("/proc/self/status").exists():
        print("memory: needs pyarrow, and a system that tells a process's peak")
        return
    pa = importlib.import_module("pyarrow")

    print(f"peak memory of the union, {count:,} events, input included")
    for ids in IDS:
        table = arrow_of(generated(count, "uniform"), ids)
        size = table.nbytes
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "input.arrow"
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            del table
            print(f"  {IDS[ids]}: input {size / 1e6:.0f} MB")
            for name in (OURS, "duckdb", "numpy", "polars"):
                if (name == "numpy" and ids != "codes") or not peer_of(name):
                    continue
                command = [sys.executable, __file__, "--peak-of", name, str(path)]
                command += ["--threads", str(threads)]
                environment = {**os.environ, "POLARS_MAX_THREADS": str(threads)}
                run = subprocess.run(
                    command, capture_output=True, text=True, check=True, env=environment
                )
                peak = json.loads(run.stdout)
                verdict = ""
                if name == OURS:
                    times = peak / size
                    verdict = f"  goal: at most 2 x the input: {times:.2f} x, {met(times <= 2)}"
                print(f"    {name:28} {peak / 1e6:9.0f} MB{verdict}")


def peak_of(name: str, path: Path, threads: int) -> int:
    """Bytes by which one union, with its input, raised this process's peak."""
    pa = importlib.import_module("pyarrow")

    for module in ("duckdb", "polars"):
        peer_of(module)
    before = peak_now()
    with pa.OSFile(str(path), "rb") as file:
        table = pa.ipc.open_file(file).read_all()
    if name == OURS:
        ours(table, "union", threads)()
    elif name == "duckdb":
        next(iter(duckdb_of("events", table, threads)["union"].values()))()
    elif name == "polars":
        polars_of(table, threads, "union")()
    else:
        rows = table.combine_chunks()
        numpy_union(
            {
                "holder": rows["holder_id"].chunk(0).indices.to_numpy(),
                "token": rows["token_id"].chunk(0).indices.to_numpy(),
                "start": rows["start"].chunk(0).cast("int64").to_numpy(),
                "end": rows["end"].chunk(0).cast("int64").to_numpy(),
            }
        )
    return peak_now() - before


def peak_now() -> int:
    """Bytes of this program's peak; ru_maxrss would count the process that started it too."""
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


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

        def __init__(self, start: Any, end: Any, weight: float) -> None:
            self.start, self.end, self.weight = start, end, weight

    def instant(seconds: int) -> datetime:
        return datetime.fromtimestamp(seconds, UTC)

    seconds = [Event(start, start + length, weight) for start, length, weight in plain]
    instants = [Event(instant(own.start), instant(own.end), own.weight) for own in seconds]

    def of_instants() -> float:
        total, now = 0.0, datetime.now(UTC)
        for event in instants:
            end = now if event.end is None else event.end
            total += (end - event.start).total_seconds() * event.weight
        return total

    def of_seconds() -> float:
        total = 0.0
        for event in seconds:
            if event.end is not None:
                total += (event.end - event.start) * event.weight
        return total

    candidates: Candidates = {
        OURS: lambda: calculate_score(made),
        "pure Python (datetimes, float)": of_instants,
        "pure Python (seconds, float)": of_seconds,
    }
    report(
        "calculate_score of a list of objects",
        candidates,
        count,
        3 * rounds,
        {"pure Python (datetimes, float)": 10, "pure Python (seconds, float)": 10},
    )


def tracker(rounds: int, count: int = 300_000) -> None:
    """One record call with string ids."""
    events = [hold.HoldEvent(f"t{n % 10}", f"h{n % 100}", n, n + 5) for n in range(1000)]

    def recorded() -> None:
        record = hold.HoldAggregator().record
        for _ in range(count // 1000):
            for event in events:
                record(event)

    @dataclass(slots=True)
    class Event:
        token_id: str
        holder_id: str
        start: int
        end: int | None
        weight: float

    @dataclass(slots=True)
    class Stat:
        micros: int = 0
        weighted: float = 0
        updated_at: int = 0

    class Tracker:
        """What a program in Python keeps of the same events: HoldStat's fields, from any thread."""

        def __init__(self) -> None:
            self.stats: defaultdict[str, Stat] = defaultdict(Stat)
            self.open: list[Event] = []
            self.lock = threading.Lock()

        def record(self, event: Event) -> None:
            if event.end is None:
                with self.lock:
                    self.open.append(event)
                return
            if event.end < event.start or event.weight < 0:
                raise ValueError
            micros = event.end - event.start
            with self.lock:
                stat = self.stats[event.holder_id]
                stat.micros += micros
                stat.weighted += micros * event.weight
                if event.end > stat.updated_at:
                    stat.updated_at = event.end

    class Sum:
        """Less than a tracker: one float for each pair, from one thread."""

        def __init__(self) -> None:
            self.totals: dict[tuple[str, str], float] = defaultdict(float)

        def record(self, token: str, holder: str, start: int, end: int, weight: float) -> None:
            if end < start or weight < 0:
                raise ValueError
            self.totals[holder, token] += (end - start) * weight

    parts = [
        (event.token_id, event.holder_id, n * 10**6, (n + 5) * 10**6, 1.0)
        for n, event in enumerate(events)
    ]
    own = [Event(*part) for part in parts]

    def python() -> None:
        record = Tracker().record
        for _ in range(count // 1000):
            for event in own:
                record(event)

    def python_sum() -> None:
        record = Sum().record
        for _ in range(count // 1000):
            for part in parts:
                record(*part)

    candidates: Candidates = {
        OURS: recorded,
        "pure Python": python,
        "pure Python, a sum alone": python_sum,
    }
    report("record, 1000 hot pairs", candidates, count, 3 * rounds, {"pure Python": 5})


def merkle(count: int) -> None:
    """Root of a standard tree; beside the libraries that npm and pip bring."""
    claims = [(f"0x{n * 0x9E3779B97F4A7C15 % 2**160:040x}", n) for n in range(count)]

    def root() -> str:
        return str(hold.StandardMerkleTree.of(claims).root)

    report(f"Merkle root of {count:,} claims", {OURS: root}, count, 1, {})
    each = 1e-6 / fastest(root, count, 1)
    few = claims[: max(count // 20, 1)]
    text = json.dumps([[address, str(amount)] for address, amount in few])
    for name, peer in (
        ("OpenZeppelin (JavaScript)", javascript_root),
        ("multiproof (Python)", python_root),
    ):
        with tempfile.TemporaryDirectory() as folder:
            outcome = peer(folder, text)
        if isinstance(outcome, str):
            print(f"  {name}: {outcome}")
            continue
        found, spent, version = outcome
        if found != hold.StandardMerkleTree.of(few).root:
            sys.exit(f"the roots differ: {name}")
        times = spent / len(few) / each
        print(
            f"  {name} {version}, {len(few):,} claims {len(few) / spent / 1e6:9.3f} M/s\n"
            f"  goal: at least 20 x {name}: {times:.1f} x, {met(times >= 20)}"
        )


def javascript_root(folder: str, claims: str) -> tuple[str, float, str] | str:
    """The root by OpenZeppelin's own library, its seconds and its version; or why there is none."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "node and npm are not installed"
    install = [npm, "install", "--silent", "--prefix", folder, "@openzeppelin/merkle-tree"]
    if subprocess.run(install, check=False, capture_output=True).returncode != 0:
        return "npm can't install @openzeppelin/merkle-tree here"
    script = (
        "const {StandardMerkleTree: T} = require('@openzeppelin/merkle-tree');"
        "const v = JSON.parse(require('fs').readFileSync(0));const t = process.hrtime.bigint();"
        "const r = T.of(v, ['address', 'uint256']).root;"
        "const {version} = require('@openzeppelin/merkle-tree/package.json');"
        "console.log(JSON.stringify([r, Number(process.hrtime.bigint() - t) / 1e9, version]))"
    )
    return answer_of([node, "-e", script], folder, claims)


def python_root(folder: str, claims: str) -> tuple[str, float, str] | str:
    """The same by the port of OpenZeppelin's library to Python."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "multiproof"]
    if subprocess.run(install, check=False, capture_output=True).returncode != 0:
        return "pip can't install multiproof here"
    script = (
        "import importlib.metadata, json, sys, time\n"
        f"sys.path.insert(0, {folder!r})\n"
        "from multiproof import StandardMerkleTree\n"
        "claims = [[address, int(amount)] for address, amount in json.load(sys.stdin)]\n"
        "began = time.perf_counter()\n"
        "root = StandardMerkleTree.of(claims, ['address', 'uint256']).root\n"
        "spent = time.perf_counter() - began\n"
        "print(json.dumps([root, spent, importlib.metadata.version('multiproof')]))"
    )
    return answer_of([sys.executable, "-c", script], folder, claims)


def answer_of(command: list[str], folder: str, claims: str) -> tuple[str, float, str]:
    """What a program of a peer says."""
    run = subprocess.run(
        command, cwd=folder, input=claims, capture_output=True, text=True, check=True
    )
    found, spent, version = json.loads(run.stdout)
    return str(found), float(spent), str(version)


CODECS = ("snappy", "zstd")
"""How Parquet is packed: as pyarrow, DuckDB and Spark do where they are not told how, and as polars
and this library do, smaller and with more work for processors."""


PASSES = 3


def large(count: int, threads: int) -> None:
    """Parquet that is generated in pieces, and never in memory as a whole."""
    if not peer_of("pyarrow") or not Path("/proc/self/status").exists():
        print("large: needs pyarrow, and a system that tells a process's peak")
        return
    for codec in CODECS:
        packed(count, threads, codec)


def packed(count: int, threads: int, codec: str) -> None:
    """Parquet of one codec."""
    pa, pq = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")

    piece = min(count, 4_000_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.parquet"
        first = arrow_of(generated(piece, "uniform"))
        pieces = [first]
        with pq.ParquetWriter(path, first.schema, compression=codec) as writer:
            for number in range(count // piece):
                if number > 0:
                    pieces = [arrow_of(generated(piece, "uniform", number))]
                writer.write_table(pieces[0], row_group_size=1_000_000)
        rows = count // piece * piece
        size = path.stat().st_size / 1e9
        print(f"Parquet ({codec}) of {rows:,} events, {size:.2f} GB, by streaming")
        # In turns: a disk that is shared with others gives now more, now less.
        passes = [(read(path), streamed(path, "sum", threads)[1]) for _ in range(PASSES)]
        passes.sort(key=lambda seconds: seconds[1] / seconds[0])
        disk, from_disk = (rows / seconds / 1e6 for seconds in passes[PASSES // 2])
        each = ", ".join(f"{rows / a / 1e6:.1f} and {rows / b / 1e6:.1f}" for a, b in passes)
        memory_rate = fastest(ours(first, "sum", threads), piece)
        needed = ["holder_id", "start", "end", "weight"]
        pa.set_cpu_count(threads)
        decoded = fastest(
            lambda: deque(pq.ParquetFile(path).iter_batches(columns=needed), maxlen=0), rows, 1
        )
        del first, pieces
        tenth = Path(folder) / "tenth.parquet"
        part = pq.ParquetFile(path)
        with pq.ParquetWriter(tenth, part.schema_arrow, compression=codec) as writer:
            for group in range(max(1, part.num_row_groups // 10)):
                writer.write_table(part.read_row_group(group))
        for overlap in OVERLAPS:
            peaks = [streamed(file, overlap, threads) for file in (tenth, path)]
            (small, _), (peak, seconds) = peaks
            rate = rows / seconds / 1e6
            print(
                f"  {overlap:6} {rate:8.1f} M/s   peak {peak / 1e6:6.0f} MB"
                f" (a tenth of the events: {small / 1e6:.0f} MB)"
            )
            if overlap == "sum":
                flat = peak / small
                of_memory, of_disk = memory_rate / rate, disk / from_disk
                print(
                    f"  goal: memory flat: {flat:.2f} x of a tenth's, {met(flat < 1.5)}\n"
                    f"  goal: within 1.3 x of the in-memory rate ({memory_rate:.0f} M/s):"
                    f" {of_memory:.2f} x; or, when nothing of the file is in the system's cache, of"
                    f" the disk's: {disk:.1f} M/s to read it, {from_disk:.1f} M/s to score it, of"
                    f" {each}, {of_disk:.2f} x: {met(min(of_memory, of_disk) <= 1.3)}\n"
                    f"  pyarrow decodes the same columns, and does no more, at {decoded:.1f} M/s"
                )
        if duckdb := peer_of("duckdb"):
            database = duckdb.connect(config={"threads": threads})
            query = f"""
                select holder_id, sum((epoch_us("end") - epoch_us(start)) * weight::double)
                from '{path}' group by 1"""
            rate = fastest(lambda: database.sql(query).to_arrow_table(), rows, 1)
            print(f"  DuckDB of the same file, sum (float) {rate:8.1f} M/s")


def read(path: Path) -> float:
    """Seconds that it takes to read a file from the disk, and no more."""
    forget(path)
    began = time.perf_counter()
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass
    seconds = time.perf_counter() - began
    forget(path)
    return seconds


def forget(path: Path) -> None:
    """Let the system's cache hold nothing of a file, so that it comes from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())  # what is not written yet would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


STREAMED = """
import sys, time
import poh_holdmetrics as hold
path, overlap, threads, at = sys.argv[1:]
began = time.perf_counter()
hold.score(path, at=int(at), overlap=overlap, threads=int(threads))
spent = time.perf_counter() - began
status = open("/proc/self/status").read()
print(int(status.partition("VmHWM:")[2].split()[0]) * 1024, spent)
"""


def streamed(path: Path, overlap: str, threads: int) -> tuple[int, float]:
    """Peak bytes and seconds of one question to a file, in a process of its own."""
    command = [sys.executable, "-c", STREAMED, str(path), overlap, str(threads), str(AT)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak, seconds = run.stdout.split()
    return int(peak), float(seconds)


CODED, PARQUET = "codes.arrow", "events.parquet"
MONTHS = {"every": EPOCH, "start": FIRST // 10**6, "at": LAST // 10**6}
WORKS: dict[str, tuple[str, Callable[..., Any], dict[str, Any]]] = {
    '`score`, overlap `"sum"`, by holder': (CODED, hold.score, {"at": AT}),
    "the same of ten times as many holders": ("holders.arrow", hold.score, {"at": AT}),
    "the same, ids as plain strings of 7 characters": ("texts.arrow", hold.score, {"at": AT}),
    "the same, addresses of 42 characters as ids": ("addresses.arrow", hold.score, {"at": AT}),
    'overlap `"union"`, by holder': (CODED, hold.score, {"at": AT, "overlap": "union"}),
    'overlap `"max"`, by holder': (CODED, hold.score, {"at": AT, "overlap": "max"}),
    '`"sum"`, by pairs of holder and token': (CODED, hold.score, {"at": AT, "by": "both"}),
    "`epochs` of 30 days, 39 of them, by holder": (CODED, hold.epochs, MONTHS),
    'from Parquet, `"sum"`': (PARQUET, hold.score, {"at": AT}),
    'from Parquet, `"union"`': (PARQUET, hold.score, {"at": AT, "overlap": "union"}),
    'from CSV, `"sum"`': ("events.csv", hold.score, {"at": AT}),
    '`partial` of Parquet, `"sum"`': (PARQUET, hold.partial, {"at": AT}),
    "`merge` of two states, for a row of them": (
        "state.arrow",
        lambda data, threads: hold.merge([data, data]),  # it has one thread
        {},
    ),
    "`finish` of a state, for a row": (
        "state.arrow",
        lambda data, threads: hold.finish(data),
        {},
    ),
}
"""What docs/scale.md tells the cost of: the file that it is done with, and how."""


def costs(count: int, threads: int) -> None:
    """What an event and a holder cost, each work in a process of its own: docs/scale.md's table."""
    if not peer_of("pyarrow") or not Path("/proc/self/clear_refs").exists():
        print("costs: needs pyarrow, and a system that tells a process's peak")
        return
    pa = importlib.import_module("pyarrow")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = generated(count, "uniform")
        coded, many = arrow_of(events), 10 * HOLDERS
        state = pa.table(hold.partial(coded, at=AT, threads=threads))
        tables = {
            "codes": coded,
            "texts": arrow_of(events, "texts"),
            "addresses": arrow_of(events, "addresses"),
            "holders": arrow_of(generated(count, "uniform", holders=many), holders=many),
            "state": state,
        }
        for stem, table in tables.items():
            path = folder / f"{stem}.arrow"
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
        parquet, csv = folder / "events.parquet", folder / "events.csv"
        importlib.import_module("pyarrow.parquet").write_table(
            coded, parquet, compression="zstd", row_group_size=1_000_000
        )
        importlib.import_module("pyarrow.csv").write_csv(tables["texts"], csv)
        print(f"costs, {count:,} events of {HOLDERS:,} holders, {threads} threads")
        print(
            f"  an event has {coded.nbytes / count:.0f} bytes in Arrow,"
            f" {parquet.stat().st_size / count:.0f} in Parquet (zstd),"
            f" {csv.stat().st_size / count:.0f} in CSV;"
            f" a row of a state {state.nbytes / len(state):.0f}"
        )
        units = {"state.arrow": len(state)}
        del tables, coded
        print("| work | processor time | memory |\n|---|---|---|")
        for work, (file_name, _, _) in WORKS.items():
            command = [sys.executable, __file__, "--cost-of", work, str(folder / file_name)]
            command += ["--threads", str(threads)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, peak = json.loads(run.stdout)
            each = units.get(file_name, count) * (2 if work.startswith("`merge`") else 1)
            print(f"| {work} | {seconds * 1e9 / each:.0f} ns | {peak / each:.0f} bytes |")


def cost_of(work: str, path: Path, threads: int) -> tuple[float, int]:
    """Seconds of processors, and bytes above what was there with the input; the better of two."""
    pa = importlib.import_module("pyarrow")

    _, run, asked = WORKS[work]
    data: Any = path
    if path.suffix == ".arrow":
        with pa.OSFile(str(path), "rb") as file:
            data = pa.ipc.open_file(file).read_all()
    best = (float("inf"), 0)
    for _ in range(2):
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins here
        before, began = peak_now(), time.process_time()
        answer = run(data, threads=threads, **asked)
        spent = time.process_time() - began
        best = min(best, (spent, peak_now() - before))
        del answer
    return best


def cluster(count: int) -> None:
    """The same bits on Dask and on Spark, and what they cost beside one process."""
    if not peer_of("pyarrow") or not peer_of("pandas") or not Path("/proc/self/stat").exists():
        print("cluster: needs pyarrow, pandas, and a system that tells the time of processes")
        return
    pq = importlib.import_module("pyarrow.parquet")
    parts = 16
    with tempfile.TemporaryDirectory() as folder:
        for part in range(parts):
            table = arrow_of(generated(count // parts, "uniform", part), "texts")
            pq.write_table(table, Path(folder) / f"{part:02}.parquet")
        del table
        print(
            f"cluster, {count:,} events in {parts} Parquet files, processor time of all processes"
        )
        print('| | `"sum"` | `"union"` (with the shuffle by holder) |\n|---|---|---|')
        paths: list[Any] = sorted(Path(folder).iterdir())
        alone, answers = [], []
        for overlap in OVERLAPS:
            began = worked()
            answers.append(exact(hold.score(paths, at=AT, overlap=overlap, threads=1)))
            alone.append(worked() - began)
        print(row_of("one process", alone, alone, count))
        for name, run in (("Dask, 2 processes", on_dask), ("Spark, `local[2]`", on_spark)):
            outcome = run(folder)
            if outcome is None:
                print(f"  {name.split(',')[0]} is not installed, or finds no Java")
                continue
            scores, spent = outcome
            if [exact(each) for each in scores] != answers:
                sys.exit(f"other bits: {name}")
            print(row_of(name, spent, alone, count))
        print("  the same bits in all of them")


def row_of(name: str, spent: list[float], alone: list[float], count: int) -> str:
    """A row of the table: nanoseconds for an event, and how many times those of one process."""
    cells = [
        f"{own * 1e9 / count:.0f} ns ({own / one:.1f} x)"
        for own, one in zip(spent, alone, strict=True)
    ]
    return f"| {name} | {' | '.join(cells)} |"


def exact(scores: hold.Scores) -> dict[str, str]:
    """Every digit, by holder."""
    return {row["holder_id"]: row["weighted_score_exact"] for row in scores.to_pylist()}


def worked() -> float:
    """Seconds of processors of this process and of all that descend from it."""
    parents, ticks = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        process = int(status.parent.name)
        parents[process] = int(fields[1])
        # In user and in kernel mode, its own and that of children that have ended.
        ticks[process] = sum(map(int, fields[11:15]))
    family = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks.get(process, 0) for process in family) / os.sysconf("SC_CLK_TCK")


type Outcome = tuple[list[hold.Scores], list[float]]


def on_dask(folder: str) -> Outcome | None:
    """A LocalCluster of two processes."""
    distributed, frames = peer_of("distributed"), peer_of("dask.dataframe")
    if not distributed or not frames:
        return None
    import poh_holdmetrics.dask

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as local,
        distributed.Client(local),
    ):
        return asked_of(poh_holdmetrics.dask.score, lambda: frames.read_parquet(folder))


def on_spark(folder: str) -> Outcome | None:
    """Spark with two threads of one Java process, and a Python worker for each."""
    spark = peer_of("pyspark.sql")
    if not spark or not shutil.which("java"):
        return None
    import poh_holdmetrics.spark

    builder = spark.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.memory", "4g").config("spark.log.level", "ERROR")
    session = builder.getOrCreate()
    try:
        return asked_of(poh_holdmetrics.spark.score, lambda: session.read.parquet(folder))
    finally:
        session.stop()


def asked_of(score: Callable[..., hold.Scores], frame: Callable[[], Any]) -> Outcome:
    """The answers of a cluster that is warm, and seconds of processors for each."""
    score(frame(), at=AT)
    answers, spent = [], []
    for overlap in OVERLAPS:
        began = worked()
        answers.append(score(frame(), at=AT, overlap=overlap))
        spent.append(worked() - began)
    return answers, spent


def report(
    what: str, candidates: Candidates, count: int, rounds: int, goals: dict[str, float]
) -> None:
    """Time the candidates in turn; print the best of each, and whether the goals are met."""
    best = {name: (float("inf"), float("inf")) for name in candidates}
    for _ in range(rounds):
        for name, (seconds, work) in timed(candidates):
            best[name] = (min(best[name][0], seconds), min(best[name][1], work))
    print(what)
    for name, (seconds, work) in best.items():
        print(
            f"  {name:32} {count / seconds / 1e6:9.3f} M/s  {seconds * 1e9 / count:8.1f} ns each"
            f"  {work * 1e9 / count:8.1f} ns of processors"
        )
    for name, times in goals.items():
        against = best.get(name)
        if against is None:
            against = min(best[peer] for peer in best if peer.startswith("DuckDB"))
        found, worked = (theirs / own for theirs, own in zip(against, best[OURS], strict=True))
        print(
            f"  goal: at least {times:g} x {name}: {found:.1f} x, {met(found >= times)}"
            f" ({worked:.1f} x by processor time)"
        )


def timed(candidates: Candidates) -> Iterator[tuple[str, tuple[float, float]]]:
    """Seconds of one round of each, and seconds of all its threads' processors."""
    for name, run in candidates.items():
        began, worked = time.perf_counter(), time.process_time()
        run()
        yield name, (time.perf_counter() - began, time.process_time() - worked)


def fastest(run: Callable[[], Any], count: int, rounds: int = 3) -> float:
    """Millions a second of the best round."""
    return max(count / seconds / 1e6 for _ in range(rounds) for _, (seconds, _) in timed({"": run}))


def met(outcome: bool) -> str:
    """The verdict in words."""
    return "met" if outcome else "not met"


if __name__ == "__main__":
    main()

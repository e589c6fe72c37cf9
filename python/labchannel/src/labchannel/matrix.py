"""Every package on every system and every Python, each in a fresh environment from the channel.

Rows do not know of each other: one that fails, hangs or can't run here leaves the rest alone. What
has passed is remembered by the digest of all that it ran on, and the last run by its rows.
"""

from __future__ import annotations

import concurrent.futures
import datetime
import fnmatch
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labchannel.build import build
from labchannel.cache import cache_folder
from labchannel.channel.layout import Channel
from labchannel.environment import current_platform
from labchannel.errors import LabchannelError
from labchannel.installed import (
    CANNOT,
    FAILED,
    PASSED,
    STOPPED,
    Result,
    Row,
    prepare,
    row_digest,
    run_row,
)
from labchannel.machine import why_not
from labchannel.manifest import read_manifest
from labchannel.progress import Progressor
from labchannel.toolchain.debian import missing_programs
from labchannel.workspace import SERVED_PYTHONS, Workspace

ROW_MINUTES = 30.0
"""The time limit of a row, unless another is asked for."""


@dataclass(frozen=True)
class MatrixOptions:
    """What is asked of a run."""

    channel: Path
    build: bool = True
    """Whether packages that are missing are built first."""
    only: tuple[str, ...] = ()
    rerun_failed: bool = False
    reuse: bool = False
    """Whether a row that has passed on these very inputs is taken as passed, and shown so."""
    jobs: int = 0
    """How many rows run at once; as many as there are processors by default."""
    minutes: float = ROW_MINUTES


@dataclass(frozen=True)
class MatrixReport:
    """What became of all rows."""

    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()
    """Sentences about the whole: what was not run again, what one system alone fails."""
    seconds: float = 0.0

    def count(self, status: str) -> int:
        """How many rows have this status."""
        return sum(result.status == status for result in self.results)

    @property
    def summary(self) -> str:
        """One line, like `17 passed, 1 failed`; what did not happen is left out, `passed` never."""
        counts = [(status, self.count(status)) for status in (PASSED, FAILED, CANNOT, STOPPED)]
        return ", ".join(f"{n} {status}" for status, n in counts if n or status == PASSED)

    def exit_code(self, *, require_all: bool) -> int:
        """1 if a row failed, or if `require_all` and one did not run; else 0."""
        bad = (FAILED, STOPPED, CANNOT) if require_all else (FAILED, STOPPED)
        return int(any(self.count(status) for status in bad))


def all_rows(workspace: Workspace) -> list[Row]:
    """Each package with a compiled module, and all of them together, on each system and Python."""
    compiled = workspace.compiled_packages()
    groups: list[tuple[str, ...]] = [(name,) for name in compiled]
    if len(compiled) > 1:
        groups.append(tuple(compiled))
    platforms = read_manifest(workspace.manifest).platforms
    return [
        Row(group, platform, python)
        for platform in platforms
        for group in groups
        for python in SERVED_PYTHONS
    ]


def chosen_rows(rows: Iterable[Row], only: Sequence[str]) -> list[Row]:
    """The rows whose label has one of the patterns in it.

    A pattern is part of a label like `gauge win-64 3.13`, or has wildcards for the whole of it.

    Raises
    ------
    LabchannelError
        A pattern fits no row.

    Examples
    --------
    >>> rows = [Row(("gauge",), "linux-64", "3.12"), Row(("gauge",), "win-64", "3.12")]
    >>> [row.label for row in chosen_rows(rows, ["win-64"])]
    ['gauge win-64 3.12']
    >>> [row.label for row in chosen_rows(rows, ["gauge*3.12"])]
    ['gauge linux-64 3.12', 'gauge win-64 3.12']
    """
    known = list(rows)
    found: set[Row] = set()
    for pattern in only:
        wild = any(letter in pattern for letter in "*?[")
        whole = pattern if wild else f"*{pattern}*"
        fits = {row for row in known if fnmatch.fnmatchcase(row.label, whole)}
        if not fits:
            labels = "\n".join(f"    {row.label}" for row in known)
            raise LabchannelError(
                f"no row fits {pattern!r}; the rows are:\n{labels}\nA pattern is a part of one",
                "Use `*` where something lies between two parts",
            )
        found |= fits
    return [row for row in known if row in found] if only else known


def run_matrix(
    workspace: Workspace,
    rows: Sequence[Row],
    options: MatrixOptions,
    progress: Progressor,
    on_results: Callable[[MatrixReport], None] = lambda _report: None,
) -> MatrixReport:
    """Run rows, several at once.

    Parameters
    ----------
    rows
        Those of `all_rows` or others.
    on_results
        Told the results, complete or not, before an interrupt is passed on.

    Raises
    ------
    LabchannelError
        There is nothing to choose from; nothing is to be built, and there is no channel.
    KeyboardInterrupt
        After everything that was running has been ended, and `on_results` was told.
    """
    began = time.monotonic()
    notes: list[str] = []
    chosen = chosen_rows(rows, options.only)
    if options.rerun_failed:
        chosen, note = _failed_before(workspace, chosen)
        notes.append(note)
    if not options.build:
        # One sentence, not one for each row.
        Channel.read(options.channel)
    done: dict[Row, Result] = {}
    for platform in dict.fromkeys(row.platform for row in chosen):
        reason = why_not(platform)
        status = CANNOT
        if not reason and options.build:
            names = {name for row in chosen if row.platform == platform for name in row.packages}
            status, reason = _build(workspace, options.channel, platform, sorted(names), progress)
        if reason:
            done |= {
                row: Result(row, status, 0.0, reason) for row in chosen if row.platform == platform
            }
    waiting = [row for row in chosen if row not in done]
    stop = threading.Event()
    jobs = options.jobs or os.cpu_count() or 1
    interrupt: BaseException | None = None
    with (
        progress.stage("rows", len(waiting)) as step,
        concurrent.futures.ThreadPoolExecutor(jobs, thread_name_prefix="row") as pool,
    ):
        futures = {pool.submit(_one, workspace, row, options, step, stop): row for row in waiting}
        try:
            for future in concurrent.futures.as_completed(futures):
                done[futures[future]] = future.result()
        except BaseException as error:
            interrupt = error
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            for future, row in futures.items():
                done[row] = (
                    future.result()
                    if future.done() and not future.cancelled()
                    else Result(row, STOPPED, detail="not begun")
                )
    results = [done[row] for row in chosen]
    comparison = _compare_bits(results)
    notes += _one_system_alone(results)
    _remember_last(workspace, results)
    report = MatrixReport((*results, *comparison), tuple(notes), time.monotonic() - began)
    on_results(report)
    if interrupt is not None:
        raise interrupt
    return report


def _one(
    workspace: Workspace,
    row: Row,
    options: MatrixOptions,
    step: Callable[[str], None],
    stop: threading.Event,
) -> Result:
    if stop.is_set():
        return Result(row, STOPPED, detail="not begun")
    step(row.label)
    if options.reuse:
        try:
            _records, _specs, solved = prepare(workspace, options.channel, row)
            earlier = _passed_before(row, row_digest(workspace, row, solved))
        except LabchannelError:
            # The row itself will say so.
            earlier = None
        if earlier is not None:
            return earlier
    result = run_row(workspace, options.channel, row, options.minutes * 60, stop)
    if result.status == PASSED:
        _remember_passed(result)
    return result


def _build(
    workspace: Workspace,
    channel: Path,
    platform: str,
    names: Sequence[str],
    progress: Progressor,
) -> tuple[str, str]:
    """Build what the channel lacks of these packages for a platform.

    Returns
    -------
    tuple
        What the rows of this platform come to without their packages, and why; the reason is empty
        if they were built.
    """
    try:
        report = build(workspace, progress, names=names, platform=platform, channel=channel)
    except LabchannelError as error:
        # A machine that has nothing to cross-build with is no fault of the packages.
        lacking = platform != current_platform() and missing_programs()
        return CANNOT if lacking else FAILED, str(error)
    reasons = [f"{o.name}: {o.reason}" for o in report.outcomes if not o.good]
    return FAILED, f"its packages can't be built: {'; '.join(reasons)}" if reasons else ""


def _compare_bits(results: Sequence[Result]) -> list[Result]:
    """A row for each package with results that must be the same bits on every system and Python.

    A system that was asked for and has no results makes it one that can't run. One that was not
    asked for is no reason: CI runs the rows of each system on a machine of that system.
    """
    found = []
    for package in sorted({name for result in results for name in result.bits}):
        parts = [result for result in results if package in result.bits]
        platforms = tuple(dict.fromkeys(part.row.platform for part in parts))
        pythons = tuple(dict.fromkeys(part.row.python for part in parts))
        row = Row((package, "same bits"), " = ".join(platforms), " ".join(pythons))
        first = parts[0]
        lines = len(first.bits[package].splitlines())
        different = [part for part in parts if part.bits[package] != first.bits[package]]
        if different:
            detail = "; ".join(
                f"{part.row.label}: {_first_difference(first.bits[package], part.bits[package])}"
                for part in different
            )
            found.append(Result(row, FAILED, detail=f"differs from {first.row.label}: {detail}"))
        elif len(platforms) < 2 <= len(_asked(results, package)):
            reason = f"{platforms[0]} alone ran: there is nothing to compare"
            found.append(Result(row, CANNOT, detail=reason))
        elif len(parts) > 1:
            files = f"{len(parts)} files of {lines} lines compared"
            found.append(Result(row, PASSED, detail=files))
    return found


def _asked(results: Sequence[Result], package: str) -> set[str]:
    """The systems on which this package was to run."""
    return {result.row.platform for result in results if package in result.row.packages}


def _first_difference(one: str, other: str) -> str:
    for number, (a, b) in enumerate(zip(one.splitlines(), other.splitlines(), strict=False), 1):
        if a != b:
            return f"line {number} is {b!r}, not {a!r}"
    return f"{len(other.splitlines())} lines, not {len(one.splitlines())}"


def _one_system_alone(results: Sequence[Result]) -> list[str]:
    """A sentence for each test that fails on one system, while its package passes on another."""
    notes = []
    for package in dict.fromkeys(result.row.package for result in results):
        own = [result for result in results if result.row.package == package]
        passing = {result.row.platform for result in own if result.status == PASSED}
        failing = {result.row.platform for result in own if result.status == FAILED}
        for platform in sorted(failing - passing):
            others = ", ".join(sorted(passing))
            tests = sorted({name for r in own if r.row.platform == platform for name in r.failures})
            if others and tests:
                notes.append(
                    f"{package} fails on {platform} alone, not on {others}: {', '.join(tests)}"
                )
    return notes


def _memory(name: str) -> Path:
    return cache_folder("matrix") / f"{name}.json"


def _remember_passed(result: Result) -> None:
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    _write(_memory(result.digest), {"when": when, "detail": result.detail, "bits": result.bits})


def _passed_before(row: Row, digest: str) -> Result | None:
    kept = _read(_memory(digest))
    if kept is None:
        return None
    detail = f"passed on {kept['when']} with the same inputs, not run again; {kept['detail']}"
    return Result(row, PASSED, detail=detail, digest=digest, bits=kept["bits"])


def _last(workspace: Workspace) -> Path:
    home = hashlib.sha256(str(workspace.root).encode()).hexdigest()[:12]
    return _memory(f"last-{home}")


def _remember_last(workspace: Workspace, results: Sequence[Result]) -> None:
    """Keep how each row ended last; those of earlier runs stay as they were."""
    before = _read(_last(workspace)) or {}
    _write(_last(workspace), {**before, **{r.row.label: r.status for r in results}})


def _failed_before(workspace: Workspace, rows: Sequence[Row]) -> tuple[list[Row], str]:
    last = _read(_last(workspace))
    if last is None:
        raise LabchannelError(
            "no earlier run of the matrix is remembered", "Run it without --rerun-failed first"
        )
    again = [row for row in rows if last.get(row.label) != PASSED]
    rest = len(rows) - len(again)
    return again, f"{rest} rows passed when they ran last and were not run again (--rerun-failed)"


def _write(path: Path, value: object) -> None:
    fresh = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    fresh.write_text(json.dumps(value), encoding="utf-8")
    fresh.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    """What was kept; None if it was not, or can't be read (then it is as if it was not)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None

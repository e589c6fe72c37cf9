"""Figures of the path from sources to a lab: printed beside their goals, never asserted."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labchannel.build import build, test_specs
from labchannel.cache import cache_folder
from labchannel.channel.layout import Channel
from labchannel.environment import current_platform, install, solve
from labchannel.errors import LabchannelError
from labchannel.installed import lab_channels, newest_build
from labchannel.matrix import MatrixOptions, all_rows, run_matrix
from labchannel.progress import Progressor
from labchannel.recipe import load_recipes
from labchannel.task import outside_variables
from labchannel.toolchain.resolve import CROSS_PLATFORM
from labchannel.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZE_GOALS = {"rvh_trace": 3_000_000, "poh_holdmetrics": 8_000_000}


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    name: str
    measured: str
    goal: str


def bench(workspace: Workspace, progress: Progressor, *, quick: bool = False) -> list[Figure]:
    """Measure on this machine, now; each figure is one run.

    Parameters
    ----------
    quick
        Leave out the two figures that take many minutes: the build from nothing and the matrix.

    Raises
    ------
    LabchannelError
        A build failed.
    """
    figures = [] if quick else [_cold_build(workspace, progress)]
    quiet = Progressor(quiet=True)
    platform = current_platform()
    # The channel has to be up to date before "nothing changed" means something.
    report = build(workspace, progress, platform=platform)
    seconds = sum(outcome.seconds for outcome in report.outcomes)
    built = [outcome.name for outcome in report.outcomes if outcome.status == "built"]
    figures.append(
        Figure(f"recipes built now: {', '.join(built) or 'none'}", f"{seconds:.1f} s", "")
    )
    began = time.monotonic()
    build(workspace, quiet, platform=platform)
    figures.append(Figure("build, nothing changed", f"{time.monotonic() - began:.1f} s", "5 s"))
    figures.append(_one_file_changed(workspace, quiet))
    figures += _cross_builds(workspace, quiet)
    own = workspace.own_packages()
    specs = [*own, "python 3.12.*", *test_specs(load_recipes(workspace, platform))]
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as folder:
        for run in ("first", "warm"):
            began = time.monotonic()
            records = solve(lab_channels(workspace.channel), specs, platform)
            solved = time.monotonic()
            install(records, Path(folder) / run, platform, specs)
            measured = f"{solved - began:.2f} s + {time.monotonic() - solved:.2f} s"
            goal = "5 s together" if run == "warm" else ""
            figures.append(Figure(f"lab environment, {run}: solve + install", measured, goal))
    content = Channel.read(workspace.channel)
    for name in own:
        size = newest_build(content, name).size
        limit = f"{_SIZE_GOALS[name] / 1e6:.0f} MB" if name in _SIZE_GOALS else ""
        figures.append(Figure(f"{name} .conda", f"{size / 1e6:.2f} MB", limit))
    if not quick:
        figures += _matrix(workspace, progress)
    return figures


def _cold_build(workspace: Workspace, progress: Progressor) -> Figure:
    """Do what the README says first with an empty cache, toolchain channel and downloads included.

    Its cache and its channel are its own: those of whoever asks stay as they are.
    """
    progress.say("building every recipe with an empty cache")
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as folder:
        began = time.monotonic()
        ended = subprocess.run(
            [
                str(workspace.root / ("pixiw.cmd" if sys.platform == "win32" else "pixiw")),
                *("run", "build-recipes", "--channel", str(Path(folder) / "channel")),
            ],
            cwd=workspace.root,
            env={**outside_variables(), "LABCHANNEL_CACHE": str(Path(folder) / "cache")},
            # Standard output is for the figures.
            stdout=sys.stderr,
            check=False,
        )
        if ended.returncode != 0:
            raise LabchannelError(
                f"the build with an empty cache failed with exit code {ended.returncode}",
                "Its output above says why",
            )
        seconds = time.monotonic() - began
    return Figure("build of every recipe, nothing in the cache", f"{seconds:.0f} s", "900 s")


def _matrix(workspace: Workspace, progress: Progressor) -> list[Figure]:
    """All rows, none reused; warm, if the channel is up to date for every system."""
    options = MatrixOptions(channel=workspace.channel)
    report = run_matrix(workspace, all_rows(workspace), options, progress)
    return [
        Figure(f"matrix: {report.summary}", f"{report.seconds:.0f} s", "900 s for 18 rows"),
        *(
            Figure(f"matrix: Wine's start-up, {result.row.label}", f"{result.beginning:.2f} s", "")
            for result in report.results
            if result.beginning
        ),
    ]


@contextlib.contextmanager
def _changed(workspace: Workspace, *files: str, comment: str) -> Iterator[Workspace]:
    """A copy of the checkout in which these files are longer by a comment.

    It has to be another one each time: a build that the cache knows already takes no time.
    """
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as folder:
        copy = Path(folder) / "checkout"
        # git's records come along: packages take the time of the sources' last commit from them.
        left_out = {workspace.channel, workspace.dist, workspace.root / "target"}
        shutil.copytree(
            workspace.root,
            copy,
            ignore=lambda folder, names: [n for n in names if Path(folder, n) in left_out],
        )
        shutil.copytree(workspace.channel, copy / "channel")
        for file in files:
            with (copy / file).open("a", encoding="utf-8", newline="\n") as source:
                source.write(f"\n{comment}\n")
        yield Workspace(copy)


def _one_file_changed(workspace: Workspace, quiet: Progressor) -> Figure:
    """Change one Python file in a copy of the checkout, and see what is built again."""
    file = "python/rvh_trace/src/rvh_trace/__init__.py"
    with _changed(workspace, file, comment=f"# changed at {time.time_ns()}") as changed:
        began = time.monotonic()
        report = build(changed, quiet, platform=current_platform())
        built = [outcome.name for outcome in report.outcomes if outcome.status != "skipped"]
        return Figure(
            f"one Python file changed: {', '.join(built)}",
            f"{time.monotonic() - began:.1f} s",
            "only that recipe",
        )


def _cross_builds(workspace: Workspace, quiet: Progressor) -> list[Figure]:
    """Change each Rust core in a copy of the checkout, and build it for both systems.

    Dependencies are compiled already, if these recipes were ever built. The build for this machine
    tests the package as well, which a cross build can't.
    """
    if not (workspace.channel / CROSS_PLATFORM).is_dir():
        return [Figure(f"{CROSS_PLATFORM} cross builds", "left out: none in the channel", "")]
    names = [
        name
        for name in workspace.own_packages()
        if (workspace.root / "crates" / name / "src" / "lib.rs").is_file()
    ]
    files = [f"crates/{name}/src/lib.rs" for name in names]
    with _changed(workspace, *files, comment=f"// changed at {time.time_ns()}") as changed:
        taken = {
            platform: {
                outcome.name: outcome.seconds
                for outcome in build(changed, quiet, platform=platform, names=names).outcomes
            }
            for platform in (current_platform(), CROSS_PLATFORM)
        }
    figures = []
    for name in names:
        here, there = (taken[platform][name] for platform in taken)
        measured = f"{there:.1f} s, {there / here:.2f} x the {here:.1f} s for {current_platform()}"
        figures.append(Figure(f"{name} built for {CROSS_PLATFORM}", measured, "2 x"))
    return figures

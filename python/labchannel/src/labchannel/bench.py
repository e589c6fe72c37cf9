"""Figures of the path from sources to a lab: printed beside their goals, never asserted."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from labchannel.build import build, test_specs
from labchannel.cache import cache_folder
from labchannel.channel.layout import Channel
from labchannel.environment import current_platform, install, solve
from labchannel.installed import lab_channels, newest_build
from labchannel.progress import Progressor
from labchannel.recipe import load_recipes
from labchannel.workspace import Workspace

_SIZE_GOALS = {"rvh_trace": 3_000_000, "poh_holdmetrics": 8_000_000}


@dataclass(frozen=True)
class Figure:
    """One measured figure."""

    name: str
    measured: str
    goal: str


def bench(workspace: Workspace, progress: Progressor) -> list[Figure]:
    """Measure on this machine, now; each figure is one run.

    The cold build is measured with `labchannel clean --all` before it, by hand: it would empty
    the caches of whoever asks for the others.
    """
    figures = []
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
    return figures


def _one_file_changed(workspace: Workspace, quiet: Progressor) -> Figure:
    """Change one Python file in a copy of the checkout, and see what is built again."""
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
        changed = Workspace(copy)
        source = sorted((copy / "python" / "rvh_trace" / "src").glob("*/__init__.py"))[0]
        source.write_text(source.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
        began = time.monotonic()
        report = build(changed, quiet, platform=current_platform())
        built = [outcome.name for outcome in report.outcomes if outcome.status != "skipped"]
        return Figure(
            f"one Python file changed: {', '.join(built)}",
            f"{time.monotonic() - began:.1f} s",
            "only that recipe",
        )

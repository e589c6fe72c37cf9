"""The promise of a package: its own tests pass where a user has installed it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import rattler
import rattler_build

from labchannel.cache import cache_folder
from labchannel.channel.layout import Channel, Record
from labchannel.environment import activated, current_platform, fresh_environment
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.upstream import CONDA_FORGE
from labchannel.workspace import SERVED_PYTHONS


@dataclass(frozen=True)
class InstalledRow:
    """One package on one Python."""

    package: str
    python: str
    status: str
    """`passed` or `failed`."""
    seconds: float
    log: str = ""
    """The end of the output of a failure."""


def test_installed(
    channel: Path, names: Sequence[str], pythons: Sequence[str], progress: Progressor
) -> list[InstalledRow]:
    """Install the newest build of each package on each Python, and run the tests that it carries.

    Each environment is fresh and made from the channel alone. The tests are those that the recipe
    ran while packaging (`tests: - script`), as rattler-build put them into the package.

    Parameters
    ----------
    channel
        The channel folder.
    names
        The packages.
    pythons
        Like `3.13`; all that the channel promises by default.

    Raises
    ------
    LabchannelError
        The channel lacks a package, or an environment can't be made.
    """
    chosen = tuple(pythons) or SERVED_PYTHONS
    content = Channel.read(channel)
    rows = []
    with progress.stage("installed packages", len(names) * len(chosen)) as step:
        for name in names:
            newest = newest_build(content, name)
            for python in chosen:
                step(f"{name} on Python {python}")
                rows.append(_test_one(channel, newest, python))
    return rows


def newest_build(content: Channel, name: str) -> Record:
    """The newest build of a package on this platform.

    Raises
    ------
    LabchannelError
        There is none.
    """
    builds = [
        record
        for record in content
        if record.name == name and record.subdir in (current_platform(), "noarch")
    ]
    if not builds:
        raise LabchannelError(
            f"the channel {content.path} has no {name} for {current_platform()}",
            "Build it with `./pixiw run build-recipes`",
        )
    return max(builds, key=lambda record: (rattler.Version(record.version), record.build_number))


def lab_channels(channel: Path) -> list[str | Path]:
    """The channel alone where it holds Python, else conda-forge behind it (`--no-closure`)."""
    alone = any(record.name == "python" for record in Channel.read(channel))
    return [channel] if alone else [channel, CONDA_FORGE]


@dataclass(frozen=True)
class ScriptTest:
    """One `script` test that a package carries; `index` is its place among all its tests."""

    index: int
    script: tuple[str, ...]
    needs: tuple[str, ...]


def carried_tests(package: Path) -> list[ScriptTest]:
    """The script tests that a package file carries."""
    found = []
    for test in rattler_build.Package.from_file(package).tests:
        if isinstance(test, rattler_build.CommandsTest):
            content = test.script.get("content", [])
            lines = content if isinstance(content, list) else [content]
            found.append(
                ScriptTest(test.index, tuple(map(str, lines)), tuple(test.requirements_run))
            )
    return found


def _test_one(channel: Path, record: Record, python: str) -> InstalledRow:
    began = time.monotonic()
    tests = carried_tests(channel / record.location)
    if not tests:
        raise LabchannelError(
            f"{record.file_name} carries no tests", "Add a `script` test to its recipe"
        )
    needs = sorted({spec for test in tests for spec in test.needs})
    specs = [f"{record.name} =={record.version} {record.build}", f"python {python}.*", *needs]
    with fresh_environment(lab_channels(channel), specs, current_platform()) as prefix:
        variables = activated(prefix, dict(clean_environment()))
        for test in tests:
            files = prefix / "etc" / "conda" / "test-files" / record.name / str(test.index)
            with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as folder:
                work = Path(folder) / "tests"
                shutil.copytree(files, work)
                code, output = _run_script(test.script, work, variables)
            if code != 0:
                seconds = time.monotonic() - began
                tail = "\n".join(output.splitlines()[-40:])
                return InstalledRow(record.name, python, "failed", seconds, tail)
    return InstalledRow(record.name, python, "passed", time.monotonic() - began)


def clean_environment() -> Iterator[tuple[str, str]]:
    """This machine's variables without those that point Python or a build elsewhere."""
    for name, value in os.environ.items():
        if not name.startswith(("PYTHON", "CONDA", "CARGO", "RUST", "PYO3")):
            yield name, value


def _run_script(lines: Sequence[str], folder: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Run a recipe's script lines as rattler-build does: the first error ends them."""
    windows = sys.platform == "win32"
    path = folder / ("run_test.bat" if windows else "run_test.sh")
    glue = "\r\nif errorlevel 1 exit /b 1\r\n" if windows else "\n"
    head = "@echo off\r\n" if windows else "set -e\n"
    path.write_text(head + glue.join(lines) + glue, encoding="utf-8")
    done = subprocess.run(
        ["cmd.exe", "/d", "/c", str(path)] if windows else ["bash", str(path)],
        check=False,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    return done.returncode, done.stdout

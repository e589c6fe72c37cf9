"""Where the rows of one system run: this machine itself, or a Windows under Wine."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from labchannel import wine
from labchannel.environment import activated, current_platform
from labchannel.errors import LabchannelError
from labchannel.lifeline import Ended, run_bounded

WINE_PLATFORM = "win-64"
"""The platform whose rows Wine runs on Linux."""


@dataclass(frozen=True)
class Script:
    """A recipe's script lines, run as rattler-build does: the first error ends them."""

    lines: Sequence[str]
    folder: Path
    """Where they run, and where a file of them is written."""
    variables: Mapping[str, str]
    """In addition to those of the environment."""
    seconds: float
    """The time limit."""
    stop: threading.Event
    """Ends them as soon as it is set."""


class Machine(Protocol):
    """A system with one environment of it active."""

    @property
    def beginning(self) -> float:
        """The seconds that it took to begin."""

    def run(self, script: Script) -> Ended:
        """Run a script in the environment."""


def why_not(platform: str) -> str:
    """Why this machine can't run programs of `platform`; empty if it can."""
    here = current_platform()
    if platform == here:
        return ""
    if platform == WINE_PLATFORM and here == "linux-64":
        try:
            wine.find_wine()
        except LabchannelError as error:
            return str(error)
        if wine.find_compiler() is None:
            return f"there is no {wine.MINGW}. Install it with `labchannel doctor --fix`."
        return ""
    return f"{platform} does not run on {here}."


@contextlib.contextmanager
def machine_for(platform: str, prefix: Path) -> Iterator[Machine]:
    """A machine of `platform` in which the environment `prefix` is active.

    Raises
    ------
    LabchannelError
        Wine fails, or the environment can't be activated.
    """
    if platform == current_platform():
        yield NativeMachine(activated(prefix, dict(clean_environment())))
    else:
        with wine.session(wine.find_wine()) as session:
            yield WineMachine(session, prefix)


def clean_environment() -> Iterator[tuple[str, str]]:
    """This machine's variables without those that point Python or a build elsewhere."""
    for name, value in os.environ.items():
        if not name.startswith(("PYTHON", "PYTEST", "CONDA", "CARGO", "RUST", "PYO3")):
            yield name, value


@dataclass(frozen=True)
class NativeMachine:
    """This machine, with the variables of an activated environment."""

    variables: Mapping[str, str]
    beginning: float = 0.0

    def run(self, script: Script) -> Ended:
        """See `Machine`."""
        if sys.platform == "win32":
            path = _write_batch(script, script.lines)
            command = ["cmd.exe", "/d", "/c", str(path)]
        else:
            path = script.folder / "run_test.sh"
            path.write_text("set -e\n" + "\n".join(script.lines) + "\n", encoding="utf-8")
            command = ["bash", str(path)]
        return run_bounded(
            command,
            cwd=script.folder,
            env={**self.variables, **script.variables},
            seconds=script.seconds,
            stop=script.stop,
            merge=True,
        )


@dataclass(frozen=True)
class WineMachine:
    """A Windows of its own under Wine."""

    session: wine.Session
    prefix: Path

    @property
    def beginning(self) -> float:
        """See `Machine`."""
        return self.session.beginning

    def run(self, script: Script) -> Ended:
        """See `Machine`."""
        activation = sorted((self.prefix / "etc" / "conda" / "activate.d").glob("*.bat"))
        calls = [f'call "{wine.windows_path(path)}"' for path in activation]
        path = _write_batch(script, [*calls, *script.lines])
        return self.session.run(
            [r"C:\windows\system32\cmd.exe", "/c", path.name],
            cwd=script.folder,
            variables={"CONDA_PREFIX": wine.windows_path(self.prefix), **script.variables},
            path=[self.prefix / part for part in WINDOWS_PATH],
            seconds=script.seconds,
            stop=script.stop,
            merge=True,
        )


WINDOWS_PATH = (
    "",
    "Library/mingw-w64/bin",
    "Library/usr/bin",
    "Library/bin",
    "Scripts",
    "bin",
)
"""The folders of an environment that conda's activation puts first on PATH on Windows."""


def _write_batch(script: Script, lines: Sequence[str]) -> Path:
    path = script.folder / "run_test.bat"
    text = "@echo off\n" + "".join(f"{line}\nif errorlevel 1 exit /b 1\n" for line in lines)
    path.write_text(text, encoding="utf-8", newline="\r\n")
    return path

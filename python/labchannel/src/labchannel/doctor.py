"""What this machine has, what it lacks, and the one command that mends each lack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from labchannel.cache import available_bytes, cache_folder, cache_root
from labchannel.environment import current_platform
from labchannel.errors import LabchannelError
from labchannel.progress import OnStep
from labchannel.system_packages import get_packages, is_root
from labchannel.toolchain.bootstrap import NEEDED_BYTES
from labchannel.toolchain.lock import read_lock
from labchannel.toolchain.resolve import TOOLCHAIN_PLATFORM
from labchannel.toolchain.rust import check_rust
from labchannel.upstream import CONDA_FORGE, VARIABLE, conda_forge_answers
from labchannel.wine import MINGW, find_compiler, find_wine
from labchannel.workspace import Workspace


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    good: bool
    needed: bool
    """Whether the build needs it on this machine."""
    detail: str
    mend: str = ""
    packages: tuple[str, ...] = ()
    """The Debian packages that mend it."""


def examine(workspace: Workspace) -> list[Finding]:
    """Look at all that a build on this machine needs."""
    choice = os.environ.get(VARIABLE, "")
    answers = conda_forge_answers() if not choice else choice == CONDA_FORGE
    findings = [
        Finding(
            "conda-forge",
            answers,
            False,
            "answers" if answers else "does not answer: the toolchain channel takes its place",
        ),
        _program("pixi", False, "install it from pixi's site; ./pixiw works without it"),
        _program("go", False, "install Go: test-slow and bench-trace build a collector with it"),
        _space(),
    ]
    if not answers:
        findings += [
            _platform(),
            _rust(workspace),
            _program("cargo", True, "install Rust with rustup"),
            _program("cc", True, "apt-get install gcc", ("gcc", "libc6-dev")),
            _program("mvn", True, "apt-get install maven", ("maven",)),
            _pip(),
        ]
    if current_platform() == "linux-64":
        findings += [_wine(), _mingw()]
    return findings


def fix(findings: Sequence[Finding], on_step: OnStep) -> None:
    """Get the system packages that mend what is missing.

    Raises
    ------
    LabchannelError
        They can't be got; or what a build needs can't be without root.
    """
    lacking = [finding for finding in findings if not finding.good and finding.packages]
    needed = [name for finding in lacking if finding.needed for name in finding.packages]
    if needed and not is_root():
        raise LabchannelError(
            "what a build needs has to be installed by root",
            f"As root: apt-get install {' '.join(needed)}; then start again",
        )
    get_packages([name for finding in lacking for name in finding.packages], on_step)


_FIX = "./pixiw run labchannel doctor --fix"


def _wine() -> Finding:
    """What runs the matrix's win-64 rows on Linux."""
    try:
        wine = find_wine()
    except LabchannelError as error:
        return Finding("Wine, for win-64", False, False, error.cause, _FIX, ("wine64",))
    return Finding("Wine, for win-64", True, False, f"{wine.version} ({wine.loader.path})")


def _mingw() -> Finding:
    """What mends this Wine (wine.py)."""
    found = find_compiler()
    if found is None:
        detail = f"{MINGW} is not on PATH"
        return Finding(
            "mingw, for Wine", False, False, detail, _FIX, ("gcc-mingw-w64-x86-64-win32",)
        )
    return Finding("mingw, for Wine", True, False, str(found.path))


def _program(name: str, needed: bool, mend: str, packages: tuple[str, ...] = ()) -> Finding:
    path = shutil.which(name)
    if path:
        return Finding(name, True, needed, path)
    return Finding(name, False, needed, "not on PATH", mend, packages)


def _space() -> Finding:
    free = available_bytes(cache_root())
    enough = free >= NEEDED_BYTES
    return Finding(
        "disk",
        enough,
        True,
        f"{free / 1e9:.1f} GB free in {cache_root()}",
        "" if enough else "free space, or set LABCHANNEL_CACHE to a larger disk",
    )


def _platform() -> Finding:
    here = current_platform()
    served = here == TOOLCHAIN_PLATFORM
    return Finding(
        "system",
        served,
        True,
        here,
        "" if served else f"use {TOOLCHAIN_PLATFORM}, or a network that reaches conda-forge",
    )


def _rust(workspace: Workspace) -> Finding:
    try:
        memory = cache_folder("rust") / "digests.json"
        for entry in read_lock(workspace.toolchain_lock).rust:
            check_rust(entry, memory)
    except LabchannelError as error:
        return Finding("Rust", False, True, error.cause, error.mend)
    return Finding("Rust", True, True, "the locked toolchain")


def _pip() -> Finding:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "pip"],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    good = done.returncode == 0
    return Finding(
        "package index",
        good,
        True,
        "pip reaches it" if good else "pip does not reach it",
        "" if good else "set pip's index-url (pip config set global.index-url ...) or its proxy",
    )

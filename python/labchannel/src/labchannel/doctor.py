"""What this machine has, what it lacks, and the one command that mends each lack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from labchannel.cache import available_bytes, cache_folder, cache_root
from labchannel.environment import current_platform
from labchannel.errors import LabchannelError
from labchannel.toolchain.bootstrap import NEEDED_BYTES
from labchannel.toolchain.lock import read_lock
from labchannel.toolchain.resolve import TOOLCHAIN_PLATFORM
from labchannel.toolchain.rust import check_rust
from labchannel.upstream import CONDA_FORGE, VARIABLE, conda_forge_answers
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
        _space(),
    ]
    if not answers:
        findings += [
            _platform(),
            _rust(workspace),
            _program("cargo", True, "install Rust with rustup"),
            _program("cc", True, "apt-get install gcc"),
            _program("mvn", True, "apt-get install maven"),
            _pip(),
        ]
    return findings


def _program(name: str, needed: bool, mend: str) -> Finding:
    path = shutil.which(name)
    detail = path or "not on PATH"
    return Finding(name, path is not None, needed, detail, "" if path else mend)


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

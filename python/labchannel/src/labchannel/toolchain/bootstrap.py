"""Make the toolchain channel from its lock. What is already made is kept.

A lock has a folder of its own in the cache, so that two checkouts with different locks never take
each other's packages away. What both name is one file: a hard link.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import rattler

from labchannel.cache import cache_folder, exclusive, require_space
from labchannel.channel.index import build_index
from labchannel.errors import LabchannelError
from labchannel.toolchain import registry
from labchannel.toolchain.compiler import compiler_contents, stage_compiler
from labchannel.toolchain.interpreter import python_companions, python_contents, stage_python
from labchannel.toolchain.lock import (
    LockedArtifact,
    LockedCrate,
    LockedWheel,
    ToolchainLock,
    read_lock,
    write_lock,
)
from labchannel.toolchain.package import Contents, pack
from labchannel.toolchain.resolve import Wants, make_lock, read_wants, tool_requirements
from labchannel.toolchain.rust import check_rust, rust_contents, stage_rust
from labchannel.toolchain.wheel import unpack_wheel, wheel_contents

if TYPE_CHECKING:
    from collections.abc import Callable

    from labchannel.progress import Progressor
    from labchannel.workspace import Workspace

TOOLCHAIN_PLATFORM = "linux-64"
"""Where a toolchain channel can be made, and for what."""

NEEDED_BYTES = 4_000_000_000


@dataclass(frozen=True)
class Toolchain:
    """A finished toolchain channel."""

    path: Path
    identity: str
    """sha256 over its file names, which tell its contents."""


@dataclass(frozen=True)
class _Job:
    """One package to make, and how its files are laid out."""

    contents: Contents
    stage: Callable[[Path], None]


def bootstrap(workspace: Workspace, progress: Progressor) -> Toolchain:
    """Make the toolchain channel, or what of it is missing.

    Raises
    ------
    LabchannelError
        The lock is stale or damaged, a download has other bytes, a registry refuses, no Rust, no
        room on the disk.
    """
    platform = str(rattler.Subdir.current())
    if platform != TOOLCHAIN_PLATFORM:
        raise LabchannelError(
            f"there is no toolchain channel for {platform}",
            "Use a machine that reaches conda-forge, or a 64-bit x86 Linux",
        )
    lock = read_lock(workspace.toolchain_lock)
    wants = read_wants(workspace, platform)
    _refuse_stale(lock, wants)
    with exclusive("toolchain", "making the toolchain channel"):
        jobs = _jobs(lock, wants)
        names = sorted(job.contents.channel_path.as_posix() for job in jobs)
        identity = hashlib.sha256("\n".join(names).encode()).hexdigest()
        channel = toolchain_folder(identity)
        missing = [job for job in jobs if not (channel / job.contents.channel_path).is_file()]
        if missing or not (channel / "noarch" / "repodata.json").is_file():
            _make(channel, missing, progress)
    return Toolchain(channel, identity)


def toolchain_folder(identity: str) -> Path:
    """Where the toolchain channel of this identity is, made or not."""
    return cache_folder("toolchain") / identity[:16]


def _make(channel: Path, missing: list[_Job], progress: Progressor) -> None:
    """Make what is missing, or link it from another lock's channel, and index it all."""
    missing = [job for job in missing if not _link(channel, job.contents.channel_path)]
    if missing:
        require_space(channel, NEEDED_BYTES, "the toolchain channel")
        with (
            tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as scratch,
            progress.stage("toolchain channel", len(missing)) as step,
        ):
            for number, job in enumerate(missing):
                step(f"{job.contents.name} {job.contents.version}")
                work = Path(scratch) / str(number)
                stage = work / "stage"
                stage.mkdir(parents=True)
                job.stage(stage)
                pack(job.contents, stage, channel)
                shutil.rmtree(work)
    for partial_file in channel.glob("*/*.partial"):
        partial_file.unlink()
    build_index(channel)


def _link(channel: Path, package: Path) -> bool:
    """Take a package from another lock's channel: equal names are equal bytes."""
    made = next(channel.parent.glob(f"*/{package.as_posix()}"), None)
    if made is None:
        return False
    target = channel / package
    target.parent.mkdir(parents=True, exist_ok=True)
    target.hardlink_to(made)
    return True


def update_lock(workspace: Workspace, progress: Progressor) -> ToolchainLock:
    """Resolve everything anew and write toolchain.lock and labchannel's requirements.

    Raises
    ------
    LabchannelError
        As `make_lock`.
    """
    with progress.stage("toolchain.lock") as step:
        lock = make_lock(workspace, TOOLCHAIN_PLATFORM, step)
        step("labchannel's own requirements")
        requirements = tool_requirements(workspace)
    write_lock(workspace.toolchain_lock, lock)
    (workspace.root / "python" / "labchannel" / "requirements.lock").write_text(
        requirements, encoding="utf-8", newline="\n"
    )
    return lock


def _refuse_stale(lock: ToolchainLock, wants: Wants) -> None:
    if lock.wants != wants.digest:
        raise LabchannelError(
            "toolchain.lock is older than what recipes, pixi.toml and toolchain.toml ask for",
            "Make it anew with `./pixiw run labchannel bootstrap --update`",
        )


def _jobs(lock: ToolchainLock, wants: Wants) -> list[_Job]:
    cache = cache_folder("build")
    jobs = [_Job(python_contents(entry), partial(_stage_python, entry)) for entry in lock.pythons]
    versions = [entry.version for entry in lock.pythons]
    jobs += [
        _Job(contents, _stage_nothing)
        for contents in python_companions(versions, TOOLCHAIN_PLATFORM)
    ]
    for rust in lock.rust:
        root = check_rust(rust, cache_folder("rust") / "digests.json")
        jobs += [
            _Job(contents, partial(stage_rust, contents, root))
            for contents in rust_contents(rust, cache)
        ]
    jobs += [_Job(_crate_contents(entry), partial(_stage_crate, entry)) for entry in lock.crates]
    paths = registry.fetch_wheels(lock.wheels, cache_folder("wheels"))
    for wheel in lock.wheels:
        path = paths[wheel.file]
        if wheel.name in wants.compiler:
            jobs += [
                _Job(contents, partial(_stage_compiler, contents, wheel, path, cache))
                for contents in compiler_contents(wheel, cache)
            ]
        else:
            contents = wheel_contents(
                path, wheel.sha256, wheel.pythons, wheel.platform, wants.conda_name
            )
            jobs.append(_Job(contents, partial(_stage_wheel, contents, wheel, path)))
    return jobs


def _stage_nothing(stage: Path) -> None:
    """A package of metadata alone has no files."""


def _stage_python(entry: LockedArtifact, stage: Path) -> None:
    stage_python(registry.fetch_artifact(entry, cache_folder("jars")), entry, stage)


def _crate_contents(entry: LockedCrate) -> Contents:
    return Contents(
        name=entry.name,
        version=entry.version,
        source=entry.sha256,
        subdir=TOOLCHAIN_PLATFORM,
        license="MIT OR Apache-2.0",
        summary=f"{entry.name} of crates.io, built on this machine",
    )


def _stage_crate(entry: LockedCrate, stage: Path) -> None:
    binary = registry.build_crate(entry, cache_folder("crates"))
    (stage / "bin").mkdir()
    shutil.copy2(binary, stage / "bin" / entry.name)


def _stage_wheel(contents: Contents, wheel: LockedWheel, path: Path, stage: Path) -> None:
    unpack_wheel(path, contents, stage, wheel.pythons[0])


def _stage_compiler(
    contents: Contents, wheel: LockedWheel, path: Path, cache: Path, stage: Path
) -> None:
    unpacked = stage.parent / "wheel"
    if contents.name == "zig":
        _stage_wheel(contents, wheel, path, unpacked)
    stage_compiler(contents, unpacked, cache, stage)

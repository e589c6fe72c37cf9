"""Make the toolchain channel from its lock. What is already made is kept.

A lock has a folder of its own in the cache, so that two checkouts with different locks never take
each other's packages away. What both name is one file: a hard link.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import rattler

from labchannel.cache import cache_folder, cache_root, exclusive, require_space
from labchannel.channel.index import build_index
from labchannel.channel.layout import REPODATA
from labchannel.errors import LabchannelError
from labchannel.toolchain import cross_rust, mingw, registry
from labchannel.toolchain.compiler import compiler_contents, stage_compiler
from labchannel.toolchain.cross_python import cross_python_jobs
from labchannel.toolchain.interpreter import (
    minor,
    python_companions,
    python_contents,
    stage_python,
)
from labchannel.toolchain.lock import (
    LockedArtifact,
    LockedCrate,
    LockedWheel,
    ToolchainLock,
    read_lock,
    write_lock,
)
from labchannel.toolchain.package import Contents, Job, extracted, pack
from labchannel.toolchain.resolve import (
    CROSS_PLATFORM,
    TOOLCHAIN_PLATFORM,
    Wants,
    make_lock,
    read_wants,
    tool_requirements,
)
from labchannel.toolchain.rust import check_rust, rust_contents, stage_rust
from labchannel.toolchain.wheel import unpack_wheel, wheel_contents
from labchannel.toolchain.windows_python import stage_windows_python, windows_python_contents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labchannel.progress import Progressor
    from labchannel.workspace import Workspace

NEEDED_BYTES = 4_000_000_000
"""For all packages, and what is unpacked while they are made."""

PACKAGE_BYTES = 2_000_000_000
"""For one of them alone: Rust's is unpacked, and copied twice."""

UNFINISHED = ".unfinished"
"""A file of a toolchain channel whose packages are not all made, or not all in its indexes."""


@dataclass(frozen=True)
class Toolchain:
    """A finished toolchain channel."""

    path: Path
    identity: str
    """sha256 over its file names, which tell its contents."""


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
    _refuse_cache_path(cache_root())
    lock = read_lock(workspace.toolchain_lock)
    wants = read_wants(workspace, platform)
    _refuse_stale(lock, wants, platform)
    with exclusive("toolchain", "making the toolchain channel"):
        return _made(_jobs(lock, wants), progress)


def bootstrap_cross(workspace: Workspace, progress: Progressor, base: Toolchain) -> Toolchain:
    """Make the toolchain channel for win-64: all of `base`, and what builds to win-64 need beside.

    It has a folder of its own: builds for this machine neither wait for it nor notice it.

    Raises
    ------
    LabchannelError
        As `bootstrap`; or there is no apt, and something that comes from Debian has to be made.
    """
    lock = read_lock(workspace.toolchain_lock)
    wants = read_wants(workspace, CROSS_PLATFORM)
    _refuse_stale(lock, wants, CROSS_PLATFORM)
    with exclusive("toolchain", "making the toolchain channel"):
        return _made(_cross_jobs(lock, wants, base), progress, base)


def _made(jobs: list[Job], progress: Progressor, base: Toolchain | None = None) -> Toolchain:
    """The channel of these packages and those of `base`; what is missing is made."""
    names = {job.contents.channel_path.as_posix() for job in jobs}
    if base is not None:
        names |= {path.relative_to(base.path).as_posix() for path in base.path.glob("*/*.conda")}
    identity = hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
    channel = toolchain_folder(identity)
    missing = {name for name in names if not (channel / name).is_file()}
    unfinished = channel / UNFINISHED
    subdirs = {"noarch", *(name.partition("/")[0] for name in names)}
    indexed = all((channel / subdir / REPODATA).is_file() for subdir in subdirs)
    if missing or not indexed or unfinished.exists():
        channel.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        to_make = {name for name in missing if not _link(channel, Path(name), base)}
        index = Path(TOOLCHAIN_PLATFORM, REPODATA)
        known = (
            base is not None and (base.path / index).is_file() and not (channel / index).exists()
        )
        _make(channel, [j for j in jobs if j.contents.channel_path.as_posix() in to_make], progress)
        if base is not None and known:
            # Most bytes are base's, and its index has their hashes.
            shutil.copy2(base.path / index, channel / index)
        build_index(channel, force=not known)
        unfinished.unlink(missing_ok=True)
    return Toolchain(channel, identity)


def toolchain_folder(identity: str) -> Path:
    """Where the toolchain channel of this identity is, made or not."""
    return cache_folder("toolchain") / identity[:16]


def _make(channel: Path, missing: list[Job], progress: Progressor) -> None:
    """Make what is missing."""
    if missing:
        needed = min(NEEDED_BYTES, len(missing) * PACKAGE_BYTES)
        require_space(channel, needed, "the toolchain channel")
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


def _link(channel: Path, package: Path, base: Toolchain | None) -> bool:
    """Take a package from another lock's channel: equal names are equal contents."""
    made = base.path / package if base is not None else channel / package
    if not made.is_file():
        made = next(channel.parent.glob(f"*/{package.as_posix()}"), made)
    if not made.is_file():
        return False
    target = channel / package
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(made)
    except OSError:
        # File systems without hard links, and folders of the cache on several disks.
        partial_file = target.with_suffix(".partial")
        shutil.copy2(made, partial_file)
        partial_file.replace(target)
    return True


def update_lock(workspace: Workspace, progress: Progressor) -> ToolchainLock:
    """Resolve everything anew and write toolchain.lock and labchannel's requirements.

    Raises
    ------
    LabchannelError
        As `make_lock`.
    """
    with progress.stage("toolchain.lock") as step:
        lock = make_lock(workspace, step)
        step("labchannel's own requirements")
        requirements = tool_requirements(workspace)
    write_lock(workspace.toolchain_lock, lock)
    (workspace.root / "python" / "labchannel" / "requirements.lock").write_text(
        requirements, encoding="utf-8", newline="\n"
    )
    return lock


def _refuse_cache_path(cache: Path) -> None:
    """Compilers' flags name the cache, and are split at blanks however they are quoted."""
    bad = re.search(r"[^\w@%+=:,./~-]", str(cache))
    if bad:
        raise LabchannelError(
            f"the cache folder {cache} has {bad[0]!r} in its path, which breaks compilers' flags",
            "Set LABCHANNEL_CACHE to a folder without blanks, quotes and brackets in its path",
        )


def _refuse_stale(lock: ToolchainLock, wants: Wants, platform: str) -> None:
    if lock.wants.get(platform) != wants.digest:
        raise LabchannelError(
            "toolchain.lock is older than what recipes, pixi.toml and toolchain.toml ask for",
            "Make it anew with `./pixiw run labchannel bootstrap --update`",
        )


def _jobs(lock: ToolchainLock, wants: Wants) -> list[Job]:
    cache = cache_folder("build")
    pythons = [entry for entry in lock.pythons if entry.platform == TOOLCHAIN_PLATFORM]
    jobs = [Job(python_contents(entry), partial(_stage_python, entry)) for entry in pythons]
    jobs += _companions(pythons, TOOLCHAIN_PLATFORM)
    for rust in lock.rust:
        root = check_rust(rust, cache_folder("rust") / "digests.json")
        jobs += [
            Job(contents, partial(stage_rust, contents, root))
            for contents in rust_contents(rust, cache)
        ]
    jobs += [Job(_crate_contents(entry), partial(_stage_crate, entry)) for entry in lock.crates]
    return jobs + _wheel_jobs(lock, wants, TOOLCHAIN_PLATFORM)


def _cross_jobs(lock: ToolchainLock, wants: Wants, base: Toolchain) -> list[Job]:
    cache = cache_folder("build")
    pythons = [entry for entry in lock.pythons if entry.platform == CROSS_PLATFORM]
    zig = _only(base, "zig")
    jobs = []
    for entry in pythons:
        here = _only(base, "python", entry.version)
        jobs.append(
            Job(
                windows_python_contents(entry, here),
                partial(_stage_windows_python, entry, zig, here),
            )
        )
    jobs += _companions(pythons, CROSS_PLATFORM)
    for entry in pythons[:1]:
        jobs += cross_python_jobs(minor(entry.version))
    rust = [deb for deb in lock.debs if deb.part == cross_rust.PART]
    jobs += cross_rust.cross_rust_jobs(rust, _only(base, "rust"), cache)
    jobs += mingw.mingw_jobs([deb for deb in lock.debs if deb.part == mingw.PART])
    return jobs + _wheel_jobs(lock, wants, CROSS_PLATFORM)


def _only(base: Toolchain, name: str, version: str = "[0-9]*") -> Path:
    """The one package of this name in a toolchain channel."""
    found = list(base.path.glob(f"{TOOLCHAIN_PLATFORM}/{name}-{version}-*.conda"))
    if len(found) != 1:
        raise LabchannelError(
            f"the toolchain channel {base.path} has {len(found)} packages {name}",
            "Run `labchannel clean --all` and start again",
        )
    return found[0]


def _companions(pythons: Sequence[LockedArtifact], platform: str) -> list[Job]:
    versions = [entry.version for entry in pythons]
    return [Job(contents, _stage_nothing) for contents in python_companions(versions, platform)]


def _wheel_jobs(lock: ToolchainLock, wants: Wants, platform: str) -> list[Job]:
    cache = cache_folder("build")
    wheels = [wheel for wheel in lock.wheels if wheel.platform == platform]
    paths = registry.fetch_wheels(wheels, cache_folder("wheels"))
    jobs = []
    for wheel in wheels:
        path = paths[wheel.file]
        if wheel.name in wants.compiler:
            jobs += [
                Job(contents, partial(stage_compiler, contents, path, cache))
                for contents in compiler_contents(wheel, cache)
            ]
        else:
            contents = wheel_contents(path, wheel.sha256, wheel.pythons, platform, wants.conda_name)
            jobs.append(Job(contents, partial(_stage_wheel, contents, wheel, path)))
    return jobs


def _stage_nothing(stage: Path) -> None:
    """A package of metadata alone has no files."""


def _stage_python(entry: LockedArtifact, stage: Path) -> None:
    stage_python(registry.fetch_artifact(entry, cache_folder("jars")), entry, stage)


def _stage_windows_python(entry: LockedArtifact, zig: Path, python: Path, stage: Path) -> None:
    jar = registry.fetch_artifact(entry, cache_folder("jars"))
    zig_program = extracted(zig, stage) / "bin" / "zig"
    python_program = extracted(python, stage) / "bin" / "python"
    stage_windows_python(jar, entry, zig_program, python_program, stage)


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

"""Debian packages as a source: resolved and brought by apt, unpacked without root.

No host is named here: apt takes its mirrors and keys from its own configuration, and checks their
signatures. What comes back is checked against the lock besides.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from labchannel.cache import cache_folder
from labchannel.digest import file_sha256
from labchannel.errors import LabchannelError
from labchannel.toolchain import registry
from labchannel.toolchain.lock import RELOCK, LockedDeb

if TYPE_CHECKING:
    from collections.abc import Iterable

# What a machine that compiles has: the system's own C library and what natively links. Their
# dependencies would be half a Debian.
_PRESENT = {"libc6": "", "libc6-dev": "libc-dev", "gcc": "", "binutils": ""}

_MEND = "Run `apt-get update` and check that apt reaches its mirrors, then start again"

_INSTALLED = re.compile(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", re.MULTILINE)


def missing_programs() -> list[str]:
    """Which of Debian's programs are not on PATH."""
    return [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]


def require_debian() -> None:
    """Refuse where Debian's packages can't be had.

    Raises
    ------
    LabchannelError
        A program is missing.
    """
    missing = missing_programs()
    if missing:
        raise LabchannelError(
            f"win-64 is left out: {' and '.join(missing)} not on PATH, and the compilers of the "
            "cross build come from Debian",
            "Build for win-64 on Debian, on Windows, or where conda-forge answers",
        )


def resolve_debs(part: str, names: Iterable[str], folder: Path) -> list[LockedDeb]:
    """These packages and all that they need, brought to `folder`.

    Raises
    ------
    LabchannelError
        apt does not know one of them, or does not reach its mirrors.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # apt is told of a machine with nothing but these, so that the answer is this machine's
        # no more than another's.
        status = Path(scratch) / "status"
        status.write_text(
            "\n".join(
                f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n"
                f"Multi-Arch: same\nVersion: 99\nMaintainer: none\nDescription: none\n"
                + (f"Provides: {provided}\n" if provided else "")
                for name, provided in _PRESENT.items()
            ),
            encoding="utf-8",
        )
        told = registry.run_client(
            [
                *("apt-get", "--simulate", "--no-install-recommends"),
                *("-o", f"Dir::State::status={status}", "install", *names),
            ],
            _MEND,
            env={"LC_ALL": "C"},
        )
    entries = [
        LockedDeb(part, name, version, architecture, "")
        for name, version, architecture in _INSTALLED.findall(told)
    ]
    download_debs(entries, folder)
    return [
        LockedDeb(
            part,
            entry.name,
            entry.version,
            entry.architecture,
            file_sha256(folder / deb_name(entry)),
        )
        for entry in entries
    ]


def deb_name(entry: LockedDeb) -> str:
    """The file name that apt gives a package.

    Examples
    --------
    >>> deb_name(LockedDeb("rust", "zlib1g", "1:1.2.13.dfsg-1", "amd64", ""))
    'zlib1g_1%3a1.2.13.dfsg-1_amd64.deb'
    """
    return f"{entry.name}_{entry.version.replace(':', '%3a')}_{entry.architecture}.deb"


def download_debs(entries: Iterable[LockedDeb], folder: Path) -> None:
    """Let apt bring those that are not in `folder`, whatever their hashes."""
    missing = [entry for entry in entries if not (folder / deb_name(entry)).is_file()]
    if not missing:
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        registry.run_client(
            [
                *("apt-get", "download", "--quiet"),
                *sorted({f"{entry.name}={entry.version}" for entry in missing}),
            ],
            f"{_MEND}; if it no longer has a version: {RELOCK[0].lower()}{RELOCK[1:]}",
            env={"LC_ALL": "C"},
            cwd=Path(scratch),
        )
        for entry in missing:
            arrived = Path(scratch) / deb_name(entry)
            if arrived.is_file():
                arrived.replace(folder / arrived.name)
            elif not (folder / deb_name(entry)).is_file():
                raise LabchannelError(f"apt brought no {deb_name(entry)}", _MEND)


def fetch_debs(entries: Iterable[LockedDeb], folder: Path) -> list[Path]:
    """Bring the locked packages to `folder`; what is there with the right hash is kept.

    Raises
    ------
    LabchannelError
        apt refuses, no longer has a version, or brought other bytes.
    """
    entries = list(entries)
    require_debian()
    for entry in entries:
        path = folder / deb_name(entry)
        if path.is_file() and file_sha256(path) != entry.sha256:
            path.unlink()
    download_debs(entries, folder)
    for entry in entries:
        registry.check_bytes(folder / deb_name(entry), entry.sha256, deb_name(entry))
    return [folder / deb_name(entry) for entry in entries]


def unpack_debs(paths: Iterable[Path], folder: Path) -> None:
    """Lay the packages' files out below `folder`, as in the root of a Debian."""
    for path in paths:
        registry.run_client(
            ["dpkg-deb", "--extract", str(path), str(folder)],
            "Empty the cache with `labchannel clean --all` and start again",
        )


def deb_version(entries: Iterable[LockedDeb], name: str) -> str:
    """The upstream version of one of the packages.

    Examples
    --------
    >>> deb_version([LockedDeb("mingw", "gcc", "4:12.2.0-14+deb12u1", "amd64", "")], "gcc")
    '12.2.0'

    Raises
    ------
    LabchannelError
        It is not among them.
    """
    for entry in entries:
        match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", entry.version)
        if entry.name == name and match:
            return match[1]
    raise LabchannelError(
        f"toolchain.lock names no Debian package {name}: there was no apt when it was made",
        f"On Debian: {RELOCK[0].lower()}{RELOCK[1:]}",
    )


def unpacked(entries: list[LockedDeb], stage: Path) -> Path:
    """The root of a Debian with these packages of one part, unpacked once for all its jobs."""
    folder = stage.parents[1] / f"debian-{entries[0].part}"
    if not folder.is_dir():
        paths = fetch_debs(entries, cache_folder("debs"))
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir()
        unpack_debs(paths, partial)
        partial.rename(folder)
    return folder

"""toolchain.lock: what the toolchain channel is made of, by name, version and sha256. No URLs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from pathlib import Path

LOCK_VERSION = 2
RELOCK = "Make it anew with `./pixiw run labchannel bootstrap --update`"


@dataclass(frozen=True, order=True)
class LockedWheel:
    """One wheel of PyPI."""

    name: str
    version: str
    file: str
    sha256: str
    pythons: tuple[str, ...]
    """The Pythons (`3.12`) whose resolution chose this file."""
    platform: str
    """The conda platform that it was chosen for."""


@dataclass(frozen=True, order=True)
class LockedArtifact:
    """One whole CPython from Maven."""

    version: str
    artifact: str
    """group:name:version:extension:classifier"""
    sha256: str
    platform: str


@dataclass(frozen=True, order=True)
class LockedCrate:
    """One program of crates.io, built while the channel is made."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, order=True)
class LockedDeb:
    """One Debian package, unpacked into a compiler of the cross build."""

    part: str
    """What it is a part of, as toolchain.toml names it: `rust` or `mingw`."""
    name: str
    version: str
    architecture: str
    sha256: str


@dataclass(frozen=True)
class LockedRust:
    """The machine's Rust, repackaged."""

    version: str
    sha256: str
    """Over the names and bytes of all repackaged files."""
    platform: str


@dataclass(frozen=True)
class ToolchainLock:
    """The whole lock."""

    wants: dict[str, str]
    """For each platform the sha256 over all that was asked for when the lock was made."""
    pythons: tuple[LockedArtifact, ...]
    rust: tuple[LockedRust, ...]
    crates: tuple[LockedCrate, ...]
    debs: tuple[LockedDeb, ...]
    """Empty if there was no apt when the lock was made."""
    wheels: tuple[LockedWheel, ...]

    def dump(self) -> str:
        """The lock's text: sorted, one entry a line, so that a change reads well in a review."""
        parts = {
            "pythons": [asdict(entry) for entry in sorted(self.pythons)],
            "rust": [asdict(entry) for entry in self.rust],
            "crates": [asdict(entry) for entry in sorted(self.crates)],
            "debs": [asdict(entry) for entry in sorted(self.debs)],
            "wheels": [asdict(entry) for entry in sorted(self.wheels)],
        }
        wants = json.dumps(self.wants, sort_keys=True)
        lines = ["{", f'  "lock_version": {LOCK_VERSION},', f'  "wants": {wants},']
        for number, (key, entries) in enumerate(parts.items()):
            lines.append(f'  "{key}": [')
            lines += [
                f"    {json.dumps(entry)}{',' if place < len(entries) - 1 else ''}"
                for place, entry in enumerate(entries)
            ]
            lines.append("  ]" + ("," if number < len(parts) - 1 else ""))
        return "\n".join([*lines, "}", ""])


def read_lock(path: Path) -> ToolchainLock:
    """Read the lock.

    Raises
    ------
    LabchannelError
        It is missing, damaged, or of another version of labchannel.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["lock_version"] != LOCK_VERSION:
            raise LabchannelError(
                f"{path} has lock version {data['lock_version']}, "
                f"this labchannel reads {LOCK_VERSION}",
                RELOCK,
            )
        return ToolchainLock(
            wants=dict(data["wants"]),
            pythons=tuple(LockedArtifact(**entry) for entry in data["pythons"]),
            rust=tuple(LockedRust(**entry) for entry in data["rust"]),
            crates=tuple(LockedCrate(**entry) for entry in data["crates"]),
            debs=tuple(LockedDeb(**entry) for entry in data["debs"]),
            wheels=tuple(
                LockedWheel(**{**entry, "pythons": tuple(entry["pythons"])})
                for entry in data["wheels"]
            ),
        )
    except FileNotFoundError:
        raise LabchannelError(f"{path} is missing", RELOCK) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabchannelError(f"{path} can't be read as a lock ({error})", RELOCK) from error


def write_lock(path: Path, lock: ToolchainLock) -> None:
    """Replace the lock in one step."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(lock.dump(), encoding="utf-8", newline="\n")
    partial.replace(path)

"""Programs that come from the system: where they are, and how those of Debian are got.

What building and testing for win-64 needs is in every Debian, and in no package index. With root
it is installed by apt-get; without, apt-get downloads the same packages, and they are unpacked into
the cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labchannel.cache import cache_folder, cache_root, exclusive
from labchannel.errors import LabchannelError
from labchannel.progress import OnStep

# Where Debian keeps what it does not put on PATH.
_FOLDERS = ("usr/bin", "usr/lib/wine")


@dataclass(frozen=True)
class SystemProgram:
    """A program of this machine, and the variables that it needs beyond the machine's own."""

    path: Path
    variables: Mapping[str, str]

    def run(self, *arguments: str) -> tuple[str, str]:
        """Run it to its end: what it says, and the last line of its errors if it fails.

        Raises
        ------
        OSError
            It can't be started.
        """
        done = subprocess.run(
            [str(self.path), *arguments],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env={**os.environ, **self.variables},
        )
        if done.returncode == 0:
            return done.stdout, ""
        return done.stdout, (done.stderr.strip().splitlines() or ["no message"])[-1]


def unpacked_root() -> Path:
    """The folder of the cache that Debian packages are unpacked into, a `/` of its own."""
    return cache_root() / "debian"


def find_program(*names: str) -> SystemProgram | None:
    """The first of these programs that the machine has: on PATH, off it, or unpacked."""
    root = unpacked_root()
    for name in names:
        found = shutil.which(name)
        for path in (Path(found) if found else None, *(Path("/", f, name) for f in _FOLDERS)):
            if path is not None and os.access(path, os.X_OK):
                return SystemProgram(path, {})
        for folder in _FOLDERS:
            path = root / folder / name
            if os.access(path, os.X_OK):
                return SystemProgram(path, _variables(root))
    return None


def _variables(root: Path) -> dict[str, str]:
    libraries = root / "usr" / "lib" / "x86_64-linux-gnu"
    return {
        "LD_LIBRARY_PATH": f"{libraries}:{libraries / 'wine' / 'x86_64-unix'}",
        # Wine takes its Windows libraries from the system's folder otherwise.
        "WINEDLLPATH": str(libraries / "wine"),
    }


def is_root() -> bool:
    """Whether packages can be installed, not only unpacked."""
    return sys.platform != "win32" and os.geteuid() == 0


def can_install() -> bool:
    """Whether this is a system whose packages `get_packages` can get."""
    return shutil.which("apt-get") is not None


def get_packages(names: Iterable[str], on_step: OnStep) -> None:
    """Install Debian packages, or without root unpack them and what they need into the cache.

    Raises
    ------
    LabchannelError
        There is no apt-get, or it fails.
    """
    wanted = sorted(names)
    if not can_install():
        raise LabchannelError(
            "this system has no apt-get",
            f"Install what these Debian packages hold by its own means: {', '.join(wanted)}",
        )
    with exclusive("debian", "getting system packages"):
        if is_root():
            on_step("apt-get update")
            _apt(["apt-get", "update", "-q"])
            on_step(f"apt-get install {' '.join(wanted)}")
            _apt(["apt-get", "install", "-qy", "--no-install-recommends", *wanted])
        else:
            _unpack(wanted, on_step)


def _unpack(wanted: list[str], on_step: OnStep) -> None:
    simulated = _apt(["apt-get", "-s", "install", "--no-install-recommends", *wanted])
    # "Inst NAME (VERSION ...": what is wanted, and what it needs and the machine has not.
    new = {words[1] for line in simulated.splitlines() if (words := line.split())[:1] == ["Inst"]}
    root = cache_folder(unpacked_root().name)
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as folder:
        # One that is installed is unpacked all the same: it was asked for, so it lacks something.
        names = sorted(new | set(wanted))
        on_step(f"downloading {len(names)} Debian packages")
        _apt(["apt-get", "download", *names], cwd=Path(folder))
        for package in sorted(Path(folder).glob("*.deb")):
            on_step(f"unpacking {package.name.partition('_')[0]}")
            _apt(["dpkg-deb", "--extract", str(package), str(root)])
    _relocate(root)


def _relocate(root: Path) -> None:
    """Let an unpacked Wine find its server."""
    server = root / "usr" / "lib" / "wine" / "wineserver"
    if server.with_name("wineserver64").is_file() and not server.is_symlink():
        # Debian's script of that name looks in the system's folder alone.
        server.unlink(missing_ok=True)
        server.symlink_to("wineserver64")


def _apt(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        cwd=cwd,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise LabchannelError(
            f"`{' '.join(command[:3])} ...` failed: {lines[-1]}",
            "Mend that (the network, apt's sources, another apt at work), then start again",
        )
    return done.stdout

"""Ends all of a Wine prefix when its standard input ends: `wine_keeper.py WINESERVER PREFIX`.

A process of its own, because it must act when the one that works in the prefix is killed. Standard
library alone: it is run as a file, by any Python.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path


def main(server: str, prefix: Path) -> None:
    """Wait for the end of the input, then end everything in the prefix."""
    owner = os.getppid()
    sys.stdin.buffer.read()
    # The server ends its processes and writes the registry.
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [server, "-k"],
            check=False,
            env={**os.environ, "WINEPREFIX": str(prefix)},
            timeout=20,
            capture_output=True,
        )
    # Whoever did not hear it: every process of a prefix carries its name.
    mark = f"WINEPREFIX={prefix}".encode()
    while stayed := [pid for pid in processes_of(mark) if pid != os.getpid()]:
        for pid in stayed:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    if os.getppid() != owner:
        # Nobody is there any more to remove the copy.
        shutil.rmtree(prefix.parent, ignore_errors=True)


def processes_of(mark: bytes) -> list[int]:
    """The processes, zombies aside, with this variable in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        # Gone meanwhile, or another user's.
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

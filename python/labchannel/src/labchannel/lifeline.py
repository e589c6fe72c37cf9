"""A process that ends with its starter: by a time limit, by Ctrl-C, by kill -9 of the starter too.

A supervisor holds one end of a pipe (the lifeline), whose other end the starter holds; what is to
be run runs in a process group below it. When the starter closes its end, or ends in any way, the
supervisor ends that whole group. This file needs the standard library alone: it is also run as a
program, `python lifeline.py DESCRIPTOR PROGRAM ARGUMENTS...`, by any Python in any environment.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# How often a run looks whether it is to stop, in seconds.
_LOOK = 0.5

# How long the output of what was ended is waited for, in seconds: something that left the process
# group may hold the pipe.
_LAST_WORDS = 5.0


class Lifeline:
    """A pipe; Windows has no such inheritance, and none is held there."""

    def __init__(self) -> None:
        self.held: tuple[int, ...] = ()
        """What the supervisor inherits."""
        self._ours: tuple[int, ...] = ()
        if sys.platform != "win32":
            held, ours = os.pipe()
            self.held, self._ours = (held,), (ours,)

    def cut(self) -> None:
        """Have what hangs on it ended."""
        for end in self._ours:
            os.close(end)
        self._ours = ()

    def __enter__(self) -> Lifeline:
        return self

    def __exit__(self, *_error: object) -> None:
        self.cut()
        for end in self.held:
            os.close(end)


def supervise(held: int, leavings: Path | None = None) -> None:
    """Return in a process that is to work, and stay behind to end it in time.

    Whatever it leaves running in the background ends with it, and the folder `leavings` goes.
    """
    if sys.platform == "win32":
        return
    ended, end = os.pipe()
    os.set_blocking(end, False)
    # The end of the worker is a byte in a pipe: what can be waited for together with the lifeline.
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    signal.set_wakeup_fd(end)
    worker = os.fork()
    if worker == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        for descriptor in (held, ended, end):
            os.close(descriptor)
        return
    # By both, so that the group is there for whoever is first; in vain if the work is over.
    with contextlib.suppress(OSError):
        os.setpgid(worker, worker)
    select.select([held, ended], [], [])
    with contextlib.suppress(OSError):
        os.killpg(worker, signal.SIGKILL)
    _pid, status = os.waitpid(worker, 0)
    if leavings is not None:
        shutil.rmtree(leavings, ignore_errors=True)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    """Its exit code; without a meaning if it was ended."""
    stdout: str
    stderr: str
    cut: str = ""
    """`time limit` or `stopped` if it was ended, else empty."""

    @property
    def good(self) -> bool:
        """Whether it came to its own end, with exit code 0."""
        return not self.cut and self.code == 0


def run_bounded(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    seconds: float,
    stop: threading.Event | None = None,
    merge: bool = False,
) -> Ended:
    """Run a program that can't outlive the time limit, `stop`, or this process.

    Parameters
    ----------
    seconds
        The time limit.
    stop
        Looked at twice a second; once it is set, the program and all that it started is ended.
    merge
        Whether stderr goes into stdout, in the order of writing.

    Raises
    ------
    OSError
        The program can't be started.
    """
    windows = sys.platform == "win32"
    with Lifeline() as lifeline:
        process = subprocess.Popen(
            list(command)
            if windows
            else [sys.executable, "-I", "-S", __file__, *map(str, lifeline.held), *command],
            pass_fds=lifeline.held,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge else subprocess.PIPE,
            cwd=cwd,
            env=dict(env),
            # Out of reach of the terminal's Ctrl-C: the starter gets it, and sets `stop`.
            start_new_session=not windows,
        )
        deadline = time.monotonic() + seconds
        cut = ""
        out: bytes | None
        err: bytes | None
        try:
            while not cut:
                try:
                    out, err = process.communicate(timeout=_LOOK)
                    break
                except subprocess.TimeoutExpired as waiting:
                    out, err = waiting.output, waiting.stderr
                    if time.monotonic() > deadline:
                        cut = "time limit"
                    elif stop is not None and stop.is_set():
                        cut = "stopped"
            else:
                _end(process, lifeline)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    out, err = process.communicate(timeout=_LAST_WORDS)
        except BaseException:
            _end(process, lifeline)
            raise
        finally:
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        code = process.wait()
    return Ended(code, _text(out), _text(err), cut)


def _end(process: subprocess.Popen[bytes], lifeline: Lifeline) -> None:
    lifeline.cut()
    if sys.platform == "win32":
        # A process has no group to be ended by there; taskkill goes down the tree.
        subprocess.run(
            ["taskkill", "/f", "/t", "/pid", str(process.pid)], check=False, capture_output=True
        )
        process.kill()


def _text(output: bytes | None) -> str:
    return (output or b"").decode("utf-8", errors="replace").replace("\r\n", "\n")


if __name__ == "__main__":
    supervise(int(sys.argv[1]))
    try:
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{sys.argv[2]} can't be started: {error.strerror}\n")
        sys.exit(127)

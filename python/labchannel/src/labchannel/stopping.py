"""Ctrl-C and SIGTERM: what a user is told then, and how what was started is ended too."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


class TerminatedError(KeyboardInterrupt):
    """SIGTERM: what a service manager or a CI runner sends ends like Ctrl-C, cleaned up."""


def raise_terminated(_signal: int, _frame: object) -> NoReturn:
    """Be the handler of SIGTERM."""
    raise TerminatedError


@contextlib.contextmanager
def if_stopped(truth: str) -> Iterator[None]:
    """Say what is true if the block is stopped; the innermost that knows is the one who tells."""
    try:
        yield
    except KeyboardInterrupt as stop:
        add_truth(stop, truth)
        raise


def add_truth(stop: BaseException, truth: str) -> None:
    """Have the user told this, unless it is known better."""
    if not what_is_true(stop):
        stop.add_note(truth)


def what_is_true(stop: BaseException) -> str:
    """What was said about this stop, or nothing."""
    return "".join(getattr(stop, "__notes__", ()))


def run_to_its_end(
    command: Sequence[str], folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> int:
    """Run a program on this process's own terminal; one that is stopped with it may clean up.

    `subprocess.run` would kill it after a quarter of a second.

    Raises
    ------
    KeyboardInterrupt
        After the program has ended; a second one while it cleans up kills it.
    """
    # One that came while the program is being started would leave it behind, running.
    let_through = _hold_back_signals()
    try:
        with subprocess.Popen(list(command), cwd=folder, env=variables and dict(variables)) as run:
            try:
                let_through()
                return run.wait()
            except KeyboardInterrupt as stop:
                if isinstance(stop, TerminatedError):
                    run.terminate()
                elif not _terminal_tells_it():
                    run.send_signal(signal.SIGINT)
                try:
                    run.wait()
                except KeyboardInterrupt:
                    run.kill()
                raise
    finally:
        let_through()


def _hold_back_signals() -> Callable[[], None]:
    """Have both signals wait; what it returns lets them through again."""
    came: list[int] = []
    handlers = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        # One that is ignored, or ends the process without a word, is inherited as it is.
        if callable(signal.getsignal(number)):
            handlers[number] = signal.signal(number, lambda number, _frame: came.append(number))

    def let_through() -> None:
        while handlers:
            signal.signal(*handlers.popitem())
        while came:
            signal.raise_signal(came.pop())

    return let_through


def _terminal_tells_it() -> bool:
    """Whether a terminal sends its Ctrl-C to what this process starts, as to itself."""
    if sys.platform == "win32":
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)

"""What a person sees while something long runs: live lines on a terminal, a plain log elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

OnStep = Callable[[str], None]
"""Called with the name of each step as it starts."""


def error_console() -> Console:
    """The console for everything that is not the result: messages, progress, tables of a run."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


class Progressor:
    """Shows what is running, how long it has taken, and how much is left.

    On a terminal one live line for each running stage; elsewhere one plain line a step, with the
    seconds since the stage began, fit for a log file.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or error_console()
        self.quiet = quiet

    def say(self, message: str) -> None:
        """Print one line that stays."""
        if not self.quiet:
            self.console.print(message, markup=False)

    @contextlib.contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[OnStep]:
        """Run one stage of `total` steps; yields the function to call as each step starts."""
        if self.quiet:
            yield lambda _message: None
        elif self.console.is_terminal:
            yield from self._live(title, total)
        else:
            yield from self._plain(title, total)

    def _live(self, title: str, total: int | None) -> Iterator[OnStep]:
        columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
        if total is not None:
            columns += [BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn()]
        progress = Progress(
            *columns,
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
        with progress:
            task = progress.add_task(title, total=total)
            seen = 0

            def step(message: str) -> None:
                nonlocal seen
                progress.update(task, description=f"{title}: {message}", completed=seen)
                seen += 1

            yield step

    def _plain(self, title: str, total: int | None) -> Iterator[OnStep]:
        began = time.monotonic()
        seen = 0

        def step(message: str) -> None:
            nonlocal seen
            seen += 1
            count = f" {seen}/{total}" if total is not None else ""
            self.say(f"[{time.monotonic() - began:6.1f}s] {title}{count}: {message}")

        yield step
        self.say(f"[{time.monotonic() - began:6.1f}s] {title}: done")


def use_utf8() -> None:
    """Let output in any code page print what it can instead of failing on the rest."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")

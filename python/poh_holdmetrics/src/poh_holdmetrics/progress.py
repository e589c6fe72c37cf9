"""What a person sees while something long runs; on a terminal only."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

type OnBytes = Callable[[int], None]
"""Called with the number of bytes read so far."""


@contextlib.contextmanager
def reading(files: Sequence[Path]) -> Iterator[OnBytes | None]:
    """Show how much of some files has been read."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("reading"),
        BarColumn(bar_width=30),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    sizes = [path.stat().st_size for path in files if path.is_file()]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading", total=sum(sizes))
        yield lambda done: progress.update(task, completed=done)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something goes on."""
    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else contextlib.nullcontext():
        yield

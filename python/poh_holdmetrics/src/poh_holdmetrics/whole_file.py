"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO


@contextlib.contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """Write a file of text beside its place and move it there at the end.

    Raises
    ------
    OSError
        With the file's own name, whatever could not be done.
    """
    with _placed(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        yield file


def write_by(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside its place, and move it there at the end."""
    with _placed(path) as part:
        write(part)


@contextlib.contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """Name the file to write to, and move it to its place at the end: nobody sees a part of it."""
    if _is_stream(path):
        with _named(path, path):
            yield path
        return
    if not path.name:  # as "." or "", which pathlib takes for the same
        raise IsADirectoryError(errno.EISDIR, "can't be written: it is a folder", str(path))
    # A link stays one, and what it leads to is replaced.
    place = path.resolve() if path.is_symlink() else path
    part = place.with_name(f"{place.name}.{os.getpid()}.part")
    with _named(part, path):
        try:
            yield part
            # On the disk before it has its name: a power cut leaves the old file or the new.
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(place)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise


def _is_stream(path: Path) -> bool:
    """Whether this is no file but a device or a pipe, as /dev/stdout, or NUL on Windows."""
    if path.parts[:2] == ("/", "dev"):
        return True
    return path.exists() and not path.is_file() and not path.is_dir()


@contextlib.contextmanager
def _named(part: Path, path: Path) -> Iterator[None]:
    """Say what could not be done of the file that was asked for."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename not in {None, str(part)}:
            raise
        raise OSError(
            error.errno, f"can't be written: {error.strerror or error}", str(path)
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a short file."""
    with writing(path) as file:
        file.write(text)

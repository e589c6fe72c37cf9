"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
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
    # A name that no other thread, process or container takes, whatever it writes to this path.
    part = place.with_name(f"{place.name}.{secrets.token_hex(8)}.part")
    with _named(part, path):
        mode = _mode(place)
        try:
            # What replaces a private file is private from its first byte on.
            part.touch(0o666 if mode is None else 0o600, exist_ok=False)
            yield part
            with part.open("rb+") as file:
                if mode is not None:
                    with contextlib.suppress(OSError):  # a file system may have modes of its own
                        part.chmod(mode)
                # On the disk before it has its name: a power cut leaves the old file or the new.
                os.fsync(file.fileno())
            part.replace(place)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise


def _mode(place: Path) -> int | None:
    """Who may read and write the file that is replaced; None where there is none, or no modes."""
    if os.name != "posix" or not place.is_file():
        return None
    return place.stat().st_mode & 0o777


_OPEN_ALREADY = tuple(map(Path, ("/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd")))
"""What the process has open already: a file behind it is written where it is, never replaced."""


def _is_stream(path: Path) -> bool:
    """Whether this is no file but a device or a pipe, as /dev/stdout, or NUL on Windows."""
    if path in _OPEN_ALREADY or path.parent in _OPEN_ALREADY:
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

"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO


@contextlib.contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """Write a file beside its place and move it there at the end, so that nobody sees a part of it.

    Raises
    ------
    OSError
        With the file's own name, whatever could not be done.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            # On the disk before it has its name: a power cut leaves the old file or the new.
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in {None, str(part)}:
            raise OSError(error.errno, f"can't be written: {error.strerror}", str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a short file."""
    with writing(path) as file:
        file.write(text)

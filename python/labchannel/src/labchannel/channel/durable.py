"""Files and folders that outlive a power cut: the order of fsync calls around a publication."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path


def sync_file(path: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    # Windows flushes only what is open for writing.
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the folder's names are on the disk; Windows does that itself."""
    if sys.platform != "win32":
        sync_file(path)


def sync_tree(top: Path) -> None:
    """Sync every folder under `top`, and every file that is not linked from elsewhere too."""
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            # A second link is a file of the old channel: synced when it was published.
            if not path.is_symlink() and path.stat().st_nlink == 1:
                sync_file(path)
        sync_folder(Path(folder))


def link_or_copy(source: Path, target: Path) -> None:
    """One more name for a file that never changes, or a copy where the file system has no links."""
    if not source.is_symlink():
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target, follow_symlinks=False)


def discard(folder: Path) -> None:
    """Delete a folder with all that is in it, if it is there.

    Raises
    ------
    OSError
        Something in it can't be deleted.
    """
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)

"""Where labchannel keeps what can be made again: downloads, toolchain channel, build folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import platformdirs

from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def cache_root() -> Path:
    """The cache folder: LABCHANNEL_CACHE, or `labchannel` in the user's cache folder."""
    override = os.environ.get("LABCHANNEL_CACHE")
    return Path(override).resolve() if override else platformdirs.user_cache_path("labchannel")


def cache_folder(name: str) -> Path:
    """A folder in the cache, made if need be.

    Raises
    ------
    LabchannelError
        The folder can't be made or written.
    """
    folder = cache_root() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabchannelError(
            f"the cache folder {folder} can't be made ({error.strerror or error})",
            "Free space, mend its permissions, or set LABCHANNEL_CACHE to another folder",
        ) from error
    return folder


def available_bytes(folder: Path) -> int:
    """Free bytes on the file system that holds `folder` (or its nearest existing parent)."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Refuse to start something long that would fill the disk.

    Raises
    ------
    LabchannelError
        Fewer than `needed` bytes are free.
    """
    free = available_bytes(folder)
    if free < needed:
        raise LabchannelError(
            f"{purpose} needs about {needed / 1e9:.1f} GB in {folder}, "
            f"and {free / 1e9:.1f} GB are free",
            "Free some space (labchannel clean), or set LABCHANNEL_CACHE to a larger disk",
        )


@contextlib.contextmanager
def exclusive(
    name: str, what: str, *, wait: bool = True, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Let one process at a time do `what`; others wait, or are refused with `wait=False`.

    The lock dies with its process, so kill -9 leaves nothing to clean up. `say` is told when there
    is somebody to wait for.

    Raises
    ------
    LabchannelError
        Another process holds the lock and `wait` is False.
    """
    lock = filelock.FileLock(cache_folder("locks") / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if not wait:
            raise LabchannelError(
                f"another labchannel is at work on this: {what}",
                "Wait until it has finished, or stop it, and start again",
            ) from None
        if say is not None:
            say(f"waiting for another labchannel: {what}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


# What `clean` empties, and what costs a long time to get again: only with `--all`. What it has put
# away and not deleted yet is in `trash`.
CHEAP = ("trash", "build", "built", "envs", "logs", "matrix", "scratch", "tools")
DEAR = (
    *("crates", "debian", "debs", "images", "jars", "pkgs", "rust", "toolchain"),
    *("uv", "venvs", "wheels", "wine"),
)


def clean(*, everything: bool) -> dict[str, int]:
    """Empty the caches, but for the environment that this runs in.

    Each folder is put away by one rename before it is deleted: whatever ends this midway, nobody
    takes what is left of an environment for a whole one.

    Returns
    -------
    dict
        From each emptied folder's name to the bytes that it held.

    Raises
    ------
    LabchannelError
        A file can't be deleted.
    """
    root = cache_root()
    freed: dict[str, int] = {}
    for name in (*CHEAP, *(DEAR if everything else ())):
        for folder in _unused(root / name):
            gone = folder if name == "trash" else _put_away(folder, root / "trash")
            freed[name] = freed.get(name, 0) + _delete(gone)
    for left in (root / "trash", *root.glob(f"*{_GONE}")):
        _delete(left)
    return freed


def _unused(folder: Path) -> list[Path]:
    """The folder if it is there, or what is in it where it has to stay itself.

    So it has if this very Python runs in it, and if it leads to another disk.
    """
    if not folder.is_dir():
        return []
    running = Path(sys.prefix).resolve()
    stays = folder.is_symlink() or folder.is_mount()
    if not stays and not running.is_relative_to(folder.resolve()):
        return [folder]
    return [path for path in folder.iterdir() if not running.is_relative_to(path.resolve())]


_GONE = ".gone"


def _put_away(path: Path, trash: Path) -> Path:
    name = f"{path.name}-{uuid.uuid4().hex}"
    with contextlib.suppress(OSError):
        trash.mkdir(exist_ok=True)
    # Beside itself where there is no trash: on a disk that is full, and on another one.
    for last, gone in ((False, trash / name), (True, path.with_name(f"{name}{_GONE}"))):
        try:
            path.rename(gone)
        except OSError as error:
            if not os.path.lexists(path):  # another `clean` was first
                break
            if last:
                raise _in_use(path, error) from error
        else:
            return gone
    return path


def _delete(path: Path) -> int:
    """Delete a file or folder, there or not, and return the bytes that it held.

    What else goes on in it meanwhile is no error: a build may be running, or another `clean`.
    """
    # A file with several names (hard links between toolchain channels) is freed once.
    sizes = {}
    for folder, _folders, files in os.walk(path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                file = Path(folder, name).lstat()
                sizes[file.st_ino] = file.st_size
    for last in (*[False] * 99, True):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            # If something in it went by itself, what is left is next.
            if last or not isinstance(error, FileNotFoundError):
                raise _in_use(Path(error.filename or path), error) from error
        else:
            break
    return sum(sizes.values())


def _in_use(path: Path, error: OSError) -> LabchannelError:
    return LabchannelError(
        f"{path} can't be deleted ({error.strerror})", "Stop what uses it, then start again"
    )

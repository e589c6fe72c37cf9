"""A publication file by file, where folders can't be exchanged: Windows, some file systems, mounts.

The new channel is made ready in `.publish/new` inside the channel. Then a journal says which files
go where, and from that moment the publication can only go forward:

1. new package files are put in place (no index names them yet, so no reader minds),
2. new shards,
3. the index files, subdir by subdir, each by one atomic rename,
4. what the new channel no longer has is deleted (no index names it any more),
5. the journal is deleted.

What holds if the process dies:

- before the journal is there: the old channel, whole;
- after: at every moment each index file names only files that are there, with their right hashes.
  repodata.json, .zst, the shards and the subdirs may be of the two generations, and `verify` says
  so, until the next publication (or `recover`) rolls the journal forward to the new channel.

Every step can be done again without harm: a file that is no longer in `.publish/new` has been put.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from labchannel.channel import layout
from labchannel.channel.durable import discard, sync_file, sync_folder
from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from collections.abc import Iterator

_JOURNAL = "journal.json"
_WINDOWS_PATIENCE = 60


@dataclass(frozen=True)
class Journal:
    """What is to be put and then deleted, in this order; paths in the channel, forward slashes."""

    put: tuple[str, ...]
    delete: tuple[str, ...]


def plan(channel: Path, new: Path) -> Journal:
    """Find what turns `channel` into `new`, made from it by links: same inode, same file."""
    before, after = dict(_files(channel)), dict(_files(new))
    changed = [
        name
        for name, path in after.items()
        if name not in before or not _is_same(path, before[name])
    ]
    return Journal(
        put=tuple(sorted(changed, key=_rank)), delete=tuple(sorted(before.keys() - after.keys()))
    )


def _is_same(path: Path, before: Path) -> bool:
    if path.is_symlink() or before.is_symlink():
        # It may lead nowhere from here.
        return path.is_symlink() and before.is_symlink() and path.readlink() == before.readlink()
    return path.samefile(before)


def _files(top: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(top):
        if Path(folder) == top:
            folders[:] = [name for name in folders if name != layout.WORK]
        for name in names:
            path = Path(folder, name)
            if path != top / layout.LOCK:
                yield path.relative_to(top).as_posix(), path


def _rank(name: str) -> tuple[int, int, int, str]:
    path = PurePosixPath(name)
    subdir, file_name = path.parts[0], path.name
    if len(path.parts) == 2 and file_name in layout.INDEX_FILES:
        # Most packages depend on noarch ones, so noarch comes first.
        return 2, int(subdir != layout.NOARCH), layout.INDEX_FILES.index(file_name), subdir
    if name == layout.CHANNELDATA:
        return 3, 0, 0, name
    return int(layout.SHARDS in path.parts), 0, 0, name


def begin(channel: Path, journal: Journal) -> None:
    """Write the journal: from here the publication only goes forward.

    Raises
    ------
    OSError
        It can't be written, and nothing has happened yet.
    """
    work = channel / layout.WORK
    partial = work / f"{_JOURNAL}.tmp"
    partial.write_text(json.dumps(asdict(journal), ensure_ascii=False), encoding="utf-8")
    sync_file(partial)
    partial.replace(work / _JOURNAL)
    sync_folder(work)


def pending(channel: Path) -> bool:
    """Whether a publication was cut off after its journal was written."""
    return (channel / layout.WORK / _JOURNAL).is_file()


def roll_forward(channel: Path) -> None:
    """Do all that the journal says; harmless to repeat.

    Raises
    ------
    LabchannelError
        A file is held open by another program (Windows), or can't be moved. The channel can be
        read all the same, and the next publication goes on from here.
    """
    work = channel / layout.WORK
    try:
        content = json.loads((work / _JOURNAL).read_text(encoding="utf-8"))
        journal = Journal(tuple(content["put"]), tuple(content["delete"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabchannelError(
            f"the journal of an interrupted publication, {work / _JOURNAL}, can't be read",
            f"Delete {work} and publish again",
        ) from error
    try:
        for name in journal.put:
            source, target = work / "new" / name, channel / name
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _put(source, target)
        _sync_parents(channel, journal.put)
        for name in journal.delete:
            (channel / name).unlink(missing_ok=True)
        _sync_parents(channel, journal.delete)
        (work / _JOURNAL).unlink()
    except OSError as error:
        raise LabchannelError(
            f"{error.filename or channel} can't be put in place ({error.strerror or error})",
            "Close the program that has it open or mend its permissions, and publish again: "
            "that finishes this publication first",
        ) from error
    # It has happened. What was linked for it can't be deleted on Windows while a reader has the
    # same file open under its name in the channel; then the next publication clears it away.
    with contextlib.suppress(OSError):
        discard(work)


def _put(source: Path, target: Path) -> None:
    # On Windows a file that somebody is reading can't be replaced, and reading an index takes a
    # moment only. Elsewhere this never waits.
    for _ in range(_WINDOWS_PATIENCE if sys.platform == "win32" else 0):
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(0.05)
        else:
            return
    source.replace(target)


def _sync_parents(channel: Path, names: tuple[str, ...]) -> None:
    for folder in sorted({(channel / name).parent for name in names}):
        if folder.is_dir():
            sync_folder(folder)

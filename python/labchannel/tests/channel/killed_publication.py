"""Kill a publication before its first, second, third ... change to the file system, and look.

Run as a program by test_publish_killed.py: it forks one child for each kill, and a child may only
be forked while no thread of an index or a build is running. Prints one JSON line: for each kill,
after which change it fell and what was found.

The changes are seen by an audit hook, so none can be forgotten: every open for writing, rename,
link, mkdir, unlink, rmdir, chmod of this process. fsync and the exchange of the two folders, which
Python does not audit, are counted by wrappers, and files are written in two halves with a place to
die between them. "Before change N+1" is "after change N".

rattler's index_fs runs for real once; its files are recorded, and the killed publications write
them one by one in its place: that is as many more places to die in, and a tenth of the time.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from labchannel.channel import exchange, index, journal, layout
from labchannel.channel.layout import Channel
from labchannel.channel.publish import publish, recover
from labchannel.channel.verify import Check, verify

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES = frozenset(
    f"os.{name}"
    for name in ("rename", "link", "symlink", "mkdir", "remove", "rmdir", "chmod", "truncate")
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
COMPLETED = 77


def die_before(change: int, log: Path) -> None:
    """Arm this process: it kills itself just before the change of that number."""
    seen = 0
    last = ""

    def step(what: str) -> None:
        nonlocal seen, last
        # From one fsync to the next nothing changes that a kill could leave half done.
        if what == last == "os.fsync":
            return
        last = what
        if seen == change:
            log.open("w").write(what)
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        changes = event in CHANGES or (event == "open" and writes(arguments[2]))
        if changes and str(log) != str(arguments[0]):
            step(f"{event} {arguments[0]!r}")

    def wrapped(what: str, function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            step(what)
            function(*arguments)

        return call

    def write_in_two(path: Path, data: bytes) -> None:
        with path.open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            step(f"half-written {path}")
            file.write(data[len(data) // 2 :])

    def write_text(path: Path, text: str, encoding: str, newline: str | None = None) -> None:
        write_in_two(path, text.encode(encoding))

    Path.write_bytes = write_in_two
    Path.write_text = write_text
    os.fsync = wrapped("os.fsync", os.fsync)
    exchange.exchange = wrapped("exchange", exchange.exchange)
    sys.addaudithook(hook)


def writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & WRITES)


def no_exchange(*_arguments: object) -> None:
    raise OSError(errno.ENOSYS, "this test's file system can't")


def is_index_file(path: Path) -> bool:
    return path.name in layout.INDEX_FILES or path.parent.name == layout.SHARDS


def record_index(recorded: Path) -> None:
    """Keep what index_fs writes."""
    index_fs = index.index_fs

    async def record(folder: Path, **options: object) -> None:
        await index_fs(folder, **options)
        for path in filter(is_index_file, folder.rglob("*")):
            target = recorded / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    index.index_fs = record


def replay_index(recorded: Path) -> None:
    """Write what index_fs wrote."""

    async def replay(folder: Path, **_options: object) -> None:
        for path in sorted(filter(is_index_file, recorded.rglob("*"))):
            target = folder / path.relative_to(recorded)
            # Not to make what is there: that is no change to die before.
            if not target.parent.is_dir():
                target.parent.mkdir(parents=True)
            target.write_bytes(path.read_bytes())

    index.index_fs = replay


def publish_in_child(
    channel: Path, arguments: argparse.Namespace, recorded: Path, kill: int | None = None
) -> bool:
    """Publish in a forked process; True when it ran to its end."""
    child = os.fork()
    if child == 0:
        if arguments.files:
            exchange.exchange = no_exchange
        if recorded.exists():
            replay_index(recorded)
        else:
            record_index(recorded)
        old = [record for record in Channel.read(channel) if record.name == arguments.remove]
        if kill is not None:
            die_before(kill, channel.parent / "killed-before")
        try:
            publish(channel, arguments.packages, old)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(COMPLETED)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert os.waitstatus_to_exitcode(status) == COMPLETED, status
    return True


def state(channel: Path) -> dict[str, str]:
    """The packages that repodata names, and those that are there: the same, or verify says so."""
    return {record.location: record.sha256 for record in Channel.read(channel)}


def broken_promises(channel: Path) -> list[str]:
    """What a reader of any one index would not find as the index says it is."""
    broken = []
    for subdir in layout.channel_subdirs(channel):
        folder = channel / subdir
        views = {}
        # A subdir that is just coming may have only some of its indexes yet.
        if (folder / layout.REPODATA).exists():
            views["json"] = layout.read_repodata(folder / layout.REPODATA)
        if (folder / layout.REPODATA_ZST).exists():
            data = layout.decompress_zst((folder / layout.REPODATA_ZST).read_bytes())
            views["zst"] = layout.parse_repodata(data)
        views = {view: layout.entries(repodata) for view, repodata in views.items()}
        if (folder / layout.SHARD_INDEX).exists():
            named = layout.ShardIndex.decode((folder / layout.SHARD_INDEX).read_bytes()).shards
            for package, digest in named.items():
                shard = folder / layout.SHARDS / f"{digest}{layout.SHARD_SUFFIX}"
                views[package] = layout.decode_shard(shard.read_bytes())
        for view, entries in views.items():
            for name, entry in entries.items():
                path = folder / name
                if not path.is_file():
                    broken.append(f"{subdir} {view}: no {name}")
                elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
                    broken.append(f"{subdir} {view}: other bytes in {name}")
    return broken


def faults(channel: Path, *, files: bool = False) -> list[str]:
    """What verify finds; with `files` but for what is left to be finished there."""
    return sorted(
        str(fault) for fault in verify(channel) if not (files and fault.check is Check.INTERRUPTED)
    )


def look(
    channel: Path, arguments: argparse.Namespace, recorded: Path, kill: int
) -> dict[str, object]:
    """What the kill left, before and after recovery, and what the next publication makes of it."""
    found: dict[str, object] = {"broken": broken_promises(channel)}
    pending = journal.pending(channel)
    # A journal says that the channel is between the two.
    found["faults"] = [] if pending else faults(channel, files=arguments.files)
    if pending:
        found["finished"] = recover(channel)
    elif arguments.files:
        recover(channel)
    if arguments.files:
        found["faults"] += faults(channel)
    found["state"] = state(channel)
    # The next publication: not after each kill, for the sake of time.
    if kill % 3 == 0:
        publish_in_child(channel, arguments, recorded)
        found["next_state"] = state(channel)
        found["next_faults"] = faults(channel)
        found["left"] = sorted(
            path.name
            for path in channel.parent.iterdir()
            if path != channel and not path.name.endswith((".lock", "killed-before"))
        )
        found["left"] += [path.name for path in channel.iterdir() if path.name.startswith(".")]
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("channel", type=Path)
    parser.add_argument("packages", type=Path, nargs="+")
    parser.add_argument("--remove")
    parser.add_argument("--files", action="store_true")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    kills = []
    # In memory where that can be had: many thousand fsync calls.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        recorded = Path(folder, "recorded")
        for kill in itertools.count(arguments.first, arguments.every):
            channel = Path(folder, str(kill), "channel")
            shutil.copytree(arguments.channel, channel)
            if not recorded.exists():
                publish_in_child(channel, arguments, recorded)
                shutil.rmtree(channel)
                shutil.copytree(arguments.channel, channel)
            if publish_in_child(channel, arguments, recorded, kill):
                break
            killed_before = (channel.parent / "killed-before").read_text()
            kills.append({"before": killed_before, **look(channel, arguments, recorded, kill)})
            shutil.rmtree(channel.parent)
    print(json.dumps({"kills": kills}))


if __name__ == "__main__":
    main()

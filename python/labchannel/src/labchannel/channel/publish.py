"""Add packages to a channel, or take old ones out, in one step that nobody sees half done.

Where the system can exchange two folders (Linux), the new channel is made beside the old one: its
packages are hard links to the old one's files, so that costs nothing. It is indexed there, synced
to the disk, and the two change names in one system call. A reader finds the old channel or the
new one; and because packages are only ever added (except by `prune`), one that read the old
repodata still finds every file that it names. kill -9 leaves the old channel or the new one, and
at worst a folder `.NAME.publish` beside it, which the next publication deletes.

Elsewhere (Windows, some file systems, a channel that is a mount point or whose parent folder is
not writable) files are put one by one in an order that keeps every index true, along a journal
that the next publication finishes: see `labchannel.channel.journal`.

One publication at a time: a lock file, `.NAME.publish.lock` beside the channel, is held by the
process and not by the file's being there, so nothing has to be cleaned up after a kill.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock
from rattler import BuildString, MatchSpec, PackageRecord

from labchannel.cache import available_bytes
from labchannel.channel import exchange, journal, layout
from labchannel.channel.archive import FileHashes, hash_file, read_info
from labchannel.channel.durable import discard, link_or_copy, sync_file, sync_folder, sync_tree
from labchannel.channel.index import build_index, reuse
from labchannel.channel.layout import Channel, Record
from labchannel.errors import LabchannelError
from labchannel.stopping import add_truth, if_stopped

OnStep = Callable[[str], None]

_LEAST_ROOM = 1_000_000


@dataclass(frozen=True)
class PublishReport:
    """What a publication did. `present` were in the channel already, byte for byte.

    A package whose file in the channel was damaged, and is now whole again, is among `added`.
    """

    channel: Path
    added: tuple[Record, ...]
    present: tuple[Record, ...]
    removed: tuple[Record, ...]

    @property
    def bytes_added(self) -> int:
        """The size of all added packages."""
        return sum(record.size for record in self.added)

    @property
    def bytes_freed(self) -> int:
        """The size of all removed packages."""
        return sum(record.size for record in self.removed)


@dataclass(frozen=True)
class _Arrival:
    path: Path
    subdir: str
    hashes: FileHashes

    @property
    def location(self) -> str:
        return f"{self.subdir}/{self.path.name}"


@dataclass(frozen=True)
class _Plan:
    arrivals: tuple[_Arrival, ...]
    removed: frozenset[str]
    reindex: bool


@dataclass(frozen=True)
class _Change:
    """What a publication comes to; `plan` is None when the channel is as it should be."""

    plan: _Plan | None
    fresh: tuple[_Arrival, ...]
    present: tuple[_Arrival, ...]
    removed: tuple[Record, ...]


def publish(
    channel: Path,
    packages: Sequence[Path],
    remove: Sequence[Record] = (),
    *,
    reindex: bool = False,
    wait: bool = True,
    on_step: OnStep | None = None,
) -> PublishReport:
    """Add package files to a channel and index it, atomically. Makes the channel if need be.

    Packages of the same name and bytes that are there already are left alone; when nothing is to
    be done nothing is written, and the channel may be one that is only read. A file that was
    damaged since it was published is replaced by a package with the published bytes. Package files
    that somebody put there by hand get indexed.

    Parameters
    ----------
    channel
        The channel's top folder.
    packages
        .conda or .tar.bz2 files; each goes to the subdir that its own metadata names.
    remove
        Records of packages to take out.
    reindex
        Read all packages again and write every index anew: the mend for a damaged index. It takes
        the package files as they are, so `verify` the channel first.
    wait
        Wait for another publication to this channel to end, or be refused.
    on_step
        Called with what is being done.

    Returns
    -------
    PublishReport
        The records added, already present and removed.

    Raises
    ------
    LabchannelError
        A package is damaged, or its file name is in the channel with other bytes; another
        publication is running and `wait` is False; no space, no permission; a platform's folder
        is a symbolic link. The channel is as it was (file by file: or is finished by the next
        publication, and the message says so).

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = publish(Path(folder, "channel"), [])
    ...     Channel.read(report.channel).records
    {'noarch': ()}
    """
    say = on_step or (lambda _message: None)
    root = channel_root(channel)
    with _clear_errors(root):
        root.parent.mkdir(parents=True, exist_ok=True)
    if _is_only_read(root):
        # No lock can be taken here, and none is needed to find that nothing is to be done.
        change = _compare(root, _examine(packages), remove, reindex=reindex)
        if change.plan is None:
            return _report(root, change)
    with if_stopped("nothing was published"), _exclusive(root, wait=wait, say=say):
        return _publish(root, packages, remove, reindex=reindex, say=say)


def channel_root(channel: Path) -> Path:
    """The folder that a channel is, or will be, by its real name.

    Raises
    ------
    LabchannelError
        A file is there, or the path leads in a circle.
    """
    try:
        # A channel given by a symbolic link: the folder behind it is exchanged, the link stays.
        root = channel.resolve()
    except (OSError, RuntimeError) as error:
        raise LabchannelError(f"{channel} can't be resolved ({error})", "Mend the path") from error
    if root.exists() and not root.is_dir():
        raise LabchannelError(f"{root} is a file, and a channel is a folder", "Name another folder")
    return root


def require_writable(channel: Path) -> None:
    """Refuse a channel that can't be published to, before the work of a build.

    It is asked by a folder that is made and deleted: permissions alone don't tell of a mount point,
    a file system or a user who may do all. Room is asked for as much as an index takes.

    Raises
    ------
    LabchannelError
        The folder, or the one that it is to be made in, can't be written, or its disk is full, or
        a platform's folder is a symbolic link. The channel is as it was.
    """
    root = channel_root(channel)
    _refuse_links(root)
    folder = root
    while not folder.exists():
        folder = folder.parent
    with _clear_errors(root):
        with tempfile.TemporaryDirectory(prefix=".labchannel-", dir=folder):
            free = available_bytes(folder)
        if free < _LEAST_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@dataclass(frozen=True)
class Needed:
    """An old build that stays: `dependent` depends on it, and nothing newer will do."""

    record: Record
    dependent: Record


@dataclass(frozen=True)
class PruneReport:
    """What a pruning removed, and what it kept although it is old."""

    removed: tuple[Record, ...]
    needed: tuple[Needed, ...]

    @property
    def bytes_freed(self) -> int:
        """The size of all removed packages."""
        return sum(record.size for record in self.removed)


def prune(
    channel: Path,
    keep: int,
    names: Collection[str],
    *,
    wait: bool = True,
    on_step: OnStep | None = None,
) -> PruneReport:
    """Take old builds out of a channel: for each version and subdir all but the newest `keep`.

    A build is a build number: the variants of one number stay or go together. What a package that
    stays depends on, and no newer build can give it, stays as well.

    Parameters
    ----------
    channel
        The channel's top folder.
    keep
        How many builds to keep, at least 1.
    names
        The packages to prune; all others are left alone.
    wait, on_step
        As for `publish`.

    Raises
    ------
    LabchannelError
        As `publish`, or `keep` is less than 1.
    """
    if keep < 1:
        raise LabchannelError(f"keeping {keep} builds would empty the channel", "Keep at least 1")
    say = on_step or (lambda _message: None)
    root = channel_root(channel)
    layout.channel_subdirs(root)
    with if_stopped("nothing was removed"), _exclusive(root, wait=wait, say=say):
        _recover(root)
        content = Channel.read(root)
        old = [record for record in _beyond(content, keep) if record.name in names]
        needed = _needed(content, old)
        removed = [record for record in old if record not in needed]
        report = _publish(root, [], removed, reindex=False, say=say)
    return PruneReport(
        report.removed, tuple(Needed(record, needed[record]) for record in old if record in needed)
    )


def recover(channel: Path, *, wait: bool = True) -> bool:
    """Finish or clear away what a killed publication left; True when a publication was finished.

    Every publication does this first. Call it before trusting a channel that is published to file
    by file.

    Raises
    ------
    LabchannelError
        The folder can't be written, or a file in it is held open.
    """
    root = channel_root(channel)
    if not (root.exists() or _beside(root).exists()):
        return False
    with _exclusive(root, wait=wait, say=lambda _message: None):
        return _recover(root)


def _beside(root: Path) -> Path:
    return root.with_name(f".{root.name}.publish")


def _is_only_read(root: Path) -> bool:
    """Whether this user can write neither the channel nor beside it."""
    return root.exists() and not (os.access(root, os.W_OK) or os.access(root.parent, os.W_OK))


def _refuse_links(root: Path) -> None:
    """Refuse a channel whose platform folder is elsewhere.

    A publication makes the new channel beside the old one and exchanges the two. It would have to
    copy what is behind the link, or to leave it out.
    """
    for name in sorted(layout.SUBDIRS):
        if (root / name).is_symlink():
            raise LabchannelError(
                f"{root / name} is a symbolic link, and a publication would put a folder in its "
                "place",
                f"Move what is behind it there, or the whole channel to that disk: {root} itself "
                "may be a link",
            )


@contextlib.contextmanager
def _exclusive(root: Path, *, wait: bool, say: OnStep) -> Iterator[None]:
    in_parent = os.access(root.parent, os.W_OK) or not root.exists()
    lock = filelock.FileLock(f"{_beside(root)}.lock" if in_parent else root / layout.LOCK)
    with _clear_errors(root):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if not wait:
                raise LabchannelError(
                    f"another publication to {root} is running",
                    "Wait until it has ended, and publish again",
                ) from None
            say("waiting for another publication to end")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _clear_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename or root
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise LabchannelError(
                f"no room to publish to {root} ({error.strerror})",
                "Free some space and publish again",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise LabchannelError(
                f"the channel {root} can't be written ({error.strerror}: {where})",
                "Mend the folder's permissions, or publish to another folder",
            ) from error
        raise LabchannelError(
            f"publishing to {root} failed ({error.strerror or error}: {where})",
            "Mend that and publish again",
        ) from error


def _recover(root: Path) -> bool:
    with _clear_errors(root):
        discard(_beside(root))
        if journal.pending(root):
            journal.roll_forward(root)
            return True
        discard(root / layout.WORK)
    return False


def _publish(
    root: Path,
    packages: Sequence[Path],
    remove: Sequence[Record],
    *,
    reindex: bool,
    say: OnStep,
) -> PublishReport:
    _recover(root)
    say("reading the new packages")
    change = _compare(root, _examine(packages), remove, reindex=reindex)
    if change.plan is not None:
        _refuse_links(root)
        with _clear_errors(root):
            try:
                _replace(root, change.plan, say)
            except KeyboardInterrupt as stop:
                add_truth(stop, _after_a_stop(root, change.plan))
                raise
    return _report(root, change)


def _compare(
    root: Path, arrivals: Sequence[_Arrival], remove: Sequence[Record], *, reindex: bool
) -> _Change:
    """Find what is to be done; only reads."""
    with _clear_errors(root):
        before = _read_old(root, arrivals, reindex=reindex)
        known = {record.location: record for record in before} if before else {}
        present = [arrival for arrival in arrivals if _is_there(root, arrival, known)]
        fresh = tuple(arrival for arrival in arrivals if arrival not in present)
        going = {record.location: record for record in remove}
        removed = frozenset(
            location for location in going if location in known or (root / location).exists()
        )
        if clash := removed & {arrival.location for arrival in arrivals}:
            raise LabchannelError(
                f"{min(clash)} is to be added and removed at once", "Name it once"
            )
        plan = None
        if fresh or removed or reindex or before is None or not _is_complete(root, known):
            plan = _Plan(fresh, removed, reindex or before is None)
    return _Change(
        plan, fresh, tuple(present), tuple(going[location] for location in sorted(removed))
    )


def _report(root: Path, change: _Change) -> PublishReport:
    after = {record.location: record for record in Channel.read(root)}
    return PublishReport(
        channel=root,
        added=tuple(after[arrival.location] for arrival in change.fresh),
        present=tuple(after[arrival.location] for arrival in change.present),
        removed=change.removed,
    )


def _examine(packages: Sequence[Path]) -> list[_Arrival]:
    arrivals: dict[str, _Arrival] = {}
    for path in packages:
        subdir = str(read_info(path).index.get("subdir"))
        if subdir not in layout.SUBDIRS:
            raise LabchannelError(
                f"{path} was built for {subdir}, which no client knows", "Build it again"
            )
        try:
            arrival = _Arrival(path, subdir, hash_file(path))
        except OSError as error:
            raise LabchannelError(
                f"{path} can't be read ({error.strerror or error})", "Mend its permissions"
            ) from error
        other = arrivals.setdefault(arrival.location, arrival)
        if other.hashes != arrival.hashes:
            raise _other_bytes(arrival, f"{other.path} has")
    return list(arrivals.values())


def _other_bytes(arrival: _Arrival, owner: str) -> LabchannelError:
    return LabchannelError(
        f"{owner} other bytes under the file name {arrival.location}, and clients that have it "
        f"would never notice ({arrival.path} was not published)",
        "Build the package with a new build number",
    )


def _read_old(root: Path, arrivals: Sequence[_Arrival], *, reindex: bool) -> Channel | None:
    """Read the channel as it is; None when there is none to speak of: no folder, or no index."""
    if reindex or not root.exists() or not any(root.glob(f"*/{layout.REPODATA}")):
        return None
    old = Channel.read(root, complete=False)
    anew = {arrival.location for arrival in arrivals}
    for record in old:
        path = root / record.location
        # A file that somebody deleted simply leaves the index; one that changed must not pass for
        # the one that was published, unless that comes anew. (Same size and other bytes: `verify`
        # reads them all.)
        if record.location not in anew and path.is_file() and path.stat().st_size != record.size:
            raise LabchannelError(
                f"{record.location} in {root} is not the file that was published: it has "
                f"{path.stat().st_size} bytes instead of {record.size}",
                "Verify the channel, and publish anew, or delete, what is damaged",
            )
    return old


def _is_there(root: Path, arrival: _Arrival, known: Mapping[str, Record]) -> bool:
    path = root / arrival.location
    record = known.get(arrival.location)
    if record is not None and record.sha256 != arrival.hashes.sha256:
        raise _other_bytes(arrival, "the channel knows")
    if not path.is_file():
        return False
    if hash_file(path) == arrival.hashes:
        return True
    if record is None:
        raise _other_bytes(arrival, "the channel has")
    # Damaged since it was published, and here are the bytes that were.
    return False


def _is_complete(root: Path, known: Mapping[str, Record]) -> bool:
    subdirs = layout.channel_subdirs(root)
    names = {
        f"{subdir}/{path.name}"
        for subdir in subdirs
        for path in (root / subdir).iterdir()
        if layout.is_package(path.name)
    }
    complete = layout.NOARCH in subdirs and names == known.keys()
    return complete and all(
        path.is_file()
        for path in (
            root / layout.CHANNELDATA,
            *(root / subdir / name for subdir in subdirs for name in layout.INDEX_FILES),
        )
    )


def _after_a_stop(root: Path, plan: _Plan) -> str:
    """What is true of a channel whose publication was stopped."""
    if journal.pending(root):
        return f"the next publication to {root} finishes this one"
    if not (plan.arrivals or plan.removed):
        return f"{root} has its old index or the new one, whole"
    done = all(_is_put(root, arrival) for arrival in plan.arrivals) and not any(
        (root / location).exists() for location in plan.removed
    )
    return f"{root} has been brought up to date" if done else f"{root} is as it was"


def _is_put(root: Path, arrival: _Arrival) -> bool:
    path = root / arrival.location
    # Not only that it is there: it may have come for one that was damaged.
    return path.is_file() and hash_file(path) == arrival.hashes


def _replace(root: Path, plan: _Plan, say: OnStep) -> None:
    with contextlib.suppress(_NotExchangedError):
        if os.access(root.parent, os.W_OK):
            _replace_whole(root, plan, say)
            return
    _replace_by_file(root, plan, say)


class _NotExchangedError(Exception):
    """The system can't exchange folders, or not this one: a mount point."""


def _replace_whole(root: Path, plan: _Plan, say: OnStep) -> None:
    work = _beside(root)
    new = work / "new"
    try:
        work.mkdir()
        # Asked before the work, so that it is not done twice; a mount point may still say no later.
        if root.exists() and (not exchange.can_exchange(work) or root.is_mount()):
            raise _NotExchangedError
        _stage(root, new, plan, say)
        say("putting the new channel in place")
        if root.exists():
            _keep_access(root, new)
            try:
                exchange.exchange(new, root)
            except OSError as error:
                if error.errno in exchange.NOT_HERE:
                    raise _NotExchangedError from error
                raise
        else:
            new.rename(root)
        sync_folder(root.parent)
    finally:
        # Now the old channel, or what was left of the attempt. If it can't be deleted the next
        # publication tries again; this one has happened or has its own error.
        with contextlib.suppress(OSError):
            discard(work)


def _replace_by_file(root: Path, plan: _Plan, say: OnStep) -> None:
    work = root / layout.WORK
    try:
        root.mkdir(exist_ok=True)
        work.mkdir()
        _stage(root, work / "new", plan, say)
        journal.begin(root, journal.plan(root, work / "new"))
    except BaseException:
        with contextlib.suppress(OSError):
            discard(work)
        raise
    say("putting the new files in place")
    journal.roll_forward(root)


def _stage(root: Path, new: Path, plan: _Plan, say: OnStep) -> None:
    """Make the whole new channel in `new`, indexed and on the disk."""
    say("preparing the new channel")
    new.mkdir()
    if root.exists():
        _link_old(root, new, plan)
    for arrival in plan.arrivals:
        target = new / arrival.location
        target.parent.mkdir(exist_ok=True)
        # Copied, not linked: whoever writes into the build's output later must not reach it.
        shutil.copyfile(arrival.path, target)
        # The index may know these bytes already, and would not look at them again.
        if hash_file(target) != arrival.hashes:
            raise _changed(arrival)
        sync_file(target)
    build_index(new, force=plan.reindex, on_step=say)
    if root.exists() and not plan.reindex:
        reuse(root, new)
    indexed = {record.location: record.sha256 for record in Channel.read(new)}
    for arrival in plan.arrivals:
        if indexed.get(arrival.location) != arrival.hashes.sha256:
            raise _changed(arrival)
    if root.exists():
        for folder, _, _ in os.walk(new):
            origin = root / Path(folder).relative_to(new)
            # One that is new is like the channel. Whoever publishes next must get into it.
            _keep_access(origin if origin.is_dir() else root, Path(folder), at_least=stat.S_IRWXU)
    say("writing to the disk")
    sync_tree(new)


def _changed(arrival: _Arrival) -> LabchannelError:
    return LabchannelError(
        f"{arrival.path} changed while it was being published", "Publish it again"
    )


def _keep_access(origin: Path, folder: Path, at_least: int = 0) -> None:
    """Let the same people at `folder` as at `origin`: its group, if this user may, and its mode."""
    status = origin.stat()
    if sys.platform != "win32" and folder.stat().st_gid != status.st_gid:
        with contextlib.suppress(OSError):
            os.chown(folder, -1, status.st_gid)
    mode = stat.S_IMODE(status.st_mode) | at_least
    # Not where it is so already: a file system that has no modes may refuse to be asked.
    if stat.S_IMODE(folder.stat().st_mode) != mode:
        folder.chmod(mode)


def _link_old(root: Path, new: Path, plan: _Plan) -> None:
    arriving = {arrival.location for arrival in plan.arrivals}
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        if here == Path():
            folders[:] = [
                name for name in folders if name not in (layout.WORK, layout.INDEXER_WORK)
            ]
        is_subdir = len(here.parts) == 1 and here.name in layout.SUBDIRS
        if is_subdir:
            folders[:] = [name for name in folders if name not in (layout.SHARDS, ".cache")]
        (new / here).mkdir(exist_ok=True)
        for name in (*names, *(name for name in folders if Path(folder, name).is_symlink())):
            location = (here / name).as_posix()
            # What arrives is written there: into a link it would reach the old channel's file.
            if location in plan.removed or location in arriving or _is_index(here, name, is_subdir):
                continue
            source = root / location
            if is_subdir and layout.is_package(name) and source.is_file():
                # The indexer passes over links, and a copy of the channel would lose them.
                source = source.resolve()
            link_or_copy(source, new / location)
        if is_subdir and not plan.reindex and layout.REPODATA in names:
            # What index_fs reads to know which packages it has indexed; it writes a new one.
            shutil.copyfile(root / here / layout.REPODATA, new / here / layout.REPODATA)


def _is_index(here: Path, name: str, is_subdir: bool) -> bool:
    if here == Path():
        return name in (layout.CHANNELDATA, layout.LOCK)
    return is_subdir and (
        name in layout.INDEX_FILES or name in layout.FOREIGN_INDEX_FILES or name.endswith(".tmp")
    )


def _beyond(content: Channel, keep: int) -> Iterator[Record]:
    """Yield all but the newest `keep` build numbers of each name, version and subdir."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in content:
        groups.setdefault((record.name, record.version, record.subdir), []).append(record)
    for records in groups.values():
        newest = sorted({record.build_number for record in records}, reverse=True)[:keep]
        yield from (record for record in records if record.build_number not in newest)


def _needed(content: Channel, old: Sequence[Record]) -> dict[Record, Record]:
    """Find which of the old records must stay, and for whom."""
    going = set(old)
    old_names = {record.name for record in old}
    by_name: dict[str, list[Record]] = {}
    for record in content:
        by_name.setdefault(record.name, []).append(record)
    needed: dict[Record, Record] = {}
    unchecked = [record for record in content if record not in going]
    while unchecked:
        dependent = unchecked.pop()
        for text in dependent.depends:
            # Parsing is slow and most dependencies are on something else.
            if re.split(r"[\s=<>!~\[;]", text.strip(), maxsplit=1)[0].lower() not in old_names:
                continue
            spec = MatchSpec(text)
            name = spec.name.normalized if spec.name is not None else ""
            matching = [
                record for record in by_name.get(name, ()) if spec.matches(_package_record(record))
            ]
            if matching and all(record in going for record in matching):
                rescued = max(matching, key=lambda record: (record.build_number, record.timestamp))
                going.remove(rescued)
                needed[rescued] = dependent
                unchecked.append(rescued)
    return needed


def _package_record(record: Record) -> PackageRecord:
    return PackageRecord(
        record.name,
        record.version,
        BuildString(record.build),
        record.build_number,
        record.subdir,
    )

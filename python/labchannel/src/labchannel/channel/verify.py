"""Verify a channel folder: every byte that a client may fetch, against everything that names it.

Clients check little: pixi does not hash what it takes from a `file://` channel, and bytes after
the end of a compressed file are noticed by nobody. Here each package is hashed, opened and read to
its end, as a stream (memory does not grow with the package) and several at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from labchannel.channel import index_faults, layout
from labchannel.channel.archive import PackageInfo
from labchannel.channel.build_paths import build_machine_prefixes
from labchannel.channel.fault import Check, Fault
from labchannel.channel.index_faults import SubdirIndex, read_index
from labchannel.channel.package_faults import examine_package
from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Check", "Fault", "verify"]

OnStep = Callable[[str], None]


def verify(
    channel: Path,
    own: Collection[str] = (),
    *,
    forbidden: Sequence[str] | None = None,
    threads: int | None = None,
    on_step: OnStep | None = None,
) -> list[Fault]:
    """Find everything that is wrong with a channel folder.

    - Indexes: repodata.json, .zst and the shards say the same; run_exports.json and
      channeldata.json match the packages; a kind of index that one subdir has, all have; no byte
      follows a compressed file. A shard that no index names is a fault unless it is named by its
      hash and all its entries still stand (publications keep such for readers in mid-flight).
    - Files: size, md5 and sha256 of each; entries without a file, files without an entry.
    - Packages: nothing in the container that belongs to no part of it; info/index.json says what
      repodata.json says; info/paths.json names every file, with its size and sha256, and no other.
    - Packages in `own`: paths.json is sorted, licence files are there, and no file holds a path of
      the build machine (a recorded prefix placeholder, which clients replace, is none).

    Parameters
    ----------
    channel
        The channel's top folder, labchannel's or any other.
    own
        Names of the packages made here.
    forbidden
        Absolute paths that no file of an own package may hold; by default those of this machine:
        the home folder, the checkout, the folders of cargo, rustup and the user's caches.
        Work folders of rattler-build are always looked for.
    threads
        How many packages to read at once; by default one per processor.
    on_step
        Called with each package as its reading ends.

    Returns
    -------
    list of Fault
        Sorted; empty when all is well.

    Raises
    ------
    LabchannelError
        The folder is no channel at all, or it can't be read.
    """
    say = on_step or (lambda _message: None)
    subdirs = layout.channel_subdirs(channel)
    if forbidden is None:
        forbidden = build_machine_prefixes()
    try:
        faults: list[Fault] = []
        indexes = {name: read_index(channel, name, faults) for name in subdirs}
        for check in (
            index_faults.check_companions,
            index_faults.check_interrupted,
            index_faults.check_unindexed,
            index_faults.check_noarch,
        ):
            faults += check(channel, indexes)
        for index in indexes.values():
            faults += index_faults.check_info(index)
            faults += index_faults.check_zst(index)
            faults += index_faults.check_shards(index)
            faults += index_faults.check_other_repodata(index)
            faults += index_faults.check_missing(index)
        packages: dict[str, dict[str, PackageInfo]] = {name: {} for name in subdirs}
        for index, name, (info, found) in _examine_all(indexes, own, forbidden, threads):
            say(f"{index.subdir}/{name}")
            faults += found
            if info is not None:
                packages[index.subdir][name] = info
        faults += index_faults.check_run_exports(indexes, packages)
        faults += index_faults.check_channeldata(channel, indexes)
    except OSError as error:
        raise LabchannelError(
            f"the channel {channel} can't be read ({error.strerror or error}: {error.filename})",
            "Mend its permissions, or verify again when nobody is writing to it",
        ) from error
    return sorted(set(faults))


_Examined = tuple[PackageInfo | None, list[Fault]]


def _examine_all(
    indexes: Mapping[str, SubdirIndex],
    own: Collection[str],
    forbidden: Sequence[str],
    threads: int | None,
) -> Iterator[tuple[SubdirIndex, str, _Examined]]:
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        running = [
            (index, name, pool.submit(examine_package, index, name, own, forbidden))
            for index in indexes.values()
            for name in sorted(index.entries)
            if (index.folder / name).is_file()
        ]
        for index, name, future in running:
            yield index, name, future.result()
    finally:
        # After Ctrl-C, or the first package that can't be read, the rest need not be.
        pool.shutdown(cancel_futures=True)

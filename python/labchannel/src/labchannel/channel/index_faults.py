"""Faults of a channel's index files, against each other and against the files that are there."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labchannel.channel import journal, layout
from labchannel.channel.fault import Check, Fault
from labchannel.channel.index import is_true_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from labchannel.channel.archive import PackageInfo


@dataclass(frozen=True)
class SubdirIndex:
    """One subdir and what its repodata.json says."""

    subdir: str
    folder: Path
    repodata: Mapping[str, Any]
    entries: Mapping[str, Mapping[str, Any]]
    readable: bool

    def fault(self, name: str, check: Check, message: str) -> Fault:
        """Make a fault of a file in this subdir."""
        return Fault(f"{self.subdir}/{name}", check, message)


def read_index(channel: Path, subdir: str, faults: list[Fault]) -> SubdirIndex:
    """Read a subdir's repodata.json; what is wrong with it goes to `faults`."""
    folder = channel / subdir
    path = folder / layout.REPODATA
    try:
        repodata = layout.parse_repodata(path.read_bytes())
    except FileNotFoundError:
        faults.append(Fault(f"{subdir}/{path.name}", Check.INDEX, "it is missing"))
    except ValueError as error:
        faults.append(Fault(f"{subdir}/{path.name}", Check.INDEX, f"it is damaged: {error}"))
    else:
        entries = layout.entries(repodata)
        odd = sorted(name for name in entries if "/" in name or "\\" in name)
        faults += [
            Fault(f"{subdir}/{path.name}", Check.INDEX, f"{name!r} is no file name") for name in odd
        ]
        named = {name: entry for name, entry in entries.items() if name not in odd}
        return SubdirIndex(subdir, folder, repodata, named, readable=True)
    return SubdirIndex(subdir, folder, {}, {}, readable=False)


def check_info(index: SubdirIndex) -> Iterator[Fault]:
    """Check what repodata.json says of itself."""
    info = index.repodata.get("info")
    if isinstance(info, dict):
        yield from _check_addresses(index, layout.REPODATA, Check.INDEX, info)


def check_noarch(_channel: Path, indexes: Mapping[str, SubdirIndex]) -> Iterator[Fault]:
    """Look for noarch/."""
    if layout.NOARCH not in indexes:
        yield Fault(layout.NOARCH, Check.INDEX, "it is missing, and clients refuse such a channel")


def check_companions(_channel: Path, indexes: Mapping[str, SubdirIndex]) -> Iterator[Fault]:
    """Look for lost indexes: a channel need not have all kinds, but each kind everywhere."""
    kinds = (layout.REPODATA_ZST, layout.SHARD_INDEX, layout.RUN_EXPORTS)
    have = {
        (index.subdir, kind)
        for index in indexes.values()
        for kind in kinds
        if (index.folder / kind).is_file()
    }
    used = {kind for _, kind in have}
    for index in indexes.values():
        for kind in kinds:
            if (index.subdir, kind) in have:
                continue
            if kind in used or (
                kind == layout.SHARD_INDEX and (index.folder / layout.SHARDS).is_dir()
            ):
                yield index.fault(kind, Check.INDEX, "it is missing")


def check_interrupted(channel: Path, _indexes: Mapping[str, SubdirIndex]) -> Iterator[Fault]:
    """Look for what a killed file-by-file publication left."""
    if journal.pending(channel):
        message = "a publication was cut off half way; publish again to finish it"
    elif (channel / layout.WORK).exists():
        message = "a publication is running or was cut off; the next one clears this away"
    else:
        return
    yield Fault(layout.WORK, Check.INTERRUPTED, message)


def check_unindexed(channel: Path, indexes: Mapping[str, SubdirIndex]) -> Iterator[Fault]:
    """Look for files that no index names, and for symbolic links."""
    known = {layout.CHANNELDATA, layout.LOCK, *layout.FOREIGN_INDEX_FILES}
    for index in indexes.values():
        known.update(
            f"{index.subdir}/{name}"
            for name in (*layout.INDEX_FILES, *layout.FOREIGN_INDEX_FILES, *index.entries)
        )
    unreadable = {index.subdir for index in indexes.values() if not index.readable}
    for folder, folders, names in os.walk(channel):
        here = Path(folder).relative_to(channel)
        if here == Path():
            folders[:] = [name for name in folders if name != layout.WORK]
        if len(here.parts) == 1:
            # `.cache` is conda-index's own; shards are looked at one by one.
            folders[:] = [name for name in folders if name not in (".cache", layout.SHARDS)]
        for name in [*names, *folders]:
            path = channel / here / name
            if path.is_symlink():
                yield Fault(
                    (here / name).as_posix(),
                    Check.UNINDEXED,
                    "it is a symbolic link, which a copy of the channel would lose",
                )
        for name in names:
            location = (here / name).as_posix()
            # Where repodata.json can't be read, which is a fault, nothing is known of packages.
            blind = here.as_posix() in unreadable and layout.is_package(name)
            if location not in known and not blind:
                yield Fault(location, Check.UNINDEXED, "no index names it")


def check_missing(index: SubdirIndex) -> Iterator[Fault]:
    """Look for entries of repodata.json without a file."""
    for name in index.entries:
        if not (index.folder / name).is_file():
            yield index.fault(
                name, Check.MISSING, "repodata.json names it, and there is no such file"
            )


def check_zst(index: SubdirIndex) -> Iterator[Fault]:
    """Compare repodata.json.zst with repodata.json."""
    path = index.folder / layout.REPODATA_ZST
    if not path.is_file():
        return
    try:
        other = layout.parse_repodata(layout.decompress_zst(path.read_bytes()))
    except ValueError as error:
        yield index.fault(path.name, Check.ZST, f"it is damaged: {error}")
        return
    if index.readable and other != index.repodata:
        yield index.fault(path.name, Check.ZST, "it does not say what repodata.json says")


def check_shards(index: SubdirIndex) -> Iterator[Fault]:
    """Compare the shards with repodata.json, and each with the hash in its name."""
    path = index.folder / layout.SHARD_INDEX
    if not path.is_file():
        return
    try:
        shard_index = layout.ShardIndex.decode(path.read_bytes())
    except ValueError as error:
        yield index.fault(path.name, Check.SHARDS, f"it is damaged: {error}")
        return
    named = shard_index.shards
    yield from _check_addresses(index, path.name, Check.SHARDS, shard_index.info)
    found: dict[str, Mapping[str, Any]] = {}
    for package, digest in sorted(named.items()):
        name = f"{layout.SHARDS}/{digest}{layout.SHARD_SUFFIX}"
        shard = index.folder / name
        if not shard.is_file():
            yield index.fault(name, Check.SHARDS, f"the shard of {package} is missing")
            continue
        data = shard.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            yield index.fault(name, Check.SHARDS, f"the shard of {package} has another sha256")
        try:
            entries = layout.decode_shard(data)
        except ValueError as error:
            yield index.fault(name, Check.SHARDS, f"the shard of {package} is damaged: {error}")
            continue
        for file_name, entry in entries.items():
            found[file_name] = entry
            if entry.get("name") != package:
                yield index.fault(name, Check.SHARDS, f"it holds {file_name}, no {package}")
    if index.readable:
        yield from _compare_shards(index, found)
    yield from _check_old_shards(index, set(named.values()))


def _check_addresses(
    index: SubdirIndex, name: str, check: Check, info: Mapping[str, Any]
) -> Iterator[Fault]:
    """Look for an index of another subdir, or one that sends clients to another place (CEP 15)."""
    if info.get("subdir") not in (None, index.subdir):
        yield index.fault(name, check, f"it says that it is for {info['subdir']}")
    for key, here in (("base_url", ""), ("shards_base_url", layout.SHARDS)):
        address = str(info.get(key) or here)
        if address.removeprefix("./").rstrip("/") != here:
            yield index.fault(name, check, f"it sends clients to {address}, not to this folder")


def _compare_shards(index: SubdirIndex, found: Mapping[str, Mapping[str, Any]]) -> Iterator[Fault]:
    for name in sorted(found.keys() | index.entries.keys()):
        if name not in found:
            message = f"no shard names {name}"
        elif name not in index.entries:
            message = f"a shard names {name}, and repodata.json does not"
        elif dict(found[name]) != layout.without_run_exports(index.entries[name]):
            message = f"the shard and repodata.json differ about {name}"
        else:
            continue
        yield index.fault(layout.SHARD_INDEX, Check.SHARDS, message)


def _check_old_shards(index: SubdirIndex, named: set[str]) -> Iterator[Fault]:
    folder = index.folder / layout.SHARDS
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        digest = path.name.removesuffix(layout.SHARD_SUFFIX)
        if digest in named and path.name.endswith(layout.SHARD_SUFFIX):
            continue
        name = f"{layout.SHARDS}/{path.name}"
        if not path.is_file() or path.name == digest:
            yield index.fault(name, Check.UNINDEXED, "no index names it")
            continue
        data = path.read_bytes()
        try:
            stands = is_true_shard(data, index.entries)
        except ValueError:
            stands = False
        if hashlib.sha256(data).hexdigest() != digest or not stands:
            yield index.fault(name, Check.UNINDEXED, "no index names it, and it is out of date")


def check_other_repodata(index: SubdirIndex) -> Iterator[Fault]:
    """Check what other indexers write too: conda reads `current_repodata.json` first."""
    readers: Mapping[str, Callable[[bytes], bytes]] = {
        "current_repodata.json": lambda data: data,
        "current_repodata.json.zst": layout.decompress_zst,
        "repodata.json.bz2": _decompress_bz2,
    }
    for name, read in readers.items():
        path = index.folder / name
        if not path.is_file() or not index.readable:
            continue
        try:
            other = layout.entries(layout.parse_repodata(read(path.read_bytes())))
        except ValueError as error:
            yield index.fault(name, Check.INDEX, f"it is damaged: {error}")
            continue
        for file_name, entry in sorted(other.items()):
            if index.entries.get(file_name) != entry:
                yield index.fault(
                    name, Check.INDEX, f"it does not say of {file_name} what repodata.json says"
                )
        if name == "repodata.json.bz2" and other.keys() != index.entries.keys():
            yield index.fault(name, Check.INDEX, "it does not name what repodata.json names")


def _decompress_bz2(data: bytes) -> bytes:
    decompressor = bz2.BZ2Decompressor()
    try:
        contents = decompressor.decompress(data)
    except OSError as error:
        raise ValueError(f"it is no valid bzip2 ({error})") from error
    if not decompressor.eof or decompressor.unused_data:
        raise layout.TrailingBytesError("it is cut short, or bytes follow the compressed data")
    return contents


def check_run_exports(
    indexes: Mapping[str, SubdirIndex], packages: Mapping[str, Mapping[str, PackageInfo]]
) -> Iterator[Fault]:
    """Compare run_exports.json with repodata.json and with the packages."""
    for index in indexes.values():
        path = index.folder / layout.RUN_EXPORTS
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_bytes())
            named = {
                name: entry["run_exports"]
                for key in ("packages", "packages.conda")
                for name, entry in content.get(key, {}).items()
            }
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            yield index.fault(path.name, Check.RUN_EXPORTS, f"it is damaged: {error!r}")
            continue
        if index.readable and named.keys() != index.entries.keys():
            odd = sorted(named.keys() ^ index.entries.keys())
            yield index.fault(
                path.name, Check.RUN_EXPORTS, f"it and repodata.json differ in naming {odd[0]}"
            )
        for name, info in packages[index.subdir].items():
            if name in named and named[name] != info.run_exports:
                yield index.fault(
                    path.name, Check.RUN_EXPORTS, f"it does not say of {name} what the package says"
                )


def check_channeldata(channel: Path, indexes: Mapping[str, SubdirIndex]) -> Iterator[Fault]:
    """Compare channeldata.json with every repodata.json."""
    path = channel / layout.CHANNELDATA
    if not path.is_file() or not all(index.readable for index in indexes.values()):
        return
    try:
        content = json.loads(path.read_bytes())
        named = {
            (name, subdir)
            for name, data in content["packages"].items()
            for subdir in data["subdirs"]
        }
        versions = {(name, data["version"]) for name, data in content["packages"].items()}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        yield Fault(path.name, Check.CHANNELDATA, f"it is damaged: {error!r}")
        return
    there = {
        (str(entry.get("name")), index.subdir)
        for index in indexes.values()
        for entry in index.entries.values()
    }
    for name, subdir in sorted(named ^ there):
        yield Fault(
            path.name, Check.CHANNELDATA, f"it and {subdir}/repodata.json differ in naming {name}"
        )
    all_versions = {
        (entry.get("name"), entry.get("version"))
        for index in indexes.values()
        for entry in index.entries.values()
    }
    for name, version in sorted(versions - all_versions):
        yield Fault(path.name, Check.CHANNELDATA, f"it names {name} {version}, which is not there")

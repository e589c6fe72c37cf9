"""Faults of one package file: its bytes, its container, and what it says of itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labchannel.channel import layout
from labchannel.channel.archive import (
    Archive,
    DamagedPackageError,
    PackageInfo,
    hash_file,
    parse_info,
)
from labchannel.channel.build_paths import BuildPathSearch
from labchannel.channel.fault import Check, Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from labchannel.channel.index_faults import SubdirIndex

_SOLVED_BY = (
    "build_number",
    "constrains",
    "depends",
    "features",
    "license",
    "noarch",
    "timestamp",
    "track_features",
)
"""What clients solve with or show of index.json, besides what names the package."""


@dataclass
class _Contents:
    """What a package file turned out to hold."""

    info: PackageInfo
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    links: set[str] = field(default_factory=set)
    directories: set[str] = field(default_factory=set)
    info_files: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    build_paths: list[tuple[str, list[str]]] = field(default_factory=list)


def examine_package(
    index: SubdirIndex, name: str, own: Collection[str], forbidden: Sequence[str]
) -> tuple[PackageInfo | None, list[Fault]]:
    """Read one package to its end: its metadata (None when unreadable) and its faults.

    Parameters
    ----------
    index, name
        Where the package is.
    own
        Names of the packages made here, which have to keep more promises.
    forbidden
        Absolute paths that no file of those may hold.

    Raises
    ------
    OSError
        The file can't be read.
    """
    path = index.folder / name
    entry = index.entries[name]
    is_own = entry.get("name") in own
    faults = list(_check_bytes(index, name))
    try:
        contents = _read_contents(path, forbidden if is_own else None)
    except (DamagedPackageError, ValueError) as error:
        faults.append(index.fault(name, Check.CONTAINER, f"it can't be read to its end: {error}"))
        return None, faults
    checks: list[tuple[Check, Iterator[str]]] = [
        (Check.CONTAINER, _check_container(path, contents)),
        (Check.INDEX_JSON, _check_index_json(index, name, contents)),
        (Check.PATHS, _check_paths(contents)),
    ]
    if is_own:
        checks += [
            (Check.PATHS, _check_order(contents)),
            (Check.LICENSE, _check_licences(contents)),
            (Check.BUILD_PATH, _check_build_paths(contents)),
        ]
    for check, messages in checks:
        try:
            faults += [index.fault(name, check, message) for message in messages]
        except DamagedPackageError as error:
            faults.append(index.fault(name, check, str(error)))
    return contents.info, faults


def _check_bytes(index: SubdirIndex, name: str) -> Iterator[Fault]:
    entry = index.entries[name]
    hashes = hash_file(index.folder / name)
    if hashes.size != entry.get("size"):
        yield index.fault(
            name, Check.SIZE, f"it has {hashes.size} bytes, repodata.json says {entry.get('size')}"
        )
    if hashes.sha256 != entry.get("sha256"):
        yield index.fault(name, Check.SHA256, "its sha256 is not what repodata.json says")
    if hashes.md5 != entry.get("md5"):
        yield index.fault(name, Check.MD5, "its md5 is not what repodata.json says")


def _read_contents(path: Path, forbidden: Sequence[str] | None) -> _Contents:
    contents = _Contents(parse_info(path))
    placeholders = {
        str(entry.get("_path")): str(entry["prefix_placeholder"])
        for entry in contents.info.paths or ()
        if entry.get("prefix_placeholder")
    }
    search = None if forbidden is None else BuildPathSearch(forbidden)
    archive = Archive(path)
    seen: set[str] = set()
    for member in archive.members():
        if member.name in seen:
            contents.problems.append(f"it holds {member.name} twice")
        seen.add(member.name)
        is_info = member.name.startswith("info/")
        digest = hashlib.sha256()
        scan = None
        if search is not None:
            # Clients put the environment's path in place of a file's recorded placeholder.
            recorded = member.name in ("info/paths.json", "info/has_prefix")
            scan = search.start(
                placeholder
                for name, placeholder in placeholders.items()
                if recorded or name == member.name
            )
        size = 0
        for chunk in member.chunks():
            size += len(chunk)
            if not is_info:
                digest.update(chunk)
            if scan is not None:
                scan.feed(chunk)
        if scan is not None:
            scan.feed(member.target.encode("utf-8", "surrogateescape"))
            if found := list(scan.finish()):
                contents.build_paths.append((member.name, found))
        if is_info:
            contents.info_files[member.name] = size
        elif member.kind == "file":
            contents.files[member.name] = (size, digest.hexdigest())
        elif member.kind == "link":
            contents.links.add(member.name)
        else:
            contents.directories.add(member.name.rstrip("/"))
    contents.problems += archive.problems
    return contents


def _check_container(path: Path, contents: _Contents) -> Iterator[str]:
    archive = Archive(path)
    archive.check_container()
    yield from archive.problems
    yield from contents.problems


def _check_index_json(index: SubdirIndex, name: str, contents: _Contents) -> Iterator[str]:
    entry, inside = index.entries[name], contents.info.index
    if contents.info.stem != layout.package_stem(name):
        yield f"its info/index.json says that it is {contents.info.stem}"
    if inside.get("subdir") != index.subdir:
        yield f"its info/index.json says that it is for {inside.get('subdir')}"
    for key in _SOLVED_BY:
        if _plain(key, inside.get(key)) != _plain(key, entry.get(key)):
            yield f"its info/index.json and repodata.json differ about {key}"
    if entry.get("run_exports", contents.info.run_exports) != contents.info.run_exports:
        yield "its info/run_exports.json and repodata.json differ"


def _plain(key: str, value: object) -> object:
    if key in ("constrains", "depends"):
        return value or []
    if key in ("features", "track_features"):
        # A list or a text with blanks, as the builder likes; old builders write an empty one.
        words = value.split() if isinstance(value, str) else value or ()
        return {str(word) for word in words} if isinstance(words, list | tuple) else words
    if key == "timestamp" and isinstance(value, int) and value < 253402300800:
        return value * 1000  # seconds, as very old builders wrote
    return value


def _check_paths(contents: _Contents) -> Iterator[str]:
    if contents.info.paths is None:
        yield "it has no list of files in info/paths.json"
        return
    named: set[str] = set()
    for entry in contents.info.paths:
        name = str(entry.get("_path"))
        if name in named:
            yield f"paths.json names {name} twice"
        named.add(name)
        if name in contents.links:
            # Builders disagree on the hash of a link (its target's, or none): only the kind counts.
            if entry.get("path_type") != "softlink":
                yield f"{name} is a link, and paths.json says {entry.get('path_type')}"
        elif name in contents.files:
            yield from _check_file(name, entry, *contents.files[name])
        elif not (entry.get("path_type") == "directory" and name in contents.directories):
            yield f"paths.json names {name}, and the package has no such file"
    for name in sorted((contents.files.keys() | contents.links) - named):
        yield f"{name} is in the package, and paths.json does not name it"


def _check_file(name: str, entry: Mapping[str, Any], size: int, sha256: str) -> Iterator[str]:
    if entry.get("path_type") != "hardlink":
        yield f"{name} is a file, and paths.json says {entry.get('path_type')}"
    if entry.get("size_in_bytes") != size:
        yield f"{name} has {size} bytes, paths.json says {entry.get('size_in_bytes')}"
    if entry.get("sha256") != sha256:
        yield f"the sha256 of {name} is not what paths.json says"


def _check_order(contents: _Contents) -> Iterator[str]:
    names = [str(entry.get("_path")) for entry in contents.info.paths or ()]
    # By text or by path component: conda-build does the one, rattler-build the other.
    if names not in (sorted(names), sorted(names, key=lambda name: name.split("/"))):
        yield "paths.json is not sorted"


def _check_licences(contents: _Contents) -> Iterator[str]:
    if not any(
        size for name, size in contents.info_files.items() if name.startswith("info/licenses/")
    ):
        yield "it has no licence file in info/licenses/"


def _check_build_paths(contents: _Contents) -> Iterator[str]:
    for name, found in contents.build_paths:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        yield f"{name} holds a path of the build machine: {found[0]}{more}"

"""What a channel folder is: its subdirs, its index files, and how they are read.

    channel/
      channeldata.json               one entry a package name
      noarch/                        always there: clients refuse a channel without it
        repodata.json                one entry a package file, and
        repodata.json.zst            the same, compressed
        repodata_shards.msgpack.zst  the same, cut by package name: name -> sha256 of a shard
        shards/<sha256>.msgpack.zst  one shard a name
        run_exports.json             what each package exports to those built with it
        NAME-VERSION-BUILD.conda
      linux-64/ ...

Sources: CEP 12 (run_exports.json), CEP 16 (sharded repodata), and conda's page on channels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import msgpack  # type: ignore[import-untyped]
import zstandard
from rattler.platform import SubdirLiteral

from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from pathlib import Path

NOARCH = "noarch"
REPODATA = "repodata.json"
REPODATA_ZST = "repodata.json.zst"
SHARD_INDEX = "repodata_shards.msgpack.zst"
SHARDS = "shards"
SHARD_SUFFIX = ".msgpack.zst"
RUN_EXPORTS = "run_exports.json"
CHANNELDATA = "channeldata.json"

INDEX_FILES = (RUN_EXPORTS, SHARD_INDEX, REPODATA_ZST, REPODATA)
"""The index files of a subdir, in the order in which a file-by-file publication puts them."""

FOREIGN_INDEX_FILES = (
    "current_repodata.json",
    "current_repodata.json.zst",
    "index.html",
    "patch_instructions.json",
    "repodata.json.bz2",
    "repodata_from_packages.json",
    "repodata_shards_from_packages.msgpack.zst",
    "rss.xml",
)
"""What other indexers write: stale after a publication here, so dropped by it."""

PACKAGE_SUFFIXES = (".conda", ".tar.bz2")

WORK = ".publish"
"""Folder inside a channel for what a file-by-file publication has not yet put in place."""

INDEXER_WORK = ".tmp"
"""Folder in a channel where index_fs writes files before it renames them; it stays, empty."""

LOCK = ".publish.lock"
"""The lock of a channel whose parent folder can't be written."""

SUBDIRS: frozenset[str] = frozenset(get_args(SubdirLiteral))
"""Every platform folder that conda clients know."""


@dataclass(frozen=True, slots=True)
class Record:
    """One package file as repodata.json names it; `size` in bytes, `timestamp` in milliseconds."""

    subdir: str
    file_name: str
    name: str
    version: str
    build: str
    build_number: int
    size: int
    sha256: str
    md5: str
    timestamp: int = 0
    depends: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        """The path in the channel, with forward slashes.

        Examples
        --------
        >>> Record("noarch", "a-1-0.conda", "a", "1", "0", 0, 9, "", "").location
        'noarch/a-1-0.conda'
        """
        return f"{self.subdir}/{self.file_name}"


@dataclass(frozen=True)
class Channel:
    """A channel as its repodata.json files describe it at the moment of reading.

    Examples
    --------
    >>> import pathlib
    >>> empty = Channel(pathlib.Path("channel"), {"noarch": ()})
    >>> empty.highest_build_number("rvh_trace", "0.1.0") is None
    True
    """

    path: Path
    records: Mapping[str, tuple[Record, ...]]

    @classmethod
    def read(cls, path: Path, *, complete: bool = True) -> Channel:
        """Read the repodata.json of every subdir.

        Parameters
        ----------
        path
            The channel's top folder.
        complete
            Refuse a folder without an index of noarch, as clients do. A publication writes that
            index anew, and knows the other subdirs' packages by theirs.

        Raises
        ------
        LabchannelError
            The folder is missing, is no channel, or an index in it can't be read.
        """
        subdirs = channel_subdirs(path)
        if complete and not (path / NOARCH / REPODATA).is_file():
            raise LabchannelError(
                f"{path} is not a conda channel: it has no {NOARCH}/{REPODATA}",
                "Name the channel's top folder, or index it by publishing to it",
            )
        return cls(
            path,
            {
                subdir: tuple(
                    record_of(subdir, file_name, entry)
                    for file_name, entry in sorted(
                        entries(read_repodata(path / subdir / REPODATA)).items()
                    )
                )
                for subdir in subdirs
                if (path / subdir / REPODATA).is_file()
            },
        )

    def __iter__(self) -> Iterator[Record]:
        for records in self.records.values():
            yield from records

    def builds(self, name: str, version: str) -> list[Record]:
        """All builds of one version of a package, in every subdir."""
        return [record for record in self if (record.name, record.version) == (name, version)]

    def highest_build_number(self, name: str, version: str) -> int | None:
        """Find the highest build number of that version in any subdir; None without a build."""
        return max((record.build_number for record in self.builds(name, version)), default=None)


def channel_subdirs(path: Path) -> list[str]:
    """List the names of the channel's platform folders, `noarch` first.

    Raises
    ------
    LabchannelError
        There is no such folder, it can't be listed, or it has no platform folder.
    """
    try:
        found = [entry.name for entry in path.iterdir() if entry.is_dir() and entry.name in SUBDIRS]
    except FileNotFoundError:
        raise LabchannelError(
            f"there is no channel at {path}", "Build it first, or mend the path"
        ) from None
    except NotADirectoryError:
        raise LabchannelError(
            f"{path} is a file, and a channel is a folder", "Name the channel's top folder"
        ) from None
    except OSError as error:
        raise LabchannelError(
            f"the channel {path} can't be read ({error.strerror or error})",
            "Mend its permissions",
        ) from error
    if path.name in SUBDIRS and not found and (path / REPODATA).is_file():
        raise LabchannelError(
            f"{path} is one platform of a channel, not a channel", f"Name {path.parent} instead"
        )
    if not found:
        raise LabchannelError(
            f"{path} is not a conda channel: it has no platform folder such as {NOARCH}",
            "Name the channel's top folder",
        )
    return sorted(found, key=lambda name: (name != NOARCH, name))


def is_package(file_name: str) -> bool:
    """Whether a file of that name is a conda package.

    Examples
    --------
    >>> is_package("a-1-0.conda"), is_package("repodata.json")
    (True, False)
    """
    return file_name.endswith(PACKAGE_SUFFIXES)


def package_stem(file_name: str) -> str:
    """Give the file name without its package suffix: NAME-VERSION-BUILD.

    Examples
    --------
    >>> package_stem("a-1-0.tar.bz2")
    'a-1-0'
    """
    for suffix in PACKAGE_SUFFIXES:
        file_name = file_name.removesuffix(suffix)
    return file_name


def read_repodata(path: Path) -> dict[str, Any]:
    """Parse a repodata.json.

    Raises
    ------
    LabchannelError
        The file can't be read or is no repodata.
    """
    try:
        return parse_repodata(path.read_bytes())
    except OSError as error:
        raise LabchannelError(
            f"the channel's index {path} can't be read ({error.strerror or error})",
            "Mend its permissions, or index the channel again",
        ) from error
    except ValueError as error:
        raise LabchannelError(
            f"the channel's index {path} is damaged: {error}", "Index the channel again"
        ) from error


def parse_repodata(data: bytes) -> dict[str, Any]:
    """Parse the JSON object of a repodata.json; ValueError when it is anything else."""
    repodata = json.loads(data)
    if not isinstance(repodata, dict):
        raise ValueError("it holds no JSON object")  # noqa: TRY004 - callers wait for one error
    for file_name, entry in entries(repodata).items():
        if not isinstance(entry, dict):
            raise ValueError(f"the entry of {file_name} is no JSON object")  # noqa: TRY004
    return repodata


def entries(repodata: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """File name -> entry, from all the places where repodata keeps them.

    Besides the two classic maps there is `v3`, whose keys lack the suffix; indexers put packages
    there whose metadata old clients can't read.

    Examples
    --------
    >>> entries({"packages.conda": {"a-1-0.conda": {}}, "v3": {"conda": {"b-1-0": {}}}})
    {'a-1-0.conda': {}, 'b-1-0.conda': {}}
    """
    found: dict[str, dict[str, Any]] = {}
    for key in ("packages", "packages.conda"):
        found.update(_mapping(repodata.get(key)))
    for kind, packages in _mapping(repodata.get("v3")).items():
        for stem, entry in _mapping(packages).items():
            found[f"{stem.removesuffix(f'.{kind}')}.{kind}"] = entry
    return found


def _mapping(value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError("its list of packages is no JSON object")  # noqa: TRY004
    return value


def record_of(subdir: str, file_name: str, entry: Mapping[str, Any]) -> Record:
    """Make the typed record of a repodata entry; what is missing or odd becomes empty or zero."""

    def number(key: str) -> int:
        value = entry.get(key)
        return value if isinstance(value, int) else 0

    depends = entry.get("depends")
    return Record(
        subdir=subdir,
        file_name=file_name,
        name=str(entry.get("name", "")),
        version=str(entry.get("version", "")),
        build=str(entry.get("build", "")),
        build_number=number("build_number"),
        size=number("size"),
        sha256=str(entry.get("sha256", "")),
        md5=str(entry.get("md5", "")),
        timestamp=number("timestamp"),
        depends=tuple(map(str, depends)) if isinstance(depends, list) else (),
    )


class TrailingBytesError(ValueError):
    """A compressed file goes on after its end."""


def decompress_zst(data: bytes) -> bytes:
    """Read the contents of a file that must be exactly one zstd frame.

    Raises
    ------
    TrailingBytesError
        Bytes follow the frame. Most readers ignore them, so nobody else would notice.
    ValueError
        It is no zstd, or it is cut short.

    Examples
    --------
    >>> decompress_zst(zstandard.compress(b"x"))
    b'x'
    """
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        contents = decompressor.decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(f"it is no valid zstd ({error})") from error
    if not decompressor.eof:
        raise ValueError("it is cut short")
    if decompressor.unused_data:
        raise TrailingBytesError(
            f"{len(decompressor.unused_data)} bytes follow the end of the compressed data"
        )
    return contents


@dataclass(frozen=True)
class ShardIndex:
    """A repodata_shards.msgpack.zst: `shards` is package name -> sha256 (hexadecimal)."""

    info: Mapping[str, Any]
    shards: Mapping[str, str]

    @classmethod
    def decode(cls, data: bytes) -> ShardIndex:
        """Parse the file's bytes; ValueError when they are damaged."""
        index = _unpack(data)
        shards, info = index.get("shards"), index.get("info")
        if not isinstance(shards, dict) or not isinstance(info, dict):
            raise ValueError("it has no `shards` or no `info`")  # noqa: TRY004
        return cls(info, {str(name): _hexadecimal(digest) for name, digest in shards.items()})


def decode_shard(data: bytes) -> dict[str, dict[str, Any]]:
    """File name -> entry of one shard, hashes in hexadecimal as in repodata.json.

    CEP 21 adds `run_exports` to a shard's entries, so it is left out: see `without_run_exports`.
    """
    found = entries(_unpack(data))
    return {
        file_name: {
            key: _hexadecimal(value) if isinstance(value, bytes) else value
            for key, value in without_run_exports(_mapping(entry)).items()
        }
        for file_name, entry in found.items()
    }


def without_run_exports(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Take `run_exports` out of an entry before it is compared with another index's.

    rattler writes it into every shard, and into repodata.json for some packages: those that an
    earlier index held too.
    """
    return {key: value for key, value in entry.items() if key != "run_exports"}


def _unpack(data: bytes) -> dict[str, Any]:
    contents = decompress_zst(data)
    try:
        value = msgpack.unpackb(contents)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"it is no valid msgpack ({error})") from error
    if not isinstance(value, dict):
        raise ValueError("it holds no map")  # noqa: TRY004
    return value


def _hexadecimal(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)

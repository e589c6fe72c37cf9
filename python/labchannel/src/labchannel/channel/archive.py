"""A package file, read as a stream: memory stays flat however large the package is.

py-rattler reads packages too, but a file in them only whole, and it does not see what follows the
end of a compressed stream; verification needs both. Formats: conda's package specification and
CEP 26 (names); a .conda is a zip of two stored .tar.zst, a .tar.bz2 is one tar.
"""

from __future__ import annotations

import bz2
import errno
import hashlib
import io
import json
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Literal

import zstandard

from labchannel.channel.layout import PACKAGE_SUFFIXES, is_package, package_stem
from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

CHUNK = 1 << 20
# zstd can blow 4 bytes up to 128 KiB, so what one step yields is bounded by what goes in: 256
# bytes in are 8 MiB out at the very worst. (Measured: 400 MB/s of incompressible data.)
_STEP = 256
_READ = 64 << 10

_END_OF_ZIP = struct.Struct("<4s4H2LH")
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_ZIP64_END = 56 + 20

Section = Literal["info", "pkg"]


class DamagedPackageError(Exception):
    """A package file that can't be read to its end; the message says where it broke."""


@dataclass(frozen=True)
class Member:
    """One entry of the package; `chunks()` is read once, before the next entry is asked for."""

    name: str
    kind: Literal["file", "link", "directory"]
    size: int
    target: str
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class PackageInfo:
    """The parsed info/ files of a package that indexing needs."""

    index: Mapping[str, Any]
    about: Mapping[str, Any] = field(default_factory=dict)
    run_exports: Mapping[str, Any] = field(default_factory=dict)
    paths: tuple[Mapping[str, Any], ...] | None = None

    @property
    def stem(self) -> str:
        """NAME-VERSION-BUILD, which the file must be called."""
        return "-".join(str(self.index.get(key)) for key in ("name", "version", "build"))


class Archive:
    """An open package file. `problems` collects what readers would silently pass over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []

    def members(self, section: Section | None = None) -> Iterator[Member]:
        """Stream the entries of one section, or of both.

        Raises
        ------
        DamagedPackageError
            The file is no package or is damaged.
        """
        try:
            if self.path.name.endswith(".conda"):
                yield from self._conda_members(section)
            else:
                for member in self._bz2_members():
                    if section is None or (member.name.startswith("info/")) == (section == "info"):
                        yield member
        except (
            tarfile.TarError,
            zipfile.BadZipFile,
            zstandard.ZstdError,
            zlib.error,
            EOFError,
            struct.error,
            # What zipfile says of a part that is encrypted, and (NotImplementedError is one) of a
            # zip of a later version: no package is either, but a bit may have flipped.
            RuntimeError,
        ) as error:
            raise DamagedPackageError(str(error) or type(error).__name__) from error
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise DamagedPackageError(_MISPLACED) from error

    def _conda_members(self, section: Section | None) -> Iterator[Member]:
        stem = package_stem(self.path.name)
        with zipfile.ZipFile(self.path) as container:
            parts = {entry.filename: entry for entry in container.infolist()}
            for part in ("info", "pkg") if section is None else (section,):
                name = f"{part}-{stem}.tar.zst"
                if name not in parts:
                    raise DamagedPackageError(f"it holds no {name}")
                # Legal in a zip, but rattler and others can't read it.
                if parts[name].compress_type != zipfile.ZIP_STORED:
                    raise DamagedPackageError(f"{name} is compressed once more by the zip")
                with container.open(name) as compressed:
                    yield from self._tar_members(_Inflated(compressed, _ZstdStream()), name)

    def _bz2_members(self) -> Iterator[Member]:
        with self.path.open("rb") as compressed:
            yield from self._tar_members(_Inflated(compressed, _Bz2Streams()), self.path.name)

    def _tar_members(self, stream: _Inflated, name: str) -> Iterator[Member]:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as tar:
            for entry in tar:
                yield _member(tar, entry)
            end = tar.offset
        trailing = stream.drain()
        if trailing:
            self.problems.append(f"{trailing} bytes follow the end of {name}'s compressed data")
        if stream.last_content > end:
            self.problems.append(f"data follows the end of the tar in {name}")

    def check_container(self) -> None:
        """Look for bytes that belong to nothing in the zip of a .conda; they become `problems`.

        Raises
        ------
        DamagedPackageError
            The zip can't be read.
        """
        if not self.path.name.endswith(".conda"):
            return
        try:
            self._check_zip()
        except (zipfile.BadZipFile, struct.error, UnicodeDecodeError, RuntimeError) as error:
            raise DamagedPackageError(str(error) or type(error).__name__) from error
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise DamagedPackageError(_MISPLACED) from error

    def _check_zip(self) -> None:
        stem = package_stem(self.path.name)
        expected = {"metadata.json", f"info-{stem}.tar.zst", f"pkg-{stem}.tar.zst"}
        with self.path.open("rb") as file, zipfile.ZipFile(file) as container:
            parts = sorted(container.infolist(), key=lambda part: part.header_offset)
            names = [part.filename for part in parts]
            if len(names) != len(set(names)):
                self.problems.append("the zip holds a name twice")
            self.problems += [
                f"the zip holds {name}, which is no part of a package"
                for name in sorted(set(names) - expected)
            ]
            self.problems += [f"the zip lacks {name}" for name in sorted(expected - set(names))]
            position = 0
            for part in parts:
                if part.header_offset != position:
                    self.problems.append(f"unknown bytes lie before {part.filename} in the zip")
                file.seek(part.header_offset)
                header = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
                position = part.header_offset + _LOCAL_HEADER.size + header[9] + header[10]
                position += part.compress_size
                if part.flag_bits & 0x08:  # a data descriptor follows, with or without its mark
                    file.seek(position)
                    position += 16 if file.read(4) == b"PK\x07\x08" else 12
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - _END_OF_ZIP.size))
            end = _END_OF_ZIP.unpack(file.read(_END_OF_ZIP.size))
            if end[0] != b"PK\x05\x06" or end[7]:
                self.problems.append("bytes follow the end of the zip")
            elif end[6] != 0xFFFFFFFF:
                gap = size - _END_OF_ZIP.size - (end[6] + end[5])
                if end[6] != position or gap not in (0, _ZIP64_END):
                    self.problems.append("unknown bytes lie before the zip's directory")


# What it means that a place before the file's beginning was asked for.
_MISPLACED = "the zip names a place that is not in it"


def _member(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Member:
    def chunks() -> Iterator[bytes]:
        file = tar.extractfile(entry)
        assert file is not None  # noqa: S101 - `kind` says that it is a regular file
        while chunk := file.read(CHUNK):
            yield chunk

    if entry.isdir():
        return Member(entry.name, "directory", 0, "", lambda: iter(()))
    if entry.issym() or entry.islnk():
        return Member(entry.name, "link", 0, entry.linkname, lambda: iter(()))
    return Member(entry.name, "file", entry.size, "", chunks)


class _ZstdStream:
    """Exactly one zstd frame."""

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor().decompressobj()

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused(self) -> bytes:
        return self._frame.unused_data

    def feed(self, data: bytes) -> bytes:
        return self._frame.decompress(data)


class _Bz2Streams:
    """One or more bzip2 streams: parallel compressors write many, and all readers join them."""

    def __init__(self) -> None:
        self._stream = bz2.BZ2Decompressor()
        self.unused = b""

    @property
    def eof(self) -> bool:
        return bool(self.unused)

    def feed(self, data: bytes) -> bytes:
        output = b""
        while data:
            if self._stream.eof:
                if not b"BZh".startswith(data[:3]):
                    self.unused = data
                    return output
                self._stream = bz2.BZ2Decompressor()
            try:
                output += self._stream.decompress(data)
            except OSError as error:
                raise DamagedPackageError(str(error)) from error
            data = self._stream.unused_data
        return output


class _Inflated(io.RawIOBase):
    """What a compressed file holds, and a watch over what comes after it."""

    def __init__(self, source: IO[bytes], stream: _ZstdStream | _Bz2Streams) -> None:
        self._source = source
        self._stream = stream
        self._compressed = b""
        self._consumed = 0
        self._buffer = b""
        self._offset = 0
        self._position = 0
        self._source_ended = False
        self.last_content = 0
        """Just after the last byte that is not zero: a tar ends in zeros."""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; fewer does not mean the end, none does."""
        while self._offset == len(self._buffer):
            if self._stream.eof or self._source_ended:
                return b""
            self._buffer, self._offset = self._inflate(), 0
        end = len(self._buffer) if size < 0 else min(self._offset + size, len(self._buffer))
        data = self._buffer[self._offset : end]
        self._offset = end
        return data

    def _inflate(self) -> bytes:
        if self._consumed == len(self._compressed):
            self._compressed, self._consumed = self._source.read(_READ), 0
            if not self._compressed:
                self._source_ended = True
                return b""
        step = self._compressed[self._consumed : self._consumed + _STEP]
        self._consumed += len(step)
        data = self._stream.feed(step)
        content = len(data.rstrip(b"\0"))
        if content:
            self.last_content = self._position + content
        self._position += len(data)
        return data

    def drain(self) -> int:
        """Read to the end; the number of bytes that follow the compressed data."""
        while self.read(CHUNK):
            pass
        if isinstance(self._stream, _ZstdStream) and not self._stream.eof:
            raise DamagedPackageError("its compressed data is cut short")
        trailing = len(self._stream.unused) + len(self._compressed) - self._consumed
        while rest := self._source.read(CHUNK):
            trailing += len(rest)
        return trailing


def read_info(path: Path) -> PackageInfo:
    """Read the metadata of a package file.

    Raises
    ------
    LabchannelError
        The file can't be read, is no conda package, or its name is not what its metadata says.
    """
    if not is_package(path.name):
        raise LabchannelError(
            f"{path} is no conda package: its name does not end in {' or '.join(PACKAGE_SUFFIXES)}",
            "Name package files only",
        )
    try:
        info = parse_info(path)
    except (DamagedPackageError, ValueError) as error:
        raise LabchannelError(
            f"{path} is no readable conda package: {error}", "Build or download it again"
        ) from error
    except OSError as error:
        raise LabchannelError(
            f"{path} can't be read ({error.strerror or error})", "Mend the path or its permissions"
        ) from error
    if info.stem != package_stem(path.name):
        raise LabchannelError(
            f"{path} holds the package {info.stem}, so its name is wrong",
            f"Rename it to {info.stem}{path.name.removeprefix(package_stem(path.name))}",
        )
    return info


def parse_info(path: Path) -> PackageInfo:
    """Read the metadata of a package file, whatever the file is called.

    Raises
    ------
    DamagedPackageError, ValueError, OSError
        It has none, or can't be read.
    """
    wanted = {f"info/{name}.json" for name in ("index", "about", "run_exports", "paths")}
    found: dict[str, Any] = {}
    for member in Archive(path).members("info"):
        if member.name in wanted and member.kind == "file":
            try:
                found[member.name] = json.loads(b"".join(member.chunks()))
            except ValueError as error:
                raise ValueError(f"{member.name} in it is damaged ({error})") from error
            if not isinstance(found[member.name], dict):
                raise ValueError(f"{member.name} in it holds no JSON object")
    if "info/index.json" not in found:
        raise ValueError("it has no info/index.json")
    paths = found.get("info/paths.json", {}).get("paths")
    return PackageInfo(
        index=found["info/index.json"],
        about=found.get("info/about.json", {}),
        run_exports=found.get("info/run_exports.json", {}),
        paths=tuple(entry for entry in paths if isinstance(entry, dict))
        if isinstance(paths, list)
        else None,
    )


@dataclass(frozen=True)
class FileHashes:
    """Size in bytes and hashes in hexadecimal."""

    size: int
    sha256: str
    md5: str


def hash_file(path: Path) -> FileHashes:
    """Hash a file in one pass; OSError when it can't be read."""
    sha256 = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return FileHashes(size, sha256.hexdigest(), md5.hexdigest())

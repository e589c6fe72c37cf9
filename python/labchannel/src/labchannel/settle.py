"""Take out of a built package what tells when and where it was built.

rattler-build writes its channels and its folders into info/, and the time of day into info/ and
beside every file of the payload. Without these two builds of the same sources are the same bytes,
and no path of the build machine leaves it.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import zstandard

from labchannel.errors import LabchannelError

# It lists the folders of the build; recipe.yaml beside it stays.
_DROPPED = frozenset({"info/recipe/rendered_recipe.yaml"})


def settle(built: Path, settled: Path, timestamp: int) -> None:
    """Write `built` (a .conda) anew as `settled`.

    Parameters
    ----------
    timestamp
        Seconds since 1970 that take the place of the build's time: that of the sources.

    Raises
    ------
    LabchannelError
        `built` is no .conda package.
    """
    # A zip's times begin in 1980.
    stamp = max(timestamp, 315_532_800)
    # Renamed when it is whole: a kill or a full disk leaves no half package under its name.
    partial = settled.with_name(settled.name + ".partial")
    try:
        with zipfile.ZipFile(built) as source, zipfile.ZipFile(partial, "w") as target:
            for name in sorted(source.namelist(), key=_place):
                data = source.read(name)
                if name.startswith("info-"):
                    data = _settle_info(data, stamp)
                elif name.startswith("pkg-"):
                    data = _settle_payload(data, stamp)
                target.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_STORED)
        partial.replace(settled)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, zstandard.ZstdError) as error:
        partial.unlink(missing_ok=True)
        raise LabchannelError(
            f"{built.name} can't be settled ({error})",
            "Free space if there is none; build it again",
        ) from error


def _place(name: str) -> tuple[int, str]:
    """metadata.json first and info before pkg, as streaming readers like it."""
    for place, beginning in enumerate(("metadata", "info-", "pkg-")):
        if name.startswith(beginning):
            return place, name
    return 3, name


def _settle_info(data: bytes, stamp: int) -> bytes:
    def edit(name: str, content: bytes) -> bytes:
        if name == "info/index.json":
            return _edited(content, {"timestamp": stamp * 1000})
        if name == "info/about.json":
            return _edited(content, {"channels": None})
        return content

    with _opened(data) as source:
        members = [member for member in source.getmembers() if member.name not in _DROPPED]
        members.sort(key=lambda member: member.name)
        return _written(source, members, stamp, edit, level=19)


def _settle_payload(data: bytes, stamp: int) -> bytes:
    with _opened(data) as source:
        # In its own order: a hard link comes after the file that it names. Level 15 is as small
        # as what rattler-build writes; 19 takes several times as long.
        return _written(source, source.getmembers(), stamp, lambda _name, content: content, 15)


def _opened(data: bytes) -> tarfile.TarFile:
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return tarfile.open(fileobj=io.BytesIO(raw))


def _written(
    source: tarfile.TarFile,
    members: Iterable[tarfile.TarInfo],
    stamp: int,
    edit: Callable[[str, bytes], bytes],
    level: int,
) -> bytes:
    """The compressed tar of these members, all of one time and of nobody."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as target:
        for member in members:
            content = b""
            if member.isfile():
                content = edit(member.name, source.extractfile(member).read())  # type: ignore[union-attr]
            member.size = len(content)
            member.mtime = stamp
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            target.addfile(member, io.BytesIO(content) if member.isfile() else None)
    return zstandard.ZstdCompressor(level=level).compress(output.getvalue())


def _edited(content: bytes, changes: dict[str, Any]) -> bytes:
    data = json.loads(content)
    for key, value in changes.items():
        if value is None:
            data.pop(key, None)
        else:
            data[key] = value
    return json.dumps(data, indent=2, ensure_ascii=False).encode()

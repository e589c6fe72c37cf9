"""Take out of a built package what tells when and where it was built.

rattler-build writes its channels, its folders and the time of day into info/. Without these two
builds of the same sources are the same bytes, and no path of the build machine leaves it. The
payload (pkg-*) is copied as it is.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
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
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    output = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(raw)) as source,
        tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as target,
    ):
        members = [member for member in source.getmembers() if member.name not in _DROPPED]
        for member in sorted(members, key=lambda entry: entry.name):
            file = source.extractfile(member)
            content = file.read() if file is not None else b""
            if member.name == "info/index.json":
                content = _edited(content, {"timestamp": stamp * 1000})
            elif member.name == "info/about.json":
                content = _edited(content, {"channels": None})
            member.size = len(content)
            member.mtime = stamp
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            target.addfile(member, io.BytesIO(content) if member.isfile() else None)
    return zstandard.ZstdCompressor(level=19).compress(output.getvalue())


def _edited(content: bytes, changes: dict[str, Any]) -> bytes:
    data = json.loads(content)
    for key, value in changes.items():
        if value is None:
            data.pop(key, None)
        else:
            data[key] = value
    return json.dumps(data, indent=2, ensure_ascii=False).encode()

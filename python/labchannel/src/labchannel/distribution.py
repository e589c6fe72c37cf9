"""What a wheel or a source distribution carries, told by its own metadata."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath

from labchannel.errors import LabchannelError


def check_licences(distribution: Path) -> None:
    """See that a wheel or a source distribution carries the licence files that it names.

    They are named by `License-File` in the core metadata (PEP 639). In a source distribution they
    lie beside PKG-INFO, in a wheel in the folder `licenses` of its .dist-info.

    Raises
    ------
    LabchannelError
        It names none, or lacks one.
    """
    if distribution.suffix == ".whl":
        with zipfile.ZipFile(distribution) as wheel:
            sizes = {info.filename: info.file_size for info in wheel.infolist()}
            missing = _missing(sizes, "*.dist-info/METADATA", "licenses", wheel.read)
    else:
        with tarfile.open(distribution) as sdist:
            sizes = {member.name: member.size for member in sdist}
            missing = _missing(sizes, "*/PKG-INFO", "", lambda name: _content(sdist, name))
    if missing:
        raise LabchannelError(
            f"{distribution.name} has no {missing}",
            'Put the texts beside pyproject.toml, and say there: license-files = ["LICENSE-*"]',
        )


def add_licence(wheel: Path, name: str, text: bytes) -> None:
    """Have a wheel carry one more licence file, and name it.

    Its metadata, and the hashes in its RECORD, say so too. By hand, because a backend takes licence
    files from the project's folder alone, and one that was made for the wheel is not there.

    Raises
    ------
    LabchannelError
        The wheel has no METADATA and RECORD of its own.
    """
    with zipfile.ZipFile(wheel) as archive:
        content = {info.filename: (info, archive.read(info)) for info in archive.infolist()}
    folder = next((PurePosixPath(n).parent for n in content if _is_own_metadata(n)), None)
    if folder is None or f"{folder}/RECORD" not in content:
        raise LabchannelError(f"{wheel.name} is no wheel", "Build it by a PEP 517 backend")
    metadata, record, licence = (
        str(folder / part) for part in ("METADATA", "RECORD", f"licenses/{name}")
    )
    info, about = content[metadata]
    # After Metadata-Version, which is the first line: an empty one ends the headers.
    first, _, rest = about.partition(b"\n")
    named = f"License-File: {name}\n".encode()
    changed = {metadata: first + b"\n" + named + rest, licence: text}
    rows = list(csv.reader(io.StringIO(content[record][1].decode())))
    rows = [row for row in rows if row and row[0] not in changed]
    rows += [[path, _record_hash(data), str(len(data))] for path, data in changed.items()]
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    changed[record] = lines.getvalue().encode()
    added = zipfile.ZipInfo(licence, info.date_time)
    added.compress_type, added.external_attr = info.compress_type, info.external_attr
    fresh = wheel.with_suffix(".new")
    with zipfile.ZipFile(fresh, "w") as archive:
        # RECORD last, as wheels have it.
        entries = [entry for path, (entry, _data) in content.items() if path != record]
        for entry in (*entries, added, content[record][0]):
            path = entry.filename
            archive.writestr(entry, changed[path] if path in changed else content[path][1])
    fresh.replace(wheel)


def _is_own_metadata(name: str) -> bool:
    path = PurePosixPath(name)
    # Only the archive's own, not that of a distribution among its files.
    return path.match("*.dist-info/METADATA") and len(path.parts) == 2


def _record_hash(data: bytes) -> str:
    """A file's hash as RECORD has it (the binary distribution format, PEP 427)."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"sha256={digest.decode()}"


def _content(sdist: tarfile.TarFile, name: str) -> bytes:
    file = sdist.extractfile(name)
    return b"" if file is None else file.read()


def _missing(
    sizes: dict[str, int], metadata: str, folder: str, read: Callable[[str], bytes]
) -> str:
    """What of the licences is not there; empty if nothing.

    Parameters
    ----------
    sizes
        From the path of each file in the archive to its bytes.
    metadata
        The pattern of the file that names the licences.
    folder
        Where they lie, from that file's folder.
    read
        Gives a file's content.
    """
    for name in filter(lambda name: PurePosixPath(name).match(metadata), sizes):
        path = PurePosixPath(name)
        # Only the archive's own, not that of a distribution among its files.
        if len(path.parts) == 2:
            named = HeaderParser().parsestr(read(name).decode()).get_all("License-File", [])
            lacking = [file for file in named if not sizes.get(str(path.parent / folder / file))]
            return ", ".join(lacking) if named else "License-File in its metadata"
    return f"file {metadata}"

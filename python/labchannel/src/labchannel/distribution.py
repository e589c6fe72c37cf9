"""What a wheel or a source distribution carries, told by its own metadata."""

from __future__ import annotations

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

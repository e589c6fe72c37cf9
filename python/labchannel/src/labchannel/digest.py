"""sha256 of files and of sets of files: how an input, a download or a toolchain is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(root: Path, paths: Iterable[Path]) -> str:
    """The sha256 over the names (relative to `root`) and bytes of files, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(path.relative_to(root) for path in paths):
        digest.update(f"{file_sha256(root / name)} {name.as_posix()}\n".encode())
    return digest.hexdigest()

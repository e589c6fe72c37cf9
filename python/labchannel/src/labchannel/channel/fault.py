"""What verification finds."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Check(enum.StrEnum):
    """What a fault is about."""

    INDEX = "index"
    ZST = "repodata.json.zst"
    SHARDS = "shards"
    RUN_EXPORTS = "run_exports.json"
    CHANNELDATA = "channeldata.json"
    UNINDEXED = "unindexed"
    MISSING = "missing"
    SIZE = "size"
    SHA256 = "sha256"
    MD5 = "md5"
    CONTAINER = "container"
    INDEX_JSON = "index.json"
    PATHS = "paths.json"
    LICENSE = "license"
    BUILD_PATH = "build path"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong. `path` is in the channel, with forward slashes.

    Examples
    --------
    >>> str(Fault("noarch/a-1-0.conda", Check.SIZE, "it has 3 bytes, repodata.json says 4"))
    'noarch/a-1-0.conda: it has 3 bytes, repodata.json says 4'
    """

    path: str
    check: Check
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"

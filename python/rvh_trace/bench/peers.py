"""The peers of the benchmark, from the package index, in a folder of their own.

They need versions of each other's dependencies that no environment of this project has, so they are
kept out of it: `pip install --target`, once for each list of versions, in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

from opentelemetry_collector import cache_folder

PEERS = ("opentelemetry-sdk==1.45.2", "logfire==5.2.0", "ddtrace==4.16.0", "sentry-sdk==2.75.0")


def folder() -> Path | None:
    """Where the peers are; `None`, with the reason printed, when they cannot be fetched."""
    what = " ".join((*PEERS, sys.implementation.cache_tag or "", sys.platform))
    place = cache_folder() / f"peers-{hashlib.sha256(what.encode()).hexdigest()[:12]}"
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching the peers: {', '.join(PEERS)}", flush=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as temporary:
        target = Path(temporary, "peers")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        result = subprocess.run(
            [*pip, "--only-binary=:all:", "--target", target, *PEERS],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode == 0:
            target.rename(place)
            return place
    lines = result.stderr.strip().splitlines() or [f"pip ended with {result.returncode}"]
    print(f"the peers cannot be fetched ({lines[-1]}): only what is installed is compared")
    return None


def version(package: str, place: Path | None) -> str | None:
    """The exact version that is measured; `None` when there is none."""
    for path in ([str(place)] if place else []) + sys.path:
        for found in importlib.metadata.distributions(name=package, path=[path]):
            return found.version
    return None

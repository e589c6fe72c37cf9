"""A release: does the tag say what the checkout is, and the source distributions for PyPI."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from labchannel.cache import cache_folder
from labchannel.develop import native_packages
from labchannel.distribution import check_licences
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.workspace import Workspace, read_toml

# PEP 517 lets a frontend call the backend's hook; pip calls it for wheels, but has no command for
# a source distribution.
_BUILD_SDIST = (
    "import importlib, sys; importlib.import_module(sys.argv[1]).build_sdist(sys.argv[2])"
)


def check_release(workspace: Workspace, tag: str) -> str:
    """Refuse to release under a tag that is not the checkout's version.

    Returns
    -------
    str
        The version.

    Raises
    ------
    LabchannelError
        The tag is not `v` and the version of Cargo.toml, or CHANGELOG.md has no section for it.
    """
    version = workspace.version
    if tag != f"v{version}":
        raise LabchannelError(
            f"the tag {tag} is not v{version}, the version in Cargo.toml",
            "Tag the commit that has the version, or change the version first",
        )
    changes = (workspace.root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"(?m)^## \[{re.escape(version)}\]", changes):
        raise LabchannelError(
            f"CHANGELOG.md has no section [{version}]",
            "Give the section [Unreleased] the version and the day",
        )
    return version


def build_sdists(workspace: Workspace, progress: Progressor) -> Iterator[str]:
    """Build every source distribution into dist/, and a wheel from each; yields a line for each.

    The wheel shows that nothing is missing. That of a pure package is for every system, and goes
    to dist/ too; compiled ones are made by `wheels`. What is compiled already for this checkout
    (`develop`, `wheels`) is not compiled again; without that it takes as long as those do.

    Raises
    ------
    LabchannelError
        A source distribution can't be made, no wheel can be built from it, or one of the two lacks
        a licence.
    """
    native = native_packages(workspace)
    folders = workspace.python_packages
    workspace.dist.mkdir(exist_ok=True)
    with progress.stage("sdists", 2 * len(folders)) as step:
        for folder in folders:
            step(folder.name)
            with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as scratch:
                sdist = _build(folder, Path(scratch))
                step(f"{folder.name}: a wheel from it")
                wheel = _wheel_of(workspace, sdist, Path(scratch) / "wheels")
                for made in (sdist, wheel):
                    check_licences(made)
                kept = [sdist] if folder in native else [sdist, wheel]
                for file in kept:
                    shutil.move(file, workspace.dist / file.name)
                    yield str((workspace.dist / file.name).relative_to(workspace.root))


def _build(folder: Path, scratch: Path) -> Path:
    backend = read_toml(folder / "pyproject.toml")["build-system"]["build-backend"]
    command = [sys.executable, "-c", _BUILD_SDIST, backend, str(scratch)]
    done = subprocess.run(
        command,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    made = list(scratch.glob("*.tar.gz"))
    if done.returncode != 0 or len(made) != 1:
        raise LabchannelError(
            f"the source distribution of {folder.name} can't be built:\n{done.stdout[-2000:]}",
            "Mend that",
        )
    return made[0]


def _wheel_of(workspace: Workspace, sdist: Path, folder: Path) -> Path:
    source = unpacked_sdist(workspace, sdist, folder / "source")
    # Dependencies that are compiled already for this checkout are not compiled again. Not --locked:
    # the whole workspace's Cargo.lock is in it, from which cargo takes the versions and drops what
    # this crate does not need.
    variables = {"CARGO_TARGET_DIR": str(workspace.root / "target"), **os.environ}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--wheel-dir", str(folder), str(source)),
        ],
        check=False,
        env=variables,
        stdin=subprocess.DEVNULL,
    )
    made = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(made) != 1:
        raise LabchannelError(
            f"no wheel can be built from {sdist.name}", "Mend the error shown above"
        )
    return made[0]


def unpacked_sdist(workspace: Workspace, sdist: Path, folder: Path) -> Path:
    """The content of a source distribution, a file that the checkout has too with that one's time.

    cargo goes by times, and those in the archive are the same for every version of a file: it would
    take what it compiled of an older one. So it compiles what it would compile for the checkout.
    """
    with tarfile.open(sdist) as archive:
        # Python has filters since 3.11.4; Debian 12 has 3.11.2, and the archive was made here.
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)  # noqa: S202
    (root,) = folder.iterdir()
    now = time.time_ns()
    for path in root.rglob("*"):
        original = workspace.root / path.relative_to(root)
        if path.is_file():
            same = original.is_file() and filecmp.cmp(original, path, shallow=False)
            changed = original.stat().st_mtime_ns if same else now
            os.utime(path, ns=(changed, changed))
    return root

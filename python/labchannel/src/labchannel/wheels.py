"""abi3 wheels for people who use pip, each imported in a bare venv of each served Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.utils import parse_wheel_filename

from labchannel.cache import cache_folder
from labchannel.develop import native_packages
from labchannel.distribution import add_licence, check_licences
from labchannel.environment import current_platform, fresh_environment, python_of
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.upstream import find_upstream
from labchannel.workspace import SERVED_PYTHONS, Workspace

THIRD_PARTY = "THIRDPARTY.yml"
"""The licences of the crates that are linked into a wheel; conda packages have the same file."""
_BY_HAND = "third-party-licences.yml"
"""In the checkout: the texts of crates that carry none."""


def build_wheels(workspace: Workspace, progress: Progressor) -> Iterator[str]:
    """Build the wheels and try each; yields a line for each wheel and for each trial.

    Raises
    ------
    LabchannelError
        A build failed, a wheel is not abi3, lacks a licence, or can't be installed or imported.
    """
    upstream = find_upstream(workspace, progress)
    wheels = []
    folders = native_packages(workspace)
    licences = third_party_licences(workspace)
    with progress.stage("wheels", len(folders)) as step:
        for folder in folders:
            step(folder.name)
            wheels.append(_build(workspace, folder, licences))
            yield f"{wheels[-1].relative_to(workspace.root)}"
    with progress.stage("trials", len(SERVED_PYTHONS)) as step:
        for python in SERVED_PYTHONS:
            step(f"Python {python}")
            channels = list(upstream.channels)
            with fresh_environment(
                channels, [f"python {python}.*", "pip"], current_platform()
            ) as prefix:
                for wheel in wheels:
                    yield _try(wheel, python_of(prefix), python)


def third_party_licences(workspace: Workspace) -> bytes:
    """The licence texts of every crate of others in the workspace, as YAML.

    Raises
    ------
    LabchannelError
        They can't be collected.
    """
    mend = "Run the task: `./pixiw run wheels`; its environment has cargo-bundle-licenses"
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as scratch:
        file = Path(scratch) / THIRD_PARTY
        try:
            done = subprocess.run(
                [
                    *("cargo-bundle-licenses", "--format", "yaml", "--output", str(file)),
                    *("--previous", _BY_HAND),
                ],
                check=False,
                cwd=workspace.root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise LabchannelError(
                f"cargo-bundle-licenses can't be started ({error.strerror})", mend
            ) from error
        if done.returncode != 0 or not file.is_file():
            raise LabchannelError(
                "the licences of the Rust crates can't be collected: "
                f"{done.stderr.strip()[-500:] or 'no message'}",
                mend,
            )
        return file.read_bytes()


def _build(workspace: Workspace, folder: Path, licences: bytes) -> Path:
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as scratch:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
                *("--no-build-isolation", "--wheel-dir", scratch),
                *("-C", f"build-args=--locked{_compatibility()}", str(folder)),
            ],
            check=False,
            stdin=subprocess.DEVNULL,
        )
        built = list(Path(scratch).glob("*.whl"))
        if done.returncode != 0 or len(built) != 1:
            raise LabchannelError(
                f"the wheel of {folder.name} can't be built", "Mend the error shown above"
            )
        tags = parse_wheel_filename(built[0].name)[3]
        if any(tag.abi != "abi3" for tag in tags):
            raise LabchannelError(
                f"{built[0].name} is not for the stable ABI",
                "Take pyo3 from the workspace's dependencies: its abi3 feature is set there",
            )
        add_licence(built[0], THIRD_PARTY, licences)
        check_licences(built[0])
        workspace.dist.mkdir(exist_ok=True)
        for older in workspace.dist.glob(f"{folder.name}-*.whl"):
            older.unlink()
        return Path(shutil.move(built[0], workspace.dist / built[0].name))


def _compatibility() -> str:
    """The glibc that Linux wheels are linked against, as in the conda packages."""
    return " --compatibility manylinux_2_17" if current_platform() == "linux-64" else ""


def _try(wheel: Path, python: Path, version: str) -> str:
    """Install a wheel into a bare venv, without any index, and import it."""
    name, release, _build_tag, _tags = parse_wheel_filename(wheel.name)
    module = str(name).replace("-", "_")
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as scratch:
        venv = Path(scratch) / "venv"
        inside = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        for command in (
            [str(python), "-m", "venv", str(venv)],
            [
                *(str(inside), "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
                str(wheel),
            ],
            [str(inside), "-c", f"import {module}"],
        ):
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
            if done.returncode != 0:
                raise LabchannelError(
                    f"{wheel.name} does not work on Python {version}: {done.stderr.strip()[-500:]}",
                    "Mend that",
                )
    return f"{module} {release}: imported on Python {version}"

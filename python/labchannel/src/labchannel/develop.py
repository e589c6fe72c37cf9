"""The checkout's libraries in the running environment, and the checks that need them there."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from labchannel.digest import tree_sha256
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.workspace import Workspace, read_toml

_INPUT_GLOBS = (
    "Cargo.toml",
    "Cargo.lock",
    "crates/*/Cargo.toml",
    "crates/*/build.rs",
    "crates/*/src/**/*",
)


def native_packages(workspace: Workspace) -> list[Path]:
    """The Python distributions that hold a compiled module: those built by maturin."""
    return [
        folder
        for folder in workspace.python_packages
        if read_toml(folder / "pyproject.toml").get("build-system", {}).get("build-backend")
        == "maturin"
    ]


def develop(workspace: Workspace, progress: Progressor) -> Iterator[str]:
    """Install every library of the checkout into this Python, those that changed.

    They are installed as a user gets them, compiled for release, not linked into the source
    tree: tests then see what will be packaged. cargo's shared target folder keeps it short.

    Raises
    ------
    LabchannelError
        A build failed (its output is shown).
    """
    folders = native_packages(workspace)
    with progress.stage("develop", len(folders)) as step:
        for folder in folders:
            step(folder.name)
            stamp = Path(sys.prefix) / "conda-meta" / f"{folder.name}.labchannel-inputs"
            # An environment that got another Python has other site-packages, with nothing in them.
            inputs = f"{_inputs(workspace, folder)} in {sysconfig.get_path('platlib')}"
            if stamp.is_file() and stamp.read_text(encoding="utf-8") == inputs:
                continue
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "install", "--quiet", "--force-reinstall"),
                    *("--no-deps", "--no-build-isolation", "-C", "build-args=--locked"),
                    str(folder),
                ],
                check=False,
            )
            if done.returncode != 0:
                raise LabchannelError(
                    f"{folder.name} can't be built from this checkout",
                    "Mend the error shown above",
                )
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(inputs, encoding="utf-8")
            yield f"{folder.name} installed"


def _inputs(workspace: Workspace, folder: Path) -> str:
    files = [path for pattern in _INPUT_GLOBS for path in sorted(workspace.root.glob(pattern))]
    files += sorted(folder.glob("src/**/*"))
    files += [folder / "pyproject.toml", folder / "README.md", *sorted(folder.glob("LICENSE-*"))]
    return tree_sha256(
        workspace.root, [path for path in files if path.is_file() and path.suffix != ".pyc"]
    )


def lint_types(workspace: Workspace) -> int:
    """Check each distribution's sources and benchmarks with mypy, strictly; returns the exit code.

    How strictly, mypy.ini says.
    """
    worst = 0
    for folder in workspace.python_packages:
        typed = [path for path in (folder / "src", folder / "bench") if path.is_dir()]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *map(str, typed)],
            check=False,
            cwd=workspace.root,
        )
        worst = max(worst, done.returncode)
    return worst

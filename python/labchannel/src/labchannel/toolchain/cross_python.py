"""What conda-forge's cross-python is for: a program in place of the host's Python, which can't run.

A recipe builds a wheel and installs it. Building is maturin's work, which cross-compiles by
itself; installing is unpacking into the host's site-packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labchannel.toolchain.package import Contents, Job

if TYPE_CHECKING:
    from pathlib import Path

NAME = "cross-python_win-64"

_PROGRAM = "python-for-win-64"

# The recipe's ${{ PYTHON }} is this path. It is a hard link to the package cache, hence replaced.
ACTIVATION = f"""\
if [ -f "${{PREFIX:-}}/python.exe" ]; then
    ln -sf "$CONDA_PREFIX/bin/{_PROGRAM}" "$PREFIX/python.exe"
fi
"""

SCRIPT = """\
#!/bin/sh
# Runs the build environment's Python; what pip installs goes to the host's site-packages.
set -eu
python="$BUILD_PREFIX/bin/python"
if [ "${1:-} ${2:-} ${3:-}" != "-m pip install" ]; then
    exec "$python" "$@"
fi
shift 3
"$python" -m pip install --target "$SP_DIR" --platform win_amd64 --implementation cp \\
    --abi abi3 --abi none --only-binary :all: "$@"
# Launchers are made where the package is installed, by its entry points.
rm -rf "$SP_DIR/bin"
"""


def cross_python_jobs(python_min: str) -> list[Job]:
    """The package of this name; its version is the Python's, as on conda-forge."""
    contents = Contents(
        name=NAME,
        version=python_min,
        source=f"{ACTIVATION}{SCRIPT}",
        subdir="linux-64",
        license="MIT",
        summary="Builds wheels and installs them for a Windows Python",
        depends=("python", "pip"),
    )
    return [Job(contents, _stage)]


def _stage(stage: Path) -> None:
    folder = stage / "etc" / "conda" / "activate.d"
    folder.mkdir(parents=True)
    (folder / f"activate-{NAME}.sh").write_text(ACTIVATION, encoding="utf-8")
    program = stage / "bin" / _PROGRAM
    program.parent.mkdir()
    program.write_text(SCRIPT, encoding="utf-8")
    program.chmod(0o755)

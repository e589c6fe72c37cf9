"""The slow tests, and the memory of which inputs have passed them on this machine."""

from __future__ import annotations

import sys

from labchannel.cache import cache_folder
from labchannel.digest import tree_sha256
from labchannel.stopping import run_to_its_end
from labchannel.workspace import Workspace

# Everything that a slow test can depend on: the sources, the tests, and how they are run.
_INPUTS = (
    "*.ini",
    "Cargo.lock",
    "toolchain.lock",
    "*.md",
    "*.toml",
    "*.yml",
    "LICENSE-*",
    "crates/**/*",
    ".ci/run",
    ".dockerignore",
    "pixiw*",
    "docker/*",
    ".github/**/*",
    "docs/**/*",
    "examples/**/*",
    "python/**/*",
    "recipes/**/*",
    "tests/**/*",
)
_LEFTOVERS = {"__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", "target"}


def test_slow(workspace: Workspace, *, force: bool) -> int:
    """Run every test marked slow, unless the same inputs passed before on this machine.

    Returns
    -------
    int
        pytest's exit code; 0 when nothing had to be run.
    """
    digest = _digest(workspace)
    passed = cache_folder("slow") / digest
    if passed.exists() and not force:
        print(f"test-slow: these inputs ({digest[:12]}) have passed on this machine; skipped")
        return 0
    print(f"test-slow: inputs {digest[:12]}", flush=True)
    # Two files at a time: much of a slow test is waiting for its peer. What a file starts (an
    # image, a Windows, a collector) it starts once.
    together = ["-n", "2", "--dist", "loadfile"]
    command = [sys.executable, "-m", "pytest", *together, "-m", "slow", "tests", "python"]
    code = run_to_its_end(command, workspace.root)
    if code == 0:
        passed.touch()
    return code


def _digest(workspace: Workspace) -> str:
    files = {path for pattern in _INPUTS for path in workspace.root.glob(pattern)}
    inputs = [
        path
        for path in files
        if path.is_file() and not _LEFTOVERS.intersection(path.parts) and path.suffix != ".pyc"
    ]
    return tree_sha256(workspace.root, inputs)

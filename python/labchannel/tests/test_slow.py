"""The slow tests run again when something changed that one of them can see, and else not."""

from __future__ import annotations

import sys

import pytest
from labchannel import slow


@pytest.fixture
def ran(checkout, monkeypatch):
    """How often the tests were run; they pass."""
    runs = []

    def run(command, _folder):
        runs.append(command)
        return 0

    monkeypatch.setattr(slow, "run_to_its_end", run)
    return runs


def test_what_has_passed_is_not_run_again_unless_asked(checkout, ran, capsys):
    assert slow.test_slow(checkout.workspace, force=False) == 0
    (command,) = ran
    assert command[:3] == [sys.executable, "-m", "pytest"]
    assert command[-4:] == ["-m", "slow", "tests", "python"]
    assert slow.test_slow(checkout.workspace, force=False) == 0
    assert len(ran) == 1
    assert "have passed on this machine; skipped" in capsys.readouterr().out
    slow.test_slow(checkout.workspace, force=True)
    assert len(ran) == 2


def test_what_failed_is_run_again(checkout, monkeypatch):
    monkeypatch.setattr(slow, "run_to_its_end", lambda _command, _folder: 1)
    assert slow.test_slow(checkout.workspace, force=False) == 1
    assert slow.test_slow(checkout.workspace, force=False) == 1


@pytest.mark.parametrize(
    "path",
    [
        *(".ci/run", ".dockerignore", ".github/workflows/ci.yml", "docker/Dockerfile"),
        *("CHANGELOG.md", "LICENSE-MIT", "README.md", "docs/lab.md", "examples/lab/check.py"),
        *("Cargo.lock", "Cargo.toml", "crates/one/src/lib.rs", "toolchain.lock", "toolchain.toml"),
        *("pixi.toml", "pixiw", "pixiw.cmd", "pytest.ini", "recipes/one/recipe.yaml"),
        *("python/one/src/one/__init__.py", "tests/test_one.py", "third-party-licences.yml"),
    ],
)
def test_what_a_slow_test_can_see_counts(checkout, ran, path):
    slow.test_slow(checkout.workspace, force=False)
    checkout.write(path, "something else\n")
    slow.test_slow(checkout.workspace, force=False)
    assert len(ran) == 2


def test_leavings_of_tools_do_not_count(checkout, ran):
    slow.test_slow(checkout.workspace, force=False)
    checkout.write("python/one/__pycache__/one.pyc", "")
    checkout.write("crates/one/target/debug/one.rlib", "")
    slow.test_slow(checkout.workspace, force=False)
    assert len(ran) == 1

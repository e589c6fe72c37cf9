"""The checks that need the checkout's libraries beside them."""

import subprocess
import sys
from pathlib import Path

import pytest
from labchannel.develop import develop, lint_types
from labchannel.progress import Progressor

SOUND, UNTYPED = "def f(x: int) -> int:\n    return x\n", "def f(x):\n    return x\n"


@pytest.mark.parametrize(
    ("file", "good"),
    [("src/gauge/__init__.py", False), ("bench/bench_gauge.py", False), ("tests/test_a.py", True)],
)
def test_types_are_checked_strictly_in_sources_and_benchmarks(checkout, file, good):
    pytest.importorskip("mypy", reason="it is what checks them, and not a need of the package")
    folder = checkout.root / "python" / "gauge"
    checkout.write("mypy.ini", "[mypy]\nstrict = true\n")
    checkout.write("python/gauge/pyproject.toml", '[project]\nname = "gauge"\n')
    for path in ("src/gauge/__init__.py", "bench/bench_gauge.py"):
        checkout.write(f"python/gauge/{path}", SOUND)
    assert lint_types(checkout.workspace) == 0
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(UNTYPED)
    assert (lint_types(checkout.workspace) == 0) == good


def test_an_environment_with_another_python_gets_the_libraries_anew(
    checkout, monkeypatch, tmp_path
):
    """The prefix stays, and what is remembered in it; its site-packages are other ones."""
    checkout.write(
        "python/gauge/pyproject.toml",
        '[project]\nname = "gauge"\n[build-system]\nbuild-backend = "maturin"\n',
    )
    checkout.write("python/gauge/README.md", "")
    installed = []

    def pip(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        installed.append(Path(command[-1]).name)
        return subprocess.CompletedProcess(command, 0)

    def run() -> list[str]:
        return list(develop(checkout.workspace, Progressor(quiet=True)))

    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr("labchannel.develop.subprocess.run", pip)
    for python in ("python3.12", "python3.13"):
        place = str(tmp_path / "lib" / python / "site-packages")
        monkeypatch.setattr("sysconfig.get_path", lambda _name, place=place: place)
        assert run() == ["gauge installed"]
        assert run() == []
    assert installed == ["gauge", "gauge"]

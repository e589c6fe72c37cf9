"""The committed type stubs are those that the compiled modules say of themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GENERATED = "_native.pyi"
# Written by hand: its functions take arguments that PyO3 can't say.
BY_HAND = {"rvh_trace"}
PACKAGES = sorted(
    stub.parent.name
    for stub in ROOT.glob(f"python/*/src/*/{GENERATED}")
    if stub.parent.name not in BY_HAND
)


def test_there_are_stubs() -> None:
    assert "poh_holdmetrics" in PACKAGES


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_stubs_are_fresh(name: str, tmp_path: Path) -> None:
    command = ["maturin", "generate-stubs", "--out", str(tmp_path), "--quiet", "--locked"]
    done = subprocess.run(
        command,
        cwd=ROOT / "python" / name,
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    fresh = (tmp_path / name / GENERATED).read_text("utf-8")
    committed = (ROOT / "python" / name / "src" / name / GENERATED).read_text("utf-8")
    assert committed == fresh, f"in python/{name}: maturin generate-stubs --out src"

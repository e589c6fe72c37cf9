"""The commands `rvh_trace` of the Python package and `main_trace` of the crate agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.ffi]
ROOT = Path(__file__).resolve().parents[1]
MAIN_TRACE = ("cargo", "run", "--locked", "--quiet", "--package", "rvh_trace_cli", "--")


def options(*command: str) -> set[str]:
    result = subprocess.run(
        [*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(re.findall(r"--[a-z][a-z-]*", result.stdout))


@pytest.mark.parametrize("command", ["emit", "doctor"])
def test_both_take_the_same_options(command: str) -> None:
    of_package = options(sys.executable, "-m", "rvh_trace", command)
    assert options(*MAIN_TRACE, command) == of_package
    assert "--endpoint" in of_package

"""The installed package as a person meets it."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import poh_holdmetrics
import poh_holdmetrics_rust


def test_version_is_said_once():
    said = subprocess.run(
        [sys.executable, "-m", "poh_holdmetrics", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == f"import OK -> {poh_holdmetrics.build_info()['version']}\n"
    assert poh_holdmetrics.__version__ == poh_holdmetrics.build_info()["version"]


def test_the_first_line_reads_well():
    assert poh_holdmetrics.__doc__[:60] == poh_holdmetrics.__doc__.splitlines()[0]


def test_a_panic_would_be_an_exception():
    assert poh_holdmetrics.build_info()["panic"] == "unwind"


MANY_HOLDS = """
from poh_holdmetrics import Holds, HoldEvent

def advised():
    with open("/proc/self/smaps") as maps:
        return sum(" hg" in line for line in maps if line.startswith("VmFlags:"))

before = advised()
holds = Holds([HoldEvent("token", "holder", 0, 1)] * 600_000)
print(advised() > before)
"""


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(),
    reason="only Linux is asked for large pages, and not each has them",
)
def test_large_memory_is_asked_for_in_large_pages():
    """Of 5 columns of 4.8 MB at least one; nothing else that the program loads asks for them."""
    command = [sys.executable, "-c", MANY_HOLDS]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout == "True\n"


def modules():
    names = []
    for package in (poh_holdmetrics, poh_holdmetrics_rust):
        found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [package.__name__, *(module.name for module in found)]
    return names


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0
    if name == "poh_holdmetrics":
        assert results.attempted > 5
    if name == "poh_holdmetrics_rust":
        assert results.attempted > 0

"""The installed package as a person meets it."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

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

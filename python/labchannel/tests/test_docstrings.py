"""The examples in the docstrings are run, of all modules."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import labchannel
import pytest

MODULES = [
    module.name
    for module in pkgutil.walk_packages(labchannel.__path__, "labchannel.")
    if module.name != "labchannel.__main__"
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    examples = [
        test
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]
    assert len(examples) > 14

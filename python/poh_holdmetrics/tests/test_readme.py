"""The examples of the README run as they are written."""

import importlib.metadata
import re

import pytest


def examples():
    text = importlib.metadata.metadata("poh_holdmetrics").get_payload() or ""
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("number", range(3))
def test_an_example(number, capsys):
    found = examples()
    assert len(found) == 3
    exec(compile(found[number], f"README example {number}", "exec"), {})
    if number == 0:
        assert "'0x" + "a1" * 20 + "': " in capsys.readouterr().out

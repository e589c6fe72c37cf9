"""The examples of the README run as they are written."""

import ast
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
        # In ten lines, and with shares that add up.
        assert len([line for line in found[0].splitlines() if line]) <= 10
        said = capsys.readouterr().out
        shares = ast.literal_eval(said.partition("}")[0] + "}")
        assert sum(shares.values()) == 1_000_000
        assert shares[f"0x{0xA1:040x}"] == 862_233

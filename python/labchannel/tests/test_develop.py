"""The checks that need the checkout's libraries beside them."""

import pytest
from labchannel.develop import lint_types

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

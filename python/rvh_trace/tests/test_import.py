import subprocess
import sys

import rvh_trace


def test_the_version_comes_from_the_compiled_module():
    result = subprocess.run(
        [sys.executable, "-m", "rvh_trace", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == f"import OK -> {rvh_trace.build_info()['version']}"


def test_build_info_says_how_it_was_built():
    info = rvh_trace.build_info()
    assert set(info) == {"profile", "version", "target"}
    assert info["version"] == rvh_trace.__version__


def test_spans_import_nothing():
    """An import in one thread while another forks stays locked in the child."""
    program = """
import sys, rvh_trace
rvh_trace.init_tracing(exporter="none")
def numbers():
    with rvh_trace.span("generator"):
        yield 1
@rvh_trace.trace
def decorated():
    with rvh_trace.span("inner", key=1):
        rvh_trace.record("key", 2)
before = set(sys.modules)
with rvh_trace.span("outer"):
    list(numbers())
    decorated()
print(sorted(set(sys.modules) - before))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

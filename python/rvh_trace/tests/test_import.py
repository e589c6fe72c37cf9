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

"""What a measurement prints, and where to."""

from __future__ import annotations

import sys

import pytest
from labchannel.bench import _cold_build
from labchannel.progress import Progressor


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a sh script")
def test_standard_output_is_left_to_the_figures(checkout, capfd):
    """The build that is measured has a table of its own, and `bench --json` is one document."""
    pixiw = checkout.write("pixiw", "#!/bin/sh\necho a table\n")
    pixiw.chmod(0o755)
    figure = _cold_build(checkout.workspace, Progressor(quiet=True))
    assert figure.goal == "900 s"
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "a table\n")

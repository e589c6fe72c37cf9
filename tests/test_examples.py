"""The airdrop example, from its first block to its last, and the pictures that it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "airdrop"
PICTURES = ("holders.svg", "leaderboard.svg", "timeline.svg")


def test_the_airdrop_shows_what_it_draws(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (EXAMPLE / "README.md").read_text("utf-8"), re.S)
    script = tmp_path / "airdrop.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in EXAMPLE.glob("*.svg")) == list(PICTURES)
    for name in PICTURES:
        drawn = (tmp_path / name).read_text("utf-8")
        assert drawn == (EXAMPLE / name).read_text("utf-8"), f"draw {name} anew from the example"
    assert (tmp_path / "report.html").read_text("utf-8").count("<svg") == 3

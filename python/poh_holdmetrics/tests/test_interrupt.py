"""Ctrl-C ends long work at once, and the process lives on."""

import subprocess
import sys

import pytest

LONG = """
import os, signal, threading
import numpy as np
from poh_holdmetrics import Holds

count = 1_200_000
holds = Holds({
    "holder_id": np.arange(count) % 1000,
    "token_id": np.zeros(count, int),
    "start": np.arange(count),
    "weight": np.arange(count) % 97,
})

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

print("ready", flush=True)
timer = threading.Timer(0.2, interrupt)
timer.start()
try:
    while True:
        holds.score(at=2_000_000, overlap="max", threads=1)
except KeyboardInterrupt:
    print("stopped", len(holds.score(at=2_000_000)), flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no Ctrl-C there")
def test_ctrl_c_in_a_long_score():
    done = subprocess.run(
        [sys.executable, "-c", LONG], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.split() == ["ready", "stopped", "1000"], done.stderr

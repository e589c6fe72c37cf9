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


LONG_LIST = """
import signal
from poh_holdmetrics import HoldEvent, Holds, from_transfers

def interrupt(*_):
    raise KeyboardInterrupt

log = {"token_address": "t", "from_address": "0x" + "0" * 40, "to_address": "a", "value": 1,
       "block_timestamp": 0, "block_number": 1, "log_index": 1}
signal.signal(signal.SIGALRM, interrupt)
event = HoldEvent("t", "a", 0, 1)
for read, row, count in [(Holds, event, 3_000_000), (from_transfers, log, 200_000)]:
    rows = [row] * count + [None]
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        read(rows)
    except KeyboardInterrupt:
        print("stopped")
    except ValueError:
        print("read to the end, where a row is wrong")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no timers of POSIX there")
def test_ctrl_c_while_a_long_list_is_read():
    done = subprocess.run(
        [sys.executable, "-c", LONG_LIST], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.split("\n")[:-1] == ["stopped", "stopped"], done.stderr

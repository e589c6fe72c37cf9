"""Programs that end with their starter, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from labchannel.lifeline import run_bounded

posix = pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX's")

# Starts a process in the background that would run for ever, says which it is, and goes on itself.
FOR_EVER = "import time\nwhile True: time.sleep(3600)"
PARENT = (
    "import subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {FOR_EVER!r}])\n"
    "print(child.pid, flush=True)\n"
)


def run(code: str, seconds: float = 60, **options):
    return run_bounded(
        [sys.executable, "-c", code], cwd=Path.cwd(), env=os.environ, seconds=seconds, **options
    )


def gone(pid: int) -> bool:
    """Whether the process ends; a zombie has."""
    for _ in range(400):
        try:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return True
        if status.rpartition(")")[2].split()[0] == "Z":
            return True
        threading.Event().wait(0.05)
    return False


def test_output_and_exit_code():
    ended = run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (ended.code, ended.stdout, ended.stderr) == (3, "out\n", "err\n")
    assert not ended.cut
    assert not ended.good
    assert run("pass").good


def test_merged_output_keeps_its_order():
    ended = run(
        "import os\nos.write(1, b'1\\n')\nos.write(2, b'2\\n')\nos.write(1, b'3\\n')", merge=True
    )
    assert ended.stdout == "1\n2\n3\n"
    assert ended.stderr == ""


def test_output_that_is_no_utf8_is_read_all_the_same():
    assert (
        run("import os; os.write(1, b'caf\\xe9\\r\\n')").stdout == "caf\N{REPLACEMENT CHARACTER}\n"
    )


def test_standard_input_is_empty():
    assert run("import sys; print(repr(sys.stdin.read()))").stdout == "''\n"


@posix
def test_a_time_limit_ends_what_it_started_too():
    ended = run(f"{PARENT}\n{FOR_EVER}", seconds=2)
    assert ended.cut == "time limit"
    assert not ended.good
    assert gone(int(ended.stdout))


@posix
def test_what_stays_behind_ends_with_the_program():
    ended = run(PARENT)
    assert ended.good
    assert gone(int(ended.stdout))


@posix
def test_stop_ends_it():
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    ended = run(f"print(1, flush=True)\n{FOR_EVER}", stop=stop)
    assert ended.cut == "stopped"


@posix
def test_kill_of_the_starter_ends_it(tmp_path, mailbox):
    script = tmp_path / "starter.py"
    script.write_text(
        "import os, pathlib, sys\n"
        "from labchannel.lifeline import run_bounded\n"
        "code = 'import os, sys; open(sys.argv[1], \"w\").write(str(os.getpid()));'\n"
        f"code += {FOR_EVER!r}.replace('import time', 'import time\\n')\n"
        "run_bounded([sys.executable, '-c', code, sys.argv[1]], cwd=pathlib.Path.cwd(),"
        " env=os.environ, seconds=3600)\n",
        encoding="utf-8",
    )
    starter = subprocess.Popen([sys.executable, str(script), str(mailbox.path)])
    try:
        pid = int(mailbox.wait(starter))
    finally:
        starter.kill()
        starter.wait()
    assert gone(pid)


def test_a_program_that_is_not_there(tmp_path):
    if sys.platform == "win32":
        with pytest.raises(OSError):
            run_bounded([str(tmp_path / "no")], cwd=tmp_path, env=os.environ, seconds=60)
    else:
        ended = run_bounded([str(tmp_path / "no")], cwd=tmp_path, env=os.environ, seconds=60)
        assert ended.code == 127
        assert "can't be started" in ended.stderr

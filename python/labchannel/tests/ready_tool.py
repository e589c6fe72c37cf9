"""labchannel with everything imported: it forks for each command that a test asks for.

Each command has a process of its own, as when a person starts it, but does not import everything
again. Run as a program by conftest.py. Reads a JSON line for each command (its arguments, folder,
variables, and the files for its output), and answers with a line that holds its exit code.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from typing import Any

import labchannel.build
import labchannel.channel.verify
import labchannel.cli
import labchannel.doctor
import labchannel.matrix
import labchannel.task

LONGEST = 120
"""Seconds that a command may take."""


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(request)
        _pid, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(request: dict[str, Any]) -> None:
    """Be the command; does not return."""
    try:
        signal.alarm(LONGEST)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["variables"])
        for descriptor, path in enumerate((os.devnull, *request["output"])):
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            os.dup2(file, descriptor)
            os.close(file)
        sys.argv = ["labchannel", *request["arguments"]]
        labchannel.cli.main()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    # main() does not come back.
    os._exit(1)


if __name__ == "__main__":
    serve()

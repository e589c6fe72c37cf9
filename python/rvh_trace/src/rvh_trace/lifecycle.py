"""What happens to queued spans when a process forks, ends or is terminated.

- At exit, and at SIGTERM where nobody else handles it, spans are flushed within ``EXIT_TIMEOUT``.
- A forked child gets an export thread of its own and an empty queue: what was queued before the
  fork is its parent's to send.
- ``multiprocessing`` ends its children by ``os._exit``, so that no ``atexit`` function runs there;
  they are flushed by its own finalizers.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading

from rvh_trace import _native

# The compiled module asks it in the middle of a span. If it were imported there, a fork at that
# moment would leave its import locked in the child, for good: spans import nothing.
from rvh_trace import generator_names as _generator_names  # noqa: F401

TYPE_CHECKING = False  # as type checkers know it; see current.py
if TYPE_CHECKING:
    from types import FrameType

EXIT_TIMEOUT = 2.0
"""Seconds that the flush at exit may take, also when the collector is dead."""


class _ThisProcess:
    """What has been arranged; ``multiprocessing`` wants an object that it can refer to weakly."""

    registered = False
    finalizer_of: int | None = None
    told_multiprocessing = False


_this = _ThisProcess()


def register() -> None:
    """Arrange all this for the process; more than once is as good as once."""
    _finalize_in_multiprocessing()
    if _this.registered:
        return
    _this.registered = True
    atexit.register(_native.shutdown, EXIT_TIMEOUT)
    if sys.platform != "win32":
        os.register_at_fork(before=_before_fork, after_in_child=_native.after_fork_in_child)
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, _on_terminate)


def _on_terminate(number: int, frame: FrameType | None) -> None:
    _native.shutdown(EXIT_TIMEOUT)
    # The signal does what it would have done without us.
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _before_fork() -> None:
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not _this.told_multiprocessing:
        _this.told_multiprocessing = True
        util.register_after_fork(_this, lambda _: _finalize_in_multiprocessing())


def _finalize_in_multiprocessing() -> None:
    """In a child of ``multiprocessing``, flush before it ends."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _this.finalizer_of == os.getpid():
        return
    from multiprocessing import util

    _this.finalizer_of = os.getpid()
    # Last of all, so that the finalizers of others are still traced.
    util.Finalize(None, _native.shutdown, args=(EXIT_TIMEOUT,), exitpriority=-1000)

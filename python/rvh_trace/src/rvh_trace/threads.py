"""Carrying the current span into threads: a new thread starts with an empty context."""

from __future__ import annotations

import contextvars
import functools
from concurrent.futures import ThreadPoolExecutor as _ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

P = ParamSpec("P")
R = TypeVar("R")


def wrap(function: Callable[P, R], /) -> Callable[P, R]:
    """Return a function that runs in the context that is current now.

    >>> import threading, rvh_trace
    >>> thread = threading.Thread(target=rvh_trace.wrap(print), args=("hello",))
    >>> thread.start(); thread.join()
    hello
    """
    captured = contextvars.copy_context()

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        # A copy for each call: a context cannot be entered twice at the same time.
        return captured.copy().run(function, *args, **kwargs)

    return wrapper


class ThreadPoolExecutor(_ThreadPoolExecutor):
    """A thread pool whose tasks run under the span that was current when they were submitted."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit a call, with the current context."""
        return super().submit(wrap(fn), *args, **kwargs)

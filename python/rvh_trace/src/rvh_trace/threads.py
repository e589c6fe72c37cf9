"""Carrying the current span elsewhere: a new thread starts with an empty context."""

from __future__ import annotations

import contextvars

TYPE_CHECKING = False  # as type checkers know it; see current.py
if TYPE_CHECKING:
    from collections.abc import Callable


def wrap[**P, R](function: Callable[P, R], /) -> Callable[P, R]:
    """Return a function that runs in the context that is current now.

    >>> import threading, rvh_trace
    >>> thread = threading.Thread(target=rvh_trace.wrap(print), args=("hello",))
    >>> thread.start(); thread.join()
    hello
    """
    from functools import wraps

    captured = contextvars.copy_context()

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        # A copy for each call: a context cannot be entered twice at the same time.
        return captured.copy().run(function, *args, **kwargs)

    return wrapper

"""Carrying the current span elsewhere: a new thread starts with an empty context."""

from __future__ import annotations

import contextvars
from types import coroutine

TYPE_CHECKING = False  # as type checkers know it; see current.py
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any


def wrap[**P, R](function: Callable[P, R], /) -> Callable[P, R]:
    """Return a function that runs in the context that is current now; a coroutine does, too.

    >>> import threading, rvh_trace
    >>> thread = threading.Thread(target=rvh_trace.wrap(print), args=("hello",))
    >>> thread.start(); thread.join()
    hello
    """
    from functools import wraps
    from inspect import iscoroutinefunction

    captured = contextvars.copy_context()

    if iscoroutinefunction(function):
        # Only its steps run its code.
        @wraps(function)
        async def of_steps(*args: P.args, **kwargs: P.kwargs) -> object:
            return await _steps(function(*args, **kwargs), captured.copy())

        # R is a coroutine here, and so is what this returns; no checker knows the first.
        return of_steps  # type: ignore[return-value]

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        # A copy for each call: a context cannot be entered twice at the same time.
        return captured.copy().run(function, *args, **kwargs)

    return wrapper


@coroutine
def _steps[T](
    inner: Coroutine[object, object, T], context: contextvars.Context
) -> Generator[object, object, T]:
    """Run each step of a coroutine in a context, under whatever event loop there is.

    The loop is the one of traced generators (decorator.py). It is not shared: each of their steps
    would take two more calls.
    """
    go_on: Callable[[Any], object] = inner.send
    argument: object = None
    while True:
        try:
            awaited = context.run(go_on, argument)
        except StopIteration as stop:
            result: T = stop.value
            return result
        try:
            go_on, argument = inner.send, (yield awaited)
        except BaseException as error:
            go_on, argument = inner.throw, error

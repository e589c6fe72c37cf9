"""The decorator that makes a span of each call."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from rvh_trace._native import span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

P = ParamSpec("P")
R = TypeVar("R")


@overload
def trace(name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def trace(
    name: str | None = None, /, **fields: object
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def trace(
    name: Callable[P, R] | str | None = None, /, **fields: object
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a span of each call of a function, coroutine, generator or async generator.

    The span is named ``name``, or as the function. Each ``field`` is an attribute of every call,
    but ``level``, which is the span's level.

    A generator's span lasts from its first step to its end, and is current only while it runs:
    between two steps the caller's span is.

    >>> import rvh_trace
    >>> @rvh_trace.trace
    ... def double(number: int) -> int:
    ...     return 2 * number
    >>> double(4)
    8
    """
    if callable(name):
        return _traced(name, name.__qualname__, {})

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return _traced(function, function.__qualname__ if name is None else name, fields)

    return decorate


trace_sync = trace


def _traced(function: Callable[P, R], name: str, fields: dict[str, object]) -> Callable[P, R]:
    wrapper: Any
    if inspect.isasyncgenfunction(function):
        wrapper = _async_generator(function, name, fields)
    elif inspect.iscoroutinefunction(function):
        wrapper = _coroutine(function, name, fields)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(function, name, fields)
    else:
        wrapper = _function(function, name, fields)
    return cast("Callable[P, R]", functools.wraps(function)(wrapper))


def _function(function: Callable[P, R], name: str, fields: dict[str, object]) -> Callable[P, R]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with span(name, **fields):
            return function(*args, **kwargs)

    return wrapper


def _coroutine(
    function: Callable[P, Awaitable[R]], name: str, fields: dict[str, object]
) -> Callable[P, Awaitable[R]]:
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with span(name, **fields):
            return await function(*args, **kwargs)

    return wrapper


def _generator(
    function: Callable[P, Generator[Any, Any, R]], name: str, fields: dict[str, object]
) -> Callable[P, Generator[Any, Any, R]]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, R]:
        steps = function(*args, **kwargs)
        opened = span(name, **fields)
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            opened.resume()
            try:
                item = steps.send(sent) if thrown is None else steps.throw(thrown)
            except StopIteration as stop:
                opened.__exit__(None, None, None)
                return cast("R", stop.value)
            except BaseException as error:
                opened.__exit__(type(error), error, error.__traceback__)
                raise
            opened.suspend()
            sent = thrown = None
            try:
                sent = yield item
            except BaseException as error:
                thrown = error

    return wrapper


def _async_generator(
    function: Callable[P, AsyncGenerator[Any, Any]], name: str, fields: dict[str, object]
) -> Callable[P, AsyncGenerator[Any, Any]]:
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        steps = function(*args, **kwargs)
        opened = span(name, **fields)
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            opened.resume()
            try:
                item = await (steps.asend(sent) if thrown is None else steps.athrow(thrown))
            except StopAsyncIteration:
                opened.__exit__(None, None, None)
                return
            except BaseException as error:
                opened.__exit__(type(error), error, error.__traceback__)
                raise
            opened.suspend()
            sent = thrown = None
            try:
                sent = yield item
            except BaseException as error:
                thrown = error

    return wrapper

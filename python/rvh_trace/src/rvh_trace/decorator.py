"""The decorator that makes a span of each call."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, overload

from rvh_trace._native import opening

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from rvh_trace._native import Span


@overload
def trace[**P, R](name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def trace[**P, R](
    name: str | None = None, /, **fields: object
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def trace(
    name: Callable[..., object] | str | None = None, /, **fields: object
) -> Callable[..., object]:
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
        return _traced(name, opening(name.__qualname__))

    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        return _traced(function, opening(name or function.__qualname__, **fields))

    return decorate


trace_sync = trace


def _traced(function: Callable[..., Any], open_span: Callable[[], Span]) -> Callable[..., object]:
    wrapper: Callable[..., object]
    if inspect.isasyncgenfunction(function):
        wrapper = _async_generator(function, open_span)
    elif inspect.iscoroutinefunction(function):
        wrapper = _coroutine(function, open_span)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(function, open_span)
    else:
        wrapper = _function(function, open_span)
    return wraps(function)(wrapper)


def _function[**P, R](function: Callable[P, R], open_span: Callable[[], Span]) -> Callable[P, R]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with open_span():
            return function(*args, **kwargs)

    return wrapper


def _coroutine[**P, R](
    function: Callable[P, Awaitable[R]], open_span: Callable[[], Span]
) -> Callable[P, Awaitable[R]]:
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with open_span():
            return await function(*args, **kwargs)

    return wrapper


def _generator[**P, R](
    function: Callable[P, Generator[Any, Any, R]], open_span: Callable[[], Span]
) -> Callable[P, Generator[Any, Any, R]]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, R]:
        steps = function(*args, **kwargs)
        opened = open_span()
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            opened.resume()
            try:
                item = steps.send(sent) if thrown is None else steps.throw(thrown)
            except StopIteration as stop:
                opened.__exit__(None, None, None)
                return stop.value  # type: ignore[no-any-return]
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


def _async_generator[**P](
    function: Callable[P, AsyncGenerator[Any, Any]], open_span: Callable[[], Span]
) -> Callable[P, AsyncGenerator[Any, Any]]:
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        steps = function(*args, **kwargs)
        opened = open_span()
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

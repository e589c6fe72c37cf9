"""The decorator that makes a span of each call."""

from __future__ import annotations

import inspect
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, overload

from rvh_trace._native import leave, opening

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from types import TracebackType

    from rvh_trace._native import Span


@overload
def trace[**P, R](name: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def trace[**P, R](
    name: str | None = None, **fields: object
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def trace(
    name: Callable[..., object] | str | None = None, **fields: object
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
    if name is not None and not isinstance(name, str):
        return _decorated(name, None, fields)
    return lambda function: _decorated(function, name, fields)


trace_sync = trace


def _decorated(
    function: Callable[..., object], name: str | None, fields: dict[str, object]
) -> Callable[..., object]:
    if isinstance(function, staticmethod | classmethod):
        return type(function)(_decorated(function.__func__, name, fields))
    if isinstance(function, type) or not callable(function):
        raise TypeError(
            f"trace() cannot decorate {function!r}: it takes functions and methods; of a class "
            "decorate the methods"
        )
    return _traced(function, *opening(name or _name_of(function), **fields))


def _name_of(function: Callable[..., object]) -> str:
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return named.__qualname__


def _traced(
    function: Callable[..., Any], open_span: Callable[[], Span], open_and_enter: Callable[[], Span]
) -> Callable[..., object]:
    wrapper: Callable[..., object]
    if inspect.isasyncgenfunction(function):
        wrapper = _async_generator(function, open_span)
    elif inspect.iscoroutinefunction(function):
        wrapper = around_coroutine(function, open_and_enter, leave)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(function, open_span)
    else:
        wrapper = around_function(function, open_and_enter, leave)
    return wraps(function)(wrapper)


# A `with` statement would make two objects of methods for each call, and `**kwargs` a second
# dictionary, each a tenth of its time. A call by compiled code would cost least, but be bound by
# the interpreter's limit for C recursion.


def around_function[**P, R, S](
    function: Callable[P, R], enter: Callable[[], S], leave: Callable[..., None]
) -> Callable[P, R]:
    """Return a function that calls another one between ``enter()`` and ``leave(what it gave)``.

    ``leave`` is given the exception as well when there is one.
    """
    call: Callable[..., R] = function

    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        entered = enter()
        try:
            result = call(*args, **kwargs) if kwargs else call(*args)
        except BaseException as error:
            leave(entered, error)
            raise
        leave(entered)
        return result

    return wrapper


def around_coroutine[**P, R, S](
    function: Callable[P, Awaitable[R]], enter: Callable[[], S], leave: Callable[..., None]
) -> Callable[P, Awaitable[R]]:
    """Do the same for a coroutine function."""
    call: Callable[..., Awaitable[R]] = function

    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        entered = enter()
        try:
            result = await (call(*args, **kwargs) if kwargs else call(*args))
        except BaseException as error:
            leave(entered, error)
            raise
        leave(entered)
        return result

    return wrapper


class _Step:
    """A step of a generator: its span is current meanwhile, and ends with the generator."""

    def __init__(self, opened: Span) -> None:
        self.opened = opened

    def __enter__(self) -> None:
        self.opened.resume()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.opened.suspend()
        elif isinstance(error, StopIteration | StopAsyncIteration):
            self.opened.__exit__(None, None, None)
        else:
            self.opened.__exit__(kind, error, traceback)


def _generator[**P, R](
    function: Callable[P, Generator[Any, Any, R]], open_span: Callable[[], Span]
) -> Callable[P, Generator[Any, Any, R]]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Generator[Any, Any, R]:
        steps = function(*args, **kwargs)
        step = _Step(open_span())
        go_on: Callable[[Any], Any] = steps.send
        argument: Any = None
        while True:
            try:
                with step:
                    item = go_on(argument)
            except StopIteration as stop:
                result: R = stop.value
                return result
            try:
                go_on, argument = steps.send, (yield item)
            except BaseException as error:
                go_on, argument = steps.throw, error

    return wrapper


def _async_generator[**P](
    function: Callable[P, AsyncGenerator[Any, Any]], open_span: Callable[[], Span]
) -> Callable[P, AsyncGenerator[Any, Any]]:
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, Any]:
        steps = function(*args, **kwargs)
        step = _Step(open_span())
        go_on: Callable[[Any], Awaitable[Any]] = steps.asend
        argument: Any = None
        while True:
            try:
                with step:
                    item = await go_on(argument)
            except StopAsyncIteration:
                return
            try:
                go_on, argument = steps.asend, (yield item)
            except BaseException as error:
                go_on, argument = steps.athrow, error

    return wrapper

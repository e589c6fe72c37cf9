"""Interceptors that trace gRPC calls at both ends. Needs the package ``grpcio``.

::

    channel = grpc.intercept_channel(channel, ClientInterceptor())
    server = grpc.server(pool, interceptors=[ServerInterceptor()])
    channel = grpc.aio.insecure_channel(target, interceptors=aio_client_interceptors())
    server = grpc.aio.server(interceptors=[AioServerInterceptor()])

Spans are named and described by OpenTelemetry's conventions for RPC
(https://opentelemetry.io/docs/specs/semconv/rpc/grpc/). One lasts until the call is over, with its
stream if it has one; on the server it is current while the handler works.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import re
from typing import TYPE_CHECKING, Any

# grpc has no types: what is imported from it, and what is derived from its classes, is Any.
import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]

from rvh_trace._native import span
from rvh_trace.propagation import RemoteContext, extract, inject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from rvh_trace._native import Span

_KEY = re.compile(r"[0-9a-z_.-]+")
_CODES = {code.value[0]: code for code in grpc.StatusCode}
# What is the server's own fault; to a client everything but OK is an error.
_SERVER_ERRORS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


def _span_of(method: str | bytes, kind: str) -> Span:
    full = (method.decode("utf-8", "replace") if isinstance(method, bytes) else method).lstrip("/")
    service, _, name = full.rpartition("/")
    fields = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
    opened = span(full, **fields)
    opened.set_kind(kind)
    return opened


def _ended(opened: Span, code: grpc.StatusCode, details: str = "", *, is_error: bool) -> None:
    opened.record("rpc.grpc.status_code", code.value[0])
    if is_error:
        opened.record("error.type", code.name)
        opened.set_status("error", details or code.name)
    opened.end()


class _Details(
    grpc.ClientCallDetails,  # type: ignore[misc]
):
    """Another call's details with other metadata."""

    def __init__(self, details: Any, metadata: list[tuple[str, Any]]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = metadata
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = getattr(details, "compression", None)


def _is_metadata(key: str, value: str) -> bool:
    """Whether gRPC takes it; it would refuse the whole call otherwise."""
    # The value of a key that ends so is bytes.
    named = _KEY.fullmatch(key) is not None and not key.endswith("-bin")
    return named and value.isascii() and value.isprintable()


def _begin(details: Any) -> tuple[Span, list[tuple[str, Any]]]:
    """Open the span of an outgoing call; return it and the metadata that carry the trace."""
    opened = _span_of(details.method, "client")
    opened.resume()
    found: dict[str, str] = inject({})
    opened.suspend()
    headers = {key: value for key, value in found.items() if _is_metadata(key, value)}
    kept = [(key, value) for key, value in details.metadata or () if key not in headers]
    return opened, [*kept, *headers.items()]


class ClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
):
    """Traces the calls of a channel: ``grpc.intercept_channel(channel, ClientInterceptor())``."""

    def _intercept(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        opened, metadata = _begin(details)
        try:
            call = continuation(_Details(details, metadata), request)
        except BaseException as error:
            opened.failed(error)
            opened.end()
            raise

        def done(call: Any) -> None:
            code = call.code() or grpc.StatusCode.UNKNOWN
            failed = code is not grpc.StatusCode.OK
            _ended(opened, code, call.details() or "" if failed else "", is_error=failed)

        call.add_done_callback(done)
        return call

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
    intercept_stream_stream = _intercept


class _AioClient:
    """What the interceptors of ``grpc.aio`` have in common."""

    def __init__(self) -> None:
        self._ending: set[asyncio.Task[None]] = set()

    async def _intercept(
        self, continuation: Callable[..., Awaitable[Any]], details: Any, request: Any
    ) -> Any:
        opened, metadata = _begin(details)
        try:
            call = await continuation(
                details._replace(metadata=grpc.aio.Metadata(*metadata)), request
            )
        except BaseException as error:
            opened.failed(error)
            opened.end()
            raise

        def done(_: object) -> None:
            # Only a coroutine can ask for the code.
            task = asyncio.get_running_loop().create_task(self._end(opened, call))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

        # A caller that streams waits with each write until the interceptor has returned.
        if isinstance(self, _AioUnaryUnary):
            await self._end(opened, call)
        else:
            call.add_done_callback(done)
        return call

    async def _end(self, opened: Span, call: Any) -> None:
        try:
            code = await call.code()
        except asyncio.CancelledError:
            _ended(opened, grpc.StatusCode.CANCELLED, is_error=True)
            call.cancel()
            raise
        failed = code is not grpc.StatusCode.OK
        details = await call.details() if failed else ""
        _ended(opened, code, details or "", is_error=failed)


class _AioUnaryUnary(_AioClient, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    intercept_unary_unary = _AioClient._intercept


class _AioUnaryStream(_AioClient, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
    intercept_unary_stream = _AioClient._intercept


class _AioStreamUnary(_AioClient, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[misc]
    intercept_stream_unary = _AioClient._intercept


class _AioStreamStream(_AioClient, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc]
    intercept_stream_stream = _AioClient._intercept


def aio_client_interceptors() -> list[Any]:
    """Return interceptors for ``grpc.aio.insecure_channel(target, interceptors=...)``.

    ``grpc.aio`` wants one for each of the four kinds of calls.
    """
    return [_AioUnaryUnary(), _AioUnaryStream(), _AioStreamUnary(), _AioStreamStream()]


class _Served:
    """One call at the server's end: its span, below the caller's."""

    def __init__(self, method: str, context: Any) -> None:
        self.context = context
        self.opened = _span_of(method, "server")
        with extract(context.invocation_metadata() or ()) as caller:
            self.opened.resume()
            self.opened.suspend()
        self.baggage = RemoteContext(None, caller.baggage)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Make the span current while the handler works; an error that leaves it ends the call.

        The caller's baggage is current, too.
        """
        with self.baggage:
            yield from self._working()

    def _working(self) -> Iterator[None]:
        self.opened.resume()
        try:
            yield
        except BaseException as error:
            self.opened.suspend()
            # With a code it is `context.abort`, or the handler's own word.
            code = self._code()
            if code is None:
                self.opened.failed(error)
            self._end(code or grpc.StatusCode.UNKNOWN)
            raise
        self.opened.suspend()

    def _code(self) -> grpc.StatusCode | None:
        code = self.context.code()
        return _CODES.get(code) if isinstance(code, int) else code

    def _end(self, code: grpc.StatusCode) -> None:
        details = self.context.details()
        text = details.decode("utf-8", "replace") if isinstance(details, bytes) else details
        _ended(self.opened, code, text or "", is_error=code in _SERVER_ERRORS)

    def over(self) -> None:
        """End the call as the handler said, unless it has ended by an error."""
        self._end(self._code() or grpc.StatusCode.OK)


def _wrapped(handler: Any, method: str, wrappers: tuple[Any, Any]) -> Any:
    """Return a handler like this one, whose function is wrapped: by what it responds with."""
    if handler is None:
        return None
    unary, stream = wrappers
    names = {
        (False, False): "unary_unary",
        (False, True): "unary_stream",
        (True, False): "stream_unary",
        (True, True): "stream_stream",
    }
    name = names[handler.request_streaming, handler.response_streaming]
    wrap = stream if handler.response_streaming else unary
    make = getattr(grpc, f"{name}_rpc_method_handler")
    return make(
        wrap(getattr(handler, name), method),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _unary(function: Callable[..., Any], method: str) -> Callable[..., Any]:
    def serve(request: Any, context: Any) -> Any:
        served = _Served(method, context)
        with served.working():
            response = function(request, context)
        served.over()
        return response

    return serve


def _stream(function: Callable[..., Any], method: str) -> Callable[..., Any]:
    def serve(request: Any, context: Any) -> Iterator[Any]:
        served = _Served(method, context)
        try:
            with served.working():
                responses = iter(function(request, context))
            while True:
                # Current only while the handler works, not while the server sends.
                with served.working():
                    try:
                        response = next(responses)
                    except StopIteration:
                        break
                yield response
        finally:
            # Also when the caller has gone, and nobody asks for more.
            served.over()

    return serve


def _aio_unary(function: Callable[..., Any], method: str) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(function):
        return _unary(function, method)

    async def serve(request: Any, context: Any) -> Any:
        served = _Served(method, context)
        with served.working():
            response = await function(request, context)
        served.over()
        return response

    return serve


def _aio_stream(function: Callable[..., Any], method: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):
        # It writes its responses by `context.write`.
        return _aio_unary(function, method)
    if not inspect.isasyncgenfunction(function):
        return _stream(function, method)

    async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
        served = _Served(method, context)
        try:
            async with contextlib.aclosing(function(request, context)) as responses:
                while True:
                    with served.working():
                        try:
                            response = await anext(responses)
                        except StopAsyncIteration:
                            break
                    yield response
        finally:
            served.over()

    return serve


class ServerInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Traces what a server serves: ``grpc.server(pool, interceptors=[ServerInterceptor()])``."""

    def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        """Wrap the handler of a call."""
        return _wrapped(continuation(details), details.method, (_unary, _stream))


class AioServerInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """The same for ``grpc.aio.server(interceptors=[AioServerInterceptor()])``."""

    async def intercept_service(
        self, continuation: Callable[..., Awaitable[Any]], details: Any
    ) -> Any:
        """Wrap the handler of a call."""
        return _wrapped(await continuation(details), details.method, (_aio_unary, _aio_stream))

"""gRPC calls of the four kinds, through real channels and servers, synchronous and asyncio."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

import rvh_trace
from rvh_trace import span

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
interceptors = pytest.importorskip("rvh_trace.grpc_interceptors")

KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def asked(request, context):
    with span("work"):
        if request == b"abort":
            context.abort(NOT_FOUND, "no such thing")
        if request == b"raise":
            raise ValueError("bad")
        if request == b"code":
            context.set_code(grpc.StatusCode.UNAVAILABLE)
            context.set_details("later")
    return request


def unary_unary(request, context):
    return asked(request, context)


def unary_stream(request, context):
    with span("whole stream"):
        for _ in range(3):
            yield asked(request, context)


def stream_unary(requests, context):
    return [asked(request, context) for request in requests][-1]


def stream_stream(requests, context):
    for request in requests:
        yield asked(request, context)


def service(functions):
    handlers = {
        kind: getattr(grpc, f"{kind}_rpc_method_handler")(function)
        for kind, function in functions.items()
    }
    return grpc.method_handlers_generic_handler("shop.Orders", handlers)


@pytest.fixture
def target():
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptors.ServerInterceptor()])
    functions = {"unary_unary": unary_unary, "unary_stream": unary_stream}
    functions |= {"stream_unary": stream_unary, "stream_stream": stream_stream}
    server.add_generic_rpc_handlers([service(functions)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def argument_of(kind, request):
    """One request, or a stream of two; of one that ends the call nothing more may be on its way."""
    if not kind.startswith("stream"):
        return request
    return iter([request] * (2 if request == b"x" else 1))


def call(channel, kind, request):
    argument = argument_of(kind, request)
    answer = getattr(channel, kind)(f"/shop.Orders/{kind}")(argument, timeout=20)
    return list(answer) if kind.endswith("stream") else answer


def sent(target, kind, request):
    with grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, interceptors.ClientInterceptor())
        return call(channel, kind, request)


def sent_by_aio(target, kind, request):
    async def main():
        traced = interceptors.aio_client_interceptors()
        async with grpc.aio.insecure_channel(target, interceptors=traced) as channel:
            argument = argument_of(kind, request)
            answer = getattr(channel, kind)(f"/shop.Orders/{kind}")(argument, timeout=20)
            if kind.endswith("stream"):
                return [response async for response in answer]
            return await answer

    return asyncio.run(main())


def finished(kind, count):
    """The client's and the server's span: the server's ends on its own thread, after the answer."""
    name = f"shop.Orders/{kind}"
    while True:
        spans = rvh_trace.finished_spans()
        both = {item.kind: item for item in spans if item.name == name}
        if len(both) == 2:
            return both["client"], both["server"], spans


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("send", [sent, sent_by_aio])
def test_a_call_is_one_trace(memory, target, send, kind):
    with span("caller") as caller:
        answer = send(target, kind, b"x")
        assert rvh_trace.current_span() is caller
    assert answer == {"unary_stream": [b"x"] * 3, "stream_stream": [b"x"] * 2}.get(kind, b"x")
    client, server, spans = finished(kind, len(answer))
    assert client.parent_span_id == memory()["caller"].span_id
    assert server.parent_span_id == client.span_id
    attributes = {
        "rpc.system": "grpc",
        "rpc.service": "shop.Orders",
        "rpc.method": kind,
        "rpc.grpc.status_code": 0,
    }
    assert client.attributes == server.attributes == attributes
    assert client.status == server.status == "unset"
    parent = memory()["whole stream"] if kind == "unary_stream" else server
    assert {item.parent_span_id for item in spans if item.name == "work"} == {parent.span_id}
    assert rvh_trace.live_spans() == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("send", [sent, sent_by_aio])
@pytest.mark.parametrize(
    ("request_", "code", "fault", "events"),
    [
        (b"abort", grpc.StatusCode.NOT_FOUND, False, 0),
        (b"code", grpc.StatusCode.UNAVAILABLE, True, 0),
        (b"raise", grpc.StatusCode.UNKNOWN, True, 0),
    ],
)
def test_a_call_that_fails(memory, target, send, kind, request_, code, fault, events):
    with pytest.raises(grpc.RpcError) as raised:
        send(target, kind, request_)
    assert raised.value.code() is code
    client, server, _ = finished(kind, 0)
    assert client.attributes["rpc.grpc.status_code"] == code.value[0]
    assert server.attributes["rpc.grpc.status_code"] == code.value[0]
    assert client.status == "error"
    assert client.attributes["error.type"] == code.name
    assert server.status == ("error" if fault else "unset")


def test_an_unreachable_server(memory):
    for send in (sent, sent_by_aio):
        with pytest.raises(grpc.RpcError):
            send("127.0.0.1:1", "unary_unary", b"x")
    for item in rvh_trace.finished_spans():
        assert item.attributes["rpc.grpc.status_code"] == grpc.StatusCode.UNAVAILABLE.value[0]
        assert item.status == "error"


def test_metadata_of_ones_own_stays(memory, target):
    seen = []

    def handler(request, context):
        seen.append(dict(context.invocation_metadata()))
        return request

    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([service({"unary_unary": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
        channel = grpc.intercept_channel(plain, interceptors.ClientInterceptor())
        ask = channel.unary_unary("/shop.Orders/unary_unary")
        metadata = (("team", "a"), ("blob-bin", b"\x00"), ("traceparent", "stale"))
        future = ask.future(b"x", metadata=metadata)
        assert future.result(20) == b"x"
    server.stop(None).wait()
    (client,) = [item for item in rvh_trace.finished_spans() if item.kind == "client"]
    assert (seen[0]["team"], seen[0]["blob-bin"]) == ("a", b"\x00")
    assert seen[0]["traceparent"].split("-")[2] == client.span_id


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_", [b"x", b"abort", b"raise"])
def test_an_asyncio_server(memory, kind, request_):
    async def asked(request, context):
        with span("work"):
            await asyncio.sleep(0)
            if request == b"abort":
                await context.abort(NOT_FOUND, "no")
            if request == b"raise":
                raise ValueError("bad")
        return request

    async def unary_unary(request, context):
        return await asked(request, context)

    async def unary_stream(request, context):
        for _ in range(2):
            yield await asked(request, context)

    async def stream_unary(requests, context):
        return [await asked(request, context) async for request in requests][-1]

    async def stream_stream(requests, context):
        # The other way to answer.
        async for request in requests:
            await context.write(await asked(request, context))

    functions = {"unary_unary": unary_unary, "unary_stream": unary_stream}
    functions |= {"stream_unary": stream_unary, "stream_stream": stream_stream}

    async def main():
        server = grpc.aio.server(interceptors=[interceptors.AioServerInterceptor()])
        server.add_generic_rpc_handlers([service(functions)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            traced = interceptors.aio_client_interceptors()
            target = f"127.0.0.1:{port}"
            async with grpc.aio.insecure_channel(target, interceptors=traced) as channel:
                argument = iter([request_] * 2) if kind.startswith("stream") else request_
                answer = getattr(channel, kind)(f"/shop.Orders/{kind}")(argument, timeout=20)
                if kind.endswith("stream"):
                    return [response async for response in answer]
                return await answer
        finally:
            await server.stop(None)

    if request_ == b"x":
        assert asyncio.run(main()) in (b"x", [b"x", b"x"])
    else:
        with pytest.raises(grpc.RpcError):
            asyncio.run(main())
    client, server, spans = finished(kind, 0)
    assert server.parent_span_id == client.span_id
    assert {item.parent_span_id for item in spans if item.name == "work"} == {server.span_id}
    code = {b"x": 0, b"abort": 5, b"raise": 2}[request_]
    assert client.attributes["rpc.grpc.status_code"] == code
    assert server.attributes["rpc.grpc.status_code"] == code
    assert server.status == ("error" if code == 2 else "unset")
    assert rvh_trace.live_spans() == []


def test_a_caller_of_grpc_aio_may_write_its_requests(memory, target):
    async def main():
        traced = interceptors.aio_client_interceptors()
        async with grpc.aio.insecure_channel(target, interceptors=traced) as channel:
            call = channel.stream_unary("/shop.Orders/stream_unary")(timeout=20)
            await call.write(b"a")
            await call.write(b"b")
            await call.done_writing()
            return await call

    assert asyncio.run(main()) == b"b"
    client, server, _ = finished("stream_unary", 0)
    assert server.parent_span_id == client.span_id
    assert client.attributes["rpc.grpc.status_code"] == 0
    assert rvh_trace.live_spans() == []


def carried(context):
    """What a handler sees of its caller's baggage, and what a call that it made would carry."""
    return f"{rvh_trace.get_baggage()} {rvh_trace.inject({}).get('baggage')}".encode()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("send", [sent, sent_by_aio])
def test_a_handler_has_its_caller_s_baggage(memory, request, kind, send):
    functions = {
        "unary_unary": lambda request, context: carried(context),
        "unary_stream": lambda request, context: (carried(context) for _ in range(2)),
        "stream_unary": lambda requests, context: [carried(context) for _ in requests][-1],
        "stream_stream": lambda requests, context: (carried(context) for _ in requests),
    }
    # One thread, which would keep what is not taken back.
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool, interceptors=[interceptors.ServerInterceptor()])
    server.add_generic_rpc_handlers([service(functions)])
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    request.addfinalizer(lambda: server.stop(None).wait())
    with rvh_trace.baggage(user="a b"):
        answer = send(target, kind, b"x")
    expected = b"{'user': 'a b'} user=a%20b"
    assert answer == ([expected] * 2 if kind.endswith("stream") else expected)
    without = send(target, kind, b"x")
    assert without == ([b"{} None"] * 2 if kind.endswith("stream") else b"{} None")
    assert pool.submit(rvh_trace.get_baggage).result() == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_of_an_asyncio_server_has_its_caller_s_baggage(memory, kind):
    async def unary(request, context):
        await asyncio.sleep(0)
        return carried(context)

    async def stream(request, context):
        for _ in range(2):
            await asyncio.sleep(0)
            yield carried(context)

    async def main():
        server = grpc.aio.server(interceptors=[interceptors.AioServerInterceptor()])
        server.add_generic_rpc_handlers([service({kind: stream if streams else unary})])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            traced = interceptors.aio_client_interceptors()
            target = f"127.0.0.1:{port}"
            async with grpc.aio.insecure_channel(target, interceptors=traced) as channel:
                argument = iter([b"x"]) if kind.startswith("stream") else b"x"
                with rvh_trace.baggage(user="a b"):
                    answer = getattr(channel, kind)(f"/shop.Orders/{kind}")(argument, timeout=20)
                    return [part async for part in answer] if streams else [await answer]
        finally:
            await server.stop(None)

    streams = kind.endswith("stream")
    assert asyncio.run(main()) == [b"{'user': 'a b'} user=a%20b"] * (2 if streams else 1)


def asked_with(metadata):
    """Call a server with this metadata; return its handler's baggage and the server's span."""
    seen = []

    def handler(request, context):
        seen.append(rvh_trace.get_baggage())
        return request

    server = grpc.server(ThreadPoolExecutor(1), interceptors=[interceptors.ServerInterceptor()])
    server.add_generic_rpc_handlers([service({"unary_unary": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        channel.unary_unary("/shop.Orders/unary_unary")(b"x", timeout=20, metadata=metadata)
    server.stop(None).wait()
    (opened,) = rvh_trace.finished_spans()
    return seen[0], opened


def test_metadata_may_be_repeated(memory):
    parent = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    members, opened = asked_with((parent, ("baggage", "a=1"), ("baggage", "b=2")))
    assert members == {"a": "1", "b": "2"}
    assert opened.parent_span_id == "b7ad6b7169203331"


@pytest.mark.parametrize("send", [sent, sent_by_aio])
def test_baggage_that_is_no_metadata_does_not_break_the_call(memory, target, monkeypatch, send):
    monkeypatch.setenv("OTEL_PROPAGATORS", "jaeger")
    members = {"userId": "1", "a!b": "2", "blob-bin": "3"}
    with rvh_trace.baggage(**members):
        assert send(target, "unary_unary", b"x") == b"x"
    client, server, _ = finished("unary_unary", 0)
    assert server.parent_span_id == client.span_id

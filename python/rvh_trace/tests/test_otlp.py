import functools
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import rvh_trace
from rvh_trace import span


def test_what_arrives_is_what_was_recorded(collector):
    rvh_trace.init_tracing(
        endpoint=collector.endpoint,
        service_name="shop",
        headers={"x-team": "a"},
        resource={"deployment.environment.name": "test"},
    )

    def order():
        with span("order", items=2, ok=True, price=1.5, tags=["a", "b"]):
            with span("payment", blob=b"\x00\x01", big=-5):
                pass
            raise ValueError("é")

    with pytest.raises(ValueError):
        order()
    assert rvh_trace.flush(10.0), rvh_trace.stats()
    payment, order = collector.spans
    assert order["attributes"] == {"items": 2, "ok": True, "price": 1.5, "tags": ["a", "b"]}
    assert payment["attributes"] == {"blob": b"\x00\x01", "big": -5}
    assert payment["parent_span_id"] == order["span_id"]
    assert payment["trace_id"] == order["trace_id"]
    assert order["parent_span_id"] is None
    assert order["status"] == 2
    ((name, attributes),) = order["events"]
    assert (name, attributes["exception.message"]) == ("exception", "é")
    assert 0 < order["start"] <= payment["start"] <= payment["end"] <= order["end"]
    (resource,) = collector.resources
    assert resource["service.name"] == "shop"
    assert resource["deployment.environment.name"] == "test"
    ((path, headers),) = collector.requests
    assert path == "/v1/traces"
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["x-team"] == "a"


def test_the_resource_says_who_records(collector, monkeypatch):
    import os

    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=mine,team=a%2Cb")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    rvh_trace.init_tracing(endpoint=collector.endpoint, resource={"team": "c"})
    with span("s"):
        pass
    assert rvh_trace.flush(10.0)
    resource = collector.resources[0]
    assert resource["process.pid"] == os.getpid()
    assert resource["process.runtime.name"] == sys.implementation.name
    assert resource["process.runtime.version"].startswith("3.")
    assert resource["process.executable.name"].startswith("python")
    assert (resource["host.name"], resource["team"]) == ("mine", "c")
    assert (resource["service.name"], resource["telemetry.sdk.language"]) == ("shop", "python")


def test_the_official_messages_decode_it(collector):
    trace_service = pytest.importorskip(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
        reason="opentelemetry-proto is not installed",
    )
    bodies = []
    collector.decode = bodies.append
    rvh_trace.init_tracing(endpoint=collector.endpoint)
    with span("s", a=1, level="error"):
        pass
    assert rvh_trace.flush(10.0)
    message = trace_service.ExportTraceServiceRequest.FromString(bodies[0])
    (sent,) = message.resource_spans[0].scope_spans[0].spans
    assert (sent.name, sent.kind, sent.attributes[0].value.int_value) == ("s", 1, 1)
    assert message.resource_spans[0].scope_spans[0].scope.name == "rvh_trace"


def test_gzip(collector, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    rvh_trace.init_tracing()
    with span("s", text="x" * 1000):
        pass
    assert rvh_trace.flush(10.0)
    assert collector.requests[0][1]["content-encoding"] == "gzip"
    assert collector.spans[0]["attributes"] == {"text": "x" * 1000}


def test_a_busy_collector_is_asked_again(collector):
    collector.answers = [(503, {"retry-after": "0"}, b""), (429, {"retry-after": "0"}, b"")]
    rvh_trace.init_tracing(endpoint=collector.endpoint)
    with span("s"):
        pass
    assert rvh_trace.flush(10.0)
    assert len(collector.requests) == 3
    assert rvh_trace.stats()["exported"] == 1


def test_a_refusal_is_not_repeated(collector):
    collector.answers = [(400, {}, b"")]
    rvh_trace.init_tracing(endpoint=collector.endpoint, headers={"authorization": "hunter2"})
    with span("s"):
        pass
    assert rvh_trace.flush(10.0)
    stats = rvh_trace.stats()
    assert (len(collector.requests), stats["failed"]) == (1, 1)
    assert "HTTP 400" in stats["last_error"]
    assert "hunter2" not in stats["last_error"]


def test_partial_success_is_counted(collector):
    # ExportTraceServiceResponse{partial_success{rejected_spans: 1, error_message: "no"}}
    collector.answers = [(200, {}, b"\x0a\x06\x08\x01\x12\x02no")]
    rvh_trace.init_tracing(endpoint=collector.endpoint)
    for _ in range(3):
        with span("s"):
            pass
    assert rvh_trace.flush(10.0)
    stats = rvh_trace.stats()
    assert (stats["exported"], stats["failed"]) == (2, 1)


def test_a_dead_collector_does_not_hold_up_the_exit():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code = (
            "import rvh_trace, time\n"
            f"rvh_trace.init_tracing(endpoint='http://127.0.0.1:{silent.getsockname()[1]}')\n"
            "with rvh_trace.span('s'): pass\n"
            "started = time.monotonic()\n"
            "assert not rvh_trace.shutdown(0.2)\n"
            "print(time.monotonic() - started < 2)\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
    assert result.stdout.strip() == "True"


class GrpcCollector:
    """An OTLP/gRPC collector. `answers` are given in turn, each by a function of the call."""

    def __init__(self, credentials=None):
        grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
        service = pytest.importorskip(
            "opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc",
            reason="opentelemetry-proto is not installed",
        )
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        self.calls, self.answers = [], []
        collector = self

        class Collect(service.TraceServiceServicer):
            def Export(self, request, context):
                collector.calls.append((request, dict(context.invocation_metadata())))
                answer = collector.answers.pop(0)(context) if collector.answers else None
                return answer or trace_service_pb2.ExportTraceServiceResponse()

        self.server = grpc.server(ThreadPoolExecutor(2))
        service.add_TraceServiceServicer_to_server(Collect(), self.server)
        if credentials is None:
            port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.endpoint = f"{'http' if credentials is None else 'https'}://localhost:{port}"
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        rvh_trace.reset()
        self.server.stop(None)


def test_grpc():
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    with GrpcCollector() as collector:
        collector.answers = [lambda call: call.abort(grpc.StatusCode.UNAVAILABLE, "not yet")]
        rvh_trace.init_tracing(
            protocol="grpc", endpoint=collector.endpoint, headers={"X-Team": "a"}
        )
        with span("outer", a=1), span("inner"):
            pass
        assert rvh_trace.flush(20.0), rvh_trace.stats()
        assert rvh_trace.stats()["exported"] == 2
    assert len(collector.calls) == 2
    request, metadata = collector.calls[1]
    spans = request.resource_spans[0].scope_spans[0].spans
    assert [item.name for item in spans] == ["inner", "outer"]
    assert spans[0].parent_span_id == spans[1].span_id
    assert metadata["x-team"] == "a"


def test_grpc_is_asked_again_only_when_the_collector_says_so():
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    details = pytest.importorskip("google.rpc.error_details_pb2", reason="no google.rpc messages")
    status = pytest.importorskip("google.rpc.status_pb2", reason="no google.rpc messages")

    def exhausted(call, *, again):
        if again:
            retry = details.RetryInfo()
            retry.retry_delay.FromMilliseconds(1)
            message = status.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
            message.details.add().Pack(retry)
            call.set_trailing_metadata([("grpc-status-details-bin", message.SerializeToString())])
        call.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")

    with GrpcCollector() as collector:
        collector.answers = [functools.partial(exhausted, again=True)] * 2
        rvh_trace.init_tracing(protocol="grpc", endpoint=collector.endpoint)
        with span("again"):
            pass
        assert rvh_trace.flush(20.0), rvh_trace.stats()
        assert (rvh_trace.stats()["exported"], len(collector.calls)) == (1, 3)
        collector.answers = [functools.partial(exhausted, again=False)]
        with span("refused"):
            pass
        assert rvh_trace.flush(20.0), rvh_trace.stats()
        stats = rvh_trace.stats()
        assert (stats["exported"], stats["failed"], len(collector.calls)) == (1, 1, 4)
        assert "ResourceExhausted" in stats["last_error"]


def test_partial_success_over_grpc_is_counted():
    with GrpcCollector() as collector:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        answer = trace_service_pb2.ExportTraceServiceResponse()
        answer.partial_success.rejected_spans = 1
        answer.partial_success.error_message = "no"
        collector.answers = [lambda _: answer]
        rvh_trace.init_tracing(protocol="grpc", endpoint=collector.endpoint)
        for _ in range(3):
            with span("s"):
                pass
        assert rvh_trace.flush(20.0)
        stats = rvh_trace.stats()
        assert (stats["exported"], stats["failed"]) == (2, 1)


@pytest.mark.parametrize("mutual", [False, True])
def test_grpc_over_tls_with_an_authority_of_ones_own(monkeypatch, tmp_path, mutual):
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    trustme = pytest.importorskip("trustme", reason="trustme is not installed")
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    credentials = grpc.ssl_server_credentials(
        [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())],
        root_certificates=authority.cert_pem.bytes() if mutual else None,
        require_client_auth=mutual,
    )
    if mutual:
        client = authority.issue_cert("client.example")
        client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
        client.private_key_pem.write_to_path(tmp_path / "client.key")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(tmp_path / "client.pem"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(tmp_path / "client.key"))
    with GrpcCollector(credentials) as collector:
        monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "100")
        rvh_trace.init_tracing(protocol="grpc", endpoint=collector.endpoint)
        with span("not trusted"):
            pass
        assert rvh_trace.flush(10.0)
        assert rvh_trace.stats()["failed"] == 1

        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
        monkeypatch.delenv("OTEL_BSP_EXPORT_TIMEOUT")
        rvh_trace.init_tracing(protocol="grpc", endpoint=collector.endpoint, reconfigure=True)
        with span("trusted"):
            pass
        assert rvh_trace.flush(10.0)
        assert rvh_trace.stats()["exported"] == 1, rvh_trace.stats()
    ((request, _),) = collector.calls
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "trusted"


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_with_an_authority_of_ones_own(collector, monkeypatch, tmp_path, mutual):
    trustme = pytest.importorskip("trustme", reason="trustme is not installed")
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    if mutual:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        client = authority.issue_cert("client.example")
        client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
        client.private_key_pem.write_to_path(tmp_path / "client.key")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(tmp_path / "client.pem"))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(tmp_path / "client.key"))
    collector.server.socket = context.wrap_socket(collector.server.socket, server_side=True)
    endpoint = collector.endpoint.replace("http://127.0.0.1", "https://localhost")

    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "100")
    rvh_trace.init_tracing(endpoint=endpoint)
    with span("not trusted"):
        pass
    assert rvh_trace.flush(10.0)
    assert rvh_trace.stats()["failed"] == 1
    assert "certificate" in rvh_trace.stats()["last_error"].lower()

    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
    monkeypatch.delenv("OTEL_BSP_EXPORT_TIMEOUT")
    rvh_trace.init_tracing(endpoint=endpoint, reconfigure=True)
    with span("trusted"):
        pass
    assert rvh_trace.flush(10.0)
    assert rvh_trace.stats()["exported"] == 1, rvh_trace.stats()
    assert [item["name"] for item in collector.spans] == ["trusted"]


def test_a_certificate_that_cannot_be_read_is_a_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "none.pem"))
    with pytest.raises(ValueError, match="OTEL_EXPORTER_OTLP_CERTIFICATE"):
        rvh_trace.init_tracing(endpoint="https://localhost:1")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_headers_are_in_no_error(protocol):
    secret = {"authorization": "hunter2"}
    rvh_trace.init_tracing(protocol=protocol, headers=secret)
    with pytest.raises(RuntimeError) as differing:
        rvh_trace.init_tracing(protocol=protocol, headers={"authorization": "hunter3"})
    with pytest.raises(ValueError) as not_sent:
        rvh_trace.init_tracing(
            protocol=protocol, headers={"authorization": "hunter2\nx"}, reconfigure=True
        )
    assert "authorization" in str(not_sent.value)
    for error in (differing, not_sent):
        assert "hunter" not in str(error.value)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("half", ["CERTIFICATE", "KEY"])
def test_half_of_a_client_certificate_is_a_clear_error(monkeypatch, protocol, half):
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_CLIENT_{half}", "client.pem")
    with pytest.raises(ValueError, match="give both"):
        rvh_trace.init_tracing(endpoint="https://localhost:1", protocol=protocol)


def test_an_endpoint_of_the_environment_holds_for_a_protocol_that_is_given(monkeypatch):
    with GrpcCollector() as collector:
        address = collector.endpoint.removeprefix("http://")
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "true")
        rvh_trace.init_tracing(exporter="otlp", protocol="grpc")
        with span("s"):
            pass
        assert rvh_trace.flush(20.0)
        assert rvh_trace.stats()["exported"] == 1, rvh_trace.stats()
    assert len(collector.calls) == 1

"""Against the OpenTelemetry Collector, which is the reference for what a collector takes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import rvh_trace
from rvh_trace import span

pytestmark = pytest.mark.slow
PROTOCOLS = {"grpc": "grpc", "http": "http/protobuf"}


@pytest.fixture(scope="session")
def program():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        import opentelemetry_collector
    try:
        return opentelemetry_collector, opentelemetry_collector.build()
    except opentelemetry_collector.CannotBuild as error:
        pytest.skip(str(error))


@pytest.fixture
def start(program, tmp_path):
    """Start a collector; all are stopped after the test."""
    module, path = program
    started = []

    def start(**options):
        folder = tmp_path / f"collector {len(started)}"
        folder.mkdir()
        started.append(module.OpenTelemetryCollector(path, folder, **options))
        return started[-1]

    yield start
    rvh_trace.reset()
    for collector in started:
        collector.stop()


def value(wrapped):
    """An AnyValue of OTLP JSON."""
    ((kind, inner),) = wrapped.items()
    readers = {
        "stringValue": str,
        "boolValue": bool,
        "intValue": int,
        "doubleValue": float,
        "bytesValue": str,
        "arrayValue": lambda array: [value(item) for item in array["values"]],
    }
    return readers[kind](inner)


def attributes(pairs):
    return {pair["key"]: value(pair["value"]) for pair in pairs}


def resources(batches):
    return [
        attributes(resource["resource"]["attributes"])
        for batch in batches
        for resource in batch["resourceSpans"]
    ]


def spans(batches):
    """All spans, by name."""
    return {item["name"]: item for item in every_span(batches)}


def every_span(batches):
    return [
        item
        for batch in batches
        for resource in batch["resourceSpans"]
        for scope in resource["scopeSpans"]
        for item in scope["spans"]
    ]


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_the_collector_writes_is_what_was_recorded(start, monkeypatch, protocol, compression):
    collector = start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    rvh_trace.init_tracing(
        endpoint=collector.endpoints[protocol],
        protocol=PROTOCOLS[protocol],
        service_name="shop",
        resource={"deployment.environment.name": "test"},
    )
    remote = rvh_trace.extract(
        {
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate": "vendor=1",
        }
    )
    with remote, span("order", items=2, ok=True, price=1.5, tags=["a", "é"]) as order:
        with pytest.raises(ValueError), span("payment", blob=b"\x00\x01", big=-5) as payment:
            raise ValueError("no such card")
        order.add_event("packed", {"boxes": 3})
        order.add_link(payment, {"why": "test"})
        order.set_kind("server")
        order.set_status("ok")
    assert rvh_trace.flush(30.0), rvh_trace.stats()
    batches = collector.stop()

    assert rvh_trace.stats()["exported"] == 2
    (resource,) = resources(batches)
    assert resource["service.name"] == "shop"
    assert resource["deployment.environment.name"] == "test"
    assert resource["process.pid"] == os.getpid()
    assert batches[0]["resourceSpans"][0]["scopeSpans"][0]["scope"]["name"] == "rvh_trace"
    received = spans(batches)
    got = received["order"]
    start_time, end_time = int(got.pop("startTimeUnixNano")), int(got.pop("endTimeUnixNano"))
    (event,) = got.pop("events")
    assert attributes(got.pop("attributes")) == {
        "items": 2,
        "ok": True,
        "price": 1.5,
        "tags": ["a", "é"],
    }
    (link,) = got.pop("links")
    assert attributes(link.pop("attributes")) == {"why": "test"}
    assert link.pop("flags", 0) & 0xFF == 1
    assert link.pop("traceState", "vendor=1") == "vendor=1"
    assert link == {"traceId": payment.trace_id, "spanId": payment.span_id}
    # Bit 0: sampled; bits 8 and 9: the parent is known to be in another process.
    assert got.pop("flags") == 0x301
    assert got == {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": order.span_id,
        "parentSpanId": "b7ad6b7169203331",
        "traceState": "vendor=1",
        "name": "order",
        "kind": 2,
        "status": {"code": 1},
    }
    assert event["name"] == "packed"
    assert attributes(event["attributes"]) == {"boxes": 3}
    assert start_time <= int(event["timeUnixNano"]) <= end_time

    got = received["payment"]
    assert start_time <= int(got.pop("startTimeUnixNano"))
    assert int(got.pop("endTimeUnixNano")) <= end_time
    (event,) = got.pop("events")
    assert attributes(got.pop("attributes")) == {"blob": "AAE=", "big": -5}
    assert got.pop("flags") == 0x101
    assert got == {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": payment.span_id,
        "parentSpanId": order.span_id,
        "traceState": "vendor=1",
        "name": "payment",
        "kind": 1,
        "status": {"code": 2, "message": "ValueError: no such card"},
    }
    assert event["name"] == "exception"
    described = attributes(event["attributes"])
    assert described["exception.type"] == "ValueError"
    assert described["exception.message"] == "no such card"
    assert 'raise ValueError("no such card")' in described["exception.stacktrace"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_hundred_thousand_spans_arrive_once_each(start, monkeypatch, protocol):
    collector = start()
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "200000")
    rvh_trace.init_tracing(
        endpoint=collector.endpoints[protocol], protocol=PROTOCOLS[protocol], service_name="many"
    )
    recorded = set()
    for number in range(100_000):
        with span("work", number=number) as opened:
            recorded.add((number, opened.span_id))
    assert rvh_trace.flush(120.0), rvh_trace.stats()
    stats = rvh_trace.stats()
    assert (stats["exported"], stats["dropped"], stats["failed"]) == (100_000, 0, 0)
    received = [
        (attributes(item["attributes"])["number"], item["spanId"])
        for item in every_span(collector.stop())
    ]
    assert len(received) == 100_000
    assert set(received) == recorded


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_recorded_before_the_collector_is_up_arrives(start, protocol):
    # Bound and not listening: nobody else is given the port, and the collector may share it.
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        rvh_trace.init_tracing(
            endpoint=f"http://127.0.0.1:{port}", protocol=PROTOCOLS[protocol], timeout=5
        )
        with span("early"):
            pass
        assert not rvh_trace.flush(0.3)
        assert str(port) in rvh_trace.stats()["last_error"]
        collector = start(ports={protocol: port})
        assert rvh_trace.flush(60.0), rvh_trace.stats()
        assert rvh_trace.stats()["exported"] == 1
        assert list(spans(collector.stop())) == ["early"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_collector_that_cannot_take_it_now_is_asked_again(start, monkeypatch, protocol):
    # It answers 503, or UNAVAILABLE, which the specification says to repeat.
    collector = start(exporter="otlp_http")
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "3000")
    rvh_trace.init_tracing(
        endpoint=collector.endpoints[protocol], protocol=PROTOCOLS[protocol], service_name="shop"
    )
    with span("refused"):
        pass
    assert not rvh_trace.flush(0.5), "it was refused for good"
    assert rvh_trace.stats()["failed"] == 0
    assert rvh_trace.flush(30.0)
    stats = rvh_trace.stats()
    assert (stats["exported"], stats["failed"]) == (0, 1)
    assert {"http": "HTTP 503", "grpc": "Unavailable"}[protocol] in stats["last_error"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tls_with_certificates_on_both_sides(start, monkeypatch, tmp_path, protocol):
    trustme = pytest.importorskip("trustme", reason="trustme is not installed")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("localhost", "client.example"):
        issued = authority.issue_cert(name)
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    collector = start(
        tls={
            "cert_file": str(tmp_path / "localhost.pem"),
            "key_file": str(tmp_path / "localhost.key"),
            "client_ca_file": str(tmp_path / "ca.pem"),
        }
    )

    def send(name):
        rvh_trace.init_tracing(
            endpoint=collector.endpoints[protocol],
            protocol=PROTOCOLS[protocol],
            reconfigure=True,
        )
        with span(name):
            pass
        assert rvh_trace.flush(30.0)
        return rvh_trace.stats()

    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "500")
    assert send("an authority that is not trusted")["failed"] == 1
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
    assert send("no certificate of the client's")["failed"] == 1
    monkeypatch.delenv("OTEL_BSP_EXPORT_TIMEOUT")
    client = tmp_path / "client.example"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", f"{client}.pem")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", f"{client}.key")
    stats = send("trusted")
    assert stats["exported"] == 1, stats
    assert list(spans(collector.stop())) == ["trusted"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_doctor_reaches_it(start, protocol):
    collector = start()
    result = subprocess.run(
        [sys.executable, "-m", "rvh_trace", "doctor", "--endpoint", collector.endpoints[protocol]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"OTEL_EXPORTER_OTLP_PROTOCOL": PROTOCOLS[protocol]},
    )
    assert result.returncode == 0, result.stderr
    assert len(every_span(collector.stop())) == 1


def test_opentelemetrys_own_code_arrives_over_our_provider(start):
    api = pytest.importorskip("opentelemetry.trace", reason="opentelemetry-api is not installed")
    from rvh_trace.opentelemetry import TracerProvider

    collector = start()
    rvh_trace.init_tracing(endpoint=collector.endpoints["grpc"], protocol="grpc")
    tracer = TracerProvider().get_tracer("library", "1.2")
    with tracer.start_as_current_span("query", kind=api.SpanKind.CLIENT, attributes={"rows": 7}):
        pass
    assert rvh_trace.flush(30.0)
    batches = collector.stop()
    (query,) = every_span(batches)
    assert (query["name"], query["kind"], attributes(query["attributes"])) == (
        "query",
        3,
        {"rows": 7},
    )
    scope = batches[0]["resourceSpans"][0]["scopeSpans"][0]["scope"]
    assert scope == {"name": "library", "version": "1.2"}

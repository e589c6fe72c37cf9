"""What the tests share: a clean tracer for each, and a collector that decodes what arrives."""

import gzip
import http.server
import struct
import threading
from collections import defaultdict

import pytest

import rvh_trace


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith(("OTEL_", "RVH_TRACE_")):
            monkeypatch.delenv(name)
    rvh_trace.reset()
    yield
    rvh_trace.reset()


@pytest.fixture
def memory():
    """Tracing to memory; called, it gives the finished spans by name."""
    rvh_trace.init_tracing("trace", exporter="memory")
    return lambda: {span.name: span for span in rvh_trace.finished_spans()}


def wire(data):
    """A protobuf message as {field number: [raw value, ...]}, with no schema and no library."""
    fields, at = defaultdict(list), 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        elif kind == 1:
            value, at = data[at : at + 8], at + 8
        elif kind == 2:
            size = varint()
            value, at = data[at : at + size], at + size
        else:
            assert kind == 5, f"wire type {kind}"
            value, at = data[at : at + 4], at + 4
        fields[key >> 3].append(value)
    return fields


def any_value(data):
    """An OTLP AnyValue (opentelemetry/proto/common/v1/common.proto)."""
    fields = wire(data)
    readers = {
        1: lambda raw: raw.decode(),
        2: bool,
        3: lambda raw: raw - (1 << 64) if raw >> 63 else raw,
        4: lambda raw: struct.unpack("<d", raw)[0],
        5: lambda raw: [any_value(value) for value in wire(raw)[1]],
        7: bytes,
    }
    return next((readers[number](values[0]) for number, values in fields.items()), None)


def attributes(messages):
    pairs = [wire(message) for message in messages]
    return {pair[1][0].decode(): any_value(pair[2][0]) for pair in pairs}


class Collector:
    """An OTLP/HTTP collector. `answers` are given in turn, then 200."""

    def __init__(self):
        self.requests, self.answers, self.spans, self.resources = [], [], [], []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests.append((self.path, dict(self.headers)))
                status, headers, answer = (
                    collector.answers.pop(0) if collector.answers else (200, {}, b"")
                )
                if status == 200:
                    if self.headers.get("content-encoding") == "gzip":
                        body = gzip.decompress(body)
                    collector.decode(body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def decode(self, body):
        for resource_spans in map(wire, wire(body)[1]):
            self.resources.append(attributes(wire(resource_spans[1][0])[1]))
            for scope_spans in map(wire, resource_spans[2]):
                for span in map(wire, scope_spans[2]):
                    self.spans.append(
                        {
                            "trace_id": span[1][0].hex(),
                            "span_id": span[2][0].hex(),
                            "parent_span_id": span[4][0].hex() if span[4] else None,
                            "name": span[5][0].decode() if span[5] else "",
                            "start": struct.unpack("<Q", span[7][0])[0],
                            "end": struct.unpack("<Q", span[8][0])[0],
                            "attributes": attributes(span[9]),
                            "events": [
                                (event[2][0].decode(), attributes(event[3]))
                                for event in map(wire, span[11])
                            ],
                            "status": (wire(span[15][0])[3] or [0])[0],
                        }
                    )

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    rvh_trace.reset()
    collector.close()

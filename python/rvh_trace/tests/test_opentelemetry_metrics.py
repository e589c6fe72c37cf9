"""What the pipeline says of itself, as OpenTelemetry's own SDK collects it."""

import os
import subprocess
import sys
import textwrap

import pytest

import rvh_trace
from rvh_trace import span

pytest.importorskip("opentelemetry.sdk.metrics", reason="opentelemetry-sdk is not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from rvh_trace import opentelemetry_metrics


def collected(reader):
    """Return values by name and `error.type`, the other attributes by name, and what adds up."""
    values, attributes, monotonic = {}, {}, set()
    for of_resource in reader.get_metrics_data().resource_metrics:
        for scope in of_resource.scope_metrics:
            assert (scope.scope.name, scope.scope.version) == ("rvh_trace", rvh_trace.__version__)
            for metric in scope.metrics:
                assert metric.unit == "{span}"
                if metric.data.is_monotonic:
                    monotonic.add(metric.name)
                for point in metric.data.data_points:
                    others = dict(point.attributes)
                    values[metric.name, others.pop("error.type", None)] = point.value
                    attributes[metric.name] = others
    return values, attributes, monotonic


@pytest.fixture
def reader():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    opentelemetry_metrics.register(provider)
    # Nothing is counted twice.
    opentelemetry_metrics.register(provider)
    yield reader
    provider.shutdown()


def test_every_span_is_in_one_of_the_counts(reader, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")

    class Exporter:
        def export(self, spans):
            if any(item.name == "refused" for item in spans):
                raise OSError("disk")

    rvh_trace.init_tracing(exporter=Exporter())
    for name in ("fine", "fine", "refused"):
        with span(name):
            pass
        assert rvh_trace.flush(20.0)
    with span("open"):
        values, attributes, monotonic = collected(reader)
    assert values == {
        ("otel.sdk.span.live", None): 1,
        ("otel.sdk.processor.span.queue.size", None): 0,
        ("otel.sdk.processor.span.queue.capacity", None): 8,
        ("otel.sdk.processor.span.processed", None): 3,
        ("otel.sdk.processor.span.processed", "queue_full"): 0,
        ("otel.sdk.exporter.span.exported", None): 2,
        ("otel.sdk.exporter.span.exported", "_OTHER"): 1,
    }
    assert monotonic == {"otel.sdk.processor.span.processed", "otel.sdk.exporter.span.exported"}
    assert attributes["otel.sdk.span.live"] == {"otel.span.sampling_result": "RECORD_AND_SAMPLE"}
    assert attributes["otel.sdk.exporter.span.exported"] == {
        "otel.component.type": "rvh_trace.custom",
        "otel.component.name": "rvh_trace.custom/0",
    }
    for name in ("queue.size", "queue.capacity", "processed"):
        assert attributes[f"otel.sdk.processor.span.{name}"] == {
            "otel.component.type": "batching_span_processor",
            "otel.component.name": "batching_span_processor/0",
        }


def test_a_full_queue_is_told(reader, monkeypatch):
    import threading

    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    gate, started = threading.Event(), threading.Event()

    class Slow:
        def export(self, spans):
            started.set()
            gate.wait(20)

    rvh_trace.init_tracing(exporter=Slow())
    while not started.is_set():
        with span("s"):
            pass
    for _ in range(5):
        with span("s"):
            pass
    values, _, _ = collected(reader)
    gate.set()
    assert values["otel.sdk.processor.span.queue.size", None] == 2
    assert values["otel.sdk.processor.span.processed", "queue_full"] >= 3


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [("grpc", "otlp_grpc_span_exporter"), ("http/protobuf", "otlp_http_span_exporter")],
)
def test_the_exporters_are_called_as_the_conventions_say(reader, protocol, kind):
    rvh_trace.init_tracing(protocol=protocol)
    _, attributes, _ = collected(reader)
    assert attributes["otel.sdk.exporter.span.exported"]["otel.component.type"] == kind


def test_without_a_pipeline_there_is_no_exporter(reader):
    values, _, _ = collected(reader)
    assert {name for name, _ in values} == {
        "otel.sdk.span.live",
        "otel.sdk.processor.span.queue.size",
        "otel.sdk.processor.span.processed",
    }
    assert set(values.values()) == {0}


@pytest.mark.parametrize(("variable", "expected"), [("true", "1"), ("false", "0")])
def test_the_variable_of_opentelemetrys_sdk_asks_for_them(variable, expected):
    code = """
        import rvh_trace
        rvh_trace.init_tracing(exporter="none")
        # The program may choose its meter provider later, and set tracing up again.
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([reader]))
        rvh_trace.init_tracing("debug", exporter="none", reconfigure=True)
        with rvh_trace.span("s"):
            pass
        rvh_trace.flush()
        data = reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics if data else []
        exported = [
            point.value
            for scope in scopes
            for metric in scope.metrics
            if metric.name == "otel.sdk.exporter.span.exported"
            for point in metric.data.data_points
            if "error.type" not in point.attributes
        ]
        print(sum(exported))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": variable},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == expected
    assert result.stderr == ""

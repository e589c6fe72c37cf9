"""What ``stats()`` counts, as metrics of OpenTelemetry's API.

Named and described as its conventions for the metrics of an SDK say, so that what watches an SDK
watches this pipeline too: https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/

- ``otel.sdk.span.live``: spans of Python code that have begun and not ended.
- ``otel.sdk.processor.span.queue.size``: spans that wait for export.
- ``otel.sdk.processor.span.queue.capacity``: spans that may wait.
- ``otel.sdk.processor.span.processed``: spans that left the queue, and with ``error.type`` of
  ``queue_full`` those that found no place in it.
- ``otel.sdk.exporter.span.exported``: spans that were delivered, and with ``error.type`` of
  ``_OTHER`` those that the exporter could not deliver.

``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=true`` lets ``init_tracing`` register them. The counts
begin anew where the pipeline does, by ``reconfigure=True`` and in the child of a fork. Needs the
package ``opentelemetry-api``; who collects and sends is the meter provider's affair.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakSet

from opentelemetry import metrics
from opentelemetry.metrics import Observation

from rvh_trace import __version__, _native

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import CallbackOptions, MeterProvider

_PROCESSOR = {
    "otel.component.type": "batching_span_processor",
    "otel.component.name": "batching_span_processor/0",
}


def _count(name: str) -> int:
    count = _native.stats()[name]
    return count if isinstance(count, int) else 0


def _live(_: CallbackOptions) -> Iterable[Observation]:
    yield Observation(_count("live"), {"otel.span.sampling_result": "RECORD_AND_SAMPLE"})


def _queue_size(_: CallbackOptions) -> Iterable[Observation]:
    yield Observation(_count("queue_depth"), _PROCESSOR)


def _queue_capacity(_: CallbackOptions) -> Iterable[Observation]:
    found = _native.exporter_and_capacity()
    if found is not None:
        yield Observation(found[1], _PROCESSOR)


def _processed(_: CallbackOptions) -> Iterable[Observation]:
    done = _count("exported") + _count("failed") + _count("sampled_out")
    yield Observation(done, _PROCESSOR)
    yield Observation(_count("dropped"), {**_PROCESSOR, "error.type": "queue_full"})


def _exported(_: CallbackOptions) -> Iterable[Observation]:
    found = _native.exporter_and_capacity()
    if found is None:
        return
    exporter = {"otel.component.type": found[0], "otel.component.name": f"{found[0]}/0"}
    yield Observation(_count("exported"), exporter)
    # Partly the collector's rejections, partly what did not reach it: the pipeline does not tell.
    yield Observation(_count("failed"), {**exporter, "error.type": "_OTHER"})


_observed: WeakSet[MeterProvider] = WeakSet()


def register(meter_provider: MeterProvider | None = None) -> None:
    """Let a meter provider observe the pipeline; twice is as good as once.

    Parameters
    ----------
    meter_provider
        The global one of OpenTelemetry's API unless given, be it set before or afterwards.

    Examples
    --------
    >>> from rvh_trace import opentelemetry_metrics
    >>> opentelemetry_metrics.register()
    """
    if meter_provider is None:
        _register_globally()
    elif meter_provider not in _observed:
        _observed.add(meter_provider)
        _observe(meter_provider)


@cache
def _register_globally() -> None:
    # Until one is set, the API gives a stand-in, which hands all on.
    _observe(metrics.get_meter_provider())


def _observe(meter_provider: MeterProvider) -> None:
    meter = meter_provider.get_meter("rvh_trace", __version__)
    meter.create_observable_up_down_counter(
        "otel.sdk.span.live", [_live], "{span}", "Spans that have begun and not ended"
    )
    meter.create_observable_up_down_counter(
        "otel.sdk.processor.span.queue.size", [_queue_size], "{span}", "Spans that wait for export"
    )
    meter.create_observable_up_down_counter(
        "otel.sdk.processor.span.queue.capacity", [_queue_capacity], "{span}", "Spans that may wait"
    )
    meter.create_observable_counter(
        "otel.sdk.processor.span.processed", [_processed], "{span}", "Spans that left the queue"
    )
    meter.create_observable_counter(
        "otel.sdk.exporter.span.exported", [_exported], "{span}", "Spans whose export has finished"
    )

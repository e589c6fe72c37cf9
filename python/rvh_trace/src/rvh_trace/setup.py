"""Setting the tracer up and shutting it down."""

from __future__ import annotations

import os
import sys
import warnings

from rvh_trace import _native

TYPE_CHECKING = False  # as type checkers know it; see current.py
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rvh_trace._native import FinishedSpan, LiveSpan
    from rvh_trace.exporter import SpanExporter
    from rvh_trace.sampling import SamplingRule


def init_tracing(
    level: str | int = "info",
    *,
    service_name: str | None = None,
    exporter: str | SpanExporter | None = None,
    endpoint: str | None = None,
    protocol: str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    file: str | os.PathLike[str] | None = None,
    sampler: str | float | None = None,
    sampling_rules: Sequence[SamplingRule] = (),
    rate_limit: float | None = None,
    tail_ratio: float | None = None,
    tail_slower_than: float | None = None,
    resource: Mapping[str, object] | None = None,
    redact_defaults: bool = True,
    redact_keys: Sequence[str] = (),
    redact_values: Sequence[str] = (),
    reconfigure: bool = False,
) -> None:
    """Set up tracing. Before this call spans are no-ops.

    What is not given comes from the standard ``OTEL_*`` variables, then from OpenTelemetry's
    defaults. A second call with equal settings does nothing.

    Parameters
    ----------
    level
        The least level that is recorded: trace, debug, info, warn, error, or off; or a level of
        ``logging``, such as ``logging.INFO``.
    service_name
        What the backend shows these spans under.
    exporter
        ``"otlp"`` (the default), ``"console"``, ``"file"``, ``"memory"`` (see ``finished_spans``),
        ``"none"`` (record and discard), or an object with ``export(spans)`` and, if it has to close
        anything, ``shutdown()``: a ``SpanExporter``.
    endpoint
        The collector's URL, such as ``http://localhost:4318``, or ``http://localhost:4317`` for
        gRPC.
    protocol
        ``"http/protobuf"`` (the default) or ``"grpc"``.
    headers
        Sent with every request to the collector; never shown in logs or errors.
    timeout
        Seconds that one request may take.
    file
        Where the exporter ``"file"`` writes: OTLP JSON, a line a batch, which ``rvh_trace view``
        shows. At 64 MiB it is moved to ``FILE.1``, and three old ones are kept. It implies this
        exporter where neither ``exporter`` nor ``OTEL_TRACES_EXPORTER`` names another.
    sampler
        A name as in ``OTEL_TRACES_SAMPLER``, or the part of the traces to record, 0.0 to 1.0.
    sampling_rules
        Which spans are recorded, by name and attributes: the first ``SamplingRule`` that matches
        decides, and ``sampler`` where none does.
    rate_limit
        At most so many new traces a second are recorded.
    tail_ratio
        The part of the recorded traces that is sent when nothing is remarkable about them: a trace
        is decided when its first span has ended, and always sent with an error in it. 0.0 when
        only ``tail_slower_than`` is given; without either every trace is sent.
    tail_slower_than
        Seconds; a trace with a span that takes as long is always sent.
    resource
        Attributes that all spans of the process share.
    redact_defaults
        Whether the values of attributes whose keys speak of passwords, tokens, keys, cookies and
        the like are replaced by ``[redacted]`` before any exporter sees them.
    redact_keys
        Patterns (regular expressions) of further keys of this kind.
    redact_values
        Patterns of what is replaced inside of text values.
    reconfigure
        Replace earlier settings; what was recorded under them is flushed first.

    Raises
    ------
    ValueError, TypeError
        A setting cannot be used; the message says what to write.
    RuntimeError
        Tracing is already set up with other settings, and ``reconfigure`` is false.

    Examples
    --------
    >>> import rvh_trace
    >>> rvh_trace.init_tracing("debug", exporter="memory", service_name="shop", reconfigure=True)
    """
    from rvh_trace import lifecycle, log_records

    _check_types(service_name, exporter, headers, resource)
    name, argument = _sampler(sampler)
    ignored = _native.install(
        level=level,
        service_name=service_name,
        exporter=exporter if isinstance(exporter, str) else None,
        exporter_object=None if isinstance(exporter, str) else exporter,
        endpoint=endpoint,
        protocol=protocol,
        headers=None if headers is None else list(headers.items()),
        timeout=timeout,
        file=file,
        sampler=name,
        sampler_argument=argument,
        sampling_rules=[(rule.name, rule.patterns(), float(rule.ratio)) for rule in sampling_rules],
        rate_limit=rate_limit,
        tail_ratio=tail_ratio,
        tail_slower_than=tail_slower_than,
        runtime={
            "process.runtime.name": sys.implementation.name,
            "process.runtime.version": ".".join(map(str, sys.implementation.version[:3])),
        },
        resource=resource,
        redact_defaults=redact_defaults,
        redact_keys=list(redact_keys),
        redact_values=list(redact_values),
        reconfigure=reconfigure,
    )
    _native.initialise_by_first_span(None)
    log_records.install()
    for sentence in ignored:
        warnings.warn(sentence, RuntimeWarning, stacklevel=2)
    lifecycle.register()
    # OpenTelemetry's own SDK for Python asks the same variable.
    if os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").strip().lower() == "true":
        _register_metrics()


def _register_metrics() -> None:
    try:
        from rvh_trace import opentelemetry_metrics
    except ImportError as error:
        warnings.warn(
            "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED = true is ignored: it needs the package "
            f"opentelemetry-api ({error})",
            RuntimeWarning,
            stacklevel=3,
        )
    else:
        opentelemetry_metrics.register()


def init_from_environment() -> None:
    """Set tracing up by the environment alone, unless it is set up.

    The first span calls this where ``RVH_TRACE_AUTO=1`` or
    ``OTEL_PYTHON_TRACER_PROVIDER=rvh_trace`` is set.
    """
    if not _native.is_set_up():
        init_tracing(_level())


_LEVELS = ("trace", "debug", "info", "warn", "warning", "error", "critical", "fatal", "off")


def _level() -> str:
    level = os.environ.get("RVH_TRACE_LEVEL", "").strip() or "info"
    if level.lower() in _LEVELS:
        return level
    warnings.warn(
        f"RVH_TRACE_LEVEL = {level!r} cannot be used and is ignored: use one of trace, debug, "
        "info, warn, error, off",
        RuntimeWarning,
        stacklevel=3,
    )
    return "info"


def _check_types(service_name: object, exporter: object, headers: object, resource: object) -> None:
    """Say by its name which setting has a type that cannot be used."""
    if not isinstance(service_name, str | None):
        raise TypeError(f"service_name = {service_name!r} cannot be used: give a text")
    if not isinstance(exporter, str | None) and not callable(getattr(exporter, "export", None)):
        raise TypeError(
            f"exporter = {exporter!r} cannot be used: give otlp, console, file, memory, none, or "
            "an object with export(spans)"
        )
    if headers is not None and not hasattr(headers, "items"):
        # They hold secrets, so they are not shown.
        raise TypeError("headers cannot be used: give a mapping of names to values")
    if resource is not None and not hasattr(resource, "items"):
        raise TypeError(f"resource = {resource!r} cannot be used: give a mapping")


def _sampler(sampler: str | float | None) -> tuple[str | None, str | None]:
    if sampler is None:
        return None, None
    if isinstance(sampler, str):
        return sampler, _sampler_argument() if sampler.strip().endswith("traceidratio") else None
    if not 0.0 <= sampler <= 1.0:
        raise ValueError(f"sampler = {sampler!r} cannot be used: give a number from 0.0 to 1.0")
    return "parentbased_traceidratio", str(float(sampler))


def _sampler_argument() -> str | None:
    text = os.environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    try:
        # Rust reads neither underscores nor other digits.
        usable = not text or (text.isascii() and "_" not in text and 0.0 <= float(text) <= 1.0)
    except ValueError:
        usable = False
    if usable:
        return text or None
    warnings.warn(
        f"OTEL_TRACES_SAMPLER_ARG = {text!r} cannot be used and is ignored: give a number from "
        "0.0 to 1.0",
        RuntimeWarning,
        stacklevel=4,
    )
    return None


if (
    os.environ.get("RVH_TRACE_AUTO") == "1"
    or os.environ.get("OTEL_PYTHON_TRACER_PROVIDER") == "rvh_trace"
):
    _native.initialise_by_first_span(init_from_environment)


def flush(timeout: float = 5.0) -> bool:
    """Export what is queued; false when it takes longer than ``timeout`` seconds."""
    return _native.flush(timeout)


def shutdown(timeout: float = 2.0) -> bool:
    """Export what is queued and end tracing; spans are no-ops afterwards.

    False when it takes longer than ``timeout`` seconds: what is left is then given up.
    """
    return _native.shutdown(timeout)


def reset() -> None:
    """Forget all settings and everything that was recorded: for tests."""
    _native.shutdown(0.0)


def finished_spans() -> list[FinishedSpan]:
    """All spans that ended so far, oldest first, when the exporter is ``"memory"``."""
    return _native.finished_spans()


def live_spans() -> list[LiveSpan]:
    """All spans of Python code that have begun and not ended, oldest first, on whatever thread.

    Each is a copy: name, identifiers, start (nanoseconds since 1970), attributes so far, and the
    thread that began it. Spans that are not sampled are not among them, nor are those of Rust code.

    >>> import rvh_trace
    >>> rvh_trace.init_tracing(exporter="memory", reconfigure=True)
    >>> with rvh_trace.span("order", items=2):
    ...     [live] = rvh_trace.live_spans()
    >>> live.name, live.attributes, live.thread_name
    ('order', {'items': 2}, 'MainThread')
    >>> rvh_trace.live_spans()
    []
    """
    import threading

    return _native.live_spans(
        {t.ident: t.name for t in threading.enumerate() if t.ident is not None}
    )


def stats() -> dict[str, int | str | None]:
    """Count what has happened since ``init_tracing``.

    ``recorded``, ``exported``, ``dropped`` (the queue was full), ``failed`` (the exporter could not
    deliver), ``sampled_out`` (not kept by the tail rules), ``coerced`` (values recorded as text),
    ``queue_depth``, ``live`` (spans of Python code that have begun and not ended) and
    ``last_error``. The same as metrics: ``rvh_trace.opentelemetry_metrics``.
    """
    return _native.stats()

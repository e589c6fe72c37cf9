"""Which spans are recorded, by their names and by the attributes that they begin with."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class SamplingRule:
    """A rule for ``init_tracing(sampling_rules=[...])``; the first that matches a span decides.

    In patterns ``*`` stands for any text and ``?`` for one character; case counts.

    A span below one that is not recorded is not recorded either, whatever the rules say. The spans
    below one that a rule leaves out follow it, as long as ``sampler`` is parent-based, which it is
    unless set otherwise.

    Parameters
    ----------
    name
        A pattern of span names; None for every name.
    attributes
        Patterns of values by key: the span must begin with all of these attributes. Numbers are
        compared as they are written, 2.0 as ``2``, truth values as ``true`` and ``false``.
    ratio
        The part of the spans that is recorded, 0.0 to 1.0, chosen by trace identifier.

    Examples
    --------
    >>> import rvh_trace
    >>> rvh_trace.init_tracing(
    ...     exporter="memory",
    ...     sampling_rules=[
    ...         rvh_trace.SamplingRule(name="GET /health*", ratio=0.0),
    ...         rvh_trace.SamplingRule(attributes={"tenant": "test-?"}, ratio=0.0),
    ...     ],
    ...     reconfigure=True,
    ... )
    >>> for name, tenant in [("GET /healthz", "a"), ("GET /", "test-1"), ("GET /", "a")]:
    ...     with rvh_trace.span(name, tenant=tenant):
    ...         pass
    >>> [(span.name, span.attributes) for span in rvh_trace.finished_spans()]
    [('GET /', {'tenant': 'a'})]
    """

    name: str | None = None
    attributes: Mapping[str, str | bool | float] = field(default_factory=dict)
    ratio: float

    def patterns(self) -> list[tuple[str, str]]:
        """Return keys and patterns; a value that is no text matches itself."""
        return [(key, _written(value)) for key, value in self.attributes.items()]


def _written(value: str | bool | float) -> str:
    """Return a value as the tracer writes those of spans: a float has no exponent and no ``.0``."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(float(value))
    return format(Decimal(repr(float(value))), "f").removesuffix(".0")

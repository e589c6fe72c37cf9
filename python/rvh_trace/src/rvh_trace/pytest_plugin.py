"""A pytest plugin: the fixture ``spans``.

::

    def test_order(spans):
        place_order()
        spans.assert_tree('''
            order
              payment
              shipping
        ''')
        assert spans["payment"].attributes["method"] == "card"

The fixture sets tracing up in memory, at level trace, for one test, and takes it down afterwards.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rvh_trace import FinishedSpan


class Spans:
    """The spans that a test has finished so far."""

    def all(self) -> list[FinishedSpan]:
        """Every span, in the order in which they ended."""
        import rvh_trace

        return rvh_trace.finished_spans()

    def named(self, name: str) -> list[FinishedSpan]:
        """Every span of this name."""
        return [span for span in self.all() if span.name == name]

    def __getitem__(self, name: str) -> FinishedSpan:
        """Return the one span of this name; it fails when there is none, or more than one."""
        found = self.named(name)
        if len(found) != 1:
            names = ", ".join(sorted({span.name for span in self.all()})) or "none"
            pytest.fail(f"{len(found)} spans are named {name!r}; the spans that ended: {names}")
        return found[0]

    def __len__(self) -> int:
        return len(self.all())

    def __iter__(self) -> Iterator[FinishedSpan]:
        return iter(self.all())

    def tree(self) -> str:
        """Return the names, indented by two blanks a level, siblings in the order they began."""
        children: dict[str | None, list[FinishedSpan]] = defaultdict(list)
        spans = self.all()
        known = {span.span_id for span in spans}
        for span in spans:
            children[span.parent_span_id if span.parent_span_id in known else None].append(span)
        lines: list[str] = []
        waiting = [(span, 0) for span in sorted(children[None], key=_start, reverse=True)]
        while waiting:
            span, depth = waiting.pop()
            lines.append("  " * depth + span.name)
            below = sorted(children[span.span_id], key=_start, reverse=True)
            waiting += [(child, depth + 1) for child in below]
        return "\n".join(lines)

    def assert_tree(self, expected: str) -> None:
        """Compare ``tree`` to a text, whose common indentation and blank lines do not count."""
        lines = textwrap.dedent(expected).splitlines()
        wanted = "\n".join(line.rstrip() for line in lines if line.strip())
        assert self.tree() == wanted  # noqa: S101 - it is an assertion for tests


def _start(span: FinishedSpan) -> int:
    return span.start


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Record all spans of the test in memory."""
    import rvh_trace

    rvh_trace.init_tracing("trace", exporter="memory", sampler="always_on", reconfigure=True)
    yield Spans()
    rvh_trace.reset()

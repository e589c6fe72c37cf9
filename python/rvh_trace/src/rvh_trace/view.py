"""Showing the spans of a file of OTLP JSON lines: as a tree of text, or as a page of HTML.

The page is one file that needs neither network nor script. Names and values come from whoever was
traced, so every one of them is escaped.
"""

from __future__ import annotations

import base64
import html
import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.tree import Tree


@dataclass
class ViewedSpan:
    """A span as it was read from a file; times in nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start: int
    end: int
    service: str
    attributes: dict[str, object]
    failed: bool
    message: str
    events: list[tuple[str, dict[str, object]]]
    children: list[ViewedSpan] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return (self.end - self.start) / 1e6


class ViewError(Exception):
    """The file cannot be shown; the message says why."""


def _value(value: dict[str, Any]) -> object:
    if not value:
        return None
    kind, inner = next(iter(value.items()))
    if kind == "intValue":
        return int(inner)
    if kind == "bytesValue":
        return base64.b64decode(inner)
    if kind == "arrayValue":
        return [_value(item) for item in inner.get("values", [])]
    return inner


def _attributes(pairs: list[dict[str, Any]]) -> dict[str, object]:
    return {str(pair["key"]): _value(pair.get("value") or {}) for pair in pairs}


def read(path: Path) -> list[ViewedSpan]:
    """Read all spans of a file, in the order in which they began.

    Incomplete lines, as processes leave that were killed, are left out.
    """
    spans: list[ViewedSpan] = []
    broken: list[int] = []
    try:
        # Bytes: a killed process may leave half a character, and text has more ends of lines.
        lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    except OSError as error:
        raise ViewError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            message = json.loads(line.decode("utf-8"))
        except ValueError:
            broken.append(number)
            continue
        try:
            spans.extend(_spans(message))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _no_spans(path, min([*broken, number])) from error
    # All lines but the last are incomplete in no file that the exporter has written.
    if not spans and broken and broken != [len(lines)]:
        raise _no_spans(path, broken[0])
    return sorted(spans, key=lambda span: span.start)


def _no_spans(path: Path, number: int) -> ViewError:
    return ViewError(
        f"{path}, line {number}, is not OTLP JSON: was it written by the exporter 'file'?"
    )


def _spans(message: dict[str, Any]) -> Iterator[ViewedSpan]:
    for resource_spans in message["resourceSpans"]:
        resource = _attributes((resource_spans.get("resource") or {}).get("attributes", []))
        for scope_spans in resource_spans.get("scopeSpans", []):
            for span in scope_spans.get("spans", []):
                status = span.get("status") or {}
                yield ViewedSpan(
                    trace_id=str(span["traceId"]),
                    span_id=str(span["spanId"]),
                    parent_span_id=str(span.get("parentSpanId") or ""),
                    name=str(span.get("name", "")),
                    start=int(span["startTimeUnixNano"]),
                    end=int(span["endTimeUnixNano"]),
                    service=str(resource.get("service.name", "")),
                    attributes=_attributes(span.get("attributes", [])),
                    failed=status.get("code") in (2, "STATUS_CODE_ERROR"),
                    message=str(status.get("message") or ""),
                    events=[
                        (str(event.get("name", "")), _attributes(event.get("attributes", [])))
                        for event in span.get("events", [])
                    ],
                )


def roots(spans: list[ViewedSpan]) -> list[ViewedSpan]:
    """Hang each span below its parent and return those that have none in the file."""
    known = {(span.trace_id, span.span_id): span for span in spans}
    tops: list[ViewedSpan] = []
    for span in spans:
        parent = known.get((span.trace_id, span.parent_span_id))
        # A span that names itself, as only a forged file has, would hang in the air.
        (tops if parent is None or parent is span else parent.children).append(span)
    return tops


def _walk(tops: list[ViewedSpan]) -> Iterator[tuple[ViewedSpan, int]]:
    waiting = [(span, 0) for span in reversed(tops)]
    while waiting:
        span, depth = waiting.pop()
        yield span, depth
        waiting.extend((child, depth + 1) for child in reversed(span.children))


def _one_line(text: str) -> str:
    """Escape what could move the cursor or fake a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def tree(spans: list[ViewedSpan]) -> str:
    """Return the spans as indented lines: duration, name, attributes, what failed."""
    lines: list[str] = []
    trace = None
    for span, depth in _walk(roots(spans)):
        if depth == 0 and span.trace_id != trace:
            trace = span.trace_id
            lines.append(f"trace {_one_line(trace)} {_one_line(span.service)}".rstrip())
        shown = " ".join(f"{key}={value!r}" for key, value in span.attributes.items())
        failed = f" FAILED {span.message}" if span.failed else ""
        text = f"{span.name} {shown}{failed}"
        lines.append(f"{span.milliseconds:>10.3f} ms {'  ' * depth}{_one_line(text).rstrip()}")
    return "\n".join(lines)


def rich_trees(spans: list[ViewedSpan]) -> list[Tree]:
    """Return the spans as trees for a terminal, one for each trace. Needs the package ``rich``."""
    from rich.text import Text
    from rich.tree import Tree

    by_trace: dict[str, list[ViewedSpan]] = defaultdict(list)
    for top in roots(spans):
        by_trace[top.trace_id].append(top)
    trees: list[Tree] = []
    for trace_id, tops in by_trace.items():
        # Text, not a string: rich would read marks of its own in what was traced.
        heading = Text(f"trace {_one_line(trace_id)} ", style="bold")
        trees.append(Tree(heading.append(_one_line(tops[0].service), style="not bold cyan")))
        branches = [trees[-1]]
        for span, depth in _walk(tops):
            line = Text(_one_line(span.name), style="bold red" if span.failed else "bold")
            line.append(f" {span.milliseconds:.3f} ms", style="not bold green")
            for key, value in span.attributes.items():
                line.append(f" {_one_line(key)}=", style="not bold dim")
                line.append(_one_line(repr(value)), style="not bold")
            if span.failed:
                line.append(f" FAILED {_one_line(span.message)}", style="not bold red")
            del branches[depth + 1 :]
            branches.append(branches[depth].add(line))
    return trees


_STYLE = """
body{font:14px system-ui,sans-serif;margin:1.5em;color:#1b1f24;background:#fff}
h1{font-size:1.2em}h2{font:600 .95em ui-monospace,monospace;margin:1.6em 0 .4em}
details{border-top:1px solid #e5e8eb}summary{display:flex;align-items:center;cursor:pointer}
.n{flex:0 0 42%;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;padding:.25em 0}
.t{flex:0 0 8em;text-align:right;padding-right:1em;font-variant-numeric:tabular-nums}
.b{flex:1;position:relative;height:.8em;background:#f2f4f6}
.b i{position:absolute;top:0;bottom:0;background:#2f6fde;min-width:2px}
.f .n{color:#b3261e;font-weight:600}.f .b i{background:#b3261e}
pre,td{font:12px ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
table{margin:.2em 0 .8em 1.5em;border-collapse:collapse}
td{padding:.1em .8em .1em 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#15181c;color:#e3e6e9}details{border-color:#30363d}
.b{background:#22272d}}
"""


def _rows(pairs: dict[str, object]) -> str:
    return "".join(
        f"<tr><td>{html.escape(key)}<td>{html.escape(str(value))}" for key, value in pairs.items()
    )


def page(spans: list[ViewedSpan], title: str) -> str:
    """Return the spans as one page of HTML, a waterfall for each trace."""
    # The policy forbids scripts and every load, should an escape ever be forgotten.
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none';",
        "style-src 'unsafe-inline'\">",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(title)}</h1><p>{len(spans)} spans",
    ]
    by_trace: dict[str, list[ViewedSpan]] = defaultdict(list)
    for span in spans:
        by_trace[span.trace_id].append(span)
    for trace_id, members in by_trace.items():
        start = min(span.start for span in members)
        whole = max(1, max(span.end for span in members) - start)
        service = html.escape(members[0].service)
        parts.append(f"<h2>{html.escape(trace_id)} {service}</h2>")
        for span, depth in _walk(roots(members)):
            left = 100 * (span.start - start) / whole
            width = 100 * max(0, span.end - span.start) / whole
            failed = " class=f" if span.failed else ""
            parts.append(
                f"<details{failed}><summary>"
                f"<span class=n style='padding-left:{1.2 * min(depth, 30):.1f}em'>"
                f"{html.escape(span.name)}</span><span class=t>{span.milliseconds:.3f} ms</span>"
                f"<span class=b><i style='left:{left:.2f}%;width:{width:.2f}%'></i></span>"
                f"</summary><table>{_rows({'span': span.span_id, **span.attributes})}"
            )
            if span.message:
                parts.append(_rows({"failed": span.message}))
            for name, attributes in span.events:
                parts.append(_rows({f"event {name}": "", **attributes}))
            parts.append("</table></details>")
    return "\n".join(parts) + "</html>\n"

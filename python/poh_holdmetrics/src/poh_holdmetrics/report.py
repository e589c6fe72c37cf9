"""A report with pictures: one HTML file with inline SVG that opens offline.

Leaderboard, one holder's timeline, and holders over time. The page loads nothing and runs nothing;
ids are untrusted, so they are shown as text only, shortened where they are long. Every chart has a
description for screen readers and the same numbers as a table below it.
"""

from __future__ import annotations

import bisect
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from poh_holdmetrics import chart, whole_file
from poh_holdmetrics._native import HoldMetricsError, build_info
from poh_holdmetrics.chart import Bar, Span, Words, amount, duration, instant_text
from poh_holdmetrics.printable import printable, short

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from os import PathLike

    from poh_holdmetrics._native import Boost, Holds, Scores, Table
    from poh_holdmetrics.typing import Id, Instant, Overlap, Record

__all__ = ["holders_over_time", "html", "leaderboard", "timeline", "write"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #566073; --line: #d5dae3;
  --paper: #ffffff; --link: #1f5a9d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf1; --soft: #a5afc0; --line: #38414f;
  --paper: #14181f; --link: #8dbcf0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.5rem 0 0.5rem; }
p, figcaption, caption { color: var(--soft); } caption { text-align: left; }
figure { margin: 0; } svg { width: 100%; height: auto; display: block; }
.skip { position: absolute; left: -99rem; } .skip:focus { position: static; }
a, summary { color: var(--link); } summary { cursor: pointer; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.75rem 0.25rem 0;
  text-align: left; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media print { details > * { display: block; } .skip { display: none; } }
"""
# Nothing is loaded and nothing runs, whatever an id says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_LANES = 16
"""Tokens that a timeline shows."""
_SPANS = 400
"""Holds that a timeline shows."""
_POINTS = 1_000
"""Instants that a chart over time is drawn from, where there are more changes."""
_ROWS = 100
"""Rows that the table of a chart over time has."""


def html(
    holds: Holds,
    *,
    at: Instant | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    overlap: Overlap = "sum",
    boost: Boost | None = None,
    top: int = 20,
    holder: Id | None = None,
    title: str = "Hold-time report",
) -> str:
    """Make the report as one HTML page; in a notebook ``IPython.display.HTML`` shows it.

    Parameters
    ----------
    holds
        The holds that are reported on.
    at, start, end, overlap, boost
        The question, as of `Holds.score`.
    top
        Rows of the leaderboard.
    holder
        Whose timeline is shown; None for the first of the leaderboard.
    title
        The heading.

    Returns
    -------
    str
        A whole page, that loads nothing.

    Raises
    ------
    HoldMetricsError
        When `start` is after `end` or `at`: there is no time to draw.

    Examples
    --------
    >>> from poh_holdmetrics import Holds, report
    >>> holds = Holds([{"holder_id": "<script>", "token_id": "t", "start": 0}])
    >>> page = report.html(holds, at=60)
    >>> "<script>" in page, "&lt;script&gt;" in page
    (False, True)
    """
    scores = holds.score(at=at, start=start, end=end, overlap=overlap, boost=boost)
    until: Instant = scores.at if at is None else at
    first = scores.top_n(max(top, 1)).to_pylist()
    window = _Window.of(scores)

    page = ET.Element("html", {"lang": "en"})
    head = _add(page, "head")
    _add(head, "meta", charset="utf-8")
    _add(head, "meta", **{"http-equiv": "Content-Security-Policy", "content": _POLICY})
    _add(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _add(head, "meta", name="generator", content=f"poh_holdmetrics {build_info()['version']}")
    _add(head, "title", printable(title))
    _add(head, "style", _STYLE + chart.STYLE)
    body = _add(page, "body")
    _add(body, "a", "Skip to the leaderboard", href="#leaderboard", **{"class": "skip"})
    header = _add(body, "header")
    _add(header, "h1", printable(title))
    _add(
        header,
        "p",
        f"{len(holds):,} holds by {len(scores):,} holders, as of {instant_text(window.at)}.",
    )
    main = _add(body, "main")
    _leaderboard_section(main, first[:top], len(scores))
    wanted = holder if holder is not None else next((row["holder_id"] for row in first), None)
    if wanted is not None:
        _timeline_section(main, holds, str(wanted), window)
    _over_time_section(main, holds.holders_over_time(at=until), window)
    _question_section(main, scores, boost)
    return "<!DOCTYPE html>\n" + ET.tostring(page, encoding="unicode", method="html") + "\n"


def write(
    holds: Holds,
    path: str | PathLike[str],
    *,
    at: Instant | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    overlap: Overlap = "sum",
    boost: Boost | None = None,
    top: int = 20,
    holder: Id | None = None,
    title: str = "Hold-time report",
) -> None:
    """Write the report to a file, which is there whole or not at all; arguments as of `html`."""
    page = html(
        holds,
        at=at,
        start=start,
        end=end,
        overlap=overlap,
        boost=boost,
        top=top,
        holder=holder,
        title=title,
    )
    with whole_file.writing(Path(path)) as file:
        file.write(page)


def leaderboard(scores: Scores, top: int = 20) -> str:
    """Draw the highest scores as an SVG file.

    Examples
    --------
    >>> from poh_holdmetrics import report, score
    >>> scores = score([{"holder_id": "alice", "token_id": "t", "start": 0}], at=60)
    >>> report.leaderboard(scores).startswith("<svg")
    True
    """
    return chart.standalone(_leaderboard(scores.top_n(top).to_pylist(), len(scores)))


def timeline(holds: Holds, holder_id: Id, *, at: Instant) -> str:
    """Draw what one holder held, a lane for each token, as an SVG file."""
    window = _Window.of(holds.snapshot(at=at))
    return chart.standalone(_Timeline(holds, str(holder_id), window).draw())


def holders_over_time(holds: Holds, *, at: Instant) -> str:
    """Draw how many holders hold anything, over time, as an SVG file."""
    window = _Window.of(holds.snapshot(at=at))
    return chart.standalone(_over_time(_changes(holds.holders_over_time(at=at), window)))


class _Window:
    """The stretch of time that a report is about, in microseconds; `start` may be None."""

    def __init__(self, start: int | None, end: int, at: int) -> None:
        self.start = start
        self.end = end
        self.at = at

    @classmethod
    def of(cls, scores: Scores) -> _Window:
        asked = scores._parameters()
        start, at = asked["start_us"], asked["at_us"]
        end = at if asked["end_us"] is None else min(asked["end_us"], at)
        if start is not None and start > end:
            message = (
                f"a report from {instant_text(start)} on can't be as of {instant_text(at)}, "
                "which is before; give a start that is not after the instant of the answer"
            )
            raise HoldMetricsError(message)
        return cls(start, end, at)


# ---- Leaderboard -------------------------------------------------------------------------------


def _leaderboard(rows: Sequence[Record], of: int) -> ET.Element:
    shown = [
        Bar(row["holder_id"], row["weighted_score"], amount(row["weighted_score"])) for row in rows
    ]
    told = "; ".join(f"{short(bar.label)}: {bar.shown}" for bar in shown[:5])
    words = Words(
        f"The {len(shown)} highest scores of {of:,} holders",
        f"Horizontal bars, seconds times weight. {told}" if told else "There is no holder.",
    )
    return chart.bars(shown, words)


def _leaderboard_section(main: ET.Element, rows: Sequence[Record], of: int) -> None:
    section = _section(main, "leaderboard", "Leaderboard")
    caption = f"The highest scores, in seconds times weight: {len(rows)} of {of:,} holders."
    _figure(section, _leaderboard(rows, of), caption)
    cells = [
        (
            str(place),
            short(row["holder_id"]),
            str(row["weighted_score_exact"]),
            duration(row["total_seconds"]),
        )
        for place, row in enumerate(rows, 1)
    ]
    _table(section, "Leaderboard", ("#", "holder", "score, exact", "time held"), cells, {0, 2, 3})


# ---- Timeline ----------------------------------------------------------------------------------


class _Timeline:
    """The holds of one holder that are drawn, and how many are not."""

    def __init__(self, holds: Holds, holder_id: str, window: _Window) -> None:
        self.holder_id = holder_id
        self.end = window.end
        rows = holds.to_table(holder_id=holder_id)
        found = [_span(rows[place], window) for place in range(len(rows))]
        inside = [span for span in found if span is not None]
        time_of: dict[str, int] = {}
        for span in inside:
            time_of[span.lane] = time_of.get(span.lane, 0) + span.end - span.start
        kept = set(sorted(time_of, key=lambda token: (-time_of[token], token))[:_LANES])
        most = max((span.strength for span in inside), default=0) or 1
        spans = [
            Span(
                span.lane,
                span.start,
                span.end,
                span.open,
                min(span.strength / most, 1),
                span.shown,
            )
            for span in inside
            if span.lane in kept
        ]
        self.spans = sorted(spans, key=lambda span: (span.start, span.lane))[:_SPANS]
        self.tokens = len(time_of)
        self.holds = len(inside)
        first = min((span.start for span in self.spans), default=window.end)
        self.start = first if window.start is None else window.start

    def draw(self) -> ET.Element:
        told = "; ".join(span.shown for span in self.spans[:5])
        words = Words(
            f"What {short(self.holder_id)} held, and when",
            f"One lane for each of {len({span.lane for span in self.spans})} tokens. {told}",
        )
        return chart.lanes(self.spans, self.start, self.end, words)

    def caption(self) -> str:
        said = f"{self.holds:,} holds of {self.tokens:,} tokens; stronger colour is more weight"
        if len(self.spans) < self.holds:
            said += f"; {len(self.spans):,} holds of the tokens held longest are shown"
        return said + ". An arrow: held on."


def _span(row: Record, window: _Window) -> Span | None:
    start = _micros(row["start"])
    end = None if row["end"] is None else _micros(row["end"])
    low = start if window.start is None else max(start, window.start)
    high = window.end if end is None else min(end, window.end)
    if high <= low:
        return None
    until = "now held" if end is None else f"to {instant_text(end)}"
    shown = f"{short(row['token_id'])}, {instant_text(start)} {until}, weight {row['weight']}"
    is_open = end is None or end > window.end
    return Span(row["token_id"], low, high, is_open, float(row["weight"]), shown)


def _timeline_section(main: ET.Element, holds: Holds, holder_id: str, window: _Window) -> None:
    drawn = _Timeline(holds, holder_id, window)
    section = _section(main, "timeline", f"Timeline of {short(holder_id)}")
    _figure(section, drawn.draw(), drawn.caption())
    cells = [
        (short(span.lane), instant_text(span.start), _until(span), span.shown.rpartition(" ")[2])
        for span in drawn.spans
    ]
    _table(section, "Timeline", ("token", "from", "until", "weight"), cells, {3})


def _until(span: Span) -> str:
    return "held on" if span.open else instant_text(span.end)


# ---- Holders over time -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Changes:
    """How many holders there are within a window, from `start` to `end`."""

    points: list[tuple[int, int]]
    """Pairs of instant and count, which stays until the next one."""
    start: int
    end: int
    left_out: bool
    """There are more changes than are drawn."""


def _changes(table: Table, window: _Window) -> _Changes:
    def instant(place: int) -> int:
        return _micros(table[place]["instant"])

    def count(place: int) -> int:
        return int(table[place]["holders"]) if place >= 0 else 0

    rows = len(table)
    first = window.start
    if first is None:  # nothing may have begun by the window's end
        first = min(instant(0), window.end) if rows else window.end
    before = bisect.bisect_right(range(rows), first, key=instant) - 1
    after = bisect.bisect_left(range(rows), window.end, key=instant)
    left_out = after - before > _POINTS
    if not left_out:
        points = [(instant(place), count(place)) for place in range(before + 1, after)]
    else:
        # The state at so many instants, as the rule of windows says it.
        step = max((window.end - first) // _POINTS, 1)
        at = range(first + step, window.end, step)
        points = [
            (micros, count(bisect.bisect_right(range(rows), micros, key=instant) - 1))
            for micros in at
        ]
    drawn = [(first, count(before)), *points] if rows else []
    return _Changes(drawn, first, window.end, left_out)


def _over_time(changes: _Changes) -> ET.Element:
    most = max((count for _, count in changes.points), default=0)
    last = changes.points[-1][1] if changes.points else 0
    words = Words(
        "Holders over time",
        f"A line of steps from {instant_text(changes.start)} to {instant_text(changes.end)}: "
        f"at most {most:,} holders at once, {last:,} at the end.",
    )
    return chart.steps(changes.points, changes.start, changes.end, words)


def _over_time_section(main: ET.Element, table: Table, window: _Window) -> None:
    changes = _changes(table, window)
    points = changes.points
    section = _section(main, "over-time", "Holders over time")
    most = max((count for _, count in points), default=0)
    said = f"At most {most:,} holders at once."
    if changes.left_out:
        said += f" Counted at {len(points):,} instants; there are more changes."
    thinned = points[:: -(-len(points) // _ROWS) or 1]
    if len(thinned) < len(points):
        said += f" The table has {len(thinned):,} of the {len(points):,} instants drawn."
    _figure(section, _over_time(changes), said)
    cells = [(instant_text(micros), f"{count:,}") for micros, count in thinned]
    _table(section, "Holders over time", ("from", "holders"), cells, {1})


# ---- The page ----------------------------------------------------------------------------------


def _question_section(main: ET.Element, scores: Scores, boost: Boost | None) -> None:
    section = _section(main, "question", "How this was computed")
    asked = scores._parameters()
    facts = {
        "at": f"{instant_text(asked['at_us'])} ({asked['at_us']:,} µs since 1970)",
        "from": "the beginning" if asked["start_us"] is None else instant_text(asked["start_us"]),
        "to": "at" if asked["end_us"] is None else instant_text(asked["end_us"]),
        "overlapping holds": asked["overlap"],
        "boost": "none" if boost is None else repr(boost),
        "digits of weights": str(asked["scale"]),
        "version": f"poh_holdmetrics {build_info()['version']}",
    }
    facts_list = _add(section, "dl")
    for name, value in facts.items():
        _add(facts_list, "dt", name)
        _add(facts_list, "dd", value)


def _section(main: ET.Element, name: str, heading: str) -> ET.Element:
    section = _add(main, "section", **{"aria-labelledby": name})
    _add(section, "h2", heading, id=name)
    return section


def _figure(section: ET.Element, svg: ET.Element, caption: str) -> None:
    figure = _add(section, "figure")
    figure.append(svg)
    _add(figure, "figcaption", caption)


def _table(
    section: ET.Element,
    caption: str,
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: set[int],
) -> None:
    details = _add(section, "details")
    _add(details, "summary", "The same as a table")
    label = f"{caption}, as a table"
    # A region that scrolls can be reached by the keyboard.
    region = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": label}
    table = _add(_add(details, "div", **region), "table")
    _add(table, "caption", label)
    kinds = [{"class": "number"} if place in numbers else {} for place in range(len(names))]
    line = _add(_add(table, "thead"), "tr")
    for name, kind in zip(names, kinds, strict=True):
        _add(line, "th", name, scope="col", **kind)
    body = _add(table, "tbody")
    for row in rows:
        line = _add(body, "tr")
        for cell, kind in zip(row, kinds, strict=True):
            _add(_add(line, "td", **kind), "bdi", cell)


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _micros(instant: dt.datetime | float) -> int:
    """Microseconds of what a table shows: epoch seconds where Python's calendar ends."""
    if isinstance(instant, dt.datetime):
        return (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    return round(instant * 1e6)

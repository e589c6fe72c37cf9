"""Charts as SVG: bars, spans of time in lanes, and steps over time.

Each is an element tree, so that no id can become markup. Each has a title and a description for
screen readers, colours for light and dark, and nothing that is loaded from elsewhere.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from poh_holdmetrics.printable import label, short

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STYLE = """
.poh { font: 13px/1.4 system-ui, sans-serif; color-scheme: light dark;
  --ink: #1c2330; --soft: #566073; --line: #d5dae3; --bar: #2f6db5; --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  .poh { --ink: #e8ebf1; --soft: #a5afc0; --line: #38414f; --bar: #6fa8e8; --paper: #14181f; } }
.poh text { fill: var(--ink); } .poh .soft { fill: var(--soft); }
.poh .bar { fill: var(--bar); } .poh .paper { fill: var(--paper); }
.poh .line { stroke: var(--line); stroke-width: 1; fill: none; }
.poh .step { stroke: var(--bar); stroke-width: 2; fill: none; }
.poh .area { fill: var(--bar); fill-opacity: 0.15; }
"""

WIDTH = 860
MARGIN = 16
_LABELS = 250
"""Where bars and lanes start: labels are to the left."""
_LABEL = 26
"""Characters of a label."""
_ROW = 26
_YEAR = 31_556_952_000_000
"""Microseconds of a mean year."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it stands for, its length, and the length in words."""

    label: str
    value: float
    shown: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in a lane, in microseconds since 1970 UTC."""

    lane: str
    start: int
    end: int
    open: bool
    """It has no end yet, and is drawn up to the instant of the answer."""
    strength: float
    """How strong its colour is, 0 to 1."""
    shown: str


@dataclass(frozen=True, slots=True)
class Words:
    """What a screen reader says of a chart."""

    title: str
    description: str


def bars(rows: Sequence[Bar], words: Words) -> ET.Element:
    """Draw horizontal bars, the first one on top."""
    height = MARGIN + max(len(rows), 1) * _ROW + MARGIN
    svg = _svg(height, words)
    longest = max((row.value for row in rows), default=0) or 1
    room = WIDTH - _LABELS - 190
    for place, row in enumerate(rows):
        top = MARGIN + place * _ROW
        group = ET.SubElement(svg, "g")
        ET.SubElement(group, "title").text = f"{short(row.label)}: {row.shown}"
        _text(group, label(row.label, _LABEL), _LABELS - 8, top + 17, anchor="end")
        length = room * (row.value / longest)
        _rect(group, "bar", _LABELS, top + 4, max(length, 1), _ROW - 8, rx="3")
        _text(group, row.shown, _LABELS + max(length, 1) + 8, top + 17, kind="soft")
    if not rows:
        _text(svg, "no rows", MARGIN, MARGIN + 17, kind="soft")
    return svg


def lanes(spans: Sequence[Span], start: int, end: int, words: Words) -> ET.Element:
    """Draw spans of time, a lane for each name, over the window from `start` to `end`."""
    names = list(dict.fromkeys(span.lane for span in spans))
    bottom = MARGIN + max(len(names), 1) * _ROW
    svg = _svg(bottom + 34, words)
    axis = _Axis(start, end, _LABELS, WIDTH - MARGIN)
    _time_axis(svg, axis, MARGIN, bottom)
    for place, name in enumerate(names):
        top = MARGIN + place * _ROW
        _text(svg, label(name, _LABEL), _LABELS - 8, top + 17, anchor="end")
    for span in spans:
        top = MARGIN + names.index(span.lane) * _ROW
        left, right = axis.place(span.start), axis.place(span.end)
        group = ET.SubElement(svg, "g", {"fill-opacity": _number(0.3 + 0.7 * span.strength)})
        ET.SubElement(group, "title").text = span.shown
        _rect(group, "bar", left, top + 5, max(right - left, 1.5), _ROW - 10, rx="2")
        if span.open:
            tip = f"{_number(right)},{top + 2} {_number(right + 8)},{top + _ROW / 2:g}"
            ET.SubElement(
                group,
                "polygon",
                {"class": "bar", "points": f"{tip} {_number(right)},{top + _ROW - 2}"},
            )
    if not spans:
        _text(svg, "no holds in this window", _LABELS, MARGIN + 17, kind="soft")
    return svg


def steps(points: Sequence[tuple[int, int]], start: int, end: int, words: Words) -> ET.Element:
    """Draw a count over time that stays until it changes: pairs of instant and count."""
    top, bottom, left = MARGIN, 240, 84
    svg = _svg(bottom + 34, words)
    axis = _Axis(start, end, left, WIDTH - MARGIN)
    most = max((count for _, count in points), default=0)
    grid = _nice_step(most / 4) if most else 1
    ceiling = max(math.ceil(most / grid) * grid, 1)

    def height(count: float) -> float:
        return bottom - (bottom - top) * (count / ceiling)

    for level in range(int(ceiling / grid) + 1):
        y = height(level * grid)
        _line(svg, left, y, WIDTH - MARGIN, y)
        _text(svg, f"{level * grid:,.0f}", left - 8, y + 4, anchor="end", kind="soft")
    _time_axis(svg, axis, top, bottom)
    if not points:
        _text(svg, "nobody held anything", left + 8, top + 17, kind="soft")
        return svg
    path = [f"M{_number(axis.place(points[0][0]))} {_number(height(0))}"]
    for instant, count in points:
        path += [f"H{_number(axis.place(instant))}", f"V{_number(height(count))}"]
    path.append(f"H{_number(axis.place(end))}")
    ET.SubElement(svg, "path", {"class": "step", "d": " ".join(path)})
    area = f"{' '.join(path)} V{_number(height(0))} Z"
    ET.SubElement(svg, "path", {"class": "area", "d": area})
    return svg


def standalone(svg: ET.Element) -> str:
    """Write a chart as a file of its own."""
    style = ET.Element("style")
    style.text = STYLE
    alone = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **svg.attrib})
    alone.extend([*svg[:2], style])
    ET.SubElement(alone, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    alone.extend(svg[2:])
    ET.indent(alone)
    return ET.tostring(alone, encoding="unicode") + "\n"


def instant_text(micros: int) -> str:
    """Write an instant for a person; outside the years 1 to 9999 only about which year.

    Examples
    --------
    >>> instant_text(1_704_067_200_000_000)
    '2024-01-01 00:00:00 UTC'
    >>> instant_text(400_000_000_000_000_000)
    'about the year 14645'
    """
    moment = _moment(micros)
    if moment is None:
        return f"about the year {1970 + micros // _YEAR}"
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def amount(value: float) -> str:
    """Write a number for a person.

    Examples
    --------
    >>> amount(1234567.0), amount(0.25), amount(3e30)
    ('1,234,567', '0.25', '3e+30')
    """
    if abs(value) >= 1e15:
        return f"{value:.6g}"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1e6 else f"{value:,.6g}"


def duration(seconds: float) -> str:
    """Write a length of time for a person.

    Examples
    --------
    >>> duration(90), duration(86_400 * 400.5)
    ('1 min 30 s', '400 d 12 h')
    """
    whole = int(seconds)
    parts = [
        (whole // 86_400, "d"),
        (whole // 3_600 % 24, "h"),
        (whole // 60 % 60, "min"),
        (whole % 60, "s"),
    ]
    shown = [f"{count:,} {unit}" for count, unit in parts if count][:2]
    return " ".join(shown) or f"{seconds:g} s"


@dataclass(frozen=True, slots=True)
class _Axis:
    """Instants from `start` to `end` on pixels from `left` to `right`."""

    start: int
    end: int
    left: float
    right: float

    def place(self, micros: int) -> float:
        within = min(max(micros, self.start), self.end) - self.start
        return self.left + (self.right - self.left) * (within / max(self.end - self.start, 1))


def _time_axis(svg: ET.Element, axis: _Axis, top: float, bottom: float) -> None:
    _line(svg, axis.left, bottom, axis.right, bottom)
    for micros, said in _ticks(axis.start, axis.end):
        x = axis.place(micros)
        _line(svg, x, top, x, bottom + 4)
        # What would reach over the right edge ends at it.
        anchor = "end" if x > WIDTH - 3 * MARGIN else "middle"
        _text(svg, said, min(x, axis.right), bottom + 20, anchor=anchor, kind="soft")


_LENGTHS = [
    *(seconds * 1_000_000 for seconds in (1, 5, 15, 30, 60, 300, 900, 1_800)),
    *(hours * 3_600_000_000 for hours in (1, 3, 6, 12, 24, 48, 168, 336)),
]


def _ticks(start: int, end: int) -> Iterator[tuple[int, str]]:
    """Three to eight round instants within a window, and what is written at them."""
    length = end - start
    fitting = next((step for step in _LENGTHS if length / step <= 7), None)
    first, last = _moment(start), _moment(end)
    if fitting is not None and first is not None and last is not None:
        form = "%Y-%m-%d" if fitting >= _LENGTHS[12] else "%m-%d %H:%M"
        form = "%H:%M:%S" if fitting < 60_000_000 else form
        for micros in range(-(-start // fitting) * fitting, end + 1, fitting):
            moment = _moment(micros)
            if moment is not None:
                yield micros, f"{moment:{form}}"
    elif first is not None and last is not None:
        months = (last.year - first.year) * 12 + last.month - first.month
        every = next(
            step
            for step in itertools.chain((1, 3, 6), (12 * _nice(n) for n in itertools.count()))
            if months / step <= 7
        )
        month = -(-(first.year * 12 + first.month - 1) // every) * every
        form = "{:04}" if every % 12 == 0 else "{:04}-{:02}"
        while (at := _month(month)) is not None and at <= end:
            if at >= start:
                yield at, form.format(month // 12, month % 12 + 1)
            month += every
    else:
        years = int(_nice_step(length / _YEAR / 5))
        for year in range(-(-start // _YEAR // years) * years, end // _YEAR + 1, max(years, 1)):
            yield year * _YEAR, f"year {1970 + year:,}"


def _nice(place: int) -> int:
    """Count 1, 2, 5, 10, 20, 50, ..."""
    return (1, 2, 5)[place % 3] * int(10 ** (place // 3))


def _nice_step(at_least: float) -> int:
    return next(_nice(place) for place in itertools.count() if _nice(place) >= at_least)


def _month(number: int) -> int | None:
    year, month = divmod(number, 12)
    if not dt.MINYEAR <= year <= dt.MAXYEAR:
        return None
    since = dt.datetime(year, month + 1, 1, tzinfo=dt.UTC) - _EPOCH
    return since // dt.timedelta(microseconds=1)


def _moment(micros: int) -> dt.datetime | None:
    try:
        return _EPOCH + dt.timedelta(microseconds=micros)
    except OverflowError:
        return None


def _svg(height: float, words: Words) -> ET.Element:
    box = f"0 0 {WIDTH} {height:g}"
    svg = ET.Element("svg", {"class": "poh", "viewBox": box, "role": "img"})
    # The title is the name that a screen reader says, the description what it adds.
    ET.SubElement(svg, "title").text = words.title
    ET.SubElement(svg, "desc").text = words.description
    svg.set("aria-label", f"{words.title}. {words.description}")
    return svg


def _text(
    parent: ET.Element, text: str, x: float, y: float, *, anchor: str = "start", kind: str = ""
) -> None:
    attributes = {"x": _number(x), "y": _number(y), "text-anchor": anchor}
    if kind:
        attributes["class"] = kind
    # Ids of right-to-left letters keep their own direction, and turn nothing around them.
    attributes["style"] = "unicode-bidi: isolate"
    ET.SubElement(parent, "text", attributes).text = text


def _rect(
    parent: ET.Element, kind: str, x: float, y: float, width: float, height: float, *, rx: str
) -> None:
    place = {"x": x, "y": y, "width": width, "height": height}
    numbers = {name: _number(value) for name, value in place.items()}
    ET.SubElement(parent, "rect", {"class": kind, **numbers, "rx": rx})


def _line(parent: ET.Element, x1: float, y1: float, x2: float, y2: float) -> None:
    place = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    numbers = {name: _number(value) for name, value in place.items()}
    ET.SubElement(parent, "line", {"class": "line", **numbers})


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")

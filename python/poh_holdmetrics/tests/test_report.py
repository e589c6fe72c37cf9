"""The report: what is in it, what ids can't do to it, and how it looks in a browser."""

import html
import re
import shutil
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poh_holdmetrics import Boost, HoldEvent, HoldMetricsError, Holds, report

DAY = 86_400
EVIL = [
    "<script>document.title = 'taken'</script>",
    "\"'><img src=x onerror=document.title='taken'>",
    "</style><style>body{display:none}",
    "</title></svg></body></html>",
    "nul\x00esc\x1b[2J\u202ereversed",
    "\U0001f469\u200d\U0001f680 \u0645\u0631\u062d\u0628\u0627",
    "x" * 1_000_000,
    "&lt;already&gt; {{7*7}}",
]


class Tags(HTMLParser):
    """The elements of a page; every one that is opened must be closed."""

    VOID = ("meta",)

    def __init__(self, page):
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def evil_holds():
    return Holds(
        [
            HoldEvent(token, holder, DAY * n, None if n % 3 else DAY * (n + 9), n + 1)
            for n, holder in enumerate(EVIL)
            for token in EVIL
        ]
    )


def test_ids_are_text_and_nothing_else():
    page = report.html(evil_holds(), at=100 * DAY, title=EVIL[0])
    tags = Tags(page)
    assert {tag for tag, _ in tags.found}.isdisjoint({"script", "img", "iframe", "link", "object"})
    assert len(tags.of("style")) == 1
    assert len(tags.of("html")) == 1
    names = {name for _, attributes in tags.found for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    assert names.isdisjoint({"src", "xlink:href"})
    assert [attributes["href"] for attributes in tags.of("a")] == ["#leaderboard"]
    # Shown as they are, or as escapes where they could not be seen.
    assert html.escape(EVIL[0], quote=False) in page
    assert "nul\\x00esc\\x1b[2J\\u202ereversed" in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)
    # Long ids are cut, and their length is said.
    assert "(1,000,000 characters)" in page
    assert len(page) < 200_000


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.text(min_size=1), st.text(min_size=1), st.integers(-(10**12), 10**12), st.integers()
        ),
        max_size=6,
    )
)
def test_any_id_and_any_time_makes_a_whole_page(rows):
    holds = Holds(
        [
            HoldEvent(token, holder, start, start + abs(length) % 10**12, abs(length) % 2**100)
            for holder, token, start, length in rows
        ]
    )
    page = report.html(holds, at=10**12)
    Tags(page)
    page.encode("utf-8")
    for number in re.findall(r' (?:x|y|width|height|x1|x2|y1|y2)="([\d.-]+)"', page):
        assert -10 < float(number) < 10_000


def test_for_keyboards_and_screen_readers():
    tags = Tags(report.html(evil_holds(), at=100 * DAY))
    assert tags.of("html")[0]["lang"] == "en"
    assert [svg["role"] for svg in tags.of("svg")] == ["img"] * 3
    assert all(len(svg["aria-label"]) > 40 for svg in tags.of("svg"))
    assert len(tags.of("desc")) == 3
    headings = [attributes["id"] for attributes in tags.of("h2")]
    assert headings == ["leaderboard", "timeline", "over-time", "question"]
    assert [attributes["aria-labelledby"] for attributes in tags.of("section")] == headings
    # Each chart is there as a table too, in a region that the keyboard reaches.
    assert len(tags.of("table")) == len(tags.of("details")) == 3
    regions = [attributes for attributes in tags.of("div") if attributes.get("tabindex") == "0"]
    assert [region["role"] for region in regions] == ["region"] * 3
    assert all(cell["scope"] == "col" for cell in tags.of("th"))


def test_numbers_are_those_of_the_score():
    holds = Holds(
        [
            HoldEvent("t", "alice", 0, 10 * DAY, 3),
            HoldEvent("t", "bob", 5 * DAY, weight="0.5"),
            HoldEvent("u", "alice", 2 * DAY, 4 * DAY),
        ]
    )
    page = report.html(holds, at=20 * DAY, boost=Boost([(2, "1.5")]))
    text = [part for part in Tags(page).text if part.strip()]
    for row in holds.score(at=20 * DAY, boost=Boost([(2, "1.5")])).to_pylist():
        assert row["weighted_score_exact"] in text
    assert "Timeline of alice" in text
    assert "At most 2 holders at once." in text
    assert "1970-01-21 00:00:00 UTC (1,728,000,000,000 µs since 1970)" in text
    bob = report.html(holds, at=20 * DAY, holder="bob", start=6 * DAY, end=8 * DAY)
    assert "Timeline of bob" in bob
    assert "1970-01-07 00:00:00 UTC" in bob


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [HoldEvent("t", "a", 0, 0)],
        [HoldEvent("t", "a", 10**9)],
        [HoldEvent("t", "a", 0, weight=0)],
        [HoldEvent("t", "a", 0, 3 * 10**11)],
        [HoldEvent("t", "a", -(10**12), 10**12, 2**255 // 10**9)],
    ],
    ids=["none", "zero length", "not yet", "weight 0", "10,000 years", "all of time"],
)
def test_tables_with_little_in_them(rows):
    at = 10**12 if rows and rows[0].start_us < 0 else 10**8
    Tags(report.html(Holds(rows), at=at))


def test_many_holds_make_a_page_of_bounded_size():
    count = 60_000
    holds = Holds(
        {
            "holder_id": ["whale" if n % 2 else f"h{n}" for n in range(count)],
            "token_id": [f"t{n % 300}" for n in range(count)],
            "start": [n * 100 for n in range(count)],
            "end": [n * 100 + 5_000 + n % 900 for n in range(count)],
        }
    )
    page = report.html(holds, at=count * 100)
    assert len(page) < 400_000
    assert "30,000 holds of 150 tokens" in page
    assert "400 holds of the tokens held longest are shown" in page


@pytest.mark.parametrize(("count", "rows"), [(40, 80), (50, 100), (60, 60), (499, 100)])
def test_a_table_that_leaves_instants_out_says_so(count, rows):
    """Each hold begins and ends: two instants, one of them the beginning of the drawing."""
    holds = Holds([HoldEvent("t", "a", 10 * n, 10 * n + 5) for n in range(count)])
    tags = Tags(report.html(holds, at=10 * count))
    text = "".join(tags.text)
    assert "At most 1 holders at once." in text
    table = text[text.rindex("The same as a table") : text.index("How this was computed")]
    assert table.count(" UTC") == rows
    said = f"The table has {rows:,} of the {2 * count:,} instants drawn."
    assert (said in text) == (rows < 2 * count)


def test_a_drawing_that_leaves_changes_out_says_so():
    holds = Holds([HoldEvent("t", "a", 10 * n, 10 * n + 5) for n in range(600)])
    said = "Counted at 1,000 instants; there are more changes. The table has 100 of the 1,000"
    assert said in report.html(holds, at=6_000)


@pytest.mark.parametrize("asked", [{"start": 30}, {"start": 30, "end": 40}])
def test_a_report_of_no_time(asked):
    holds = Holds([HoldEvent("t", "a", 0, 5)])
    with pytest.raises(HoldMetricsError, match=r"from 1970-01-01 00:00:30 UTC on can't be as of"):
        report.html(holds, at=20, **asked)
    Tags(report.html(holds, **asked | {"at": 30}))


def test_a_report_that_ends_before_anything_begins():
    holds = Holds([HoldEvent("t", "a", 1_000, 2_000)])
    page = report.html(holds, at=3_000, end=100)
    assert "from 1970-01-01 00:01:40 UTC to 1970-01-01 00:01:40 UTC: at most 0 holders" in page
    numbers = re.findall(r"[MHV](-?[\d.]+)", page)
    assert numbers
    assert all(-10 < float(number) < 10_000 for number in numbers)


def test_pictures_stand_alone(tmp_path):
    holds = evil_holds()
    scores = holds.snapshot(at=100 * DAY)
    for picture in (
        report.leaderboard(scores, 5),
        report.timeline(holds, EVIL[0], at=100 * DAY),
        report.holders_over_time(holds, at=100 * DAY),
    ):
        root = ET.fromstring(picture)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root[0].tag.endswith("title")
        assert "prefers-color-scheme: dark" in picture


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "report.html"
    report.write(evil_holds(), path, at=100 * DAY, top=3)
    assert path.read_text("utf-8") == report.html(evil_holds(), at=100 * DAY, top=3)
    with pytest.raises(OSError, match="can't be written") as caught:
        report.write(evil_holds(), tmp_path / "no" / "report.html")
    assert caught.value.filename == str(tmp_path / "no" / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


# ---- In a browser -------------------------------------------------------------------------------


def browse(page, folder, *options):
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return subprocess.run(
        [program, *flags, f"--user-data-dir={folder}", *options, page.as_uri()],
        capture_output=True,
        timeout=300,
        check=True,
        encoding="utf-8",
    )


def pixels(path):
    """The colours of a PNG file of 8 bits and 3 or 4 channels, by a plain reading of its parts."""
    data, at, packed = path.read_bytes(), 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        part = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", part[:10])
        packed += part if kind == b"IDAT" else b""
        at += 12 + size
    assert depth == 8
    channels = {2: 3, 6: 4}[colour]
    raw, row = zlib.decompress(packed), bytearray(width * channels)
    counts = {}
    for line in range(height):
        start = line * (width * channels + 1)
        kind, above = raw[start], bytes(row)
        row = bytearray(raw[start + 1 : start + 1 + width * channels])
        for i in range(len(row)):
            left = row[i - channels] if i >= channels else 0
            corner = above[i - channels] if i >= channels else 0
            if kind == 1:
                row[i] = row[i] + left & 255
            elif kind == 2:
                row[i] = row[i] + above[i] & 255
            elif kind == 3:
                row[i] = row[i] + (left + above[i]) // 2 & 255
            elif kind == 4:
                guess = left + above[i] - corner
                nearest = min((left, above[i], corner), key=lambda value: abs(guess - value))
                row[i] = row[i] + nearest & 255
        for i in range(0, len(row), channels):
            colour = tuple(row[i : i + 3])
            counts[colour] = counts.get(colour, 0) + 1
    return counts


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="looks for Debian's chromium")
def test_in_a_browser(tmp_path):
    page = tmp_path / "report.html"
    report.write(evil_holds(), page, at=100 * DAY)
    seen = browse(page, tmp_path / "profile", "--dump-dom").stdout
    title = re.search(r"<title>(.*?)</title>", seen)
    assert title is not None
    assert title[1] == "Hold-time report"  # no id ran as a script
    assert seen.count("<svg") == 3
    assert seen.count("<script") == 0
    looks = {}
    for name, scheme in (("dark", 0), ("light", 1)):
        shot = tmp_path / f"{name}.png"
        browse(
            page,
            tmp_path / f"profile-{name}",
            f"--blink-settings=preferredColorScheme={scheme}",
            "--window-size=1000,1600",
            f"--screenshot={shot}",
        )
        looks[name] = pixels(shot)
    paper = {"dark": (0x14, 0x18, 0x1F), "light": (0xFF, 0xFF, 0xFF)}
    bar = {"dark": (0x6F, 0xA8, 0xE8), "light": (0x2F, 0x6D, 0xB5)}
    for name, counts in looks.items():
        assert max(counts, key=counts.get) == paper[name]
        assert counts.get(bar[name], 0) > 20_000, name  # the bars are there, in their colour
        # Words and lines: many other colours, by their smooth edges.
        assert len(counts) > 50
    assert Path(page).stat().st_size < 200_000

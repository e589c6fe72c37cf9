"""The results of a matrix for each of its readers: terminal, log, CI, browser, GitHub."""

from __future__ import annotations

import html
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from labchannel.installed import CANNOT, FAILED, PASSED, Result
from labchannel.matrix import MatrixReport

_COLOURS = {PASSED: "green", FAILED: "red", CANNOT: "yellow"}
_SIGNS = {PASSED: "✅", FAILED: "❌", CANNOT: "⚪"}


def table(report: MatrixReport) -> Table:
    """The table for a terminal."""
    made = Table("package", "system", "Python", "result", "seconds", "", box=None)
    for result in report.results:
        row = result.row
        status = Text(result.status, _COLOURS.get(result.status, "yellow"))
        made.add_row(row.package, row.platform, row.python, status, _seconds(result), result.detail)
    return made


def lines(report: MatrixReport) -> list[str]:
    """One line a row, for a log."""
    rows = report.results
    width = max([len(result.row.package) for result in rows], default=0)
    system = max([len(result.row.platform) for result in rows], default=0)
    return [
        f"{r.row.package:{width}}  {r.row.platform:{system}}  {r.row.python:4}  "
        f"{r.status:15}  {_seconds(r):>6}  {r.detail}".rstrip()
        for r in rows
    ]


def as_json(report: MatrixReport) -> dict[str, object]:
    """The results as JSON types: `rows`, `notes`, `seconds`, `counts`."""
    rows = []
    for result in report.results:
        row = asdict(result)
        row |= {"package": result.row.package, "platform": result.row.platform}
        row |= {"python": result.row.python}
        del row["row"], row["bits"]
        rows.append(row)
    statuses = dict.fromkeys(result.status for result in report.results)
    return {
        "rows": rows,
        "notes": list(report.notes),
        "seconds": report.seconds,
        "counts": {status: report.count(status) for status in statuses},
    }


def junit(report: MatrixReport) -> str:
    """JUnit's XML, as CI systems read it: a test case a row."""
    root = ET.Element("testsuites", name="matrix", time=f"{report.seconds:.3f}")
    for platform in dict.fromkeys(result.row.platform for result in report.results):
        own = [result for result in report.results if result.row.platform == platform]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=platform,
            tests=str(len(own)),
            failures=str(sum(r.status not in (PASSED, CANNOT) for r in own)),
            errors="0",
            skipped=str(sum(r.status == CANNOT for r in own)),
            time=f"{sum(r.seconds for r in own):.3f}",
        )
        for result in own:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=f"{platform}.{result.row.package}",
                name=f"Python {result.row.python}",
                time=f"{result.seconds:.3f}",
            )
            if result.status == CANNOT:
                ET.SubElement(case, "skipped", message=_clean(result.detail))
            elif result.status != PASSED:
                trouble = ET.SubElement(
                    case, "failure", message=_clean(f"{result.status}: {result.detail}")
                )
                trouble.text = _clean(result.output)
            elif result.detail:
                ET.SubElement(case, "system-out").text = _clean(result.detail)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _clean(text: str) -> str:
    """The text without the control characters that XML can't hold."""
    return "".join(c if c >= " " or c in "\n\t" else "?" for c in text)


def markdown(report: MatrixReport) -> str:
    """The summary that GitHub shows beside a run."""
    parts = [
        "## Matrix",
        "",
        f"{report.summary} in {report.seconds:.0f} s",
        "",
        "| package | system | Python | result | seconds | |",
        "|---|---|---|---|---:|---|",
    ]
    for result in report.results:
        row = result.row
        status = f"{_SIGNS.get(result.status, '⚪')} {result.status}"
        detail = result.detail.replace("|", "\\|").replace("\n", " ")
        parts.append(
            f"| {row.package} | {row.platform} | {row.python} | {status} "
            f"| {_seconds(result)} | {html.escape(detail, quote=False)} |"
        )
    parts += ["", *(f"- {note}" for note in report.notes)]
    for result in _with_output(report.results):
        fence = "````"
        parts += [
            "",
            f"<details><summary>{result.row.label}</summary>",
            "",
            fence,
            result.output.replace(fence, "```"),
            fence,
            "</details>",
        ]
    return "\n".join(parts) + "\n"


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } th, td { padding: .3rem .7rem; text-align: left }
tr { border-bottom: 1px solid #8884 } td.n { text-align: right }
.passed { color: #1a7f37 } .failed, .stopped { color: #cf222e; font-weight: bold }
.cannot { color: #9a6700 } pre { overflow-x: auto; background: #8881; padding: 1rem }
:root { color-scheme: light dark }
"""


def page(report: MatrixReport) -> str:
    """One HTML file that needs no other."""
    rows = "\n".join(
        f"<tr><td>{_e(r.row.package)}<td>{_e(r.row.platform)}<td>{_e(r.row.python)}"
        f'<td class="{r.status.split()[0]}">{_e(r.status)}<td class="n">{_seconds(r)}'
        f"<td>{_e(r.detail)}"
        for r in report.results
    )
    notes = "".join(f"<li>{_e(note)}" for note in report.notes)
    outputs = "\n".join(
        f"<details><summary>{_e(r.row.label)}</summary><pre>{_e(r.output)}</pre></details>"
        for r in _with_output(report.results)
    )
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Matrix: {_e(report.summary)}</title>
<style>{_STYLE}</style>
<h1>Matrix</h1>
<p>{_e(report.summary)} in {report.seconds:.0f} s</p>
<table>
<thead><tr><th>package<th>system<th>Python<th>result<th>seconds<th></thead>
<tbody>
{rows}
</tbody>
</table>
<ul>{notes}</ul>
{outputs}
</html>
"""


def _e(text: str) -> str:
    return html.escape(text)


def _with_output(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if result.output]


def _seconds(result: Result) -> str:
    return f"{result.seconds:.1f}" if result.seconds else ""

"""The command ``rvh_trace``: send a test span, check the way to the collector, view a file."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import rvh_trace

if TYPE_CHECKING:
    from rvh_trace import view


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="rvh_trace",
        description="Send a test span, check the way to the collector, or view a file of spans.",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"import OK -> {rvh_trace.__version__}",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    emit = commands.add_parser("emit", help="record one span and send it")
    emit.add_argument("--name", default="rvh_trace emit", help="the span's name")
    emit.add_argument(
        "--exporter", choices=["otlp", "console", "none"], default=None, help="where it goes"
    )
    emit.add_argument("--endpoint", help="the collector's URL (default: by OTEL_* variables)")
    emit.add_argument(
        "--attribute",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an attribute of the span; may be repeated",
    )
    doctor = commands.add_parser("doctor", help="can the collector be reached?")
    doctor.add_argument("--endpoint", help="the collector's URL (default: by OTEL_* variables)")
    viewed = commands.add_parser("view", help="show a file that the exporter 'file' wrote")
    viewed.add_argument("file", type=Path, help="the file of OTLP JSON lines")
    viewed.add_argument(
        "-o", "--output", type=Path, metavar="PAGE", help="write a page of HTML in place of text"
    )
    for command in (emit, doctor):
        command.add_argument("--json", action="store_true", help="print the outcome as JSON")
    options = parser.parse_args(arguments)
    if options.command == "view":
        return _view(options.file, options.output)
    attributes = [pair.split("=", 1) for pair in getattr(options, "attribute", [])]
    if any(len(pair) != 2 for pair in attributes):
        parser.error("write an attribute as KEY=VALUE")
    exporter = "otlp" if options.command == "doctor" else options.exporter
    name = "rvh_trace doctor" if options.command == "doctor" else options.name
    try:
        return _send(name, dict(attributes), exporter, options.endpoint, as_json=options.json)
    except (ValueError, RuntimeError) as error:
        sys.stderr.write(f"rvh_trace: {error}\n")
        return 2


def _send(
    name: str,
    attributes: dict[str, str],
    exporter: str | None,
    endpoint: str | None,
    *,
    as_json: bool,
) -> int:
    rvh_trace.init_tracing(exporter=exporter, endpoint=endpoint, reconfigure=True)
    with rvh_trace.span(name) as opened:
        opened.set_attributes(attributes)
        trace_id = opened.trace_id
    # The first answer counts, good or bad: a person waits, so no retries.
    deadline = time.monotonic() + 5.0
    flushed = False
    while not flushed and time.monotonic() < deadline and not rvh_trace.stats()["last_error"]:
        flushed = rvh_trace.flush(0.1)
    stats = rvh_trace.stats()
    delivered = flushed and stats["exported"] == 1
    if as_json:
        outcome = {"delivered": delivered, "trace_id": trace_id, "error": stats["last_error"]}
        sys.stdout.write(json.dumps(outcome) + "\n")
    elif delivered:
        sys.stdout.write(f"delivered: trace {trace_id}\n")
    else:
        cause = stats["last_error"] or "no answer within 5 seconds"
        sys.stderr.write(f"rvh_trace: not delivered: {cause}\n")
    rvh_trace.shutdown(0.0)
    return 0 if delivered else 1


def _view(file: Path, output: Path | None) -> int:
    from rvh_trace import view

    try:
        spans = view.read(file)
        if output is None:
            _print_tree(spans)
        else:
            output.write_text(view.page(spans, file.name), encoding="utf-8")
            sys.stdout.write(f"{len(spans)} spans: {output}\n")
    except (view.ViewError, OSError) as error:
        sys.stderr.write(f"rvh_trace: {error}\n")
        return 2
    return 0


def _print_tree(spans: list[view.ViewedSpan]) -> None:
    """Print the spans: in colour on a terminal, where rich is installed, else as plain text."""
    from rvh_trace import view

    if sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console

            console = Console()
            for tree in view.rich_trees(spans):
                console.print(tree, soft_wrap=True)
            return
    encoding = sys.stdout.encoding or "utf-8"
    text = view.tree(spans).encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(f"{text}\n")

"""The command ``rvh_trace``: send a test span, check the way to the collector, view a file."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rvh_trace
from rvh_trace import _native

if TYPE_CHECKING:
    from rvh_trace import view


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "view":
        return _view(options.file, options.output)
    try:
        return _send(options)
    except (ValueError, RuntimeError) as error:
        sys.stderr.write(f"rvh_trace: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    """`main_trace` of the crate rvh_trace_cli takes the same options."""
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
    by_variables = "What no option says comes from the OTEL_* variables."
    emit = commands.add_parser(
        "emit",
        help="record one span and send it",
        description="Record one span and send it. It continues the trace of TRACEPARENT in the "
        f"environment, if there is one. {by_variables}",
    )
    emit.add_argument("--name", default="rvh_trace emit", help="the span's name")
    emit.add_argument(
        "--level",
        choices=["trace", "debug", "info", "warn", "error"],
        default="info",
        help="the span's level (default: info)",
    )
    emit.add_argument("--attribute", **_PAIRS, help="an attribute of the span; may be repeated")
    emit.add_argument("--service-name", metavar="NAME", help="what the backend shows it under")
    emit.add_argument("--resource", **_PAIRS, help="an attribute of who records; may be repeated")
    emit.add_argument(
        "--exporter", choices=["otlp", "console", "file", "none"], help="where it goes"
    )
    emit.add_argument("--file", help="the file of the exporter file, which it implies")
    doctor = commands.add_parser(
        "doctor", help="can the collector be reached?", description=by_variables
    )
    doctor.set_defaults(
        name="rvh_trace doctor",
        level="info",
        attribute=[],
        service_name=None,
        resource=[],
        exporter="otlp",
        file=None,
    )
    viewed = commands.add_parser("view", help="show a file that the exporter 'file' wrote")
    viewed.add_argument("file", type=Path, help="the file of OTLP JSON lines")
    viewed.add_argument(
        "-o", "--output", type=Path, metavar="PAGE", help="write a page of HTML in place of text"
    )
    for command in (emit, doctor):
        command.add_argument("--endpoint", metavar="URL", help="the collector's URL")
        command.add_argument(
            "--protocol", choices=["http/protobuf", "grpc"], help="how to talk to it"
        )
        command.add_argument(
            "--header",
            **_PAIRS,
            help="sent with the request; may be repeated. Others see it in the list of processes: "
            "a secret belongs into OTEL_EXPORTER_OTLP_HEADERS",
        )
        command.add_argument(
            "--timeout", type=float, metavar="SECONDS", help="how long the request may take"
        )
        command.add_argument("--json", action="store_true", help="print the outcome as JSON")
    return parser


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"write {text} as KEY=VALUE")
    return key, value


_PAIRS: Any = {"action": "append", "default": [], "metavar": "KEY=VALUE", "type": _pair}


def _send(options: argparse.Namespace) -> int:
    rvh_trace.init_tracing(
        # What is asked for is recorded; a program's own level is no matter here.
        "trace",
        service_name=options.service_name,
        exporter=options.exporter or (options.file and "file"),
        endpoint=options.endpoint,
        protocol=options.protocol,
        headers=dict(options.header) or None,
        timeout=options.timeout,
        file=options.file,
        resource=dict(options.resource),
        reconfigure=True,
    )
    # Attributes are not fields, which might be named like an argument.
    with rvh_trace.extract(os.environ), rvh_trace.span(options.name, level=options.level) as opened:
        opened.set_attributes(dict(options.attribute))
        trace_id = opened.trace_id if opened.context else None
    # The first answer counts, good or bad: a person waits, so no retries.
    patience = 5.0 if options.timeout is None else options.timeout + 1.0
    deadline = time.monotonic() + patience
    flushed = False
    while not flushed and time.monotonic() < deadline and not rvh_trace.stats()["last_error"]:
        flushed = rvh_trace.flush(0.1)
    stats = rvh_trace.stats()
    cause: object = None
    if not flushed or stats["exported"] != 1:
        cause = stats["last_error"]
        if not _native.is_set_up():
            cause = "OTEL_SDK_DISABLED turns tracing off"
        elif not cause:
            cause = (
                "the span was not sampled" if flushed else f"no answer within {patience:g} seconds"
            )
    if options.json:
        outcome = {"delivered": cause is None, "trace_id": trace_id, "error": cause}
        sys.stdout.write(json.dumps(outcome) + "\n")
    elif cause is None:
        sys.stdout.write(f"delivered: trace {trace_id}\n")
    else:
        sys.stderr.write(f"rvh_trace: not delivered: {cause}\n")
    rvh_trace.shutdown(0.0)
    return 0 if cause is None else 1


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

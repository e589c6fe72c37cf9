"""``python -m rvh_trace.app_trace --level L --name N``: record one span and show it."""

from __future__ import annotations

import argparse
import sys

import rvh_trace


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m rvh_trace.app_trace", description="Record one span and show it."
    )
    parser.add_argument(
        "--level", default="info", help="the least level that is recorded (default: info)"
    )
    parser.add_argument("--name", default="app_trace", help="the span's name")
    parser.add_argument(
        "--exporter",
        default="console",
        choices=["console", "otlp", "none"],
        help="where it goes (default: console)",
    )
    options = parser.parse_args(arguments)
    try:
        rvh_trace.init_tracing(options.level, exporter=options.exporter, reconfigure=True)
    except ValueError as error:
        sys.stderr.write(f"app_trace: {error}\n")
        return 2
    with rvh_trace.span(options.name):
        pass
    return 0 if rvh_trace.shutdown() else 1


if __name__ == "__main__":
    sys.exit(main())

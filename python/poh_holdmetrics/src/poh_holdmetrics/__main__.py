"""The command ``poh_holdmetrics`` (also ``python -m poh_holdmetrics``)."""

from __future__ import annotations

from typing import Annotated

import typer

from poh_holdmetrics import __version__

app = typer.Typer(
    name="poh_holdmetrics",
    help="Exact hold-time scores: who held how much, for how long.",
    no_args_is_help=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"import OK -> {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Exact hold-time scores: who held how much, for how long."""


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()

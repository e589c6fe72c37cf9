"""The command: scores of files, transfer logs, Merkle trees and proof bundles."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import json
import platform
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as RichTable

from poh_holdmetrics import (
    Boost,
    Holds,
    MerkleDistributor,
    Scores,
    StandardMerkleTree,
    __version__,
    build_info,
    bundle,
    from_transfers,
    whole_file,
)
from poh_holdmetrics import Table as Answer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poh_holdmetrics.typing import By, Overlap

app = typer.Typer(
    name="poh_holdmetrics",
    help="Exact hold-time scores: who held how much, and for how long.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class Output(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class ByOption(StrEnum):
    """What a row stands for."""

    HOLDER = "holder"
    TOKEN = "token"  # noqa: S105 # a token that is held
    BOTH = "both"


class OverlapOption(StrEnum):
    """What overlapping holds count."""

    SUM = "sum"
    UNION = "union"
    MAX = "max"


class StandardOption(StrEnum):
    """What a log's value means."""

    ERC20 = "erc20"
    ERC721 = "erc721"
    ERC1155 = "erc1155"


class LotsOption(StrEnum):
    """Which holds a balance is made of."""

    BALANCE = "balance"
    FIFO = "fifo"
    LIFO = "lifo"


class OnNegativeOption(StrEnum):
    """What to do when a holder sends more than it has."""

    ERROR = "error"
    CLIP = "clip"


class TreeFormat(StrEnum):
    """Whose contract takes the claims."""

    OPENZEPPELIN = "openzeppelin"
    UNISWAP = "uniswap"


Files = Annotated[list[Path], typer.Argument(help="CSV, JSON lines or Parquet files of holds.")]
At = Annotated[str | None, typer.Option(help="The instant of the answer (default: now).")]
From = Annotated[str | None, typer.Option("--from", help="Only time from this instant on counts.")]
To = Annotated[str | None, typer.Option("--to", help="Only time before this instant counts.")]
Every = Annotated[str | None, typer.Option(help="Epochs: seconds, or 1d, 2w, 3mo.")]
Zone = Annotated[str, typer.Option(help="The time zone of calendar epochs.")]
ByChoice = Annotated[ByOption, typer.Option(help="What a row stands for.")]
OverlapChoice = Annotated[OverlapOption, typer.Option(help="What overlapping holds count.")]
Boosts = Annotated[
    str | None,
    typer.Option(
        help="Multipliers by age in days, as 0:1,30:1.5,90:2; or half-life:30 or linear:1460."
    ),
]
Top = Annotated[int | None, typer.Option(help="Only the rows with the highest scores.", min=0)]
As = Annotated[
    Output | None, typer.Option("--format", help="Default: by OUTPUT's name, else a table.")
]
Out = Annotated[Path | None, typer.Option("--output", "-o", help="A file in place of the screen.")]
Scale = Annotated[int, typer.Option(help="Digits after the point that weights keep, 0 to 18.")]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Say the version and end.")] = False,
) -> None:
    """Exact hold-time scores: who held how much, and for how long."""
    if version:
        typer.echo(f"import OK -> {__version__}")
        raise typer.Exit


@app.command()
def score(
    files: Files,
    at: At = None,
    start: From = None,
    end: To = None,
    every: Every = None,
    tz: Zone = "UTC",
    by: ByChoice = ByOption.HOLDER,
    overlap: OverlapChoice = OverlapOption.SUM,
    boost: Boosts = None,
    top: Top = None,
    scale: Scale = 9,
    form: As = None,
    output: Out = None,
) -> None:
    """Score the holds of files."""
    with _working("reading"):
        holds = Holds.read(*files, scale=scale)
    _score(holds, at, start, end, every, tz, by.value, overlap.value, boost, top, form, output)


@app.command()
def transfers(
    files: Annotated[list[Path], typer.Argument(help="CSV or JSON lines of token transfers.")],
    standard: Annotated[
        StandardOption, typer.Option(help="What a log's value means.")
    ] = StandardOption.ERC20,
    lots: Annotated[
        LotsOption, typer.Option(help="Which holds a balance is made of.")
    ] = LotsOption.BALANCE,
    on_negative: Annotated[
        OnNegativeOption, typer.Option(help="When a holder sends more than it has.")
    ] = OnNegativeOption.ERROR,
    decimals: Annotated[int, typer.Option(help="Weights are amounts of 10**-decimals.")] = 0,
    at: At = None,
    start: From = None,
    end: To = None,
    every: Every = None,
    tz: Zone = "UTC",
    by: ByChoice = ByOption.HOLDER,
    boost: Boosts = None,
    top: Top = None,
    form: As = None,
    output: Out = None,
) -> None:
    """Score token transfer logs (the columns of ethereum-etl's token_transfers)."""
    with _working("reading"):
        logs = [row for path in files for row in _rows(path)]
        holds = from_transfers(
            logs,
            standard=standard.value,
            lots=lots.value,
            on_negative=on_negative.value,
            decimals=decimals,
        )
    if holds.clipped:
        _say(f"{holds.clipped} logs moved more than there was and were clipped")
    _score(holds, at, start, end, every, tz, by.value, "sum", boost, top, form, output)


@app.command()
def merkle(
    files: Files,
    at: Annotated[str, typer.Option(help="The instant of the scores.")],
    unit: Annotated[str, typer.Option(help="The size of one unit of a claim, as 1e-9.")],
    tree: Annotated[
        TreeFormat, typer.Option(help="Whose contract takes the claims.")
    ] = TreeFormat.OPENZEPPELIN,
    overlap: OverlapChoice = OverlapOption.SUM,
    boost: Boosts = None,
    scale: Scale = 9,
    proof_bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Also write a bundle for `verify`.")
    ] = None,
    output: Out = None,
) -> None:
    """Make the Merkle tree of claims: holder ids are addresses, amounts are scores in units."""
    with _working("reading"):
        holds = Holds.read(*files, scale=scale)
    with _working("scoring"):
        scores = holds.snapshot(at=_instant(at), overlap=overlap.value, boost=_boost(boost))
        claims = scores.amounts(unit=unit).items()
        made = (
            StandardMerkleTree.of(claims)
            if tree is TreeFormat.OPENZEPPELIN
            else MerkleDistributor.of(claims)
        )
    if proof_bundle is not None:
        scores.proof_bundle(proof_bundle, unit=unit)
    if output is not None:
        whole_file.write_text(output, json.dumps(made.dump(), indent=1) + "\n")
        _say(f"{len(made)} claims in {output}")
    typer.echo(made.root)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A bundle that proof_bundle wrote.")],
) -> None:
    """Compute everything in a bundle anew and say what differs."""
    with _working("verifying"):
        differences = bundle.verify(path)
    for difference in differences:
        typer.echo(difference)
    if differences:
        raise typer.Exit(1)
    typer.echo("the bundle is as its events say")


@app.command()
def doctor() -> None:
    """Say what is installed here."""
    facts = {
        "poh_holdmetrics": __version__,
        **{f"build {name}": value for name, value in build_info().items() if name != "version"},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for name in ("numpy", "pandas", "polars", "pyarrow"):
        with contextlib.suppress(ImportError):
            facts[name] = getattr(__import__(name), "__version__", "?")
    for name, value in facts.items():
        typer.echo(f"{name:16} {value}")


def main() -> None:
    """Run the command; an error is one sentence and exit code 1, Ctrl-C is 130."""
    try:
        app()
    except KeyboardInterrupt:
        _say("stopped")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except (ValueError, OSError, OverflowError) as error:
        _say(f"error: {error}")
        sys.exit(1)


def _score(
    holds: Holds,
    at: str | None,
    start: str | None,
    end: str | None,
    every: str | None,
    tz: str,
    by: By,
    overlap: Overlap,
    boost: str | None,
    top: int | None,
    form: Output | None,
    output: Path | None,
) -> None:
    answer: Scores | Answer
    with _working("scoring"):
        boosted = _boost(boost)
        until = None if at is None else _instant(at)
        if every is None:
            answer = holds.score(
                by=by,
                overlap=overlap,
                at=until,
                start=None if start is None else _instant(start),
                end=None if end is None else _instant(end),
                boost=boosted,
            )
            answer = answer if top is None else answer.top_n(top)
        else:
            if start is None:
                message = "--every needs --from, where the first epoch starts"
                raise ValueError(message)
            answer = holds.epochs(
                every=float(every) if every.replace(".", "", 1).isdigit() else every,
                start=_instant(start),
                tz=tz,
                at=until if end is None else _instant(end),
                by=by,
                overlap=overlap,
                boost=boosted,
            )
    _write(answer, form, output)


def _instant(text: str) -> dt.datetime | float:
    """Epoch seconds, or RFC 3339; without a zone it is UTC."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        pass
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not an instant; give 2024-05-01T12:00:00Z or epoch seconds"
        raise ValueError(message) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)


def _boost(text: str | None) -> Boost | None:
    if text is None:
        return None
    try:
        name, _, days = text.partition(":")
        if name == "half-life":
            return Boost.half_life(float(days))
        if name == "linear":
            return Boost.linear_decay(over=float(days))
        steps = [step.split(":") for step in text.split(",")]
        return Boost([(float(age), multiplier) for age, multiplier in steps])
    except ValueError as error:
        message = f"--boost {text}: {error}; give 0:1,30:1.5,90:2 or half-life:30 or linear:1460"
        raise ValueError(message) from None


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() == ".csv":
            for row in csv.DictReader(file):
                yield {name: value or None for name, value in row.items()}
        elif path.suffix.lower() in {".jsonl", ".ndjson"}:
            for number, line in enumerate(file, start=1):
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    message = f"{path}: line {number}: {error}"
                    raise ValueError(message) from None
        else:
            message = f"{path}: the name says no format; it ends in .csv, .jsonl or .ndjson"
            raise ValueError(message)


def _write(answer: Scores | Answer, form: Output | None, output: Path | None) -> None:
    if form is None and output is not None:
        by_name = {".csv": Output.CSV, ".json": Output.JSON, ".parquet": Output.PARQUET}
        form = by_name.get(output.suffix.lower())
        if form is None:
            message = f"{output}: the name says no format; give --format"
            raise ValueError(message)
    if form is Output.PARQUET:
        if output is None:
            message = "Parquet is not for the screen; give a file with -o"
            raise ValueError(message)
        answer.write_parquet(output)
        return
    if output is None and form in {None, Output.TABLE}:
        _print_table(answer.to_pylist())
        return
    rows = [{name: _plain(value) for name, value in row.items()} for row in answer.to_pylist()]
    text = _json(answer, rows) if form is Output.JSON else _csv(rows)
    if output is None:
        sys.stdout.write(text)
    else:
        whole_file.write_text(output, text)


def _json(answer: Scores | Answer, rows: list[dict[str, Any]]) -> str:
    whole: dict[str, Any] = {"rows": rows}
    if isinstance(answer, Scores):
        whole = {"at_us": answer.at_us, **whole}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, dt.datetime) else value


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = RichTable()
    for name in rows[0] if rows else ("holder_id", "weighted_score"):
        table.add_column(name, justify="left" if name.endswith("_id") else "right")
    for row in rows:
        # Ids come from outside: what would be markup or move the cursor is shown as text.
        cells = (str(_plain(value)) for value in row.values())
        table.add_row(*(_printable(cell) for cell in cells))
    Console(markup=False, highlight=False).print(table)


def _printable(text: str) -> str:
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


@contextlib.contextmanager
def _working(what: str) -> Iterator[None]:
    """Show that something goes on, on a terminal only."""
    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else contextlib.nullcontext():
        yield


def _say(text: str) -> None:
    typer.echo(_printable(text), err=True)

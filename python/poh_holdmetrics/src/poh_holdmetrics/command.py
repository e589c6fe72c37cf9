"""The command: scores of files, transfer logs, Merkle trees, proof bundles and reports.

Exit codes: 0 done, 1 an error or a bundle that differs, 2 a wrong use of the command, 130 stopped
by Ctrl-C, 141 the reader of the output went away.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import os
import signal
import sys
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poh_holdmetrics import (
    Boost,
    Holds,
    MerkleDistributor,
    StandardMerkleTree,
    __version__,
    answer_file,
    bench,
    bundle,
    epochs,
    from_transfers,
    progress,
    read_transfers,
    self_check,
    whole_file,
)
from poh_holdmetrics import report as report_page
from poh_holdmetrics import score as score_holds
from poh_holdmetrics._native import parse_instant
from poh_holdmetrics.answer_file import Form
from poh_holdmetrics.printable import printable, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poh_holdmetrics import Scores
    from poh_holdmetrics import Table as Answer

app = typer.Typer(
    name="poh_holdmetrics",
    help="Exact hold-time scores: who held how much, and for how long.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class WrongUseError(ValueError):
    """What the options ask for can't be, whatever the files hold."""


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


class RoundingOption(StrEnum):
    """What is done with digits beyond the scale."""

    HALF_EVEN = "half-even"


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
Zone = Annotated[
    str, typer.Option(help="The time zone of calendar epochs, and of instants here that name none.")
]
DataZone = Annotated[
    str | None,
    typer.Option("--data-tz", help="The time zone of instants in the files that name none.  [UTC]"),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse instants in the files that name no time zone.")
]
FinalizedBefore = Annotated[
    str | None, typer.Option(help="No event before this instant changes any more (epochs: final).")
]
ByChoice = Annotated[ByOption, typer.Option(help="What a row stands for.")]
OverlapChoice = Annotated[OverlapOption, typer.Option(help="What overlapping holds count.")]
Boosts = Annotated[
    str | None,
    typer.Option(
        help="Multipliers by age in days, as 0:1,30:1.5,90:2; or half-life:30 or linear:1460."
    ),
]
Cap = Annotated[
    str | None, typer.Option(help="Weight times the multiplier of --boost is never more.")
]
Top = Annotated[int | None, typer.Option(help="Only the rows with the highest scores.", min=0)]
As = Annotated[
    Form | None, typer.Option("--format", help="Default: by OUTPUT's name, else a table.")
]
Json = Annotated[bool, typer.Option("--json", help="For machines: the answer as JSON.")]
Out = Annotated[Path | None, typer.Option("--output", "-o", help="A file in place of the screen.")]
Scale = Annotated[int, typer.Option(help="Digits after the point that weights keep, 0 to 18.")]
Rounding = Annotated[
    RoundingOption | None, typer.Option(help="Round digits beyond the scale, in place of an error.")
]
Threads = Annotated[
    int | None, typer.Option(help="Default: one a processor. The answer is the same.", min=1)
]


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
    finalized_before: FinalizedBefore = None,
    by: ByChoice = ByOption.HOLDER,
    overlap: OverlapChoice = OverlapOption.SUM,
    boost: Boosts = None,
    cap: Cap = None,
    top: Top = None,
    scale: Scale = 9,
    rounding: Rounding = None,
    data_tz: DataZone = None,
    strict: Strict = False,
    threads: Threads = None,
    form: As = None,
    as_json: Json = False,
    output: Out = None,
) -> None:
    """Score the holds of files."""
    options: dict[str, Any] = {
        "by": by.value,
        "overlap": overlap.value,
        "threads": threads,
        "scale": scale,
        "rounding": None if rounding is None else rounding.value,
        "strict": strict,
        "data_tz": data_tz,
    }
    with _of_options():
        chosen = answer_file.form_of(Form.JSON if as_json else form, output)
        question = _question(at, start, end, every, tz, finalized_before, boost, cap, top)
        _answer([], question, **options)
    # In batches: files may be larger than memory.
    with progress.reading(files) as on_bytes:
        answer = _answer([*files], question, **options, progress=on_bytes)
    _write(answer, chosen, output, at)


@app.command()
def transfers(
    files: Annotated[
        list[Path], typer.Argument(help="CSV, JSON lines or Parquet files of token transfers.")
    ],
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
    finalized_before: FinalizedBefore = None,
    by: ByChoice = ByOption.HOLDER,
    overlap: OverlapChoice = OverlapOption.SUM,
    boost: Boosts = None,
    cap: Cap = None,
    top: Top = None,
    threads: Threads = None,
    save_holds: Annotated[
        Path | None,
        typer.Option("--holds", help="Also write the holds, for `score`, `merkle` and `report`."),
    ] = None,
    form: As = None,
    as_json: Json = False,
    output: Out = None,
) -> None:
    """Score token transfer logs (the columns of ethereum-etl's token_transfers)."""
    options: dict[str, Any] = {"by": by.value, "overlap": overlap.value, "threads": threads}
    with _of_options():
        chosen = answer_file.form_of(Form.JSON if as_json else form, output)
        holds_form = None if save_holds is None else answer_file.form_of_holds(save_holds)
        question = _question(at, start, end, every, tz, finalized_before, boost, cap, top)
        _answer(from_transfers([], decimals=decimals), question, **options)
    with progress.reading(files) as on_bytes:
        holds = read_transfers(
            *files,
            standard=standard.value,
            lots=lots.value,
            on_negative=on_negative.value,
            decimals=decimals,
            progress=on_bytes,
        )
    if holds.clipped:
        _say(f"{holds.clipped} logs moved more than there was and were clipped")
    if holds.repeated:
        _say(f"{holds.repeated} rows gave a log once more and count once")
    if holds_form is not None:
        answer_file.write(holds.to_table(), holds_form, save_holds)
    with progress.working("scoring"):
        answer = _answer(holds, question, **options)
    _write(answer, chosen, output, at)


@app.command()
def merkle(
    files: Files,
    at: Annotated[str, typer.Option(help="The instant of the scores.")],
    unit: Annotated[str, typer.Option(help="The size of one unit of a claim, as 1e-9.")],
    start: From = None,
    end: To = None,
    tree: Annotated[
        TreeFormat, typer.Option(help="Whose contract takes the claims.")
    ] = TreeFormat.OPENZEPPELIN,
    overlap: OverlapChoice = OverlapOption.SUM,
    boost: Boosts = None,
    cap: Cap = None,
    scale: Scale = 9,
    rounding: Rounding = None,
    data_tz: DataZone = None,
    strict: Strict = False,
    proof_bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Also write a bundle for `verify`.")
    ] = None,
    as_json: Json = False,
    output: Out = None,
) -> None:
    """Make the Merkle tree of claims: holder ids are addresses, amounts are scores in units."""
    with _of_options():
        question = _question(at, start, end, None, "UTC", None, boost, cap, None)
        asked = question["score"] | {"overlap": overlap.value}
        Holds([], scale=scale, tz=data_tz).score(**asked).amounts(unit=unit)
    holds = _read(files, scale, rounding, data_tz, strict)
    with progress.working("scoring"):
        scores = holds.score(**asked)
        claims = scores.amounts(unit=unit).items()
        made = (
            StandardMerkleTree.of(claims)
            if tree is TreeFormat.OPENZEPPELIN
            else MerkleDistributor.of(claims)
        )
        if proof_bundle is not None:
            bundle.write(scores, proof_bundle, unit, tree.value)
        if output is not None:
            with whole_file.writing(output) as file:
                json.dump(made.dump(), file, indent=1)
                file.write("\n")
    if as_json:
        answer_file.print_json(
            {"root": made.root, "claims": len(made), "tree": tree.value, "unit": unit}
        )
    else:
        if output is not None:
            _say(f"{len(made)} claims in {output}")
        typer.echo(made.root)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A bundle that proof_bundle wrote.")],
    as_json: Json = False,
) -> None:
    """Compute everything in a bundle anew and say what differs; exit code 1 when anything does."""
    with progress.working("verifying"):
        verdict = bundle.examine(path)
    differences = verdict.differences
    if as_json:
        answer_file.print_json(
            {"ok": not differences, "differences": differences, "made_by": verdict.made_by}
        )
    else:
        if verdict.made_by != __version__:
            _say(f"made by version {short(verdict.made_by)}; this is {__version__}")
        for difference in differences:
            typer.echo(printable(difference))
        if not differences:
            typer.echo("the bundle is as its events say")
    if differences:
        raise typer.Exit(1)


@app.command()
def report(
    files: Files,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page: report.html.")],
    at: At = None,
    start: From = None,
    end: To = None,
    overlap: OverlapChoice = OverlapOption.SUM,
    boost: Boosts = None,
    cap: Cap = None,
    top: Annotated[int, typer.Option(help="Rows of the leaderboard.", min=0)] = 20,
    holder: Annotated[
        str | None, typer.Option(help="Whose timeline is shown (default: the first's).")
    ] = None,
    title: Annotated[str, typer.Option(help="The heading.")] = "Hold-time report",
    scale: Scale = 9,
    rounding: Rounding = None,
    data_tz: DataZone = None,
    strict: Strict = False,
) -> None:
    """Write a page with pictures that opens offline: leaderboard, timeline, holders over time."""
    with _of_options():
        question = _question(at, start, end, None, "UTC", None, boost, cap, None)
        asked = question["score"] | {"overlap": overlap.value}
        nothing = Holds([], scale=scale, tz=data_tz)
        report_page.html(nothing, **asked)
    holds = _read(files, scale, rounding, data_tz, strict)
    with progress.working("drawing"):
        report_page.write(holds, output, **asked, top=top, holder=holder, title=title)
    _say(f"the report is in {output}")
    if at is None:
        _say(_as_of(nothing.score(**asked).at_us))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed here, and whether it computes right; exit code 1 when it does not."""
    facts = self_check.facts()
    faults = self_check.faults()
    if as_json:
        answer_file.print_json({"ok": not faults, "faults": faults, **facts})
    else:
        for name, value in facts.items():
            typer.echo(f"{name:16} {value}")
        for fault in faults or ["the answers of this build are right"]:
            typer.echo(fault)
    if faults:
        raise typer.Exit(1)


@app.command(name="bench")
def bench_here(
    events: Annotated[int, typer.Option(help="Events that are generated.", min=1_000)] = 1_000_000,
    holders: Annotated[int, typer.Option(help="Different holders.", min=1)] = 100_000,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measure what an event and a holder cost on this machine."""
    costs = []
    for work, of, nanoseconds in bench.measure(events, holders, threads):
        costs.append({"work": work, "of": of, "nanoseconds": nanoseconds})
        if not as_json:
            typer.echo(f"{work:36} {nanoseconds:10,.1f} ns a {of}")
    if as_json:
        answer_file.print_json({"events": events, "holders": holders, "costs": costs})


def main() -> None:
    """Run the command; an error is one sentence and exit code 1 or 2, Ctrl-C is 130."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        # Ids are of any letters; where a terminal can't show one, its escape says what it is.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(encoding="utf-8", errors="backslashreplace")
    # What stops a service is an interrupt too: no part of a file stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            app(prog_name="poh_holdmetrics")
        finally:
            # What is still in the buffer meets a full disk or a closed pipe here, not at the exit.
            sys.stdout.flush()
    except SystemExit as stop:
        # typer takes these two for a wish to end, and forgets which it was.
        if _behind(stop, KeyboardInterrupt):
            _say("stopped: no part of a file is left")
            sys.exit(130)
        if _behind(stop, BrokenPipeError):
            _leave_pipe()
        raise
    except BrokenPipeError:
        _leave_pipe()
    except OSError as error:
        _drop_output()
        _say(f"error: {_trouble(error)}")
        sys.exit(1)
    except (ValueError, OverflowError) as error:
        _say(f"error: {error}")
        sys.exit(2 if isinstance(error, WrongUseError) else 1)


def _open_streams() -> None:
    """Put something in the place of streams that are closed, as by `>&-`; Python has none then.

    What is written to the output is an error, as with other programs; words to a person are not.
    """
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 # to the end


def _behind(error: BaseException, kind: type[BaseException]) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _leave_pipe() -> None:
    """End as a program that the signal SIGPIPE ends, without a word."""
    _drop_output()
    sys.exit(128 + 13)


def _drop_output() -> None:
    """What is in the buffer has no way out; Python would complain of it as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_MENDS = {
    errno.ENOSPC: "free some space, or give a file on another disk",
    errno.EDQUOT: "the quota is used up; free some space",
    errno.EFBIG: "this file system or a limit (ulimit -f) allows no larger file",
    errno.EROFS: "give a file in a folder that can be written to",
    errno.EACCES: "give a file in a folder that can be written to",
    errno.EBADF: "the output is closed; give a file with -o",
}


def _trouble(error: OSError) -> str:
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    mend = _MENDS.get(error.errno or 0)
    return f"{what}; {mend}" if mend else what


def _read(
    files: list[Path],
    scale: int,
    rounding: RoundingOption | None,
    data_tz: str | None,
    strict: bool,
) -> Holds:
    with progress.reading(files) as on_bytes:
        return Holds.read(
            *files,
            scale=scale,
            rounding=None if rounding is None else "half-even",
            tz=data_tz,
            strict=strict,
            progress=on_bytes,
        )


@contextlib.contextmanager
def _of_options() -> Iterator[None]:
    """Take an error for a wrong use of the command.

    In this block no file has been read: what is refused here, also of a question to no holds at
    all, is refused because of the options alone, and before any work.
    """
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise WrongUseError(str(error)) from error


def _question(
    at: str | None,
    start: str | None,
    end: str | None,
    every: str | None,
    tz: str,
    finalized_before: str | None,
    boost: str | None,
    cap: str | None,
    top: int | None,
) -> dict[str, Any]:
    """What is asked, as `score` and `epochs` take it; what does not go together is refused."""
    parse_instant("0", tz=tz)  # a zone that is not known is refused also where no instant needs it
    instants = [
        None if text is None else parse_instant(text, tz=tz)
        for text in (at, start, end, finalized_before)
    ]
    # The clock is read once, here: what is told of the instant is what was asked.
    instant = dt.datetime.now(dt.UTC) if instants[0] is None else instants[0]
    asked = {"at": instant, "boost": _boost(boost, cap)}
    if every is None:
        if finalized_before is not None:
            message = "--finalized-before is for epochs; give --every"
            raise ValueError(message)
        return {"top": top, "score": asked | {"start": instants[1], "end": instants[2]}}
    if start is None:
        message = "--every needs --from, where the first epoch starts"
        raise ValueError(message)
    if top is not None:
        message = "--top is for one window; with --every give -o and choose from the file"
        raise ValueError(message)
    epochs = asked | {
        "every": _seconds_or_text(every),
        "start": instants[1],
        "tz": tz,
        "at": instant if instants[2] is None else min(instant, instants[2], key=_seconds),
        "finalized_before": instants[3],
    }
    return {"top": None, "epochs": epochs}


def _answer(
    data: Holds | list[Any],
    question: dict[str, Any],
    *,
    data_tz: str | None = None,
    **options: Any,  # noqa: ANN401 # those that `score` and `epochs` share
) -> Scores | Answer:
    if "epochs" in question:
        return epochs(data, **question["epochs"], **options, data_tz=data_tz)
    scores = score_holds(data, **question["score"], **options, tz=data_tz)
    return scores if question["top"] is None else scores.top_n(question["top"])


def _seconds_or_text(every: str) -> float | str:
    try:
        return float(every)
    except ValueError:
        return every  # as 1d


def _seconds(instant: dt.datetime | float) -> float:
    return instant.timestamp() if isinstance(instant, dt.datetime) else instant


def _boost(text: str | None, cap: str | None) -> Boost | None:
    if text is None:
        return None if cap is None else Boost([], cap=cap)
    name, _, days = text.partition(":")
    if cap is not None and name in {"half-life", "linear"}:
        message = f"--cap goes with steps, and --boost {text} has none; give steps as 0:1,30:1.5"
        raise ValueError(message)
    try:
        if name == "half-life":
            return Boost.half_life(_days(days))
        if name == "linear":
            return Boost.linear_decay(over=_days(days))
        steps = [step.partition(":") for step in text.split(",")]
        return Boost([(_days(age), multiplier) for age, _, multiplier in steps], cap=cap)
    except ValueError as error:
        message = f"--boost {text}: {error}; give 0:1,30:1.5,90:2 or half-life:30 or linear:1460"
        raise ValueError(message) from None


def _days(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        message = f"{text!r} is no number of days"
        raise ValueError(message) from None


def _write(answer: Scores | Answer, form: Form, output: Path | None, at: str | None) -> None:
    if told := answer_file.write(answer, form, output):
        _say(told)
    # JSON has it in itself.
    if at is None and form is not Form.JSON and answer.at_us is not None:
        _say(_as_of(answer.at_us))


def _as_of(micros: int) -> str:
    """Tell the instant that the clock was read at, with every digit."""
    try:
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=micros)
        shown = f"{moment.isoformat(timespec='microseconds')}Z"
    except OverflowError:  # --to may be long before Python's calendar
        shown = str(Decimal(micros).scaleb(-6))
    return f"as of {shown}; --at {shown} gives the same answer again"


def _say(text: str) -> None:
    typer.echo(printable(text), err=True)

"""Answers on the screen and in files: a table, CSV, JSON, JSON lines or Parquet."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as RichTable

from poh_holdmetrics import whole_file
from poh_holdmetrics.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from rich.console import JustifyMethod

    from poh_holdmetrics._native import Scores, Table
    from poh_holdmetrics.typing import Record

ON_SCREEN = 200
"""Rows that a table on the screen has."""


class Form(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


_BY_NAME = {
    ".csv": Form.CSV,
    ".json": Form.JSON,
    ".jsonl": Form.JSONL,
    ".ndjson": Form.JSONL,
    ".parquet": Form.PARQUET,
    ".pq": Form.PARQUET,
    ".txt": Form.TABLE,
}


def form_of(form: Form | None, path: Path | None) -> Form:
    """Choose how an answer is written: as asked, else by the file's name, else as a table.

    Raises
    ------
    ValueError
        When the name says nothing, or Parquet is asked for on the screen.
    """
    if form is None and path is not None:
        form = _BY_NAME.get(path.suffix.lower())
        if form is None:
            message = f"{path}: the name says no format; give --format"
            raise ValueError(message)
    if form is Form.PARQUET and path is None:
        message = "Parquet is not for the screen; give a file with -o"
        raise ValueError(message)
    return form or Form.TABLE


def form_of_holds(path: Path) -> Form:
    """Choose how holds are written, by the file's name: as `Holds.read` reads them again.

    Raises
    ------
    ValueError
        When no file of holds has such a name.
    """
    form = _BY_NAME.get(path.suffix.lower())
    if form is None or form in {Form.TABLE, Form.JSON}:
        message = (
            f"--holds {path}: no holds are read from a file of such a name; "
            "let it end in .csv, .jsonl, .ndjson, .parquet or .pq"
        )
        raise ValueError(message)
    return form


def write(answer: Scores | Table, form: Form, path: Path | None) -> str | None:
    """Write an answer to a file, which is there whole or not at all, or to the screen.

    Returns
    -------
    str or None
        What a person should know: that not all rows are on the screen.
    """
    if form is Form.PARQUET and path is not None:
        answer.write_parquet(path)
        return None
    if path is None:
        written = _text(answer, form, sys.stdout, ON_SCREEN)
        sys.stdout.flush()
        return written
    with whole_file.writing(path) as file:
        return _text(answer, form, file, None)


def _text(answer: Scores | Table, form: Form, file: TextIO, rows: int | None) -> str | None:
    if form is Form.TABLE:
        return _table(answer, file, rows)
    if form is Form.JSON:
        _json(answer, file)
    elif form is Form.JSONL:
        _json_lines(answer, file)
    else:
        _csv(answer, file)
    return None


def _table(answer: Scores | Table, file: TextIO, most: int | None) -> str | None:
    shown = len(answer) if most is None else min(len(answer), most)
    # Every digit is in weighted_score_exact: a screen has no room for the float beside it.
    names = [name for name in answer.columns if name != "weighted_score"]
    table = RichTable()
    for name in names:
        # An id that is cut off is none: it goes on in the next line.
        side: JustifyMethod = "left" if name.endswith("_id") else "right"
        table.add_column(name, justify=side, overflow="fold")
    for place in range(shown):
        row = answer[place]
        # Ids come from outside: what would be markup or move the cursor is shown as text.
        table.add_row(*(printable(_cell(row[name])) for name in names))
    # Nor is it an emoji's code. A file has no colour and no width, whatever the environment asks.
    to_file: dict[str, Any] = {} if most is not None else {"width": 10_000, "force_terminal": False}
    Console(file=file, markup=False, highlight=False, emoji=False, **to_file).print(table)
    if shown == len(answer):
        return None
    return (
        f"{shown:,} of {len(answer):,} rows are shown; --top chooses, and --format csv writes all"
    )


def _json(answer: Scores | Table, file: TextIO) -> None:
    """One row a line, so that a large answer is never whole in memory."""
    file.write("{\n")
    if answer.at_us is not None:
        file.write(f' "at_us": {answer.at_us},\n')
    file.write(' "rows": [')
    for place, row in enumerate(_rows(answer)):
        file.write(f"{',' if place else ''}\n  {json.dumps(row, ensure_ascii=False)}")
    file.write("\n ]\n}\n")


def _json_lines(answer: Scores | Table, file: TextIO) -> None:
    for row in _rows(answer):
        file.write(f"{json.dumps(row, ensure_ascii=False)}\n")


def _csv(answer: Scores | Table, file: TextIO) -> None:
    # Python 3.12 quotes those letters that end a line; unquoted, "\r" would end one for a reader.
    writer = csv.DictWriter(_Lines(file), answer.columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(_rows(answer))


class _Lines:
    """A file whose lines end in a line feed alone, whatever csv ends them with."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> int:
        """Write what csv makes of one row."""
        return self._file.write(f"{line.removesuffix('\r\n')}\n")


def _rows(answer: Scores | Table) -> Iterator[Record]:
    for place in range(len(answer)):
        yield {name: _plain(value) for name, value in answer[place].items()}


def _cell(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, dt.datetime) else value


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object for a machine."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n")
    with contextlib.suppress(AttributeError):
        sys.stdout.flush()

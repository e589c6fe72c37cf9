"""Progress: a plain log where there is no terminal, live lines on one."""

from __future__ import annotations

import io
import re

import pytest
from labchannel.progress import Progressor
from rich.console import Console


@pytest.fixture
def plain():
    return Console(file=io.StringIO(), width=40, soft_wrap=True)


def test_a_plain_line_for_each_step_with_seconds_and_count(plain):
    progress = Progressor(plain)
    with progress.stage("recipes", 2) as step:
        step("alpha")
        step("a name that is much longer than a line of this console is wide")
    lines = plain.file.getvalue().splitlines()
    assert [re.sub(r"^\[ +\d+\.\ds\] ", "", line) for line in lines] == [
        "recipes 1/2: alpha",
        "recipes 2/2: a name that is much longer than a line of this console is wide",
        "recipes: done",
    ]


def test_without_a_total_there_is_no_count(plain):
    with Progressor(plain).stage("publish") as step:
        step("writing [repodata]")
    assert "publish: writing [repodata]\n" in plain.file.getvalue()


def test_an_error_leaves_no_line_that_says_done(plain):
    def broken_off() -> None:
        with Progressor(plain).stage("recipes", 1) as step:
            step("alpha")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert "alpha" in plain.file.getvalue()
    assert "done" not in plain.file.getvalue()


def test_a_log_has_no_control_characters(plain):
    progress = Progressor(plain)
    progress.say("[bold]as it is[/bold]")
    with progress.stage("recipes") as step:
        step("alpha")
    assert "[bold]as it is[/bold]" in plain.file.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", plain.file.getvalue())


def test_quiet_says_nothing(plain):
    progress = Progressor(plain, quiet=True)
    progress.say("hello")
    with progress.stage("recipes", 1) as step:
        step("alpha")
    assert plain.file.getvalue() == ""


def test_a_terminal_shows_what_runs_and_how_much_is_left():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={})
    with Progressor(console).stage("recipes", 3) as step:
        step("beta")
        # What is drawn at the end: steps that follow each other at once are not all drawn.
        step("alpha [x]")
    shown = console.file.getvalue()
    assert "recipes: alpha [x]" in shown
    assert "1/3" in shown

"""The documents are true: their examples run, their commands exist, their links lead somewhere.

What is done with a fenced block depends on its language:

- `python`: run, each in a process of its own; with `<!-- continues -->` above it, after the blocks
  above.
- `console` (commands after `$ `, then their output) and `sh`: lines that call python are run, and
  in `console` their output is compared. Lines of labchannel and pixiw are parsed by the real
  command line and held against pixi.toml. Other programs are not allowed.
- `toml`, `json`, `yaml`: parsed.
- no language, or `text`: free, but it may hold no command.
- any other language, or what can't be kept to this, only under `<!-- not run: REASON -->`. How many
  a document has is written in NOT_RUN.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from labchannel.cache import CHEAP, DEAR
from labchannel.cli import app
from labchannel.environment import current_platform, install, python_of, solve
from labchannel.manifest import read_manifest
from labchannel.workspace import Workspace

# rich's own parser: it is wherever labchannel is.
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = read_manifest(Workspace(ROOT).manifest)
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "python/*/README.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
)

# How many blocks of a document are not run. A new one is a decision: raise the number by hand.
NOT_RUN = {
    "README.md": 2,
    "docs/docker.md": 2,
    "docs/getting-started.md": 2,
    "docs/lab.md": 6,
    "docs/windows.md": 4,
}

MARK = re.compile(r"<!--\s*not run:\s*(?P<reason>\S[^>]*?)\s*-->")
CONTINUES = re.compile(r"<!--\s*continues\s*-->")
PIXIW = {"./pixiw", "pixiw"}
COMMANDS = {"labchannel", "python", *PIXIW}
PARSERS = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}
SECONDS = 120


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    document: str
    line: int
    language: str
    content: str
    reason: str
    """Why it is not run; empty for one that is."""
    continues: bool

    @property
    def name(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command line, and the output that the document shows for it (None: it shows none)."""

    words: tuple[str, ...]
    output: str | None


@cache
def tokens(document: str) -> list[Token]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return MarkdownIt("commonmark").enable("table").parse(text)


@cache
def blocks(document: str) -> list[Block]:
    found = []
    before = ""
    for token in tokens(document):
        if token.type == "fence":
            mark = MARK.search(before)
            found.append(
                Block(
                    document=document,
                    line=(token.map or [0])[0] + 1,
                    language=token.info.split(" ")[0],
                    content=token.content,
                    reason=mark["reason"] if mark else "",
                    continues=bool(CONTINUES.search(before)),
                )
            )
        before = token.content if token.type == "html_block" else ""
    return found


def all_blocks(*languages: str) -> list[Any]:
    return [
        pytest.param(block, id=block.name)
        for document in DOCUMENTS
        for block in blocks(document)
        if block.language in languages
    ]


def commands(block: Block) -> Iterator[Command]:
    text = block.content.replace("\\\n", " ")
    if block.language == "sh":
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield Command(tuple(words), None)
        return
    for part in re.split(r"(?m)^\$ ", text)[1:]:
        line, _, output = part.partition("\n")
        yield Command(tuple(shlex.split(line)), output)


def without_variables(words: Sequence[str]) -> list[str]:
    """The command behind `NAME=value` words."""
    start = next((n for n, word in enumerate(words) if not re.match(r"\w+=", word)), 0)
    return list(words[start:])


# ---- Marks -------------------------------------------------------------------------------------


def test_documents_are_found() -> None:
    assert {"README.md", "docs/labchannel.md", "python/labchannel/README.md"} <= set(DOCUMENTS)
    assert set(NOT_RUN) <= set(DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_what_is_not_run_says_why_and_is_counted(document: str) -> None:
    marked = [block.name for block in blocks(document) if block.reason]
    assert len(marked) == NOT_RUN.get(document, 0), marked
    # A mark in another place than right above a block does nothing, and would mislead.
    text = "".join(t.content for t in tokens(document) if t.type == "html_block")
    assert len(MARK.findall(text)) == len(marked)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_of_a_kind_that_is_checked(document: str) -> None:
    for block in blocks(document):
        if block.language in ("", "text"):
            first_words = {line.lstrip("$ ").split(" ")[0] for line in block.content.splitlines()}
            assert not first_words & COMMANDS, f"{block.name} holds commands: call it sh or console"
        elif block.language not in ("python", "console", "sh", *PARSERS):
            assert block.reason, f"{block.name}: {block.language} is not checked, so say why not"


# ---- Examples ----------------------------------------------------------------------------------


def run_python(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
        timeout=SECONDS,
    )


@pytest.mark.parametrize("block", all_blocks("python"))
def test_python_examples_run(block: Block, tmp_path: Path) -> None:
    if block.reason:
        compile(block.content, block.name, "exec")
        return
    script = tmp_path / "example.py"
    script.write_text(_with_those_above(block), encoding="utf-8")
    done = run_python([str(script)], tmp_path)
    assert done.returncode == 0, f"{block.name}\n{done.stderr}"


def _with_those_above(block: Block) -> str:
    parts = [block.content]
    if block.continues:
        above = [b for b in blocks(block.document) if b.line < block.line]
        for earlier in reversed([b for b in above if b.language == "python" and not b.reason]):
            parts.insert(0, earlier.content)
            if not earlier.continues:
                break
    return "\n".join(parts)


@pytest.mark.parametrize("block", all_blocks("console", "sh"))
def test_commands_are_real(block: Block, tmp_path: Path) -> None:
    found = list(commands(block))
    assert found, f"{block.name} holds no command"
    for command in found:
        words = without_variables(command.words)
        if words[0] == "python":
            done = run_python(words[1:], tmp_path)
            assert done.returncode == 0, f"{block.name}: {shlex.join(words)}\n{done.stderr}"
            if command.output:
                assert done.stdout == command.output, block.name
        elif words[0] in COMMANDS:
            check_labchannel(words[1:], block.name)
        else:
            assert block.reason, f"{block.name}: {words[0]} is not run here, so say why not"


@pytest.mark.parametrize("block", all_blocks(*PARSERS))
def test_data_is_well_formed(block: Block) -> None:
    PARSERS[block.language](block.content)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_the_text_are_real(document: str) -> None:
    """Also those between backticks, in sentences and tables."""
    for token in tokens(document):
        for child in token.children or ():
            if child.type != "code_inline" or "..." in child.content:
                continue
            words = without_variables(
                shlex.split(child.content) if "'" not in child.content else []
            )
            if len(words) < 2 or re.search(r"[A-Z]{3}", " ".join(words)):
                continue  # one word is a name; capitals stand for something
            if words[0] in PIXIW | {"labchannel"}:
                check_labchannel(words[1:], document)


# ---- The real command line ---------------------------------------------------------------------


def parse(words: Sequence[str], command: Any = None) -> tuple[Any, dict[str, Any], list[str]]:
    """What the command line makes of `words`, without doing it: command, values, what is left."""
    command = command or typer.main.get_command(app)
    with command.make_context(command.name, list(words)) as context:
        if not hasattr(command, "resolve_command"):
            return command, context.params, context.args
        rest = [*context._protected_args, *context.args]
        _name, chosen, rest = command.resolve_command(context, rest)
    return parse(rest, chosen)


def check_labchannel(words: Sequence[str], where: str) -> None:
    try:
        command, values, rest = parse(words)
    except typer.Exit:  # --help and --version end here
        return
    except Exception as error:
        pytest.fail(f"{where}: {shlex.join(words)}: {error}")
    if command.name != "run":
        return
    task = values["task"]
    if task is None:
        return
    assert task in MANIFEST.tasks, f"{where}: there is no task {task}"
    assert values["environment"] in MANIFEST.environments, where
    program = MANIFEST.tasks[task].command
    if program[:3] == ("python", "-m", "labchannel"):
        check_labchannel([*program[3:], *rest], where)
    elif rest:
        assert program, f"{where}: {task} only depends on others, and takes no arguments"


def test_the_workflows_run_real_commands() -> None:
    """Each task that a workflow names is one of pixi.toml, and takes those arguments."""
    checked = set()
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, job in workflow["jobs"].items():
            for step in job["steps"]:
                for line in step.get("run", "").splitlines():
                    match = re.match(
                        r"(?:\./pixiw|\.\\pixiw\.cmd|call pixiw|pixi) (run (?!python )\w[^|]*)"
                        r"|conda run -n tool labchannel (.*)",
                        line,
                    )
                    words = shlex.split(match[1] or match[2]) if match else []
                    if words and words[-1] != "nonsense" and "--manifest-path" not in words:
                        check_labchannel(words, f"{path.name}, {name}")
                        checked.add(words[1])
    assert {"build-recipes", "test", "test-rust", "test-slow", "verify", "wheels"} <= checked


def test_the_check_of_commands_can_fail() -> None:
    for line in (
        "nonsense",
        "verify --nonsense",
        "run nonsense",
        "run -e nonsense test",
        "env create",
    ):
        with pytest.raises((pytest.fail.Exception, AssertionError)):
            check_labchannel(line.split(), "here")
    for line in ("verify ./channel", "run verify ./channel", "--version", "run"):
        check_labchannel(line.split(), "here")


def visible_commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    for name, child in command.commands.items():
        if child.hidden:
            continue
        if hasattr(child, "commands"):
            yield from visible_commands(child, (*path, name))
        else:
            yield " ".join((*path, name)), child


def section(document: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    text = (ROOT / document).read_text(encoding="utf-8")
    match = re.search(
        rf"(?ms)^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", re.sub(r"(?ms)^```.*?^```", "", text)
    )
    assert match, f"{document} has no heading {heading!r}"
    return match[1]


@pytest.mark.parametrize(("name", "command"), list(visible_commands()), ids=lambda v: str(v)[:40])
def test_the_reference_names_every_option_and_no_other(name: str, command: Any) -> None:
    options = {
        word
        for parameter in command.params
        if parameter.param_type_name == "option"
        for word in parameter.opts
    }
    rows = re.findall(r"(?m)^\| (`-.*?) \|", section("docs/labchannel.md", f"labchannel {name}"))
    assert set(re.findall(r"`(-[\w-]+)`", " ".join(rows))) == options


def test_the_reference_names_every_folder_of_the_cache() -> None:
    table = section("docs/labchannel.md", "Files it writes")
    for everything, names in (("clean", CHEAP), ("clean --all", DEAR)):
        rows = [row for row in table.splitlines() if row.endswith(f"| `{everything}` |")]
        told = {name for row in rows for name in re.findall(r"`(\w+)/`", row)}
        assert told == set(names)


def test_the_reference_names_every_command_and_no_other() -> None:
    text = (ROOT / "docs/labchannel.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?m)^### labchannel (.+)$", text))
    assert named == {name for name, _command in visible_commands()}


# ---- Links -------------------------------------------------------------------------------------


def links(document: str) -> Iterator[tuple[str, str]]:
    """Each link's text and target."""
    for token in tokens(document):
        children = token.children or []
        for place, child in enumerate(children):
            if child.type == "link_open":
                yield children[place + 1].content, str(child.attrs["href"])
            if child.type == "image":
                yield child.content, str(child.attrs["src"])


def anchors(document: str) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    found: dict[str, int] = {}
    names = set()
    parsed = tokens(document)
    for token, following in pairwise(parsed):
        if token.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", following.content.lower()).replace(" ", "-")
            names.add(f"{slug}-{found[slug]}" if slug in found else slug)
            found[slug] = found.get(slug, 0) + 1
    return names


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for text, target in links(document):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        assert there.is_relative_to(ROOT), f"{document}: {target} leads out of the repository"
        assert there.exists(), f"{document}: {target}"
        if anchor:
            assert anchor in anchors(there.relative_to(ROOT).as_posix()), f"{document}: {target}"
        if text.startswith("test_"):
            tests = there.read_text(encoding="utf-8")
            assert re.search(rf"(?m)^(async )?def {re.escape(text)}\(", tests), (
                f"{document}: {text}"
            )


def test_every_promise_has_a_test() -> None:
    rows = [line for line in section("README.md", "Promises").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith("| promise ")]
    assert len(promises) >= 20
    for row in promises:
        assert re.search(r"\]\(\S*test_\w+\.py\) \|$", row), row


# ---- The lab -----------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ["default", "py312", "py314"])
def test_the_example_of_a_lab_works_from_the_channel_alone(
    environment: str, channel: Path, tmp_path: Path
) -> None:
    folder = ROOT / "examples" / "lab"
    manifest = read_manifest(folder / "pixi.toml")
    assert [(folder / name).resolve() for name in manifest.channels] == [ROOT / "channel"]
    platform = current_platform()
    specs = manifest.specs(environment, platform)
    install(solve([channel], specs, platform), tmp_path / "lab", platform, specs)
    program, *arguments = manifest.tasks["check"].command
    assert program == "python"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(python_of(tmp_path / "lab")), *arguments],
        check=False,
        cwd=folder,
        env={**clean, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["alice 60", "bob 100", "spans: score"]


def test_the_example_names_every_environment_that_is_tried() -> None:
    assert set(read_manifest(ROOT / "examples/lab/pixi.toml").environments) == {
        "default",
        "py312",
        "py314",
    }

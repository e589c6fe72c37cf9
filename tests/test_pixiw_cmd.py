"""pixiw.cmd: what it finds and how it hands over, by the cmd.exe of Wine.

The programs that it meets are one small Windows program under several names, which prints its
arguments. What comes after, pixiw.py, has its tests in python/labchannel/tests/test_pixiw.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from labchannel.errors import LabchannelError
from labchannel.system_packages import find_program
from labchannel.wine import MINGW, Session, find_wine, session, windows_path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "pixiw.cmd").read_bytes()

# ---- Plain logic -------------------------------------------------------------------------------


def test_the_file_is_what_cmd_reads_in_every_code_page() -> None:
    assert TEXT.isascii()
    assert TEXT.count(b"\r\n") == TEXT.count(b"\n") > 0
    assert b"*.cmd text eol=crlf" in (ROOT / ".gitattributes").read_bytes()


def test_it_jumps_to_labels_that_exist() -> None:
    text = TEXT.decode()
    labels = set(re.findall(r"(?m)^:(\w+)", text))
    jumps = set(re.findall(r"(?:goto|call :) ?(\w+)", text))
    assert jumps == labels


def test_it_hands_over_to_the_script_that_is_there() -> None:
    (script,) = re.findall(r'set "script=%~dp0([^"]+)"', TEXT.decode())
    assert (ROOT / script.replace("\\", "/")).is_file()


def test_it_ends_before_each_label() -> None:
    """Nothing runs into the part that follows it."""
    parts = re.split(r"(?m)^:\w+\r?\n", TEXT.decode())
    for part in parts:
        assert re.search(r"(?:exit /b [%\w]+|goto :eof)\s*$", part), part


# ---- By cmd.exe --------------------------------------------------------------------------------

# Asked for its version, or whether it is new enough, it answers by its exit code, which is 1 if
# OLD is set. Otherwise it prints its arguments as UTF-8 and ends with CODE.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include <windows.h>
int wmain(int count, wchar_t **words) {
  for (int i = 1; i < count; i++)
    if (!wcscmp(words[i], L"--version") || !wcscmp(words[i], L"-c"))
      return getenv("OLD") != NULL;
  for (int i = 0; i < count; i++) {
    char text[4096];
    WideCharToMultiByte(CP_UTF8, 0, words[i], -1, text, sizeof text, NULL, NULL);
    printf("<%s>\n", text);
  }
  return getenv("CODE") ? atoi(getenv("CODE")) : 0;
}
"""


@pytest.fixture(scope="module")
def windows() -> Iterator[Session]:
    try:
        wine = find_wine()
    except LabchannelError as error:
        pytest.skip(str(error))
    with session(wine) as begun:
        yield begun


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = find_program(MINGW)
    if compiler is None:
        pytest.skip(f"there is no {MINGW} to compile a Windows program with")
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.c").write_text(PROGRAM, encoding="utf-8")
    command = [str(compiler.path), "-municode", "-o", "program.exe", "program.c"]
    subprocess.run(command, check=True, cwd=folder)
    return folder / "program.exe"


class Clone:
    """A folder with pixiw.cmd, and a PATH that holds what a test puts there."""

    def __init__(self, folder: Path, windows: Session, program: Path) -> None:
        self.root = folder / "a lab ü 実験"
        self.programs = folder / "programs"
        self.root.mkdir()
        self.programs.mkdir()
        shutil.copy2(ROOT / "pixiw.cmd", self.root)
        self.script = windows_path(self.root / "python" / "labchannel" / "pixiw.py")
        self.windows = windows
        self.program = program

    def add(self, name: str) -> None:
        shutil.copy2(self.program, self.programs / f"{name}.exe")

    def run(self, *arguments: str, **variables: str) -> tuple[int, list[str], str]:
        """The exit code, the lines of standard output, and what standard error says."""
        ended = self.windows.run(
            ["cmd.exe", "/d", "/c", "pixiw.cmd", *arguments],
            cwd=self.root,
            variables=variables,
            path=[self.programs],
            seconds=120,
        )
        assert not ended.cut
        return ended.code, ended.stdout.split("\n")[:-1], ended.stderr


@pytest.fixture
def clone(tmp_path: Path, windows: Session, program: Path) -> Clone:
    if sys.platform == "win32":
        pytest.skip("the workflow's job for Windows runs pixiw.cmd itself")
    return Clone(tmp_path, windows, program)


NOTHING = (
    "pixiw: it needs Python 3.11 or later, or pixi, and found neither. \n"
    "Install one (winget install Python.Python.3.13), then start again. \n"
)


def lines(*words: str) -> list[str]:
    return [f"<{word}>" for word in words]


@pytest.mark.slow
def test_no_python_and_no_pixi(clone: Clone) -> None:
    code, said, error = clone.run("run", "test")
    assert (code, said) == (1, [])
    assert error.replace("\r", "") == NOTHING


@pytest.mark.slow
def test_python_gets_the_script_and_the_arguments_as_they_are(clone: Clone) -> None:
    clone.add("python")
    clone.add("pixi")
    code, said, error = clone.run("run", "test", "--flag", "two words", "*", "実験", CODE="7")
    words = ["run", "test", "--flag", "two words", "*", "実験"]
    assert [line.strip() for line in said] == lines("python", clone.script, *words)
    assert (code, error) == (7, "")


@pytest.mark.slow
def test_the_launcher_where_python_is_not_on_path(clone: Clone) -> None:
    clone.add("py")
    code, said, _error = clone.run("run", "test")
    assert [line.strip() for line in said] == lines("py", "-3", clone.script, "run", "test")
    assert code == 0


@pytest.mark.slow
@pytest.mark.parametrize("old", ["", "1"])
def test_a_python_that_is_a_batch_file(clone: Clone, old: str) -> None:
    """As pyenv-win's is."""
    clone.add("real")
    (clone.programs / "python.bat").write_bytes(b"@echo off\r\nreal.exe %*\r\n")
    code, said, error = clone.run("run", "two words", CODE="7", **({"OLD": old} if old else {}))
    if old:
        assert (code, said, error.replace("\r", "")) == (1, [], NOTHING)
        return
    assert [line.strip() for line in said] == lines("real.exe", clone.script, "run", "two words")
    assert (code, error) == (7, "")


@pytest.mark.slow
def test_a_python_that_is_too_old(clone: Clone) -> None:
    clone.add("python")
    clone.add("py")
    code, said, error = clone.run("run", "test", OLD="1")
    assert (code, said) == (1, [])
    assert error.replace("\r", "") == NOTHING


@pytest.mark.slow
def test_pixi_alone_is_enough(clone: Clone) -> None:
    clone.add("pixi")
    code, said, _error = clone.run("run", "two words", CODE="3")
    assert [line.strip() for line in said] == lines("pixi", "run", "two words")
    assert code == 3

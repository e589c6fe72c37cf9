"""Windows as a real system: a kit for it, made on Linux, does its work under Wine.

What is asked here is what breaks on Windows: launchers, code pages, long paths, files in use,
spawned processes, zones without tzdata, line ends. The packages' own tests run there too, in the
matrix.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from labchannel import machine, wine
from labchannel.channel.layout import Channel
from labchannel.develop import native_packages
from labchannel.lifeline import Ended
from labchannel.workspace import Workspace


def why_not(workspace: Workspace, channel: Path) -> str:
    """Why there is no Windows here; empty if there is one."""
    if sys.platform != "linux":
        return "Wine runs on Linux; on Windows the matrix's rows are native"
    reason = machine.why_not("win-64")
    built = {record.name for record in Channel.read(channel) if record.subdir == "win-64"}
    wanted = {folder.name for folder in native_packages(workspace)}
    if not reason and not wanted <= built:
        lacking = ", ".join(sorted(wanted - built))
        reason = f"{channel} lacks {lacking}: ./pixiw run build-recipes --platform win-64"
    return reason


pytestmark = pytest.mark.slow

Windows = Callable[..., Ended]


@pytest.fixture(scope="session")
def kit(workspace: Workspace, channel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment for Windows, made here by the command line, on a path that needs care."""
    reason = why_not(workspace, channel)
    if reason:
        pytest.skip(reason)
    prefix = tmp_path_factory.mktemp("Ein Prüfstand 測定") / "kit"
    subprocess.run(
        [
            *(sys.executable, "-m", "labchannel", "env", "create", "--platform", "win-64"),
            *("--prefix", str(prefix), "--channel", str(channel)),
            *("rvh_trace", "poh_holdmetrics", "labchannel", "python 3.12.*"),
        ],
        check=True,
    )
    return prefix


@pytest.fixture(scope="session")
def session(kit: Path) -> Iterator[wine.Session]:
    with wine.session(wine.find_wine()) as begun:
        yield begun


@pytest.fixture
def windows(session: wine.Session, kit: Path, tmp_path: Path) -> Windows:
    """Runs a program of the kit by name, as in an activated environment."""

    def run(*command: str, cwd: Path = tmp_path, **variables: str) -> Ended:
        return session.run(
            command,
            cwd=cwd,
            variables=variables,
            path=[kit / part for part in machine.WINDOWS_PATH],
            seconds=300,
        )

    return run


def python(windows: Windows, code: str, **options: str | Path) -> str:
    """What a program for the kit's Python prints; it must succeed."""
    ended = windows("python.exe", "-c", code, **options)
    assert ended.good, ended
    return ended.stdout


HOLDS = (
    "holder_id,token_id,start,end,weight\r\n"
    "Zo\u00eb \u6e2c\u5b9a \U0001f600,t-1,0,10,2\r\n"
    "bob,t-1,5,15,1.5\r\n"
)


def test_programs_start_by_their_launchers(
    windows: Windows, kit: Path, workspace: Workspace
) -> None:
    for name in workspace.own_packages():
        assert (kit / "Scripts" / f"{name}.exe").is_file()
        ended = windows(f"{name}.exe", "--version")
        assert ended.good, ended
        assert workspace.version in ended.stdout


def test_the_kit_can_be_carried_to_windows(kit: Path) -> None:
    """No symbolic links, which need a privilege there, and no two names that differ by case."""
    paths = list(kit.rglob("*"))
    assert not [path for path in paths if path.is_symlink()]
    names = [str(path).lower() for path in paths]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("page", ["cp1252", "cp932", ""])
@pytest.mark.parametrize("name", ["rvh_trace", "poh_holdmetrics", "labchannel"])
def test_help_in_every_console(windows: Windows, name: str, page: str) -> None:
    ended = windows(f"{name}.exe", "--help", PYTHONIOENCODING=page)
    assert ended.good, ended
    assert name in ended.stdout


@pytest.mark.parametrize("page", ["cp1252", "cp932", ""])
def test_letters_that_a_console_lacks_do_not_end_a_program(
    windows: Windows, tmp_path: Path, page: str
) -> None:
    (tmp_path / "holds.csv").write_bytes(HOLDS.encode())
    ended = windows(
        "poh_holdmetrics.exe", "score", "holds.csv", "--at", "100", PYTHONIOENCODING=page
    )
    assert ended.good, ended
    assert "bob" in ended.stdout
    ended = windows(
        "python.exe",
        "-c",
        "import rvh_trace\n"
        "rvh_trace.init_tracing('info', exporter='console')\n"
        "with rvh_trace.span('\\u6e2c\\u5b9a \\U0001f600'): pass\n"
        "rvh_trace.shutdown()\n",
        PYTHONIOENCODING=page,
    )
    assert ended.good, ended


def test_long_paths_and_names_of_every_kind(windows: Windows, tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*(f"Pr\u00fcfstand {'x' * 60} {n}" for n in range(5)))
    folder.mkdir(parents=True)
    (folder / "\u6e2c\u5b9a.csv").write_bytes(HOLDS.encode())
    path = wine.windows_path(folder / "\u6e2c\u5b9a.csv")
    assert len(path) > 260
    code = f"import sys, poh_holdmetrics as p\nholds = p.Holds.read({path!r})\nprint(len(holds))\n"
    assert python(windows, code) == "2\n"


def test_processes_are_spawned(windows: Windows, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "import multiprocessing\n"
        "from poh_holdmetrics import HoldEvent, score\n"
        "def one(n):\n"
        "    return score([HoldEvent('t', 'h', 0, n)], at=100)[0]['weighted_score_exact']\n"
        "if __name__ == '__main__':\n"
        "    assert multiprocessing.get_all_start_methods() == ['spawn']\n"
        "    with multiprocessing.Pool(2) as pool:\n"
        "        print(pool.map(one, [1, 2, 3]))\n",
        encoding="utf-8",
    )
    ended = windows("python.exe", "work.py")
    assert ended.good, ended
    assert ended.stdout == "['1', '2', '3']\n"


def test_zones_without_tzdata(windows: Windows) -> None:
    """Windows has no zone files, and the kit has no tzdata: the library brings its own."""
    code = (
        "import zoneinfo\n"
        "try: zoneinfo.ZoneInfo('Europe/Paris')\n"
        "except zoneinfo.ZoneInfoNotFoundError: print('none')\n"
        "from poh_holdmetrics import HoldEvent, Holds\n"
        "holds = Holds([HoldEvent('t', 'h', 0, 10_000_000)])\n"
        "rows = holds.epochs(every='1mo', start=0, at=10_000_000, tz='Europe/Paris').to_pylist()\n"
        "print(len(rows))\n"
    )
    assert python(windows, code).splitlines() == ["none", "4"]


def test_instants_before_1970_and_after_2038(windows: Windows) -> None:
    """The C runtime's own functions refuse them."""
    code = (
        "from poh_holdmetrics import HoldEvent\n"
        "print(HoldEvent('t', 'h', -86400, 2**33).start.isoformat())\n"
        "print(HoldEvent('t', 'h', -86400, 2**33).end.year)\n"
    )
    assert python(windows, code).splitlines() == ["1969-12-31T00:00:00+00:00", "2242"]


def test_an_environment_on_another_drive_than_its_channel(
    windows: Windows, session: wine.Session, channel: Path, workspace: Workspace
) -> None:
    prefix = "C:\\Pr\u00fcfstand 1\\lab"
    create = ("env", "create", "-p", prefix, "-c", wine.windows_path(channel))
    ended = windows("labchannel.exe", *create, "poh_holdmetrics", "python 3.13.*")
    assert ended.good, ended
    assert (session.prefix / "drive_c" / "Pr\u00fcfstand 1" / "lab" / "python.exe").is_file()
    ended = windows(f"{prefix}\\python.exe", "-m", "poh_holdmetrics", "--version")
    assert ended.stdout == f"import OK -> {workspace.version}\n", ended


def test_an_environment_whose_compiled_module_is_in_use_is_updated(
    windows: Windows, channel: Path, tmp_path: Path
) -> None:
    """Windows does not let a loaded .pyd be replaced: it is moved aside."""
    create = ["-m", "labchannel", "env", "create", "-p", "lab", "-c", wine.windows_path(channel)]
    program = (
        "import os, pathlib, subprocess, sys\n"
        f"create = [sys.executable, *{create!r}, 'rvh_trace']\n"
        "subprocess.run([*create, 'python 3.13.*'], check=True)\n"
        "code = 'import rvh_trace._native as n, sys; print(n.__file__, flush=True)'\n"
        "lab = str(pathlib.Path('lab', 'python.exe').resolve())\n"
        "held = subprocess.Popen([lab, '-c', code + '; sys.stdin.read()'],\n"
        "    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "module = held.stdout.readline().strip()\n"
        "try: os.remove(module)\n"
        "except PermissionError: print('in use')\n"
        "subprocess.run([*create, 'python 3.12.*'], check=True)\n"
        "held.communicate('')\n"
        "code = 'import rvh_trace, sys; print(sys.version_info[:2])'\n"
        "subprocess.run([lab, '-c', code], check=True)\n"
    )
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    ended = windows("python.exe", "-u", "program.py")
    assert ended.good, ended
    said = ended.stdout.splitlines()
    assert "in use" in said
    assert said[-1] == "(3, 12)"


def test_a_channel_that_is_being_read_is_published_to(
    windows: Windows, channel: Path, tmp_path: Path
) -> None:
    """A package that is open does no harm; an index that stays open is told, and then finished."""
    first, second, third = sorted((channel / "noarch").glob("*.conda"))[:3]
    program = (
        "import subprocess, sys\n"
        "def publish(package):\n"
        "    command = [sys.executable, '-m', 'labchannel', 'publish', '-q', '--channel', 'lab']\n"
        "    done = subprocess.run([*command, package], capture_output=True, text=True)\n"
        "    print(done.returncode, done.stdout, done.stderr)\n"
        f"publish({wine.windows_path(first)!r})\n"
        f"with open({f'lab/noarch/{first.name}'!r}, 'rb'):\n"
        f"    publish({wine.windows_path(second)!r})\n"
        "with open('lab/noarch/repodata.json', 'rb'):\n"
        f"    publish({wine.windows_path(third)!r})\n"
        f"publish({wine.windows_path(third)!r})\n"
        "subprocess.run([sys.executable, '-m', 'labchannel', 'verify', '-q', 'lab'], check=True)\n"
    )
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    ended = windows("python.exe", "-u", "program.py")
    assert ended.good, ended
    codes = re.findall(r"^([01]) (.*)$", ended.stdout, re.MULTILINE)
    assert [code for code, _text in codes] == ["0", "0", "1", "0"]
    assert "Close the program that has it open" in ended.stdout
    assert "3 packages, no fault" in ended.stdout

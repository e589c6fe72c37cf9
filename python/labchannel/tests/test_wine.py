"""A Windows for one run of something, by Wine: real programs in real prefixes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from labchannel import wine, wine_keeper
from labchannel.errors import LabchannelError


def reason() -> str:
    """Why there can be no Wine here; empty where there is one."""
    try:
        wine.find_wine()
    except LabchannelError as error:
        return str(error)
    return "" if wine.find_compiler() else f"no {wine.MINGW} on this machine"


def on_windows(test):
    """Mark a test that needs Wine."""
    missing = reason()
    return pytest.mark.slow(
        pytest.mark.skipif(bool(missing), reason=missing or "Wine is here")(test)
    )


with_wine = pytest.mark.usefixtures("wine_cache")


@pytest.fixture(scope="session")
def made_prefix(tmp_path_factory):
    """The cache in which one prefix has been made for all these tests."""
    return tmp_path_factory.mktemp("wine cache")


@pytest.fixture
def wine_cache(made_prefix, monkeypatch):
    monkeypatch.setenv("LABCHANNEL_CACHE", str(made_prefix))
    return made_prefix


@pytest.fixture
def windows(wine_cache):
    with wine.session(wine.find_wine()) as session:
        yield session


def left_behind(prefix: Path) -> list[int]:
    return wine_keeper.processes_of(f"WINEPREFIX={prefix}".encode())


def batch(folder: Path, text: str) -> Path:
    path = folder / "run.bat"
    path.write_text(text, encoding="utf-8", newline="\r\n")
    return path


@on_windows
def test_a_program_its_output_and_exit_code(windows, tmp_path):
    batch(tmp_path, "@echo off\necho %GAUGE% %CD%\necho trouble 1>&2\nexit /b 3\n")
    ended = windows.run(
        ["cmd.exe", "/c", "run.bat"], cwd=tmp_path, variables={"GAUGE": "7"}, seconds=60
    )
    assert ended.code == 3
    assert ended.stdout == f"7 {wine.windows_path(tmp_path)}\n"
    assert ended.stderr.strip() == "trouble"


@on_windows
def test_a_path_with_spaces_and_letters_of_every_kind(windows, tmp_path):
    folder = tmp_path / "Prüf stand 測定"
    folder.mkdir()
    batch(folder, "@echo off\necho done > here.txt\n")
    assert windows.run(["cmd.exe", "/c", "run.bat"], cwd=folder, seconds=60).good
    assert (folder / "here.txt").read_text().strip() == "done"


@on_windows
def test_programs_are_found_on_the_path_that_is_given(windows, tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "gauge.bat").write_text("@echo found\r\n")
    ended = windows.run(
        ["cmd.exe", "/c", "gauge"], cwd=tmp_path, path=[tmp_path / "tools"], seconds=60
    )
    assert ended.stdout == "found\n"


@on_windows
def test_it_is_windows_10(windows, tmp_path):
    ended = windows.run(["cmd.exe", "/c", "ver"], cwd=tmp_path, seconds=60)
    assert "10.0." in ended.stdout


@on_windows
def test_nothing_of_this_machine_gets_in(windows, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/of/the/machine")
    ended = windows.run(["cmd.exe", "/c", "set"], cwd=tmp_path, seconds=60)
    assert "/of/the/machine" not in ended.stdout
    assert str(Path.home()) not in ended.stdout


@on_windows
def test_a_hung_program_is_ended_with_all_it_started(windows, tmp_path):
    batch(tmp_path, "@echo off\nstart /b cmd.exe /c endless.bat\n:again\ngoto again\n")
    (tmp_path / "endless.bat").write_text(":again\r\ngoto again\r\n")
    began = time.monotonic()
    ended = windows.run(["cmd.exe", "/c", "run.bat"], cwd=tmp_path, seconds=3)
    assert ended.cut == "time limit"
    assert time.monotonic() - began < 60


@on_windows
def test_stop_ends_it(windows, tmp_path):
    batch(tmp_path, ":again\ngoto again\n")
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    ended = windows.run(["cmd.exe", "/c", "run.bat"], cwd=tmp_path, seconds=600, stop=stop)
    assert ended.cut == "stopped"


@on_windows
def test_no_program_finds_its_heap_where_windows_shared_data_must_be(windows, tmp_path):
    """Under Linux 6.9 and later one of some thousand would, and could not be started."""
    if not wine.fixed_addresses():
        pytest.skip("this machine has no setarch, or does not let it")
    batch(tmp_path, ":again\ngoto again\n")
    stop = threading.Event()
    endless = threading.Thread(
        target=windows.run,
        args=(["cmd.exe", "/c", "run.bat"],),
        kwargs={"cwd": tmp_path, "seconds": 60, "stop": stop},
    )
    endless.start()
    try:
        while not (shells := [one for one in windows_programs(windows) if one[0] == "cmd.exe"]):
            assert endless.is_alive()
        # Windows' services too, which have been there from the beginning.
        assert len({name for name, _personality in windows_programs(windows)}) > len(shells)
        assert not [one for one in windows_programs(windows) if not one[1] & 0x0040000]
    finally:
        stop.set()
        endless.join()


def windows_programs(session: wine.Session) -> list[tuple[str, int]]:
    """The name and the personality (personality(2)) of each Windows program that runs."""
    found = []
    for pid in left_behind(session.prefix):
        # Ended meanwhile.
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name.endswith(".exe"):
                found.append((name, int(Path(f"/proc/{pid}/personality").read_text(), 16)))
    return found


@with_wine
@on_windows
def test_nothing_is_left_of_a_session(wine_cache, tmp_path):
    with wine.session(wine.find_wine()) as session:
        batch(tmp_path, "start /b cmd.exe /c endless.bat\n")
        (tmp_path / "endless.bat").write_text(":again\r\ngoto again\r\n")
        session.run(["cmd.exe", "/c", "run.bat"], cwd=tmp_path, seconds=5)
        assert left_behind(session.prefix)
    assert not left_behind(session.prefix)
    assert not session.prefix.exists()


@with_wine
@on_windows
def test_kill_leaves_nothing_either(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from labchannel import wine\n"
        "with wine.session(wine.find_wine()) as session:\n"
        "    print(session.prefix, flush=True)\n"
        "    session.run(['cmd.exe', '/c', 'run.bat'], cwd=pathlib.Path.cwd(), seconds=600)\n"
    )
    batch(tmp_path, ":again\ngoto again\n")
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        prefix = Path(process.stdout.readline().strip())
        assert left_behind(prefix)
        process.kill()
    deadline = time.monotonic() + 60
    while left_behind(prefix) or prefix.exists():
        assert time.monotonic() < deadline


@with_wine
@on_windows
def test_two_at_once_do_not_meet(tmp_path):
    found = wine.find_wine()
    with wine.session(found) as one, wine.session(found) as other:
        assert one.prefix != other.prefix
        add = ["reg.exe", "add", r"HKCU\Software\Gauge", "/v", "Mark", "/d", "one", "/f"]
        one.run_wine(add, seconds=60)
        (one.prefix / "drive_c" / "mark.txt").write_text("one")
        query = ["reg.exe", "query", r"HKCU\Software\Gauge"]
        assert one.run(query, cwd=tmp_path, seconds=60).good
        assert not other.run(query, cwd=tmp_path, seconds=60).good
        assert not (other.prefix / "drive_c" / "mark.txt").exists()


@with_wine
@on_windows
def test_a_broken_prefix_is_made_anew(wine_cache, tmp_path):
    found = wine.find_wine()
    template = wine.prefix_template(found)
    shutil.rmtree(template / "drive_c" / "windows" / "system32")
    with wine.session(found) as session:
        assert session.run(["cmd.exe", "/c", "exit"], cwd=tmp_path, seconds=60).good


@on_windows
def test_what_rust_and_numpy_need_is_there(windows, tmp_path):
    """A program that takes randomness as Rust's std does, and computes as numpy 2 does."""
    source = tmp_path / "gauge.c"
    source.write_text(
        "#include <windows.h>\n#include <stdio.h>\n"
        "typedef struct { double re, im; } dcomplex;\n"
        "typedef struct { float re, im; } fcomplex;\n"
        "int main(void) {\n"
        '  HMODULE primitives = LoadLibraryA("bcryptprimitives.dll");\n'
        '  HMODULE math = LoadLibraryA("api-ms-win-crt-math-l1-1-0.dll");\n'
        "  BOOL (WINAPI *prng)(PBYTE, SIZE_T) = (void *)GetProcAddress(primitives, "
        '"ProcessPrng");\n'
        '  dcomplex (*root)(dcomplex) = (void *)GetProcAddress(math, "csqrt");\n'
        '  fcomplex (*power)(fcomplex, fcomplex) = (void *)GetProcAddress(math, "cpowf");\n'
        '  float (*real)(fcomplex) = (void *)GetProcAddress(math, "crealf");\n'
        '  double (*sine)(double) = (void *)GetProcAddress(math, "sin");\n'
        "  unsigned char bytes[32] = {0}; int sum = 0;\n"
        "  if (!prng(bytes, 32)) return 1;\n"
        "  for (int i = 0; i < 32; i++) sum += bytes[i];\n"
        "  dcomplex r = root((dcomplex){-4, 0});\n"
        "  fcomplex p = power((fcomplex){0, 1}, (fcomplex){2, 0});\n"
        '  printf("%d %.3f %.3f %.3f %.3f\\n", sum > 0, r.im, p.re, real(p), sine(0));\n'
        "  return 0;\n}\n",
        encoding="utf-8",
    )
    compiler = wine.find_compiler()
    program = tmp_path / "gauge.exe"
    subprocess.run(
        [compiler.path, "-o", program, source],
        check=True,
        env={**os.environ, **compiler.variables},
    )
    ended = windows.run([wine.windows_path(program)], cwd=tmp_path, seconds=60)
    assert ended.stdout == "1 2.000 -1.000 -1.000 0.000\n", ended


def test_no_wine_is_told_with_the_mend(monkeypatch):
    monkeypatch.setattr(wine, "find_program", lambda *_names: None)
    with pytest.raises(LabchannelError, match=r"no Wine.*doctor --fix"):
        wine.find_wine()


def test_a_wine_that_does_not_start(tmp_path, monkeypatch):
    program = tmp_path / "wine64"
    program.write_text("#!/bin/sh\necho 'cannot open shared object file' >&2\nexit 127\n")
    program.chmod(0o755)
    (tmp_path / "wineserver").symlink_to(program)
    (tmp_path / "wineserver64").symlink_to(program)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    if sys.platform != "win32":
        with pytest.raises(LabchannelError, match="cannot open shared object file"):
            wine.find_wine()


def test_the_keeper_ends_whoever_carries_the_mark(tmp_path):
    """Also where no wineserver answers."""
    if sys.platform == "win32":
        pytest.skip("processes are looked for in /proc")
    prefix = tmp_path / "prefix"
    prefix.mkdir()
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time\nwhile True: time.sleep(3600)"],
        env={**os.environ, "WINEPREFIX": str(prefix)},
    )
    keeper = subprocess.run(
        [sys.executable, "-I", "-S", wine_keeper.__file__, str(tmp_path / "none"), str(prefix)],
        check=False,
        input=b"",
    )
    assert keeper.returncode == 0
    assert stray.wait(timeout=60) == -signal.SIGKILL
    # The starter is there, and removes the prefix itself.
    assert prefix.is_dir()


def test_the_complex_functions_that_are_mended():
    sources = {path.stem: path for path in wine._dll_sources()}
    names = wine.defined_names(sources["ucrtbase"])
    assert {"csqrt", "csqrtf", "csqrtl", "cabsf", "crealf", "cpow", "cpowf", "cpowl"} <= names
    lines = wine.forwards(["csqrt", "sin"], names).splitlines()
    assert '"csqrt" = "wine_csqrt"' in lines
    assert '"sin" = "ucrtwine.sin"' in lines


def test_exported_names_are_read_from_a_library(tmp_path):
    compiler = wine.find_compiler()
    if compiler is None:
        pytest.skip(f"makes a Windows library, and there is no {wine.MINGW}")
    source = tmp_path / "gauge.c"
    source.write_text(
        "__declspec(dllexport) int gauge_b(void) { return 1; }\n"
        "__declspec(dllexport) int gauge_a = 2;\n"
    )
    library = tmp_path / "gauge.dll"
    subprocess.run(
        [compiler.path, "-shared", "-o", library, source],
        check=True,
        env={**os.environ, **compiler.variables},
    )
    assert wine.exported_names(library) == ["gauge_a", "gauge_b"]

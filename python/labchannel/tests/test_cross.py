"""The toolchain channel for win-64: Debian packages, Windows Pythons, wheels, a stand-in Python."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from labchannel.channel.archive import read_info
from labchannel.channel.index import build_index
from labchannel.digest import file_sha256
from labchannel.environment import install, solve
from labchannel.errors import LabchannelError
from labchannel.toolchain import debian
from labchannel.toolchain.cross_python import SCRIPT
from labchannel.toolchain.debian import deb_name, fetch_debs, resolve_debs, unpack_debs
from labchannel.toolchain.lock import LockedArtifact, LockedDeb
from labchannel.toolchain.package import pack
from labchannel.toolchain.wheel import unpack_wheel, wheel_contents
from labchannel.toolchain.windows_python import (
    stable_abi,
    stage_windows_python,
    windows_python_contents,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="cross builds start on Linux")

needs_dpkg = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="needs dpkg-deb, which Debian has"
)


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """A folder of stand-ins that PATH begins with."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "debs"
    folder.mkdir()
    return folder


# Debian's packages. The stand-in for apt knows two packages, and what it is told of the machine.

APT = """\
case "$*" in
    *--simulate*)
        for argument do case "$argument" in Dir::State::status=*) status=${argument#*=};; esac; done
        grep -q 'Package: libc6$' "$status" || exit 9
        echo 'NOTE: This is only a simulation!'
        echo 'Inst libtool9 (1:2.0-3 Debian:12.0/stable [amd64])'
        echo 'Inst tool (1.5+dfsg-1 Debian:12.0/stable [all])'
        echo 'Conf tool (1.5+dfsg-1 Debian:12.0/stable [all])' ;;
    download*)
        shift
        for argument do case "$argument" in
            tool=1.5+dfsg-1) printf tool > tool_1.5+dfsg-1_all.deb ;;
            libtool9=1:2.0-3) printf library > 'libtool9_1%3a2.0-3_amd64.deb' ;;
            --quiet) ;;
            *) echo "E: Version for $argument was not found" >&2; exit 100 ;;
        esac; done ;;
esac"""


def test_apt_names_all_that_a_package_needs(programs, folder):
    program(programs, "apt-get", APT)
    program(programs, "dpkg-deb", "exit 0")
    library, tool = resolve_debs("part", ["tool"], folder)
    assert (library.name, library.version, library.architecture) == ("libtool9", "1:2.0-3", "amd64")
    assert (tool.name, tool.version, tool.architecture) == ("tool", "1.5+dfsg-1", "all")
    assert [path.read_text() for path in fetch_debs([tool, library], folder)] == ["tool", "library"]
    # What is there is not asked for again.
    program(programs, "apt-get", "exit 1")
    assert len(fetch_debs([tool, library], folder)) == 2


def test_a_debian_package_with_other_bytes_than_the_lock(programs, folder):
    program(programs, "apt-get", APT)
    program(programs, "dpkg-deb", "exit 0")
    entry = LockedDeb("part", "tool", "1.5+dfsg-1", "all", "0" * 64)
    with pytest.raises(LabchannelError, match=r"tool_1\.5.*the lock says 000.*bootstrap --update"):
        fetch_debs([entry], folder)
    assert not (folder / deb_name(entry)).exists()


def test_a_version_that_the_mirror_no_longer_has(programs, folder):
    program(programs, "apt-get", APT)
    program(programs, "dpkg-deb", "exit 0")
    entry = LockedDeb("part", "tool", "1.4-1", "all", "0" * 64)
    with pytest.raises(LabchannelError, match=r"tool=1\.4-1 was not found.*bootstrap --update"):
        fetch_debs([entry], folder)


def test_no_apt(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabchannelError, match=r"win-64 is left out: apt-get and dpkg-deb not on"):
        fetch_debs([LockedDeb("part", "tool", "1.5", "all", "0" * 64)], folder)
    assert debian.missing_programs() == ["apt-get", "dpkg-deb"]


@needs_dpkg
def test_debian_packages_are_unpacked_into_one_root(tmp_path):
    debs = []
    for name in ("one", "two"):
        tree = tmp_path / name
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr" / "bin").mkdir(parents=True)
        (tree / "usr" / "bin" / name).write_text(name)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\n"
            f"Description: {name}\n"
        )
        debs.append(tmp_path / f"{name}.deb")
        subprocess.run(
            ["dpkg-deb", "--build", str(tree), str(debs[-1])], check=True, capture_output=True
        )
    unpack_debs(debs, tmp_path / "root")
    assert sorted(p.name for p in (tmp_path / "root" / "usr" / "bin").iterdir()) == ["one", "two"]


# Python for Windows.


def import_library(functions: list[str], data: list[str]) -> bytes:
    """An import library of the short form, as link.exe writes them."""
    archive = b"!<arch>\n"
    members = [(b"/", b"\0\0\0\0 ")]
    for name in [*functions, *data]:
        strings = name.encode() + b"\0python3.dll\0"
        kind = 1 if name in data else 0
        head = struct.pack("<HHHHIIHH", 0, 0xFFFF, 0, 0x8664, 0, len(strings), 0, kind | 1 << 2)
        members.append((b"python3.dll/", head + strings))
    for name, content in members:
        archive += name.ljust(16) + b"0".ljust(12) + b"".ljust(12) + b"0".ljust(8)
        archive += str(len(content)).encode().ljust(10) + b"`\n" + content
        archive += b"\n" * (len(content) % 2)
    return archive


def test_the_names_of_an_import_library():
    library = import_library(["Py_Initialize", "PyList_New", "PyX"], ["PyExc_ValueError"])
    assert stable_abi(library) == {
        "Py_Initialize": False,
        "PyList_New": False,
        "PyX": False,
        "PyExc_ValueError": True,
    }
    assert stable_abi(b"!<arch>\n") == {}


@pytest.fixture
def jar(tmp_path) -> Path:
    files = {
        "bin/python.exe": b"MZ",
        "bin/pythonw.exe": b"MZ",
        "python312.dll": b"MZ",
        "lib/os.py": b"",
        "lib/json/__init__.py": b"",
        "lib/test/test_os.py": b"",
        "lib/pip/__init__.py": b"",
        "lib/pip-23.2.1.dist-info/METADATA": b"",
        "lib/pipes.py": b"",
        "lib/_ssl.pyd": b"MZ",
        "lib/_wmi.pyd": b"MZ",
        "lib/_testcapi.pyd": b"MZ",
        "lib/libssl-3.dll": b"MZ",
        "lib/vcruntime140.dll": b"MZ",
        "libs/python3.lib": import_library(["Py_Initialize"], ["PyExc_ValueError"]),
        "include/Python.h": b"",
    }
    path = tmp_path / "python.jar"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"org/bytedeco/cpython/windows-x86_64/{name}", content)
    return path


PYTHON = LockedArtifact("3.12.1", "g:n:3.12.1-1:jar:windows-x86_64", "a" * 64, "win-64")

# The stand-in keeps the exports that it was to link.
ZIG = """\
while test $# -gt 0; do
    case "$1" in *.def) exports=$1 ;; -o) output=$2 ;; esac
    shift
done
cp "$exports" "$output\""""


def test_a_windows_python_is_laid_out_as_condas(jar, tmp_path, programs):
    program(programs, "zig", ZIG)
    stage = tmp_path / "work" / "stage"
    stage.mkdir(parents=True)
    stage_windows_python(jar, PYTHON, programs / "zig", Path(sys.executable), stage)
    files = [p.relative_to(stage).as_posix() for p in stage.rglob("*") if p.is_file()]
    found = sorted(file for file in files if not file.endswith(".pyc"))
    assert found == [
        "DLLs/_ssl.pyd",
        "DLLs/libssl-3.dll",
        "Lib/json/__init__.py",
        "Lib/os.py",
        "Lib/pipes.py",
        "include/Python.h",
        "libs/python3.lib",
        "python.exe",
        "python3.dll",
        "python312.dll",
        "pythonw.exe",
        "vcruntime140.dll",
    ]
    # The bytecode is there, and says of no folder of this machine.
    (bytecode,) = (stage / "Lib" / "json" / "__pycache__").glob("*.pyc")
    assert str(tmp_path).encode() not in bytecode.read_bytes()
    assert (stage / "python3.dll").read_text().splitlines() == [
        "LIBRARY python3.dll",
        "EXPORTS",
        "PyExc_ValueError = python312.PyExc_ValueError DATA",
        "Py_Initialize = python312.Py_Initialize",
    ]


def test_a_jar_that_is_laid_out_in_another_way(tmp_path):
    path = tmp_path / "other.jar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("org/bytedeco/cpython/windows-x86_64/python.exe", b"")
    stage = tmp_path / "work" / "stage"
    stage.mkdir(parents=True)
    with pytest.raises(LabchannelError, match=r"other\.jar has no python312\.dll"):
        stage_windows_python(path, PYTHON, tmp_path / "zig", Path(sys.executable), stage)


def test_zig_that_fails(jar, tmp_path, programs):
    program(programs, "zig", "echo 'error: no such target' >&2; exit 1")
    stage = tmp_path / "work" / "stage"
    stage.mkdir(parents=True)
    with pytest.raises(LabchannelError, match=r"python3\.dll can't be made: error: no such target"):
        stage_windows_python(jar, PYTHON, programs / "zig", Path(sys.executable), stage)


# An environment for Windows, made here.


def make_wheel(folder: Path, name: str, tag: str, module: str) -> Path:
    """A wheel with a program and, on Windows alone, a dependency."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}/__init__.py": "def main(): ...\n",
        f"{name}/{module}": "MZ",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        'Requires-Dist: colorama; sys_platform == "win32"\n',
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{path},,\n" for path in files)
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(inner, text)
    return path


def test_an_environment_for_windows(jar, tmp_path, programs, make_package):
    """From packages made on Linux, with launchers and Windows' own layout."""
    program(programs, "zig", ZIG)
    channel = tmp_path / "channel"

    def packed(number: int, contents, lay_out) -> None:
        stage = tmp_path / str(number) / "stage"
        stage.mkdir(parents=True)
        lay_out(stage)
        pack(contents, stage, channel)

    packed(
        1,
        windows_python_contents(PYTHON, Path("python-3.12.1-h0_0.conda")),
        lambda stage: stage_windows_python(
            jar, PYTHON, programs / "zig", Path(sys.executable), stage
        ),
    )
    for number, (name, tag, module) in enumerate(
        [
            ("pure", "py3-none-any", "more.py"),
            ("stable", "cp312-abi3-win_amd64", "_native.pyd"),
            ("bound", "cp312-cp312-win_amd64", "_native.cp312-win_amd64.pyd"),
        ],
        start=2,
    ):
        wheel = make_wheel(tmp_path / "wheels", name, tag, module)
        contents = wheel_contents(wheel, file_sha256(wheel), ("3.12",), "win-64", str)
        packed(
            number,
            contents,
            lambda stage, wheel=wheel, contents=contents: unpack_wheel(
                wheel, contents, stage, "3.12"
            ),
        )
    for name, version, build in (("colorama", "0.4", "0"), ("python_abi", "3.12", "1_cp312")):
        package = make_package(name, version, build=build)
        (channel / "noarch").mkdir(exist_ok=True)
        shutil.copy(package, channel / "noarch")
    build_index(channel)

    names = ["pure", "stable", "bound"]
    records = solve([channel], ["python", *names], "win-64")
    assert "colorama" in {record.name.normalized for record in records}
    prefix = tmp_path / "environment"
    install(records, prefix, "win-64", names)
    for name in names:
        assert (prefix / "Lib" / "site-packages" / name / "__init__.py").is_file()
        launcher = prefix / "Scripts" / f"{name}.exe"
        assert launcher.read_bytes().startswith(b"MZ")
        assert not (prefix / "bin").exists()
    assert (prefix / "Lib" / "site-packages" / "stable" / "_native.pyd").is_file()
    assert read_info(next(channel.glob("win-64/bound-*"))).index["depends"] == [
        "colorama",
        "python 3.12.*",
        "python_abi 3.12.* *_cp312",
    ]


# The stand-in for the host's Python.


@pytest.fixture
def cross(tmp_path, programs):
    """Runs the stand-in; the build environment's Python prints what it is asked."""
    build = tmp_path / "build"
    (build / "bin").mkdir(parents=True)
    host = tmp_path / "host" / "Lib" / "site-packages"
    host.mkdir(parents=True)
    program(build / "bin", "python", 'mkdir -p "$SP_DIR/bin"; echo "$@"')
    program(programs, "python-for-win-64", SCRIPT.partition("\n")[2])
    environment = {**os.environ, "BUILD_PREFIX": str(build), "SP_DIR": str(host)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [programs / "python-for-win-64", *arguments],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        return done.stdout.strip()

    run.host = host
    return run


def test_a_recipe_that_builds_a_wheel_uses_the_build_environments_python(cross):
    assert cross("-m", "pip", "wheel", "./a folder") == "-m pip wheel ./a folder"
    assert cross("-c", "print(1)") == "-c print(1)"
    assert cross() == ""


def test_a_recipe_that_installs_a_wheel_fills_the_hosts_site_packages(cross):
    told = cross("-m", "pip", "install", "alpha", "--no-deps")
    assert f"--target {cross.host}" in told
    assert "--platform win_amd64" in told
    assert told.endswith("alpha --no-deps")
    assert not (cross.host / "bin").exists()

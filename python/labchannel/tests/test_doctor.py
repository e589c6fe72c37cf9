"""doctor: what this machine lacks, and the one command that mends each lack."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from labchannel import doctor, system_packages
from labchannel.doctor import examine
from labchannel.environment import current_platform
from labchannel.errors import LabchannelError
from labchannel.toolchain.lock import LockedRust, ToolchainLock, write_lock
from labchannel.toolchain.rust import toolchain_digest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are sh scripts")


def program(folder: Path, name: str, text: str = "exit 0") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def machine(checkout, tmp_path, monkeypatch) -> Path:
    """A machine that has all a build needs; a test takes something away."""
    programs, root = tmp_path / "programs", tmp_path / "rust"
    for name in ("cc", "mvn", "cargo"):
        program(programs, name)
    answer = f'case "$1" in --print) echo "{root}";; *) echo "rustc 1.95.0 (a 2026)";; esac'
    program(root / "bin", "rustc", answer)
    program(programs, "rustc", answer)
    (programs / "sh").symlink_to(shutil.which("sh"))
    digest = toolchain_digest(root, tmp_path / "memory.json")
    rust = LockedRust("1.95.0", digest, "linux-64")
    lock = ToolchainLock({"linux-64": "w"}, (), (rust,), (), (), ())
    write_lock(checkout.workspace.toolchain_lock, lock)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("LABCHANNEL_UPSTREAM", "toolchain")
    # pip is asked whether it reaches an index; no test may depend on the internet.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(doctor, "available_bytes", lambda _folder: doctor.NEEDED_BYTES)
    return programs


def borrow(folder: Path, *names: str) -> None:
    """Put programs of the real machine into a folder."""
    for name in names:
        (folder / name).symlink_to(shutil.which(name, path=os.defpath))


def found(checkout) -> dict[str, tuple[bool, str, str]]:
    return {f.subject: (f.good, f.detail, f.mend) for f in examine(checkout.workspace)}


def test_a_machine_that_has_all(checkout, machine):
    findings = examine(checkout.workspace)
    lacking = {f.subject for f in findings if f.needed and not f.good}
    served = current_platform() == "linux-64"
    # An index is out of reach here on purpose.
    assert lacking == {"package index"} | (set() if served else {"system"})
    for finding in findings:
        assert finding.detail


def test_a_disk_that_is_nearly_full(checkout, machine, monkeypatch):
    monkeypatch.setattr(doctor, "available_bytes", lambda _folder: doctor.NEEDED_BYTES - 1)
    good, detail, mend = found(checkout)["disk"]
    assert not good
    assert str(checkout.cache) in detail
    assert "LABCHANNEL_CACHE" in mend


def test_every_lack_has_a_mend(checkout, machine):
    for name in ("cc", "mvn", "cargo", "rustc"):
        (machine / name).unlink()
    findings = {f.subject: f for f in examine(checkout.workspace)}
    for subject in ("cc", "mvn", "cargo", "Rust", "package index"):
        assert not findings[subject].good, subject
        assert findings[subject].needed, subject
        assert findings[subject].mend, subject
    assert "apt-get install maven" in findings["mvn"].mend
    assert "rustup" in findings["Rust"].mend
    assert not findings["go"].good
    assert not findings["go"].needed
    assert "test-slow" in findings["go"].mend


def test_another_rust(checkout, machine):
    answer = (machine / "rustc").read_text().replace("1.95.0", "1.80.1")
    root = machine.parent / "rust" / "bin" / "rustc"
    root.write_text(answer)
    good, detail, mend = found(checkout)["Rust"]
    assert not good
    assert "1.80.1" in detail
    assert "rustup toolchain install 1.95.0" in mend


def test_no_lock(checkout, machine):
    checkout.workspace.toolchain_lock.unlink()
    good, detail, mend = found(checkout)["Rust"]
    assert not good
    assert "toolchain.lock is missing" in detail
    assert "bootstrap --update" in mend


def test_where_conda_forge_answers_nothing_else_is_needed(checkout, monkeypatch):
    monkeypatch.setenv("LABCHANNEL_UPSTREAM", "conda-forge")
    subjects = [finding.subject for finding in examine(checkout.workspace)]
    wanted = [] if current_platform() != "linux-64" else ["Wine, for win-64", "mingw, for Wine"]
    assert subjects == ["conda-forge", "pixi", "go", "disk", *wanted]
    # What win-64 wants is no lack: builds for this machine work without.
    assert not any(f.needed for f in examine(checkout.workspace) if "for " in f.subject)


def test_conda_forge_out_of_reach(checkout, monkeypatch, machine, no_network):
    monkeypatch.delenv("LABCHANNEL_UPSTREAM")
    good, detail, _mend = found(checkout)["conda-forge"]
    assert not good
    assert "toolchain channel" in detail


def test_a_cache_that_cannot_be_written(checkout, machine, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABCHANNEL_CACHE", str(tmp_path / "file" / "cache"))
    good, detail, mend = found(checkout)["Rust"]
    assert not good
    assert "can't be made" in detail
    assert "LABCHANNEL_CACHE" in mend


def test_from_the_command_line(checkout, machine, tool):
    (machine / "mvn").unlink()
    done = tool("doctor", cwd=checkout.root)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    place = lines.index("missing  mvn: not on PATH")
    assert lines[place + 1] == "         mend: apt-get install maven"
    assert any(line.startswith("ok       cc: ") for line in lines)
    assert "absent   pixi: not on PATH" in lines
    told = tool("doctor", "--json", cwd=checkout.root)
    assert told.returncode == 1
    keys = {"subject", "good", "needed", "detail", "mend", "packages"}
    assert keys == set(json.loads(told.stdout)[0])


def apt_get(programs: Path, text: str) -> Path:
    """An apt-get that notes how it was called."""
    calls = programs.parent / "calls"
    program(programs, "apt-get", f'echo "$*" >> "{calls}"\n{text}')
    return calls


as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root installs system packages"
)


@as_root
def test_fix_installs_what_is_missing_and_looks_again(checkout, machine, tool):
    (machine / "mvn").unlink()
    mends = f'case "$1" in install) cp "{machine}/cargo" "{machine}/mvn";; esac'
    borrow(machine, "cp")
    calls = apt_get(machine, mends)
    done = tool("doctor", "--fix", "--yes", cwd=checkout.root)
    update, install = calls.read_text(encoding="utf-8").splitlines()
    assert update.startswith("update")
    assert install.startswith("install ")
    assert "maven" in install.split()
    assert f"ok       mvn: {machine / 'mvn'}" in done.stdout.splitlines()


@as_root
def test_fix_that_fails_says_why(checkout, machine, tool):
    (machine / "mvn").unlink()
    apt_get(machine, 'echo "E: Could not get lock" >&2; exit 100')
    done = tool("doctor", "--fix", "--yes", cwd=checkout.root)
    assert done.returncode == 1
    assert "Could not get lock" in done.stderr
    assert "Traceback" not in done.stderr


def test_fix_asks_and_where_it_cannot_it_does_nothing(checkout, machine, tool):
    (machine / "mvn").unlink()
    calls = apt_get(machine, "exit 0")
    done = tool("doctor", "--fix", cwd=checkout.root)
    assert done.returncode == 1
    assert "maven" in done.stderr
    assert "--yes" in done.stderr
    assert not calls.exists()


def test_without_root_what_a_build_needs_is_left_to_the_administrator(
    checkout, machine, monkeypatch
):
    (machine / "mvn").unlink()
    calls = apt_get(machine, "exit 0")
    monkeypatch.setattr(doctor, "is_root", lambda: False)
    with pytest.raises(LabchannelError, match="apt-get install maven"):
        doctor.fix(examine(checkout.workspace), lambda _step: None)
    assert not calls.exists()


def test_without_root_packages_are_unpacked_into_the_cache(machine, own_cache, monkeypatch):
    """As apt-get and dpkg-deb answer: what a simulation would install is downloaded, unpacked."""
    monkeypatch.setattr(system_packages, "is_root", lambda: False)
    borrow(machine, "touch", "mkdir", "cp")
    calls = apt_get(
        machine,
        'case "$1" in\n'
        '-s) echo "Inst gauge-base (1.0 Debian:12 [amd64])";;\n'
        'download) shift; for name in "$@"; do touch "${name}_1.0_amd64.deb"; done;;\n'
        "esac",
    )
    extract = 'mkdir -p "$3/usr/bin" && cp "$0" "$3/usr/bin/gauge"'
    program(machine, "dpkg-deb", extract)
    assert system_packages.find_program("gauge") is None
    steps: list[str] = []
    system_packages.get_packages(["gauge"], steps.append)
    assert calls.read_text(encoding="utf-8").splitlines()[-1] == "download gauge gauge-base"
    found = system_packages.find_program("gauge")
    assert found is not None
    assert found.path == own_cache / "debian" / "usr" / "bin" / "gauge"
    assert str(own_cache) in found.variables["LD_LIBRARY_PATH"]
    assert any("2 Debian packages" in step for step in steps)


def test_a_system_without_apt(machine):
    with pytest.raises(LabchannelError, match=r"no apt-get.*gauge"):
        system_packages.get_packages(["gauge"], lambda _step: None)


def test_all_is_well_is_exit_code_0(checkout, tool):
    done = tool("doctor", cwd=checkout.root, LABCHANNEL_UPSTREAM="conda-forge")
    enough = shutil.disk_usage(checkout.cache).free > 4_000_000_000
    assert done.returncode == (0 if enough else 1)
    assert os.linesep + "missing" not in done.stdout or not enough

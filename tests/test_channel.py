"""The published channel, as those who install from it find it. The client is rattler."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from labchannel.channel.layout import Channel
from labchannel.channel.verify import verify
from labchannel.environment import (
    current_platform,
    install,
    lock_of,
    python_of,
    read_environment_lock,
    records_of_lock,
    solve,
)
from labchannel.installed import newest_build
from labchannel.workspace import SERVED_PYTHONS, Workspace
from rattler.package_streaming import extract


@pytest.fixture(scope="session")
def own(workspace: Workspace) -> list[str]:
    return workspace.own_packages()


@pytest.fixture(scope="session")
def lab(channel: Path, own: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `conda create -n lab -c ./channel --override-channels ...` makes."""
    prefix = tmp_path_factory.mktemp("lab") / "env"
    specs = [*own, "python 3.12.*"]
    install(solve([channel], specs, current_platform()), prefix, current_platform(), specs)
    return prefix


def run(prefix: Path, *arguments: str) -> str:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "CONDA", "LD_", "RUST"))
    }
    done = subprocess.run(
        [str(python_of(prefix)), *arguments],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_fault(channel: Path, own: list[str]) -> None:
    assert verify(channel, own) == []


def test_serves_alone_on_every_python(channel: Path, own: list[str]) -> None:
    for python in SERVED_PYTHONS:
        records = solve([channel], [*own, f"python {python}.*", "pip"], current_platform())
        assert {record.name.normalized for record in records} >= {*own, "python", "pip"}
        assert {record.channel for record in records} == {channel.resolve().as_uri() + "/"}


def test_one_file_serves_every_python(channel: Path, own: list[str]) -> None:
    content = Channel.read(channel)
    for name in own:
        newest = newest_build(content, name)
        files = set()
        for python in SERVED_PYTHONS:
            specs = [f"{name} =={newest.version} {newest.build}", f"python {python}.*"]
            records = solve([channel], specs, current_platform())
            files |= {record.file_name for record in records if record.name.normalized == name}
        assert len(files) == 1, name


def test_users_own_checks(lab: Path, own: list[str], workspace: Workspace) -> None:
    said = run(lab, "-c", "import rvh_trace; print(rvh_trace.__doc__[:60])")
    assert len(said.strip()) > 20
    run(lab, "-c", "import poh_holdmetrics")
    for name in own:
        if name != "labchannel":
            assert run(lab, "-m", name, "--version").strip() == f"import OK -> {workspace.version}"
    assert run(lab, "-m", "labchannel", "--version").strip() == f"labchannel {workspace.version}"


def test_commands_are_installed(lab: Path, own: list[str]) -> None:
    folder = lab / ("Scripts" if sys.platform == "win32" else "bin")
    for name in own:
        assert any(path.stem == name for path in folder.iterdir()), name


def test_one_lock_makes_equal_environments(channel: Path, own: list[str], tmp_path: Path) -> None:
    platform = current_platform()
    specs = [*own, "python 3.13.*"]
    lock = tmp_path / "lab.lock"
    lock.write_text(lock_of(solve([channel], specs, platform), platform), encoding="utf-8")
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert str(channel) not in text
    trees = []
    for place in ("one", "two/deeper ü"):
        prefix = tmp_path / place
        locked_platform, packages = read_environment_lock(lock)
        install(records_of_lock(packages, [channel], locked_platform), prefix, platform, [])
        trees.append(dict(_contents(prefix)))
    assert trees[0].keys() == trees[1].keys()
    assert [name for name in trees[0] if trees[0][name] != trees[1][name]] == []


def _contents(prefix: Path) -> Iterator[tuple[str, bytes]]:
    """Each file's bytes with the environment's own path taken out."""
    for path in sorted(prefix.rglob("*")):
        name = path.relative_to(prefix).as_posix()
        # Bytecode holds the time of its source file, and conda-meta when it was installed.
        if path.is_dir() or name.startswith("conda-meta/") or path.suffix == ".pyc":
            continue
        if path.is_symlink():
            yield name, str(path.readlink()).encode()
            continue
        data = path.read_bytes()
        where = str(prefix).encode()
        if b"\0" in data:
            # A binary keeps its length: a shorter path is followed by zeros.
            data = re.sub(re.escape(where) + rb"[^\0]*\0+", b"@\0", data)
        # A path with spaces gets a launcher of two lines instead of one.
        quoted = rb"\"?" + re.escape(where) + rb"/bin/[^\s\"]+\"?"
        launcher = rb"\A#!/bin/sh\n'''exec' " + quoted + rb" \"\$0\" \"\$@\" #'''"
        data = re.sub(launcher, b"#!@", data)
        data = re.sub(rb"\A#!" + re.escape(where) + rb"/bin/\S+", b"#!@", data)
        yield name, data.replace(where, b"@")


def test_metadata_that_clients_read(channel: Path, own: list[str]) -> None:
    data = json.loads((channel / "channeldata.json").read_text(encoding="utf-8"))
    for name in own:
        assert data["packages"][name]["license"] == "MIT OR Apache-2.0"
    for subdir in ("noarch", current_platform()):
        for file in ("repodata.json", "repodata.json.zst", "repodata_shards.msgpack.zst"):
            assert (channel / subdir / file).is_file()
        assert "packages.conda" in json.loads(
            (channel / subdir / "run_exports.json").read_text(encoding="utf-8")
        )


def test_binaries_ask_for_no_newer_glibc_than_they_say(
    channel: Path, own: list[str], tmp_path: Path
) -> None:
    content = Channel.read(channel)
    seen = 0
    for name in own:
        record = newest_build(content, name)
        if record.subdir != "linux-64":
            continue
        folder = tmp_path / name
        extract(channel / record.location, folder)
        said = [spec for spec in record.depends if spec.startswith("__glibc")]
        (floor,) = re.findall(r">=(\d+)\.(\d+)", said[0])
        for path in folder.rglob("*.so"):
            seen += 1
            versions = re.findall(rb"GLIBC_(\d+)\.(\d+)", path.read_bytes())
            needed = max((int(major), int(minor)) for major, minor in versions)
            assert needed <= (int(floor[0]), int(floor[1])), f"{path.name}: {needed}"
    assert seen >= 2


def test_own_packages_are_small(channel: Path) -> None:
    content = Channel.read(channel)
    assert newest_build(content, "rvh_trace").size < 3_000_000
    assert newest_build(content, "poh_holdmetrics").size < 8_000_000

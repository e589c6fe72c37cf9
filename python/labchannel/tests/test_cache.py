"""What `clean` takes and leaves, also beside others and when it is ended midway."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from labchannel.cache import cache_folder, clean
from labchannel.errors import LabchannelError


def file(folder: str, name: str, size: int = 10) -> Path:
    path = cache_folder(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_the_python_that_runs_it_stays(monkeypatch, own_cache):
    running = file("venvs", "running/bin/python")
    other = file("venvs", "other/bin/python")
    monkeypatch.setattr(sys, "prefix", str(running.parents[1]))
    assert clean(everything=True) == {"venvs": 10}
    assert running.is_file()
    assert not other.parents[1].exists()
    assert [path.name for path in own_cache.iterdir()] == ["venvs"]


def test_one_that_is_ended_midway_leaves_no_half_environment(monkeypatch, own_cache):
    stamp = file("envs", "lab/conda-meta/labchannel.json")
    program = file("envs", "lab/bin/python")

    def ended(path: Path) -> None:
        next(Path(path).rglob("bin/python")).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", ended)
        with pytest.raises(KeyboardInterrupt):
            clean(everything=False)
    assert (stamp.exists(), program.exists()) == (False, False)
    # What it left is freed by the next one.
    assert clean(everything=False) == {"trash": 10}
    assert list(own_cache.iterdir()) == []


def test_a_file_that_goes_by_itself_is_no_error(monkeypatch):
    """As beside a build that is running."""
    gone = file("scratch", "job/gone")
    file("scratch", "job/left")
    lstat = Path.lstat

    def late(path: Path):
        if path.name == gone.name:
            path.unlink(missing_ok=True)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", late)
    assert clean(everything=False) == {"scratch": 10}


def test_a_folder_that_goes_by_itself_while_it_is_deleted(monkeypatch, own_cache):
    file("scratch", "job/left")
    rmtree = shutil.rmtree
    calls = []

    def late(path: Path) -> None:
        calls.append(path)
        if len(calls) == 1:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", late)
    assert clean(everything=False) == {"scratch": 10}
    assert list(own_cache.iterdir()) == []


def test_what_can_not_be_put_away_is_told_and_stays(monkeypatch):
    program = file("envs", "lab/bin/python")

    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(LabchannelError, match=r"envs can't be deleted.*Stop what uses it"):
        clean(everything=False)
    assert program.is_file()


def test_a_full_disk_has_no_room_for_a_folder(monkeypatch, own_cache):
    """And `clean` is what is told to who has a full disk."""
    file("envs", "lab/conda-meta/labchannel.json")
    file("scratch", "job/left")

    def full(_self: Path, *_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    assert clean(everything=False) == {"envs": 10, "scratch": 10}
    assert list(own_cache.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_folder_that_is_a_link_is_emptied_and_stays(own_cache, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    cache_folder("envs").rmdir()
    (own_cache / "envs").symlink_to(disk)
    file("envs", "lab/bin/python")
    assert clean(everything=False) == {"envs": 10}
    assert list(disk.iterdir()) == []
    assert [path.name for path in own_cache.iterdir()] == ["envs"]

"""`image` and `base-image` where something is missing. The images have their tests in tests/."""

import os
import shutil
import subprocess
import sys

import pytest
from labchannel.channel.publish import publish
from labchannel.docker import base_image, build_image, make_installer
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.workspace import Workspace

QUIET = Progressor(quiet=True)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The only folder on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_no_docker(programs, tmp_path):
    with pytest.raises(LabchannelError, match="docker is not on PATH"):
        build_image(Workspace(tmp_path), QUIET)
    with pytest.raises(LabchannelError, match="docker is not on PATH"):
        base_image(QUIET)


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not on PATH")
def test_no_daemon(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    with pytest.raises(LabchannelError, match="daemon does not answer") as error:
        build_image(Workspace(tmp_path), QUIET)
    assert "DOCKER_HOST" in error.value.mend


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not on PATH")
def test_what_the_command_says_without_a_daemon(repository, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "labchannel", "image"],
        check=False,
        cwd=repository,
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/socket"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: docker's daemon does not answer (")
    assert done.stderr.count("\n") == 1


def test_a_stage_that_is_none(repository):
    done = subprocess.run(
        [sys.executable, "-m", "labchannel", "image", "nonsense"],
        check=False,
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "'nonsense' is not one of app, test, dev" in done.stderr


def test_a_channel_that_does_not_serve_alone(make_package, tmp_path):
    channel = tmp_path / "channel"
    publish(channel, [make_package("alpha")])
    with pytest.raises(LabchannelError, match="holds no Python") as error:
        make_installer(channel, tmp_path / "installer")
    assert "LABCHANNEL_UPSTREAM=toolchain" in error.value.mend

"""The images: what docker/ says, and the images themselves where docker is.

A daemon that answers is used as it is. Where none does, and dockerd is installed and this is root,
the tests start their own, with its socket and images in a folder that is deleted afterwards.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from labchannel.channel.layout import Channel
from labchannel.develop import native_packages
from labchannel.docker import TARGETS
from labchannel.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
NATIVE = [folder.name for folder in native_packages(Workspace(ROOT))]

# ---- What the files say ------------------------------------------------------------------------


def test_every_target_is_a_stage() -> None:
    stages = re.findall(r"(?m)^FROM \S+ AS (\w+)$", DOCKERFILE)
    assert set(TARGETS) < set(stages)
    for service in COMPOSE["services"].values():
        assert service["build"]["target"] in TARGETS


def test_the_base_is_an_argument() -> None:
    froms = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    stages = set(re.findall(r"(?m)^FROM \S+ AS (\w+)$", DOCKERFILE))
    assert {name for name in froms if name not in stages} == {"${BASE}"}


def test_services_have_no_network_and_no_rights() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["build"]["network"] == "none", name
        assert service["network_mode"] == "none", name
        assert service["cap_drop"] == ["ALL"], name


def test_the_context_holds_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = set(re.findall(r"(?m)^COPY (?!--from)(\S+) ", DOCKERFILE))
    assert let_in == copied == {"channel", "docker/installer"}


# ---- The images --------------------------------------------------------------------------------


def _end_with_this_process() -> None:
    """Before dockerd is executed: a test run that is killed leaves no daemon."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _answers(variables: dict[str, str]) -> bool:
    return (
        subprocess.run(
            ["docker", "version"], check=False, capture_output=True, env={**os.environ, **variables}
        ).returncode
        == 0
    )


@pytest.fixture(scope="session")
def docker() -> Iterator[dict[str, str]]:
    """The variables that lead docker to a daemon."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not on PATH")
    if _answers({}):
        yield {}
        return
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("docker's daemon does not answer, and none can be started: no root or dockerd")
    # A socket's path is short: pytest's own temporary folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))
    variables = {"DOCKER_HOST": f"unix://{folder}/socket"}
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [
                # A network of its own, that leads nowhere: none is needed, and this machine's
                # bridges and rules stay as they are.
                *("unshare", "--net", "dockerd", "--host", variables["DOCKER_HOST"]),
                *("--data-root", folder / "data", "--exec-root", folder / "exec"),
                *("--pidfile", folder / "pid"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_this_process,
        )
        try:
            assert daemon.stdout is not None
            for line in daemon.stdout:
                log.write(line)
                if b"API listen on" in line:
                    break
            drain = subprocess.Popen(["cat"], stdin=daemon.stdout, stdout=log)
            if not _answers(variables):
                log.flush()
                said = (folder / "log").read_text(encoding="utf-8").splitlines()
                pytest.skip(f"dockerd can't run on this machine: {said[-1:]}")
            yield variables
        finally:
            daemon.terminate()
            daemon.wait(60)
            drain.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


def run(docker: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        cwd=ROOT,
        env={**os.environ, **docker},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def labchannel(docker: dict[str, str], *arguments: str) -> str:
    done = run(docker, sys.executable, "-m", "labchannel", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def app(docker: dict[str, str], channel: Path) -> dict[str, str]:
    """What `./pixiw run image` says of the image that it made."""
    if not any(record.name == "python" for record in Channel.read(channel)):
        pytest.skip("the channel was made where conda-forge answers, and holds no Python")
    return json.loads(labchannel(docker, "image", "--channel", str(channel), "--json"))


def inside(docker: dict[str, str], app: dict[str, str], *command: str) -> str:
    done = run(docker, "docker", "run", "--rm", "--network", "none", app["name"], *command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_image_says_that_the_libraries_work(
    docker: dict[str, str], app: dict[str, str], workspace: Workspace
) -> None:
    lines = inside(docker, app).splitlines()
    assert lines == [f"import OK -> {workspace.version}"] * len(NATIVE)


@pytest.mark.slow
def test_the_image_is_small(app: dict[str, int]) -> None:
    assert app["compressed"] < 100_000_000
    assert app["unpacked"] < 250_000_000


@pytest.mark.slow
def test_its_user_is_not_root_and_can_change_nothing(
    docker: dict[str, str], app: dict[str, str]
) -> None:
    assert inside(docker, app, "id", "-u") == "1000\n"
    script = "import os; print(os.access('/opt/lab', os.W_OK), os.access('/etc', os.W_OK))"
    assert inside(docker, app, "python", "-c", script) == "False False\n"


@pytest.mark.slow
def test_it_holds_the_channels_packages_and_nothing_that_installed_them(
    docker: dict[str, str], app: dict[str, str], channel: Path
) -> None:
    script = (
        "import json, pathlib; print(json.dumps([[r['fn'], r['sha256']] for r in map(json.loads, "
        "(p.read_text() for p in pathlib.Path('/opt/lab/conda-meta').glob('*.json')))]))"
    )
    installed = json.loads(inside(docker, app, "python", "-c", script))
    named = {(record.file_name, record.sha256) for record in Channel.read(channel)}
    assert {tuple(record) for record in installed} <= named
    assert len(installed) > 5
    assert inside(docker, app, "ls", "/opt") == "lab\n"
    assert inside(docker, app, "sh", "-c", "ls -d /channel || true") == ""


def compose() -> list[str]:
    plugin = ["docker", "compose"]
    if subprocess.run([*plugin, "version"], check=False, capture_output=True).returncode == 0:
        return plugin
    if shutil.which("docker-compose") is None:
        pytest.skip("docker has no compose, and there is no docker-compose")
    return ["docker-compose"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE)
def test_the_services_run(name: str, docker: dict[str, str], app: dict[str, str]) -> None:
    """By the names that the images have: those that `image` built are not built again."""
    labchannel(docker, "image", "test", "--base", app["base"])
    command = [*compose(), "--file", "docker/compose.yaml", "run", "--rm"]
    variables = {**docker, "BASE": app["base"]}
    done = run(variables, *command, "app")
    assert done.stdout.count("import OK -> ") == len(NATIVE), done.stderr
    own = f"test_{name}"
    service = [own] if own in COMPOSE["services"] else ["-e", f"PACKAGE={name}", "test"]
    done = run(variables, *command, *service)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(rf"(?m)^{name} +linux-64 +3\.(\d+) +passed", done.stdout)
    assert passed == ["12", "13", "14"], done.stdout


@pytest.mark.slow
def test_the_dev_service_has_the_libraries_and_their_test_tools(
    docker: dict[str, str], app: dict[str, str]
) -> None:
    built = json.loads(labchannel(docker, "image", "dev", "--base", app["base"], "--json"))
    imports = ", ".join([*NATIVE, "labchannel", "pytest", "hypothesis", "numpy"])
    inside(docker, built, "python", "-c", f"import {imports}")

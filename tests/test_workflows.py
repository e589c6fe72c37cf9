"""The workflows: checked by actionlint and zizmor, and each step that can run on Linux is run.

A step is named `FILE, JOB: NAME`, NAME being its `name`, or its first line. Three things can become
of it: it is run here; .ci/run runs the same task; or it can't be run on Linux, or not here, for the
reason written below. A step that is in none of these lists, or in two, fails a test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from labchannel.cache import cache_folder, exclusive
from labchannel.channel.layout import Channel
from labchannel.manifest import read_manifest
from labchannel.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
WORKSPACE = Workspace(ROOT)
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*.yml"))
}

ACTIONLINT = "v1.7.12"
ZIZMOR = "1.32.0"

# ---- Steps -------------------------------------------------------------------------------------

RUN_HERE = {
    "ci.yml, build: pixi run sdists",
    "ci.yml, matrix: pixi run matrix",
    "ci.yml, merge: pixi run labchannel publish",
    "ci.yml, merge: pixi run labchannel verify channel",
    "release.yml, check: ./pixiw run labchannel release-check",
    "release.yml, build: pixi run sdists",
    "release.yml, gather: pixi run labchannel publish",
    "release.yml, gather: pixi run labchannel verify channel",
    "release.yml, gather: Packages, wheels and source distributions",
}

CLIENTS = "conda, mamba and pixi are what it tries, and they are not here"
WINDOWS = "it is for Windows' own shells; tests/test_pixiw_cmd.py runs pixiw.cmd by Wine's cmd.exe"
NOT_RUN = {
    "ci.yml, alone: The Rust of toolchain.lock": "it makes another Rust this machine's default",
    "ci.yml, alone: ./pixiw run matrix": "18 rows take long; of the job `matrix` one is run here",
    "ci.yml, msrv: ": "it installs another Rust",
    "ci.yml, windows: ": WINDOWS,
    "ci.yml, clients: ": CLIENTS,
    "ci.yml, clients-alone: ": CLIENTS,
    "release.yml, github: ": "it writes to a release on GitHub",
}


@dataclass(frozen=True)
class Step:
    """One step that has a `run`."""

    workflow: str
    job: str
    name: str
    script: str
    variables: dict[str, str]

    def __str__(self) -> str:
        return f"{self.workflow}, {self.job}: {self.name}"

    @property
    def task(self) -> str:
        """The task, if the step does nothing else than to run one, with no more than options."""
        line = self.script.strip()
        match = re.fullmatch(r"(?:pixi|\./pixiw) run ((?:labchannel )?[\w-]+)( --[\w-]+)*", line)
        return match[1] if match else ""


def steps() -> Iterator[Step]:
    for workflow, content in WORKFLOWS.items():
        for job, body in content["jobs"].items():
            for step in body["steps"]:
                if "run" in step:
                    script = step["run"]
                    name = step.get("name", script.splitlines()[0])
                    variables = {**body.get("env", {}), **step.get("env", {})}
                    yield Step(workflow, job, name, script, variables)


def tasks_of_ci() -> set[str]:
    """The tasks that .ci/run runs, with all that they depend on."""
    manifest = read_manifest(WORKSPACE.manifest)
    found = set()
    for line in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\./pixiw run (labchannel [\w-]+|[\w-]+)", line):
            name = match[1]
            known = name in manifest.tasks
            found |= {task.name for task in manifest.task_order(name)} if known else {name}
    return found


def fates(step: Step) -> list[str]:
    named = str(step)
    return [
        *(["run here"] if any(named.startswith(name) for name in RUN_HERE) else []),
        *(["run by .ci/run"] if step.task in tasks_of_ci() else []),
        *(reason for name, reason in NOT_RUN.items() if named.startswith(name)),
    ]


@pytest.mark.parametrize("step", list(steps()), ids=str)
def test_each_step_is_run_or_has_its_reason(step: Step) -> None:
    assert len(fates(step)) == 1, f"{step}: {fates(step) or 'nothing says what becomes of it'}"


def test_no_list_names_a_step_that_is_gone() -> None:
    named = [str(step) for step in steps()]
    for name in (*RUN_HERE, *NOT_RUN):
        assert any(step.startswith(name) for step in named), name


# ---- Rights ------------------------------------------------------------------------------------


def jobs() -> list[Any]:
    return [
        pytest.param(workflow, name, job, id=f"{workflow}-{name}")
        for workflow, content in WORKFLOWS.items()
        for name, job in content["jobs"].items()
    ]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_grants_nothing_by_itself(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}


@pytest.mark.parametrize(("workflow", "name", "job"), jobs())
def test_a_job_may_do_what_it_needs_and_no_more(workflow: str, name: str, job: Any) -> None:
    writes = {right for right, level in job["permissions"].items() if level == "write"}
    allowed = {
        ("release.yml", "github"): {"contents", "id-token", "attestations"},
        ("release.yml", "pypi"): {"id-token"},
    }
    assert writes == allowed.get((workflow, name), set())
    assert ("environment" in job) == bool(writes), "what is written outside needs an environment"
    assert not writes or not any("checkout" in step.get("uses", "") for step in job["steps"])


@pytest.mark.parametrize(("workflow", "name", "job"), jobs())
def test_a_job_ends_and_runs_on_a_system_that_is_promised(
    workflow: str, name: str, job: Any
) -> None:
    assert job["timeout-minutes"] <= 120
    matrix = job.get("strategy", {}).get("matrix", {})
    systems = {row["os"] for row in matrix.get("include", [])} | set(matrix.get("os", []))
    assert systems or {job["runs-on"]} <= {"ubuntu-22.04", "windows-2022"}
    assert systems <= {"ubuntu-22.04", "windows-2022"}


@pytest.mark.parametrize(("workflow", "name", "job"), jobs())
def test_actions_are_pinned_and_a_checkout_keeps_no_credentials(
    workflow: str, name: str, job: Any
) -> None:
    for step in job["steps"]:
        action = step.get("uses")
        if action is None:
            continue
        assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+(\.\d+)*|[0-9a-f]{40})", action), action
        if action.startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_both_systems_build_by_the_same_tasks() -> None:
    rows = WORKFLOWS["ci.yml"]["jobs"]["build"]["strategy"]["matrix"]["include"]
    assert {(row["platform"], row["os"]) for row in rows} == {
        ("linux-64", "ubuntu-22.04"),
        ("win-64", "windows-2022"),
    }
    for step in WORKFLOWS["ci.yml"]["jobs"]["build"]["steps"]:
        assert "if" not in step


# ---- actionlint and zizmor ---------------------------------------------------------------------


def tool(name: str, command: list[str], variables: dict[str, str]) -> Path:
    """A program of the cache, installed once by its own client."""
    folder = cache_folder("tools") / name
    program = folder / "bin" / name.split("-")[0]
    with exclusive(name, f"installing {name}"):
        if not program.exists():
            done = subprocess.run(
                [part.replace("FOLDER", str(folder)) for part in command],
                check=False,
                env={**os.environ, **variables, "GOBIN": str(folder / "bin")},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
    return program


@pytest.mark.slow
def test_actionlint_finds_nothing() -> None:
    if shutil.which("go") is None:
        pytest.skip("there is no Go to build actionlint with")
    module = f"github.com/rhysd/actionlint/cmd/actionlint@{ACTIONLINT}"
    # Go's own folders are below HOME, which a task environment may not have.
    program = tool(f"actionlint-{ACTIONLINT}", ["go", "install", module], {"GOFLAGS": ""})
    lint = [str(program), "-shellcheck=", "-pyflakes=", *map(str, sorted(FOLDER.glob("*.yml")))]
    done = subprocess.run(lint, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_zizmor_finds_nothing() -> None:
    install = [*(sys.executable, "-m", "pip", "install", "--quiet"), *("--target", "FOLDER")]
    program = tool(f"zizmor-{ZIZMOR}", [*install, f"zizmor=={ZIZMOR}"], {})
    config = str(ROOT / ".github" / "zizmor.yml")
    audit = [str(program), "--offline", "--persona", "pedantic", "--config", config, str(FOLDER)]
    done = subprocess.run(audit, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- What can run on Linux is run ---------------------------------------------------------------

EXPRESSIONS = {
    "${{ github.ref_name }}": f"v{WORKSPACE.version}",
    # One row of the matrix. The star makes it the whole of a row's name, not a part of others.
    "${{ matrix.platform }}": f"{WORKSPACE.compiled_packages()[-1]} linux-64 3.12*",
}


def pixi(folder: Path) -> Path:
    """A folder for PATH, with a `pixi` that runs the same task by ./pixiw."""
    folder.mkdir()
    program = folder / "pixi"
    path = os.environ["PATH"]
    program.write_text(f'#!/bin/sh\nPATH="{path}" exec ./pixiw "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return folder


def execute(step: Step, where: Path, programs: Path) -> str:
    """Run a step's lines as GitHub does with `shell: bash`."""
    variables = dict(os.environ)
    for name, value in step.variables.items():
        # Which upstream there is depends on the machine; the rest is the workflow's.
        if name != "LABCHANNEL_UPSTREAM":
            variables[name] = EXPRESSIONS.get(value, value)
            assert "${{" not in variables[name], f"{step}: {name} is {value}"
    script = programs / "step.sh"
    script.write_text(step.script, encoding="utf-8")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        check=False,
        cwd=where,
        env={**variables, "PATH": f"{programs}{os.pathsep}{variables['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, f"{step}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux":
        pytest.skip("these are the steps that can run on Linux")
    return pixi(tmp_path_factory.mktemp("workflow") / "programs")


def run_job(workflow: str, job: str, where: Path, programs: Path) -> list[str]:
    """Run those of a job's steps that are to be run here; what each printed."""
    return [
        execute(step, where, programs)
        for step in steps()
        if (step.workflow, step.job) == (workflow, job) and fates(step) == ["run here"]
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout, as actions/checkout leaves one."""
    where = tmp_path / "checkout"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, where / name)
    return where


@pytest.fixture(scope="module")
def dist(programs: Path) -> Path:
    """dist/ with the source distributions that the step `pixi run sdists` makes.

    Quick, because `test-slow` depends on `develop`: the wheels tried are compiled already.
    """
    run_job("ci.yml", "build", ROOT, programs)
    return WORKSPACE.dist


def lay_artifacts(where: Path, channel: Path, dist: Path | None = None) -> None:
    """What the build jobs have uploaded: each system's channel, and dist/."""
    content = Channel.read(channel)
    own = set(WORKSPACE.own_packages())
    for record in content:
        if record.name in own:
            platform = "win-64" if record.subdir == "win-64" else "linux-64"
            target = where / "built" / f"channel-{platform}" / record.location
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(channel / record.location, target)
    if not (where / "built" / "channel-win-64").is_dir():
        pytest.skip("the channel has no win-64 packages: this machine can't build them")
    if dist is not None:
        shutil.copytree(dist, where / "pypi")


@pytest.mark.slow
def test_source_distributions_are_built(dist: Path) -> None:
    names = {path.name for path in dist.iterdir()}
    version = WORKSPACE.version
    for folder in WORKSPACE.python_packages:
        assert f"{folder.name}-{version}.tar.gz" in names
    assert f"labchannel-{version}-py3-none-any.whl" in names
    for path in dist.glob("*.tar.gz"):
        with tarfile.open(path) as archive:
            held = {name.partition("/")[2] for name in archive.getnames()}
        assert {"LICENSE-APACHE", "LICENSE-MIT", "README.md", "pyproject.toml"} <= held, path


@pytest.mark.slow
def test_a_row_of_the_matrix(channel: Path, programs: Path) -> None:
    files = [ROOT / "matrix.xml", ROOT / "matrix.html"]
    try:
        (said,) = run_job("ci.yml", "matrix", ROOT, programs)
        assert "1 passed" in said
        assert all(path.stat().st_size > 100 for path in files)
    finally:
        for path in files:
            path.unlink(missing_ok=True)


@pytest.mark.slow
def test_both_channels_become_one(checkout: Path, channel: Path, programs: Path) -> None:
    lay_artifacts(checkout, channel)
    said = run_job("ci.yml", "merge", checkout, programs)
    assert "no fault" in said[-1]
    subdirs = {record.subdir for record in Channel.read(checkout / "channel")}
    assert subdirs == {"noarch", "linux-64", "win-64"}


@pytest.mark.slow
def test_the_tag_is_checked(checkout: Path, programs: Path) -> None:
    changes = checkout / "CHANGELOG.md"
    text = changes.read_text(encoding="utf-8")
    changes.write_text(f"{text}\n## [{WORKSPACE.version}]\n", encoding="utf-8")
    (said,) = run_job("release.yml", "check", checkout, programs)
    assert said == f"v{WORKSPACE.version}: releases {WORKSPACE.version}\n"
    cargo = checkout / "Cargo.toml"
    lines = cargo.read_text(encoding="utf-8")
    cargo.write_text(lines.replace(f'"{WORKSPACE.version}"', '"9.9.9"', 1), encoding="utf-8")
    with pytest.raises(AssertionError, match=r"is not v9\.9\.9"):
        run_job("release.yml", "check", checkout, programs)


@pytest.mark.slow
def test_the_files_of_a_release(checkout: Path, channel: Path, dist: Path, programs: Path) -> None:
    lay_artifacts(checkout, channel, dist)
    run_job("release.yml", "gather", checkout, programs)
    release = checkout / "release"
    names = {path.name for path in release.iterdir()}
    conda = {path.name for path in (checkout / "channel").rglob("*.conda")}
    assert conda
    assert conda | {path.name for path in dist.iterdir()} <= names
    check = ["sha256sum", "--check", "--strict", "--quiet", "sha256sums.txt"]
    assert subprocess.run(check, check=False, cwd=release).returncode == 0
    hashed = (release / "sha256sums.txt").read_text(encoding="utf-8").splitlines()
    assert {line.split("  ")[1] for line in hashed} == names - {"sha256sums.txt"}

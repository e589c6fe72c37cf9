"""Tasks of pixi.toml, run without pixi in an environment that is made for them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from labchannel.channel.publish import publish
from labchannel.errors import LabchannelError
from labchannel.manifest import read_manifest
from labchannel.progress import Progressor
from labchannel.task import list_tasks, run_task, task_environment, task_variables
from labchannel.upstream import find_upstream
from rich.console import Console

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tiny programs are sh scripts")

# Programs of the environment: what a task sees, and how it ends.
PROGRAMS = {
    "bin/show": '#!/bin/sh\nfor word do echo "<$word>"; done\n',
    "bin/setting": '#!/bin/sh\nfor name do eval "echo \\"$name=\\${$name}\\""; done\n',
    "bin/leave": '#!/bin/sh\necho "leaving with $1"\nexit "$1"\n',
    "bin/where": "#!/bin/sh\npwd\n",
}

MANIFEST = """\
[workspace]
name = "tiny"
channels = ["conda-forge"]
platforms = ["linux-64"]

[dependencies]
programs = "*"

[activation.env]
DATA = "$PIXI_PROJECT_ROOT/data"
TOOL = "${CONDA_PREFIX}/bin/show"

[feature.more.dependencies]
more = "*"

[environments]
default = []
more = ["more"]

[tasks]
show = "show one 'two words'"
leave = "leave 0"
absent = "no-such-program"
where = "where"
more = "more"

[tasks.settings]
cmd = "setting DATA TOOL LEVEL"
env = { LEVEL = "$DATA/3" }

[tasks.inside]
cmd = "where"
cwd = "data"

[tasks.nowhere]
cmd = "where"
cwd = "missing"

[tasks.fails]
cmd = "leave 7"

[tasks.after]
cmd = "show after"
depends-on = ["show", "leave"]

[tasks.stopped]
cmd = "show never"
depends-on = ["fails", "show"]

[tasks.both]
description = "Both of them"
depends-on = ["leave", "show"]
"""


@pytest.fixture
def lab(checkout, make_package):
    checkout.write("pixi.toml", MANIFEST)
    checkout.write("data/here.txt", "")
    publish(
        checkout.toolchain,
        [
            make_package("programs", programs=PROGRAMS),
            make_package("more", programs={"bin/more": "#!/bin/sh\necho more\n"}),
        ],
    )
    return checkout


@pytest.fixture
def run(lab, capfd):
    """Run a task: its exit code and what its programs printed."""

    def run(name: str, *arguments: str, environment: str = "default") -> tuple[int, list[str]]:
        capfd.readouterr()
        code = run_task(lab.workspace, name, arguments, environment, Progressor(quiet=True))
        return code, capfd.readouterr().out.splitlines()

    return run


OUTSIDE = """\
import json, os, sys
sys.path[:0] = json.loads(sys.argv[1])
from labchannel.task import outside_variables
print(json.dumps(outside_variables()))
"""


def test_a_task_can_know_what_its_run_was_started_with(lab, monkeypatch):
    """Also the variables that its environment changes, and in a task that a task has started."""
    monkeypatch.setenv("DATA", "of the machine")
    # These tests may be a task themselves.
    monkeypatch.delenv("LABCHANNEL_OUTSIDE", raising=False)
    before = dict(os.environ)

    def inside(variables: dict[str, str]) -> dict[str, str]:
        command = [sys.executable, "-c", OUTSIDE, json.dumps(sys.path)]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def variables() -> dict[str, str]:
        upstream = find_upstream(lab.workspace, Progressor(quiet=True))
        manifest = read_manifest(lab.workspace.manifest)
        prefix = task_environment(
            lab.workspace, manifest, "default", upstream, Progressor(quiet=True)
        )
        return task_variables(lab.workspace, manifest, prefix, upstream)

    task = variables()
    assert (task["DATA"], task["PATH"]) != (before["DATA"], before["PATH"])
    assert inside(task) == before
    for name, value in task.items():
        monkeypatch.setenv(name, value)
    assert inside(variables()) == before


def test_arguments_are_appended_and_none_is_read_by_a_shell(run):
    assert run("show", "a b", "$HOME", "*", "--flag") == (
        0,
        ["<one>", "<two words>", "<a b>", "<$HOME>", "<*>", "<--flag>"],
    )


def test_arguments_go_to_the_named_task_alone(run):
    assert run("after", "x") == (
        0,
        ["<one>", "<two words>", "leaving with 0", "<after>", "<x>"],
    )


def test_a_task_may_only_depend_on_others(run):
    assert run("both") == (0, ["leaving with 0", "<one>", "<two words>"])


def test_the_exit_code_is_the_commands(run):
    assert run("fails") == (7, ["leaving with 7"])


def test_the_first_failure_ends_the_run(run):
    assert run("stopped") == (7, ["leaving with 7"])


def test_a_run_of_several_says_which_failed(lab):
    console = Console(file=io.StringIO(), soft_wrap=True)
    run_task(lab.workspace, "stopped", (), "default", Progressor(console))
    shown = console.file.getvalue()
    assert "> fails: leave 7\n" in shown
    assert "> fails failed with exit code 7\n" in shown


def test_a_task_sees_its_environment_and_its_variables(run, lab):
    code, lines = run("settings")
    assert code == 0
    data, tool, level = lines
    assert data == f"DATA={lab.root}/data"
    assert tool.startswith(f"TOOL={lab.cache}/envs/")
    assert level == f"LEVEL={lab.root}/data/3"


@pytest.mark.parametrize("form", ["%PIXI_PROJECT_ROOT%", "$PIXI_PROJECT_ROOT"])
@pytest.mark.parametrize("platform", ["linux-64", "win-64"])
def test_a_windows_variable_may_be_written_as_cmd_reads_it(lab, monkeypatch, platform, form):
    """pixi has cmd set it, which knows no $NAME; elsewhere a percent sign is one."""
    upstream = find_upstream(lab.workspace, Progressor(quiet=True))
    manifest = read_manifest(lab.workspace.manifest)
    prefix = task_environment(lab.workspace, manifest, "default", upstream, Progressor(quiet=True))
    lab.write("pixi.toml", MANIFEST.replace("$PIXI_PROJECT_ROOT/data", f"{form}/data%"))
    monkeypatch.setattr("labchannel.task.current_platform", lambda: platform)
    seen = task_variables(lab.workspace, read_manifest(lab.workspace.manifest), prefix, upstream)
    left = platform == "linux-64" and form.startswith("%")
    assert seen["DATA"] == f"{form if left else lab.root}/data%"


def test_a_task_does_not_see_the_callers_python(run, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("LEVEL", "the caller's")
    code, lines = run("settings")
    assert code == 0
    assert lines[2].endswith("/data/3")


def test_a_task_runs_in_the_checkout_or_in_its_own_folder(run, lab):
    assert run("where") == (0, [str(lab.root)])
    assert run("inside") == (0, [str(lab.root / "data")])


def test_a_folder_that_is_not_there(run):
    with pytest.raises(LabchannelError, match=r"nowhere.*missing"):
        run("nowhere")


def test_a_program_that_is_not_in_the_environment(run):
    with pytest.raises(LabchannelError, match=r"no program 'no-such-program'.*dependencies"):
        run("absent")


def test_another_environment(run):
    assert run("more", environment="more") == (0, ["more"])


def test_an_unknown_environment_is_told_before_anything_is_made_for_it(run, lab, monkeypatch):
    # Whoever asks for the upstream meets this: the toolchain channel takes minutes to make.
    monkeypatch.setenv("LABCHANNEL_UPSTREAM", "none")
    with pytest.raises(LabchannelError, match=r"no environment 'missing'.*default, more"):
        run("more", environment="missing")
    assert not (lab.cache / "envs").exists()


def test_an_unknown_task(run):
    with pytest.raises(LabchannelError, match=r"no task 'shwo'.*Choose one of: .*show"):
        run("shwo")


def test_an_environment_is_made_once_and_anew_when_its_packages_change(
    run, lab, make_package, monkeypatch
):
    run("show")
    (prefix,) = (lab.cache / "envs").iterdir()
    made = (prefix / "conda-meta" / "labchannel.json").stat().st_mtime_ns
    run("show")
    assert (prefix / "conda-meta" / "labchannel.json").stat().st_mtime_ns == made
    newer = {**PROGRAMS, "bin/show": "#!/bin/sh\necho newer\n"}
    monkeypatch.setenv("LABCHANNEL_UPSTREAM", "toolchain:second")
    more = make_package("more", programs={"bin/more": "#!/bin/sh\necho more\n"})
    publish(lab.toolchain, [make_package("programs", "2.0", programs=newer), more])
    assert run("show") == (0, ["newer"])


def test_an_environment_that_was_broken_off_is_made_again(run, lab):
    run("show")
    (prefix,) = (lab.cache / "envs").iterdir()
    (prefix / "conda-meta" / "labchannel.json").unlink()
    (prefix / "bin" / "show").unlink()
    (prefix / "conda-meta" / "programs-1.0-h0_0.json").unlink()
    assert run("show")[0] == 0


def test_the_tools_own_task_needs_no_environment(lab, tool):
    lab.write("pixi.toml", MANIFEST.replace("[tasks]", '[tasks]\nlabchannel = "x"'))
    done = tool("run", "labchannel", "--version", cwd=lab.root)
    assert done.stdout.startswith("labchannel "), done.stderr
    assert not (lab.cache / "envs").exists()


def test_all_tasks_are_listed_with_what_they_do(lab, tool):
    done = tool("run", cwd=lab.root)
    assert done.returncode == 0
    assert "both               Both of them" in done.stdout.splitlines()
    assert dict(list_tasks(lab.workspace))["both"] == "Both of them"


def test_the_command_lines_exit_code_is_the_tasks(lab, tool):
    done = tool("run", "fails", cwd=lab.root / "data")
    assert done.returncode == 7
    assert done.stdout == "leaving with 7\n"
    assert "Traceback" not in done.stderr


def test_options_after_the_task_are_the_tasks(lab, tool):
    done = tool("run", "show", "--help", "-q", "--environment", "x", cwd=lab.root)
    assert done.stdout.splitlines()[2:] == ["<--help>", "<-q>", "<--environment>", "<x>"]

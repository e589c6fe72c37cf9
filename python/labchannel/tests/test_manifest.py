"""pixi.toml as labchannel reads it: a subset, and every other key refused by name."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labchannel.errors import LabchannelError
from labchannel.manifest import Manifest, Task, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHOLE = """
[workspace]
name = "lab"
channels = ["conda-forge", "other"]
platforms = ["linux-64", "win-64"]

[dependencies]
numpy = ">=2"
python = "3.12.*"

[target.linux-64.dependencies]
gcc_linux-64 = "*"

[target.win-64.dependencies]
numpy = ">=2.1"

[activation.env]
HERE = "$PIXI_PROJECT_ROOT/here"

[target.win-64.activation.env]
HERE = "windows"

[feature.py313.dependencies]
python = "3.13.*"

[environments]
default = []
py313 = ["py313"]

[tasks]
short = "pytest python"

[tasks.long]
cmd = "pytest -m 'not slow' python"
description = "The tests"
depends-on = ["short"]
env = { LEVEL = "3" }
cwd = "python"

[tasks.all]
depends-on = ["short", "long"]
"""


@pytest.fixture
def manifest_of(tmp_path: Path) -> Callable[[str], Manifest]:
    def read(text: str) -> Manifest:
        path = tmp_path / "pixi.toml"
        path.write_text(text, encoding="utf-8")
        return read_manifest(path)

    return read


def tasks(manifest_of, graph: dict[str, list[str]]) -> Manifest:
    return manifest_of(
        "".join(
            f'[tasks.{name}]\ncmd = "x"\ndepends-on = {needs}\n' for name, needs in graph.items()
        )
    )


def test_the_whole_subset(manifest_of):
    manifest = manifest_of(WHOLE)
    assert manifest.channels == ("conda-forge", "other")
    assert manifest.platforms == ("linux-64", "win-64")
    assert manifest.tasks["short"].command == ("pytest", "python")
    assert manifest.tasks["long"] == Task(
        "long",
        "The tests",
        ("pytest", "-m", "not slow", "python"),
        ("short",),
        {"LEVEL": "3"},
        "python",
    )
    assert manifest.tasks["all"].command == ()


def test_specs_of_each_environment_on_each_platform(manifest_of):
    manifest = manifest_of(WHOLE)
    assert manifest.specs("default", "linux-64") == [
        "gcc_linux-64 *",
        "numpy >=2",
        "python 3.12.*",
    ]
    assert manifest.specs("py313", "linux-64")[-1] == "python 3.13.*"
    assert manifest.specs("default", "win-64") == ["numpy >=2.1", "python 3.12.*"]
    assert manifest.activation_env("linux-64") == {"HERE": "$PIXI_PROJECT_ROOT/here"}
    assert manifest.activation_env("win-64") == {"HERE": "windows"}


@pytest.mark.parametrize("platform", ["osx-arm64", "linux-aarch64"])
def test_a_platform_that_is_not_served(manifest_of, platform):
    with pytest.raises(LabchannelError, match=f"{platform} is not served.*linux-64, win-64"):
        manifest_of(WHOLE).specs("default", platform)


def test_an_unknown_environment(manifest_of):
    with pytest.raises(LabchannelError, match=r"no environment 'py399'.*default, py313"):
        manifest_of(WHOLE).specs("py399", "linux-64")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[system-requirements]\nlinux = '5'", "system-requirements"),
        ("[pypi-dependencies]\nrich = '*'", "pypi-dependencies"),
        ("[workspace]\nversion = '1'", "workspace.version"),
        ("[workspace]\nchannel-priority = 'strict'", "workspace.channel-priority"),
        ("[activation]\nscripts = ['a.sh']", "activation.scripts"),
        ("[target.linux-64.tasks]\na = 'b'", "target.linux-64.tasks"),
        ("[target.win-64.activation]\nscripts = ['a']", "target.win-64.activation.scripts"),
        ("[feature.a.tasks]\nb = 'c'", "feature.a.tasks"),
        ("[tasks.a]\ncmd = 'b'\ninputs = ['c']", "tasks.a.inputs"),
        ("[tasks.a]\ncmd = 'b'\ndepends_on = ['c']", "tasks.a.depends_on"),
    ],
)
def test_a_key_outside_the_subset_is_refused_by_name(manifest_of, text, named):
    with pytest.raises(LabchannelError, match=f"does not read the key {named}\\. Use pixi"):
        manifest_of(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("workspace = 'x'", "workspace"),
        ("dependencies = 3", "dependencies"),
        ("[dependencies]\nrich = { version = '*' }", "dependencies.rich"),
        ("[workspace]\nchannels = 'conda-forge'", "workspace.channels"),
        ("[workspace]\nplatforms = [1]", "workspace.platforms"),
        ("target = ['linux-64']", "target"),
        ("[target]\nlinux-64 = 1", "target.linux-64"),
        ("[feature]\na = 1", "feature.a"),
        ("activation = 1", "activation"),
        ("[activation]\nenv = ['a']", "activation.env"),
        ("[activation.env]\nA = 1", "activation.env.A"),
        ("environments = ['a']", "environments"),
        ("[environments]\na = ['missing']", "environments.a"),
        ("[environments]\na = { features = [] }", "environments.a"),
        ("tasks = 1", "tasks"),
        ("[tasks]\na = 1", "tasks.a"),
        ("[tasks.a]\ncmd = ['b', 'c']", "tasks.a.cmd"),
        ("[tasks.a]\ncmd = 'b \"c'", "tasks.a.cmd"),
        ("[tasks.a]\ncmd = 'b'\ndepends-on = 'c'", "tasks.a.depends-on"),
        ("[tasks.a]\ncmd = 'b'\nenv = { C = 1 }", "tasks.a.env.C"),
        ("[tasks.a]\ncmd = 'b'\ncwd = 1", "tasks.a.cwd"),
        ("[tasks.a]\ncmd = 'b'\ndescription = []", "tasks.a.description"),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_name_of_its_key(manifest_of, text, named):
    with pytest.raises(LabchannelError) as caught:
        manifest_of(text)
    assert f"{named} " in str(caught.value)
    assert caught.value.mend


@pytest.mark.parametrize(
    "command",
    [
        "a && b",
        "a | b",
        "a; b",
        "a > b",
        "a < b",
        "a &",
        "a `b`",
        "a $(b)",
        "a ${B}",
        "a $B",
        "a *.py",
        "A=1 b",
        "a\nb",
    ],
)
def test_what_needs_a_shell_is_refused(manifest_of, command):
    """Under pixi a shell would read these, so here they would mean something else."""
    with pytest.raises(LabchannelError, match=r"tasks\.a\.cmd.*depends-on"):
        manifest_of(f"[tasks.a]\ncmd = '''{command}'''")


def test_no_toml_names_the_line(manifest_of):
    with pytest.raises(LabchannelError, match=r"no valid TOML.*line 2"):
        manifest_of("[tasks]\na = = 1")


def test_a_missing_file(tmp_path):
    with pytest.raises(LabchannelError, match="is missing"):
        read_manifest(tmp_path / "pixi.toml")


def test_what_a_task_needs_comes_first_and_once(manifest_of):
    manifest = tasks(manifest_of, {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": [], "other": []})
    assert [task.name for task in manifest.task_order("d")] == ["a", "b", "c", "d"]


def test_tasks_in_a_circle(manifest_of):
    manifest = tasks(manifest_of, {"a": ["b"], "b": ["c"], "c": ["b"]})
    with pytest.raises(LabchannelError, match="circle: a -> b -> c -> b"):
        manifest.task_order("a")


def test_a_task_that_needs_an_unknown_one(manifest_of):
    manifest = tasks(manifest_of, {"a": ["missing"]})
    with pytest.raises(LabchannelError, match=r"no task 'missing'.*Choose one of: a"):
        manifest.task_order("a")


@given(
    st.integers(2, 9).flatmap(
        lambda count: st.tuples(
            *(
                st.sets(st.integers(0, number - 1) if number else st.nothing())
                for number in range(count)
            )
        )
    )
)
def test_any_order_without_a_circle_is_kept(graph):
    manifest = Manifest(
        path=None,
        channels=(),
        platforms=(),
        dependencies={},
        activation={},
        targets={},
        features={},
        environments={},
        tasks={
            str(number): Task(str(number), "", ("x",), tuple(map(str, needs)), {}, ".")
            for number, needs in enumerate(graph)
        },
    )
    order = [task.name for task in manifest.task_order(str(len(graph) - 1))]
    assert len(order) == len(set(order))
    for place, name in enumerate(order):
        assert all(str(needed) in order[:place] for needed in graph[int(name)])


def test_the_repository_keeps_to_the_subset(repository):
    manifest = read_manifest(repository / "pixi.toml")
    data = tomllib.loads((repository / "pixi.toml").read_text(encoding="utf-8"))
    assert list(manifest.tasks) == list(data["tasks"])
    for name, task in manifest.tasks.items():
        assert task.description, name
        manifest.task_order(name)
    for environment in manifest.environments:
        for platform in manifest.platforms:
            assert manifest.specs(environment, platform)

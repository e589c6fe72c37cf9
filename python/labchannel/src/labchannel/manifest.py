"""pixi.toml, as far as labchannel reads it where there is no pixi.

The subset, and nothing else: `[workspace]` (name, channels, platforms), `[dependencies]`,
`[activation.env]`, `[feature.NAME.dependencies]`, the same two under `[target.PLATFORM]`,
`[environments]` as lists of features, and `[tasks.NAME]` with cmd, depends-on, description, env
and cwd. A cmd is one program with its arguments: no shell operators. Any other key is refused by
name, so that a task never means one thing under pixi and another here.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labchannel.errors import LabchannelError
from labchannel.workspace import read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TASK_KEYS = {"cmd", "depends-on", "description", "env", "cwd"}
_TOP_KEYS = {
    "workspace",
    "dependencies",
    "activation",
    "target",
    "feature",
    "environments",
    "tasks",
}
# What pixi's shell would read in a command: operators, variables, globs, templates, assignments.
_SHELL = re.compile(r"[|&;<>`$*?\n]|\{\{|(^|\s)[~#!]|^\s*\w+=")


@dataclass(frozen=True)
class Task:
    """One task."""

    name: str
    description: str
    command: tuple[str, ...]
    """Program and arguments; empty for a task that only depends on others."""
    depends_on: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str


@dataclass(frozen=True)
class Manifest:
    """The whole file, as far as it is read."""

    path: Path
    channels: tuple[str, ...]
    platforms: tuple[str, ...]
    dependencies: Mapping[str, str]
    activation: Mapping[str, str]
    targets: Mapping[str, Mapping[str, Mapping[str, str]]]
    """platform -> {"dependencies" or "activation": ...}"""
    features: Mapping[str, Mapping[str, str]]
    environments: Mapping[str, tuple[str, ...]]
    tasks: Mapping[str, Task] = field(default_factory=dict)

    def specs(self, environment: str, platform: str) -> list[str]:
        """The specs of one environment on one platform, sorted.

        Raises
        ------
        LabchannelError
            There is no such environment, or the platform is not served.
        """
        self.require_platform(platform)
        self.require_environment(environment)
        merged = {
            **self.dependencies,
            **self.targets.get(platform, {}).get("dependencies", {}),
        }
        for name in self.environments[environment]:
            merged.update(self.features[name])
        return [f"{name} {version}" for name, version in sorted(merged.items())]

    def specs_by_python(self, platform: str) -> dict[str, set[str]]:
        """From each Python (`3.12`) to the specs of all environments that hold it.

        Environments that leave the Python open are under the empty text.
        """
        found: dict[str, set[str]] = {}
        for environment in self.environments:
            specs = self.specs(environment, platform)
            pinned = [re.fullmatch(r"python (\d+\.\d+)\.\*", spec) for spec in specs]
            python = next((match[1] for match in pinned if match), "")
            found.setdefault(python, set()).update(specs)
        return found

    def activation_env(self, platform: str) -> dict[str, str]:
        """The environment variables to set, `$NAME` not yet replaced."""
        return {
            **self.activation,
            **self.targets.get(platform, {}).get("activation", {}),
        }

    def require_environment(self, environment: str) -> None:
        """Refuse an environment that the file does not have."""
        if environment not in self.environments:
            raise LabchannelError(
                f"{self.path} has no environment {environment!r}",
                f"Choose one of: {', '.join(self.environments)}",
            )

    def require_platform(self, platform: str) -> None:
        """Refuse a platform that the file does not list."""
        if platform not in self.platforms:
            raise LabchannelError(
                f"{platform} is not served: {self.path.name} lists {', '.join(self.platforms)}",
                "Use one of these systems",
            )

    def task_order(self, name: str) -> list[Task]:
        """The task after all that it depends on, each once.

        Raises
        ------
        LabchannelError
            An unknown task, or a circle.
        """
        order: list[Task] = []
        self._visit(name, (), order)
        return order

    def _visit(self, name: str, above: tuple[str, ...], order: list[Task]) -> None:
        if name in above:
            raise LabchannelError(
                f"the tasks depend on each other in a circle: {' -> '.join((*above, name))}",
                f"Remove one depends-on in {self.path.name}",
            )
        if name not in self.tasks:
            raise LabchannelError(
                f"there is no task {name!r} in {self.path.name}",
                f"Choose one of: {', '.join(sorted(self.tasks))}",
            )
        if any(task.name == name for task in order):
            return
        task = self.tasks[name]
        for needed in task.depends_on:
            self._visit(needed, (*above, name), order)
        order.append(task)


def read_manifest(path: Path) -> Manifest:
    """Read pixi.toml.

    Raises
    ------
    LabchannelError
        A key outside the subset (named), or a value of the wrong type.
    """
    data = read_toml(path)
    _refuse_unknown(path, "", data, _TOP_KEYS)
    workspace = _table(path, "workspace", data)
    _refuse_unknown(path, "workspace.", workspace, {"name", "channels", "platforms"})
    targets: dict[str, dict[str, dict[str, str]]] = {}
    for platform in (target := _table(path, "target", data)):
        where = f"target.{platform}."
        table = _table(path, where, target)
        _refuse_unknown(path, where, table, {"dependencies", "activation"})
        targets[platform] = {
            "dependencies": _strings(path, f"{where}dependencies", table),
            "activation": _activation(path, where, table),
        }
    features = {}
    for name in (feature := _table(path, "feature", data)):
        where = f"feature.{name}."
        table = _table(path, where, feature)
        _refuse_unknown(path, where, table, {"dependencies"})
        features[name] = _strings(path, f"{where}dependencies", table)
    environments = {}
    chosen = _table(path, "environments", data) or {"default": []}
    for name, value in chosen.items():
        if not isinstance(value, list) or any(item not in features for item in value):
            raise LabchannelError(
                f"{path}: environments.{name} is not a list of features of this file",
                f"Name some of: {', '.join(features)}",
            )
        environments[name] = tuple(value)
    tasks = _table(path, "tasks", data)
    return Manifest(
        path=path,
        channels=_list(path, "workspace.channels", workspace),
        platforms=_list(path, "workspace.platforms", workspace),
        dependencies=_strings(path, "dependencies", data),
        activation=_activation(path, "", data),
        targets=targets,
        features=features,
        environments=environments,
        tasks={name: _task(path, name, tasks) for name in tasks},
    )


def _refuse_unknown(path: Path, where: str, table: Mapping[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise LabchannelError(
                f"{path}: labchannel does not read the key {where}{key}",
                f"Use pixi for it, or keep to: {', '.join(sorted(known))}",
            )


def _table(path: Path, where: str, parent: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table at the last key of `where`, empty if there is none."""
    where = where.removesuffix(".")
    value = parent.get(where.rpartition(".")[2], {})
    if not isinstance(value, dict):
        raise LabchannelError(f"{path}: {where} is not a table", f"Write it as [{where}]")
    return value


def _list(path: Path, where: str, parent: Mapping[str, Any]) -> tuple[str, ...]:
    """The list of strings at the last key of `where`, empty if there is none."""
    value = parent.get(where.rpartition(".")[2], [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise LabchannelError(
            f"{path}: labchannel reads {where} only as a list of names",
            'Write it as ["one", "two"]',
        )
    return tuple(value)


def _string(path: Path, where: str, parent: Mapping[str, Any], default: str) -> str:
    """The string at the last key of `where`."""
    value = parent.get(where.rpartition(".")[2], default)
    if not isinstance(value, str):
        raise LabchannelError(
            f"{path}: labchannel reads {where} only as text in quotes", "Put it in quotes"
        )
    return value


def _strings(path: Path, where: str, parent: Mapping[str, Any]) -> dict[str, str]:
    """The table of strings at the last key of `where`, empty if there is none."""
    table = _table(path, where, parent)
    return {name: _string(path, f"{where}.{name}", table, "") for name in table}


def _activation(path: Path, where: str, parent: Mapping[str, Any]) -> dict[str, str]:
    activation = _table(path, f"{where}activation", parent)
    _refuse_unknown(path, f"{where}activation.", activation, {"env"})
    return _strings(path, f"{where}activation.env", activation)


def _task(path: Path, name: str, tasks: Mapping[str, Any]) -> Task:
    where = f"tasks.{name}"
    short = isinstance(tasks[name], str)
    table = {"cmd": tasks[name]} if short else _table(path, where, tasks)
    _refuse_unknown(path, f"{where}.", table, _TASK_KEYS)
    return Task(
        name=name,
        description=_string(path, f"{where}.description", table, ""),
        command=_command(path, f"{where}.cmd", table.get("cmd", "")),
        depends_on=_list(path, f"{where}.depends-on", table),
        env=_strings(path, f"{where}.env", table),
        cwd=_string(path, f"{where}.cwd", table, "."),
    )


def _command(path: Path, where: str, command: object) -> tuple[str, ...]:
    if not isinstance(command, str) or _SHELL.search(command):
        raise LabchannelError(
            f"{path}: {where} is more than one program with its arguments",
            "Move the logic into labchannel, or split the task and use depends-on",
        )
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise LabchannelError(
            f"{path}: {where} can't be split into words ({str(error).lower()})",
            "Close the quotes in it",
        ) from error

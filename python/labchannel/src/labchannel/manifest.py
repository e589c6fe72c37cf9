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
_SHELL = re.compile(r"[|&;<>`]|\$\(|\$\{")


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
        if environment not in self.environments:
            raise LabchannelError(
                f"{self.path} has no environment {environment!r}",
                f"Choose one of: {', '.join(self.environments)}",
            )
        merged = {
            **self.dependencies,
            **self.targets.get(platform, {}).get("dependencies", {}),
        }
        for name in self.environments[environment]:
            merged.update(self.features[name])
        return [f"{name} {version}" for name, version in sorted(merged.items())]

    def all_specs(self) -> set[str]:
        """Every spec of the file for the platforms that a toolchain channel is made for."""
        tables = [self.dependencies, *self.features.values()]
        tables += [self.targets.get("linux-64", {}).get("dependencies", {})]
        return {f"{name} {version}" for table in tables for name, version in table.items()}

    def activation_env(self, platform: str) -> dict[str, str]:
        """The environment variables to set, `$NAME` not yet replaced."""
        return {
            **self.activation,
            **self.targets.get(platform, {}).get("activation", {}),
        }

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
    workspace = data.get("workspace", {})
    _refuse_unknown(path, "workspace.", workspace, {"name", "channels", "platforms"})
    targets: dict[str, dict[str, dict[str, str]]] = {}
    for platform, table in data.get("target", {}).items():
        where = f"target.{platform}."
        _refuse_unknown(path, where, table, {"dependencies", "activation"})
        targets[platform] = {
            "dependencies": _specs(path, f"{where}dependencies", table.get("dependencies", {})),
            "activation": _activation(path, where, table),
        }
    features = {}
    for name, table in data.get("feature", {}).items():
        _refuse_unknown(path, f"feature.{name}.", table, {"dependencies"})
        features[name] = _specs(path, f"feature.{name}.dependencies", table.get("dependencies", {}))
    environments = {}
    for name, value in data.get("environments", {"default": []}).items():
        if not isinstance(value, list) or any(item not in features for item in value):
            raise LabchannelError(
                f"{path}: environments.{name} is not a list of features of this file",
                f"Name some of: {', '.join(features)}",
            )
        environments[name] = tuple(value)
    return Manifest(
        path=path,
        channels=tuple(workspace.get("channels", ())),
        platforms=tuple(workspace.get("platforms", ())),
        dependencies=_specs(path, "dependencies", data.get("dependencies", {})),
        activation=_activation(path, "", data),
        targets=targets,
        features=features,
        environments=environments,
        tasks={name: _task(path, name, value) for name, value in data.get("tasks", {}).items()},
    )


def _refuse_unknown(path: Path, where: str, table: Mapping[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise LabchannelError(
                f"{path}: labchannel does not read the key {where}{key}",
                f"Use pixi for it, or keep to: {', '.join(sorted(known))}",
            )


def _specs(path: Path, where: str, table: Mapping[str, Any]) -> dict[str, str]:
    for name, value in table.items():
        if not isinstance(value, str):
            raise LabchannelError(
                f"{path}: labchannel reads {where}.{name} only as a version in quotes",
                'Write it as "*" or ">=1.2,<2"',
            )
    return dict(table)


def _activation(path: Path, where: str, table: Mapping[str, Any]) -> dict[str, str]:
    activation = table.get("activation", {})
    _refuse_unknown(path, f"{where}activation.", activation, {"env"})
    return _specs(path, f"{where}activation.env", activation.get("env", {}))


def _task(path: Path, name: str, value: str | dict[str, Any]) -> Task:
    table: dict[str, Any] = {"cmd": value} if isinstance(value, str) else value
    _refuse_unknown(path, f"tasks.{name}.", table, _TASK_KEYS)
    command = table.get("cmd", "")
    if not isinstance(command, str) or _SHELL.search(command):
        raise LabchannelError(
            f"{path}: tasks.{name}.cmd is more than one program with its arguments",
            "Move the logic into labchannel, or split the task and use depends-on",
        )
    depends_on = table.get("depends-on", [])
    if not isinstance(depends_on, list) or not all(isinstance(item, str) for item in depends_on):
        raise LabchannelError(
            f"{path}: labchannel reads tasks.{name}.depends-on only as a list of task names",
            'Write it as ["one", "two"]',
        )
    return Task(
        name=name,
        description=table.get("description", ""),
        command=tuple(shlex.split(command)),
        depends_on=tuple(depends_on),
        env=_specs(path, f"tasks.{name}.env", table.get("env", {})),
        cwd=table.get("cwd", "."),
    )

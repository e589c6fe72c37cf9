"""Run pixi.toml's tasks without pixi, in an environment that rattler makes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from labchannel.cache import cache_folder, exclusive
from labchannel.environment import activated, current_platform, install, solve
from labchannel.errors import LabchannelError
from labchannel.manifest import Manifest, Task, read_manifest
from labchannel.progress import Progressor
from labchannel.stopping import if_stopped, run_to_its_end
from labchannel.upstream import Upstream, find_upstream, mark_ready
from labchannel.workspace import Workspace

TOOL_TASK = "labchannel"

# What a task's variables were before its environment was activated: those that are others now.
_OUTSIDE = "LABCHANNEL_OUTSIDE"


def list_tasks(workspace: Workspace) -> list[tuple[str, str]]:
    """Every task's name and description, in the file's order."""
    tasks = read_manifest(workspace.manifest).tasks.values()
    return [(task.name, task.description) for task in tasks]


def run_task(
    workspace: Workspace,
    name: str,
    arguments: Sequence[str],
    environment: str,
    progress: Progressor,
) -> int:
    """Run a task after those it depends on; the first failure ends the run.

    Parameters
    ----------
    arguments
        Appended to the command of the named task, not of those it depends on.

    Returns
    -------
    int
        The exit code: 0, or that of the command that failed.

    Raises
    ------
    LabchannelError
        An unknown task or environment, a key of pixi.toml that labchannel does not read, or no
        environment that satisfies it.
    """
    manifest = read_manifest(workspace.manifest)
    order = manifest.task_order(name)
    if name == TOOL_TASK:
        # The tool is running already. It may be asked to mend what an environment would need
        # first (bootstrap --update), so it must not wait for one.
        command = [sys.executable, "-m", "labchannel", *arguments]
        if os.name == "posix":
            # In the place of this process: signals reach it, and it alone speaks of its end.
            os.execv(command[0], command)  # noqa: S606
        return run_to_its_end(command)
    # Before the toolchain channel is made, which takes minutes.
    manifest.require_environment(environment)
    upstream = find_upstream(workspace, progress)
    prefix = task_environment(workspace, manifest, environment, upstream, progress)
    variables = task_variables(workspace, manifest, prefix, upstream)
    for task in order:
        if not task.command:
            continue
        command = [*task.command, *(arguments if task.name == name else ())]
        progress.say(f"> {task.name}: {' '.join(command)}")
        own = {name: _expand(value, variables) for name, value in task.env.items()}
        with if_stopped(f"the task {task.name} was ended"):
            code = _run(command, _folder(workspace, task), {**variables, **own})
        if code != 0:
            if len(order) > 1:
                progress.say(f"> {task.name} failed with exit code {code}")
            return code
    return 0


def _folder(workspace: Workspace, task: Task) -> Path:
    folder = workspace.root / task.cwd
    if not folder.is_dir():
        raise LabchannelError(
            f"the folder of the task {task.name!r} is missing: {folder}",
            "Restore it, or correct the task's cwd in pixi.toml",
        )
    return folder


def _run(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> int:
    program = shutil.which(command[0], path=variables["PATH"])
    if program is None:
        raise LabchannelError(
            f"there is no program {command[0]!r} in the environment",
            "Add the package that has it to pixi.toml's dependencies",
        )
    return run_to_its_end([program, *command[1:]], folder, variables)


def task_environment(
    workspace: Workspace,
    manifest: Manifest,
    environment: str,
    upstream: Upstream,
    progress: Progressor,
) -> Path:
    """The prefix of one environment of this checkout, brought up to date."""
    platform = current_platform()
    specs = manifest.specs(environment, platform)
    home = hashlib.sha256(str(workspace.root).encode()).hexdigest()[:12]
    prefix = cache_folder("envs") / f"{home}-{environment}"
    stamp = prefix / "conda-meta" / "labchannel.json"
    wanted = json.dumps({"specs": specs, "upstream": upstream.identity}, sort_keys=True)
    with exclusive(f"env-{prefix.name}", "making this environment"):
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return prefix
        with progress.stage(f"environment {environment}") as step:
            step("solving")
            records = solve(list(upstream.channels), specs, platform)
            step(f"installing {len(records)} packages")
            stamp.unlink(missing_ok=True)
            install(records, prefix, platform, specs)
        stamp.write_text(wanted, encoding="utf-8")
    return prefix


def task_variables(
    workspace: Workspace, manifest: Manifest, prefix: Path, upstream: Upstream
) -> dict[str, str]:
    """The variables that a task sees: the activated environment and pixi.toml's own."""
    base = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables = activated(prefix, base)
    variables["PIXI_PROJECT_ROOT"] = str(workspace.root)
    # pixi gives tasks the environment's packages only; user site-packages would shadow them.
    variables["PYTHONNOUSERSITE"] = "1"
    platform = current_platform()
    for name, value in manifest.activation_env(platform).items():
        variables[name] = _expand(value, variables, percent=platform.startswith("win-"))
    variables.update(mark_ready(upstream))
    if sys.platform == "win32":
        variables["PIXI_PROJECT_ROOT"] = str(workspace.root).replace("\\", "/")
    # Of the outermost run, if a task runs others.
    outside = outside_variables()
    changed = {
        name: outside.get(name)
        for name in sorted(variables.keys() | outside.keys())
        if variables.get(name) != outside.get(name)
    }
    return {**variables, _OUTSIDE: json.dumps(changed)}


def outside_variables() -> dict[str, str]:
    """Inside a task: the variables that its `labchannel run` was started with.

    What makes a toolchain channel needs them: inside, the Rust on PATH is the channel's own. With
    pixi, where there is no toolchain channel, they are the variables of the task.
    """
    variables: dict[str, str | None] = dict(os.environ)
    variables.update(json.loads(variables.pop(_OUTSIDE, None) or "{}"))
    return {name: value for name, value in variables.items() if value is not None}


def _expand(value: str, variables: Mapping[str, str], *, percent: bool = False) -> str:
    """`value` with `$NAME` and `${NAME}` replaced, and with `percent` also `%NAME%`.

    That is for Windows, where it is cmd that sets these variables with pixi.
    """
    names = r"\$(?:\{(\w+)\}|(\w+))" + (r"|%(\w+)%" if percent else "()")
    return re.sub(names, lambda match: variables.get(match[1] or match[2] or match[3], ""), value)

"""pixi where conda-forge does not answer: its mirror is the toolchain channel, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import rattler

from labchannel.channel.serve import serving
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.stopping import run_to_its_end
from labchannel.upstream import CONDA_FORGE, find_upstream, mark_ready
from labchannel.workspace import Workspace

_NO_PROXY = ("NO_PROXY", "no_proxy")


def run_pixi(workspace: Workspace, arguments: Sequence[str], progress: Progressor) -> int:
    """Run pixi with its mirrors set; returns its exit code.

    pixi takes mirrors by HTTP only. A user's own configuration stays in force; one with mirrors
    of its own is left as it is.

    Raises
    ------
    LabchannelError
        There is no pixi, or the toolchain channel can't be made.
    """
    program = shutil.which("pixi")
    if program is None:
        raise LabchannelError("pixi is not on PATH", "Use ./pixiw, which works without it")
    upstream = find_upstream(workspace, progress)
    environment = {**os.environ, **mark_ready(upstream)}
    if upstream.toolchain is None:
        return run_to_its_end([program, *arguments], variables=environment)
    with (
        serving(upstream.toolchain.path) as url,
        tempfile.TemporaryDirectory(prefix="labchannel-pixi-") as folder,
    ):
        _configure(Path(folder), url)
        environment["XDG_CONFIG_HOME"] = folder
        # The mirror is on loopback: a proxy for it would look for it on its own machine.
        environment |= _without_proxy(environment)
        return run_to_its_end([program, *arguments], variables=environment)


def user_config() -> Path:
    """pixi's configuration file of this user, there or not."""
    return _config_home() / "pixi" / "config.toml"


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config").absolute()


def _configure(folder: Path, url: str) -> None:
    """Make `folder` the user's configuration, with a configuration of pixi of our own.

    Tasks see it as well: pip in them has its index from there, and git its user.
    """
    (folder / "pixi").mkdir()
    (folder / "pixi" / "config.toml").write_text(_config(url), encoding="utf-8")
    for here, theirs in (
        (folder, _config_home()),
        (folder / "pixi", user_config().parent),
    ):
        for entry in theirs.iterdir() if theirs.is_dir() else ():
            link = here / entry.name
            if not link.exists():
                link.symlink_to(entry)


def _without_proxy(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep loopback from the proxy; programs read one name or the other."""
    hosts = [variables.get(name, "") for name in _NO_PROXY]
    if "*" in hosts:  # no proxy for any host, which it means only alone
        return dict.fromkeys(_NO_PROXY, "*")
    value = ",".join(dict.fromkeys([*filter(None, hosts), "127.0.0.1", "localhost"]))
    return dict.fromkeys(_NO_PROXY, value)


def _config(url: str) -> str:
    path = user_config()
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if "[mirrors]" in text:
        return text
    address = rattler.Channel(CONDA_FORGE).base_url.rstrip("/")
    return f"{text}\n[mirrors]\n{json.dumps(address)} = [{json.dumps(url)}]\n"

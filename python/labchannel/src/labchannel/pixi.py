"""pixi where conda-forge does not answer: its mirror is the toolchain channel, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import rattler

from labchannel.channel.serve import serving
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.stopping import run_to_its_end
from labchannel.upstream import CONDA_FORGE, find_upstream, mark_ready
from labchannel.workspace import Workspace


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
        config = Path(folder) / "pixi" / "config.toml"
        config.parent.mkdir()
        config.write_text(_config(url), encoding="utf-8")
        environment["XDG_CONFIG_HOME"] = folder
        return run_to_its_end([program, *arguments], variables=environment)


def user_config() -> Path:
    """pixi's configuration file of this user, there or not."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "pixi" / "config.toml"


def _config(url: str) -> str:
    path = user_config()
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if "[mirrors]" in text:
        return text
    address = rattler.Channel(CONDA_FORGE).base_url.rstrip("/")
    return f"{text}\n[mirrors]\n{json.dumps(address)} = [{json.dumps(url)}]\n"

"""Where builds take their compilers and dependencies from: conda-forge, or the stand-in for it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import rattler
import rattler.exceptions

from labchannel.environment import open_gateway
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.toolchain.bootstrap import (
    Toolchain,
    bootstrap,
    bootstrap_cross,
    toolchain_folder,
)
from labchannel.toolchain.resolve import CROSS_PLATFORM
from labchannel.workspace import Workspace

CONDA_FORGE = "conda-forge"
CHOICES = (CONDA_FORGE, "toolchain")

VARIABLE = "LABCHANNEL_UPSTREAM"
_READY = "toolchain:"

_ANSWER_SECONDS = 15


@dataclass(frozen=True)
class Upstream:
    """The channels that builds and environments are made from."""

    channels: tuple[str, ...]
    identity: str
    """Part of every recipe's inputs: a package is built anew when its upstream is another."""
    toolchain: Toolchain | None
    """The toolchain channel, where conda-forge does not answer."""


def conda_forge_answers() -> bool:
    """Whether conda-forge can be reached, through the user's own mirrors and proxies.

    Raises
    ------
    LabchannelError
        This system has no certificates: rattler's client can't start, and so no channel be read.
    """

    async def ask() -> bool:
        with tempfile.TemporaryDirectory() as cache:
            found = await open_gateway(Path(cache)).query(
                sources=[CONDA_FORGE],
                platforms=[rattler.Subdir("noarch")],
                specs=[rattler.MatchSpec("python_abi")],
                recursive=False,
            )
            return any(records for records in found)

    try:
        return asyncio.run(asyncio.wait_for(ask(), _ANSWER_SECONDS))
    except (
        TimeoutError,
        OSError,
        rattler.exceptions.GatewayError,
        rattler.exceptions.FetchRepoDataError,
    ):
        return False


def mark_ready(upstream: Upstream) -> dict[str, str]:
    """The variable that tells a labchannel inside a task which upstream its task was given."""
    if upstream.toolchain is None:
        return {VARIABLE: CONDA_FORGE}
    return {VARIABLE: f"{_READY}{upstream.toolchain.identity}"}


def find_upstream(workspace: Workspace, progress: Progressor) -> Upstream:
    """conda-forge where it answers, else the toolchain channel, made if need be.

    LABCHANNEL_UPSTREAM=conda-forge or =toolchain decides without asking. Tasks are started with
    what `mark_ready` gives: their Rust on PATH is the channel's own, so they could not make it.

    Raises
    ------
    LabchannelError
        The variable has another value, or the toolchain channel can't be made.
    """
    choice = os.environ.get(VARIABLE, "")
    if choice.startswith(_READY):
        identity = choice.removeprefix(_READY)
        toolchain = Toolchain(toolchain_folder(identity), identity)
        return Upstream((toolchain.path.as_uri(),), toolchain.identity, toolchain)
    if choice and choice not in CHOICES:
        raise LabchannelError(
            f"{VARIABLE} is {choice!r}", f"Set it to {' or '.join(CHOICES)}, or not at all"
        )
    if choice == CONDA_FORGE or (not choice and conda_forge_answers()):
        return Upstream((CONDA_FORGE,), CONDA_FORGE, None)
    toolchain = bootstrap(workspace, progress)
    return Upstream((toolchain.path.as_uri(),), toolchain.identity, toolchain)


def cross_upstream(
    workspace: Workspace, progress: Progressor, upstream: Upstream, platform: str
) -> Upstream:
    """What a build for `platform` takes its parts from, given what this machine's builds use.

    Raises
    ------
    LabchannelError
        As `cross_toolchain`.
    """
    if upstream.toolchain is None:
        return upstream
    toolchain = cross_toolchain(workspace, progress, upstream.toolchain, platform)
    return Upstream((toolchain.path.as_uri(),), toolchain.identity, toolchain)


def cross_toolchain(
    workspace: Workspace, progress: Progressor, toolchain: Toolchain, platform: str
) -> Toolchain:
    """The toolchain channel of a build for `platform`, made if need be.

    Raises
    ------
    LabchannelError
        There is no cross build to this platform, or its part of the toolchain channel can't be
        made (no apt, no room, no registry).
    """
    here = str(rattler.Subdir.current())
    if platform == here:
        return toolchain
    if platform != CROSS_PLATFORM:
        raise LabchannelError(
            f"there is no cross build from {here} to {platform}",
            f"Build on {platform}, or where conda-forge answers",
        )
    return bootstrap_cross(workspace, progress, toolchain)

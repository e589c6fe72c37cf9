"""Tiny real packages, made by rattler-build, and channels of them."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import rattler
from labchannel.channel.publish import publish

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def published(shared_packages: Callable[..., Path]) -> Path:
    """Three packages in two subdirs, published once; nobody may change it."""
    make_package = shared_packages
    channel = make_package.folder / "channel"
    publish(
        channel,
        [
            make_package("alpha"),
            make_package("beta", depends=["alpha >=1"]),
            make_package("gamma", subdir="linux-64", depends=["beta"]),
        ],
    )
    return channel


@pytest.fixture
def lab(tmp_path: Path, published: Path) -> Path:
    """A copy of the published channel, on a path that needs quoting."""
    channel = tmp_path / "Lab Zürich" / "channel"
    shutil.copytree(published, channel)
    return channel


@dataclass
class Client:
    """py-rattler as a user's client: solve and install from one channel, with no shared cache."""

    cache: Path

    def solve(self, channel: str, *specs: str) -> list[rattler.RepoDataRecord]:
        async def run() -> list[rattler.RepoDataRecord]:
            return await rattler.solve(
                [channel],
                list(specs),
                gateway=rattler.Gateway(cache_dir=self.cache / "repodata"),
                platforms=["linux-64", "noarch"],
                virtual_packages=[],
            )

        return asyncio.run(run())

    def install(self, channel: str, prefix: Path, *specs: str) -> list[rattler.RepoDataRecord]:
        async def run() -> list[rattler.RepoDataRecord]:
            records = await rattler.solve(
                [channel],
                list(specs),
                gateway=rattler.Gateway(cache_dir=self.cache / "repodata"),
                platforms=["linux-64", "noarch"],
                virtual_packages=[],
            )
            await rattler.install(
                records,
                prefix,
                cache_dir=self.cache / "packages",
                platform=rattler.Subdir("linux-64"),
                show_progress=False,
            )
            return records

        return asyncio.run(run())


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path / "client")

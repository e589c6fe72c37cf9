"""Tiny real packages, made by rattler-build, and channels of them."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rattler
import rattler_build
from labchannel.channel.publish import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BUILT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclass
class PackageMaker:
    """Makes packages in a folder; two calls with the same facts give the same bytes."""

    folder: Path

    def __post_init__(self) -> None:
        self._count = itertools.count()

    def __call__(
        self,
        name: str,
        version: str = "1.0",
        *,
        number: int = 0,
        subdir: str = "noarch",
        files: dict[str, str | bytes] | None = None,
        licence: str | None = "MIT",
        depends: Sequence[str] = (),
        archive_type: Any = rattler_build.ArchiveType.Conda,
        detect_prefix: bool = True,
        **metadata: Any,
    ) -> Path:
        work = self.folder / f"package {next(self._count)}"
        content = work / "files"
        content.mkdir(parents=True)
        for path, data in (files or {f"share/{name}.txt": f"{name} {version} {number}\n"}).items():
            target = content / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if isinstance(data, bytes) else data.encode())
        licences = []
        if licence is not None:
            (work / "LICENSE.txt").write_text(licence)
            licences = [work / "LICENSE.txt"]
        output = rattler_build.assemble_package(
            name=name,
            version=version,
            target_platform=subdir,
            build_string=f"h0_{number}",
            build_number=number,
            output_dir=work,
            files_dir=content,
            license="MIT",
            license_files=licences,
            depends=list(depends),
            noarch="generic" if subdir == "noarch" else None,
            timestamp=BUILT,
            compression_level=1,
            archive_type=archive_type,
            detect_prefix=detect_prefix,
            **metadata,
        )
        return Path(output.path)


@pytest.fixture
def make_package(tmp_path: Path) -> PackageMaker:
    return PackageMaker(tmp_path)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three packages in two subdirs, published once; nobody may change it."""
    folder = tmp_path_factory.mktemp("published")
    make_package = PackageMaker(folder)
    channel = folder / "channel"
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


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    return tree

"""The repository that labchannel works in: where its files are and what version it has."""

from __future__ import annotations

import importlib.metadata
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labchannel.errors import LabchannelError

SERVED_PYTHONS = ("3.12", "3.13", "3.14")
"""The Pythons that the published packages promise to run on, and that the channel holds."""


@dataclass(frozen=True)
class Workspace:
    """One checkout. Every path below is derived from `root`.

    Examples
    --------
    >>> Workspace(Path("/src/lab")).channel.as_posix()
    '/src/lab/channel'
    """

    root: Path

    @property
    def recipes(self) -> Path:
        """The folder with one folder a recipe."""
        return self.root / "recipes"

    @property
    def variants(self) -> Path:
        """The only variant file."""
        return self.recipes / "variants.yaml"

    @property
    def channel(self) -> Path:
        """The published channel."""
        return self.root / "channel"

    @property
    def dist(self) -> Path:
        """Where wheels go."""
        return self.root / "dist"

    @property
    def manifest(self) -> Path:
        """The environments and tasks."""
        return self.root / "pixi.toml"

    @property
    def toolchain_lock(self) -> Path:
        """Names, versions and hashes of all that the toolchain channel is made of."""
        return self.root / "toolchain.lock"

    @property
    def toolchain_wants(self) -> Path:
        """What the toolchain channel holds beyond what recipes and environments name."""
        return self.root / "toolchain.toml"

    @property
    def wine_limits(self) -> Path:
        """The tests that Wine itself can't do, each with its cause."""
        return self.root / "tests" / "wine.toml"

    @property
    def python_packages(self) -> list[Path]:
        """The folders of the Python distributions, in alphabetical order."""
        return sorted(path.parent for path in self.root.glob("python/*/pyproject.toml"))

    def cargo(self) -> dict[str, Any]:
        """The parsed root Cargo.toml."""
        return read_toml(self.root / "Cargo.toml")

    @property
    def version(self) -> str:
        """The one version of everything made here."""
        return str(self.cargo()["workspace"]["package"]["version"])

    def own_packages(self) -> list[str]:
        """The conda packages made here: the recipe folders' names."""
        return sorted(path.parent.name for path in self.recipes.glob("*/recipe.yaml"))

    def compiled_packages(self) -> list[str]:
        """Those of them that have a compiled module: there is a binding crate."""
        return [
            name
            for name in self.own_packages()
            if (self.root / "crates" / f"{name}_py" / "Cargo.toml").is_file()
        ]


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file, or say which line is wrong.

    Raises
    ------
    LabchannelError
        The file is missing, unreadable or no TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise LabchannelError(
            f"{path} is missing", "Restore it from version control: git checkout"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise LabchannelError(f"{path} can't be read ({error})", "Mend its permissions") from error
    except tomllib.TOMLDecodeError as error:
        raise LabchannelError(f"{path} is no valid TOML: {error}", "Mend that line") from error


def find_workspace(start: Path | None = None) -> Workspace:
    """The checkout that `start` (the current folder) lies in.

    Raises
    ------
    LabchannelError
        No folder upwards has both pixi.toml and recipes/.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "pixi.toml").is_file() and (folder / "recipes").is_dir():
            return Workspace(folder)
    raise LabchannelError(
        f"{here} is not inside a checkout with pixi.toml and recipes/",
        "Change into the repository first",
    )


def tool_version() -> str:
    """labchannel's own version: from its metadata when installed, else from its checkout."""
    try:
        return importlib.metadata.version("labchannel")
    except importlib.metadata.PackageNotFoundError:
        return Workspace(Path(__file__).resolve().parents[4]).version

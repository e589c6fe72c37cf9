"""From files laid out as in an environment to a .conda: rattler-build does the packaging.

Each package is a generated v1 recipe whose script moves the staged files into $PREFIX, so that
prefix replacement, entry points, run exports, link.json and paths.json are rattler-build's own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rattler.package_streaming
import rattler_build

from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from collections.abc import Callable

# Bump it when the way packages are made changes: every package then gets a new file name.
FORMAT = 1

PREFIX_MARK = "@LABCHANNEL_PREFIX@"
"""Stands for the environment's path in staged text files named in `Contents.prefix_files`."""


@dataclass(frozen=True)
class Contents:
    """All that makes one package, except the files themselves.

    `source` identifies the files (a sha256, or a description that changes whenever they do):
    together with the other fields it gives the build string, so that one file name never stands
    for two different files.
    """

    name: str
    version: str
    source: str
    subdir: str
    license: str
    summary: str
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    run_exports: dict[str, list[str]] = field(default_factory=dict)
    noarch: str | None = None
    entry_points: tuple[str, ...] = ()
    build_prefix: str = ""
    build_suffix: str = ""
    prefix_files: tuple[str, ...] = ()

    @property
    def build_string(self) -> str:
        """For example `py312h1a2b3c4_0_cpython`."""
        facts = json.dumps([FORMAT, asdict(self)], sort_keys=True)
        digest = hashlib.sha256(facts.encode()).hexdigest()[:8]
        return f"{self.build_prefix}h{digest}_0{self.build_suffix}"

    @property
    def file_name(self) -> str:
        """The package's file name in the channel."""
        return f"{self.name}-{self.version}-{self.build_string}.conda"

    @property
    def channel_path(self) -> Path:
        """The package's path in the channel folder."""
        return Path(self.subdir, self.file_name)

    def recipe(self) -> dict[str, Any]:
        """The v1 recipe that packages a folder `stage` beside it."""
        mark_lines = [
            f'sed -i "s|{PREFIX_MARK}|$PREFIX|g" "$PREFIX/{name}"' for name in self.prefix_files
        ]
        build: dict[str, Any] = {
            "number": 0,
            "string": self.build_string,
            "script": [
                # A package without files is fine: the activation and meta packages.
                "shopt -s dotglob nullglob",
                'for entry in stage/*; do cp -a "$entry" "$PREFIX/"; done',
                *mark_lines,
            ],
            "dynamic_linking": {
                # The files come relocatable from where they were built.
                "binary_relocation": False,
                "missing_dso_allowlist": ["**"],
                "overlinking_behavior": "ignore",
                "overdepending_behavior": "ignore",
            },
        }
        # rattler-build would start one Python for each file: where bytecode belongs in a package it
        # is staged.
        python: dict[str, Any] = {"skip_pyc_compilation": ["**/*.py"]}
        if self.noarch == "python" and self.subdir != "noarch":
            python["version_independent"] = True
        elif self.noarch is not None:
            build["noarch"] = self.noarch
        if self.entry_points:
            python["entry_points"] = list(self.entry_points)
        build["python"] = python
        requirements: dict[str, Any] = {}
        if self.depends:
            requirements["run"] = list(self.depends)
        if self.constrains:
            requirements["run_constraints"] = list(self.constrains)
        if self.run_exports:
            requirements["run_exports"] = self.run_exports
        return {
            "package": {"name": self.name, "version": self.version},
            "source": {"path": "stage", "target_directory": "stage", "use_gitignore": False},
            "build": build,
            "requirements": requirements,
            "about": {"license": self.license, "summary": self.summary},
        }


@dataclass(frozen=True)
class Job:
    """One package to make, and how its files are laid out.

    `stage` is given an empty folder `<scratch>/<number>/stage`. What several jobs share they may
    put into `<scratch>`, which goes when all are done.
    """

    contents: Contents
    stage: Callable[[Path], None]


def extracted(package: Path, stage: Path) -> Path:
    """A package's files, unpacked once for all jobs that use them."""
    folder = stage.parents[1] / package.stem
    if not folder.is_dir():
        rattler.package_streaming.extract(package, folder)
    return folder


def pack(contents: Contents, stage: Path, output: Path) -> Path:
    """Make the .conda of `contents` from the files in `stage`.

    Parameters
    ----------
    contents
        The metadata.
    stage
        A folder whose parent is free to hold the recipe; its files are as in an environment.
    output
        The channel folder: the package lands in its subdir.

    Raises
    ------
    LabchannelError
        rattler-build refused or failed.
    """
    work = stage.parent
    stage.mkdir(exist_ok=True)
    # rattler-build wants a source folder with something in it.
    if not any(stage.iterdir()):
        (stage / "share" / contents.name).mkdir(parents=True)
        (stage / "share" / contents.name / "README").write_text(
            f"{contents.summary}\n", encoding="utf-8"
        )
    recipe_folder = work / "recipe"
    recipe_folder.mkdir()
    stage.rename(recipe_folder / "stage")
    try:
        recipe = rattler_build.Stage0Recipe.from_yaml(
            json.dumps(contents.recipe()), recipe_dir=recipe_folder
        )
        target = None if contents.subdir == "noarch" else contents.subdir
        platform = rattler_build.PlatformConfig(target_platform=target)
        (variant,) = recipe.render(
            rattler_build.VariantConfig(), rattler_build.RenderConfig(platform=platform)
        )
        result = variant.run_build(
            tool_config=rattler_build.ToolConfiguration(test_strategy="skip"),
            output_dir=work / "output",
            channels=[],
            no_build_id=True,
            # Level 1: the channel is local, time matters more than bytes.
            package_format="conda:1",
            no_include_recipe=True,
        )
    except rattler_build.RattlerBuildError as error:
        raise LabchannelError(
            f"{contents.name} {contents.version} can't be packaged: {error}",
            "Run `labchannel clean` and try again; the log above names the file",
        ) from error
    (built,) = result.packages
    target_path = output / contents.channel_path
    target_path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside the channel and renamed: a killed bootstrap leaves no half package.
    partial = target_path.with_suffix(".partial")
    shutil.move(built, partial)
    partial.chmod(0o644)
    partial.replace(target_path)
    return target_path

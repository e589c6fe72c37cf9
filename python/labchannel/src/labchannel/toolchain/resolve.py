"""`bootstrap --update`: from the names that recipes and environments use to a new toolchain.lock.

uv resolves (it can do so for a system and a Python that this machine does not have), pip chooses
and brings the files. Only this module and `registry` talk to registries.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name, parse_wheel_filename

from labchannel.cache import cache_folder
from labchannel.digest import file_sha256
from labchannel.errors import LabchannelError
from labchannel.manifest import read_manifest
from labchannel.recipe import load_recipes, spec_name
from labchannel.toolchain import registry
from labchannel.toolchain.debian import missing_programs, resolve_debs
from labchannel.toolchain.lock import (
    LockedArtifact,
    LockedCrate,
    LockedDeb,
    LockedRust,
    LockedWheel,
    ToolchainLock,
    read_lock,
)
from labchannel.toolchain.rust import rust_version, sysroot, toolchain_digest
from labchannel.workspace import SERVED_PYTHONS, Workspace, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labchannel.progress import OnStep

TOOLCHAIN_PLATFORM = "linux-64"
"""Where a toolchain channel can be made, and for what."""

CROSS_PLATFORM = "win-64"
"""What it can be made for besides, by cross build."""

MAVEN_CLASSIFIERS = {"linux-64": "linux-x86_64", "win-64": "windows-x86_64"}
UV_PLATFORMS = {"linux-64": "x86_64-manylinux_2_28", "win-64": "x86_64-pc-windows-msvc"}

# Made by labchannel itself, not from a wheel of that name.
MADE_HERE = re.compile(
    r"^(python|python_abi|python-abi3|python-gil|cpython|_python_abi3_support|zig|__.*"
    r"|(rust|gcc|gxx|sysroot|rust-std|vs\d*|cross-python)([_-].*)?|cargo-.*)$"
)


@dataclass(frozen=True)
class Wants:
    """What toolchain.toml, the recipes and pixi.toml ask for."""

    pythons: dict[str, str]
    crates: dict[str, str]
    compiler: dict[str, str]
    pypi_of: dict[str, str]
    """conda-forge's name to PyPI's, where they differ."""
    debian: dict[str, list[str]]
    """The Debian packages that each part of the cross build's compilers is made of."""
    requirements: dict[str, tuple[str, ...]]
    """From each served Python to its PyPI requirements, sorted."""

    @property
    def digest(self) -> str:
        """Changes whenever something else is asked for."""
        facts = [
            *(self.pythons, self.crates, self.compiler, self.pypi_of),
            *(self.debian, self.requirements),
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def conda_name(self, pypi: str) -> str:
        """conda-forge's name of a PyPI distribution.

        conda-forge keeps a distribution's own spelling; where two spellings are one name to PyPI
        the one that the recipes use wins, then the canonical one.
        """
        canonical = canonicalize_name(pypi)
        for conda, other in self.pypi_of.items():
            if canonicalize_name(other) == canonical:
                return conda
        return canonical


def read_wants(workspace: Workspace, platform: str) -> Wants:
    """Gather what the toolchain channel has to hold for one platform.

    For the cross build that is what the packages need there to run and to be tested. Whoever
    develops on that system has conda-forge.
    """
    table = read_toml(workspace.toolchain_wants)
    pypi_of: dict[str, str] = dict(table.get("names", {}))
    own = set(workspace.own_packages())
    everywhere: set[str] = {"pip"}
    environments: dict[str, set[str]] = {}
    cross = platform != TOOLCHAIN_PLATFORM
    for recipe in load_recipes(workspace, platform):
        # What runs while a package is built runs here, whatever it is built for.
        needs = recipe.needs_in_host if cross else recipe.needs_to_build
        everywhere.update(needs, recipe.needs_to_run, recipe.needs_to_test)
    if not cross:
        manifest = read_manifest(workspace.manifest)
        environments = manifest.specs_by_python(platform)
        everywhere |= environments.get("", set())
        if CROSS_PLATFORM in manifest.platforms:
            for recipe in load_recipes(workspace, CROSS_PLATFORM):
                everywhere.update(recipe.needs_in_build)

    def requirements(specs: set[str]) -> tuple[str, ...]:
        found = set()
        for spec in specs:
            name = spec_name(spec)
            if name not in own and not MADE_HERE.match(name):
                rest = spec[len(name) :].strip()
                found.add(f"{pypi_of.get(name, name)}{pypi_specifier(rest)}")
        return tuple(sorted(found))

    return Wants(
        pythons=dict(table["pythons"]),
        crates={} if cross else dict(table["crates"]),
        compiler={} if cross else dict(table["compiler"]),
        pypi_of=pypi_of,
        debian=dict(table.get("debian", {})) if cross else {},
        requirements={
            python: requirements(everywhere | environments.get(python, set()))
            for python in SERVED_PYTHONS
        },
    )


def pypi_specifier(spec: str) -> str:
    """A conda version spec as a PEP 440 specifier set.

    Examples
    --------
    >>> pypi_specifier(">=1.9.4,<2"), pypi_specifier("2.1.*"), pypi_specifier("*")
    ('>=1.9.4,<2', '==2.1.*', '')

    Raises
    ------
    LabchannelError
        PyPI has no word for it.
    """
    spec = spec.split(" ")[0]
    if spec in ("", "*"):
        return ""
    if "|" in spec:
        raise LabchannelError(
            f"the version {spec!r} has an alternative, which PyPI's requirements can't say",
            "Write it with one range in the recipe or in pixi.toml",
        )
    return ",".join(map(_pypi_clause, spec.split(",")))


def _pypi_clause(clause: str) -> str:
    if re.match(r"=[^=]", clause):
        # conda's single `=` is a beginning.
        return f"={clause.removesuffix('.*')}.*"
    return clause if re.match(r"[<>=!~]", clause) else f"=={clause}"


def _uv() -> str:
    """uv: the one on PATH, else one brought by pip into the cache."""
    found = shutil.which("uv")
    if found:
        return found
    folder = cache_folder("uv")
    program = folder / "bin" / "uv"
    if not program.is_file():
        registry.run_client(
            [*(sys.executable, "-m", "pip", "install", "--quiet"), "--target", str(folder), "uv"],
            "Install uv, or check that pip reaches its index",
        )
    return str(program)


def _index_options() -> list[str]:
    """pip's index for uv, which does not read pip's configuration."""
    listing = registry.run_client(
        [sys.executable, "-m", "pip", "config", "list"], "Mend pip's configuration"
    )
    # `extra-index-url` is another setting, and is listed first.
    match = re.search(r"(?m)^\S*\.index-url=['\"]?([^'\"\s]+)", listing)
    return ["--default-index", match[1]] if match else []


def compile_requirements(
    requirements: Iterable[str], python: str, options: list[str], scratch: Path
) -> str:
    """Resolve; the answer is a requirements file with hashes and no URLs."""
    source = scratch / "requirements.in"
    source.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
    return registry.run_client(
        [
            *(_uv(), "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
            *("--generate-hashes", "--only-binary", ":all:", "--python-version", python),
            *("--python", sys.executable, *options, *_index_options(), str(source)),
        ],
        "Correct the requirement that it names (recipes, pixi.toml or toolchain.toml)",
    )


def resolve_wheels(
    wants: Wants, python: str, platform: str, constraints: Iterable[str], scratch: Path
) -> list[LockedWheel]:
    """One wheel for each distribution that the wants come to, for one Python on one platform."""
    options = ["--python-platform", UV_PLATFORMS[platform]]
    constraint_file = scratch / "constraints.txt"
    constraint_file.write_text("".join(f"{line}\n" for line in constraints), encoding="utf-8")
    options += ["--constraint", str(constraint_file)]
    compiler = [f"{name}{spec}" for name, spec in wants.compiler.items()]
    text = compile_requirements([*wants.requirements[python], *compiler], python, options, scratch)
    resolved = scratch / "resolved.txt"
    resolved.write_text(text, encoding="utf-8")
    folder = cache_folder("wheels")
    arrived = scratch / f"{python}-{platform}"
    arrived.mkdir()
    registry.download_wheels(resolved, platform, python, arrived)
    locked = []
    for path in sorted(arrived.iterdir()):
        name, version, _build, _tags = parse_wheel_filename(path.name)
        sha256 = file_sha256(path)
        path.replace(folder / path.name)
        locked.append(
            LockedWheel(
                name=str(name),
                version=str(version),
                file=path.name,
                sha256=sha256,
                pythons=(python,),
                platform=platform,
            )
        )
    return locked


def merge_wheels(wheels: Iterable[LockedWheel]) -> tuple[LockedWheel, ...]:
    """One entry for a file on a platform: the Pythons that chose it are gathered.

    The first Python's version of a pure or abi3 distribution was a constraint for the others, so
    one file serves all of them wherever its authors made one.
    """
    merged: dict[tuple[str, str], LockedWheel] = {}
    for wheel in wheels:
        key = (wheel.file, wheel.platform)
        before = merged.get(key)
        pythons = sorted({*(before.pythons if before else ()), *wheel.pythons})
        merged[key] = replace(wheel, pythons=tuple(pythons))
    return tuple(sorted(merged.values()))


def make_lock(workspace: Workspace, on_step: OnStep) -> ToolchainLock:
    """Resolve everything anew; a crate whose version stays is not built again to learn its hash.

    Raises
    ------
    LabchannelError
        A registry refuses, a name does not exist, no version fits, or there is no Rust.
    """
    platforms = [TOOLCHAIN_PLATFORM]
    if CROSS_PLATFORM in read_manifest(workspace.manifest).platforms:
        platforms.append(CROSS_PLATFORM)
    wants = {platform: read_wants(workspace, platform) for platform in platforms}
    before = _lock_before(workspace)
    wheels: list[LockedWheel] = []
    pythons: list[LockedArtifact] = []
    crates = []
    debs: list[LockedDeb] = []
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as name:
        scratch = Path(name)
        for platform in platforms:
            for python in SERVED_PYTHONS:
                on_step(f"wheels for Python {python} on {platform}")
                # One version on all systems: what passes on one is what runs on the other.
                constraints = sorted({f"{wheel.name}=={wheel.version}" for wheel in wheels})
                wheels += resolve_wheels(wants[platform], python, platform, constraints, scratch)
            for python in SERVED_PYTHONS:
                on_step(f"Python {python} for {platform}")
                pythons.append(_lock_python(wants[platform], python, platform))
            for crate, version in wants[platform].crates.items():
                known = [c for c in before.crates if (c.name, c.version) == (crate, version)]
                if known:
                    crates += known
                    continue
                on_step(f"{crate} {version}")
                folder = scratch / crate
                folder.mkdir()
                _binary, digest = registry.install_crate(crate, version, folder)
                crates.append(LockedCrate(crate, version, digest))
            for part, names in wants[platform].debian.items():
                if missing_programs():
                    # Whoever renews the lock elsewhere leaves this part of it as it is.
                    debs += [deb for deb in before.debs if deb.part == part]
                    continue
                on_step(f"Debian's packages for {part}")
                debs += resolve_debs(part, names, cache_folder("debs"))
        on_step("Rust")
        memory = cache_folder("rust") / "digests.json"
        rust = LockedRust(rust_version(), toolchain_digest(sysroot(), memory), TOOLCHAIN_PLATFORM)
    return ToolchainLock(
        wants={platform: wants[platform].digest for platform in platforms},
        pythons=tuple(pythons),
        rust=(rust,),
        crates=tuple(crates),
        debs=tuple(debs),
        wheels=merge_wheels(wheels),
    )


def _lock_python(wants: Wants, python: str, platform: str) -> LockedArtifact:
    if python not in wants.pythons:
        raise LabchannelError(
            f"toolchain.toml names no artifact for Python {python}", "Add it to [pythons]"
        )
    artifact = f"{wants.pythons[python]}:jar:{MAVEN_CLASSIFIERS[platform]}"
    path = registry.download_artifact(artifact, cache_folder("jars"))
    version = artifact.split(":")[2].split("-")[0]
    return LockedArtifact(version, artifact, file_sha256(path), platform)


def _lock_before(workspace: Workspace) -> ToolchainLock:
    """The lock that is being replaced; an empty one if it can't be read."""
    try:
        return read_lock(workspace.toolchain_lock)
    except LabchannelError:
        return ToolchainLock(wants={}, pythons=(), rust=(), crates=(), debs=(), wheels=())


def tool_requirements(workspace: Workspace) -> str:
    """labchannel's own dependencies for every system and Python it runs on, with hashes.

    pixiw installs these where there is no conda to bring labchannel.
    """
    project = read_toml(workspace.root / "python" / "labchannel" / "pyproject.toml")["project"]
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as name:
        return compile_requirements(
            [*project["dependencies"], *project["optional-dependencies"]["build"], "pip"],
            "3.11",
            ["--universal"],
            Path(name),
        )

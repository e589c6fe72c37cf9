"""A wheel as a conda package: the files where conda expects them, dependencies in conda's names.

The unpacking is `installer`'s (PyPA), the reading of metadata `packaging`'s; what is ours is the
translation of names, versions and markers.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import installer
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from labchannel.errors import LabchannelError
from labchannel.toolchain.package import PREFIX_MARK, Contents

CondaName = Callable[[str], str]
"""From a PyPI name to conda-forge's name for it."""


@dataclass(frozen=True)
class WheelMetadata:
    """What a wheel's file name and METADATA say, as far as packaging needs it."""

    name: str
    version: str
    requires_python: str
    requires: tuple[Requirement, ...]
    license: str
    summary: str
    entry_points: tuple[str, ...]


def conda_spec(specifiers: SpecifierSet) -> str:
    """A PEP 440 specifier set as a conda version spec.

    Examples
    --------
    >>> conda_spec(SpecifierSet(">=1.2,!=1.5.*,<2"))
    '!=1.5.*,<2,>=1.2'
    >>> conda_spec(SpecifierSet("==1.4.*"))
    '1.4.*'
    """
    parts = []
    for specifier in specifiers:
        operator, version = specifier.operator, specifier.version
        if operator in ("==", "===") and version.endswith(".*"):
            parts.append(version)
        elif operator == "===":
            parts.append(f"=={version}")
        else:
            parts.append(f"{operator}{version}")
    return ",".join(sorted(parts))


def read_wheel(path: Path) -> WheelMetadata:
    """Read a wheel's metadata.

    Raises
    ------
    LabchannelError
        It is no wheel, or its metadata can't be parsed.
    """
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
            (metadata_name,) = [n for n in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", n)]
            raw, _unparsed = parse_email(archive.read(metadata_name))
            points_name = metadata_name.replace("METADATA", "entry_points.txt")
            points = archive.read(points_name).decode() if points_name in names else ""
            headers = message_from_string(archive.read(metadata_name).decode(errors="replace"))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise LabchannelError(
            f"{path.name} can't be read as a wheel ({error})",
            "Empty the download cache with `labchannel clean --all` and start again",
        ) from error
    try:
        requires = tuple(Requirement(text) for text in raw.get("requires_dist", []))
    except InvalidRequirement as error:
        raise LabchannelError(
            f"{path.name} has a requirement that can't be parsed: {error}",
            "Leave that version out in toolchain.toml and update the lock",
        ) from error
    name, version, _build, _tags = parse_wheel_filename(path.name)
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = lambda optionstr: optionstr  # type: ignore[method-assign]
    parser.read_string(points)
    scripts = dict(parser.items("console_scripts")) if parser.has_section("console_scripts") else {}
    return WheelMetadata(
        name=str(name),
        version=str(version),
        requires_python=raw.get("requires_python", ""),
        requires=requires,
        license=_license(raw.get("license_expression"), headers.get_all("Classifier") or []),
        summary=(raw.get("summary") or str(name)).splitlines()[0],
        entry_points=tuple(f"{key} = {value}" for key, value in sorted(scripts.items())),
    )


def _license(expression: str | None, classifiers: Iterable[str]) -> str:
    """The SPDX expression where the wheel has one, else what its classifiers come to."""
    if expression:
        return expression
    known = {
        "MIT License": "MIT",
        "Apache Software License": "Apache-2.0",
        "BSD License": "BSD-3-Clause",
        "Python Software Foundation License": "PSF-2.0",
        "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
        "ISC License (ISCL)": "ISC",
        "The Unlicense (Unlicense)": "Unlicense",
    }
    found = [
        spdx for text, spdx in known.items() if any(c.endswith(f":: {text}") for c in classifiers)
    ]
    return " OR ".join(found) or "LicenseRef-See-Dist-Info"


_SYSTEMS = {
    "linux-64": {
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
    },
    "win-64": {
        "sys_platform": "win32",
        "platform_system": "Windows",
        "platform_machine": "AMD64",
        "os_name": "nt",
    },
}

# What a package depends on that is right on one system only, as conda-forge marks it.
_SYSTEM_MARKS = {"linux-64": "__unix", "win-64": "__win"}


def run_depends(
    metadata: WheelMetadata, pythons: Iterable[str], platform: str, conda_name: CondaName
) -> list[str]:
    """The dependencies in conda's form.

    A marker counts when it holds for any of `pythons` on `platform`: one package serves them all.
    """
    environments = [
        {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "extra": "",
            **_SYSTEMS[platform],
        }
        for python in pythons
    ]
    depends = []
    for requirement in metadata.requires:
        marker = requirement.marker
        if marker is None or any(marker.evaluate(environment) for environment in environments):
            name = conda_name(canonicalize_name(requirement.name))
            depends.append(f"{name} {conda_spec(requirement.specifier)}".strip())
    return sorted(set(depends))


def pure_depends(
    metadata: WheelMetadata, pythons: tuple[str, ...], platform: str, conda_name: CondaName
) -> list[str]:
    """The dependencies of a package that lies in noarch/, where every system sees it.

    If it needs something else on another system it is marked as this system's: there are then two
    packages, and each system takes its own.
    """
    depends = run_depends(metadata, pythons, platform, conda_name)
    for other in _SYSTEMS:
        if run_depends(metadata, pythons, other, conda_name) != depends:
            return [*depends, _SYSTEM_MARKS[platform]]
    return depends


def glibc_floor(wheel: str) -> str | None:
    """The glibc that a manylinux wheel's file name asks for: the lowest of its tags.

    Examples
    --------
    >>> glibc_floor("a-1-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl")
    '2.27'
    >>> glibc_floor("a-1-py3-none-any.whl") is None
    True
    """
    legacy = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
    floors = []
    _name, _version, _build, tags = parse_wheel_filename(wheel)
    for tag in tags:
        if match := re.match(r"manylinux_(\d+)_(\d+)_", tag.platform):
            floors.append((int(match[1]), int(match[2])))
        elif (word := tag.platform.split("_")[0]) in legacy:
            floors.append(legacy[word])
    return "{}.{}".format(*min(floors)) if floors else None


def wheel_contents(
    path: Path,
    sha256: str,
    pythons: tuple[str, ...],
    platform: str,
    conda_name: CondaName,
) -> Contents:
    """What package a wheel becomes.

    - `none-any`: noarch, one for every system and Python.
    - abi3 or no Python ABI at all (programs): the platform's, one for every Python.
    - otherwise: one for its Python, with that python_abi.

    On Windows the last is noarch as well (in the platform's subdir): the launchers of its programs
    hold the environment's path, so they have to be made where it is installed.
    """
    metadata = read_wheel(path)
    _name, _version, _build, tags = parse_wheel_filename(path.name)
    pure = all(tag.platform == "any" for tag in tags)
    versioned = [tag for tag in tags if tag.abi not in ("none", "abi3")]
    find_depends = pure_depends if pure else run_depends
    depends = find_depends(metadata, pythons, platform, conda_name)
    prefix = "py"
    entry_points = metadata.entry_points
    prefix_files: tuple[str, ...] = ()
    noarch: str | None = "python"
    if versioned:
        (python,) = pythons
        tag = f"cp{python.replace('.', '')}"
        depends += [f"python {python}.*", f"python_abi {python}.* *_{tag}"]
        prefix = tag.replace("cp", "py")
        if not platform.startswith("win"):
            noarch = None
            prefix_files = tuple(f"bin/{point.split(' = ')[0]}" for point in entry_points)
            entry_points = ()
    else:
        requires = conda_spec(SpecifierSet(metadata.requires_python))
        depends.append(f"python {requires}".strip())
    floor = glibc_floor(path.name)
    if floor is not None:
        depends.append(f"__glibc >={floor},<3.0.a0")
    return Contents(
        name=conda_name(metadata.name),
        version=metadata.version,
        source=sha256,
        subdir="noarch" if pure else platform,
        license=metadata.license,
        summary=metadata.summary,
        depends=tuple(sorted(set(depends))),
        noarch=noarch,
        entry_points=entry_points,
        build_prefix=prefix,
        prefix_files=prefix_files,
    )


def unpack_wheel(path: Path, contents: Contents, stage: Path, python: str) -> None:
    """Lay the wheel's files out as in an environment with `python` (`3.12`)."""
    windows = contents.subdir.startswith("win")
    library = Path("Lib") if windows else Path("lib", f"python{python}")
    site_packages = stage / library / "site-packages"
    scripts = stage / ("Scripts" if windows else "bin")
    scheme = {
        "purelib": str(site_packages),
        "platlib": str(site_packages),
        "scripts": str(scripts),
        "headers": str(stage / "include"),
        "data": str(stage),
    }
    destination = SchemeDictionaryDestination(
        scheme,
        interpreter=f"{PREFIX_MARK}/bin/python",
        script_kind="win-amd64" if windows else "posix",
    )
    with WheelFile.open(path) as source:
        installer.install(
            source=source, destination=destination, additional_metadata={"INSTALLER": b"conda\n"}
        )
    # rattler writes the launchers of entry points at install time, for the system it installs on.
    for point in contents.entry_points:
        name = point.split(" = ")[0]
        for file in (scripts / name, scripts / f"{name}.exe"):
            file.unlink(missing_ok=True)

"""The toolchain channel's parts: its lock, wheels as packages, the registries' clients, Rust."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from labchannel.channel.archive import read_info
from labchannel.channel.index import build_index
from labchannel.channel.verify import verify
from labchannel.environment import current_platform, install, solve
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.toolchain import bootstrap as bootstraps
from labchannel.toolchain import registry
from labchannel.toolchain.bootstrap import bootstrap, bootstrap_cross
from labchannel.toolchain.lock import (
    LockedArtifact,
    LockedCrate,
    LockedDeb,
    LockedRust,
    LockedWheel,
    ToolchainLock,
    read_lock,
    write_lock,
)
from labchannel.toolchain.package import Contents, Job, pack
from labchannel.toolchain.resolve import (
    Wants,
    _index_options,
    merge_wheels,
    pypi_specifier,
    read_wants,
)
from labchannel.toolchain.rust import check_rust, toolchain_digest
from labchannel.toolchain.wheel import (
    conda_spec,
    glibc_floor,
    read_wheel,
    run_depends,
    unpack_wheel,
    wheel_contents,
)
from labchannel.workspace import SERVED_PYTHONS
from packaging.specifiers import SpecifierSet
from rattler import Version as CondaVersion
from rattler import VersionSpec

HERE = current_platform()

posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in programs are sh scripts")
needs_pip = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None, reason="needs pip in this Python"
)


def make_wheel(
    folder: Path,
    name: str = "tiny_tool",
    version: str = "1.2",
    tag: str = "py3-none-any",
    *,
    headers: str = "",
    files: dict[str, str] | None = None,
    scripts: str = "",
) -> Path:
    """A real wheel, with RECORD and hashes."""
    info = f"{name}-{version}.dist-info"
    pure = "true" if tag.endswith("-any") else "false"
    contents = {
        f"{name}/__init__.py": f"def main():\n    print('tiny', {version!r})\n",
        **(files or {}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{headers}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\n"
        + "".join(f"Tag: {one}\n" for one in tag.split()),
    }
    if scripts:
        contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}"
    record = ""
    for path, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={digest.decode()},{len(text.encode())}\n"
    contents[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    path = folder / f"{name}-{version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in contents.items():
            archive.writestr(zipfile.ZipInfo(inner), text)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_is(name: str) -> str:
    return name


# The lock.


def whole_lock(**changes) -> ToolchainLock:
    parts = {
        "wants": {"linux-64": "w" * 64, "win-64": "x" * 64},
        "pythons": (
            LockedArtifact("3.12.1", "g:n:3.12.1-1:jar:linux-x86_64", "a" * 64, "linux-64"),
        ),
        "rust": (LockedRust("1.95.0", "b" * 64, "linux-64"),),
        "crates": (LockedCrate("cargo-tool", "5.0.0", "c" * 64),),
        "debs": (
            LockedDeb("mingw", "zlib1g", "1:1.2.13.dfsg-1", "amd64", "1" * 64),
            LockedDeb("rust", "rustc-web", "1.96.0+dfsg1-1~deb12u2", "amd64", "2" * 64),
        ),
        "wheels": (
            LockedWheel("a", "1", "a-1-py3-none-any.whl", "d" * 64, ("3.12", "3.13"), "linux-64"),
            LockedWheel("b", "2", "b-2-py3-none-any.whl", "e" * 64, ("3.12",), "linux-64"),
        ),
    }
    return ToolchainLock(**{**parts, **changes})


def test_a_lock_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "toolchain.lock"
    write_lock(path, whole_lock())
    assert read_lock(path) == whole_lock()
    assert [entry.name for entry in tmp_path.iterdir()] == ["toolchain.lock"]


def test_an_entry_is_a_line(tmp_path):
    lines = whole_lock().dump().splitlines()
    assert sum('"sha256"' in line for line in lines) == 7
    assert "://" not in whole_lock().dump()


def test_an_empty_lock(tmp_path):
    empty = whole_lock(pythons=(), rust=(), crates=(), debs=(), wheels=())
    write_lock(tmp_path / "lock", empty)
    assert read_lock(tmp_path / "lock") == empty


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: text.replace('"wants"', '"want"'),
        lambda text: text.replace('"pythons": ["3.12", "3.13"]', '"pythons": 3'),
        lambda text: text.replace('"sha256"', '"md5"', 1),
        lambda text: text.replace("<<<", "") + "<<<<<<< HEAD\n",
    ],
)
def test_a_damaged_lock(tmp_path, damage):
    path = tmp_path / "toolchain.lock"
    path.write_text(damage(whole_lock().dump()), encoding="utf-8")
    with pytest.raises(LabchannelError, match=r"can't be read as a lock.*bootstrap --update"):
        read_lock(path)


def test_a_lock_of_another_labchannel(tmp_path):
    path = tmp_path / "toolchain.lock"
    path.write_text(whole_lock().dump().replace('"lock_version": 2', '"lock_version": 1'))
    with pytest.raises(LabchannelError, match=r"lock version 1.*reads 2"):
        read_lock(path)


def test_a_missing_lock(tmp_path):
    with pytest.raises(LabchannelError, match=r"is missing.*bootstrap --update"):
        read_lock(tmp_path / "toolchain.lock")


TOOLCHAIN_TOML = """\
[pythons]
"3.12" = "g:n:3.12.1-1"
[crates]
[compiler]
[names]
msgpack-python = "msgpack"
"""


@pytest.fixture
def wanting(checkout):
    checkout.write("toolchain.toml", TOOLCHAIN_TOML)
    checkout.recipe("alpha", run=["lib >=1.2,<2", "msgpack-python", "python"], build=["beta"])
    checkout.recipe("beta", run=["_python_abi3_support"])
    return checkout


def test_what_recipes_and_environments_ask_for_in_pypis_words(wanting):
    wants = read_wants(wanting.workspace, "linux-64")
    for_all = ("lib>=1.2,<2", "msgpack", "pip", "tool")
    assert wants.requirements == dict.fromkeys(SERVED_PYTHONS, for_all)


def test_an_environments_own_packages_are_for_its_python_alone(wanting):
    wanting.write(
        "pixi.toml",
        '[workspace]\nname = "x"\nchannels = []\nplatforms = ["linux-64"]\n'
        '[feature.new.dependencies]\npython = "3.13.*"\npeer = "*"\n'
        '[environments]\ndefault = ["new"]\n',
    )
    requirements = read_wants(wanting.workspace, "linux-64").requirements
    assert "peer" in requirements["3.13"]
    assert "peer" not in requirements["3.12"]


def test_a_lock_that_is_older_than_the_recipes(wanting, monkeypatch):
    monkeypatch.delenv("LABCHANNEL_UPSTREAM")
    wants = read_wants(wanting.workspace, "linux-64")
    empty = whole_lock(
        wants={"linux-64": wants.digest}, pythons=(), rust=(), crates=(), debs=(), wheels=()
    )
    write_lock(wanting.workspace.toolchain_lock, empty)
    if HERE != "linux-64":
        with pytest.raises(LabchannelError, match=f"no toolchain channel for {HERE}"):
            bootstrap(wanting.workspace, Progressor(quiet=True))
        return
    bootstrap(wanting.workspace, Progressor(quiet=True))
    wanting.recipe("alpha", run=["lib >=1.3"])
    with pytest.raises(LabchannelError, match=r"older than what recipes.*bootstrap --update"):
        bootstrap(wanting.workspace, Progressor(quiet=True))


def test_the_repositorys_lock_is_not_stale(repository):
    from labchannel.workspace import Workspace

    workspace = Workspace(repository)
    locked = read_lock(workspace.toolchain_lock)
    for platform in ("linux-64", "win-64"):
        assert locked.wants[platform] == read_wants(workspace, platform).digest
    assert {deb.part for deb in locked.debs} == {"mingw", "rust"}


def test_one_wheel_that_several_pythons_chose_is_one_entry():
    one = LockedWheel("a", "1", "a-1-py3-none-any.whl", "d" * 64, ("3.12",), "linux-64")
    merged = merge_wheels([one, replace(one, pythons=("3.14",)), replace(one, pythons=("3.13",))])
    assert merged == (replace(one, pythons=("3.12", "3.13", "3.14")),)


def test_one_wheel_that_two_systems_chose_is_two_entries():
    linux = LockedWheel("a", "1", "a-1-py3-none-any.whl", "d" * 64, ("3.12", "3.13"), "linux-64")
    windows = replace(linux, pythons=("3.12",), platform="win-64")
    assert merge_wheels([windows, linux]) == (windows, linux)


def test_what_the_cross_build_asks_for(wanting):
    """The packages' own needs over there; what builds them, and whoever develops them, is here."""
    wanting.write("toolchain.toml", TOOLCHAIN_TOML + '[debian]\nrust = ["rustc-web"]\n')
    wants = read_wants(wanting.workspace, "win-64")
    assert wants.requirements["3.12"] == ("lib>=1.2,<2", "msgpack", "pip")
    assert wants.debian == {"rust": ["rustc-web"]}
    assert wants.crates == wants.compiler == {}
    assert read_wants(wanting.workspace, "linux-64").debian == {}


# Names, versions and markers.


@pytest.mark.parametrize(
    ("pypi", "conda"),
    [
        ("msgpack", "msgpack-python"),
        ("Rich", "rich"),
        ("typing_extensions", "typing-extensions"),
        ("ruamel.yaml", "ruamel-yaml"),
    ],
)
def test_conda_names(pypi, conda):
    wants = Wants({}, {}, {}, {"msgpack-python": "msgpack"}, {}, {})
    assert wants.conda_name(pypi) == conda


# Few numbers, so that versions often are beginnings of each other.
numbers = st.sampled_from([0, 1, 2, 10])
releases = st.lists(numbers, min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
clauses = st.one_of(
    st.tuples(st.sampled_from([">=", "<=", "<", ">", "==", "!="]), releases).map("".join),
    st.tuples(st.sampled_from(["==", "!="]), releases).map(lambda pair: f"{pair[0]}{pair[1]}.*"),
    st.tuples(numbers, numbers).map(lambda pair: f"~={pair[0]}.{pair[1]}"),
)
specifier_sets = st.lists(clauses, min_size=1, max_size=3).map(",".join)


@settings(max_examples=300)
@given(specifier_sets, releases)
@example("==1.*", "1.2")
@example("!=1.*", "1.2.0")
@example("~=1.2", "1.10")
def test_a_pypi_specifier_means_the_same_to_conda(specifier, version):
    told = VersionSpec(conda_spec(SpecifierSet(specifier)))
    assert told.matches(CondaVersion(version)) == SpecifierSet(specifier).contains(version)


@settings(max_examples=300)
@given(specifier_sets, releases)
@example("==1.*", "1.2")
@example("!=1.*", "1.2.0")
@example("~=1.2", "1.10")
def test_a_conda_spec_means_the_same_to_pypi(specifier, version):
    conda = conda_spec(SpecifierSet(specifier))
    again = SpecifierSet(pypi_specifier(conda))
    assert again.contains(version) == SpecifierSet(specifier).contains(version)


@pytest.mark.parametrize(
    ("spec", "pypi"),
    [
        ("", ""),
        ("*", ""),
        ("1.95.*", "==1.95.*"),
        (">=1.2,<2", ">=1.2,<2"),
        ("2.1", "==2.1"),
        ("=2.1", "==2.1.*"),
        ("==2.1", "==2.1"),
        ("3.12.* *_cpython", "==3.12.*"),
        (">=1|<0.5", None),
    ],
)
def test_conda_specs_in_pypis_words(spec, pypi):
    if pypi is None:
        with pytest.raises(LabchannelError, match=re.escape(spec)):
            pypi_specifier(spec)
    else:
        assert pypi_specifier(spec) == pypi
        SpecifierSet(pypi)


def pure_contents(tmp_path, platform: str, *requires: str) -> Contents:
    headers = "".join(f"Requires-Dist: {line}\n" for line in requires)
    wheel = make_wheel(tmp_path, headers=headers)
    return wheel_contents(wheel, sha256(wheel), ("3.12",), platform, as_is)


def test_a_pure_wheel_that_needs_the_same_everywhere_is_one_package(tmp_path):
    requires = ["rich", 'tomli; python_version < "3.11"']
    linux = pure_contents(tmp_path, "linux-64", *requires)
    assert linux == pure_contents(tmp_path, "win-64", *requires)
    assert linux.depends == ("python", "rich")


def test_a_pure_wheel_that_needs_more_on_one_system_is_two_packages(tmp_path):
    requires = ["rich", 'colorama; sys_platform == "win32"']
    linux = pure_contents(tmp_path, "linux-64", *requires)
    windows = pure_contents(tmp_path, "win-64", *requires)
    assert linux.depends == ("__unix", "python", "rich")
    assert windows.depends == ("__win", "colorama", "python", "rich")
    assert linux.subdir == windows.subdir == "noarch"
    assert linux.file_name != windows.file_name


def depends_of(tmp_path, *requires: str, pythons=("3.12",), platform="linux-64") -> list[str]:
    headers = "".join(f"Requires-Dist: {line}\n" for line in requires)
    return run_depends(read_wheel(make_wheel(tmp_path, headers=headers)), pythons, platform, as_is)


def test_markers_decide_by_platform_and_python(tmp_path):
    requires = [
        'colorama; sys_platform == "win32"',
        'tomli>=1; python_version < "3.11"',
        'exceptiongroup; python_version < "3.13"',
        'numpy[extra]>=2,<3; extra == "fast"',
        "Rich (>=13)",
    ]
    assert depends_of(tmp_path, *requires) == ["exceptiongroup", "rich >=13"]
    assert depends_of(tmp_path, *requires, platform="win-64") == [
        "colorama",
        "exceptiongroup",
        "rich >=13",
    ]
    assert depends_of(tmp_path, *requires, pythons=("3.13", "3.14")) == ["rich >=13"]
    assert depends_of(tmp_path, *requires, pythons=("3.12", "3.14")) == [
        "exceptiongroup",
        "rich >=13",
    ]


@pytest.mark.parametrize(
    ("tag", "glibc"),
    [
        ("py3-none-any", None),
        ("cp312-cp312-win_amd64", None),
        ("cp312-cp312-manylinux_2_28_x86_64", "2.28"),
        ("cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64", "2.17"),
        ("cp312-cp312-manylinux2014_x86_64.manylinux_2_5_x86_64", "2.5"),
        ("cp312-cp312-manylinux1_x86_64", "2.5"),
        ("cp312-abi3-manylinux2010_x86_64", "2.12"),
    ],
)
def test_the_glibc_that_a_wheel_asks_for(tag, glibc):
    assert glibc_floor(f"a-1-{tag}.whl") == glibc


# Wheels as packages.


def packed(wheel: Path, folder: Path, pythons=("3.12", "3.13"), platform="linux-64") -> Path:
    contents = wheel_contents(wheel, sha256(wheel), pythons, platform, as_is)
    stage = folder / "work" / "stage"
    stage.mkdir(parents=True)
    unpack_wheel(wheel, contents, stage, pythons[0])
    path = pack(contents, stage, folder / "channel")
    shutil.rmtree(folder / "work")
    return path


@posix
def test_a_pure_wheel_becomes_one_noarch_package_that_runs(tmp_path, make_package):
    wheel = make_wheel(
        tmp_path,
        headers="Requires-Python: >=3.12\nRequires-Dist: lib>=2\nLicense-Expression: MIT\n"
        "Summary: A tiny tool\n",
        scripts="tiny = tiny_tool:main\n",
    )
    package = packed(wheel, tmp_path)
    info = read_info(package)
    assert package.parent.name == "noarch"
    assert info.index["name"] == "tiny-tool"
    assert info.index["noarch"] == "python"
    assert sorted(info.index["depends"]) == ["lib >=2", "python >=3.12"]
    assert (info.about["license"], info.about["summary"]) == ("MIT", "A tiny tool")

    channel = tmp_path / "channel"
    program_text = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    python = make_package(
        "python",
        "3.12.0",
        subdir=HERE,
        programs={"bin/python": program_text, "bin/python3.12": program_text},
    )
    (channel / HERE).mkdir(exist_ok=True)
    shutil.copy(python, channel / HERE)
    shutil.copy(make_package("lib", "2.0"), channel / "noarch")
    build_index(channel)
    prefix = tmp_path / "my env"
    install(solve([channel], ["tiny-tool"], HERE), prefix, HERE, ["tiny-tool"])
    site_packages = next(prefix.glob("lib/python3.*/site-packages"))
    shown = subprocess.run(
        [prefix / "bin" / "tiny"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site_packages)},
    )
    assert shown.stdout == "tiny 1.2\n"
    assert (site_packages / "tiny_tool-1.2.dist-info" / "INSTALLER").read_text() == "conda\n"


@posix
def test_a_compiled_wheel_belongs_to_its_python_and_system(tmp_path):
    wheel = make_wheel(
        tmp_path,
        tag="cp312-cp312-manylinux_2_28_x86_64",
        files={"tiny_tool/_native.so": "binary\n"},
        scripts="tiny = tiny_tool:main\n",
    )
    package = packed(wheel, tmp_path, pythons=("3.12",))
    info = read_info(package)
    assert package.parent.name == "linux-64"
    assert sorted(info.index["depends"]) == [
        "__glibc >=2.28,<3.0.a0",
        "python 3.12.*",
        "python_abi 3.12.* *_cp312",
    ]
    assert info.index["build"].startswith("py312h")


def test_an_abi3_wheel_serves_every_later_python(tmp_path):
    wheel = make_wheel(
        tmp_path, tag="cp312-abi3-manylinux_2_17_x86_64", headers="Requires-Python: >=3.12\n"
    )
    contents = wheel_contents(wheel, sha256(wheel), ("3.12", "3.13"), "linux-64", as_is)
    assert contents.subdir == "linux-64"
    assert contents.depends == ("__glibc >=2.17,<3.0.a0", "python >=3.12")


def test_other_bytes_are_another_file_name(tmp_path):
    wheel = make_wheel(tmp_path)
    one = wheel_contents(wheel, "1" * 64, ("3.12",), "linux-64", as_is)
    two = wheel_contents(wheel, "2" * 64, ("3.12",), "linux-64", as_is)
    assert one.file_name != two.file_name
    assert wheel_contents(wheel, "1" * 64, ("3.12",), "linux-64", as_is) == one


@posix
def test_the_same_wheel_packed_twice_holds_the_same_files(tmp_path):
    wheel = make_wheel(tmp_path, scripts="tiny = tiny_tool:main\n")
    told = [read_info(packed(wheel, tmp_path / name)).paths for name in ("one", "two")]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"<html>Please log in</html>",
        lambda data: data[: len(data) // 2],
    ],
)
def test_a_wheel_that_is_none(tmp_path, damage):
    wheel = make_wheel(tmp_path)
    wheel.write_bytes(damage(wheel.read_bytes()))
    with pytest.raises(LabchannelError, match=r"tiny_tool-1\.2-py3-none-any\.whl can't be read"):
        read_wheel(wheel)


def test_a_wheel_with_a_requirement_that_nobody_can_read(tmp_path):
    wheel = make_wheel(tmp_path, headers="Requires-Dist: what is this?\n")
    with pytest.raises(LabchannelError, match="requirement that can't be parsed"):
        read_wheel(wheel)


@pytest.mark.parametrize(
    ("headers", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0\n", "MIT OR Apache-2.0"),
        ("Classifier: License :: OSI Approved :: BSD License\n", "BSD-3-Clause"),
        ("", "LicenseRef-See-Dist-Info"),
    ],
)
def test_the_licence(tmp_path, headers, licence):
    assert read_wheel(make_wheel(tmp_path, headers=headers)).license == licence


@posix
def test_a_prefix_in_a_text_file_becomes_the_environments(tmp_path):
    stage = tmp_path / "work" / "stage"
    (stage / "lib").mkdir(parents=True)
    (stage / "lib" / "where.txt").write_text("@LABCHANNEL_PREFIX@/lib\n")
    contents = Contents(
        name="where",
        version="1",
        source="s",
        subdir="noarch",
        license="MIT",
        summary="",
        noarch="generic",
        prefix_files=("lib/where.txt",),
    )
    pack(contents, stage, tmp_path / "channel")
    build_index(tmp_path / "channel")
    prefix = tmp_path / "an env"
    install(solve([tmp_path / "channel"], ["where"], HERE), prefix, HERE, ["where"])
    assert (prefix / "lib" / "where.txt").read_text() == f"{prefix}/lib\n"


# The registries' clients.


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A wheel in a folder that pip takes for its registry."""
    shelf = tmp_path / "registry"
    wheel = make_wheel(shelf)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return LockedWheel("tiny-tool", "1.2", wheel.name, sha256(wheel), ("3.12",), "linux-64")


@pytest.fixture
def downloads(tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


@needs_pip
def test_a_locked_wheel_is_brought_once(locked, downloads, monkeypatch):
    paths = registry.fetch_wheels([locked], downloads)
    assert paths == {locked.file: downloads / locked.file}
    assert sha256(paths[locked.file]) == locked.sha256
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert registry.fetch_wheels([locked], downloads) == paths


@needs_pip
def test_a_wheel_that_was_damaged_in_the_cache_is_brought_again(locked, downloads):
    path = registry.fetch_wheels([locked], downloads)[locked.file]
    path.write_bytes(b"damaged")
    registry.fetch_wheels([locked], downloads)
    assert sha256(path) == locked.sha256


@needs_pip
def test_a_registry_with_other_bytes_than_the_lock(locked, downloads):
    other = replace(locked, sha256="0" * 64)
    with pytest.raises(LabchannelError) as caught:
        registry.fetch_wheels([other], downloads)
    assert "hash" in str(caught.value).lower()
    assert "bootstrap --update" in caught.value.mend
    assert "\n" not in str(caught.value)
    assert list(downloads.iterdir()) == []


@needs_pip
def test_a_registry_that_does_not_have_it(locked, downloads):
    with pytest.raises(LabchannelError, match=r"pip failed|python.* failed") as caught:
        registry.fetch_wheels([replace(locked, version="9.9")], downloads)
    assert "tiny-tool==9.9" in str(caught.value)


@needs_pip
def test_a_registry_that_refuses(locked, downloads, closed_port, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed_port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(LabchannelError, match=r"Check that pip reaches its index") as caught:
        registry.fetch_wheels([locked], downloads)
    assert str(caught.value).count("\n") == 0
    assert list(downloads.iterdir()) == []


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch) -> Path:
    """A folder in front of PATH, and nothing of the machine behind it but the system's own."""
    folder = tmp_path / "programs"
    folder.mkdir()
    needed = tmp_path / "system"
    needed.mkdir()
    for name in ("sh", "cat", "printf", "sed"):
        (needed / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{needed}")
    return folder


ARTIFACT = LockedArtifact(
    "3.12.1",
    "org.example:python:3.12.1-1:jar:linux-x86_64",
    hashlib.sha256(b"a jar").hexdigest(),
    "linux-64",
)

# What Maven does, as far as it is asked: it puts the artifact into the output folder.
MAVEN = """\
for argument do
    case "$argument" in
        -DoutputDirectory=*) printf 'a jar' > "${argument#*=}/python-3.12.1-1-linux-x86_64.jar" ;;
    esac
done"""


@posix
def test_maven_brings_an_artifact_once(programs, downloads):
    program(programs, "mvn", MAVEN)
    path = registry.fetch_artifact(ARTIFACT, downloads)
    assert path.read_bytes() == b"a jar"
    (programs / "mvn").unlink()
    assert registry.fetch_artifact(ARTIFACT, downloads) == path


@posix
def test_maven_brings_other_bytes_than_the_lock(programs, downloads):
    program(programs, "mvn", MAVEN)
    with pytest.raises(LabchannelError, match=r"the lock says 000.*not the locked bytes"):
        registry.fetch_artifact(replace(ARTIFACT, sha256="0" * 64), downloads)
    assert list(downloads.iterdir()) == []


@posix
def test_maven_is_refused(programs, downloads):
    program(programs, "mvn", "echo '[ERROR] 403 Forbidden'; exit 1")
    with pytest.raises(LabchannelError, match=r"mvn failed: \[ERROR\] 403 Forbidden.*settings"):
        registry.fetch_artifact(ARTIFACT, downloads)


@posix
def test_maven_brings_nothing(programs, downloads):
    program(programs, "mvn", "exit 0")
    with pytest.raises(LabchannelError, match="python"):
        registry.fetch_artifact(ARTIFACT, downloads)


@posix
def test_no_maven(programs, downloads):
    with pytest.raises(LabchannelError, match=r"mvn can't be started.*apt-get install maven"):
        registry.fetch_artifact(ARTIFACT, downloads)


@posix
def test_no_cargo(programs, downloads):
    with pytest.raises(LabchannelError, match=r"cargo can't be started.*Install Rust"):
        registry.build_crate(LockedCrate("tool", "1.0", "0" * 64), downloads)


# What cargo does, as far as it is asked: it keeps the crate file and installs the program.
CARGO = """\
root=
while test $# -gt 0; do
    if test "$1" = --root; then root=$2; fi
    shift
done
/bin/mkdir -p "$root/bin" "$CARGO_HOME/registry/cache/index"
printf 'crate' > "$CARGO_HOME/registry/cache/index/tool-1.0.crate"
printf 'program' > "$root/bin/tool\""""


@posix
def test_a_program_of_a_crate_is_built_once(programs, downloads):
    program(programs, "cargo", CARGO)
    entry = LockedCrate("tool", "1.0", hashlib.sha256(b"crate").hexdigest())
    path = registry.build_crate(entry, downloads)
    assert path.read_bytes() == b"program"
    (programs / "cargo").unlink()
    assert registry.build_crate(entry, downloads) == path


@posix
def test_a_crate_with_other_bytes_than_the_lock(programs, downloads):
    program(programs, "cargo", CARGO)
    with pytest.raises(LabchannelError, match=r"tool 1\.0 has sha256.*the lock says 000"):
        registry.build_crate(LockedCrate("tool", "1.0", "0" * 64), downloads)
    assert not (downloads / "tool-1.0").exists()


# Rust.


@pytest.fixture
def toolchain(tmp_path, programs):
    """A folder laid out as a Rust toolchain, and a rustc on PATH that names it."""
    root = tmp_path / "toolchain"
    (root / "lib").mkdir(parents=True)
    (root / "lib" / "library.so").write_text("code")
    answer = f'case "$1" in --print) echo "{root}";; *) echo "rustc 1.95.0 (abc 2026-01-01)";; esac'
    program(root / "bin", "rustc", answer)
    program(programs, "rustc", answer)
    return root


@posix
def test_the_locked_rust(toolchain, tmp_path):
    memory = tmp_path / "digests.json"
    entry = LockedRust("1.95.0", toolchain_digest(toolchain, memory), "linux-64")
    assert check_rust(entry, memory) == toolchain


@posix
def test_no_rust(programs, tmp_path):
    with pytest.raises(LabchannelError, match=r"no Rust on this machine.*rustup"):
        check_rust(LockedRust("1.95.0", "0" * 64, "linux-64"), tmp_path / "digests.json")


@posix
def test_a_rustc_that_does_not_work(programs, tmp_path):
    program(programs, "rustc", "echo 'error: no default toolchain' >&2; echo help >&2; exit 1")
    told = r"no Rust on this machine \(rustc says: no default toolchain\).*rustup"
    with pytest.raises(LabchannelError, match=told):
        check_rust(LockedRust("1.95.0", "0" * 64, "linux-64"), tmp_path / "digests.json")


@posix
def test_a_rustc_whose_folder_is_not_whole(toolchain, tmp_path):
    shutil.rmtree(toolchain)
    with pytest.raises(LabchannelError, match="rustup"):
        check_rust(LockedRust("1.95.0", "0" * 64, "linux-64"), tmp_path / "digests.json")


@posix
def test_another_rust_version(toolchain, tmp_path):
    entry = LockedRust("1.96.0", "0" * 64, "linux-64")
    with pytest.raises(
        LabchannelError, match=r"has Rust 1\.95\.0.*says 1\.96\.0.*rustup toolchain"
    ):
        check_rust(entry, tmp_path / "digests.json")


@posix
def test_the_locked_version_with_other_files(toolchain, tmp_path):
    memory = tmp_path / "digests.json"
    entry = LockedRust("1.95.0", toolchain_digest(toolchain, memory), "linux-64")
    (toolchain / "lib" / "library.so").write_text("other code")
    with pytest.raises(LabchannelError, match=r"1\.95\.0"):
        check_rust(entry, memory)


@posix
def test_rustups_own_records_do_not_count(toolchain, tmp_path):
    memory = tmp_path / "digests.json"
    before = toolchain_digest(toolchain, memory)
    (toolchain / "lib" / "rustlib").mkdir()
    (toolchain / "lib" / "rustlib" / "multirust-channel-manifest.toml").write_text("x")
    (toolchain / "lib" / "rustlib" / "components").write_text("x")
    assert toolchain_digest(toolchain, memory) == before


@posix
@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1'])
def test_a_damaged_memory_of_digests_is_made_anew(toolchain, tmp_path, text):
    memory = tmp_path / "digests.json"
    before = toolchain_digest(toolchain, memory)
    memory.write_text(text)
    assert toolchain_digest(toolchain, memory) == before
    assert json.loads(memory.read_text())


def pack_tiny(folder: Path, contents: Contents, channel: Path) -> None:
    stage = folder / "work" / "stage"
    stage.mkdir(parents=True)
    pack(contents, stage, channel)


@needs_pip
@pytest.mark.parametrize("extra", ["", "[install]\nextra-index-url = https://install.example\n"])
def test_pips_index_is_handed_to_uv_and_not_a_second_one(monkeypatch, tmp_path, extra):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    settings = "[global]\nextra-index-url = https://extra.example/simple\n"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").write_text(settings + extra, encoding="utf-8")
    assert _index_options() == []
    both = f"{settings}index-url = https://index.example/simple\n{extra}"
    (tmp_path / "pip.conf").write_text(both, encoding="utf-8")
    assert _index_options() == ["--default-index", "https://index.example/simple"]


# All of it: a toolchain channel of one wheel and the compiler's marks.


@posix
@needs_pip
@pytest.mark.skipif(HERE != "linux-64", reason="toolchain channels are made on linux-64")
def test_a_toolchain_channel_from_its_lock(checkout, locked, monkeypatch):
    checkout.write("toolchain.toml", TOOLCHAIN_TOML)
    checkout.recipe("alpha", run=["tiny-tool"])
    shutil.rmtree(checkout.cache / "toolchain")
    wants = {"linux-64": read_wants(checkout.workspace, "linux-64").digest}
    lock = whole_lock(wants=wants, pythons=(), rust=(), crates=(), debs=(), wheels=(locked,))
    write_lock(checkout.workspace.toolchain_lock, lock)
    made = bootstrap(checkout.workspace, Progressor(quiet=True))
    names = [path.name.split("-")[0] for path in made.path.glob("*/*.conda")]
    assert sorted(names) == ["_python_abi3_support", "tiny"]
    assert verify(made.path) == []
    # Again: nothing to do, the same identity, and no registry is asked.
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert bootstrap(checkout.workspace, Progressor(quiet=True)) == made
    # Another lock, as another checkout has it: a channel of its own, the first one stays whole.
    write_lock(checkout.workspace.toolchain_lock, replace(lock, wheels=()))
    emptied = bootstrap(checkout.workspace, Progressor(quiet=True))
    assert emptied.identity != made.identity
    assert not list(emptied.path.glob("*/tiny-*"))
    assert verify(emptied.path) == []
    assert list(made.path.glob("*/tiny-*"))
    assert verify(made.path) == []
    # What both name is there once.
    (shared,) = emptied.path.glob("*/_python_abi3_support-*")
    assert shared.samefile(made.path / shared.relative_to(emptied.path))


@posix
@needs_pip
@pytest.mark.skipif(HERE != "linux-64", reason="toolchain channels are made on linux-64")
class TestCross:
    """A toolchain channel for win-64 on top of this machine's."""

    @pytest.fixture
    def base(self, checkout, locked):
        checkout.write("toolchain.toml", TOOLCHAIN_TOML)
        checkout.recipe("alpha", run=["tiny-tool"])
        shutil.rmtree(checkout.cache / "toolchain")
        wants = {
            platform: read_wants(checkout.workspace, platform).digest
            for platform in ("linux-64", "win-64")
        }
        lock = whole_lock(wants=wants, pythons=(), rust=(), crates=(), debs=(), wheels=(locked,))
        write_lock(checkout.workspace.toolchain_lock, lock)
        return bootstrap(checkout.workspace, Progressor(quiet=True))

    def test_all_of_the_one_and_what_the_other_adds(self, checkout, base, monkeypatch):
        def stage(folder: Path) -> None:
            (folder / "compiler.txt").write_text("compiles\n")

        added = Contents("vs2022_win-64", "1.0", "source", "linux-64", "MIT", "A compiler")
        monkeypatch.setattr(
            "labchannel.toolchain.bootstrap._cross_jobs", lambda *_: [Job(added, stage)]
        )
        before = {path: path.read_bytes() for path in base.path.rglob("*.json")}
        cross = bootstrap_cross(checkout.workspace, Progressor(quiet=True), base)
        assert cross.identity != base.identity
        assert verify(cross.path) == []
        names = {path.relative_to(cross.path) for path in cross.path.glob("*/*.conda")}
        assert names == {
            *(path.relative_to(base.path) for path in base.path.glob("*/*.conda")),
            added.channel_path,
        }
        # This machine's own is neither changed nor made anew.
        assert {path: path.read_bytes() for path in base.path.rglob("*.json")} == before
        assert bootstrap(checkout.workspace, Progressor(quiet=True)) == base
        assert bootstrap_cross(checkout.workspace, Progressor(quiet=True), base) == cross

    def test_a_lock_that_was_made_without_apt(self, checkout, base):
        for name in ("zig", "rust"):
            tiny = Contents(name, "1", "source", HERE, "MIT", name)
            pack_tiny(checkout.root / name, tiny, base.path)
        with pytest.raises(LabchannelError, match=r"names no Debian package rustc-web.*On Debian"):
            bootstrap_cross(checkout.workspace, Progressor(quiet=True), base)

    def test_a_lock_that_is_older_than_the_recipes(self, checkout, base):
        lock = read_lock(checkout.workspace.toolchain_lock)
        write_lock(
            checkout.workspace.toolchain_lock, replace(lock, wants={**lock.wants, "win-64": "old"})
        )
        assert bootstrap(checkout.workspace, Progressor(quiet=True)) == base
        with pytest.raises(LabchannelError, match=r"older than what recipes.*bootstrap --update"):
            bootstrap_cross(checkout.workspace, Progressor(quiet=True), base)


@posix
@needs_pip
@pytest.mark.skipif(HERE != "linux-64", reason="toolchain channels are made on linux-64")
class TestBadDays:
    """A toolchain channel of one wheel, made while something else happens."""

    @pytest.fixture(autouse=True)
    def lock(self, checkout, locked, monkeypatch):
        monkeypatch.setenv("LABCHANNEL_UPSTREAM", "toolchain")
        checkout.write("toolchain.toml", TOOLCHAIN_TOML)
        checkout.recipe("alpha", run=["tiny-tool"])
        shutil.rmtree(checkout.cache / "toolchain")
        wants = {"linux-64": read_wants(checkout.workspace, "linux-64").digest}
        lock = whole_lock(wants=wants, pythons=(), rust=(), crates=(), debs=(), wheels=(locked,))
        write_lock(checkout.workspace.toolchain_lock, lock)

    @pytest.fixture
    def channel(self, checkout):
        """The one channel there is, whole."""

        def channel() -> Path:
            (made,) = (checkout.cache / "toolchain").iterdir()
            assert verify(made) == []
            assert list(made.glob("*/tiny-*.conda"))
            return made

        return channel

    def test_two_at_once_make_one(self, checkout, channel):
        command = [sys.executable, "-m", "labchannel", "bootstrap"]
        both = [
            subprocess.Popen(command, cwd=checkout.root, stdin=subprocess.DEVNULL) for _ in range(2)
        ]
        assert [process.wait(120) for process in both] == [0, 0]
        channel()

    def test_one_that_died_before_its_index_was_written(self, checkout, channel, monkeypatch):
        def die(folder: Path, **options: bool) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as dying:
            dying.setattr("labchannel.toolchain.bootstrap.build_index", die)
            with pytest.raises(KeyboardInterrupt):
                bootstrap(checkout.workspace, Progressor(quiet=True))
        bootstrap(checkout.workspace, Progressor(quiet=True))
        channel()

    @pytest.mark.parametrize("lost", ["linux-64", "noarch"])
    def test_one_that_was_killed_while_its_index_was_written(
        self, checkout, channel, monkeypatch, lost
    ):
        """An index of one subdir alone is not the whole."""

        def stage(folder: Path) -> None:
            (folder / "tool.txt").write_text("a tool\n")

        tool = Job(Contents("tool", "1.0", "source", "linux-64", "MIT", "A tool"), stage)
        jobs = bootstraps._jobs
        monkeypatch.setattr(bootstraps, "_jobs", lambda *parts: [*jobs(*parts), tool])

        def die(folder: Path, **options: bool) -> None:
            build_index(folder, **options)
            (folder / lost / "repodata.json").unlink()
            raise KeyboardInterrupt

        with monkeypatch.context() as dying:
            dying.setattr("labchannel.toolchain.bootstrap.build_index", die)
            with pytest.raises(KeyboardInterrupt):
                bootstrap(checkout.workspace, Progressor(quiet=True))
        # As an older labchannel left it.
        (made,) = (checkout.cache / "toolchain").iterdir()
        (made / ".unfinished").unlink(missing_ok=True)
        bootstrap(checkout.workspace, Progressor(quiet=True))
        channel()

    def test_one_that_was_killed_while_it_was_mended(self, checkout, channel, monkeypatch):
        """Its indexes are there, of the package that was lost and not of the one made again."""
        made = bootstrap(checkout.workspace, Progressor(quiet=True))
        (index,) = made.path.glob("noarch/repodata.json")
        (tiny,) = made.path.glob("*/tiny-*.conda")
        tiny.unlink()
        index.write_text(index.read_text(encoding="utf-8").replace('"sha256":"', '"sha256":"0'))

        def die(folder: Path, **options: bool) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as dying:
            dying.setattr("labchannel.toolchain.bootstrap.build_index", die)
            with pytest.raises(KeyboardInterrupt):
                bootstrap(checkout.workspace, Progressor(quiet=True))
        bootstrap(checkout.workspace, Progressor(quiet=True))
        channel()
        assert not (made.path / ".unfinished").exists()

    def test_a_cache_without_hard_links(self, checkout, channel, monkeypatch):
        """Another lock's channel has the package: it is copied."""
        made = bootstrap(checkout.workspace, Progressor(quiet=True))
        made.path.rename(made.path.with_name("another"))

        def refuse(_self: Path, _target: Path) -> None:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        monkeypatch.setattr("labchannel.toolchain.bootstrap.pack", refuse)
        assert bootstrap(checkout.workspace, Progressor(quiet=True)) == made
        assert verify(made.path) == []
        assert list(made.path.glob("*/tiny-*.conda"))
        assert not list(made.path.glob("*/*.partial"))

    @pytest.mark.parametrize("name", ["my cache", "it's", "a(1)", "$x"])
    def test_a_cache_whose_path_no_flag_can_hold(self, checkout, monkeypatch, tmp_path, name):
        """Activation would end with a syntax error of the shell, or a flag in two halves."""
        monkeypatch.setenv("LABCHANNEL_CACHE", str(tmp_path / name))
        with pytest.raises(LabchannelError, match=r"cache folder .* in its path") as refused:
            bootstrap(checkout.workspace, Progressor(quiet=True))
        assert "LABCHANNEL_CACHE" in refused.value.mend
        assert not (tmp_path / name).exists()

    def test_a_cache_with_letters_of_other_scripts(self, checkout, monkeypatch, tmp_path):
        monkeypatch.setenv("LABCHANNEL_CACHE", str(tmp_path / "a+b_実験~1"))
        assert verify(bootstrap(checkout.workspace, Progressor(quiet=True)).path) == []

    def test_no_room(self, checkout, monkeypatch):
        monkeypatch.setattr("labchannel.cache.available_bytes", lambda folder: 1_000_000)
        with pytest.raises(LabchannelError, match=r"needs about .* GB in .* are free") as refused:
            bootstrap(checkout.workspace, Progressor(quiet=True))
        assert "LABCHANNEL_CACHE" in refused.value.mend
        assert not list((checkout.cache / "toolchain").glob("*/*/*.conda"))

    def test_room_for_what_is_missing_is_enough(self, checkout, channel, monkeypatch):
        """Who lost one package need not have room for all."""
        made = bootstrap(checkout.workspace, Progressor(quiet=True))
        next(made.path.glob("*/*.conda")).unlink()
        monkeypatch.setattr("labchannel.cache.available_bytes", lambda folder: 2_200_000_000)
        bootstrap(checkout.workspace, Progressor(quiet=True))
        channel()

"""What is said before a release, and source distributions that are whole."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.release import build_sdists, check_release, unpacked_sdist
from labchannel.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - today\n")
    return Workspace(tmp_path)


def test_the_tag_of_the_version(workspace):
    assert check_release(workspace, "v1.2.3") == "1.2.3"


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2.4", "v1.2.3rc1", "refs/tags/v1.2.3", ""])
def test_another_tag_is_refused(workspace, tag):
    with pytest.raises(LabchannelError, match=r"is not v1\.2\.3"):
        check_release(workspace, tag)


def test_a_version_without_its_changes_is_refused(workspace):
    (workspace.root / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [1.2.30]\n")
    with pytest.raises(LabchannelError, match=r"no section \[1\.2\.3\]"):
        check_release(workspace, "v1.2.3")


# A backend of a few lines: its distributions are what their names say, and no more.
BACKEND = """\
import os, tarfile, zipfile
PKG_INFO = "PKG-INFO" if os.path.exists("PKG-INFO") else "about"
def build_sdist(folder, settings=None):
    with tarfile.open(f"{folder}/plain-1.0.tar.gz", "w:gz") as archive:
        for name in NAMES:
            archive.add(name, f"plain-1.0/{name}")
        archive.add(PKG_INFO, "plain-1.0/PKG-INFO")
    return "plain-1.0.tar.gz"
def build_wheel(folder, settings=None, metadata=None):
    name = "plain-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        archive.write("plain.py")
        with open(PKG_INFO) as about:
            archive.writestr("plain-1.0.dist-info/METADATA", about.read())
        for licence in LICENCES:
            archive.write(licence, f"plain-1.0.dist-info/licenses/{licence}")
        archive.writestr("plain-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\n"
            "Generator: plain\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr("plain-1.0.dist-info/RECORD", "")
    return name
"""
ABOUT = "Metadata-Version: 2.4\nName: plain\nVersion: 1.0\n"
PROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "plain"
version = "1.0"
"""


@pytest.fixture
def plain(tmp_path, monkeypatch):
    monkeypatch.setenv("LABCHANNEL_CACHE", str(tmp_path / "cache"))

    def make(*names, named=("LICENSE-A",), in_wheel=("LICENSE-A",)):
        folder = tmp_path / "python" / "plain"
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(PROJECT)
        backend = BACKEND.replace("NAMES", repr(names)).replace("LICENCES", repr(in_wheel))
        (folder / "backend.py").write_text(backend)
        (folder / "plain.py").write_text("")
        (folder / "LICENSE-A").write_text("Do as you like.")
        licences = "".join(f"License-File: {name}\n" for name in named)
        (folder / "about").write_text(f"{ABOUT}{licences}")
        return Workspace(tmp_path)

    return make


def test_a_source_distribution_and_the_wheel_that_it_gives(plain):
    workspace = plain("pyproject.toml", "backend.py", "plain.py", "LICENSE-A")
    built = list(build_sdists(workspace, Progressor(quiet=True)))
    assert [name.replace("\\", "/") for name in built] == [
        "dist/plain-1.0.tar.gz",
        "dist/plain-1.0-py3-none-any.whl",
    ]
    with tarfile.open(workspace.dist / "plain-1.0.tar.gz") as archive:
        assert "plain-1.0/plain.py" in archive.getnames()


def test_one_that_lacks_a_file_is_refused(plain):
    workspace = plain("pyproject.toml", "backend.py", "LICENSE-A")
    with pytest.raises(LabchannelError, match=r"no wheel can be built from plain-1\.0\.tar\.gz"):
        list(build_sdists(workspace, Progressor(quiet=True)))
    assert list(workspace.dist.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "licences", "fault"),
    [
        ((), {"in_wheel": ()}, "plain-1.0.tar.gz has no LICENSE-A"),
        (("LICENSE-A",), {"in_wheel": ()}, "plain-1.0-py3-none-any.whl has no LICENSE-A"),
        (("LICENSE-A",), {"named": ()}, "plain-1.0.tar.gz has no License-File in its metadata"),
    ],
)
def test_one_without_its_licence_is_refused(plain, files, licences, fault):
    workspace = plain("pyproject.toml", "backend.py", "plain.py", *files, **licences)
    with pytest.raises(LabchannelError, match=re.escape(fault)) as caught:
        list(build_sdists(workspace, Progressor(quiet=True)))
    assert "license-files" in caught.value.mend
    assert list(workspace.dist.iterdir()) == []


def test_what_is_compiled_of_the_same_file_is_known_again_and_of_another_is_not(tmp_path):
    """By cargo, which goes by times."""
    names = ("same.rs", "changed.rs", "new.rs")
    sources, checkout = tmp_path / "plain-1.0", tmp_path / "checkout"
    for folder in (sources, checkout):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
            os.utime(folder / name, (1_000_000_000, 1_000_000_000))
    os.utime(sources / "same.rs", (500_000_000, 500_000_000))
    (checkout / "changed.rs").write_text("otherwise.")
    (checkout / "new.rs").unlink()
    archive = shutil.make_archive(tmp_path / "plain-1.0", "gztar", tmp_path, "plain-1.0")
    began = time.time()
    root = unpacked_sdist(Workspace(checkout), Path(archive), tmp_path / "unpacked")
    times = {name: (root / name).stat().st_mtime for name in names}
    assert times["same.rs"] == 1_000_000_000
    assert times["changed.rs"] >= int(began)
    assert times["new.rs"] >= int(began)


def test_one_that_cant_be_made_is_told(plain):
    workspace = plain("no such file")
    with pytest.raises(LabchannelError, match="source distribution of plain can't be built"):
        list(build_sdists(workspace, Progressor(quiet=True)))


def test_what_the_command_says(repository):
    done = subprocess.run(
        [sys.executable, "-m", "labchannel", "release-check", "nonsense"],
        check=False,
        cwd=repository,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the tag nonsense is not v")

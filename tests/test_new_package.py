"""A new package in a copy of this checkout: one line changes, and it builds and is published."""

import difflib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from labchannel.environment import python_of
from labchannel.new_package import LONGEST_NAME
from labchannel.progress import Progressor
from labchannel.upstream import find_upstream
from labchannel.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("crates/gauge_demo", "crates/gauge_demo_py", "python/gauge_demo", "recipes/gauge_demo")


class Checkout:
    """A copy of the files that belong to this checkout, committed or not."""

    def __init__(self, root):
        self.root = root
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)

    def run(self, *command, folder="."):
        """What a command prints, in a folder of the copy; its failure is the test's."""
        environment = {**os.environ, "PYTHONPATH": str(self.root / "python/labchannel/src")}
        done = subprocess.run(
            command,
            cwd=self.root / folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def labchannel(self, *arguments):
        return self.run(sys.executable, "-m", "labchannel", *arguments)

    def content(self):
        files = (path for path in self.root.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def packages(lock):
    """A Cargo.lock's packages, each as its name and all that is said of it."""
    return [(entry["name"], entry) for entry in tomllib.loads(lock.decode())["package"]]


def test_one_line_changes_outside_the_new_folders(checkout):
    before = checkout.content()
    said = checkout.labchannel("new-package", "gauge_demo").splitlines()
    after = checkout.content()
    assert all(before[name] == after.get(name) for name in before.keys() - {*said})

    made = after.keys() - before.keys()
    assert {"/".join(name.split("/")[:2]) for name in made} == set(FOLDERS)
    assert set(said) == made | {"Cargo.toml", "Cargo.lock"}

    old, new = (tree["Cargo.toml"].decode().splitlines() for tree in (before, after))
    changed = [line for line in difflib.ndiff(old, new) if not line.startswith("  ")]
    assert changed == ['+ gauge_demo = { path = "crates/gauge_demo" }']

    old, new = (packages(tree["Cargo.lock"]) for tree in (before, after))
    assert [name for name, facts in new if (name, facts) not in old] == [
        "gauge_demo",
        "gauge_demo_py",
    ]
    assert all(package in new for package in old)


def test_cargo_takes_the_lock_as_it_is(checkout):
    checkout.labchannel("new-package", "gauge_demo")
    tree = ["cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none"]
    binding = checkout.run(*tree, "--package", "gauge_demo_py")
    core = checkout.run(*tree, "--package", "gauge_demo")
    assert "pyo3 v" in binding
    assert "gauge_demo v" in binding
    assert "pyo3" not in core


@pytest.mark.parametrize("name", ["ab", "gauge_demo", "g" * LONGEST_NAME])
def test_what_is_made_passes_the_linters(checkout, name):
    checkout.labchannel("new-package", name)
    checkout.run("ruff", "check", f"python/{name}")
    checkout.run("ruff", "format", "--check", f"python/{name}")
    checkout.run("cargo", "fmt", "--check", "--package", name, "--package", f"{name}_py")
    mypy = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", os.devnull]
    checkout.run(*mypy, f"python/{name}/src")


@pytest.mark.slow
def test_the_crates_pass_their_tests_and_clippy_and_the_stub_is_fresh(checkout):
    checkout.labchannel("new-package", "gauge_demo")
    crates = ["--locked", "--package", "gauge_demo", "--package", "gauge_demo_py"]
    checkout.run("cargo", "clippy", *crates, "--all-targets", "--", "-D", "warnings")
    tested = checkout.run("cargo", "test", *crates)
    assert "2 passed" in tested
    assert "1 passed" in tested  # the example
    stub = checkout.root / "python/gauge_demo/src/gauge_demo/_native.pyi"
    kept = stub.read_text(encoding="utf-8")
    generate = ["maturin", "generate-stubs", "--locked", "--out", "src"]
    stub.unlink()
    checkout.run(*generate, folder="python/gauge_demo")
    assert stub.read_text(encoding="utf-8") == kept


@pytest.mark.slow
def test_it_is_built_tested_and_published_and_can_be_installed(checkout, tmp_path):
    checkout.labchannel("new-package", "gauge_demo")
    channel, prefix = tmp_path / "channel", tmp_path / "env"
    to_channel = ["--channel", str(channel), "--no-closure"]
    built = checkout.labchannel("build", "gauge_demo", *to_channel)
    assert "1 packages new in it" in built
    assert "no fault" in checkout.labchannel("verify", str(channel))

    upstream = find_upstream(Workspace(ROOT), Progressor(quiet=True))
    sources = [part for source in (str(channel), *upstream.channels) for part in ("-c", source)]
    checkout.labchannel("env", "create", "--prefix", str(prefix), *sources, "gauge_demo")
    python = str(python_of(prefix))
    version = Workspace(checkout.root).version
    assert checkout.run(python, "-I", "-m", "gauge_demo", "--version") == (
        f"import OK -> {version}\n"
    )
    imported = "import gauge_demo; print(gauge_demo.__file__, gauge_demo.mean([1, 2, 6]))"
    file, mean = checkout.run(python, "-I", "-c", imported).rsplit(maxsplit=1)
    assert Path(file).is_relative_to(prefix)
    assert mean == "3.0"
    command = "Scripts/gauge_demo.exe" if sys.platform == "win32" else "bin/gauge_demo"
    assert checkout.run(str(prefix / command), "1", "2", "6") == "3.0\n"

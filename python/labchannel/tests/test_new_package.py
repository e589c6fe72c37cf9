"""The names that a new package can have, and what is made of one, in a minimal checkout."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from labchannel import new_package as module
from labchannel.errors import LabchannelError
from labchannel.new_package import LONGEST_NAME, new_package
from labchannel.workspace import Workspace

CARGO = """\
[workspace]
members = ["crates/*"]

[workspace.package]
version = "7.8.9"

[workspace.dependencies]
# Our own crates.
apple = { path = "crates/apple" }
pear = { path = "crates/pear" }

# Those of others.
serde-json = "1"

[profile.release]
lto = "thin"
"""
LOCK = """\
version = 4

[[package]]
name = "itoa"
version = "1.0.0"
source = "registry+https://example.org"

[[package]]
name = "once_ours"
version = "7.8.9"
"""
PIXI = """\
[dependencies]
maturin = ">=1.10,<2"
[target.linux-64.dependencies]
patchelf = "*"
[feature.more.dependencies]
numpy = "*"
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with two crates, on a machine without cargo."""
    root = tmp_path / "a checkout, größer"
    for folder in ("crates/apple", "crates/pear", "crates/only_py", "python/plum", "recipes/fig"):
        (root / folder).mkdir(parents=True)
    texts = {"Cargo.toml": CARGO, "Cargo.lock": LOCK, "pixi.toml": PIXI, "LICENSE-A": "Free.\n"}
    for name, text in {**texts, "recipes/variants.yaml": 'python_min:\n  - "3.13"\n'}.items():
        (root / name).write_text(text, encoding="utf-8", newline="\n")
    monkeypatch.setenv("LABCHANNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing here"))
    return Workspace(root)


def content(root: Path) -> dict[str, bytes | None]:
    """Every file's bytes, and None for a folder."""
    return {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
    }


def fake_cargo(folder: Path, monkeypatch, code: str) -> None:
    """Put a program on PATH that runs `code` in the place of cargo."""
    folder.mkdir()
    script = folder / "cargo.py"
    script.write_text(code, encoding="utf-8")
    if sys.platform == "win32":
        (folder / "cargo.bat").write_text(f'@"{sys.executable}" "{script}" %*\r\n')
    else:
        (folder / "cargo").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        (folder / "cargo").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_everything_made_is_in_the_new_folders_but_one_line(checkout):
    before = content(checkout.root)
    lines = new_package(checkout, "orange")
    after = content(checkout.root)
    new = {path for path in after if path not in before}
    top = ("crates/orange", "crates/orange_py", "python/orange", "recipes/orange")
    assert {"/".join(path.split("/")[:2]) for path in new} == set(top)
    assert [path for path in before if after[path] != before[path]] == ["Cargo.toml"]
    assert set(lines[:-2]) == {path for path in new if after[path] is not None}
    assert lines[-2] == "Cargo.toml"


def test_the_line_stands_in_its_sorted_place(checkout):
    new_package(checkout, "orange")
    assert (checkout.root / "Cargo.toml").read_text(encoding="utf-8") == CARGO.replace(
        "pear = {", 'orange = { path = "crates/orange" }\npear = {'
    )


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        pytest.param(
            "[workspace.dependencies]\nlog = '1'\n",
            "[workspace.dependencies]\nnew = { path = \"crates/new\" }\nlog = '1'\n",
            id="the first crate",
        ),
        pytest.param(
            '[workspace.dependencies]\r\nabc = { path = "crates/abc" }\r\n\r\n[x]\r\n',
            '[workspace.dependencies]\r\nabc = { path = "crates/abc" }\r\n'
            'new = { path = "crates/new" }\r\n\r\n[x]\r\n',
            id="Windows line ends",
        ),
        pytest.param(
            '[workspace.dependencies]\nabc = { path = "crates/abc" }',
            '[workspace.dependencies]\nabc = { path = "crates/abc" }\n'
            'new = { path = "crates/new" }\n',
            id="no line end at the end",
        ),
    ],
)
def test_cargo_toml_keeps_its_form(checkout, text, changed):
    head = '[workspace]\npackage.version = "1.0"\n'
    if "\r\n" in text:
        head = head.replace("\n", "\r\n")
    (checkout.root / "Cargo.toml").write_bytes((head + text).encode())
    new_package(checkout, "new")
    assert (checkout.root / "Cargo.toml").read_bytes().decode() == head + changed


crate_names = st.from_regex(r"[a-z][a-z0-9]{0,4}(_[a-z0-9]{1,3})?", fullmatch=True)


@given(own=st.sets(crate_names, max_size=6), new=crate_names, windows=st.booleans())
def test_any_crates_stay_sorted_and_are_joined_by_one(own, new, windows):
    own -= {new}
    lines = [f'{name} = {{ path = "crates/{name}" }}' for name in sorted(own)]
    text = "\n".join(["[workspace.dependencies]", "# Ours.", *lines, "", "[profile.dev]", ""])
    text = text.replace("\n", "\r\n") if windows else text
    changed = module._with_crate(text, new)
    assert changed.count("\r\n" if windows else "\n") == changed.count("\n") == text.count("\n") + 1
    assert list(tomllib.loads(changed)["workspace"]["dependencies"]) == sorted({*own, new})


def test_versions_are_the_workspaces(checkout):
    new_package(checkout, "orange")
    recipe = yaml.safe_load((checkout.root / "recipes/orange/recipe.yaml").read_text("utf-8"))
    assert recipe["context"] == {"name": "orange", "version": "7.8.9"}
    assert "maturin >=1.10,<2" in recipe["requirements"]["host"]
    with (checkout.root / "python/orange/pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    assert project["build-system"]["requires"] == ["maturin>=1.10,<2"]
    assert project["project"]["requires-python"] == ">=3.13"
    assert project["tool"]["ruff"]["target-version"] == "py313"
    for crate in ("orange", "orange_py"):
        manifest = (checkout.root / "crates" / crate / "Cargo.toml").read_text("utf-8")
        package = tomllib.loads(manifest)["package"]
        assert package["name"] == crate
        assert package["version"] == {"workspace": True}
        assert not re.search(r"\d", manifest.replace("pyo3", ""))


def test_no_placeholder_is_left(checkout):
    for path in new_package(checkout, "orange")[:-2]:
        assert not re.search(r"__[A-Z]+_?", path), path
        text = (checkout.root / path).read_bytes().decode()
        assert not re.search(r"__[A-Z_]*[A-Z]", text), path
        assert "\r" not in text, path


@pytest.mark.parametrize(
    ("name", "cause", "mend"),
    [
        ("", "is empty", "like gauge_demo"),
        ("Gauge", "lower case", "Use gauge."),
        ("GaugeDemo", "lower case", "Use gauge_demo."),
        ("gauge-demo", "a hyphen", "Use gauge_demo."),
        ("gauge demo", "character ' '", "Use gauge_demo."),
        ("gauge.demo", "character '.'", "Use gauge_demo."),
        ("../gauge", "character '.'", "Use gauge."),
        ("größe", "character 'ö'", "Use groe."),
        ("jauge_é", "character 'é'", "Use jauge_e."),
        ("測定", "character '測'", "like gauge_demo"),
        ("gauge\n", "character '\\n'", "Use gauge."),
        ("2gauges", "begins with a digit", "Use gauges."),
        ("_gauge", "underscores between words", "Use gauge."),
        ("gauge_", "underscores between words", "Use gauge."),
        ("gauge__demo", "underscores between words", "Use gauge_demo."),
        ("g" * (LONGEST_NAME + 1), "41 characters", "like gauge_demo"),
        ("lambda", "keyword of Python", "like gauge_demo"),
        ("match", "keyword of Python", "like gauge_demo"),
        ("Lambda", "lower case", "like gauge_demo"),
        ("crate", "keyword of Rust", "like gauge_demo"),
        ("gen", "keyword of Rust", "like gauge_demo"),
        ("json", "standard library", "like gauge_demo"),
        ("core", "cargo keeps it", "like gauge_demo"),
        ("com1", "Windows", "like gauge_demo"),
        ("gauge_py", "bindings of others", "like gauge_demo"),
        ("gauge_cli", "commands of others", "like gauge_demo"),
        ("gauge_server", "servers of others", "like gauge_demo"),
        ("apple", "crates/apple is there already", "Choose another name"),
        ("only", "crates/only_py is there already", "Choose another name"),
        ("plum", "python/plum is there already", "Choose another name"),
        ("fig", "recipes/fig is there already", "Choose another name"),
        ("serde_json", "Cargo.toml names another package", "Choose another name"),
        ("itoa", "Cargo.lock names another package", "Choose another name"),
        ("maturin", "pixi.toml names another package", "Choose another name"),
        ("patchelf", "pixi.toml names another package", "Choose another name"),
        ("numpy", "pixi.toml names another package", "Choose another name"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_the_mend(checkout, name, cause, mend):
    before = content(checkout.root)
    with pytest.raises(LabchannelError) as refused:
        new_package(checkout, name)
    assert cause in refused.value.cause
    assert mend in str(refused.value)
    assert content(checkout.root) == before


def test_a_crate_that_was_removed_can_be_made_anew(checkout):
    assert "Cargo.toml" in new_package(checkout, "once_ours")


def test_the_longest_name_can_be_one(checkout):
    assert "Cargo.toml" in new_package(checkout, "g" * LONGEST_NAME)


@pytest.mark.parametrize("step", range(5))
def test_an_error_at_any_step_leaves_nothing(checkout, monkeypatch, step):
    """The disk gets full as Cargo.toml or one of the folders is put in its place."""
    before = content(checkout.root)
    places = [(Path, "replace"), *[(Path, "rename")] * 4]
    owner, call = places[step]
    calls = iter(range(5))
    real = getattr(owner, call)

    def fails(path, target):
        if next(calls) == max(0, step - 1):
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return real(path, target)

    monkeypatch.setattr(owner, call, fails)
    with pytest.raises(LabchannelError, match=r"No space left on device.*nothing was changed"):
        new_package(checkout, "orange")
    assert content(checkout.root) == before


def test_ctrl_c_while_cargo_runs_leaves_nothing(checkout, monkeypatch):
    before = content(checkout.root)

    def interrupted(root):
        assert (root / "recipes/orange/recipe.yaml").is_file()
        (root / "Cargo.lock").write_text("half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_update_lock", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new_package(checkout, "orange")
    assert content(checkout.root) == before


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="permissions don't bind this user"
)
def test_a_read_only_checkout_is_said(checkout):
    checkout.root.chmod(0o555)
    try:
        with pytest.raises(LabchannelError, match="Permission denied"):
            new_package(checkout, "orange")
    finally:
        checkout.root.chmod(0o755)


@pytest.mark.parametrize(
    ("file", "text", "cause"),
    [
        ("Cargo.toml", '[workspace]\npackage.version = "1.0"\n', "no place for the line"),
        ("Cargo.toml", "[workspace", "no valid TOML"),
        ("pixi.toml", "", "which maturin"),
        ("recipes/variants.yaml", "python_min: []\n", "python_min"),
        ("recipes/variants.yaml", "}", "python_min"),
    ],
)
def test_a_checkout_that_lacks_something_is_said(checkout, file, text, cause):
    (checkout.root / file).write_text(text, encoding="utf-8")
    before = content(checkout.root)
    with pytest.raises(LabchannelError, match=cause):
        new_package(checkout, "orange")
    assert content(checkout.root) == before


def test_without_cargo_the_command_for_the_lock_is_named(checkout):
    last = new_package(checkout, "orange")[-1]
    assert "there is no cargo on PATH" in last
    assert last.endswith("Run: cargo update --workspace")


def test_a_cargo_that_fails_says_why(checkout, tmp_path, monkeypatch):
    code = "import sys; sys.exit('error: no such registry')"
    fake_cargo(tmp_path / "bin", monkeypatch, code)
    last = new_package(checkout, "orange")[-1]
    assert "error: no such registry" in last
    assert last.endswith("Run: cargo update --workspace")


def test_cargo_is_asked_offline_first(checkout, tmp_path, monkeypatch):
    code = (
        "import pathlib, sys\n"
        "with pathlib.Path('Cargo.lock').open('a') as file: print('#', *sys.argv[1:], file=file)\n"
        "sys.exit('--offline' in sys.argv)\n"
    )
    fake_cargo(tmp_path / "bin", monkeypatch, code)
    assert new_package(checkout, "orange")[-2:] == ["Cargo.toml", "Cargo.lock"]
    lines = (checkout.root / "Cargo.lock").read_text(encoding="utf-8").removeprefix(LOCK)
    assert lines.splitlines() == [
        "# update --workspace --quiet --offline",
        "# update --workspace --quiet",
    ]


def test_two_at_once_both_get_their_line(checkout, monkeypatch):
    """The second begins when the first has read Cargo.toml and not yet written it."""
    code = (
        "import sys, pathlib\n"
        "from labchannel.new_package import new_package\n"
        "from labchannel.workspace import Workspace\n"
        "print('begins', flush=True)\n"
        "new_package(Workspace(pathlib.Path(sys.argv[1])), 'quince')\n"
    )
    command = [sys.executable, "-c", code, str(checkout.root)]
    second = []
    real = module._with_crate

    def slowly(text, name):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        second.append(process)
        assert process.stdout.readline() == "begins\n"
        # Were it not kept waiting it would be done by then, and its line overwritten.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        return real(text, name)

    monkeypatch.setattr(module, "_with_crate", slowly)
    new_package(checkout, "orange")
    with second[0] as process:
        assert process.wait() == 0
    crates = tomllib.loads((checkout.root / "Cargo.toml").read_text("utf-8"))
    assert {"orange", "quince"} < set(crates["workspace"]["dependencies"])

"""What environments share of compiled crates, and what not: their activation, and real cargo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from labchannel.toolchain.compiler import TRIPLE, compiler_contents, stage_compiler
from labchannel.toolchain.lock import LockedRust, LockedWheel
from labchannel.toolchain.rust import rust_contents, stage_rust

CARGO = shutil.which("cargo")
LINKER = shutil.which("gcc") or shutil.which("cc")

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the activation scripts are for Linux"),
    pytest.mark.skipif(CARGO is None or LINKER is None, reason="needs cargo and a C compiler"),
]


class Environment:
    """An environment with the two activation packages; its C compiler is this machine's."""

    def __init__(self, prefix: Path, cache: Path, zig: str = "0.1") -> None:
        self.prefix = prefix
        wheel = LockedWheel("ziglang", zig, "ziglang.whl", "0" * 64, ("3.12",), "linux-64")
        (_zig, compiler, _sysroot) = compiler_contents(wheel, cache)
        (_rust, _std, rust) = rust_contents(LockedRust("1.2.3", "0" * 64, "linux-64"), cache)
        for name, stage in (
            ("compiler", lambda folder: stage_compiler(compiler, folder, cache, folder)),
            ("rust", lambda folder: stage_rust(rust, folder, folder)),
        ):
            staged = prefix.parent / f"{prefix.name}-{name}"
            stage(staged)
            shutil.copytree(staged, prefix, dirs_exist_ok=True)
        # The wrappers would call a zig that is not there.
        for name in ("cc", "gcc"):
            (prefix / "bin" / f"{TRIPLE}-{name}").unlink()
            (prefix / "bin" / f"{TRIPLE}-{name}").symlink_to(str(LINKER))

    def compiled(self, checkout: Path, *, activations: int = 1, **variables: str) -> list[str]:
        """Build a checkout; the crates that were compiled for it."""
        scripts = sorted((self.prefix / "etc" / "conda" / "activate.d").iterdir()) * activations
        lines = [f'. "{script}"' for script in scripts]
        lines.append("exec cargo build --quiet --offline --message-format json")
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CARGO", "RUST", "CONDA", "CC"))
        }
        done = subprocess.run(
            ["bash", "-e", "-c", "\n".join(lines)],
            check=False,
            cwd=checkout,
            env={
                **kept,
                # rustup's programs find the toolchain by it, wherever HOME is.
                **{name: os.environ[name] for name in ("RUSTUP_HOME",) if name in os.environ},
                "CONDA_PREFIX": str(self.prefix),
                "PATH": f"{self.prefix / 'bin'}{os.pathsep}{os.environ['PATH']}",
                **variables,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        fresh = '"fresh":true'
        return [
            name
            for name in ("third_party", "own_core", "own_program")
            for line in done.stdout.splitlines()
            if f'"name":"{name}"' in line and fresh not in line
        ]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def third_party(tmp_path: Path) -> Path:
    """A crate that is in nobody's workspace, as those of a registry are."""
    folder = tmp_path / "registry" / "third_party"
    write(
        folder / "Cargo.toml", '[package]\nname = "third_party"\nversion = "1.0.0"\n[workspace]\n'
    )
    write(folder / "src" / "lib.rs", "pub fn one() -> u32 { 1 }\n")
    return folder


def checkout(folder: Path, third_party: Path, number: int) -> Path:
    """A workspace whose program prints a number that its core crate knows."""
    write(folder / "Cargo.toml", '[workspace]\nmembers = ["crates/*"]\nresolver = "3"\n')
    core = f'third_party = {{ path = "{third_party}" }}\n'
    package = '[package]\nname = "{}"\nversion = "0.1.0"\nedition = "2024"\n[dependencies]\n{}'
    write(folder / "crates/own_core/Cargo.toml", package.format("own_core", core))
    write(
        folder / "crates/own_core/src/lib.rs",
        f"pub fn number() -> u32 {{ third_party::one() * {number} }}\n",
    )
    needs = 'own_core = { path = "../own_core" }\n'
    write(folder / "crates/own_program/Cargo.toml", package.format("own_program", needs))
    write(
        folder / "crates/own_program/src/main.rs",
        'fn main() { println!("{}", own_core::number()) }\n',
    )
    return folder


def said(cache: Path) -> str:
    (program,) = cache.glob("cargo-target/*/*/debug/own_program")
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.strip()


def test_crates_of_others_are_compiled_once_and_own_ones_for_each_checkout(tmp_path, third_party):
    cache = tmp_path / "cache"
    older = checkout(tmp_path / "older", third_party, 1)
    newer = checkout(tmp_path / "newer", third_party, 2)
    # Its files are older than what will have been compiled of the other checkout.
    for path in older.rglob("*.rs"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    here = Environment(tmp_path / "envs" / "here", cache)
    there = Environment(tmp_path / "envs" / "there", cache)

    assert here.compiled(newer) == ["third_party", "own_core", "own_program"]
    assert said(cache) == "2"
    assert there.compiled(older) == ["own_core", "own_program"]
    assert said(cache) == "1"
    assert here.compiled(newer) == []
    assert said(cache) == "2"


def test_recipes_share_what_tasks_have_compiled(tmp_path, third_party):
    """And no path of an environment goes into what they compile."""
    cache = tmp_path / "cache"
    sources = checkout(tmp_path / "checkout", third_party, 1)
    Environment(tmp_path / "envs" / "task", cache).compiled(sources)
    recipe = Environment(tmp_path / "build" / "recipe", cache)
    assert recipe.compiled(sources, CONDA_BUILD="1") == ["own_core", "own_program"]
    other = Environment(tmp_path / "build" / "another", cache)
    assert other.compiled(sources, CONDA_BUILD="1") == []


def test_another_compiler_compiles_everything_anew(tmp_path, third_party):
    cache = tmp_path / "cache"
    sources = checkout(tmp_path / "checkout", third_party, 1)
    Environment(tmp_path / "envs" / "older", cache).compiled(sources)
    newer = Environment(tmp_path / "envs" / "newer", cache, zig="0.2")
    assert newer.compiled(sources) == ["third_party", "own_core", "own_program"]


def test_a_task_that_a_task_starts_compiles_nothing_anew(tmp_path, third_party):
    cache = tmp_path / "cache"
    sources = checkout(tmp_path / "checkout", third_party, 1)
    environment = Environment(tmp_path / "envs" / "task", cache)
    environment.compiled(sources)
    assert environment.compiled(sources, activations=2) == []

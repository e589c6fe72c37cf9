"""Rust for the cross build to win-64: Debian's compiler, and std built once from its sources.

The target is `x86_64-pc-windows-gnu`. Its std has to be of the compiler's own version, and Debian
has both compiler and sources of one; cargo is that of the machine's Rust.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from labchannel.errors import LabchannelError
from labchannel.toolchain import registry
from labchannel.toolchain.compiler import TRIPLE as LINUX_TRIPLE
from labchannel.toolchain.debian import deb_version, unpacked
from labchannel.toolchain.interpreter import set_runpath
from labchannel.toolchain.mingw import TRIPLE as MINGW_TRIPLE
from labchannel.toolchain.package import Contents, Job, extracted
from labchannel.toolchain.rust import RUST_LICENSE, RUST_TARGETS

if TYPE_CHECKING:
    from labchannel.toolchain.lock import LockedDeb

PART = "rust"

TARGET = "x86_64-pc-windows-gnu"
LINUX_TARGET = RUST_TARGETS["linux-64"]

_LIBRARIES = "lib/x86_64-linux-gnu"

# Settings of an active environment that would change how std is built.
_NOT_FOR_STD = re.compile(r"^(CARGO|RUST|CC|CXX|AR|CFLAGS|CXXFLAGS|LDFLAGS|RANLIB)")


def rust_version_of(debs: list[LockedDeb]) -> str:
    """The version of the compiler among Debian's packages, like `1.96.0`."""
    return deb_version(debs, "rustc-web")


def activation_script(version: str, cache: Path) -> str:
    """What a build environment sources (sh)."""
    windows = TARGET.replace("-", "_").upper()
    linux = LINUX_TARGET.replace("-", "_").upper()
    return f"""\
export CARGO_HOME="{cache}/cargo-home"
export CARGO_TARGET_DIR="{cache}/cargo-target/{version}"
export CARGO_BUILD_TARGET="{TARGET}"
export CARGO_TARGET_{windows}_LINKER="{MINGW_TRIPLE}-cc"
export CARGO_TARGET_{linux}_LINKER="{LINUX_TRIPLE}-cc"
export CC_{LINUX_TARGET.replace("-", "_")}="{LINUX_TRIPLE}-cc"
# Binaries must tell neither where nor when they were built.
RUSTFLAGS="--remap-path-prefix={cache}/cargo-home=/cargo -Clink-arg=-Wl,--no-insert-timestamp"
export RUSTFLAGS
"""


def cross_rust_jobs(debs: list[LockedDeb], rust: Path, cache: Path) -> list[Job]:
    """The compiler, std for both systems, and the activation that recipes resolve to.

    Parameters
    ----------
    debs
        Debian's packages.
    rust
        The toolchain channel's own `rust` package, whose cargo this compiler is given.
    cache
        The user's build cache: crates are downloaded and compiled once for all builds.
    """
    version = rust_version_of(debs)
    sources = "\n".join(deb.sha256 for deb in debs)
    script = activation_script(version, cache)
    compiler = Contents(
        name="rust",
        version=version,
        source=f"{sources}\n{rust.name}",
        subdir="linux-64",
        license=RUST_LICENSE,
        summary="Rust compiler of Debian, for builds to other systems",
        depends=(f"rust-std-{LINUX_TARGET} {version}.*", "__glibc >=2.36,<3.0.a0"),
    )
    std = {
        target: Contents(
            name=f"rust-std-{target}",
            version=version,
            source=f"{sources}\n{_STD_SETTINGS}",
            subdir="noarch",
            license=RUST_LICENSE,
            summary=f"Rust's standard library for {target}",
            noarch="generic",
        )
        for target in (LINUX_TARGET, TARGET)
    }
    activation = Contents(
        name="rust_win-64",
        version=version,
        source=script,
        subdir="linux-64",
        license=RUST_LICENSE,
        summary=f"Activates Rust for builds to win-64 ({TARGET})",
        depends=(
            f"rust {version}.*",
            *(f"{contents.name} {version}.*" for contents in std.values()),
            # Build scripts and procedural macros run here.
            "gcc_linux-64",
        ),
    )
    return [
        Job(compiler, lambda stage: _stage_compiler(debs, rust, stage)),
        Job(std[LINUX_TARGET], lambda stage: _stage_linux_std(debs, stage)),
        Job(std[TARGET], lambda stage: _stage_windows_std(debs, rust, cache, stage)),
        Job(activation, lambda stage: _stage_activation(script, stage)),
    ]


def _tree(debs: list[LockedDeb], stage: Path) -> Path:
    """Debian's compiler, unpacked and made to run from where it is."""
    root = unpacked(debs, stage)
    usr = root / "usr"
    if (root / "lib").is_dir():
        for path in sorted((root / _LIBRARIES).glob("*.so*")):
            shutil.move(path, usr / _LIBRARIES / path.name)
        shutil.rmtree(root / "lib")
        libraries = [path for path in (usr / _LIBRARIES).glob("*.so*") if not path.is_symlink()]
        set_runpath("$ORIGIN", sorted(libraries))
        set_runpath(f"$ORIGIN/../{_LIBRARIES}", [usr / "bin" / "rustc"])
    return usr


def _stage_compiler(debs: list[LockedDeb], rust: Path, stage: Path) -> None:
    usr = _tree(debs, stage)
    (stage / "bin").mkdir()
    shutil.copy2(usr / "bin" / "rustc", stage / "bin" / "rustc")
    shutil.copy2(extracted(rust, stage) / "bin" / "cargo", stage / "bin" / "cargo")
    shutil.copytree(usr / _LIBRARIES, stage / _LIBRARIES, symlinks=True)


def _stage_linux_std(debs: list[LockedDeb], stage: Path) -> None:
    library = Path("lib", "rustlib", LINUX_TARGET)
    shutil.copytree(_tree(debs, stage) / library, stage / library, symlinks=True)


# cargo compiles std as its release profile says; the bitcode is for packages that use LTO.
_STD_SETTINGS = "-Cembed-bitcode=yes"

_MANIFEST = """\
[package]
name = "std-of-the-target"
version = "0.0.0"
edition = "2021"

[lib]
path = "lib.rs"
"""


def _stage_windows_std(debs: list[LockedDeb], rust: Path, cache: Path, stage: Path) -> None:
    usr = _tree(debs, stage)
    work = stage.parent / "std"
    work.mkdir()
    (work / "Cargo.toml").write_text(_MANIFEST, encoding="utf-8")
    (work / "lib.rs").write_text("", encoding="utf-8")
    home = cache / "cargo-home"
    kept = {name: value for name, value in os.environ.items() if not _NOT_FOR_STD.match(name)}
    registry.run_client(
        [
            *(
                str(extracted(rust, stage) / "bin" / "cargo"),
                "build",
                "--release",
                "--target",
                TARGET,
            ),
            "-Zbuild-std=std,panic_unwind",
        ],
        "Check that cargo reaches its registry and that cc works, then start again",
        env={
            "CARGO_HOME": str(home),
            "CARGO_TARGET_DIR": str(work / "target"),
            "RUSTC": str(usr / "bin" / "rustc"),
            # std is written in Rust's own unstable features, and so is the building of it.
            "RUSTC_BOOTSTRAP": "1",
            "RUSTFLAGS": " ".join(
                [
                    _STD_SETTINGS,
                    f"--remap-path-prefix={usr}=/rust",
                    f"--remap-path-prefix={home}=/cargo",
                ]
            ),
        },
        cwd=work,
        base=kept,
    )
    library = stage / "lib" / "rustlib" / TARGET / "lib"
    library.mkdir(parents=True)
    for path in sorted((work / "target" / TARGET / "release" / "deps").glob("*.rlib")):
        if "std_of_the_target" not in path.name:
            shutil.copy2(path, library / path.name)
    if not any(library.glob("libstd-*.rlib")):
        raise LabchannelError(
            f"cargo built no std for {TARGET}",
            "Run `labchannel clean --all` and start again",
        )


def _stage_activation(script: str, stage: Path) -> None:
    folder = stage / "etc" / "conda" / "activate.d"
    folder.mkdir(parents=True)
    (folder / "activate-rust_win-64.sh").write_text(script, encoding="utf-8")

"""The machine's Rust, repackaged under conda-forge's names."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from labchannel.digest import tree_sha256
from labchannel.errors import LabchannelError
from labchannel.toolchain.package import Contents

if TYPE_CHECKING:
    from labchannel.toolchain.lock import LockedRust

RUST_TARGETS = {"linux-64": "x86_64-unknown-linux-gnu"}
"""Rust's name for each platform that a toolchain channel can be made on."""

RUST_LICENSE = "MIT OR Apache-2.0"

WORKSPACE_WRAPPER = "rustc-of-this-environment"
"""A program of the environment that does nothing but run rustc; its path is what counts."""

NO_RUST = (
    "Install Rust with rustup (its default profile), so that rustc is on PATH, and start again"
)

_RUSTUP_RECORD = re.compile(r"manifest-|components$|rust-installer-version$|multirust-|.*\.log$")


def sysroot() -> Path:
    """The folder of the machine's Rust toolchain.

    Raises
    ------
    LabchannelError
        There is no rustc.
    """
    try:
        done = subprocess.run(
            ["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True
        )
    except OSError as error:
        raise LabchannelError(
            f"no Rust on this machine (rustc can't be started: {error.strerror})", NO_RUST
        ) from error
    except subprocess.CalledProcessError as error:
        # rustup's rustc, where no toolchain is installed or chosen.
        said = (error.stderr.strip().splitlines() or ["no word"])[0].removeprefix("error: ")
        raise LabchannelError(f"no Rust on this machine (rustc says: {said})", NO_RUST) from error
    return Path(done.stdout.strip())


def rust_version() -> str:
    """The machine's Rust version, like `1.95.0`.

    Raises
    ------
    LabchannelError
        There is no rustc, or it does not tell its version.
    """
    rustc = sysroot() / "bin" / "rustc"
    try:
        done = subprocess.run([rustc, "--version"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LabchannelError(
            f"the Rust on this machine is not whole ({error})", NO_RUST
        ) from error
    match = re.match(r"rustc (\d+\.\d+\.\d+)", done.stdout)
    if match is None:
        raise LabchannelError(f"rustc says {done.stdout.strip()!r} of its version", NO_RUST)
    return match[1]


def toolchain_files(root: Path) -> list[Path]:
    """The files that are repackaged, relative to `root`, sorted."""
    return sorted(
        path.relative_to(root)
        for name in ("bin", "lib", "libexec")
        for path in (root / name).rglob("*")
        if path.is_file()
        # rustup's own records differ by how the toolchain was installed, not by what it is.
        and not _RUSTUP_RECORD.match(path.name)
    )


def toolchain_digest(root: Path, memory: Path) -> str:
    """The sha256 over the names and bytes of the repackaged files.

    `memory` is a file that keeps the answer for a toolchain whose files have not changed since,
    by size and time: reading 700 MB at every start would be most of a warm start.
    """
    files = toolchain_files(root)
    facts = [(str(path), (root / path).stat()) for path in files]
    stamp = hashlib.sha256(
        json.dumps([[n, s.st_size, s.st_mtime_ns] for n, s in facts]).encode()
    ).hexdigest()
    known = _remembered(memory)
    if stamp in known:
        return known[stamp]
    known[stamp] = tree_sha256(root, (root / path for path in files))
    memory.write_text(json.dumps(known), encoding="utf-8")
    return known[stamp]


def _remembered(memory: Path) -> dict[str, str]:
    """The digests known so far; none from a file that was cut short."""
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def check_rust(entry: LockedRust, memory: Path) -> Path:
    """The machine's toolchain, if it is the locked one.

    Raises
    ------
    LabchannelError
        There is none, or it is another.
    """
    root = sysroot()
    version = rust_version()
    if version != entry.version:
        raise LabchannelError(
            f"this machine has Rust {version}, toolchain.lock says {entry.version}",
            f"Install it with `rustup toolchain install {entry.version}` and make it the default, "
            "or move the lock to yours with `./pixiw run labchannel bootstrap --update`",
        )
    digest = toolchain_digest(root, memory)
    if digest != entry.sha256:
        raise LabchannelError(
            f"this machine's Rust {version} has other files (sha256 {digest[:12]}…) "
            f"than the locked one ({entry.sha256[:12]}…)",
            "Install rustup's default profile of that version, or move the lock to yours with "
            "`./pixiw run labchannel bootstrap --update`",
        )
    return root


def rust_contents(entry: LockedRust, cache: Path) -> list[Contents]:
    """The compiler, its standard library, and the activation package that recipes resolve to.

    The activation names the user's cache: crates are downloaded and compiled once, whatever
    isolated build asks for them.
    """
    target = RUST_TARGETS[entry.platform]
    std = f"rust-std-{target}"
    return [
        Contents(
            name="rust",
            source=entry.sha256,
            subdir=entry.platform,
            summary="Rust compiler and cargo, repackaged from this machine's toolchain",
            depends=(f"{std} {entry.version}.*",),
            version=entry.version,
            license=RUST_LICENSE,
        ),
        Contents(
            name=std,
            source=entry.sha256,
            subdir="noarch",
            summary=f"Rust's standard library for {target}",
            noarch="generic",
            version=entry.version,
            license=RUST_LICENSE,
        ),
        Contents(
            name=f"rust_{entry.platform}",
            source=activation_script(entry, cache),
            subdir=entry.platform,
            summary="Activates Rust for builds: linker, shared caches, no build paths in binaries",
            depends=(f"rust {entry.version}.*", f"{std} {entry.version}.*"),
            version=entry.version,
            license=RUST_LICENSE,
        ),
    ]


def activation_script(entry: LockedRust, cache: Path) -> str:
    """What a build environment sources (sh); it comes after the one of the C compiler."""
    target = RUST_TARGETS[entry.platform]
    variable = target.replace("-", "_").upper()
    return f"""\
export CARGO_HOME="{cache}/cargo-home"
export CARGO_TARGET_DIR="{cache}/cargo-target/{entry.version}${{CC_VERSION:+-$CC_VERSION}}"
export CARGO_BUILD_TARGET="{target}"
export CARGO_TARGET_{variable}_LINKER="${{CC:-cc}}"
# Binaries must not tell where they were built. Paths inside the workspace are relative already,
# and a flag that named the build folder would compile every crate anew for every recipe.
# Once, also in a task that a task starts: other flags would compile every crate anew.
case "${{RUSTFLAGS:-}}" in
    *--remap-path-prefix={cache}/cargo-home=*) ;;
    *) export RUSTFLAGS="${{RUSTFLAGS:-}} --remap-path-prefix={cache}/cargo-home=/cargo" ;;
esac
# cargo tells a workspace's own crates by their places in it and by their files' times, and would
# take one checkout's for another's. What another wrapper compiled it keeps apart. A recipe's build
# needs none: its sources are fresh copies, and the wrapper's path would change its bytes.
if [ -z "${{CONDA_BUILD:-}}" ]; then
    export RUSTC_WORKSPACE_WRAPPER="$CONDA_PREFIX/bin/{WORKSPACE_WRAPPER}"
fi
"""


def stage_rust(contents: Contents, root: Path, stage: Path) -> None:
    """Lay out one of the three packages of `rust_contents`."""
    if contents.name.startswith("rust_"):
        folder = stage / "etc" / "conda" / "activate.d"
        folder.mkdir(parents=True)
        (folder / f"activate-{contents.name}.sh").write_text(contents.source, encoding="utf-8")
        wrapper = stage / "bin" / WORKSPACE_WRAPPER
        wrapper.parent.mkdir()
        wrapper.write_text('#!/bin/sh\nexec "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
        return
    std = contents.name.startswith("rust-std-")
    for path in toolchain_files(root):
        belongs_to_std = path.parts[:2] == ("lib", "rustlib") and (
            len(path.parts) > 3 and path.parts[3] == "lib"
        )
        if belongs_to_std == std:
            (stage / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / path, stage / path)

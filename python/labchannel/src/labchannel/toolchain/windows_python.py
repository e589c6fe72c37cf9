"""A whole Windows CPython from a Maven jar, laid out as conda-forge's `python` for win-64 is.

All of it is done on Linux: nothing of it has to run.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zipfile
from typing import TYPE_CHECKING

from labchannel.errors import LabchannelError
from labchannel.toolchain.interpreter import LEFT_OUT, abi_tag, compile_library, minor
from labchannel.toolchain.package import Contents

if TYPE_CHECKING:
    from pathlib import Path

    from labchannel.toolchain.lock import LockedArtifact

# Modules left out: CPython's own tests; Tk, whose scripts the jar lacks; and _wmi, which ends the
# process under Wine (propsys). `platform` does without it, as on Windows before 3.12.
_NO_MODULES = re.compile(r"_(wmi|test.*|ctypes_test|tkinter)\.pyd|xxlimited.*\.pyd|t[ck]l?86t\.dll")

# Beside python.exe, where the loader looks first; the others are found by os.add_dll_directory.
_AT_THE_ROOT = re.compile(r"vcruntime140.*\.dll")

RELOCK = "Lock an artifact that has it in toolchain.toml, then bootstrap --update"


def windows_python_contents(entry: LockedArtifact, here: Path) -> Contents:
    """The metadata of the `python` package; `here` is this machine's package of that version."""
    abi = f"python_abi {minor(entry.version)}.* *_{abi_tag(entry.version)}"
    return Contents(
        name="python",
        version=entry.version,
        source=f"{entry.sha256}\n{here.name}",
        subdir=entry.platform,
        license="Python-2.0",
        summary="CPython for Windows, repackaged from a Maven artifact",
        depends=(abi,),
        run_exports={"noarch": ["python"], "weak": [abi]},
        build_suffix="_cpython",
    )


def stage_windows_python(
    jar: Path, entry: LockedArtifact, zig: Path, python: Path, stage: Path
) -> None:
    """Unpack the jar and make it an environment.

    Parameters
    ----------
    zig
        The program of the ziglang wheel: it links the DLL that the jar lacks.
    python
        A Python of the same version that runs here: it writes the bytecode.

    Raises
    ------
    LabchannelError
        The jar is not laid out as expected, or zig fails.
    """
    scratch = stage.parent / "jar"
    folder = "org/bytedeco/cpython/windows-x86_64/"
    with zipfile.ZipFile(jar) as archive:
        archive.extractall(scratch, [n for n in archive.namelist() if n.startswith(folder)])
    source = scratch / folder
    library = f"python{minor(entry.version).replace('.', '')}"
    for needed in (f"{library}.dll", "bin/python.exe", "libs/python3.lib", "lib/os.py"):
        if not (source / needed).is_file():
            raise LabchannelError(
                f"{jar.name} has no {needed}: it is laid out in another way", RELOCK
            )
    left_out = [source / "lib" / name for name in LEFT_OUT]
    # pip, a package of its own, lies among the modules here.
    for path in [*left_out, *(source / "lib").glob("pip*")]:
        shutil.rmtree(path, ignore_errors=True)

    stage.mkdir(exist_ok=True)
    modules = stage / "DLLs"
    modules.mkdir()
    for path in sorted((source / "lib").glob("*.pyd")) + sorted((source / "lib").glob("*.dll")):
        if _AT_THE_ROOT.fullmatch(path.name):
            shutil.move(path, stage / path.name)
        elif _NO_MODULES.fullmatch(path.name):
            path.unlink()
        else:
            shutil.move(path, modules / path.name)
    for path in (source / "bin" / "python.exe", source / "bin" / "pythonw.exe"):
        shutil.move(path, stage / path.name)
    shutil.move(source / f"{library}.dll", stage / f"{library}.dll")
    for name, folder_name in (("lib", "Lib"), ("libs", "libs"), ("include", "include")):
        shutil.move(source / name, stage / folder_name)
    compile_library(python, stage / "Lib", stage)
    make_forwarder(stage / "libs" / "python3.lib", library, zig, stage / "python3.dll")
    shutil.rmtree(scratch)


def stable_abi(import_library: bytes) -> dict[str, bool]:
    """The names that an import library (of the short form) offers, and which of them are data.

    Source: Microsoft's PE format specification, "Import Library Format" and "Archive Layout".
    """
    names = {}
    place = len(b"!<arch>\n")
    while place + 60 <= len(import_library):
        size = int(import_library[place + 48 : place + 58])
        member = import_library[place + 60 : place + 60 + size]
        if member[:4] == b"\x00\x00\xff\xff":
            (kind,) = struct.unpack_from("<H", member, 18)
            names[member[20:].split(b"\0", 1)[0].decode("ascii")] = kind & 3 == 1
        # Members begin at even places.
        place += 60 + size + size % 2
    return names


def make_forwarder(import_library: Path, library: str, zig: Path, target: Path) -> None:
    """Make python3.dll, which hands the stable ABI on to `library` (`python312`).

    Extension modules of the stable ABI load it; the jar has only its import library.
    """
    names = stable_abi(import_library.read_bytes())
    if not names:
        raise LabchannelError(f"{import_library.name} offers no names", RELOCK)
    exports = target.with_name("python3.def")
    exports.write_text(
        "LIBRARY python3.dll\nEXPORTS\n"
        + "".join(
            f"{name} = {library}.{name}{' DATA' if data else ''}\n"
            for name, data in sorted(names.items())
        ),
        encoding="ascii",
    )
    entry_point = target.with_name("python3.c")
    entry_point.write_text(
        "int __stdcall DllMainCRTStartup(void *a, unsigned b, void *c) { return 1; }\n",
        encoding="ascii",
    )
    command = [
        *(str(zig), "cc", "-target", "x86_64-windows-gnu", "-shared", "-nostdlib", "-Os", "-s"),
        *(str(entry_point), str(exports), "-o", str(target)),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip()[-300:] if hasattr(error, "stderr") else error
        raise LabchannelError(
            f"python3.dll can't be made: {detail}",
            "Empty the cache with `labchannel clean --all` and start again",
        ) from error
    for leftover in (exports, entry_point, target.with_name("python3.lib")):
        leftover.unlink(missing_ok=True)

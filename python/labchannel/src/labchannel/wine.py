"""A Windows for one run of something: Wine, in a prefix of its own that ends with the run.

A prefix (a C: drive and a registry) takes seconds to make and is 700 MB. It is made once for each
Wine, and mended where Wine 8 lacks what CPython's world needs. Each session works on a copy by hard
links, which costs a tenth of a second: so runs share no state, one that hangs is ended with
everything in it, and two matrices at once do not meet.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePath, PureWindowsPath

from labchannel.cache import cache_folder, exclusive, require_space
from labchannel.errors import LabchannelError
from labchannel.lifeline import Ended, run_bounded
from labchannel.system_packages import SystemProgram, find_program, unpacked_root

MINGW = "x86_64-w64-mingw32-gcc"

NEEDED_BYTES = 1_500_000_000

# The part of the key of a prefix that stands for this file: another number, another prefix.
_MADE_BY = 1

# A prefix is made in 6 to 14 seconds, and a session begins in one or two, on an idle machine.
_MAKING_SECONDS = 600.0
_BEGINNING_SECONDS = 120.0

_OVERRIDES = ";".join(
    (
        # No offers to download .NET and HTML engines, no entries in the desktop's menu.
        "mscoree,mshtml=",
        "winemenubuilder.exe=d",
        # Ours first (wine_dlls/ucrtbase.c).
        "ucrtbase=n,b",
    )
)


@dataclass(frozen=True)
class Wine:
    """The Wine of this machine."""

    loader: SystemProgram
    server: SystemProgram
    version: str


def find_wine() -> Wine:
    """This machine's Wine.

    Raises
    ------
    LabchannelError
        There is none, or it does not start.
    """
    mend = "Install it with `./pixiw run labchannel doctor --fix`"
    loader = find_program("wine64", "wine")
    server = find_program("wineserver64", "wineserver")
    if loader is None or server is None:
        raise LabchannelError("there is no Wine on this machine", mend)
    try:
        version, failure = loader.run("--version")
    except OSError as error:
        raise LabchannelError(f"Wine can't be started ({error.strerror})", mend) from error
    if failure:
        raise LabchannelError(f"Wine can't be started ({failure})", mend)
    return Wine(loader, server, version.strip())


def find_compiler() -> SystemProgram | None:
    """mingw's gcc, which makes what this Wine lacks; an unpacked one has only its full name."""
    return find_program(MINGW, f"{MINGW}-win32")


@functools.cache
def fixed_addresses() -> tuple[str, ...]:
    """The words before a command whose programs are to be at the same addresses each time.

    Empty where the machine has no `setarch`, or does not let it (docker's default profile).

    Wine maps what all Windows programs share at 0x7ffe0000, and can't do without. wine64 is linked
    to 0x7d000000, Debian's Wine 8 has no preloader, which would keep the place free, and since
    Linux 6.9 a heap begins anywhere within the gigabyte above it: one of some thousand programs
    met its own heap there, and was gone before it began. Its starter was told `WinError 1359`.
    """
    setarch = shutil.which("setarch", path="/usr/bin:/bin")
    if setarch is None:
        return ()
    words = (setarch, "--addr-no-randomize")
    tried = subprocess.run([*words, "true"], check=False, capture_output=True)
    return words if tried.returncode == 0 else ()


def windows_path(path: PurePath) -> str:
    r"""The path as a program under Wine knows it: drive Z: is this machine's root.

    Examples
    --------
    >>> from pathlib import PurePosixPath
    >>> print(windows_path(PurePosixPath("/srv/a lab/env")))
    Z:\srv\a lab\env
    """
    return str(PureWindowsPath("Z:\\", *path.parts[1:]))


def prefix_template(wine: Wine) -> Path:
    """The prefix that sessions copy; made if it is not there.

    Raises
    ------
    LabchannelError
        No mingw, no room, or Wine fails.
    """
    path = cache_folder("wine") / template_key(wine)
    with exclusive(f"wine-{path.name}", "making a Wine prefix"):
        if not path.is_dir():
            _make_template(wine, path)
    return path


def template_key(wine: Wine) -> str:
    """What tells one kind of prefix from another: Wine itself, and what is put into it."""
    digest = hashlib.sha256(f"{wine.version} {_MADE_BY} {_OVERRIDES}".encode())
    for source in _dll_sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _dll_sources() -> list[Path]:
    folder = Path(str(resources.files("labchannel"))) / "wine_dlls"
    return sorted(folder.glob("*.c"))


def _make_template(wine: Wine, target: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        raise LabchannelError(
            f"there is no {MINGW}, which makes what Wine lacks",
            "Install it with `./pixiw run labchannel doctor --fix`",
        )
    require_space(target.parent, NEEDED_BYTES, "a Wine prefix")
    with tempfile.TemporaryDirectory(prefix="new-", dir=target.parent) as folder:
        prefix = Path(folder) / "prefix"
        prefix.mkdir()
        (prefix / "home").mkdir()
        system = prefix / "drive_c" / "windows" / "system32"
        system.mkdir(parents=True)
        # Wine's own user32 needs it. Installed, it is among Wine's libraries.
        zlib = unpacked_root() / "usr" / "x86_64-w64-mingw32" / "lib" / "zlib1.dll"
        if wine.loader.variables and zlib.is_file():
            shutil.copy(zlib, system)
        with _kept(wine, prefix):
            session = Session(wine, prefix)
            session.run_wine(["wineboot.exe", "--init"], seconds=_MAKING_SECONDS)
            # Wine 8 says Windows 7 by default, which CPython no longer supports.
            session.run_wine(
                ["reg.exe", "add", r"HKCU\Software\Wine", "/v", "Version", "/d", "win10", "/f"],
                seconds=_MAKING_SECONDS,
            )
            # What was written so far is in the server's memory until it ends.
        if not (system / "ntdll.dll").is_file():
            raise LabchannelError(
                "Wine made no Windows (system32 is empty)",
                "Install Wine anew with the system's package manager, then start again",
            )
        _mend_libraries(compiler, system)
        prefix.replace(target)


def _mend_libraries(compiler: SystemProgram, system: Path) -> None:
    """Put into system32 what this Wine lacks; a Wine that has it is left as it is."""
    sources = {source.stem: source for source in _dll_sources()}
    if not (system / "bcryptprimitives.dll").exists():
        _link(
            compiler,
            [str(sources["bcryptprimitives"]), "-ladvapi32"],
            system / "bcryptprimitives.dll",
        )
    runtime = system / "ucrtbase.dll"
    content = runtime.read_bytes()
    # The symbol of a function that ends the process.
    if b"__wine_stub_crealf" in content:
        # Under another name, and without the mark by which Wine looks for it in its own folder.
        renamed = content.replace(b"Wine builtin DLL", b"Wine renamed DLL", 1)
        (system / "ucrtwine.dll").write_bytes(renamed)
        with tempfile.TemporaryDirectory() as folder:
            compiled = Path(folder) / "ucrtbase.o"
            _compile(compiler, ["-c", str(sources["ucrtbase"]), "-o", str(compiled)])
            exports = Path(folder) / "ucrtbase.def"
            exports.write_text(
                forwards(exported_names(runtime), defined_names(sources["ucrtbase"]))
            )
            runtime.unlink()
            _link(compiler, [str(compiled), str(exports)], runtime)


def exported_names(library: Path) -> list[str]:
    """The names that a PE library exports, in its own order.

    Source: Microsoft's "PE Format", "The .edata Section".
    """
    data = library.read_bytes()

    def number(at: int, size: int = 4) -> int:
        return int.from_bytes(data[at : at + size], "little")

    header = number(0x3C)
    optional = header + 24
    sections = optional + number(header + 20, 2)

    def place(address: int) -> int:
        for at in range(sections, sections + 40 * number(header + 6, 2), 40):
            start = number(at + 12)
            if start <= address < start + max(number(at + 8), number(at + 16)):
                return address - start + number(at + 20)
        raise LabchannelError(
            f"{library.name} is no PE library", "Install Wine anew, then start again"
        )

    # The first data directory of a 64-bit image is that of its exports.
    table = place(number(optional + 112))
    names = place(number(table + 32))
    found = []
    for index in range(number(table + 24)):
        start = place(number(names + 4 * index))
        found.append(data[start : data.index(b"\0", start)].decode("ascii"))
    return found


def defined_names(source: Path) -> set[str]:
    """The functions of the C runtime that wine_dlls/ucrtbase.c defines."""
    text = source.read_text(encoding="utf-8")
    families = re.findall(r"\b(?:MAP|MEASURE)\((c\w+)\)", text)
    single = re.findall(r"\bwine_(\w+)\(", text)
    return {f"{name}{kind}" for name in families for kind in ("", "f", "l")} | set(single)


def forwards(names: Sequence[str], own: set[str]) -> str:
    """A .def file: of `names` those in `own` are this library's, the rest Wine's."""
    lines = [
        f'"{name}" = "wine_{name}"' if name in own else f'"{name}" = "ucrtwine.{name}"'
        for name in names
    ]
    return "\n".join(["LIBRARY ucrtbase.dll", "EXPORTS", *lines, ""])


def _link(compiler: SystemProgram, parts: Sequence[str], library: Path) -> None:
    _compile(compiler, ["-shared", "-s", "-static-libgcc", "-o", str(library), *parts])


def _compile(compiler: SystemProgram, arguments: Sequence[str]) -> None:
    _output, failure = compiler.run("-O2", *arguments)
    if failure:
        raise LabchannelError(
            f"{MINGW} failed: {failure}",
            "Install it anew (./pixiw run labchannel doctor --fix), then start again",
        )


@dataclass(frozen=True)
class Session:
    """One Windows, as long as its `session` block lasts."""

    wine: Wine
    prefix: Path
    beginning: float = 0.0
    """The seconds that it took to begin."""

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        variables: Mapping[str, str] | None = None,
        path: Sequence[Path] = (),
        seconds: float,
        stop: threading.Event | None = None,
        merge: bool = False,
    ) -> Ended:
        """Run a Windows program.

        Parameters
        ----------
        command
            A program by name or by its Windows path, and its arguments.
        cwd
            A folder of this machine.
        variables
            Environment variables, with values as Windows knows them.
        path
            Folders of this machine that come first on PATH.
        seconds
            The time limit; the program and all that it started is ended then.
        stop
            Ends it as soon as it is set.
        merge
            Whether stderr goes into stdout.
        """
        environment = {
            **self.environment(),
            **(variables or {}),
            "WINEPATH": ";".join(windows_path(folder) for folder in path),
        }
        return run_bounded(
            self.command(command),
            cwd=cwd,
            env=environment,
            seconds=seconds,
            stop=stop,
            merge=merge,
        )

    def command(self, program: Sequence[str]) -> list[str]:
        """What this machine runs to start a Windows program; what that starts is started alike."""
        return [*fixed_addresses(), str(self.wine.loader.path), *program]

    def run_wine(self, command: Sequence[str], *, seconds: float) -> None:
        """Run one of Wine's own programs, which must succeed."""
        ended = self.run(command, cwd=self.prefix, seconds=seconds)
        if not ended.good:
            reason = ended.cut or f"exit code {ended.code}"
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise LabchannelError(
                f"Wine's {command[0]} failed ({reason}: {last})",
                "Try again; if it stays so, install Wine anew with the system's package manager",
            )

    def environment(self) -> dict[str, str]:
        """The variables that Wine itself needs; the machine's own stay outside."""
        return {
            "PATH": "/usr/bin:/bin",
            # Wine links Windows' Documents and Desktop to folders of the user's home.
            "HOME": str(self.prefix / "home"),
            "LANG": "C.UTF-8",
            "WINEPREFIX": str(self.prefix),
            "WINESERVER": str(self.wine.server.path),
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": _OVERRIDES,
            **self.wine.loader.variables,
        }


@contextlib.contextmanager
def session(wine: Wine) -> Iterator[Session]:
    """A Windows of its own; whatever runs in it ends with the block.

    Raises
    ------
    LabchannelError
        It can't be made, or does not start even when it is made anew.
    """
    for attempt in ("first", "last"):
        template = prefix_template(wine)
        with _begun(wine, template) as begun:
            if isinstance(begun, Session):
                yield begun
                return
        # A prefix that does not start is broken; a new one is made, once.
        shutil.rmtree(template, ignore_errors=True)
        if attempt == "last":
            raise LabchannelError(
                f"Wine does not start in a new prefix ({begun})",
                "Try its programs by hand, or install Wine anew with the package manager",
            )


@contextlib.contextmanager
def _begun(wine: Wine, template: Path) -> Iterator[Session | str]:
    """A session on a copy of the template, or why it did not begin."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="wine-", dir=cache_folder("scratch")))
    prefix = folder / "prefix"
    try:
        with _kept(wine, prefix):
            _copy(template, prefix)
            starting = Session(wine, prefix)
            environment = starting.environment()
            # The server stays between programs: each then starts in a tenth of a second, not three.
            subprocess.run(
                [str(wine.server.path), "-p"],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
            # The first program brings up Windows' services, which would otherwise hold the pipes
            # and belong to the process group of what is run first.
            trouble = _start_services(starting)
            yield trouble or Session(wine, prefix, time.monotonic() - began)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start_services(session: Session) -> str:
    """Start Windows' services, detached; returns what is wrong, or nothing."""
    try:
        done = subprocess.run(
            session.command(["cmd.exe", "/c", "exit"]),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=session.environment(),
            start_new_session=True,
            timeout=_BEGINNING_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"cmd.exe did not end within {_BEGINNING_SECONDS:.0f} s"
    return "" if done.returncode == 0 else f"cmd.exe ended with exit code {done.returncode}"


def _copy(template: Path, prefix: Path) -> None:
    """Copy a prefix: hard links where there may be some, and copies of what Wine rewrites."""

    def take(source: str, target: str) -> None:
        if not source.endswith(".reg"):
            with contextlib.suppress(OSError):
                os.link(source, target)
                return
        shutil.copy2(source, target)

    try:
        shutil.copytree(
            template,
            prefix,
            symlinks=True,
            copy_function=take,
            # Debian's Wine keeps there where the server's socket is: each prefix has its own.
            ignore=shutil.ignore_patterns("wineserver"),
        )
    except (OSError, shutil.Error) as error:
        raise LabchannelError(
            f"a Wine prefix can't be copied ({error})",
            "Mend that (space, permissions), or set LABCHANNEL_CACHE to another disk",
        ) from error


@contextlib.contextmanager
def _kept(wine: Wine, prefix: Path) -> Iterator[None]:
    """End everything that runs in `prefix` with the block, or with this process."""
    keeper = subprocess.Popen(
        [
            *(sys.executable, "-I", "-S", str(Path(__file__).with_name("wine_keeper.py"))),
            *(str(wine.server.path), str(prefix)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **wine.server.variables},
        start_new_session=True,
    )
    try:
        yield
    finally:
        # The end of its input is its sign; it ends when nothing runs there any more.
        keeper.communicate()

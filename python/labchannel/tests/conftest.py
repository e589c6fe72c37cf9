"""Small real things to try labchannel on: packages, channels, checkouts, all in tmp_path."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rattler_build
from hypothesis import settings
from labchannel.build import BuildReport, build
from labchannel.channel.publish import publish
from labchannel.environment import current_platform
from labchannel.progress import Progressor
from labchannel.toolchain.bootstrap import toolchain_folder
from labchannel.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# A runner that starts the tests in the background hands them an ignored SIGINT, and every program
# that they start would inherit it: Ctrl-C is tested as a person presses it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is slow at times; no test is about time.
settings.register_profile("labchannel", deadline=None)
settings.load_profile("labchannel")

BUILT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

QUIET = Progressor(quiet=True)

MANIFEST = """\
[workspace]
name = "tiny"
channels = ["conda-forge"]
platforms = ["linux-64", "win-64"]

[dependencies]
tool = "*"
"""

RECIPE = """\
schema_version: 1

package:
  name: {name}
  version: "{version}"

source:
  path: ../..
  filter:
    - LICENSE
    - {name}/**

build:
  number: 0
  noarch: generic
  script:
    - mkdir -p $PREFIX/share
    - cp -r {name} $PREFIX/share/
{script}
requirements:
  build:{build}
  run:{run}

tests:
  - script:
      - {test}

about:
  summary: A tiny package
  license: MIT
  license_file: LICENSE
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the caches of the person who runs it."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LABCHANNEL_CACHE", str(cache))
    monkeypatch.setenv("LABCHANNEL_UPSTREAM", "toolchain:first")
    return cache


@dataclass
class PackageMaker:
    """Makes tiny real packages in a folder; two calls with the same facts give the same bytes."""

    folder: Path

    def __post_init__(self) -> None:
        self._count = itertools.count()

    def __call__(
        self,
        name: str,
        version: str = "1.0",
        *,
        number: int = 0,
        build: str | None = None,
        subdir: str = "noarch",
        files: dict[str, str | bytes] | None = None,
        programs: dict[str, str] | None = None,
        licence: str | None = "MIT",
        depends: Sequence[str] = (),
        archive_type: Any = rattler_build.ArchiveType.Conda,
        **metadata: Any,
    ) -> Path:
        work = self.folder / f"package {next(self._count)}"
        content = work / "files"
        content.mkdir(parents=True)
        if files is None:
            files = {} if programs else {f"share/{name}.txt": f"{name} {version} {number}\n"}
        for path, data in {**files, **(programs or {})}.items():
            target = content / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if isinstance(data, bytes) else data.encode())
            if path in (programs or {}):
                target.chmod(0o755)
        licences = []
        if licence is not None:
            (work / "LICENSE.txt").write_text(licence)
            licences = [work / "LICENSE.txt"]
        output = rattler_build.assemble_package(
            name=name,
            version=version,
            target_platform=subdir,
            build_string=build or f"h0_{number}",
            build_number=number,
            output_dir=work,
            files_dir=content,
            license="MIT",
            license_files=licences,
            depends=list(depends),
            noarch="generic" if subdir == "noarch" else None,
            timestamp=BUILT,
            compression_level=1,
            archive_type=archive_type,
            **metadata,
        )
        return Path(output.path)


@pytest.fixture
def make_package(tmp_path: Path) -> PackageMaker:
    return PackageMaker(tmp_path)


@pytest.fixture(scope="session")
def shared_packages(tmp_path_factory: pytest.TempPathFactory) -> PackageMaker:
    """Makes packages that outlive a test."""
    return PackageMaker(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="session")
def mounts() -> list[str]:
    """The command that gives its program a mount namespace of its own: real full disks."""
    command = ["unshare", "--user", "--map-root-user", "--mount"]
    trial = [*command, "mount", "-t", "tmpfs", "none", "/mnt"]
    if (
        shutil.which("unshare") is None
        or subprocess.run(trial, capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("needs unprivileged user namespaces to mount a small disk in")
    return command


@dataclass
class Checkout:
    """A small checkout, its own cache, and a toolchain channel that builds are made from."""

    workspace: Workspace
    cache: Path

    @property
    def root(self) -> Path:
        return self.workspace.root

    @property
    def channel(self) -> Path:
        return self.workspace.channel

    @property
    def toolchain(self) -> Path:
        """The toolchain channel that LABCHANNEL_UPSTREAM names."""
        return toolchain_folder(os.environ["LABCHANNEL_UPSTREAM"].removeprefix("toolchain:"))

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text), encoding="utf-8")
        return target

    def recipe(
        self,
        name: str,
        *,
        version: str = "1.0",
        script: Sequence[str] = (),
        build: Sequence[str] = (),
        run: Sequence[str] = (),
        test: str = "true",
    ) -> Path:
        """Write a recipe of a noarch package, and one source file if it has none yet."""

        def listed(specs: Sequence[str]) -> str:
            return "".join(f"\n    - {spec}" for spec in specs) or " []"

        if not (self.root / name).exists():
            self.write(f"{name}/data.txt", f"{name}\n")
        text = RECIPE.format(
            name=name,
            version=version,
            script="".join(f"    - {line}\n" for line in script),
            build=listed(build),
            run=listed(run),
            test=test,
        )
        return self.write(f"recipes/{name}/recipe.yaml", text)

    def build(
        self, *names: str, platform: str = "", closure: bool = False, **options: Any
    ) -> BuildReport:
        return build(
            self.workspace,
            QUIET,
            names=names,
            platform=platform or current_platform(),
            closure=closure,
            **options,
        )

    def statuses(self, *names: str, **options: Any) -> dict[str, str]:
        return {o.name: o.status for o in self.build(*names, **options).outcomes}


@pytest.fixture(scope="session")
def empty_channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published once, to be copied."""
    channel = tmp_path_factory.mktemp("empty") / "channel"
    publish(channel, [])
    return channel


@pytest.fixture
def checkout(tmp_path: Path, own_cache: Path, patchelf: None, empty_channel: Path) -> Checkout:
    """A checkout with no recipe, on a path that needs quoting."""
    root = tmp_path / "Ein Prüfstand"
    (root / "recipes").mkdir(parents=True)
    made = Checkout(Workspace(root), own_cache)
    made.write("LICENSE", "Do as you like.\n")
    made.write("pixi.toml", MANIFEST)
    made.write("recipes/variants.yaml", "{}\n")
    shutil.copytree(empty_channel, made.toolchain)
    return made


@pytest.fixture
def patchelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build asks for patchelf before it starts; these packages have no binary to patch."""
    folder = tmp_path / "patchelf"
    folder.mkdir()
    program = folder / "patchelf"
    program.write_text("#!/bin/sh\necho 'nothing here needs patchelf' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}{os.pathsep}{folder}")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    return tree


class Mailbox:
    """A pipe with a name, by which a program tells its starter that it has come so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # Open for both, so that neither end ever waits for the other to be there.
        self._fd = os.open(path, os.O_RDWR)

    def wait(self, process: subprocess.Popen[str]) -> str:
        """What was written to it, as soon as something was."""
        while not select.select([self._fd], [], [], 0.2)[0]:
            if process.poll() is not None:
                pytest.fail(f"it ended before: {process.communicate()}")
        return os.read(self._fd, 1000).decode()

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    if sys.platform == "win32":
        pytest.skip("Windows has no pipes in folders")
    made = Mailbox(tmp_path / "mailbox")
    yield made
    made.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else can take meanwhile."""
    with contextlib.closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def no_network(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the internet is refused at once."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
        monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{closed_port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def ready_tool() -> Iterator[subprocess.Popen[str] | None]:
    """What forks for each command; None on Windows, where nothing forks."""
    if sys.platform == "win32":
        yield None
        return
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ready_tool.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        yield process
        process.communicate()


@pytest.fixture
def tool(
    ready_tool: subprocess.Popen[str] | None,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """labchannel as a person starts it, in a process of its own without a terminal."""

    def run(
        *arguments: str | Path, cwd: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        settings = {**os.environ, **variables}
        if ready_tool is None or ready_tool.stdin is None or ready_tool.stdout is None:
            return subprocess.run(
                [sys.executable, "-m", "labchannel", *words],
                check=False,
                capture_output=True,
                text=True,
                encoding="utf-8",
                stdin=subprocess.DEVNULL,
                cwd=cwd,
                env=settings,
                timeout=120,
            )
        with tempfile.TemporaryDirectory() as folder:
            output = [Path(folder, name) for name in ("output", "errors")]
            request = {
                "arguments": words,
                "folder": str(cwd or Path.cwd()),
                "variables": settings,
                "output": list(map(str, output)),
            }
            print(json.dumps(request), file=ready_tool.stdin, flush=True)
            code = int(ready_tool.stdout.readline())
            said = [path.read_text(encoding="utf-8") for path in output]
        return subprocess.CompletedProcess(words, code, *said)

    return run


@pytest.fixture
def started() -> Callable[..., contextlib.AbstractContextManager[subprocess.Popen[str]]]:
    """labchannel, started and not waited for, in a session without a terminal.

    It is ended at the latest when the block is left.
    """

    @contextlib.contextmanager
    def started(*words: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-m", "labchannel", *map(str, words)],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    return started


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that these tests lie in, where there is one."""
    candidates = [
        Path(value) for value in [os.environ.get("PIXI_PROJECT_ROOT")] if value is not None
    ]
    candidates += Path(__file__).resolve().parents
    for folder in candidates:
        if (folder / "pixiw").is_file() and (folder / "python" / "labchannel").is_dir():
            return folder
    pytest.skip("needs the repository's checkout, and this is an installed package")

"""Environments: solved and installed by rattler, from the channels given and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

import rattler
import rattler.exceptions
from rattler.shell import ActivationVariables, Shell, activate

from labchannel.cache import cache_folder
from labchannel.errors import LabchannelError
from labchannel.stopping import if_stopped

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence

LOCK_VERSION = 1

_CHANNEL_ERRORS = (
    rattler.exceptions.FetchRepoDataError,
    rattler.exceptions.GatewayError,
    rattler.exceptions.InvalidChannelError,
    rattler.exceptions.InvalidUrlError,
    rattler.exceptions.IoError,
)
_INSTALL_ERRORS = (
    rattler.exceptions.ExtractError,
    rattler.exceptions.InstallerError,
    rattler.exceptions.IoError,
    rattler.exceptions.LinkError,
    rattler.exceptions.TransactionError,
    OSError,
)

# What another system is taken to offer when an environment is prepared for it from here: the
# newest glibc that a package of the toolchain channel may ask for.
_OTHER_SYSTEMS = {
    "linux-64": {"__unix": "0", "__linux": "5.10", "__glibc": "2.28"},
    "win-64": {"__win": "10.0"},
}


@dataclass(frozen=True, order=True)
class LockedPackage:
    """One package of an environment, told apart by its bytes."""

    name: str
    version: str
    build: str
    subdir: str
    file: str
    size: int
    sha256: str


def current_platform() -> str:
    """The conda platform of this machine, like `linux-64`."""
    return str(rattler.Subdir.current())


def channel_source(channel: str | Path) -> rattler.Channel:
    """A channel from a folder, a URL or a name.

    Raises
    ------
    LabchannelError
        The folder is no channel or is not there, or the URL is none.
    """
    if isinstance(channel, Path) or Path(channel).is_dir():
        folder = Path(channel).resolve()
        if not (folder / "noarch" / "repodata.json").is_file():
            raise LabchannelError(
                f"{folder} is not a channel (it has no noarch/repodata.json)",
                "Name the channel's top folder, or make it with `./pixiw run build-recipes`",
            )
        return rattler.Channel(folder.as_uri())
    if "://" not in channel and (os.sep in channel or channel.startswith(".")):
        raise LabchannelError(
            f"there is no channel folder {channel}",
            "Make it with `./pixiw run build-recipes`, or correct the path",
        )
    try:
        return rattler.Channel(channel)
    except (rattler.exceptions.InvalidChannelError, rattler.exceptions.InvalidUrlError) as error:
        raise LabchannelError(
            f"{channel} is no address of a channel ({' '.join(str(error).split())})",
            "Correct it: a folder, a name, or an address like http://HOST:8080",
        ) from error


def virtual_packages(platform: str) -> list[rattler.GenericVirtualPackage]:
    """What the target system offers: detected here, or the least of it for another system.

    Raises
    ------
    LabchannelError
        The platform is not served.
    """
    if platform == current_platform():
        return [package.into_generic() for package in rattler.VirtualPackage.detect()]
    if platform not in _OTHER_SYSTEMS:
        raise LabchannelError(
            f"{platform} is not served", f"Choose one of: {', '.join(sorted(_OTHER_SYSTEMS))}"
        )
    return [
        rattler.GenericVirtualPackage(
            rattler.PackageName(name), rattler.Version(version), rattler.BuildString("0")
        )
        for name, version in _OTHER_SYSTEMS[platform].items()
    ]


def solve(
    channels: Sequence[str | Path], specs: Sequence[str], platform: str
) -> list[rattler.RepoDataRecord]:
    """The packages that satisfy `specs`, with all they depend on.

    Parameters
    ----------
    channels
        Folders, URLs or names; no other channel is asked.
    specs
        conda match specs.
    platform
        The system that the environment is for.

    Raises
    ------
    LabchannelError
        A spec can't be parsed, a channel can't be read, or there is no solution (with the reason).
    """
    sources = [channel_source(channel) for channel in channels]
    offered = virtual_packages(platform)

    async def run() -> list[rattler.RepoDataRecord]:
        # A gateway of its own: a channel folder may have been published to a moment ago.
        with tempfile.TemporaryDirectory() as repodata_cache:
            gateway = open_gateway(Path(repodata_cache))
            return await rattler.solve(
                sources=sources,
                specs=[rattler.MatchSpec(spec) for spec in specs],
                gateway=gateway,
                platforms=[rattler.Subdir(platform), rattler.Subdir("noarch")],
                virtual_packages=offered,
            )

    try:
        return sorted(_ask(run()), key=lambda record: record.name.normalized)
    except rattler.exceptions.SolverError as error:
        reasons = str(error).strip().rstrip(".")
        raise LabchannelError(
            f"no environment on {platform} can hold {', '.join(specs)}:\n{reasons}",
            _mend_for(channels, platform),
        ) from error
    except rattler.exceptions.InvalidMatchSpecError as error:
        raise LabchannelError(
            f"not a package spec: {error}", 'Write it like "rvh_trace" or "python >=3.12"'
        ) from error


def _mend_for(channels: Sequence[str | Path], platform: str) -> str:
    folders = [Path(channel) for channel in channels if Path(channel).is_dir()]
    if len(folders) == len(channels) and not any((f / platform).is_dir() for f in folders):
        return f"Publish for {platform} first: `./pixiw run build-recipes --platform {platform}`"
    return "Ask for other versions, or add the missing packages to the channel"


def open_gateway(cache: Path) -> rattler.Gateway:
    """A client of channels, with its cache in that folder.

    Raises
    ------
    LabchannelError
        This system has no certificates.
    """
    try:
        return rattler.Gateway(cache_dir=cache)
    except ValueError as error:
        # Seen in a container of a minimal Debian, also for channels that are folders.
        raise LabchannelError(
            f"rattler's client can't start ({error}): this system has no certificates",
            "Install them (apt-get install ca-certificates), or set SSL_CERT_FILE to a bundle",
        ) from error


def _ask(
    question: Coroutine[None, None, list[rattler.RepoDataRecord]],
) -> list[rattler.RepoDataRecord]:
    """Ask channels; one that can't be read is told in a sentence."""
    try:
        return asyncio.run(question)
    except _CHANNEL_ERRORS as error:
        raise LabchannelError(
            f"the channel can't be read ({' '.join(str(error).split())})",
            "Check it with `./pixiw run verify`, or its address and the network",
        ) from error


def install(
    records: Sequence[rattler.RepoDataRecord], prefix: Path, platform: str, specs: Sequence[str]
) -> None:
    """Make `prefix` hold exactly these packages.

    Raises
    ------
    LabchannelError
        A package has other bytes than its channel says, the folder is no environment, no space,
        no permission.
    """
    if _holds_something_else(prefix):
        raise LabchannelError(
            f"{prefix} is not empty and is no environment",
            "Choose an empty or a new folder",
        )
    for record in records:
        _check_bytes(record)
    unfinished = f"the environment {prefix} is not complete; the same command completes it"
    try:
        # conda, mamba and pixi take a folder with this file for an environment, and so does this
        # function when it is called again for what it could not complete.
        (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
        (prefix / "conda-meta" / "history").touch()
        with if_stopped(unfinished):
            asyncio.run(
                rattler.install(
                    list(records),
                    target_prefix=prefix,
                    cache_dir=cache_folder("pkgs"),
                    platform=rattler.Subdir(platform),
                    show_progress=sys.stderr.isatty(),
                    # py-rattler 0.28 passes these on unconverted: they must be the inner objects.
                    requested_specs=[rattler.MatchSpec(spec)._match_spec for spec in specs],
                )
            )
    except _INSTALL_ERRORS as error:
        raise LabchannelError(
            f"the environment {prefix} can't be made ({' '.join(str(error).split())})",
            "Mend that (space, permissions, a file in use), then run the same command again",
        ) from error


def _holds_something_else(prefix: Path) -> bool:
    """Whether something is there that is neither an environment nor an empty folder."""
    if not prefix.is_dir():
        return prefix.exists()
    return not (prefix / "conda-meta").is_dir() and any(prefix.iterdir())


def record_file(record: rattler.RepoDataRecord) -> Path | None:
    """The package's file, if its channel is a folder of this machine, or on a share."""
    return file_of_address(record.url)


def file_of_address(address: str) -> Path | None:
    r"""The file of a `file:` URL; None for any other.

    On Windows `file://server/share/channel` is the share `\\server\share\channel`.
    """
    parts = urlparse(address)
    if parts.scheme != "file":
        return None
    host = "" if parts.netloc in ("", "localhost") else f"//{parts.netloc}"
    return Path(url2pathname(host + parts.path))


def _check_bytes(record: rattler.RepoDataRecord) -> None:
    """Clients don't hash the packages of a file:// channel, so a damaged one would be installed."""
    path = record_file(record)
    if path is None or record.sha256 is None:
        return
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise LabchannelError(
            f"{path} can't be read ({error.strerror})", "Check the channel with `verify`"
        ) from error
    if found != record.sha256:
        raise LabchannelError(
            f"{path.name} is not the file that its channel's index names (its sha256 differs)",
            "Check the channel with `./pixiw run verify` and publish that package anew",
        )


def lock_of(records: Sequence[rattler.RepoDataRecord], platform: str) -> str:
    """An environment's lock: every package by name, build, size and sha256; no URL, no path."""
    packages = sorted(
        LockedPackage(
            name=record.name.normalized,
            version=str(record.version),
            build=str(record.build),
            subdir=record.subdir,
            file=record.file_name,
            size=record.size or 0,
            sha256=(record.sha256 or b"").hex(),
        )
        for record in records
    )
    lines = ",\n".join(f"    {json.dumps(asdict(package))}" for package in packages)
    return (
        f'{{\n  "lock_version": {LOCK_VERSION},\n  "platform": "{platform}",\n'
        f'  "packages": [\n{lines}\n  ]\n}}\n'
    )


def write_environment_lock(
    path: Path, records: Sequence[rattler.RepoDataRecord], platform: str
) -> None:
    """Write an environment's lock, in one step: an old one stays whole until the new one is.

    Raises
    ------
    LabchannelError
        The file can't be written.
    """
    # Behind a link the file is replaced, and what is no file (/dev/stdout) has nothing to lose.
    target = path.resolve()
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
    in_place = path.exists() and not path.is_file()
    text = lock_of(records, platform)
    try:
        (path if in_place else partial).write_text(text, encoding="utf-8", newline="\n")
        if not in_place:
            partial.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise LabchannelError(
            f"the lock {path} can't be written ({error.strerror})",
            "Name a file in a folder that is there and can be written",
        ) from error


def read_environment_lock(path: Path) -> tuple[str, list[LockedPackage]]:
    """The platform and the packages of a lock.

    Raises
    ------
    LabchannelError
        It is missing, damaged or of another version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["lock_version"] != LOCK_VERSION:
            raise LabchannelError(
                f"{path} has lock version {data['lock_version']}, "
                f"this labchannel reads {LOCK_VERSION}",
                "Write it anew with --write-lock",
            )
        return data["platform"], [LockedPackage(**entry) for entry in data["packages"]]
    except FileNotFoundError:
        raise LabchannelError(f"there is no lock {path}", "Make one with --write-lock") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabchannelError(
            f"{path} can't be read as a lock ({error})", "Write it anew with --write-lock"
        ) from error


def records_of_lock(
    packages: Sequence[LockedPackage], channels: Sequence[str | Path], platform: str
) -> list[rattler.RepoDataRecord]:
    """The records of exactly these packages.

    Raises
    ------
    LabchannelError
        The channel has no package of that name, build and sha256, or can't be read; the platform
        is not served.
    """
    virtual_packages(platform)
    sources = [channel_source(channel) for channel in channels]

    async def query() -> list[rattler.RepoDataRecord]:
        with tempfile.TemporaryDirectory() as repodata_cache:
            found = await open_gateway(Path(repodata_cache)).query(
                sources=sources,
                platforms=[rattler.Subdir(platform), rattler.Subdir("noarch")],
                specs=[rattler.MatchSpec(package.name) for package in packages],
                recursive=False,
            )
        return [record for records in found for record in records]

    available = {
        (record.subdir, record.file_name, (record.sha256 or b"").hex()): record
        for record in _ask(query())
    }
    chosen = []
    for package in packages:
        record = available.get((package.subdir, package.file, package.sha256))
        if record is None:
            raise LabchannelError(
                f"the channel has no {package.file} with the locked sha256 {package.sha256[:12]}…",
                "Use the channel that the lock was made from, or lock anew with --write-lock",
            )
        chosen.append(record)
    return chosen


def activated(prefix: Path, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment variables of a shell in which the environment is active.

    The activation scripts are rattler's and the packages' own; they are run once by the system's
    shell and what they set is read back.
    """
    base = dict(os.environ if environ is None else environ)
    windows = sys.platform == "win32"
    variables = ActivationVariables(None, [Path(p) for p in base["PATH"].split(os.pathsep)])
    shell = Shell.cmd_exe if windows else Shell.bash
    script = activate(prefix, variables, shell).script
    report = "import json, os; print('\\n@@' + json.dumps(dict(os.environ)))"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("activate.cmd" if windows else "activate.sh")
        python = f'"{sys.executable}" -c "{report}"'
        path.write_text(
            f"@echo off\r\n{script}\r\n{python}\r\n" if windows else f"{script}\n{python}\n",
            encoding="utf-8",
        )
        command = ["cmd.exe", "/d", "/c", str(path)] if windows else ["bash", str(path)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, encoding="utf-8", env=base
        )
    if done.returncode != 0 or "\n@@" not in done.stdout:
        raise LabchannelError(
            f"the environment {prefix} can't be activated: {done.stderr.strip()[-300:]}",
            "Delete that folder and start again",
        )
    result: dict[str, str] = json.loads(done.stdout.rsplit("\n@@", 1)[1])
    # The reporting Python's own, not the environment's.
    for name in ("_", "SHLVL", "PWD", "OLDPWD"):
        result.pop(name, None)
    return result


@contextlib.contextmanager
def fresh_environment(
    channels: Sequence[str | Path], specs: Sequence[str], platform: str
) -> Iterator[Path]:
    """An environment that lives as long as the `with` block."""
    records = solve(channels, specs, platform)
    folder = Path(tempfile.mkdtemp(prefix="env-", dir=cache_folder("scratch")))
    try:
        install(records, folder / "env", platform, specs)
        yield folder / "env"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def python_of(prefix: Path, platform: str = "") -> Path:
    """The Python of an environment for `platform`, by default this machine's."""
    windows = (platform or current_platform()).startswith("win")
    return prefix / ("python.exe" if windows else "bin/python")

"""Downloads through the registries' own clients: pip, Maven and cargo, as the user set them up.

No host is named here: each client takes its mirrors, proxies and certificates from its own
configuration. What comes back is checked against the lock before anything reads it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from labchannel.digest import file_sha256
from labchannel.errors import LabchannelError
from labchannel.toolchain.lock import RELOCK, LockedArtifact, LockedCrate, LockedWheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"

# Wheel platform tags that pip may choose from, for each conda platform. The newest manylinux sets
# the glibc that the toolchain channel's packages may ask for.
WHEEL_PLATFORMS = {
    "linux-64": tuple(
        f"manylinux{suffix}_x86_64"
        for suffix in ("1", "2010", "2014", *(f"_2_{minor}" for minor in range(5, 29)))
    ),
    "win-64": ("win_amd64",),
}


def run_client(
    command: list[str],
    mend: str,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    base: Mapping[str, str] = os.environ,
) -> str:
    """Run a registry's client and return its standard output.

    `env` is added to `base`.

    Raises
    ------
    LabchannelError
        The program is missing or fails; the cause is its last line of error.
    """
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            env={**base, **(env or {})},
            cwd=cwd,
        )
    except OSError as error:
        raise LabchannelError(f"{command[0]} can't be started ({error.strerror})", mend) from error
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        telling = [line for line in lines if "error" in line.lower()] or lines or ["no message"]
        name = Path(command[0]).name
        raise LabchannelError(f"{name} failed: {telling[-1][:400]}", mend)
    return done.stdout


def check_bytes(path: Path, sha256: str, what: str) -> None:
    """Refuse, and remove, a file with other bytes than the locked ones."""
    found = file_sha256(path)
    if found != sha256:
        path.unlink()
        raise LabchannelError(
            f"{what} has sha256 {found[:12]}…, the lock says {sha256[:12]}…: not the locked bytes",
            "Ask your registry's keeper, or, if the change is wanted: "
            f"{RELOCK[0].lower()}{RELOCK[1:]}",
        )


def fetch_wheels(wheels: Iterable[LockedWheel], folder: Path) -> dict[str, Path]:
    """Bring the locked wheels to `folder`; what is there with the right hash is kept.

    Returns
    -------
    dict
        From file name to path.
    """
    wanted = {wheel.file: wheel for wheel in wheels}
    paths = {name: folder / name for name in wanted}
    missing = [
        wheel
        for name, wheel in wanted.items()
        if not paths[name].is_file() or file_sha256(paths[name]) != wheel.sha256
    ]
    groups: dict[tuple[str, str], list[LockedWheel]] = {}
    for wheel in missing:
        groups.setdefault((wheel.platform, wheel.pythons[0]), []).append(wheel)
    for (platform, python), group in groups.items():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            requirements = Path(scratch) / "requirements.txt"
            requirements.write_text(
                "".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in group),
                encoding="utf-8",
            )
            download_wheels(requirements, platform, python, Path(scratch))
            for wheel in group:
                arrived = Path(scratch) / wheel.file
                if not arrived.is_file():
                    raise LabchannelError(
                        f"the registry has another file for {wheel.name} {wheel.version}", RELOCK
                    )
                check_bytes(arrived, wheel.sha256, wheel.file)
                arrived.replace(paths[wheel.file])
    return paths


def download_wheels(requirements: Path, platform: str, python: str, folder: Path) -> None:
    """Let pip choose and bring one wheel for each line of `requirements` (with hashes)."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--python-version", python, "--implementation", "cp"),
        *("--dest", str(folder), "--requirement", str(requirements)),
    ]
    for tag in WHEEL_PLATFORMS[platform]:
        command += ["--platform", tag]
    run_client(
        command,
        "Check that pip reaches its index (pip config list), then start again; "
        "if it says that hashes do not match, the lock is older than the registry: "
        "run `./pixiw run labchannel bootstrap --update`",
    )


def fetch_artifact(entry: LockedArtifact, folder: Path) -> Path:
    """Bring one locked Maven artifact to `folder`."""
    group, name, version, extension, classifier = entry.artifact.split(":")
    path = folder / f"{name}-{version}-{classifier}.{extension}"
    if path.is_file() and file_sha256(path) == entry.sha256:
        return path
    download_artifact(entry.artifact, folder)
    check_bytes(path, entry.sha256, f"{group}:{name}")
    return path


def download_artifact(artifact: str, folder: Path) -> Path:
    """Let Maven bring one artifact, whatever its hash."""
    _group, name, version, extension, classifier = artifact.split(":")
    mend = (
        "Install Maven (apt-get install maven) and check that it reaches its repository "
        "(its settings.xml), then start again"
    )
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        run_client(
            [
                *("mvn", "--quiet", "--batch-mode", MAVEN_COPY),
                *(f"-Dartifact={artifact}", f"-DoutputDirectory={scratch}"),
            ],
            mend,
        )
        arrived = Path(scratch) / f"{name}-{version}-{classifier}.{extension}"
        if not arrived.is_file():
            raise LabchannelError(f"Maven brought no {arrived.name}", mend)
        path = folder / arrived.name
        arrived.replace(path)
    return path


def build_crate(entry: LockedCrate, folder: Path) -> Path:
    """Build one locked program of crates.io with the machine's cargo; returns the binary."""
    program = folder / f"{entry.name}-{entry.version}"
    if program.is_file():
        return program
    binary, digest = install_crate(entry.name, entry.version, folder)
    if digest != entry.sha256:
        raise LabchannelError(
            f"{entry.name} {entry.version} has sha256 {digest[:12]}…, the lock says "
            f"{entry.sha256[:12]}…",
            RELOCK,
        )
    binary.replace(program)
    return program


def install_crate(name: str, version: str, folder: Path) -> tuple[Path, str]:
    """Build `name`; returns its binary and the sha256 of the crate file it came from."""
    home = folder / "cargo-home"
    root = folder / "root"
    run_client(
        [
            # A debug build: the program runs for a second, its release build takes a minute.
            *("cargo", "install", "--quiet", "--debug", "--locked", "--root", str(root)),
            *("--version", version, name),
        ],
        "Install Rust and a C compiler (see `./pixiw run labchannel doctor`) and check that cargo "
        "reaches its registry, then start again",
        env={"CARGO_HOME": str(home), "CARGO_TARGET_DIR": str(folder / "target")},
    )
    crates = sorted(home.glob(f"registry/cache/*/{name}-{version}.crate"))
    if not crates:
        raise LabchannelError(f"cargo kept no crate file of {name} {version}", "Start again")
    digest = file_sha256(crates[0])
    for leftover in (home, folder / "target"):
        shutil.rmtree(leftover, ignore_errors=True)
    return root / "bin" / name, digest

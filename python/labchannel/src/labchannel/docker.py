"""Images of the libraries: made by docker from the channel alone, on a base that is there or made.

The Dockerfile says what is in an image. Here is what has to happen around it: the environment that
installs inside, the base image where no registry answers, and the sizes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labchannel.cache import cache_folder, exclusive, require_space
from labchannel.channel.layout import Channel
from labchannel.develop import native_packages
from labchannel.environment import install, lock_of, solve
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.workspace import Workspace, read_toml

PLATFORM = "linux-64"
DEFAULT_BASE = "debian:bookworm-slim"
SUITE = "bookworm"
"""The Debian that a base image made here holds; its glibc is 2.36."""
TARGETS = ("app", "test", "dev")

# A registry that does not answer must not hold up the build for long.
PULL_SECONDS = 120
NEEDED_BYTES = 3_000_000_000
# As in Debian's own slim images: nobody reads these in a container, and apt fetches its lists anew.
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
)


@dataclass(frozen=True)
class Image:
    """An image that was built; sizes in bytes."""

    name: str
    base: str
    unpacked: int
    """What docker says that its layers hold, the base's too."""
    compressed: int | None
    """`docker save` through gzip, level 6; only of `app`, the one that is shipped."""


def build_image(
    workspace: Workspace,
    progress: Progressor,
    *,
    target: str = "app",
    channel: Path | None = None,
    base: str = "",
    python: str = "3.12",
) -> Image:
    """Build a stage of docker/Dockerfile from the channel, with no network inside.

    Parameters
    ----------
    target
        A stage: `app`, `test` or `dev`.
    channel
        The channel folder; the checkout's by default. It has to hold Python.
    base
        The base image; by default Debian's slim one where docker has or gets it, else one that
        `base_image` makes.
    python
        The Python of the image.

    Raises
    ------
    LabchannelError
        No docker, no daemon, a channel that does not serve alone, or a step that failed.
    """
    source = (channel or workspace.channel).resolve()
    _require_docker()
    require_space(cache_folder("scratch"), NEEDED_BYTES, "an image")
    names = [folder.name for folder in native_packages(workspace)]
    repository = f"{read_toml(workspace.manifest)['workspace']['name']}/{target}"
    name = f"{repository}:{workspace.version}"
    with (
        progress.stage("image", 4) as step,
        exclusive("image", "an image", say=progress.say),
        tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as scratch,
    ):
        step("installer")
        make_installer(source, workspace.root / "docker" / "installer")
        step("base")
        base = base or _default_base(progress)
        step(f"build {name}")
        _docker(
            [
                *("build", "--network", "none", "--target", target, "--tag", name),
                *("--tag", f"{repository}:latest"),
                *("--build-arg", f"BASE={base}", "--build-arg", f"PYTHON={python}"),
                *("--build-arg", f"PACKAGES={' '.join(names)}"),
                *("--label", f"org.opencontainers.image.version={workspace.version}"),
                *("--label", "org.opencontainers.image.licenses=MIT OR Apache-2.0"),
                *("--file", str(workspace.root / "docker" / "Dockerfile")),
                str(_context(workspace, source, Path(scratch))),
            ],
            f"the image {name} can't be built",
            quiet=progress.quiet,
        )
        step("sizes")
        compressed = compressed_size(name) if target == "app" else None
        return Image(name, base, unpacked_size(name), compressed)


def _context(workspace: Workspace, channel: Path, scratch: Path) -> Path:
    """The build context: the checkout, or for another channel a folder of the same shape."""
    if channel == workspace.channel.resolve():
        return workspace.root
    shutil.copytree(channel, scratch / "channel")
    shutil.copytree(
        workspace.root / "docker" / "installer", scratch / "docker" / "installer", symlinks=True
    )
    return scratch


def make_installer(channel: Path, folder: Path) -> None:
    """An environment with labchannel, from the channel alone, to be copied into the first stage.

    It is what installs inside the image, where there is no conda client. `python -m labchannel`
    works wherever it lies: Python finds its own folder.

    Raises
    ------
    LabchannelError
        The channel does not hold Python: it was made where conda-forge answers.
    """
    if not any(record.name == "python" for record in Channel.read(channel)):
        raise LabchannelError(
            f"{channel} does not serve alone: it holds no Python",
            "Make one with LABCHANNEL_UPSTREAM=toolchain ./pixiw run build-recipes",
        )
    # pip for its certificates: rattler starts with some only, and the base image has none.
    specs = ["labchannel", "pip", "python 3.12.*"]
    records = solve([channel], specs, PLATFORM)
    lock = folder / "conda-meta" / "labchannel.lock"
    wanted = lock_of(records, PLATFORM)
    if lock.is_file() and lock.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    install(records, folder, PLATFORM, specs)
    lock.write_text(wanted, encoding="utf-8")


# ---- The base ----------------------------------------------------------------------------------


def _default_base(progress: Progressor) -> str:
    """Debian's own slim image where docker has it or gets it, else one made here."""
    if _has(DEFAULT_BASE):
        return DEFAULT_BASE
    try:
        pulled = subprocess.run(
            ["docker", "pull", "--quiet", DEFAULT_BASE],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=PULL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        pass
    else:
        if pulled.returncode == 0:
            return DEFAULT_BASE
    progress.say(f"no registry gives {DEFAULT_BASE}: a base image is made by debootstrap")
    return base_image(progress)


def base_image(progress: Progressor, suite: str = SUITE, tag: str = "") -> str:
    """Give docker a small base image, made by debootstrap from the machine's Debian mirror.

    The archive is kept in the cache, so it is made once.

    Returns
    -------
    str
        The image's name.

    Raises
    ------
    LabchannelError
        No docker, no debootstrap, not root, or the mirror does not answer.
    """
    name = tag or f"labchannel-base:{suite}"
    _require_docker()
    with exclusive(f"base-{suite}", f"the base image of {suite}", say=progress.say):
        archive = _root_archive(suite, progress)
        _docker(["import", "--change", 'CMD ["bash"]', str(archive), name], f"no image {name}")
    return name


def _root_archive(suite: str, progress: Progressor) -> Path:
    """The root file system of a minimal Debian, as a tar file."""
    archive = cache_folder("images") / f"{suite}.tar"
    if archive.is_file():
        return archive
    if shutil.which("debootstrap") is None:
        raise LabchannelError(
            "a base image is made by debootstrap, which is not on PATH",
            "Install it (apt-get install debootstrap), or name an image with --base",
        )
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise LabchannelError(
            "debootstrap has to be run by root",
            "Run `labchannel base-image` once as root, or name an image with --base",
        )
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as scratch:
        progress.say(f"debootstrap {suite}: some minutes, once")
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", suite, str(root)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip().splitlines()
            raise LabchannelError(
                f"debootstrap failed ({said[-1] if said else 'without a word'})",
                "Check that this machine reaches a Debian mirror, or name an image with --base",
            )
        made = Path(scratch) / "root.tar"
        left_out = [f"--exclude=./{name}/*" for name in _LEFT_OUT]
        pack = ["tar", "--numeric-owner", *left_out, "-C", str(root), "-cf", str(made), "."]
        subprocess.run(pack, check=True, stdin=subprocess.DEVNULL)
        made.replace(archive)
    return archive


# ---- docker ------------------------------------------------------------------------------------


def _require_docker() -> None:
    if shutil.which("docker") is None:
        raise LabchannelError("docker is not on PATH", "Install it (apt-get install docker.io)")
    done = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Os}}"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise LabchannelError(
            f"docker's daemon does not answer ({said[-1] if said else 'without a word'})",
            "Start it (dockerd, or systemctl start docker), or name it in DOCKER_HOST",
        )


def _docker(arguments: Sequence[str], failure: str, *, quiet: bool = True) -> str:
    """Run docker; what it says goes to standard error, or is kept for the error if `quiet`."""
    done = subprocess.run(
        ["docker", *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else sys.stderr,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        said = "\n".join((done.stderr or "").strip().splitlines()[-10:])
        raise LabchannelError(
            f"{failure}: docker {arguments[0]} ended with {done.returncode}\n{said}".rstrip(),
            "Mend what docker says",
        )
    return done.stdout or ""


def _has(image: str) -> bool:
    done = subprocess.run(
        ["docker", "image", "inspect", image],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode == 0


def unpacked_size(image: str) -> int:
    """Bytes in the layers of an image, as docker counts them."""
    return int(_docker(["image", "inspect", "--format", "{{.Size}}", image], f"no image {image}"))


def compressed_size(image: str) -> int:
    """Bytes of `docker save` through gzip: about what a registry keeps and a client fetches."""
    gzip = zlib.compressobj(level=6, wbits=31)
    size = 0
    with subprocess.Popen(
        ["docker", "save", image], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as saving:
        assert saving.stdout is not None  # noqa: S101 - told to be a pipe
        while part := saving.stdout.read(1 << 20):
            size += len(gzip.compress(part))
    if saving.returncode != 0:
        raise LabchannelError(f"docker save {image} failed", "Mend what docker says")
    return size + len(gzip.flush())

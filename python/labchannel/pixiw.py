"""What ./pixiw does, with nothing but Python's standard library.

pixi, where there is one and conda-forge answers. Otherwise labchannel: its dependencies go into a
private virtual environment in the user's cache, from requirements.lock with hashes, once; the
tool itself runs from this checkout.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LOCK = HERE / "requirements.lock"


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
    if python_in(final).exists():
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
        # A virtual environment is entered by its own path alone, so it may be moved; who comes
        # second finds the first one's and drops its own.
        try:
            scratch.rename(final)
        except OSError:
            if not python_in(final).exists():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return final


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
    if os.environ.get("LABCHANNEL_UPSTREAM") == "conda-forge" or (ROOT / ".pixi" / "envs").is_dir():
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
            hand_over([pixi, *arguments])
        arguments = ["pixi", *arguments]
    elif arguments[0] != "run":
        fail(f"without pixi there is only `run`, not {arguments[0]!r}", "Use ./pixiw run TASK")
    python = str(python_in(tool_environment()))
    os.environ["PYTHONPATH"] = str(HERE / "src")
    hand_over([python, "-m", "labchannel", *arguments])


def hand_over(command: list[str]) -> None:
    """Become the other program (on Windows: wait for it, where a process can't be replaced)."""
    if sys.platform == "win32":
        sys.exit(subprocess.run(command).returncode)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

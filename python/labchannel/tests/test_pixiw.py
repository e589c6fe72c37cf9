"""./pixiw itself, run in a copy of the checkout: by pixi where there is one, else by labchannel."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from labchannel.channel.publish import publish

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pixiw.cmd is for Windows")

needs_venv = pytest.mark.skipif(
    importlib.util.find_spec("ensurepip") is None, reason="this Python can't make a venv"
)


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


class Clone:
    """A copy of what ./pixiw needs, with a PATH that holds what a test puts there."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.root = folder / "a clone"
        tool = self.root / "python" / "labchannel"
        tool.mkdir(parents=True)
        for name in ("pixiw", "pixi.toml"):
            shutil.copy2(repository / name, self.root)
        for name in ("pixiw.py", "requirements.lock"):
            shutil.copy2(repository / "python" / "labchannel" / name, tool)
        (tool / "src").symlink_to(repository / "python" / "labchannel" / "src")
        (self.root / "recipes").mkdir()
        self.lock = tool / "requirements.lock"
        self.programs = folder / "programs"
        self.cache = folder / "cache"
        self.variables = {"HOME": str(folder / "home"), "LABCHANNEL_CACHE": str(self.cache)}
        for name in ("sh", "dirname"):
            (self.programs / name).parent.mkdir(exist_ok=True)
            (self.programs / name).symlink_to(shutil.which(name))

    def python(self) -> None:
        """This Python, as python3 on PATH."""
        program(self.programs, "python3", f'exec "{sys.executable}" "$@"')

    def ready_environment(self) -> Path:
        """The private environment as if it had been made: this Python has all that is needed."""
        key = hashlib.sha256(
            self.lock.read_bytes() + sys.version.encode() + sys.executable.encode()
        ).hexdigest()[:16]
        venv = self.cache / "venvs" / key
        venv.mkdir(parents=True)
        program(venv / "bin", "python", f'exec "{sys.executable}" "$@"')
        (venv / "labchannel-complete").touch()
        return venv

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.root / "pixiw", *arguments],
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.root,
            env={"PATH": str(self.programs), **self.variables},
        )


@pytest.fixture
def clone(repository, tmp_path) -> Clone:
    return Clone(repository, tmp_path)


OLD_PYTHON = 'case "$1" in --version) echo "Python 3.10.13";; *) exit 1;; esac'

# Tells its arguments, and answers a search as $FOUND says.
PIXI = 'if test "$1" = search; then exit "${FOUND:-0}"; fi\nfor word do echo "<$word>"; done'


def test_no_python_and_no_pixi(clone):
    done = clone.run("run", "test")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "pixiw: it needs Python 3.11 or later, or pixi, and found no Python.",
        "Install one (Debian: apt-get install python3 python3-venv), then start again.",
    ]


def test_a_python_that_is_too_old(clone):
    program(clone.programs, "python3", OLD_PYTHON)
    done = clone.run("run", "test")
    assert done.returncode == 1
    assert "found Python 3.10.13." in done.stderr


def test_a_newer_python_beside_an_old_one(clone):
    program(clone.programs, "python3", OLD_PYTHON)
    program(clone.programs, "python3.13", f'exec "{sys.executable}" "$@"')
    assert clone.run("--help").returncode == 0


def test_pixi_alone_is_enough(clone):
    program(clone.programs, "python3", OLD_PYTHON)
    program(clone.programs, "pixi", PIXI)
    assert clone.run("run", "a b").stdout == "<run>\n<a b>\n"


def test_pixi_gets_the_arguments_as_they_are(clone):
    clone.python()
    program(clone.programs, "pixi", PIXI)
    done = clone.run("run", "test", "--flag", "two words", "$HOME", "*")
    assert done.stdout.splitlines() == [
        "<run>",
        "<test>",
        "<--flag>",
        "<two words>",
        "<$HOME>",
        "<*>",
    ]
    assert clone.run("shell", "-e", "py313").stdout == "<shell>\n<-e>\n<py313>\n"
    assert not clone.cache.exists()


def test_pixis_exit_code_is_ours(clone):
    clone.python()
    program(clone.programs, "pixi", 'test "$1" = search || exit 9')
    assert clone.run("run", "test").returncode == 9


# What a pixi without conda-forge does: it reads its configuration, and solves from its mirror.
SOLVING_PIXI = """\
import glob, json, os, subprocess, sys, tomllib
from pathlib import Path
from labchannel.environment import current_platform, solve
home = os.environ["XDG_CONFIG_HOME"]
config = tomllib.loads(Path(home, "pixi", "config.toml").read_text())
(mirrors,) = config.get("mirrors", {}).values()
records = solve(mirrors, ["alpha"], current_platform())
print(json.dumps({
    "arguments": sys.argv[1:],
    "config": config,
    "found": [record.file_name for record in records],
    "upstream": os.environ["LABCHANNEL_UPSTREAM"],
    "no proxy": [os.environ.get("NO_PROXY"), os.environ.get("no_proxy")],
    "files": sorted(glob.glob("*/*", root_dir=home)),
    "pip": subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True),
}))
"""


@pytest.fixture
def behind_a_firewall(clone, make_package, no_network):
    """A clone with a pixi, and a toolchain channel in the place of conda-forge."""
    clone.python()
    clone.ready_environment()
    publish(clone.cache / "toolchain" / "here", [make_package("alpha")])
    script = clone.root / "solving_pixi.py"
    script.write_text(SOLVING_PIXI, encoding="utf-8")
    program(
        clone.programs,
        "pixi",
        f'if test "$1" = search; then exit 1; fi\nexec "{sys.executable}" "{script}" "$@"',
    )
    clone.variables |= {
        "LABCHANNEL_UPSTREAM": "toolchain:here",
        "HTTPS_PROXY": os.environ["HTTPS_PROXY"],
        "HTTP_PROXY": os.environ["HTTP_PROXY"],
    }
    return clone


def told(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_pixi_without_conda_forge_solves_from_the_toolchain_channel(behind_a_firewall):
    said = told(behind_a_firewall.run("run", "test", "--help", "two words"))
    assert said["arguments"] == ["run", "test", "--help", "two words"]
    assert said["found"] == ["alpha-1.0-h0_0.conda"]
    assert said["upstream"] == "toolchain:here"
    (address,) = said["config"]["mirrors"]
    assert address.endswith("/conda-forge")


def test_environments_made_by_the_mirror_are_no_sign_of_conda_forge(behind_a_firewall):
    """The second run is as the first: there is still no conda-forge to solve from."""
    told(behind_a_firewall.run("run", "test"))
    (behind_a_firewall.root / ".pixi" / "envs").mkdir(parents=True)
    said = told(behind_a_firewall.run("run", "test"))
    assert said["found"] == ["alpha-1.0-h0_0.conda"]
    assert said["upstream"] == "toolchain:here"


def test_environments_of_conda_forge_are_a_sign_of_it(clone):
    clone.python()
    program(clone.programs, "pixi", PIXI)
    (clone.root / ".pixi" / "envs").mkdir(parents=True)
    clone.variables["FOUND"] = "1"
    assert clone.run("run", "test").stdout == "<run>\n<test>\n"


def test_a_users_own_configuration_of_pixi_stays_in_force(behind_a_firewall):
    config = Path(behind_a_firewall.variables["HOME"], ".config", "pixi", "config.toml")
    config.parent.mkdir(parents=True)
    config.write_text('default-channels = ["mine"]\n', encoding="utf-8")
    said = told(behind_a_firewall.run("run", "test"))
    assert said["config"]["default-channels"] == ["mine"]
    assert said["found"] == ["alpha-1.0-h0_0.conda"]


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_what_a_user_reaches_without_a_proxy_stays_so(behind_a_firewall, name):
    behind_a_firewall.variables[name] = "corp.example,10.0.0.1"
    said = told(behind_a_firewall.run("run", "test"))
    assert said["found"] == ["alpha-1.0-h0_0.conda"]
    hosts = ["corp.example", "10.0.0.1", "127.0.0.1", "localhost"]
    assert said["no proxy"] == [",".join(hosts)] * 2


def test_a_users_configuration_of_other_programs_reaches_the_tasks(behind_a_firewall):
    folder = Path(behind_a_firewall.variables["HOME"], ".config")
    for path, text in (("pip/pip.conf", "[global]\nretries = 9\n"), ("pixi/other", "theirs")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    said = told(behind_a_firewall.run("run", "test"))
    assert "global.retries='9'" in said["pip"]
    assert said["files"] == ["pip/pip.conf", "pixi/config.toml", "pixi/other"]
    assert "[mirrors]" not in (folder / "pixi" / "other").read_text(encoding="utf-8")
    assert not (folder / "pixi" / "config.toml").exists()


def test_without_pixi_the_task_is_run_by_labchannel(clone):
    clone.python()
    clone.ready_environment()
    done = clone.run("run", "labchannel", "--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("labchannel ")
    assert "build-recipes " in clone.run("run").stdout


def test_without_pixi_there_is_only_run(clone):
    clone.python()
    done = clone.run("install")
    assert done.returncode == 1
    assert (
        done.stderr
        == "pixiw: without pixi there is only `run`, not 'install'. Use ./pixiw run TASK.\n"
    )


def test_help(clone):
    clone.python()
    assert clone.run("--help").returncode == 0
    assert "run a task of pixi.toml" in clone.run("-h").stdout
    assert clone.run().returncode == 2


def test_from_another_folder(clone, tmp_path):
    clone.python()
    done = subprocess.run(
        [clone.root / "pixiw", "--help"],
        check=False,
        cwd=tmp_path,
        env={"PATH": str(clone.programs)},
        capture_output=True,
    )
    assert done.returncode == 0


def test_a_cache_that_cannot_be_written(clone, tmp_path):
    clone.python()
    (tmp_path / "file").touch()
    clone.variables["LABCHANNEL_CACHE"] = str(tmp_path / "file" / "cache")
    done = clone.run("run", "test")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"pixiw: the cache folder {tmp_path}/file/cache/venvs can't be written"
    )
    assert "set LABCHANNEL_CACHE to another folder" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_requirements_lock(clone):
    clone.python()
    clone.lock.unlink()
    done = clone.run("run", "test")
    assert done.returncode == 1
    assert "requirements.lock can't be read" in done.stderr
    assert done.stderr.count("\n") == 1


@needs_venv
def test_a_requirements_lock_whose_hash_does_not_match(clone, tmp_path):
    """And so for whatever keeps pip from installing: nothing half made is left."""
    clone.python()
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "tiny-1.0-py3-none-any.whl").write_bytes(b"other bytes than the locked")
    clone.lock.write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    clone.variables |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(shelf)}
    done = clone.run("run", "test")
    assert done.returncode == 1
    first, last = done.stderr.splitlines()
    assert first == "pixiw: installing labchannel's dependencies (once)"
    assert last.startswith("pixiw: pip can't install labchannel's dependencies (")
    assert "then start again" in last
    assert list((clone.cache / "venvs").iterdir()) == []


@needs_venv
@pytest.mark.parametrize("left", ["bin/python", "lib"])
def test_a_private_environment_that_is_not_whole_is_replaced(clone, left):
    """A kill during `rm -r` or an older `clean --all` leaves one."""
    clone.python()
    clone.lock.write_text("", encoding="utf-8")
    venv = clone.ready_environment()
    (venv / "labchannel-complete").unlink()
    if left != "bin/python":
        (venv / "bin" / "python").unlink()
        (venv / left).mkdir()
    done = clone.run("run", "labchannel", "--version")
    # There is nothing in the empty lock, so nothing that labchannel needs either.
    assert "No module named" in done.stderr
    assert "installing labchannel's dependencies" in done.stderr
    assert [path.name for path in venv.parent.iterdir()] == [venv.name]
    assert {path.name for path in venv.iterdir()} >= {"pyvenv.cfg", "labchannel-complete"}


# Stands where pixi does, and ends as a program that Ctrl-C is left to does.
STOPPED = """\
import sys, time
try:
    print("begun", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize(("code", "ended"), [(130, 130), (0, 0)])
def test_ctrl_c_where_a_program_can_not_be_replaced(repository, tmp_path, code, ended):
    """As on Windows: it waits for the other one, which is told as well, and ends as it did."""
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED, encoding="utf-8")
    start = (
        "import runpy, subprocess, sys\n"
        "main = runpy.run_path(sys.argv[1])\n"
        "sys.platform = 'win32'\n"
        "main['hand_over'](sys.argv[2:])\n"
    )
    pixiw = repository / "python" / "labchannel" / "pixiw.py"
    with subprocess.Popen(
        [sys.executable, "-c", start, pixiw, sys.executable, script, str(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout.readline() == "begun\n"
        os.killpg(run.pid, signal.SIGINT)
        _out, error = run.communicate(timeout=60)
    assert (run.returncode, error) == (ended, "")


def test_ctrl_c_while_pixi_is_asked(clone):
    clone.python()
    program(clone.programs, "pixi", "echo asked >&2; kill -INT $PPID; exec sleep 60")
    (clone.programs / "sleep").symlink_to(shutil.which("sleep"))
    done = clone.run("run", "test")
    assert (done.returncode, done.stderr) == (130, "")


def test_a_python_without_venv(clone):
    broken = program(clone.programs, "broken", "echo no ensurepip >&2; exit 1")
    start = (
        f"import runpy, sys; sys.executable = '{broken}'; sys.argv = sys.argv[2:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    run = f'exec "{sys.executable}" -c "{start}" - "$@"'
    program(clone.programs, "python3", f'case "$1" in *pixiw.py) {run};; *) exit 0;; esac')
    done = clone.run("run", "test")
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr
    assert list((clone.cache / "venvs").iterdir()) == []

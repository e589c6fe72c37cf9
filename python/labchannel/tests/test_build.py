"""Builds of tiny recipes by rattler-build itself, in a checkout with its own caches."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pytest
import zstandard
from labchannel.build import INPUTS_KEY, build, built_packages, left_out, snapshot
from labchannel.cache import cache_folder
from labchannel.channel.archive import read_info
from labchannel.channel.layout import Channel
from labchannel.channel.publish import publish
from labchannel.channel.verify import verify
from labchannel.environment import current_platform
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor
from labchannel.recipe import load_recipes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the tiny recipes are sh scripts")


MANIFEST_OF_MANY = """\
[workspace]
name = "tiny"
channels = ["conda-forge"]
platforms = ["linux-64", "osx-arm64"]
"""


def read_files(package: Path) -> dict[str, str]:
    """The text files of a package's payload."""
    with zipfile.ZipFile(package) as archive:
        (name,) = [name for name in archive.namelist() if name.startswith("pkg-")]
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read(name))
    with tarfile.open(fileobj=io.BytesIO(raw)) as payload:
        return {
            member.name: payload.extractfile(member).read().decode()
            for member in payload.getmembers()
            if member.isfile()
        }


def files(checkout) -> list[str]:
    return [record.file_name for record in Channel.read(checkout.channel)]


def built_now(checkout) -> list[Path]:
    return built_packages(checkout.workspace, current_platform(), Progressor(quiet=True))


def test_a_recipe_is_built_tested_and_published(checkout):
    checkout.recipe("alpha", script=["echo built > $PREFIX/share/alpha/mark.txt"])
    report = checkout.build()
    (outcome,) = report.outcomes
    assert (outcome.name, outcome.status, report.good) == ("alpha", "built", True)
    assert [record.file_name for record in report.published] == [outcome.file]
    assert verify(checkout.channel, own=["alpha"]) == []
    package = checkout.channel / "noarch" / outcome.file
    assert package.stat().st_size == outcome.size
    info = read_info(package)
    assert info.index["build_number"] == 0
    assert len(info.about["extra"][INPUTS_KEY]) == 64


def test_what_is_unchanged_is_skipped(checkout, contents):
    checkout.recipe("alpha")
    checkout.build()
    before = contents(checkout.channel)
    os.utime(checkout.root / "alpha" / "data.txt", (2_000_000_000, 2_000_000_000))
    assert checkout.statuses() == {"alpha": "skipped"}
    assert contents(checkout.channel) == before


def test_each_change_gets_the_next_number_and_going_back_too(checkout):
    checkout.recipe("alpha")
    checkout.build()
    checkout.write("alpha/data.txt", "second\n")
    assert checkout.statuses() == {"alpha": "built"}
    checkout.write("alpha/data.txt", "alpha\n")
    checkout.build()
    numbers = sorted(record.build_number for record in Channel.read(checkout.channel))
    assert numbers == [0, 1, 2]
    assert checkout.statuses() == {"alpha": "skipped"}
    assert verify(checkout.channel, own=["alpha"]) == []


def test_a_new_version_begins_at_zero(checkout):
    checkout.recipe("alpha")
    checkout.build()
    checkout.write("alpha/data.txt", "second\n")
    checkout.build()
    checkout.recipe("alpha", version="1.1")
    (outcome,) = checkout.build().outcomes
    assert re.fullmatch(r"alpha-1\.1-.*_0\.conda", outcome.file)


def test_a_second_channel_gets_the_same_file_without_a_build(checkout):
    checkout.recipe("alpha")
    (first,) = checkout.build().outcomes
    other = checkout.root / "other channel"
    (second,) = checkout.build(channel=other).outcomes
    assert (second.status, second.file) == ("cached", first.file)
    path = f"noarch/{first.file}"
    assert (other / path).read_bytes() == (checkout.channel / path).read_bytes()


def test_the_same_inputs_built_twice_are_the_same_bytes(checkout):
    checkout.recipe("alpha", script=["date +%s%N > /dev/null", "mkdir -p $PREFIX/bin"])
    (first,) = checkout.build().outcomes
    data = (checkout.channel / "noarch" / first.file).read_bytes()
    for name in ("built", "build", "logs"):
        shutil.rmtree(checkout.cache / name)
    moved = checkout.root.with_name("elsewhere")
    shutil.copytree(checkout.root, moved, ignore=shutil.ignore_patterns("channel"))
    checkout.workspace = type(checkout.workspace)(moved)
    (second,) = checkout.build().outcomes
    assert (second.status, second.file) == ("built", first.file)
    assert (checkout.channel / "noarch" / second.file).read_bytes() == data


def test_a_changed_recipe_builds_those_that_need_it_anew(checkout):
    checkout.recipe("alpha")
    checkout.recipe("beta", run=["alpha"], test="test -f $PREFIX/share/alpha/data.txt")
    checkout.recipe("other")
    assert set(checkout.statuses().values()) == {"built"}
    checkout.write("alpha/data.txt", "second\n")
    assert checkout.statuses() == {"alpha": "built", "beta": "built", "other": "skipped"}


def test_another_toolchain_builds_everything_anew(checkout, monkeypatch):
    checkout.recipe("alpha")
    checkout.build()
    first = checkout.toolchain
    monkeypatch.setenv("LABCHANNEL_UPSTREAM", "toolchain:second")
    shutil.copytree(first, checkout.toolchain)
    (outcome,) = checkout.build().outcomes
    assert outcome.status == "built"
    assert outcome.file.endswith("_1.conda")


def test_a_name_chooses_a_recipe_and_those_that_it_needs(checkout):
    checkout.recipe("alpha")
    checkout.recipe("beta", build=["alpha"])
    checkout.recipe("gamma", run=["beta"])
    assert checkout.statuses("beta") == {"alpha": "built", "beta": "built"}
    with pytest.raises(LabchannelError, match=r"no recipe 'betta'.*alpha, beta, gamma"):
        checkout.build("betta")


def test_a_failing_test_publishes_nothing_and_the_rest_is_built_all_the_same(checkout, contents):
    checkout.recipe("alpha")
    checkout.build()
    before = contents(checkout.channel)
    checkout.write("alpha/data.txt", "second\n")
    checkout.recipe("bad", test="echo the reason && exit 3")
    checkout.recipe("needs_bad", run=["bad"])
    checkout.recipe("other")
    report = checkout.build()
    assert {outcome.name: outcome.status for outcome in report.outcomes} == {
        "alpha": "built",
        "bad": "failed",
        "needs_bad": "not built",
        "other": "built",
    }
    assert report.published == ()
    assert contents(checkout.channel) == before
    reasons = {outcome.name: outcome.reason for outcome in report.outcomes}
    assert "the reason" in reasons["bad"]
    assert reasons["needs_bad"] == "needs bad"
    log = checkout.cache / "logs" / f"bad-{current_platform()}.log"
    assert str(log) in reasons["bad"]
    assert "the reason" in log.read_text(encoding="utf-8")
    # What was built is not built again once the fault is mended.
    checkout.recipe("bad")
    assert checkout.statuses() == {
        "alpha": "cached",
        "bad": "built",
        "needs_bad": "built",
        "other": "cached",
    }


def test_a_failing_script(checkout):
    checkout.recipe("alpha", script=["echo about to fail", "false", "echo never"])
    (outcome,) = checkout.build().outcomes
    assert outcome.status == "failed"
    assert "about to fail" in outcome.reason
    assert not checkout.channel.exists()


def test_a_build_needs_a_package_that_no_channel_has(checkout):
    checkout.recipe("alpha", build=["no-such-package"])
    (outcome,) = checkout.build().outcomes
    assert outcome.status == "failed"
    assert "no-such-package" in outcome.reason


def test_a_build_does_not_see_the_tools_and_settings_of_the_machine(checkout, monkeypatch):
    folder = checkout.write("tools/secret-tool", "#!/bin/sh\n").parent
    (folder / "secret-tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CARGO_HOME", "/elsewhere")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    monkeypatch.setenv("CC", "no-such-compiler")
    checkout.recipe(
        "alpha",
        script=[
            "if command -v secret-tool; then exit 1; fi",
            'test -z "${CARGO_HOME:-}"',
            'test -z "${PYTHONHOME:-}"',
            'test "${CC:-}" != no-such-compiler',
        ],
    )
    assert checkout.statuses() == {"alpha": "built"}


def test_a_patch_or_a_script_beside_the_recipe_is_there_in_the_build(checkout):
    path = checkout.recipe("alpha")
    checkout.write("recipes/alpha/extra.sh", "echo extra > $PREFIX/share/alpha/extra.txt\n")
    text = path.read_text(encoding="utf-8")
    text = text.replace(
        "    - cp -r alpha $PREFIX/share/\n",
        "    - cp -r alpha $PREFIX/share/\n    - . $RECIPE_DIR/extra.sh\n",
    ).replace("- true", "- test -f $PREFIX/share/alpha/extra.txt")
    path.write_text(text, encoding="utf-8")
    assert checkout.statuses() == {"alpha": "built"}


def test_a_source_in_another_folder_of_the_checkout(checkout):
    path = checkout.recipe("alpha")
    checkout.write("sub/folder/alpha/data.txt", "from the sub-folder\n")
    checkout.write("sub/folder/LICENSE", "Do as you like.\n")
    text = path.read_text(encoding="utf-8").replace("path: ../..", "path: ../../sub/folder")
    text = text.replace("- true", "- grep sub-folder $PREFIX/share/alpha/data.txt")
    path.write_text(text, encoding="utf-8")
    assert checkout.statuses() == {"alpha": "built"}


def test_a_recipe_without_a_source(checkout):
    path = checkout.recipe("alpha")
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"source:\n(  .*\n)+", "", text).replace("  license_file: LICENSE\n", "")
    text = text.replace("cp -r alpha $PREFIX/share/", "echo a > $PREFIX/share/a")
    path.write_text(text, encoding="utf-8")
    assert checkout.statuses() == {"alpha": "built"}


def test_a_recipe_without_a_plain_build_number(checkout):
    path = checkout.recipe("alpha")
    path.write_text(path.read_text(encoding="utf-8").replace("  number: 0\n", ""))
    checkout.recipe("beta")
    with pytest.raises(LabchannelError, match=r"no plain `number: 0`"):
        checkout.build()


def test_an_edit_during_a_build_is_not_in_the_package(checkout):
    """The copy that is built is what was hashed."""
    checkout.recipe("alpha")
    (recipe,) = load_recipes(checkout.workspace, current_platform())
    copy = snapshot(checkout.workspace, recipe, "d" * 64, 4, checkout.cache / "src")
    checkout.write("alpha/data.txt", "edited\n")
    assert (checkout.cache / "src" / "alpha" / "data.txt").read_text() == "alpha\n"
    text = copy.read_text(encoding="utf-8")
    assert "  number: 4\n" in text
    assert f"extra:\n  {INPUTS_KEY}: {'d' * 64}\n" in text


class Editor(Progressor):
    """Edits a file, and lets the build go on, when it is told that somebody is waited for."""

    def __init__(self, edit: Callable[[], object]) -> None:
        super().__init__(quiet=True)
        self.edit = edit

    def say(self, message: str) -> None:
        if "waiting for" in message:
            self.edit()


def test_an_edit_while_another_build_is_waited_for_is_in_the_package_and_its_digest(checkout):
    checkout.recipe("alpha")
    other = filelock.FileLock(cache_folder("locks") / f"recipe-{current_platform()}-alpha.lock")
    other.acquire()

    def edit() -> None:
        checkout.write("alpha/data.txt", "edited\n")
        other.release()

    report = build(checkout.workspace, Editor(edit), platform=current_platform(), closure=False)
    assert [outcome.status for outcome in report.outcomes] == ["built"]
    (record,) = report.published
    assert read_files(checkout.channel / record.location)["share/alpha/data.txt"] == "edited\n"
    assert checkout.statuses() == {"alpha": "skipped"}
    checkout.write("alpha/data.txt", "alpha\n")
    assert checkout.statuses() == {"alpha": "built"}


def test_an_edit_while_the_files_are_copied_is_told(checkout, monkeypatch):
    checkout.recipe("alpha")

    def edited(*arguments: Any) -> Path:
        checkout.write("alpha/data.txt", "edited\n")
        return snapshot(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("labchannel.build.snapshot", edited)
        (outcome,) = checkout.build().outcomes
    assert outcome.status == "failed"
    assert "changed while they were copied" in outcome.reason
    assert not (checkout.channel / "noarch").exists()
    checkout.write("alpha/data.txt", "alpha\n")
    assert checkout.statuses() == {"alpha": "built"}


@pytest.mark.parametrize("others", [True, False], ids=["other platforms", "noarch alone"])
def test_a_channel_that_lost_its_index_is_indexed_before_anything_is_built(
    checkout, make_package, others
):
    checkout.recipe("alpha")
    checkout.build()
    if others:
        publish(checkout.channel, [make_package("gamma", subdir=current_platform())])
    (checkout.channel / "noarch" / "repodata.json").unlink()
    assert checkout.statuses() == {"alpha": "skipped"}
    (checkout.channel / "noarch" / "repodata.json").unlink()
    checkout.write("alpha/data.txt", "edited\n")
    assert checkout.statuses() == {"alpha": "built"}
    numbers = sorted(r.build_number for r in Channel.read(checkout.channel) if r.name == "alpha")
    assert numbers == [0, 1]
    assert verify(checkout.channel) == []


def test_a_missing_source_file_ends_it_before_any_build(checkout):
    checkout.recipe("alpha")
    checkout.recipe("beta")
    shutil.rmtree(checkout.root / "beta")
    with pytest.raises(LabchannelError, match="matches no file"):
        checkout.build()
    assert not (checkout.cache / "built").exists()


def test_a_file_where_the_channel_should_be_ends_it_before_any_build(checkout):
    checkout.recipe("alpha")
    with pytest.raises(LabchannelError, match=r"notes\.txt is a file, and a channel is a folder"):
        checkout.build(channel=checkout.write("notes.txt", "mine\n"))
    assert not (checkout.cache / "built").exists()
    assert (checkout.root / "notes.txt").read_text() == "mine\n"


def test_the_channel_gets_the_run_time_closure_for_each_python(checkout, make_package):
    pythons = [
        make_package("python", f"{version}.1", build=f"h0_{place}", number=place)
        for place, version in enumerate(("3.12", "3.13", "3.14"))
    ]
    needed = [
        make_package("pip"),
        make_package("lib", depends=["lib-core"]),
        make_package("lib-core"),
    ]
    publish(checkout.toolchain, [*pythons, *needed, make_package("compiler")])
    checkout.recipe("alpha", run=["lib"])
    checkout.build(closure=True)
    names = sorted(record.name for record in Channel.read(checkout.channel))
    assert names == ["alpha", "lib", "lib-core", "pip", "python", "python", "python"]
    assert verify(checkout.channel) == []


def test_the_closure_can_be_left_out(checkout, make_package):
    publish(checkout.toolchain, [make_package("lib")])
    checkout.recipe("alpha", run=["lib"])
    checkout.build(closure=False)
    assert [record.name for record in Channel.read(checkout.channel)] == ["alpha"]


def test_a_package_that_was_cut_short_in_the_cache_is_built_anew(checkout):
    """kill -9 or a full disk while it was written."""
    checkout.recipe("alpha")
    checkout.build()
    (kept,) = (checkout.cache / "built").glob("*/*.conda")
    kept.write_bytes(kept.read_bytes()[:100])
    (outcome,) = checkout.build(channel=checkout.root / "other").outcomes
    assert outcome.status == "built"
    assert verify(checkout.root / "other") == []


def test_what_was_built_from_the_checkout_as_it_is_now(checkout):
    checkout.recipe("alpha")
    (first,) = checkout.build().outcomes
    assert [path.name for path in built_now(checkout)] == [first.file]
    checkout.write("alpha/data.txt", "second\n")
    with pytest.raises(LabchannelError, match=r"alpha.*build"):
        built_now(checkout)
    (second,) = checkout.build().outcomes
    assert [path.name for path in built_now(checkout)] == [second.file]


# From the command line.


def test_the_table(checkout, tool):
    checkout.recipe("alpha")
    checkout.recipe("bad", test="exit 3")
    done = tool("build", "--no-closure", cwd=checkout.root)
    assert done.returncode == 1
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["recipe", "result", "package", "seconds", "size"]
    assert rows[1][:2] == ["alpha", "built"]
    assert rows[1][2].startswith("alpha-1.0-")
    assert rows[2][:2] == ["bad", "failed"]
    assert done.stdout.splitlines()[-1] == "Nothing was published: the channel is as it was."
    assert "bad: the build of bad failed:" in done.stderr
    assert "recipes 1/2: alpha 1.0, build 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_json(checkout, tool):
    checkout.recipe("alpha")
    done = tool("build", "--no-closure", "--json", "--quiet", cwd=checkout.root)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    (outcome,) = told["outcomes"]
    assert outcome["status"] == "built"
    assert told["published"] == [f"noarch/{outcome['file']}"]
    assert Path(told["channel"]) == checkout.channel


def test_a_fault_of_a_recipe_is_one_sentence(checkout, tool):
    checkout.write("recipes/alpha/recipe.yaml", "package: [")
    done = tool("build", cwd=checkout.root)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {checkout.root}/recipes/alpha/recipe.yaml can't be")


# Two at once, and Ctrl-C. A recipe tells by a file that its script runs, and waits for another.


@dataclass
class Gate:
    """Where the builds of a recipe tell that they run, and wait to be let through."""

    mailbox: Any
    go_on: Path

    @property
    def script(self) -> list[str]:
        return [
            # Without a word: who writes to a starter that has gone is ended by that alone.
            "set +x",
            "sleep 1000 & sleeper=$!",
            f"echo $$ $sleeper > '{self.mailbox.path}'",
            f"until test -f '{self.go_on}'; do sleep 0.05; done",
            "kill $sleeper",
        ]

    def wait(self, process: subprocess.Popen[str]) -> list[int]:
        """Until a build is there: the ids of its processes."""
        return [int(word) for word in self.mailbox.wait(process).split()]

    def open(self) -> None:
        self.go_on.touch()


BUILD = ("build", "--no-closure")


@pytest.fixture
def gate(checkout, mailbox, make_package):
    """A channel with one older package, and a recipe whose build waits at a gate."""
    publish(checkout.channel, [make_package("alpha")])
    checkout.recipe("alpha")
    made = Gate(mailbox, checkout.root / "go-on")
    checkout.recipe("beta", script=made.script)
    return made


def life(pid: int) -> str:
    """When the process began, which tells it from a later one of the same number; "" if it is over.

    And its name, for the message of a failure.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    name, _, rest = text.rpartition(")")
    state, *fields = rest.split()
    return "" if state in "ZX" else f"{name}) group {fields[2]} began {fields[18]}"


def wait_until_none(found: Callable[[], list[object]]) -> None:
    """Until nothing is found any more: what was killed, and who clears up, may take a moment."""
    for _ in range(200):
        if not found():
            return
        threading.Event().wait(0.05)
    pytest.fail(f"still there: {found()}")


def wait_for_the_end(*lives: tuple[int, str]) -> None:
    """Until the kernel has ended them."""
    wait_until_none(lambda: [began for pid, began in lives if began and life(pid) == began])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("ending", ["true", "exit 3"])
def test_what_a_script_leaves_in_the_background_ends_with_the_build(checkout, ending):
    pid_file = checkout.root / "pid"
    checkout.recipe(
        "alpha", script=["sleep 1000 > /dev/null 2>&1 &", f"echo $! > '{pid_file}'", ending]
    )
    checkout.build()
    pid = int(pid_file.read_text(encoding="utf-8"))
    wait_for_the_end((pid, life(pid)))


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files of what a test starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", ["group", "parent", "terminated", "killed"])
def test_a_build_that_is_stopped_leaves_nothing_and_the_channel_as_it_was(
    checkout, gate, contents, temporary, started, how
):
    before = contents(checkout.channel)
    with started(*BUILD, cwd=checkout.root) as process:
        lives = [(pid, life(pid)) for pid in gate.wait(process)]
        assert all(began for _pid, began in lives)
        assert list(temporary.iterdir())
        match how:
            case "group":
                os.killpg(process.pid, signal.SIGINT)
            case "parent":
                process.send_signal(signal.SIGINT)
            case "terminated":
                process.terminate()
            case "killed":
                process.kill()
        _output, errors = process.communicate(timeout=60)
    wait_for_the_end(*lives)
    wait_until_none(lambda: list(temporary.iterdir()))
    assert contents(checkout.channel) == before
    assert "Traceback" not in errors
    if how != "killed":
        assert process.returncode == {"terminated": 143}.get(how, 130)
        assert errors.splitlines()[-1].startswith("stopped: nothing was published")


def test_two_builds_of_one_channel_at_once(checkout, gate, tool, started):
    with started(*BUILD, cwd=checkout.root) as first:
        gate.wait(first)
        second = tool("build", "--no-closure", cwd=checkout.root)
        assert second.returncode == 1
        assert second.stderr.startswith("error: another labchannel is at work")
        assert second.stderr.count("\n") == 1
        gate.open()
        _output, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert len(files(checkout)) == 3
    assert verify(checkout.channel) == []


def test_two_builds_for_two_channels_at_once_build_a_recipe_once(checkout, gate, started):
    with (
        started(*BUILD, "beta", "--channel", "one", cwd=checkout.root) as first,
        started(*BUILD, "beta", "--channel", "two", cwd=checkout.root) as second,
    ):
        gate.wait(first)
        gate.open()
        ends = [process.communicate(timeout=60) for process in (first, second)]
        assert [process.returncode for process in (first, second)] == [0, 0], ends
    statuses = sorted(re.findall(r"beta +(\w+)", "".join(output for output, _errors in ends)))
    assert statuses == ["built", "cached"]
    one, two = checkout.root / "one", checkout.root / "two"
    assert verify(one) == verify(two) == []
    assert [r.file_name for r in Channel.read(one)] == [r.file_name for r in Channel.read(two)]


# A full disk and a read-only channel, real ones: in a mount namespace of their own.

ON_A_DISK = """
set -eu
eval "$prepare"
status=0
"$python" -m labchannel build --no-closure --quiet || status=$?
exit $status
"""


@pytest.fixture
def build_with_mounts(mounts):
    def build_with_mounts(checkout, prepare: str) -> subprocess.CompletedProcess[str]:
        """Build where `prepare` (sh) has mounted something over a folder of the checkout's."""
        return subprocess.run(
            [*mounts, "sh", "-c", ON_A_DISK],
            check=False,
            capture_output=True,
            text=True,
            cwd=checkout.root,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "python": sys.executable,
                "prepare": prepare,
                "cache": str(checkout.cache),
            },
        )

    return build_with_mounts


READ_ONLY = "mount --bind channel channel; mount -o remount,ro,bind channel"
FULL = "mount -t tmpfs -o size=400k none channel; cp -r kept/. channel"


@pytest.mark.parametrize(
    ("prepare", "told"), [(READ_ONLY, "can't be written"), (FULL, "no room to publish")]
)
def test_a_channel_that_cannot_be_written_is_told_before_anything_is_built(
    build_with_mounts, checkout, contents, prepare, told
):
    checkout.recipe("alpha")
    checkout.build()
    before = contents(checkout.channel)
    shutil.copytree(checkout.channel, checkout.root / "kept")
    checkout.write("alpha/data.txt", "second\n")
    done = build_with_mounts(checkout, prepare)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert str(checkout.channel) in done.stderr
    assert told in done.stderr
    assert contents(checkout.channel) == before
    # Had it been built, this would say `cached`.
    assert checkout.statuses() == {"alpha": "built"}


def test_a_read_only_folder_for_a_new_channel_is_told_before_the_toolchain_is_made(
    build_with_mounts, checkout, monkeypatch
):
    checkout.recipe("alpha")
    # It is refused as soon as a toolchain is looked for.
    monkeypatch.setenv("LABCHANNEL_UPSTREAM", "none")
    done = build_with_mounts(checkout, "mount --bind . .; mount -o remount,ro,bind .")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"the channel {checkout.channel} can't be written" in done.stderr


@pytest.mark.parametrize(
    "prepare", [READ_ONLY, "mount --bind . .; mount -o remount,ro,bind ."], ids=["channel", "all"]
)
def test_a_read_only_channel_that_has_all_is_no_trouble(build_with_mounts, checkout, prepare):
    checkout.recipe("alpha")
    checkout.build()
    done = build_with_mounts(checkout, prepare)
    assert done.returncode == 0, done.stderr
    assert "skipped" in done.stdout


@pytest.mark.parametrize(
    ("folder", "size", "told"),
    [
        ("build", "1m", "a build needs about 2.0 GB"),
        ("built", "100k", "No space left on device"),
        ("logs", "4k", "No space left on device"),
    ],
)
def test_no_room_in_the_cache(build_with_mounts, checkout, contents, temporary, folder, size, told):
    checkout.recipe("alpha")
    checkout.build()
    before = contents(checkout.channel)
    checkout.recipe("alpha", script=["head -c 200000 /dev/urandom > $PREFIX/share/big", "seq 3000"])
    done = build_with_mounts(
        checkout, f'mount -t tmpfs -o size={size},nr_inodes=10 none "$cache/{folder}"'
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 1, done.stderr
    assert told in done.stderr
    assert contents(checkout.channel) == before
    assert not list((checkout.cache / "built").glob("*/*.partial"))
    assert not list(temporary.iterdir())


# Builds for another system. Its part of the toolchain channel is test_cross's subject.


@pytest.fixture
def crossing(checkout, monkeypatch):
    """A checkout whose builds for win-64 need nothing that builds for this machine don't."""
    monkeypatch.setattr(
        "labchannel.build.cross_upstream",
        lambda _workspace, _progress, upstream, _platform: upstream,
    )
    return checkout


def test_a_noarch_package_is_the_same_for_every_system(crossing):
    crossing.recipe("alpha")
    (here,) = crossing.build().outcomes
    (there,) = crossing.build(platform="win-64").outcomes
    assert (here.status, there.status) == ("built", "skipped")
    assert there.file == here.file


def test_a_package_of_the_other_system_is_built_beside_this_machines(crossing):
    """The host is the other system in all that the recipe sees; its tests can't run here."""
    path = crossing.recipe(
        "alpha",
        script=[
            "echo $target_platform > $PREFIX/share/alpha/target.txt",
            'echo ${{ "windows" if win else "unix" }} > $PREFIX/share/alpha/system.txt',
            'echo ${{ "cross" if build_platform != host_platform else "native" }}'
            " > $PREFIX/share/alpha/kind.txt",
        ],
        test="test -f $CONDA_PREFIX/share/alpha/system.txt",
    )
    path.write_text(path.read_text().replace("  noarch: generic\n", ""))
    assert crossing.statuses() == {"alpha": "built"}
    assert crossing.statuses(platform="win-64") == {"alpha": "built"}
    assert crossing.statuses(platform="win-64") == {"alpha": "skipped"}
    assert verify(crossing.channel, own=["alpha"]) == []
    seen = {}
    for record in Channel.read(crossing.channel):
        files = read_files(crossing.channel / record.location)
        seen[record.subdir] = [
            files[f"share/alpha/{name}.txt"].strip() for name in ("target", "system", "kind")
        ]
    assert seen == {
        "linux-64": ["linux-64", "unix", "native"],
        "win-64": ["win-64", "windows", "cross"],
    }


@pytest.fixture
def lib_of_each_system(crossing, make_package):
    """A toolchain channel with a noarch `lib` that has one build for each system."""
    publish(
        crossing.toolchain,
        [
            *(make_package("python", f"3.{minor}.1") for minor in (12, 13, 14)),
            make_package("pip"),
            make_package("lib", build="unix_0", depends=["__unix"]),
            make_package("lib", build="win_0", depends=["__win"]),
        ],
    )


@pytest.mark.usefixtures("lib_of_each_system")
def test_the_closure_of_another_system_is_its_own(crossing):
    """A noarch package may have one build for each system: pytest has."""
    crossing.recipe("alpha", run=["lib"])
    builds = []
    for platform in ("linux-64", "win-64"):
        crossing.build(closure=True, platform=platform)
        builds.append(sorted(r.build for r in Channel.read(crossing.channel) if r.name == "lib"))
    assert builds == [["unix_0"], ["unix_0", "win_0"]]


@pytest.mark.usefixtures("lib_of_each_system")
def test_a_noarch_package_of_the_channel_is_served_where_others_are_built_for(crossing):
    """The channel offers it to every system, so what it needs there has to be in it."""
    crossing.recipe("alpha", run=["lib"])
    crossing.recipe("beta")
    crossing.build(closure=True)
    crossing.build("beta", closure=True, platform="win-64")
    builds = {record.build for record in Channel.read(crossing.channel) if record.name == "lib"}
    assert builds == {"unix_0", "win_0"}


def test_there_is_no_cross_build_to_a_system_without_a_toolchain(checkout):
    checkout.write("pixi.toml", MANIFEST_OF_MANY)
    checkout.recipe("alpha")
    with pytest.raises(LabchannelError, match="no cross build from linux-64 to osx-arm64"):
        checkout.build(platform="osx-arm64")


@pytest.mark.parametrize(
    ("programs", "sentence"),
    [
        (("apt-get", "dpkg-deb"), "win-64 is left out: --platform win-64 builds for it"),
        (("dpkg-deb",), "win-64 is left out: its compilers come from Debian.*no apt-get here"),
    ],
)
def test_a_build_for_this_machine_says_what_it_leaves_out(
    checkout, tmp_path, monkeypatch, programs, sentence
):
    for name in programs:
        program = tmp_path / "patchelf" / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "patchelf"))
    assert re.match(sentence, left_out(checkout.workspace, "linux-64"))
    assert left_out(checkout.workspace, "win-64").startswith("Built for win-64, not tested")

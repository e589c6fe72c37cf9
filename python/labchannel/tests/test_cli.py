"""The command line: help, version, JSON, exit codes, errors of one sentence, no colour in a log."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import labchannel
import pytest
from labchannel.channel.publish import publish
from labchannel.cli import app
from typer.main import get_command
from typer.testing import CliRunner, Result

COMMANDS = [
    "base-image",
    "bench",
    "bootstrap",
    "build",
    "clean",
    "doctor",
    "env",
    "image",
    "matrix",
    "new-package",
    "prune",
    "publish",
    "release-check",
    "run",
    "sdists",
    "serve",
    "test-installed",
    "verify",
    "wheels",
]


def test_the_commands_are_those_of_the_tests():
    shown = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if not command.hidden
    }
    assert sorted(shown | {"env"}) == COMMANDS


@pytest.fixture(scope="session")
def helps() -> dict[str, Result]:
    """Every command's help."""
    return {
        words: CliRunner().invoke(app, [*words.split(), "--help"])
        for words in ["", *COMMANDS, "env create"]
    }


@pytest.mark.parametrize("words", ["", *COMMANDS, "env create"])
def test_every_command_explains_itself(helps, words):
    shown = helps[words]
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "Usage:" in shown.stdout
    assert f"{words} [OPTIONS]".strip() in shown.stdout
    command = get_command(app)
    for word in words.split():
        command = command.commands[word]
    # A sentence about what it does, and one for each argument and option.
    for what in (command, *command.params):
        assert re.match(r"[A-Z].*[.?]$", what.help or "", re.DOTALL), what.name
        assert what.help.split()[0] in shown.stdout


def test_the_help_names_every_command(helps):
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", helps[""].stdout)


def test_version(tool):
    done = tool("--version")
    assert (done.returncode, done.stdout) == (0, f"labchannel {labchannel.__version__}\n")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", labchannel.__version__)


def test_the_version_is_the_repositorys(repository):
    from labchannel.workspace import Workspace

    assert labchannel.__version__ == Workspace(repository).version


@pytest.mark.parametrize("arguments", [["no-such-command"], ["verify", "--no-such-option"]])
def test_a_wrong_word_is_exit_code_2(tool, arguments):
    done = tool(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_option_is_named(tool):
    done = tool("env", "create", "alpha")
    assert done.returncode == 2
    assert "--prefix" in done.stderr


@pytest.fixture
def channel(tmp_path, make_package):
    folder = tmp_path / "chännel"
    publish(folder, [make_package("alpha"), make_package("beta")])
    return folder


def test_outside_of_a_checkout(tool, tmp_path):
    done = tool("build", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {tmp_path} is not inside a checkout with pixi.toml and recipes/. "
        "Change into the repository first.\n"
    )


def test_a_checkout_is_found_from_any_of_its_folders(checkout, tool):
    done = tool("run", cwd=checkout.write("a/b/file", "").parent)
    assert done.returncode == 0


def test_verify_needs_no_checkout(channel, tool, tmp_path):
    done = tool("verify", channel, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"{channel}: 2 packages, no fault\n"


def test_faults_are_lines_and_exit_code_1(channel, tool, tmp_path):
    (channel / "noarch" / "alpha-1.0-h0_0.conda").unlink()
    done = tool("verify", channel, cwd=tmp_path)
    assert done.returncode == 1
    assert "noarch/alpha-1.0-h0_0.conda" in done.stdout
    told = tool("verify", channel, "--json", "--quiet", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (1, "")
    faults = json.loads(told.stdout)
    assert faults[0].keys() == {"path", "check", "message"}


@pytest.mark.parametrize("command", [["verify"], ["publish", "--channel"], ["serve"]])
def test_what_is_no_channel(command, tool, tmp_path):
    (tmp_path / "file").touch()
    done = tool(*command, tmp_path / "file", *(["x.conda"] if command[0] == "publish" else []))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_publish_and_its_json(tmp_path, make_package, tool):
    package = make_package("alpha")
    done = tool("publish", package, "--channel", tmp_path / "new", "--json", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert [record["name"] for record in report["added"]] == ["alpha"]
    again = tool("publish", package, "--channel", tmp_path / "new", "-q")
    assert again.stdout.startswith("0 added (0 B), 1 were there already: ")


def test_prune_and_its_json(checkout, make_package, tool):
    checkout.recipe("alpha")
    builds = [make_package("alpha", number=number) for number in range(3)]
    publish(checkout.channel, [*builds, make_package("other")])
    done = tool("prune", "--keep", "1", cwd=checkout.root)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(" (")[0] for line in lines[:2]] == [
        "removed noarch/alpha-1.0-h0_0.conda",
        "removed noarch/alpha-1.0-h0_1.conda",
    ]
    assert re.fullmatch(r"freed \d+(\.\d)? k?B", lines[2])
    told = tool("prune", "--json", cwd=checkout.root)
    assert json.loads(told.stdout)["removed"] == []
    publish(
        checkout.channel,
        [make_package("alpha", number=3), make_package("user", depends=["alpha 1.0 h0_2"])],
    )
    kept = tool("prune", "--keep", "1", cwd=checkout.root)
    assert kept.stdout.splitlines() == [
        "kept noarch/alpha-1.0-h0_2.conda: noarch/user-1.0-h0_0.conda needs it",
        "freed 0 B",
    ]
    assert tool("prune", "--keep", "0", cwd=checkout.root).returncode == 2


def test_clean_says_what_it_frees_and_leaves_the_channel(checkout, tool, contents):
    checkout.recipe("alpha")
    checkout.build()
    before = contents(checkout.channel)
    done = tool("clean", "--json", cwd=checkout.root)
    freed = json.loads(done.stdout)
    assert freed["built"] > 0
    assert not (checkout.cache / "built").exists()
    assert (checkout.cache / "toolchain").is_dir()
    everything = tool("clean", "--all", cwd=checkout.root)
    assert everything.stdout.splitlines()[-1].startswith("freed ")
    assert not (checkout.cache / "toolchain").exists()
    assert contents(checkout.channel) == before


@pytest.mark.parametrize(
    "arguments", [["run"], ["build", "--no-closure"], ["verify"], ["build", "nothing"], ["env"]]
)
def test_a_log_has_no_colour(checkout, tool, arguments):
    checkout.recipe("alpha")
    publish(checkout.channel, [])
    done = tool(*arguments, cwd=checkout.root)
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_has_colour(tmp_path):
    import pty

    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "labchannel", "verify", str(tmp_path)],
        stdout=child,
        stderr=child,
        env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": ""},
    ) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                data = os.read(parent, 4096)
            except OSError:
                break
            if not data:
                break
            shown += data
    os.close(parent)
    assert process.returncode == 1
    assert b"\x1b[1;31merror:" in shown


def test_an_upstream_that_nobody_knows(checkout, tool):
    checkout.recipe("alpha")
    done = tool("build", cwd=checkout.root, LABCHANNEL_UPSTREAM="bioconda")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: LABCHANNEL_UPSTREAM is 'bioconda'. "
        "Set it to conda-forge or toolchain, or not at all."
    )


@pytest.mark.parametrize("platform", ["osx-arm64", "linux-aarch64", "amiga-68k"])
def test_a_platform_that_is_not_served(checkout, tool, platform):
    checkout.recipe("alpha")
    done = tool("build", "--platform", platform, cwd=checkout.root)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{platform} is not served" in done.stderr
    assert not checkout.channel.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="141 stands for SIGPIPE, which Windows lacks")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["clean"]])
def test_output_that_nobody_reads_any_more(checkout, words):
    """labchannel run | head"""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "labchannel", *words],
        check=False,
        cwd=checkout.root,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["clean"], ["clean", "--json"]])
def test_output_on_a_full_disk(checkout, words):
    """labchannel verify > /full/disk/faults"""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "labchannel", *words],
            check=False,
            cwd=checkout.root,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            # What can't be written stays in a buffer, and is tried again at the end.
            env={name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"},
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_checkouts_channel_from_any_of_its_folders(checkout, make_package, tool):
    publish(checkout.channel, [make_package("alpha")])
    below = checkout.write("a/b/file", "").parent
    done = tool("test-installed", "--package", "alpha", "--python", "3.13", "--json", cwd=below)
    # The channel was found; it has no Python to test with.
    assert "there is no channel" not in done.stderr
    assert "alpha" in done.stdout


def test_without_a_checkout_the_channel_is_in_the_current_folder(tmp_path, tool):
    done = tool("test-installed", "--package", "alpha", cwd=tmp_path)
    assert done.returncode == 1
    assert f"there is no channel at {tmp_path / 'channel'}" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_scripts(shell):
    done = complete(f"source_{shell}")
    assert done.returncode == 0, done.stderr
    assert "_LABCHANNEL_COMPLETE" in done.stdout


def test_completion_of_a_command():
    done = complete("complete_bash", COMP_WORDS="labchannel ver", COMP_CWORD="1")
    assert done.stdout.split() == ["verify"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("build al", ["alpha"]),
        ("build --platform lin", ["linux-64"]),
        ("run gre", ["greet"]),
        ("run -e def", ["default"]),
    ],
)
def test_completion_of_what_the_checkout_has(checkout, monkeypatch, words, offered):
    checkout.recipe("alpha")
    checkout.recipe("beta")
    text = checkout.workspace.manifest.read_text(encoding="utf-8")
    checkout.write("pixi.toml", f'{text}\n[tasks.greet]\ncmd = "echo hello"\n')
    ask = {"COMP_WORDS": f"labchannel {words}", "COMP_CWORD": str(len(words.split()))}
    monkeypatch.chdir(checkout.root)
    done = complete("complete_bash", **ask)
    assert (done.stdout.split(), done.stderr) == (offered, "")
    # Where there is no checkout, nothing is offered and nothing is said.
    monkeypatch.chdir(checkout.root.parent)
    done = complete("complete_bash", **ask)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def complete(instruction: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a shell asks of the installed program."""
    start = "import sys; from labchannel.cli import main; sys.argv[0] = 'labchannel'; main()"
    return subprocess.run(
        [sys.executable, "-c", start],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "_LABCHANNEL_COMPLETE": instruction, **variables},
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_has_not_all_letters(channel, tool, tmp_path, encoding):
    renamed = channel.with_name("канал")
    channel.rename(renamed)
    done = subprocess.run(
        [sys.executable, "-m", "labchannel", "verify", renamed],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert b"2 packages, no fault" in done.stdout

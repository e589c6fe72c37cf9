"""Build the recipes that changed, test them while packaging, and publish all of them or none."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labchannel.cache import cache_folder, exclusive, require_space
from labchannel.channel.archive import read_info
from labchannel.channel.layout import NOARCH, REPODATA, SUBDIRS, Channel, Record, is_package
from labchannel.channel.publish import channel_root, publish, require_writable
from labchannel.environment import current_platform, record_file, solve
from labchannel.errors import LabchannelError
from labchannel.isolated import BuildRequest, run_isolated
from labchannel.manifest import read_manifest
from labchannel.progress import OnStep, Progressor
from labchannel.recipe import (
    Recipe,
    inputs_digest,
    load_recipes,
    needed_recipes,
    render_recipe,
)
from labchannel.settle import settle
from labchannel.stopping import if_stopped
from labchannel.toolchain.debian import missing_programs
from labchannel.toolchain.resolve import CROSS_PLATFORM, TOOLCHAIN_PLATFORM
from labchannel.upstream import Upstream, cross_upstream, find_upstream
from labchannel.workspace import SERVED_PYTHONS, Workspace

INPUTS_KEY = "labchannel-inputs"
"""Where a package's about.json holds the digest of what it was made from."""

NEEDED_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Outcome:
    """What became of one recipe."""

    name: str
    status: str
    """`built`, `cached` (built before for another channel), `skipped` (already in the channel),
    `failed`, or `not built` (it needs one that failed)."""
    file: str = ""
    seconds: float = 0.0
    size: int = 0
    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether the channel has, or can get, this package."""
        return self.status in ("built", "cached", "skipped")


@dataclass(frozen=True)
class BuildReport:
    """What became of all of them."""

    outcomes: tuple[Outcome, ...]
    published: tuple[Record, ...]
    channel: Path

    @property
    def good(self) -> bool:
        """Whether every recipe is in the channel."""
        return all(outcome.good for outcome in self.outcomes)


def build(
    workspace: Workspace,
    progress: Progressor,
    *,
    names: Sequence[str] = (),
    platform: str,
    channel: Path | None = None,
    closure: bool = True,
) -> BuildReport:
    """Bring the channel up to date with the checkout.

    A recipe whose inputs are those of the newest package in the channel is skipped. Another gets
    the next build number, so that a file name never stands for two different files. Nothing is
    published unless everything asked for succeeded.

    Parameters
    ----------
    names
        Only these recipes and those that they need; all by default.
    platform
        The conda platform to build for. For another one than this machine's it is a cross build:
        the packages' own tests can't run in it, the matrix runs them. A noarch package is built
        and tested on this machine, whatever it is for.
    channel
        The channel folder; the checkout's by default.
    closure
        Where conda-forge does not answer: also publish every package that these need at run time
        and to be tested, for each served Python, so that the channel serves alone.

    Raises
    ------
    LabchannelError
        The platform is not served, a recipe can't be rendered, another build is running, no room
        on the disk, no toolchain; there is something to publish, and the channel can't be written.
    """
    read_manifest(workspace.manifest).require_platform(platform)
    target = channel_root(channel or workspace.channel)
    recipes = _chosen(_buildable(workspace, platform), names)
    for recipe in recipes:
        recipe.check_sources()
    lock = exclusive(_lock_name(target), f"a build for {target}", wait=False)
    with if_stopped("nothing was published"), lock:
        if not _is_indexed(target):
            # Before the toolchain channel is made, which takes minutes.
            require_writable(target)
            if _holds_packages(target):
                # Its index is lost, or was never made: without it the numbers of the builds that
                # it holds are not known, and those made now would be refused at the end.
                publish(target, [])
        upstreams = _upstreams(workspace, progress, platform)
        require_space(cache_folder("build"), NEEDED_BYTES, "a build")
        outcomes, packages = _build_all(workspace, progress, recipes, target, upstreams)
        published: tuple[Record, ...] = ()
        if all(outcome.good for outcome in outcomes):
            extra: list[Path] = []
            toolchain = upstreams[platform].toolchain
            if closure and toolchain is not None:
                with progress.stage("run-time closure", len(SERVED_PYTHONS)) as step:
                    served = _served(_buildable(workspace, platform), recipes, target)
                    extra = _closure(served, packages, target, toolchain.path, platform, step)
            with progress.stage("publish") as step:
                report = publish(target, [*packages, *extra], on_step=step)
            published = report.added
    return BuildReport(tuple(outcomes), published, target)


def _buildable(workspace: Workspace, platform: str) -> list[Recipe]:
    """The recipes as this machine builds them for `platform`, in build order."""
    here = current_platform()
    return [
        recipe
        if recipe.platform == here or recipe.subdir != NOARCH
        else render_recipe(recipe.path, workspace.variants, here)
        for recipe in load_recipes(workspace, platform)
    ]


def _upstreams(workspace: Workspace, progress: Progressor, platform: str) -> dict[str, Upstream]:
    """Where builds for this machine, and builds for `platform`, take their parts from."""
    upstream = find_upstream(workspace, progress)
    return {
        current_platform(): upstream,
        platform: cross_upstream(workspace, progress, upstream, platform),
    }


def left_out(workspace: Workspace, platform: str) -> str:
    """What a build for `platform` on this machine leaves out, in a sentence; empty if nothing."""
    here = current_platform()
    if platform != here:
        return (
            f"Built for {platform}, not tested: packages of another system can't run in a build. "
            "`./pixiw run matrix` tests them"
        )
    if here != TOOLCHAIN_PLATFORM:
        return ""
    if CROSS_PLATFORM not in read_manifest(workspace.manifest).platforms:
        return ""
    missing = missing_programs()
    if missing:
        return (
            f"{CROSS_PLATFORM} is left out: its compilers come from Debian, and there is no "
            f"{' and no '.join(missing)} here"
        )
    return f"{CROSS_PLATFORM} is left out: --platform {CROSS_PLATFORM} builds for it"


def _lock_name(target: Path) -> str:
    digest = hashlib.sha256(str(target).encode()).hexdigest()[:12]
    return f"build-{re.sub(r'[^A-Za-z0-9]+', '-', target.name)[:40]}-{digest}"


def _chosen(recipes: Sequence[Recipe], names: Sequence[str]) -> list[Recipe]:
    known = {recipe.name: recipe for recipe in recipes}
    for name in names:
        if name not in known:
            raise LabchannelError(
                f"there is no recipe {name!r}", f"Choose some of: {', '.join(sorted(known))}"
            )
    wanted = set(names) or set(known)
    for recipe in reversed(recipes):
        if recipe.name in wanted:
            wanted |= needed_recipes(recipe, known)
    return [recipe for recipe in recipes if recipe.name in wanted]


def _build_all(
    workspace: Workspace,
    progress: Progressor,
    recipes: Sequence[Recipe],
    target: Path,
    upstreams: Mapping[str, Upstream],
) -> tuple[list[Outcome], list[Path]]:
    present = Channel.read(target) if _is_indexed(target) else None
    outcomes: list[Outcome] = []
    packages: list[Path] = []
    digests: dict[str, str] = {}
    known = [recipe.name for recipe in recipes]
    with progress.stage("recipes", len(recipes)) as step:
        for recipe in recipes:
            needs = needed_recipes(recipe, known)
            failed = sorted(o.name for o in outcomes if o.name in needs and not o.good)
            if failed:
                outcomes.append(
                    Outcome(recipe.name, "not built", reason=f"needs {', '.join(failed)}")
                )
                continue
            upstream = upstreams[recipe.platform]
            digest = digests[recipe.name] = _digest(workspace, recipe, digests, upstream)
            newest = _newest(present, recipe)
            if newest is not None and _inputs_of(target / newest.location) == digest:
                outcomes.append(Outcome(recipe.name, "skipped", newest.file_name, size=newest.size))
                step(f"{recipe.name}: unchanged")
                continue
            # Only now: where nothing is new, a channel may be one that is only read.
            require_writable(target)
            number = 0 if newest is None else newest.build_number + 1
            # A build for another channel, or from another checkout, uses the same folders.
            with exclusive(
                f"recipe-{recipe.platform}-{recipe.name}",
                f"a build of {recipe.name}",
                say=progress.say,
            ):
                # Again: its files may have been edited while another build was waited for.
                digest = digests[recipe.name] = _digest(workspace, recipe, digests, upstream)
                kept = _kept(digest, number)
                if kept is not None:
                    step(f"{recipe.name}: built before from the same inputs")
                    size = kept.stat().st_size
                    outcome = Outcome(recipe.name, "cached", kept.name, size=size)
                    package: Path | None = kept
                else:
                    step(f"{recipe.name} {recipe.version}, build {number}")
                    outcome, package = _build_one(
                        *(workspace, progress, recipe, digests, number),
                        *(packages, target, upstream),
                    )
            outcomes.append(outcome)
            if package is not None:
                packages.append(package)
    return outcomes, packages


def _holds_packages(target: Path) -> bool:
    return any(
        path.parent.name in SUBDIRS and (path.name == REPODATA or is_package(path.name))
        for path in target.glob("*/*")
    )


def _is_indexed(target: Path) -> bool:
    return (target / NOARCH / "repodata.json").is_file()


def _newest(present: Channel | None, recipe: Recipe) -> Record | None:
    if present is None:
        return None
    builds = [
        record
        for record in present.builds(recipe.name, recipe.version)
        if record.subdir == recipe.subdir
    ]
    return max(builds, key=lambda record: record.build_number, default=None)


def _inputs_of(package: Path) -> str | None:
    """The digest that a package says it was made from; None for a foreign or damaged one."""
    try:
        about = read_info(package).about
    except LabchannelError:
        return None
    extra = about.get("extra", {})
    value = extra.get(INPUTS_KEY) if isinstance(extra, Mapping) else None
    return str(value) if value is not None else None


def _kept(digest: str, at_least: int) -> Path | None:
    """A package built before from the same inputs, if its number is free in the channel."""
    folder = cache_folder("built") / digest
    for package in sorted(folder.glob("*.conda")):
        try:
            number = int(read_info(package).index["build_number"])
        except LabchannelError:
            # Damaged: made again, and replaced then.
            continue
        if number >= at_least:
            return package
    return None


def _build_one(
    workspace: Workspace,
    progress: Progressor,
    recipe: Recipe,
    digests: Mapping[str, str],
    number: int,
    packages: Iterable[Path],
    target: Path,
    upstream: Upstream,
) -> tuple[Outcome, Path | None]:
    began = time.monotonic()
    # One folder for each recipe, always the same: cargo then knows what it has compiled already.
    folder = cache_folder("build") / recipe.platform / recipe.name
    shutil.rmtree(folder, ignore_errors=True)
    digest = digests[recipe.name]
    recipe_path = snapshot(workspace, recipe, digest, number, folder / "src")
    if _digest(workspace, recipe, digests, upstream) != digest:
        # The copy may hold what was not hashed, and would be taken for what was.
        reason = f"the files of {recipe.name} changed while they were copied. Build it again."
        return Outcome(recipe.name, "failed", reason=reason), None
    channels = list(upstream.channels)
    if needed_recipes(recipe, workspace.own_packages()):
        channels = _with_own_packages(channels, packages, target, folder)
    log = cache_folder("logs") / f"{recipe.name}-{recipe.platform}.log"
    request = BuildRequest(
        recipe=str(recipe_path),
        variants=str(recipe_path.parent.parent / "variants.yaml"),
        platform=recipe.platform,
        output=str(folder / "out"),
        channels=channels,
        timestamp=source_time(workspace, recipe),
    )
    try:
        built = run_isolated(request, log, progress, recipe.name)
    except LabchannelError as error:
        seconds = time.monotonic() - began
        return Outcome(recipe.name, "failed", seconds=seconds, reason=str(error)), None
    # Beside those of other numbers: another build may be publishing one of them.
    keep = cache_folder("built") / digest
    keep.mkdir(exist_ok=True)
    package = keep / built.name
    settle(built, package, request.timestamp)
    shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - began
    return Outcome(recipe.name, "built", built.name, seconds, package.stat().st_size), package


def source_time(workspace: Workspace, recipe: Recipe) -> int:
    """Seconds since 1970 that stand for the sources.

    The time of their last commit, so that every clone builds the same bytes; with uncommitted
    changes, or without git, the newest of the files' own times.
    """
    paths = [recipe.path, *(path for _name, path in recipe.source_files())]
    git = ["git", "-C", str(workspace.root)]
    named = ["--", *(str(path.relative_to(workspace.root)) for path in paths)]
    try:
        changed = _said([*git, "status", "--porcelain", *named])
        committed = _said([*git, "log", "-1", "--format=%ct", *named])
    except (OSError, subprocess.CalledProcessError):
        changed, committed = "", ""
    if committed and not changed:
        return int(committed)
    return max(int(path.stat().st_mtime) for path in paths)


def _said(command: Sequence[str]) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout.strip()


def snapshot(workspace: Workspace, recipe: Recipe, digest: str, number: int, folder: Path) -> Path:
    """Copy exactly the digested files, and the recipe with its build number and digest.

    What is built is thus what was hashed, whatever is edited meanwhile.

    Returns
    -------
    Path
        The copied recipe.yaml, at the same place relative to its sources as the original.
    """
    for name, path in recipe.source_files():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Fresh times on purpose: cargo compares times, and an older checkout's would mislead it.
        shutil.copyfile(path, copy)
        copy.chmod(path.stat().st_mode & 0o755 | 0o600)
    recipe_path = folder / recipe.path.relative_to(workspace.root)
    recipe_path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(workspace.variants, folder / workspace.variants.relative_to(workspace.root))
    text = recipe.path.read_text(encoding="utf-8")
    text, numbers = re.subn(r"(?m)^(  number:) *\d+ *$", rf"\g<1> {number}", text)
    if numbers != 1:
        raise LabchannelError(
            f"{recipe.path} has no plain `number: 0` under `build:`", "Write it so, indented by two"
        )
    line = f"  {INPUTS_KEY}: {digest}\n"
    if re.search(r"(?m)^extra:\s*$", text):
        text = re.sub(r"(?m)^extra:\s*\n", f"extra:\n{line}", text)
    else:
        text = f"{text.rstrip()}\n\nextra:\n{line}"
    # As in the checkout: the package holds it, and is the same from every system.
    recipe_path.write_text(text, encoding="utf-8", newline="\n")
    return recipe_path


def _with_own_packages(
    channels: list[str], packages: Iterable[Path], target: Path, folder: Path
) -> list[str]:
    """A channel of what this run has made and the target has, in front of the others."""
    local = folder / "local"
    publish(local, list(packages))
    with_target = [target.as_uri()] if (target / "noarch" / "repodata.json").is_file() else []
    return [local.as_uri(), *with_target, *channels]


def test_specs(recipes: Iterable[Recipe]) -> list[str]:
    """What the recipes' own tests need beside the packages, sorted."""
    return sorted({spec for recipe in recipes for spec in recipe.needs_to_test})


def _served(known: Sequence[Recipe], recipes: Sequence[Recipe], target: Path) -> list[Recipe]:
    """`recipes`, and the noarch ones that the channel holds: it offers these to every platform."""
    names = {recipe.name for recipe in recipes}
    if (target / NOARCH / "repodata.json").is_file():
        names |= {record.name for record in Channel.read(target) if record.subdir == NOARCH}
    return [recipe for recipe in known if recipe.name in names]


def _closure(
    recipes: Sequence[Recipe],
    packages: Sequence[Path],
    target: Path,
    toolchain: Path,
    platform: str,
    step: OnStep,
) -> list[Path]:
    """The files of every package that these need to run and to be tested, on each served Python.

    pip is among them: conda adds it to what every python needs.
    """
    own = {recipe.name for recipe in recipes}
    files: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(dir=cache_folder("scratch")) as name:
        local = Path(name) / "channel"
        publish(local, packages)
        channels: list[str | Path] = [local, toolchain]
        if (target / "noarch" / "repodata.json").is_file():
            channels.append(target)
        for python in SERVED_PYTHONS:
            step(f"Python {python}")
            specs = [f"python {python}.*", "pip", *sorted(own), *test_specs(recipes)]
            for record in solve(channels, specs, platform):
                path = record_file(record)
                if path is not None and record.name.normalized not in own:
                    files[record.file_name] = path
    return [files[name] for name in sorted(files)]


def built_packages(workspace: Workspace, platform: str, progress: Progressor) -> list[Path]:
    """The packages in the cache that were built from the checkout as it is now.

    Raises
    ------
    LabchannelError
        One of them has not been built.
    """
    upstreams = _upstreams(workspace, progress, platform)
    recipes = _buildable(workspace, platform)
    digests: dict[str, str] = {}
    packages = []
    for recipe in recipes:
        upstream = upstreams[recipe.platform]
        digest = digests[recipe.name] = _digest(workspace, recipe, digests, upstream)
        built = _kept(digest, 0)
        if built is None:
            raise LabchannelError(
                f"{recipe.name} has not been built from the checkout as it is now",
                "Build and publish it with `./pixiw run build-recipes`",
            )
        packages.append(built)
    return packages


def _digest(
    workspace: Workspace,
    recipe: Recipe,
    digests: Mapping[str, str],
    upstream: Upstream,
) -> str:
    """The digest of a recipe's inputs; `digests` holds those of all recipes before it."""
    needs = sorted(needed_recipes(recipe, digests))
    context = [upstream.identity, recipe.platform, *(digests[name] for name in needs)]
    return inputs_digest(recipe, workspace, context)

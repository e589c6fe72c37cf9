"""The recipes: rendered by rattler-build, ordered by need, told apart by content."""

from __future__ import annotations

import graphlib
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rattler
import rattler_build

from labchannel.digest import file_sha256
from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from labchannel.workspace import Workspace


HOST_KEY = "host_platform"
"""The variant key that tells a cross build which system it is for."""


@dataclass(frozen=True)
class Recipe:
    """One rendered recipe for one platform."""

    name: str
    version: str
    path: Path
    platform: str
    rendered: rattler_build.RenderedVariant

    @property
    def facts(self) -> dict[str, Any]:
        """The rendered recipe as plain data."""
        return self.rendered.recipe.to_dict()

    def _requirements(self, *sections: str) -> list[str]:
        requirements = self.facts.get("requirements", {})
        return [str(spec) for section in sections for spec in requirements.get(section, [])]

    @property
    def needs_to_build(self) -> list[str]:
        """The specs of the build and host environments."""
        return self._requirements("build", "host")

    @property
    def needs_in_host(self) -> list[str]:
        """The specs of the host environment: what is there on the system that it is built for."""
        return self._requirements("host")

    @property
    def needs_in_build(self) -> list[str]:
        """The specs of the build environment: what runs while it is built."""
        return self._requirements("build")

    @property
    def needs_to_run(self) -> list[str]:
        """The specs that the package will depend on, run exports aside."""
        return self._requirements("run")

    @property
    def needs_to_test(self) -> list[str]:
        """The specs that its test environments add."""
        found = []
        for test in self.facts.get("tests", []):
            requirements = test.get("requirements", {})
            found += [str(spec) for part in ("build", "run") for spec in requirements.get(part, [])]
        return found

    @property
    def subdir(self) -> str:
        """The channel subdir that the package lands in."""
        return "noarch" if "noarch" in self.facts["build"] else self.platform

    def source_files(self) -> list[tuple[Path, Path]]:
        """The files that the build copies, and those beside the recipe: patches, scripts.

        Returns
        -------
        list
            Pairs of a path in the checkout and the path on disk, sorted.

        Raises
        ------
        LabchannelError
            A source is missing, or lies outside of the checkout.
        """
        checkout = self.path.parents[2].resolve()
        paths = set(_beneath(self.path.parent.resolve())) - {self.path.resolve()}
        for root, include, exclude in self._sources():
            if not root.is_relative_to(checkout):
                raise LabchannelError(
                    f"{self.path}: the source {root} lies outside of the checkout",
                    "Move it into the repository: a build is made from one checkout",
                )
            left_out = {path for pattern in exclude for path in _matches(root, pattern)}
            paths |= {path for pattern in include for path in _matches(root, pattern)} - left_out
        files = ((path.relative_to(checkout), path) for path in paths)
        return sorted((name, path) for name, path in files if not _is_leftover(name))

    def check_sources(self) -> None:
        """Refuse a recipe that names a source that is not there, before any build starts.

        Raises
        ------
        LabchannelError
            A source folder is missing, or a pattern of its filter matches nothing.
        """
        for root, include, _exclude in self._sources():
            for pattern in include:
                if next(_matches(root, pattern), None) is None:
                    raise LabchannelError(
                        f"{self.path}: the source filter {pattern!r} matches no file in {root}",
                        "Restore the file, or correct the recipe's source.filter",
                    )

    def _sources(self) -> Iterator[tuple[Path, list[str], list[str]]]:
        """Each source of this machine: its folder, and the globs that it takes and leaves out."""
        for source in self.facts.get("source", []):
            if "path" not in source:
                continue
            root = (self.path.parent / source["path"]).resolve()
            if not root.exists():
                raise LabchannelError(
                    f"{self.path}: the source {source['path']} is missing",
                    "Correct source.path, or restore the files",
                )
            rules = source.get("filter", [])
            if not isinstance(rules, dict):
                rules = {"include": rules}
            yield root, rules.get("include") or ["**"], rules.get("exclude") or []


def _matches(root: Path, pattern: str) -> Iterator[Path]:
    """The files that a recipe's glob selects: a folder stands for all that is in it."""
    stem = pattern.removesuffix("**").rstrip("/")
    for path in root.glob(stem) if stem else [root]:
        yield from _beneath(path)


def _beneath(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (inner for inner in path.rglob("*") if inner.is_file())
    elif path.is_file():
        yield path


def _is_leftover(relative: Path) -> bool:
    """What running leaves behind, which is never an input."""
    leftovers = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}
    return bool(leftovers.intersection(relative.parts)) or relative.suffix in {
        ".pyc",
        ".so",
        ".pyd",
    }


def spec_name(spec: str) -> str:
    """The package name of a spec.

    Examples
    --------
    >>> spec_name("maturin >=1.9.4,<2")
    'maturin'
    """
    return re.split(r"[\s=<>!~\[]", spec, maxsplit=1)[0].lower()


def render_recipe(path: Path, variants: Path, platform: str) -> Recipe:
    """Render one recipe.

    Parameters
    ----------
    path
        The recipe.yaml.
    variants
        The variant file.
    platform
        The conda platform to build for.

    Raises
    ------
    LabchannelError
        A syntax error, an unknown key, or a recipe with more than one variant.
    """
    config = read_variants(variants, platform)
    try:
        stage0 = rattler_build.Stage0Recipe.from_file(path)
        rendered = stage0.render(config, rattler_build.RenderConfig(platform=_platforms(platform)))
    except OSError as error:
        raise LabchannelError(f"{path} can't be read ({error})", "Restore it") from error
    except rattler_build.RattlerBuildError as error:
        raise LabchannelError(
            f"{path} can't be rendered: {_reason(error)}", "Mend that line"
        ) from error
    if len(rendered) != 1:
        raise LabchannelError(
            f"{path} renders to {len(rendered)} variants, labchannel builds one for a platform",
            f"Give each key in {variants} one value, or build for all Pythons with python-abi3",
        )
    (variant,) = rendered
    package = variant.recipe.package
    return Recipe(package.name, package.version, path, platform, variant)


def _reason(error: rattler_build.RattlerBuildError) -> str:
    """What rattler-build has to say, without the Rust structures around it."""
    text = " ".join(str(error).split())
    told = re.search(r'(?:reason|message): "((?:[^"\\]|\\.)*)"', text)
    if told is None:
        return text
    reason = re.sub(r"\\(.)", r"\1", told[1])
    place = re.search(r"\bline: (\d+), column: (\d+)", text)
    return f"{place[1]}:{place[2]}: {reason}" if place else reason


def _platforms(platform: str) -> rattler_build.PlatformConfig:
    """The build runs on this machine, for `platform`."""
    here = str(rattler.Subdir.current())
    return rattler_build.PlatformConfig(
        target_platform=platform, build_platform=here, host_platform=platform
    )


def read_variants(path: Path, platform: str) -> rattler_build.VariantConfig:
    """Read the variant file, its `if: linux` and `if: win` decided for `platform`.

    A build for another system than this one learns of it by one more key, `host_platform`: what
    rattler-build is told of it while rendering does not reach its host environment.

    Raises
    ------
    LabchannelError
        It is missing or damaged.
    """
    if not path.is_file():
        raise LabchannelError(f"{path} is missing", "Restore it from version control: git checkout")
    try:
        jinja = rattler_build.JinjaConfig(platform=_platforms(platform))
        config = rattler_build.VariantConfig.from_file_with_context(path, jinja)
    except rattler_build.RattlerBuildError as error:
        raise LabchannelError(
            f"{path} can't be read: {_reason(error)}", "Mend that line"
        ) from error
    if platform != str(rattler.Subdir.current()):
        config = config.merge(rattler_build.VariantConfig({HOST_KEY: [platform]}))
    return config


def check_variant_keys(recipes: Sequence[Recipe], variants: Path) -> None:
    """Refuse a variant key that no recipe uses: a misspelt key would silently change nothing.

    Raises
    ------
    LabchannelError
        The key's name and the keys that are used.
    """
    used = {key for recipe in recipes for key in recipe.rendered.variant}
    platforms = {recipe.platform for recipe in recipes}
    keys = {key for platform in platforms for key in read_variants(variants, platform)} - {HOST_KEY}
    unknown = sorted(keys - used)
    if unknown:
        raise LabchannelError(
            f"{variants}: no recipe uses the variant key {unknown[0]!r}",
            "Correct its name or remove it; used are: "
            f"{', '.join(sorted(used - {'target_platform'}))}",
        )


def load_recipes(workspace: Workspace, platform: str) -> list[Recipe]:
    """All recipes of the checkout, in build order.

    Raises
    ------
    LabchannelError
        One can't be rendered, its folder is not named as its package, or they need each other in
        a circle.
    """
    found = [
        render_recipe(path, workspace.variants, platform)
        for path in sorted(workspace.recipes.glob("*/recipe.yaml"))
    ]
    if not found:
        raise LabchannelError(
            f"{workspace.recipes} holds no recipe", "Make one with `labchannel new-package NAME`"
        )
    for recipe in found:
        if recipe.name != recipe.path.parent.name:
            raise LabchannelError(
                f"{recipe.path} makes a package called {recipe.name}",
                f"Name the folder and the package alike: recipes/{recipe.name}",
            )
    check_variant_keys(found, workspace.variants)
    return build_order(found)


def build_order(recipes: Iterable[Recipe]) -> list[Recipe]:
    """Sort so that each recipe comes after those it needs, alphabetical where free.

    Raises
    ------
    LabchannelError
        A circle.
    """
    by_name = {recipe.name: recipe for recipe in recipes}
    graph = {name: needed_recipes(recipe, by_name) for name, recipe in sorted(by_name.items())}
    try:
        return [by_name[name] for name in graphlib.TopologicalSorter(graph).static_order()]
    except graphlib.CycleError as error:
        raise LabchannelError(
            f"the recipes need each other in a circle: {' -> '.join(error.args[1])}",
            "Remove one of these requirements",
        ) from None


def needed_recipes(recipe: Recipe, names: Iterable[str]) -> set[str]:
    """Which of `names` a recipe needs to build, run or be tested."""
    specs = [*recipe.needs_to_build, *recipe.needs_to_run, *recipe.needs_to_test]
    return {spec_name(spec) for spec in specs} & (set(names) - {recipe.name})


def inputs_digest(recipe: Recipe, workspace: Workspace, context: Iterable[str]) -> str:
    """The sha256 over everything that the package is made from.

    Parameters
    ----------
    recipe
        The recipe.
    workspace
        The checkout (for the variant file).
    context
        What else counts: the toolchain's identity, the digests of needed recipes.
    """
    digest = hashlib.sha256()
    for item in context:
        digest.update(f"context {item}\n".encode())
    for label, path in (
        ("recipe", recipe.path),
        ("variants", workspace.variants),
        *((name.as_posix(), path) for name, path in recipe.source_files()),
    ):
        mode = "x" if path.stat().st_mode & 0o100 else "-"
        digest.update(f"{label} {mode} {file_sha256(path)}\n".encode())
    return digest.hexdigest()

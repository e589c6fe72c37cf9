"""The rules of the repository: one word for one thing, one version, dependencies to the core."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from labchannel.develop import native_packages
from labchannel.manifest import read_manifest
from labchannel.recipe import load_recipes
from labchannel.workspace import Workspace, read_toml
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
WORKSPACE = Workspace(ROOT)
RECIPES = WORKSPACE.own_packages()
NATIVE = [folder.name for folder in native_packages(WORKSPACE)]
SUFFIXES = ("_py", "_server", "_cli")


@cache
def cargo_metadata() -> dict[str, Any]:
    done = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout)


def members() -> dict[str, dict[str, Any]]:
    metadata = cargo_metadata()
    ids = set(metadata["workspace_members"])
    return {p["name"]: p for p in metadata["packages"] if p["id"] in ids}


def tracked_files() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("name", RECIPES)
def test_one_word_everywhere(name: str) -> None:
    project = read_toml(ROOT / "python" / name / "pyproject.toml")["project"]
    assert project["name"] == name
    assert (ROOT / "python" / name / "src" / name / "__init__.py").is_file()
    if name in NATIVE:
        assert {name, f"{name}_py"} <= set(members())
        settings = read_toml(ROOT / "python" / name / "pyproject.toml")["tool"]["maturin"]
        assert settings["module-name"] == f"{name}._native"
        assert "profile" not in settings


def test_every_python_distribution_has_a_recipe() -> None:
    assert sorted(folder.name for folder in WORKSPACE.python_packages) == RECIPES


def test_crate_folders_are_named_as_their_crates() -> None:
    for name, package in members().items():
        assert Path(package["manifest_path"]).parent == ROOT / "crates" / name


def test_crates_are_members_by_a_glob() -> None:
    assert WORKSPACE.cargo()["workspace"]["members"] == ["crates/*"]


def test_cores_know_no_binding_server_or_command_line() -> None:
    for name, package in members().items():
        if name.endswith(SUFFIXES):
            continue
        direct = {d["name"] for d in package["dependencies"] if d["kind"] is None}
        assert not direct & {"pyo3", "axum", "clap"}, name
        assert not {d for d in direct if d in members() and d.endswith(SUFFIXES)}, name


def test_bindings_never_ask_for_extension_module() -> None:
    for name, package in members().items():
        for dependency in package["dependencies"]:
            if dependency["name"] == "pyo3":
                assert name.endswith("_py"), name
                assert "extension-module" not in dependency["features"], name
                assert "abi3-py312" in dependency["features"], name


def test_no_crate_asks_for_a_newer_rust_than_promised() -> None:
    promised = Version(WORKSPACE.cargo()["workspace"]["package"]["rust-version"])
    assert promised == Version("1.88")
    newer = {
        f"{package['name']} {package['version']}: {package['rust_version']}"
        for package in cargo_metadata()["packages"]
        if package["rust_version"] and Version(package["rust_version"]) > promised
    }
    assert newer == set()


def test_release_profile_unwinds() -> None:
    for profile in WORKSPACE.cargo().get("profile", {}).values():
        assert profile.get("panic", "unwind") == "unwind"


def test_one_version() -> None:
    version = WORKSPACE.version
    assert {p["version"] for p in members().values()} == {version}
    for recipe in load_recipes(WORKSPACE, "linux-64"):
        assert recipe.version == version, recipe.path
    for folder in WORKSPACE.python_packages:
        assert "version" in read_toml(folder / "pyproject.toml")["project"]["dynamic"]
    for name in NATIVE:
        assert importlib.metadata.version(name) == version


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_need_what_the_wheels_need(name: str) -> None:
    """pyproject.toml and the recipe say the same of run dependencies."""
    from labchannel.toolchain.wheel import conda_spec
    from packaging.requirements import Requirement

    (recipe,) = [r for r in load_recipes(WORKSPACE, "linux-64") if r.name == name]
    names = {pypi: conda for conda, pypi in read_toml(ROOT / "toolchain.toml")["names"].items()}
    project = read_toml(ROOT / "python" / name / "pyproject.toml")["project"]
    wanted = set()
    for text in project.get("dependencies", []):
        requirement = Requirement(text)
        conda = names.get(requirement.name, requirement.name)
        wanted.add(f"{conda} {conda_spec(requirement.specifier)}".strip())
    found = set()
    for spec in recipe.needs_to_run:
        package, _, version = spec.partition(" ")
        if package != "python":
            found.add(f"{package} {','.join(sorted(version.split(',')))}".strip())
    assert found == wanted


@pytest.mark.parametrize("name", NATIVE)
def test_recipes_are_of_one_shape(name: str) -> None:
    facts = next(r for r in load_recipes(WORKSPACE, "linux-64") if r.name == name).facts
    assert facts["build"]["python"]["version_independent"] is True
    assert facts["source"][0]["path"] == "../.."
    assert "THIRDPARTY.yml" in facts["about"]["license_file"]
    assert "--output THIRDPARTY.yml --previous third-party-licences.yml" in str(facts["build"])
    text = (ROOT / "recipes" / name / "recipe.yaml").read_text(encoding="utf-8")
    for part in ("compiler('rust')", "compiler('c')", "stdlib('c')", "python-abi3", "pip_check"):
        assert part in text, part
    tests = facts["tests"]
    scripts = [line for test in tests for line in test.get("script", [])]
    assert any("pytest" in line for line in scripts)
    assert any("== 'release'" in line for line in scripts)
    assert any(test.get("package_contents", {}).get("strict") for test in tests)


@pytest.mark.parametrize("name", RECIPES)
def test_each_distribution_has_the_licences(name: str) -> None:
    """In its own folder: pyproject.toml can name none above it (PEP 639)."""
    licences = sorted(ROOT.glob("LICENSE-*"))
    assert [path.name for path in licences] == ["LICENSE-APACHE", "LICENSE-MIT"]
    for path in licences:
        copy = ROOT / "python" / name / path.name
        assert copy.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
    project = read_toml(ROOT / "python" / name / "pyproject.toml")["project"]
    assert project["license-files"] == ["LICENSE-*"]


def test_tasks_name_no_package_and_are_described() -> None:
    text = WORKSPACE.manifest.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    for task in read_manifest(WORKSPACE.manifest).tasks.values():
        assert task.description, task.name
        if task.name.startswith("bench-"):
            # The benchmark of one library beside its peers.
            continue
        for package in NATIVE:
            assert package not in " ".join(task.command), task.name


def test_variables_are_written_as_their_systems_shell_reads_them() -> None:
    """pixi has cmd set them on Windows, which knows no $NAME, and bash elsewhere."""
    manifest = read_manifest(WORKSPACE.manifest)
    assert manifest.activation_env("linux-64") == {
        "PYTHONPATH": "$PIXI_PROJECT_ROOT/python/labchannel/src",
        "PYO3_PYTHON": "$CONDA_PREFIX/bin/python",
    }
    assert manifest.activation_env("win-64") == {
        "PYTHONPATH": "%PIXI_PROJECT_ROOT%/python/labchannel/src",
        "PYO3_PYTHON": "%CONDA_PREFIX%/python.exe",
    }


def test_compose_has_a_service_for_the_tests_of_each_library() -> None:
    """Those that README presents: a package that was just added is run by the service `test`."""
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))
    services = {name for name in compose["services"] if name.startswith("test_")}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    presented = set(re.findall(r"(?m)^- \[(\w+)\]\(python/\1/README.md\)", text))
    assert presented <= set(NATIVE)
    assert services == {f"test_{name}" for name in presented}
    for name in services:
        assert compose["services"][name]["environment"] == {"PACKAGE": name.removeprefix("test_")}


def test_only_lab_workspaces_use_the_published_channel() -> None:
    assert read_manifest(WORKSPACE.manifest).channels == ("conda-forge",)


def test_locks_hold_no_url() -> None:
    for path in (WORKSPACE.toolchain_lock, ROOT / "python" / "labchannel" / "requirements.lock"):
        assert "://" not in path.read_text(encoding="utf-8"), path
    assert not (ROOT / "pixi.lock").exists()


def test_rust_toolchain_file_says_what_the_recipes_say() -> None:
    path = ROOT / "rust-toolchain.toml"
    if path.exists():
        pinned = read_toml(path)["toolchain"]["channel"]
        assert pinned in WORKSPACE.variants.read_text(encoding="utf-8")


# Registries are named by their clients' configuration, and nowhere here. cargo writes its own
# registry into Cargo.lock; the recipes' schema comment is no registry.
HOSTS = re.compile(
    r"\b(?:files\.python" + r"hosted|pypi\." + r"org|(?:index|static)\.crates\.io|repo1?\.maven"
    r"|conda\.ana" + r"conda\.org|registry\.npm" + r"js|proxy\.golang" + r"\.org)"
)
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:ro" + r"ot|work|tmp/x|home/[a-z]+/\.)/")


def test_files_name_no_registry_and_no_machine() -> None:
    found = []
    for path in tracked_files():
        if path.name == "Cargo.lock":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if HOSTS.search(line) or MACHINE_PATHS.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []

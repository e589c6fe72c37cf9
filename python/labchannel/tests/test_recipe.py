"""Recipes: rendered, ordered by need, told apart by what goes into them."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from labchannel.errors import LabchannelError
from labchannel.recipe import inputs_digest, load_recipes, needed_recipes, spec_name

PLATFORM = "linux-64"


def names(checkout) -> list[str]:
    return [recipe.name for recipe in load_recipes(checkout.workspace, PLATFORM)]


def digest(checkout, context=()) -> str:
    (recipe,) = load_recipes(checkout.workspace, PLATFORM)
    return inputs_digest(recipe, checkout.workspace, context)


def test_each_recipe_comes_after_those_it_needs_and_the_free_ones_by_name(checkout):
    checkout.recipe("alpha", build=["gamma"])
    checkout.recipe("beta")
    checkout.recipe("delta", run=["alpha >=1,<2"])
    checkout.recipe("gamma")
    order = names(checkout)
    assert order.index("gamma") < order.index("alpha") < order.index("delta")
    assert set(order) == {"alpha", "beta", "delta", "gamma"}
    assert order.index("beta") < order.index("alpha")
    assert names(checkout) == order


def test_a_need_of_a_test_counts(checkout):
    path = checkout.recipe("alpha")
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace(
            "      - true\n", "      - true\n    requirements:\n      run:\n        - beta\n"
        ),
        encoding="utf-8",
    )
    checkout.recipe("beta")
    assert names(checkout) == ["beta", "alpha"]


def test_a_recipe_does_not_need_itself(checkout):
    checkout.recipe("alpha", run=["alpha-core", "python"])
    (recipe,) = load_recipes(checkout.workspace, PLATFORM)
    assert needed_recipes(recipe, ["alpha", "alpha-cor"]) == set()


def test_recipes_in_a_circle(checkout):
    checkout.recipe("alpha", run=["beta"])
    checkout.recipe("beta", build=["alpha"])
    with pytest.raises(LabchannelError, match=r"circle: .*alpha.*beta"):
        names(checkout)


def test_a_syntax_error_names_the_recipe_and_the_line(checkout):
    path = checkout.recipe("alpha")
    path.write_text(path.read_text(encoding="utf-8").replace("package:\n", "package: [\n"))
    with pytest.raises(LabchannelError) as caught:
        names(checkout)
    assert str(path) in caught.value.cause
    assert "5:11: " in caught.value.cause
    assert "\n" not in str(caught.value)


def test_a_spec_that_cannot_be_read_is_told_without_the_structures_of_the_parser(checkout):
    path = checkout.recipe("alpha", run=["beta ${{ flavour }}"])
    checkout.write("recipes/variants.yaml", 'flavour:\n  - "1"\n')
    lines = path.read_text(encoding="utf-8").splitlines()
    line = lines.index("    - beta ${{ flavour }}") + 1
    with pytest.raises(LabchannelError) as caught:
        names(checkout)
    assert f"can't be rendered: {line}:7: Invalid match spec 'beta 1'" in str(caught.value)
    assert "{" not in str(caught.value)


def test_an_unknown_key_of_a_recipe(checkout):
    path = checkout.recipe("alpha")
    path.write_text(path.read_text(encoding="utf-8").replace("  number:", "  nummer: 0\n  number:"))
    with pytest.raises(LabchannelError, match="nummer"):
        names(checkout)


def test_a_name_that_no_variant_has(checkout):
    path = checkout.recipe("alpha")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  run: []", "  run:\n    - tool ${{ no_such_key }}"))
    with pytest.raises(LabchannelError, match="no_such_key"):
        names(checkout)


def test_an_unknown_variant_key(checkout):
    checkout.recipe("alpha", build=["beta ==${{ flavour }}"])
    checkout.write("recipes/variants.yaml", 'flavour:\n  - "1"\nflavuor:\n  - "2"\n')
    with pytest.raises(LabchannelError, match=r"no recipe uses the variant key 'flavuor'.*flavour"):
        names(checkout)


def test_two_values_of_a_variant(checkout):
    checkout.recipe("alpha", build=["beta ==${{ flavour }}"])
    checkout.write("recipes/variants.yaml", 'flavour:\n  - "1"\n  - "2"\n')
    with pytest.raises(LabchannelError, match="2 variants"):
        names(checkout)


@pytest.mark.parametrize("text", ["flavour: [", "flavour: 3\n", "- a\n"])
def test_a_damaged_variant_file_is_named(checkout, text):
    checkout.recipe("alpha")
    checkout.write("recipes/variants.yaml", text)
    with pytest.raises(LabchannelError, match=r"variants\.yaml"):
        names(checkout)


def test_a_missing_variant_file_is_named(checkout):
    checkout.recipe("alpha")
    checkout.workspace.variants.unlink()
    with pytest.raises(LabchannelError, match=r"variants\.yaml"):
        names(checkout)


def test_a_folder_that_is_not_named_as_its_package(checkout):
    path = checkout.recipe("alpha")
    path.parent.rename(path.parent.parent / "beta")
    with pytest.raises(LabchannelError, match=r"makes a package called alpha.*recipes/alpha"):
        names(checkout)


def test_no_recipe_at_all(checkout):
    with pytest.raises(LabchannelError, match="holds no recipe"):
        names(checkout)


def test_a_source_filter_that_matches_nothing(checkout):
    checkout.recipe("alpha")
    shutil.rmtree(checkout.root / "alpha")
    (recipe,) = load_recipes(checkout.workspace, PLATFORM)
    with pytest.raises(LabchannelError, match=r"'alpha/\*\*' matches no file"):
        recipe.check_sources()


def test_a_source_folder_that_is_missing(checkout):
    path = checkout.recipe("alpha")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("path: ../..", "path: ../../missing"), encoding="utf-8")
    (recipe,) = load_recipes(checkout.workspace, PLATFORM)
    with pytest.raises(LabchannelError, match="missing"):
        recipe.check_sources()


def test_a_source_outside_of_the_checkout(checkout):
    path = checkout.recipe("alpha")
    (checkout.root.parent / "outside").mkdir()
    (checkout.root.parent / "outside" / "file").touch()
    text = path.read_text(encoding="utf-8")
    text = text.replace("path: ../..", "path: ../../../outside").replace("alpha/**", '"**"')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabchannelError, match="outside of the checkout"):
        digest(checkout)


CHANGES = {
    "a source file's text": lambda c: c.write("alpha/data.txt", "other\n"),
    "a new source file": lambda c: c.write("alpha/deep/new.txt", ""),
    "a source file gone": lambda c: (c.root / "alpha" / "second.txt").unlink(),
    "a source file renamed": lambda c: (c.root / "alpha" / "second.txt").rename(
        c.root / "alpha" / "third.txt"
    ),
    "the recipe": lambda c: c.recipe("alpha", test="test -d ."),
    "a file beside the recipe": lambda c: c.write("recipes/alpha/build.patch", "x"),
    "the variants": lambda c: c.write("recipes/variants.yaml", "{}\n# why\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_digest_changes_with_an_input(checkout, change):
    checkout.recipe("alpha")
    checkout.write("alpha/second.txt", "second\n")
    before = digest(checkout)
    assert digest(checkout) == before
    change(checkout)
    assert digest(checkout) != before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no executable bit")
def test_the_digest_changes_with_an_executable_bit(checkout):
    checkout.recipe("alpha")
    before = digest(checkout)
    (checkout.root / "alpha" / "data.txt").chmod(0o755)
    assert digest(checkout) != before


def test_the_digest_changes_with_its_context(checkout):
    checkout.recipe("alpha")
    assert digest(checkout, ["toolchain 1"]) != digest(checkout, ["toolchain 2"])


NO_CHANGES = {
    "a time": lambda c: os.utime(c.root / "alpha" / "data.txt", (1, 1)),
    "a file of another recipe": lambda c: c.write("beta/data.txt", ""),
    "the tasks": lambda c: c.write("pixi.toml", "[tasks]\na = 'b'\n"),
    "bytecode": lambda c: c.write("alpha/__pycache__/a.cpython-312.pyc", ""),
    "a test run's leftovers": lambda c: c.write("alpha/.pytest_cache/v/cache", ""),
}


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_the_digest_stays_with_what_is_no_input(checkout, change):
    checkout.recipe("alpha")
    before = digest(checkout)
    change(checkout)
    assert digest(checkout) == before


def test_what_the_filter_excludes_is_no_input(checkout):
    path = checkout.recipe("alpha")
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace(
            "    - LICENSE\n    - alpha/**\n",
            "    include:\n      - alpha/**\n    exclude:\n      - alpha/notes/**\n",
        ),
        encoding="utf-8",
    )
    checkout.write("alpha/notes/deep/today.txt", "rain\n")
    before = digest(checkout)
    checkout.write("alpha/notes/deep/today.txt", "sun\n")
    assert digest(checkout) == before
    checkout.write("alpha/notes.txt", "an input\n")
    assert digest(checkout) != before


@pytest.mark.parametrize("pattern", ["alpha", "alpha/", "alpha/**", "'**/*.txt'", "al*/**"])
def test_a_folder_in_the_filter_stands_for_all_that_is_in_it(checkout, pattern):
    path = checkout.recipe("alpha")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("- alpha/**", f"- {pattern}"), encoding="utf-8")
    checkout.write("alpha/deep/er.txt", "1\n")
    before = digest(checkout)
    checkout.write("alpha/deep/er.txt", "2\n")
    assert digest(checkout) != before


def test_the_digest_does_not_tell_where_the_checkout_is(checkout):
    checkout.recipe("alpha")
    before = digest(checkout)
    moved = checkout.root.with_name("moved")
    checkout.root.rename(moved)
    checkout.workspace = type(checkout.workspace)(moved)
    assert digest(checkout) == before


@pytest.mark.parametrize(
    "spec",
    [
        "maturin",
        "maturin >=1.9",
        "Maturin>=1.9",
        "maturin=1.9",
        "maturin 1.9.* py*",
        "maturin<2",
        "maturin!=1.1",
        "maturin~=1.1",
        "maturin[version='>=1']",
    ],
)
def test_the_name_in_a_spec(spec):
    assert spec_name(spec) == "maturin"


def test_the_repositorys_own_recipes_render(repository):
    from labchannel.workspace import Workspace

    workspace = Workspace(repository)
    for platform in ("linux-64", "win-64"):
        recipes = load_recipes(workspace, platform)
        assert {recipe.name for recipe in recipes} == set(workspace.own_packages())
        for recipe in recipes:
            recipe.check_sources()
            assert recipe.version == workspace.version

"""The two indexes that are made here, and what becomes of rattler's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from labchannel.channel import layout
from labchannel.channel.archive import PackageInfo
from labchannel.channel.index import build_index, channeldata
from labchannel.channel.publish import publish
from labchannel.channel.verify import verify
from labchannel.errors import LabchannelError


@pytest.fixture
def folder(tmp_path, make_package):
    """A folder of packages, not yet a channel."""
    for package in (
        make_package("alpha", "1.9"),
        make_package("alpha", "1.10", homepage="https://example.org", summary="An alpha."),
        make_package(
            "gamma",
            subdir="linux-64",
            files={
                "etc/conda/activate.d/gamma.sh": "",
                "share/plain.txt": "",
            },
        ),
    ):
        target = tmp_path / "channel" / ("linux-64" if "gamma" in package.name else "noarch")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(package, target)
    return tmp_path / "channel"


def test_channeldata(folder):
    build_index(folder)
    data = json.loads((folder / "channeldata.json").read_text())
    assert data["channeldata_version"] == 1
    assert data["subdirs"] == ["linux-64", "noarch"]
    alpha, gamma = data["packages"]["alpha"], data["packages"]["gamma"]
    # By version, not by text.
    assert alpha["version"] == "1.10"
    assert alpha["reference_package"] == "noarch/alpha-1.10-h0_0.conda"
    assert alpha["home"] == "https://example.org/"
    assert alpha["summary"] == "An alpha."
    assert alpha["license"] == "MIT"
    assert alpha["timestamp"] == 1767225600
    assert alpha["activate.d"] is False
    assert gamma["activate.d"] is True
    assert gamma["deactivate.d"] is False
    assert gamma["post_link"] is False
    assert gamma["subdirs"] == ["linux-64"]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("bin/.gamma-post-link.sh", "post_link"),
        ("Scripts/.gamma-pre-unlink.bat", "pre_unlink"),
        ("bin/.gamma-pre-link.sh", "pre_link"),
    ],
)
def test_link_scripts(path, key):
    info = PackageInfo({"name": "gamma", "version": "1", "build": "0"}, paths=({"_path": path},))
    data = channeldata({"linux-64": {"gamma-1-0.conda": info}})["packages"]["gamma"]
    assert [name for name in ("pre_link", "post_link", "pre_unlink") if data[name]] == [key]


def test_prefixes():
    paths = ({"_path": "bin/x", "prefix_placeholder": "/p", "file_mode": "binary"},)
    info = PackageInfo({"name": "gamma", "version": "1", "build": "0"}, paths=paths)
    data = channeldata({"linux-64": {"gamma-1-0.conda": info}})["packages"]["gamma"]
    assert (data["binary_prefix"], data["text_prefix"]) == (True, False)


def test_run_exports(folder):
    """CEP 12: each package of the subdir, with an empty mapping when it exports nothing."""
    build_index(folder)
    noarch = json.loads((folder / "noarch" / "run_exports.json").read_text())
    assert noarch["info"] == {"subdir": "noarch", "version": 1}
    assert noarch["packages"] == {}
    assert noarch["packages.conda"] == {
        "alpha-1.9-h0_0.conda": {"run_exports": {}},
        "alpha-1.10-h0_0.conda": {"run_exports": {}},
    }
    linux = json.loads((folder / "linux-64" / "run_exports.json").read_text())
    assert linux["info"] == {
        "subdir": "linux-64",
        "platform": "linux",
        "arch": "x86_64",
        "version": 1,
    }


def build_exporting(output: Path) -> Path:
    """Make a package with run exports by a recipe, as the toolchain's are made."""
    import rattler_build

    recipe = output.parent / "recipe.yaml"
    recipe.write_text(
        "package: {name: lib, version: '1.0'}\n"
        "build: {noarch: generic, script: 'true'}\n"
        "requirements: {run_exports: {weak: ['lib >=1'], strong: ['base']}}\n"
    )
    (variant,) = rattler_build.Stage0Recipe.from_file(recipe).render(rattler_build.VariantConfig())
    (package,) = variant.run_build(channels=[], output_dir=output).packages
    for leaving in ("bld", "src_cache"):
        shutil.rmtree(output / leaving, ignore_errors=True)
    return Path(package)


def test_run_exports_of_a_published_package_are_no_fault(tmp_path, make_package):
    """rattler writes them into repodata.json, but not for a package that it indexes anew."""
    channel = tmp_path / "channel"
    publish(channel, [build_exporting(tmp_path / "built")])
    publish(channel, [make_package("other")])
    assert verify(channel) == []
    repodata = channel / "noarch" / "repodata.json"
    data = json.loads(repodata.read_text())
    (name,) = [name for name in data["packages.conda"] if name.startswith("lib-")]
    data["packages.conda"][name]["run_exports"] = {"weak": ["another"]}
    repodata.write_text(json.dumps(data))
    assert any("run_exports.json and repodata.json differ" in str(f) for f in verify(channel))


def test_run_exports_are_the_packages_own(tmp_path):
    channel = tmp_path / "channel"
    build_exporting(channel)
    build_index(channel)
    content = json.loads((channel / "noarch" / "run_exports.json").read_text())
    (exports,) = content["packages.conda"].values()
    assert exports == {"run_exports": {"weak": ["lib >=1"], "strong": ["base"]}}
    data = json.loads((channel / "channeldata.json").read_text())
    assert data["packages"]["lib"]["run_exports"] == {"1.0": exports["run_exports"]}


def test_there_is_always_noarch(tmp_path, make_package):
    channel = tmp_path / "channel"
    (channel / "linux-64").mkdir(parents=True)
    shutil.copy(make_package("gamma", subdir="linux-64"), channel / "linux-64")
    build_index(channel)
    assert verify(channel) == []
    assert (channel / "noarch" / "repodata.json").is_file()


def test_replaced_and_removed_packages(folder, make_package):
    build_index(folder)
    replaced = make_package("alpha", "1.9", files={"share/alpha.txt": "other"})
    shutil.copy(replaced, folder / "noarch")
    (folder / "noarch" / "alpha-1.10-h0_0.conda").unlink()
    (folder / "noarch" / "repodata.json.tmp").write_text("")
    build_index(folder)
    assert verify(folder, ["alpha", "gamma"]) == []


def test_the_same_packages_give_the_same_bytes(folder, tmp_path, contents):
    """Again in place: all but the shard index's time. Elsewhere: also but the time of indexing."""
    build_index(folder)
    first = contents(folder)
    build_index(folder)
    second = contents(folder)
    assert {name for name in first if first[name] != second[name]} <= {
        f"{subdir}/{layout.SHARD_INDEX}" for subdir in ("noarch", "linux-64")
    }

    elsewhere = tmp_path / "elsewhere"
    for package in folder.glob("*/*.conda"):
        (elsewhere / package.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(package, elsewhere / package.parent.name)
    build_index(elsewhere)
    third = contents(elsewhere)
    for name in ("channeldata.json", "noarch/run_exports.json", "linux-64/run_exports.json"):
        assert third[name] == first[name]

    def without_times(data: bytes) -> dict:
        repodata = json.loads(data)
        for entry in repodata["packages.conda"].values():
            del entry["indexed_timestamp"]
        return repodata

    name = "noarch/repodata.json"
    assert without_times(third[name]) == without_times(first[name])


def test_a_damaged_package_is_named(folder):
    """index_fs would end the whole process with it."""
    (folder / "noarch" / "alpha-1.9-h0_0.conda").write_bytes(b"junk")
    with pytest.raises(LabchannelError, match=r"alpha-1\.9-h0_0\.conda is no readable conda"):
        build_index(folder)

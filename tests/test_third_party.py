"""The licences that packages and wheels carry for the crates that are linked into them."""

from __future__ import annotations

import subprocess
import tomllib

import pytest
import yaml
from labchannel.wheels import third_party_licences
from labchannel.workspace import Workspace


def test_texts_by_hand_are_of_the_crates_that_are_locked(workspace: Workspace) -> None:
    file = workspace.root / "third-party-licences.yml"
    listed = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)["third_party_libraries"]
    by_hand = {(entry["package_name"], entry["package_version"]) for entry in listed}
    lock = tomllib.loads((workspace.root / "Cargo.lock").read_text(encoding="utf-8"))
    locked = {(package["name"], package["version"]) for package in lock["package"]}
    moved = sorted(by_hand - locked)
    assert not moved, "look whether the crate carries a text now, and bring the file up to date"
    for entry in listed:
        for licence in entry["licenses"]:
            assert licence["license"] in entry["license"]
            # Nobody may take it for a text that the crate's package has.
            assert licence["text"].startswith("The crate's package carries no licence text.")


# cargo has to be asked for every crate of the workspace, two times.
@pytest.mark.slow
def test_every_crate_of_others_is_named_with_its_licence(workspace: Workspace) -> None:
    listed = yaml.load(third_party_licences(workspace), yaml.CSafeLoader)["third_party_libraries"]
    found = {(entry["package_name"], entry["package_version"]): entry for entry in listed}
    # What is linked: not what tests, build scripts and macros need.
    command = ["cargo", "tree", "--locked", "--workspace", "--target", "all"]
    linked = [*command, "--edges", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe"]
    told = subprocess.run(linked, check=True, cwd=workspace.root, capture_output=True, text=True)
    crates = {
        tuple(line.split()[:2]) for line in told.stdout.splitlines() if line and "(" not in line
    }
    assert {"pyo3", "serde"} <= {name for name, _version in crates}
    for name, version in crates:
        entry = found[name, version.removeprefix("v")]
        assert entry["license"], name
        # Where there is a choice, one of the texts is enough.
        enough = all if " AND " in entry["license"] else any
        assert entry["licenses"], name
        assert enough(licence["text"] != "NOT FOUND" for licence in entry["licenses"]), name

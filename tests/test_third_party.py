"""The licences that a wheel carries for the crates that are linked into it."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from labchannel.wheels import third_party_licences
from labchannel.workspace import Workspace


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
        assert entry["licenses"], name

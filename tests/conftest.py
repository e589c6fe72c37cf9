"""What the repository's own tests share: the checkout, and the channel that was built from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from labchannel.workspace import Workspace


@pytest.fixture(scope="session")
def workspace() -> Workspace:
    return Workspace(Path(__file__).resolve().parents[1])


@pytest.fixture(scope="session")
def channel(workspace: Workspace) -> Path:
    """./channel, or the one that LABCHANNEL_TEST_CHANNEL names."""
    folder = Path(os.environ.get("LABCHANNEL_TEST_CHANNEL", workspace.channel))
    if not (folder / "noarch" / "repodata.json").is_file():
        pytest.fail(f"{folder} is no channel: run ./pixiw run build-recipes first")
    return folder

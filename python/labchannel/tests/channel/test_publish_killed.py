"""kill -9 at every step of a publication.

Both ways of publishing are killed before each of their changes to the file system, one by one,
until the publication gets through (see killed_publication.py). What must hold after each kill:

- By exchange (Linux): at once, with nothing done to mend it, `verify` finds no fault and the
  channel is exactly the old one or exactly the new one.
- File by file (forced here): at once, each index file by itself names only files that are there,
  with their right hashes. Before the journal is written the channel is the old one. After
  `recover`, which every publication does first, `verify` finds no fault and the channel is exactly
  the old one or exactly the new one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from labchannel.channel.layout import Channel
from labchannel.channel.publish import publish

DRIVER = Path(__file__).with_name("killed_publication.py")
DRIVERS = 2

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")


def locations(channel: Path) -> dict[str, str]:
    return {record.location: record.sha256 for record in Channel.read(channel)}


@pytest.mark.parametrize("way", ["exchange", "files"])
def test_killed_at_every_step(lab, make_package, tmp_path, way):
    packages = [
        make_package("alpha", number=1),
        make_package("delta", subdir="win-64"),
    ]
    old = locations(lab)
    new_channel = tmp_path / "new"
    removed = [record for record in Channel.read(lab) if record.name == "gamma"]
    publish(new_channel, [lab / location for location in old])
    publish(new_channel, packages, removed)
    new = locations(new_channel)

    command = [sys.executable, str(DRIVER), str(lab), *map(str, packages), "--remove", "gamma"]
    if way == "files":
        command.append("--files")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    drivers = [
        subprocess.Popen(
            [*command, "--first", str(first), "--every", str(DRIVERS)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        for first in range(DRIVERS)
    ]
    outputs = [json.loads(driver.communicate()[0])["kills"] for driver in drivers]
    kills = [kill for pair in zip(*outputs, strict=False) for kill in pair]

    # The test sees the steps that count, and both outcomes.
    steps = {kill["before"].split()[0] for kill in kills}
    assert {"os.link", "os.mkdir", "os.remove", "os.fsync", "open", "half-written"} <= steps
    assert ("exchange" if way == "exchange" else "os.rename") in steps
    assert [kill for kill in kills if kill["state"] == old]
    assert [kill for kill in kills if kill["state"] == new]
    if way == "files":
        assert [kill for kill in kills if kill.get("finished")]

    became_new = False
    for kill in kills:
        assert kill["broken"] == [], kill
        assert kill["faults"] == [], kill
        assert kill["state"] in (old, new), kill
        # Once it has happened it has happened.
        assert not (became_new and kill["state"] == old), kill
        became_new = kill["state"] == new
        if "next_state" in kill:
            assert kill["next_state"] == new, kill
            assert kill["next_faults"] == [], kill
            assert kill["left"] == [], kill

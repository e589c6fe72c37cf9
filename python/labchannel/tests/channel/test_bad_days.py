"""Full disks and folders that can't be written, real ones: in a mount namespace of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from labchannel.channel.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

# Mounts $disk, copies the channel onto it, runs $prepare, publishes, and takes the channel back.
SCRIPT = """
set -eu
mount -t tmpfs -o size=$size none "$disk"
cp -r "$channel" "$disk/channel"
cd "$disk"
eval "$prepare"
status=0
"$python" - "$disk/channel" "$@" <<'PYTHON' || status=$?
import sys
from pathlib import Path
from labchannel.channel.publish import publish
from labchannel.errors import LabchannelError
try:
    report = publish(Path(sys.argv[1]), [Path(package) for package in sys.argv[2:]])
except LabchannelError as error:
    print(error)
    sys.exit(3)
print("published", len(report.added))
PYTHON
ls -A "$disk" "$disk/channel" >&2
cp -r "$disk/channel" "$after"
exit $status
"""


@pytest.fixture
def publish_on_small_disk(mounts):
    def publish_on_small_disk(
        channel: Path, package: Path, folder: Path, *, prepare: str = ":", size: str = "16m"
    ) -> tuple[int, str, str, Path]:
        """Publish to a copy of the channel on a disk of its own.

        Returns the status, the output, the files left and the channel afterwards.
        """
        disk, after = folder / "disk", folder / "after"
        disk.mkdir()
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "python": sys.executable,
            "disk": str(disk),
            "channel": str(channel),
            "after": str(after),
            "prepare": prepare,
            "size": size,
        }
        run = subprocess.run(
            [*mounts, "sh", "-c", SCRIPT, "sh", str(package)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        return run.returncode, run.stdout, run.stderr, after

    return publish_on_small_disk


def test_the_disk_is_there_at_all(publish_on_small_disk, lab, make_package, tmp_path):
    status, output, left, after = publish_on_small_disk(lab, make_package("delta"), tmp_path)
    assert (status, output) == (0, "published 1\n"), left
    assert verify(after) == []


@pytest.mark.parametrize("room", ["0", "40k", "108k"])
def test_a_full_disk(publish_on_small_disk, lab, make_package, tmp_path, contents, room):
    """No room at all, none for the package, none for the index."""
    fill = f"head -c {room} /dev/zero > room; cat /dev/zero > fill 2>/dev/null || rm room"
    big = make_package("big", files={"big.bin": os.urandom(100_000)}, detect_prefix=False)
    before = contents(lab)
    status, output, left, after = publish_on_small_disk(lab, big, tmp_path, prepare=fill, size="2m")
    assert status == 3, left
    assert output.count("\n") == 1
    assert "room" in output or "space" in output
    assert contents(after) == before
    assert ".publish\n" not in left


@pytest.mark.parametrize(
    "prepare",
    [
        'mount -o remount,ro "$disk"',
        "mount --bind channel channel; mount -o remount,ro,bind channel",
    ],
    ids=["disk", "channel"],
)
def test_read_only(publish_on_small_disk, lab, make_package, tmp_path, contents, prepare):
    before = contents(lab)
    status, output, left, after = publish_on_small_disk(
        lab, make_package("delta"), tmp_path, prepare=prepare
    )
    assert status == 3, left
    assert "can't be written" in output
    assert output.count("\n") == 1
    assert contents(after) == before


@pytest.mark.parametrize(
    "prepare",
    [
        # A volume of a container: it can't be exchanged, though its file system could.
        "mount --bind channel channel",
        # And one in a folder that can't be written, so that nothing can lie beside it.
        "mount --bind channel channel; mount -o remount,ro,bind .",
    ],
    ids=["mount point", "mount point in a read-only folder"],
)
def test_a_channel_that_is_a_mount_point(
    publish_on_small_disk, lab, make_package, tmp_path, prepare
):
    status, output, left, after = publish_on_small_disk(
        lab, make_package("delta"), tmp_path, prepare=prepare
    )
    assert (status, output) == (0, "published 1\n"), left
    assert verify(after) == []


def test_nothing_to_do_in_a_read_only_channel_and_folder(
    publish_on_small_disk, lab, make_package, tmp_path, contents
):
    """Nobody can take the lock there, and nobody needs it."""
    prepare = 'mount -o remount,ro "$disk"'
    before = contents(lab)
    present = lab / "noarch" / "alpha-1.0-h0_0.conda"
    status, output, left, after = publish_on_small_disk(lab, present, tmp_path, prepare=prepare)
    assert (status, output) == (0, "published 0\n"), left
    assert contents(after) == before

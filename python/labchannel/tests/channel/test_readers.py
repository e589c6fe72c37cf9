"""Readers at work while the channel is published to, again and again: they never see a half."""

from __future__ import annotations

import errno
import hashlib
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from labchannel.channel import exchange, layout
from labchannel.channel.publish import publish
from labchannel.channel.serve import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Reader(threading.Thread):
    """Does `read` over and over; `wait_for_a_round` waits for one that began after the call."""

    def __init__(self, read: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._read = read
        self._turn = threading.Condition()
        self._begun = self.rounds = 0
        self._stopping = False
        self.error: BaseException | None = None

    def run(self) -> None:
        while not self._stopping and self.error is None:
            with self._turn:
                self._begun += 1
            try:
                self._read()
            except BaseException as error:
                self.error = error
            with self._turn:
                self.rounds = self._begun
                self._turn.notify_all()

    def wait_for_a_round(self) -> None:
        with self._turn:
            wanted = self._begun + 1
            assert self._turn.wait_for(lambda: self.rounds >= wanted or self.error, timeout=120)

    def stop(self) -> None:
        self._stopping = True
        self.join(120)


def read_files(channel: Path) -> None:
    """As a client of a folder: take an index, then open all that it names."""
    for subdir in ("noarch", "linux-64"):
        folder = channel / subdir
        repodata = layout.read_repodata(folder / layout.REPODATA)
        for name, entry in layout.entries(repodata).items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"]


def read_shards(channel: Path) -> None:
    folder = channel / "noarch"
    index = layout.ShardIndex.decode((folder / layout.SHARD_INDEX).read_bytes())
    for package, digest in index.shards.items():
        data = (folder / layout.SHARDS / f"{digest}{layout.SHARD_SUFFIX}").read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        for name, entry in layout.decode_shard(data).items():
            assert entry["name"] == package
            assert (folder / name).stat().st_size == entry["size"]


@pytest.mark.slow
@pytest.mark.parametrize(("way", "publications"), [("exchange", 20), ("files", 8)])
def test_readers_see_no_half_of_a_publication(
    lab, client, tmp_path, make_package, monkeypatch, way, publications
):
    """Each round of a reader overlaps with one publication at most, as is so outside of tests."""
    if way == "files":

        def no_exchange(*_arguments: object) -> None:
            raise OSError(errno.ENOSYS, "forced")

        monkeypatch.setattr(exchange, "exchange", no_exchange)
    elif sys.platform != "linux":
        pytest.skip("only Linux can exchange folders")

    packages = [
        make_package(name, number=number, subdir=subdir, depends=depends)
        for number in range(1, publications // 2 + 1)
        for name, subdir, depends in (
            ("alpha", "noarch", ()),
            ("gamma", "linux-64", (f"alpha 1.0 h0_{number}",)),
        )
    ]
    installs = 0

    def install(channel: str) -> None:
        nonlocal installs
        installs += 1
        client.install(channel, tmp_path / f"environment {installs}", "gamma")

    with serving(lab) as url:
        readers = [
            Reader(lambda: read_files(lab)),
            Reader(lambda: read_shards(lab)),
            Reader(lambda: install(url)),
        ]
        for reader in readers:
            reader.start()
        for package in packages:
            publish(lab, [package])
            for reader in readers:
                reader.wait_for_a_round()
        for reader in readers:
            reader.stop()
    for reader in readers:
        if reader.error is not None:
            raise reader.error
        assert reader.rounds >= publications
    (record,) = [r for r in client.solve(lab.as_uri(), "gamma") if r.name.normalized == "gamma"]
    assert record.build_number == publications // 2

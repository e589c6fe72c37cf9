"""What a client makes of a published channel: py-rattler solves and installs from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from labchannel.channel.publish import publish
from labchannel.channel.serve import serving

if TYPE_CHECKING:
    from pathlib import Path


def check_installed(prefix: Path, records) -> None:
    assert sorted(record.name.normalized for record in records) == ["alpha", "beta", "gamma"]
    assert (prefix / "share" / "alpha.txt").read_text() == "alpha 1.0 0\n"
    assert (prefix / "share" / "gamma.txt").read_text() == "gamma 1.0 0\n"


def test_install_from_the_folder(lab, client, tmp_path):
    prefix = tmp_path / "environment"
    check_installed(prefix, client.install(lab.as_uri(), prefix, "gamma"))


def test_install_over_http(lab, client, tmp_path):
    prefix = tmp_path / "environment"
    with serving(lab) as url:
        check_installed(prefix, client.install(url, prefix, "gamma"))


@pytest.mark.parametrize("over_http", [False, True])
def test_a_client_sees_the_next_publication(lab, client, make_package, over_http):
    """Also through its cache: the answer to a conditional request must say what is new."""

    def newest(channel: str) -> int:
        (record,) = client.solve(channel, "alpha")
        return record.build_number

    with serving(lab) as url:
        channel = url if over_http else lab.as_uri()
        assert newest(channel) == 0
        publish(lab, [make_package("alpha", number=1)])
        assert newest(channel) == 1


def test_a_platform_without_packages_can_be_solved_for(tmp_path, make_package, client):
    """A client asks for noarch/ and its platform; only noarch/ is always there."""
    channel = tmp_path / "channel"
    publish(channel, [make_package("alpha")])
    (record,) = client.solve(channel.as_uri(), "alpha")
    assert record.subdir == "noarch"


def test_an_installed_file_is_the_published_one(lab, client, tmp_path):
    """The client checks what it fetched against the hashes in the index."""
    (package,) = lab.glob("noarch/alpha-*.conda")
    data = bytearray(package.read_bytes())
    data[len(data) // 2] ^= 1
    package.write_bytes(data)
    with serving(lab) as url, pytest.raises(Exception, match=r"hash|sha256|checksum"):
        client.install(url, tmp_path / "environment", "alpha")

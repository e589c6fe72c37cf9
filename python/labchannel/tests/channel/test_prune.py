"""Old builds go, and nothing that stays loses what it needs."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from labchannel.channel.layout import Channel
from labchannel.channel.publish import prune, publish
from labchannel.channel.verify import verify
from labchannel.errors import LabchannelError


def builds(channel) -> set[tuple[str, str, int]]:
    return {(record.name, record.version, record.build_number) for record in Channel.read(channel)}


def test_the_newest_builds_of_each_version_stay(tmp_path, make_package):
    channel = tmp_path / "channel"
    packages = [make_package("alpha", number=number) for number in range(4)]
    packages += [make_package("alpha", "2.0", number=number) for number in range(2)]
    packages += [make_package("other", number=number) for number in range(3)]
    packages += [make_package("alpha", number=0, subdir="linux-64")]
    publish(channel, packages)
    report = prune(channel, 2, ["alpha"])
    assert [record.build_number for record in report.removed] == [0, 1]
    assert report.bytes_freed == sum(package.stat().st_size for package in packages[:2])
    assert builds(channel) == {
        *(("alpha", "1.0", number) for number in (2, 3)),
        ("alpha", "1.0", 0),  # linux-64's only build
        *(("alpha", "2.0", number) for number in (0, 1)),
        *(("other", "1.0", number) for number in range(3)),
    }
    assert verify(channel) == []
    assert prune(channel, 2, ["alpha"]).removed == ()


def test_what_others_need_stays(tmp_path, make_package):
    """`pinned` needs the very first build, that one needs its own partner: both stay."""
    channel = tmp_path / "channel"
    publish(
        channel,
        [
            make_package("alpha", number=0, depends=["partner 1.0 h0_0"]),
            *(make_package("alpha", number=number) for number in (1, 2)),
            *(make_package("partner", number=number) for number in (0, 1)),
            make_package("pinned", depends=["alpha 1.0 h0_0"]),
            make_package("loose", depends=["alpha >=1", "python >=3", "__glibc >=2.17"]),
        ],
    )
    report = prune(channel, 1, ["alpha", "partner", "pinned"])
    assert builds(channel) == {
        ("alpha", "1.0", 0),
        ("alpha", "1.0", 2),
        ("partner", "1.0", 0),
        ("partner", "1.0", 1),
        ("pinned", "1.0", 0),
        ("loose", "1.0", 0),
    }
    json.dumps(asdict(report))
    assert {kept.record.location: kept.dependent.name for kept in report.needed} == {
        "noarch/alpha-1.0-h0_0.conda": "pinned",
        "noarch/partner-1.0-h0_0.conda": "alpha",
    }


def test_dependencies_can_be_solved_before_and_after(tmp_path, make_package, client):
    channel = tmp_path / "channel"
    publish(
        channel,
        [
            *(make_package("alpha", number=number) for number in range(3)),
            make_package("user", depends=["alpha 1.0 *_1"]),
        ],
    )
    before = client.solve(channel.as_uri(), "user")
    prune(channel, 1, ["alpha", "user"])
    assert client.solve(channel.as_uri(), "user") == before


def test_keeping_none_is_refused(lab, contents):
    before = contents(lab)
    with pytest.raises(LabchannelError, match="would empty the channel"):
        prune(lab, 0, ["alpha"])
    assert contents(lab) == before


def test_a_missing_channel(tmp_path):
    with pytest.raises(LabchannelError, match="there is no channel"):
        prune(tmp_path / "nowhere", 1, ["alpha"])
    assert not list(tmp_path.iterdir())

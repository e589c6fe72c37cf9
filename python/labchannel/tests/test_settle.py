"""A settled package tells neither when nor where it was built, and holds the same files."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rattler_build
import zstandard
from labchannel.channel.archive import Archive
from labchannel.errors import LabchannelError
from labchannel.settle import settle

STAMP = 1_700_000_000


def built(folder: Path, when: int) -> Path:
    """The same files, packaged at another time and in another folder."""
    content = folder / "files"
    content.mkdir(parents=True)
    (content / "a.txt").write_text("a\n" * 1000)
    (content / "run.sh").write_text("#!/bin/sh\n")
    (content / "run.sh").chmod(0o755)
    (content / "link").symlink_to("a.txt")
    output = rattler_build.assemble_package(
        name="alpha",
        version="1.0",
        target_platform="linux-64",
        build_string="h0_0",
        output_dir=folder,
        files_dir=content,
        timestamp=datetime.fromtimestamp(when, UTC),
    )
    return Path(output.path)


def members(package: Path) -> dict[str, tarfile.TarInfo]:
    found = {}
    with zipfile.ZipFile(package) as archive:
        for name in archive.namelist():
            if name.endswith(".tar.zst"):
                data = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read(name))
                with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                    found |= {member.name: member for member in tar}
    return found


def test_packages_built_at_different_times_become_the_same_bytes(tmp_path):
    one, two = built(tmp_path / "one", 1_600_000_000), built(tmp_path / "two", 1_650_000_000)
    assert one.read_bytes() != two.read_bytes()
    settle(one, tmp_path / "one.conda", STAMP)
    settle(two, tmp_path / "two.conda", STAMP)
    assert (tmp_path / "one.conda").read_bytes() == (tmp_path / "two.conda").read_bytes()


def test_the_files_stay_what_they_are(tmp_path):
    package = built(tmp_path / "one", 1_600_000_000)
    settled = tmp_path / package.name
    settle(package, settled, STAMP)
    before, after = members(package), members(settled)
    assert set(before) == set(after)
    for name, member in before.items():
        now = after[name]
        assert (now.mode, now.type, now.linkname) == (member.mode, member.type, member.linkname)
        assert now.mtime == STAMP
        assert (now.uid, now.gid, now.uname, now.gname) == (0, 0, "", "")
    assert after["link"].issym()
    assert after["run.sh"].mode & 0o111
    assert payload(settled) == payload(package)


def payload(package: Path) -> dict[str, bytes]:
    return {
        member.name: b"".join(member.chunks())
        for member in Archive(package).members()
        if member.name in ("a.txt", "run.sh")
    }


def test_the_container_is_as_conda_wants_it(tmp_path):
    package = built(tmp_path / "one", 1_600_000_000)
    settled = tmp_path / package.name
    settle(package, settled, STAMP)
    Archive(settled).check_container()
    with zipfile.ZipFile(settled) as archive:
        assert archive.namelist()[0] == "metadata.json"
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def info_of(package: Path, name: str):
    with zipfile.ZipFile(package) as archive:
        (part,) = [n for n in archive.namelist() if n.startswith("info-")]
        data = zstandard.ZstdDecompressor().decompressobj().decompress(archive.read(part))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return json.loads(tar.extractfile(name).read())


def test_the_time_is_that_of_the_sources(tmp_path):
    package = built(tmp_path / "one", 1_600_000_000)
    settle(package, tmp_path / "settled.conda", STAMP)
    index = info_of(tmp_path / "settled.conda", "info/index.json")
    assert index["timestamp"] == STAMP * 1000
    assert {**index, "timestamp": 0} == {**info_of(package, "info/index.json"), "timestamp": 0}


def test_sources_older_than_zip_files_can_tell(tmp_path):
    package = built(tmp_path / "one", 1_600_000_000)
    settle(package, tmp_path / "settled.conda", 0)
    assert info_of(tmp_path / "settled.conda", "info/index.json")["timestamp"] == 315_532_800_000


@pytest.mark.parametrize("damage", [b"", b"no zip at all", None], ids=["empty", "text", "cut"])
def test_what_is_no_package_is_refused_and_nothing_is_left(tmp_path, damage):
    package = built(tmp_path / "one", 1_600_000_000)
    data = package.read_bytes()
    package.write_bytes(data[: len(data) // 2] if damage is None else damage)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(LabchannelError, match=r"alpha-1\.0-h0_0\.conda can't be settled"):
        settle(package, out / "settled.conda", STAMP)
    assert list(out.iterdir()) == []


def test_a_damaged_part_is_refused_and_nothing_is_left(tmp_path):
    package = built(tmp_path / "one", 1_600_000_000)
    broken = tmp_path / package.name
    with zipfile.ZipFile(package) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[:-20] if name.startswith("pkg-") else data)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(LabchannelError, match="can't be settled"):
        settle(broken, out / "settled.conda", STAMP)
    assert list(out.iterdir()) == []

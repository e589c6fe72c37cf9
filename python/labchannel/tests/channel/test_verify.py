"""Damage of every kind is found, by the check that is meant to find it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tracemalloc
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgpack
import pytest
import zstandard
from labchannel.channel import index_faults, layout, package_faults
from labchannel.channel.index import build_index
from labchannel.channel.publish import publish
from labchannel.channel.verify import Check, verify
from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = ("alpha", "beta", "gamma")


def test_a_published_channel_has_no_fault(lab):
    assert verify(lab, OWN) == []


def package(channel: Path, name: str = "alpha") -> Path:
    (found,) = channel.glob(f"*/{name}-*.conda")
    return found


def flip(path: Path, *, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x10
    path.write_bytes(data)


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def swap(first: Path, second: Path) -> None:
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def edit_json(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def edit_repodata(channel: Path) -> None:
    def change(repodata: dict) -> None:
        (entry,) = (e for e in repodata["packages.conda"].values() if e["name"] == "alpha")
        entry["depends"] = ["ghost"]

    edit_json(channel / "noarch" / "repodata.json", change)


def shard(channel: Path) -> Path:
    return sorted((channel / "noarch" / "shards").iterdir())[0]


@dataclass(frozen=True)
class Damage:
    name: str
    inflict: Callable[[Path], object]
    checks: frozenset[Check]
    """All that must notice it."""


def damage(name: str, inflict: Callable[[Path], object], *checks: Check) -> Damage:
    return Damage(name, inflict, frozenset(checks))


HASHES = (Check.SHA256, Check.MD5)
DAMAGES = [
    damage("flip a byte of a package", lambda c: flip(package(c)), *HASHES, Check.CONTAINER),
    damage(
        "flip a byte of repodata.json.zst",
        lambda c: flip(c / "noarch/repodata.json.zst"),
        Check.ZST,
    ),
    damage("flip a byte of a shard", lambda c: flip(shard(c)), Check.SHARDS),
    damage(
        "flip a byte of the shard index",
        # In a hash: nothing tells a wrong time from a right one.
        lambda c: flip(c / "noarch/repodata_shards.msgpack.zst", at=0.9),
        Check.SHARDS,
    ),
    damage(
        "swap two packages",
        lambda c: swap(package(c, "alpha"), package(c, "beta")),
        *HASHES,
        Check.SIZE,
        Check.CONTAINER,
    ),
    damage(
        "truncate a package", lambda c: truncate(package(c)), *HASHES, Check.SIZE, Check.CONTAINER
    ),
    damage("truncate repodata.json", lambda c: truncate(c / "linux-64/repodata.json"), Check.INDEX),
    damage("truncate a shard", lambda c: truncate(shard(c)), Check.SHARDS),
    damage("delete a package", lambda c: package(c).unlink(), Check.MISSING),
    damage("delete repodata.json", lambda c: (c / "linux-64/repodata.json").unlink(), Check.INDEX),
    damage(
        "delete repodata.json.zst", lambda c: (c / "noarch/repodata.json.zst").unlink(), Check.INDEX
    ),
    damage("delete a shard", lambda c: shard(c).unlink(), Check.SHARDS),
    damage(
        "delete the shard index",
        lambda c: (c / "noarch/repodata_shards.msgpack.zst").unlink(),
        Check.INDEX,
    ),
    damage(
        "delete run_exports.json", lambda c: (c / "noarch/run_exports.json").unlink(), Check.INDEX
    ),
    damage(
        "delete noarch/",
        lambda c: (
            [path.unlink() for path in sorted((c / "noarch").rglob("*")) if path.is_file()]
            and [(c / "noarch/shards").rmdir(), (c / "noarch").rmdir()]
        ),
        Check.INDEX,
        Check.CHANNELDATA,
    ),
    damage(
        "add a package",
        lambda c: (c / "noarch/new-1-0.conda").write_bytes(package(c).read_bytes()),
        Check.UNINDEXED,
    ),
    damage("add a file", lambda c: (c / "noarch/notes.txt").write_text("hello"), Check.UNINDEXED),
    damage(
        "add a file at the top", lambda c: (c / "notes.txt").write_text("hello"), Check.UNINDEXED
    ),
    damage(
        "add a shard",
        lambda c: (c / "noarch/shards/0.msgpack.zst").write_bytes(b""),
        Check.UNINDEXED,
    ),
    damage(
        "add a temporary file",
        lambda c: (c / "noarch/repodata.json.tmp").write_text(""),
        Check.UNINDEXED,
    ),
    damage(
        "add a symbolic link", lambda c: (c / "noarch/link").symlink_to(package(c)), Check.UNINDEXED
    ),
    damage("edit repodata.json", edit_repodata, Check.ZST, Check.SHARDS, Check.INDEX_JSON),
    damage(
        "append to repodata.json.zst", lambda c: append(c / "noarch/repodata.json.zst"), Check.ZST
    ),
    damage("append to a shard", lambda c: append(shard(c)), Check.SHARDS),
    damage(
        "append to the shard index",
        lambda c: append(c / "noarch/repodata_shards.msgpack.zst"),
        Check.SHARDS,
    ),
    damage(
        "append to a package", lambda c: append(package(c)), *HASHES, Check.SIZE, Check.CONTAINER
    ),
    damage(
        "compress a package once more",
        lambda c: repack(package(c), compression=zipfile.ZIP_DEFLATED),
        *HASHES,
        Check.SIZE,
        Check.CONTAINER,
    ),
    damage(
        "say that repodata is for another subdir",
        lambda c: edit_json(
            c / "noarch/repodata.json", lambda j: j["info"].update(subdir="win-64")
        ),
        Check.INDEX,
        Check.ZST,
    ),
    damage(
        "send clients elsewhere",
        lambda c: edit_json(
            c / "noarch/repodata.json", lambda j: j["info"].update(base_url="https://example.org")
        ),
        Check.INDEX,
        Check.ZST,
    ),
    damage(
        "edit run_exports.json",
        lambda c: edit_json(c / "noarch/run_exports.json", lambda j: j["packages.conda"].clear()),
        Check.RUN_EXPORTS,
    ),
    damage(
        "say other run exports",
        lambda c: edit_json(
            c / "noarch/run_exports.json",
            lambda j: [e["run_exports"].update(weak=["x"]) for e in j["packages.conda"].values()],
        ),
        Check.RUN_EXPORTS,
    ),
    damage(
        "edit channeldata.json",
        lambda c: edit_json(c / "channeldata.json", lambda j: j["packages"].pop("alpha")),
        Check.CHANNELDATA,
    ),
    damage(
        "flip a byte of channeldata.json",
        lambda c: (c / "channeldata.json").write_text("{"),
        Check.CHANNELDATA,
    ),
]


@pytest.mark.parametrize("case", DAMAGES, ids=lambda case: case.name)
def test_damage_is_found_by_each_check_that_should(lab, case):
    case.inflict(lab)
    faults = verify(lab, OWN)
    assert {fault.check for fault in faults} == case.checks
    # A line for a person: where, and what is wrong.
    assert all(str(fault).startswith(fault.path) and fault.message for fault in faults)


def reindexed(inflict: Callable[[Path], None]) -> Callable[[Path], None]:
    """Damage that was there before the channel was indexed: hashes don't help against it."""

    def damage(channel: Path) -> None:
        inflict(channel)
        # Index what is there as index_fs does for anybody, whatever the packages are like.
        build_index(channel)

    return damage


def repack(
    path: Path,
    *,
    edit: Callable[[str, dict[str, bytes]], None] = lambda _part, _files: None,
    after_frame: bytes = b"",
    extra: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
    order: Callable[[list[str]], list[str]] = lambda names: names,
) -> None:
    """Take a .conda apart, change it, and put it together again, well formed but for that."""
    with zipfile.ZipFile(path) as container:
        parts = {name: container.read(name) for name in container.namelist()}
    for name, data in parts.items():
        if not name.endswith(".tar.zst"):
            continue
        with tarfile.open(fileobj=io.BytesIO(layout.decompress_zst(data))) as tar:
            files = {
                member.name: tar.extractfile(member).read() for member in tar if member.isfile()
            }
        edit(name.partition("-")[0], files)
        output = io.BytesIO()
        with tarfile.open(fileobj=output, mode="w") as tar:
            for file_name in order(list(files)):
                member = tarfile.TarInfo(file_name)
                member.size = len(files[file_name])
                tar.addfile(member, io.BytesIO(files[file_name]))
        parts[name] = zstandard.compress(output.getvalue()) + after_frame
    with zipfile.ZipFile(path, "w", compression) as container:
        for name, data in (parts | (extra or {})).items():
            container.writestr(name, data)


def change_file(part: str, name: str, data: bytes | None) -> Callable[[Path], None]:
    def edit(this: str, files: dict[str, bytes]) -> None:
        if this == part:
            files.pop(name, None)
            if data is not None:
                files[name] = data

    return lambda channel: repack(package(channel), edit=edit)


def edit_info(name: str, change: Callable[[dict], None]) -> Callable[[Path], None]:
    def edit(part: str, files: dict[str, bytes]) -> None:
        if part == "info":
            content = json.loads(files[f"info/{name}"])
            change(content)
            files[f"info/{name}"] = json.dumps(content).encode()

    return lambda channel: repack(package(channel), edit=edit)


def paths(change: Callable[[list[dict]], object]) -> Callable[[Path], None]:
    return edit_info("paths.json", lambda content: change(content["paths"]))


def prepend(path: Path, data: bytes) -> None:
    path.write_bytes(data + path.read_bytes())


# What is wrong in the package, the one function that finds it, and the fault.
HIDDEN = [
    ("bytes after the zip", lambda c: append(package(c)), "_check_container", Check.CONTAINER),
    (
        "bytes before the zip",
        lambda c: prepend(package(c), b"x"),
        "_check_container",
        Check.CONTAINER,
    ),
    (
        "bytes after a zst",
        lambda c: repack(package(c), after_frame=b"x"),
        "_check_container",
        Check.CONTAINER,
    ),
    (
        "one more zst frame",
        lambda c: repack(package(c), after_frame=zstandard.compress(b"x")),
        "_check_container",
        Check.CONTAINER,
    ),
    (
        "a stranger in the zip",
        lambda c: repack(package(c), extra={"x": b"x"}),
        "_check_container",
        Check.CONTAINER,
    ),
    (
        "a changed file",
        change_file("pkg", "share/alpha.txt", b"ALPHA 1.0 0\n"),
        "_check_paths",
        Check.PATHS,
    ),
    (
        "a file of another size",
        change_file("pkg", "share/alpha.txt", b"alpha"),
        "_check_paths",
        Check.PATHS,
    ),
    ("a missing file", change_file("pkg", "share/alpha.txt", None), "_check_paths", Check.PATHS),
    ("a file too many", change_file("pkg", "share/beta.txt", b""), "_check_paths", Check.PATHS),
    (
        "a wrong size in paths.json",
        paths(lambda p: p[0].update(size_in_bytes=7)),
        "_check_paths",
        Check.PATHS,
    ),
    (
        "a wrong hash in paths.json",
        paths(lambda p: p[0].update(sha256="0" * 64)),
        "_check_paths",
        Check.PATHS,
    ),
    (
        "a wrong kind in paths.json",
        paths(lambda p: p[0].update(path_type="softlink")),
        "_check_paths",
        Check.PATHS,
    ),
    ("a name twice in paths.json", paths(lambda p: p.append(p[0])), "_check_paths", Check.PATHS),
    (
        "paths.json without a file",
        paths(lambda p: p.append({"_path": "z", "path_type": "hardlink"})),
        "_check_paths",
        Check.PATHS,
    ),
    ("no paths.json", change_file("info", "info/paths.json", None), "_check_paths", Check.PATHS),
    (
        "no licence",
        change_file("info", "info/licenses/LICENSE.txt", None),
        "_check_licences",
        Check.LICENSE,
    ),
    (
        "an empty licence",
        change_file("info", "info/licenses/LICENSE.txt", b""),
        "_check_licences",
        Check.LICENSE,
    ),
    (
        "a build path in info/",
        change_file("info", "info/recipe/x.yaml", b"/srv/build machine/x"),
        "_check_build_paths",
        Check.BUILD_PATH,
    ),
]


@pytest.mark.parametrize(
    ("inflict", "function", "check"),
    [case[1:] for case in HIDDEN],
    ids=[case[0] for case in HIDDEN],
)
def test_what_was_wrong_before_indexing(lab, monkeypatch, inflict, function, check):
    """Found by one check, and missed without it."""
    reindexed(inflict)(lab)
    assert {fault.check for fault in verify(lab, OWN, forbidden=["/srv/build machine"])} == {check}
    monkeypatch.setattr(package_faults, function, lambda *_: iter(()))
    assert verify(lab, OWN, forbidden=["/srv/build machine"]) == []


# The same for the indexes: one kind of damage for each check, which nothing else notices.
ALONE = [
    (index_faults, "check_zst", lambda c: append(c / "noarch/repodata.json.zst")),
    (index_faults, "check_shards", lambda c: append(shard(c))),
    (index_faults, "check_run_exports", lambda c: flip(c / "noarch/run_exports.json")),
    (index_faults, "check_channeldata", lambda c: (c / "channeldata.json").write_text("{")),
    (index_faults, "check_missing", lambda c: package(c).unlink()),
    (index_faults, "check_unindexed", lambda c: (c / "noarch/notes.txt").write_text("hello")),
    (index_faults, "check_companions", lambda c: (c / "noarch/run_exports.json").unlink()),
    (index_faults, "check_interrupted", lambda c: (c / ".publish").mkdir()),
]


@pytest.mark.parametrize(("module", "function", "inflict"), ALONE, ids=[a[1] for a in ALONE])
def test_each_check_is_needed(lab, monkeypatch, module, function, inflict):
    inflict(lab)
    assert verify(lab, OWN)
    monkeypatch.setattr(module, function, lambda *_: iter(()))
    assert verify(lab, OWN) == []


def test_hashes_are_needed(lab, monkeypatch):
    """A package that was replaced by a well formed one of the same name."""
    repack(package(lab))
    faults = verify(lab, OWN)
    assert {fault.check for fault in faults} == {Check.SIZE, *HASHES}
    monkeypatch.setattr(package_faults, "_check_bytes", lambda *_: iter(()))
    assert verify(lab, OWN) == []


def write_index(channel: Path, change: Callable[[dict], None]) -> None:
    """Change noarch's repodata in all its forms alike, as a careless tool would."""
    folder = channel / "noarch"
    repodata = json.loads((folder / "repodata.json").read_bytes())
    for entry in repodata["packages.conda"].values():
        change(entry)
    data = json.dumps(repodata).encode()
    (folder / "repodata.json").write_bytes(data)
    (folder / "repodata.json.zst").write_bytes(zstandard.compress(data))
    named = {}
    for path in (folder / "shards").iterdir():
        path.unlink()
    for file_name, entry in repodata["packages.conda"].items():
        packed = entry | {key: bytes.fromhex(entry[key]) for key in ("sha256", "md5")}
        shard = {"packages": {}, "packages.conda": {file_name: packed}, "removed": []}
        compressed = zstandard.compress(msgpack.packb(shard))
        digest = hashlib.sha256(compressed)
        (folder / "shards" / f"{digest.hexdigest()}.msgpack.zst").write_bytes(compressed)
        named[entry["name"]] = digest.digest()
    index = {"info": {"subdir": "noarch"}, "shards": named}
    (folder / "repodata_shards.msgpack.zst").write_bytes(zstandard.compress(msgpack.packb(index)))


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.update(depends=["ghost"]),
        lambda entry: entry.update(constrains=["ghost"]),
        lambda entry: entry.update(build_number=7),
        lambda entry: entry.update(license="none"),
        lambda entry: entry.pop("noarch"),
    ],
    ids=["depends", "constrains", "build_number", "license", "noarch"],
)
def test_an_index_that_lies_in_all_its_forms(lab, monkeypatch, change):
    write_index(lab, lambda _entry: None)
    assert verify(lab, OWN) == []
    write_index(lab, change)
    assert {fault.check for fault in verify(lab, OWN)} == {Check.INDEX_JSON}
    monkeypatch.setattr(package_faults, "_check_index_json", lambda *_: iter(()))
    assert verify(lab, OWN) == []


def test_paths_json_of_our_own_packages_is_sorted(tmp_path, make_package):
    channel = tmp_path / "channel"
    publish(channel, [make_package("alpha", files={"a-b": "", "a/b": "", "c": ""})])
    assert verify(channel, ["alpha"]) == []
    reindexed(paths(lambda entries: entries.reverse()))(channel)
    assert {fault.message for fault in verify(channel, ["alpha"])} == {"paths.json is not sorted"}
    # Clients need no order, so it is only our own habit.
    assert verify(channel) == []


def test_links_and_old_packages(tmp_path, make_package):
    """A .tar.bz2, and a package with symbolic links, good and dangling."""
    import rattler_build

    channel = tmp_path / "channel"
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "real").write_text("real")
    (linked / "link").symlink_to("real")
    (linked / "dangling").symlink_to("nowhere")
    output = rattler_build.assemble_package(
        "linked", "1", "linux-64", "0", tmp_path / "out", files_dir=linked
    )
    old = make_package("old", archive_type=rattler_build.ArchiveType.TarBz2)
    publish(channel, [Path(output.path), old])
    assert verify(channel) == []
    (path,) = channel.glob("*/old-*.tar.bz2")
    append(path)
    build_index(channel)
    assert {fault.check for fault in verify(channel)} == {Check.CONTAINER}


def test_superseded_shards_stay_for_one_publication(lab, make_package):
    """Readers with the old shard index in hand still find them; then they go."""

    def shards() -> set[str]:
        return {path.name for path in (lab / "noarch" / "shards").iterdir()}

    first = shards()
    publish(lab, [make_package("alpha", number=1)])
    second = shards()
    assert first < second
    assert verify(lab, OWN) == []
    publish(lab, [make_package("alpha", number=2)])
    assert not first & (shards() - second)
    assert len(shards()) == len(second)
    assert verify(lab, OWN) == []


def test_paths_of_this_machine(tmp_path, make_package, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("CARGO_HOME", "/opt/cargo")
    channel = tmp_path / "channel"
    files = {
        "share/good.txt": "/home/anna, /opt/cargo-c, https://host/home/ann.html\n",
        "share/home.txt": "built in /home/ann/src\n",
        "lib/lib.so": b"\x7fELF\0\0/opt/cargo/registry/src/x.rs\0",
        "share/wide.bin": "/home/ann/x".encode("utf-16-le"),
        "share/work.txt": "/any/where/bld/rattler-" + "build_x_17/work/src/x.c\n",
    }
    publish(channel, [make_package("alpha", files=files, detect_prefix=False)])
    assert [fault.message.split(" holds ")[0] for fault in verify(channel, ["alpha"])] == [
        "lib/lib.so",
        "share/home.txt",
        "share/wide.bin",
        "share/work.txt",
    ]
    assert verify(channel) == []


def test_a_recorded_placeholder_is_no_path_of_the_build_machine(tmp_path, make_package):
    placeholder = "/srv/build/bld/rattler-" + "build_x/host_env" + "_placehold" * 10
    channel = tmp_path / "channel"
    files = {"bin/tool": f"#!{placeholder}/bin/python\n", "bin/zap": "echo"}
    publish(channel, [make_package("alpha", files=files, detect_prefix=False)])
    recorded = {"prefix_placeholder": placeholder, "file_mode": "text"}
    forbidden = ["/srv/build"]
    assert {fault.check for fault in verify(channel, ["alpha"], forbidden=forbidden)} == {
        Check.BUILD_PATH
    }
    reindexed(paths(lambda entries: entries[0].update(recorded)))(channel)
    assert verify(channel, ["alpha"], forbidden=forbidden) == []
    # Recorded for one file, it is no excuse for another.
    reindexed(
        paths(lambda entries: (entries[0].pop("prefix_placeholder"), entries[1].update(recorded)))
    )(channel)
    assert {f.message[:8] for f in verify(channel, ["alpha"], forbidden=forbidden)} == {"bin/tool"}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_package(tmp_path, make_package):
    """Neither with one that barely compresses nor with one that is nearly nothing compressed."""
    size = 64 << 20
    data = os.urandom(1 << 20) * (size >> 20)
    channel = tmp_path / "channel"
    publish(
        channel,
        [
            make_package("noise", files={"noise.bin": data}, detect_prefix=False),
            make_package("zeros", files={"zeros.bin": bytes(size)}, detect_prefix=False),
        ],
    )
    del data
    tracemalloc.start()
    assert verify(channel, ["noise", "zeros"], threads=1) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


@pytest.mark.parametrize(
    ("prepare", "cause"),
    [
        (lambda _path: None, "there is no channel at"),
        (lambda path: path.mkdir(), "is not a conda channel"),
        (lambda path: path.write_text(""), "is a file"),
    ],
    ids=["missing", "empty", "file"],
)
def test_what_is_no_channel(tmp_path, prepare, cause):
    path = tmp_path / "channel"
    prepare(path)
    with pytest.raises(LabchannelError, match=cause) as caught:
        verify(path)
    assert caught.value.mend


def test_a_platform_folder_is_no_channel(lab):
    with pytest.raises(LabchannelError, match="one platform of a channel"):
        verify(lab / "noarch")


def test_a_flipped_bit_anywhere_in_the_directory_of_a_zip_is_a_fault(tmp_path, make_package):
    """Flags, versions, lengths, offsets: zipfile has an error of its own for many of them."""
    lab = publish(tmp_path / "channel", [make_package("alpha")]).channel
    path = package(lab)
    good = path.read_bytes()
    begin = good.index(b"PK\x01\x02")
    # Two bits of each byte: encryption and patches among the flags, and any version.
    for place in range(begin, len(good)):
        for bit in (0, 5):
            data = bytearray(good)
            data[place] ^= 1 << bit
            path.write_bytes(data)
            faults = verify(lab, threads=1)
            assert {Check.SHA256, Check.MD5} <= {fault.check for fault in faults}, (place, bit)


@pytest.mark.parametrize(
    ("offset", "bit"), [(8, 0), (8, 5), (6, 7)], ids=["encrypted", "a patch", "a later version"]
)
def test_a_part_that_zipfile_refuses(lab, make_package, offset, bit):
    path = make_package("delta")
    data = bytearray(path.read_bytes())
    place = 0
    # Every part's entry in the zip's directory.
    while (place := data.find(b"PK\x01\x02", place + 1)) > 0:
        data[place + offset] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(LabchannelError, match="no readable conda package"):
        publish(lab, [path])
    (lab / "noarch" / package(lab).name).write_bytes(data.replace(b"delta", b"alpha"))
    assert Check.CONTAINER in {fault.check for fault in verify(lab)}

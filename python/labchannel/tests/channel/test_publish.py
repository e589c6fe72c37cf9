"""Publications that go well, and those that are refused: then the channel is as it was."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest
import rattler_build
from labchannel.channel import exchange, layout
from labchannel.channel.layout import Channel
from labchannel.channel.publish import publish, recover, require_writable
from labchannel.channel.verify import verify
from labchannel.errors import LabchannelError
from labchannel.stopping import what_is_true


@pytest.fixture(params=["exchange", "files"])
def way(request, monkeypatch):
    """Both ways of putting the new channel in place."""

    def no_exchange(*_arguments: object) -> None:
        raise OSError(errno.ENOSYS, "forced")

    if request.param == "files":
        monkeypatch.setattr(exchange, "exchange", no_exchange)
    elif sys.platform != "linux":
        pytest.skip("only Linux can exchange folders")
    return request.param


def file_identities(channel: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(channel).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in channel.rglob("*")
        if path.is_file()
    }


def test_a_new_channel(tmp_path, make_package, way):
    channel = tmp_path / "new folder" / "канал"
    steps: list[str] = []
    packages = [make_package("alpha"), make_package("gamma", subdir="linux-64")]
    report = publish(channel, packages, on_step=steps.append)
    assert report.channel == channel
    assert [record.location for record in report.added] == [
        "noarch/alpha-1.0-h0_0.conda",
        "linux-64/gamma-1.0-h0_0.conda",
    ]
    assert report.bytes_added == sum(path.stat().st_size for path in packages)
    assert verify(channel, ["alpha", "gamma"]) == []
    assert steps


def test_an_empty_channel_is_a_channel(tmp_path):
    channel = tmp_path / "channel"
    publish(channel, [])
    assert Channel.read(channel).records == {"noarch": ()}
    assert verify(channel) == []


def test_adding(lab, make_package, way):
    report = publish(lab, [make_package("alpha", number=1), make_package("zeta", subdir="win-64")])
    assert len(report.added) == 2
    assert len(list(Channel.read(lab))) == 5
    assert verify(lab) == []
    # Nothing is left in the channel or beside it but the lock.
    assert not [path for path in lab.iterdir() if path.name.startswith(".")]
    assert {path.name for path in lab.parent.iterdir()} == {"channel", ".channel.publish.lock"}


def test_what_did_not_change_keeps_its_files(lab, make_package, way):
    """Clients with the old linux-64 in their cache need not fetch it again."""
    before = file_identities(lab)
    publish(lab, [make_package("alpha", number=1)])
    after = file_identities(lab)
    changed = {name for name, identity in before.items() if after.get(name) != identity}
    assert changed == {
        "channeldata.json",
        "noarch/repodata.json",
        "noarch/repodata.json.zst",
        "noarch/repodata_shards.msgpack.zst",
        "noarch/run_exports.json",
    }


def test_nothing_to_do_writes_nothing(lab):
    before = file_identities(lab)
    folder = lab.stat().st_ino
    report = publish(lab, sorted(lab.glob("*/*.conda")))
    assert not report.added
    assert len(report.present) == 3
    assert (lab.stat().st_ino, file_identities(lab)) == (folder, before)


def test_removing(lab, way):
    (gone,) = [record for record in Channel.read(lab) if record.name == "gamma"]
    report = publish(lab, [], [gone])
    assert report.removed == (gone,)
    assert report.bytes_freed == gone.size
    assert not (lab / gone.location).exists()
    assert verify(lab) == []


def test_other_bytes_under_a_known_name_are_refused(lab, make_package, contents, way):
    before = contents(lab)
    impostor = make_package("alpha", files={"share/alpha.txt": "other"})
    with pytest.raises(LabchannelError, match="other bytes under the file name") as caught:
        publish(lab, [make_package("zeta"), impostor])
    assert "new build number" in caught.value.mend
    assert contents(lab) == before


def test_other_bytes_are_refused_even_when_the_file_was_deleted(lab, make_package):
    """Clients have it in their caches."""
    (lab / "noarch" / "alpha-1.0-h0_0.conda").unlink()
    with pytest.raises(LabchannelError, match="other bytes"):
        publish(lab, [make_package("alpha", files={"share/alpha.txt": "other"})])


def test_two_packages_of_one_name_in_one_publication(tmp_path, make_package):
    same, other = make_package("alpha"), make_package("alpha", files={"x": "other"})
    with pytest.raises(LabchannelError, match="other bytes"):
        publish(tmp_path / "channel", [same, other])
    assert not (tmp_path / "channel").exists()
    assert len(publish(tmp_path / "channel", [same, same]).added) == 1


def test_added_and_removed_at_once(lab):
    record = next(iter(Channel.read(lab)))
    with pytest.raises(LabchannelError, match="added and removed"):
        publish(lab, [lab / record.location], [record])


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda path: path.write_bytes(b"junk"), "no readable conda package"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), "no readable conda package"),
        (lambda path: path.rename(path.with_name("omega-1.0-h0_0.conda")), "omega|holds no info-"),
        (lambda path: path.rename(path.with_suffix(".zip")), "no conda package"),
        (lambda path: path.unlink(), "can't be read"),
    ],
    ids=["junk", "truncated", "misnamed", "no package", "missing"],
)
def test_bad_packages_are_refused(lab, make_package, contents, spoil, cause):
    before = contents(lab)
    path = make_package("delta")
    renamed = spoil(path)
    with pytest.raises(LabchannelError, match=cause) as caught:
        publish(lab, [renamed if isinstance(renamed, Path) else path])
    assert str(path.parent) in caught.value.cause
    assert contents(lab) == before


def test_a_misnamed_tar_bz2(lab, make_package):
    path = make_package("old", archive_type=rattler_build.ArchiveType.TarBz2)
    with pytest.raises(LabchannelError, match=r"Rename it to old-1\.0-h0_0\.tar\.bz2"):
        publish(lab, [path.rename(path.with_name("new-1.0-h0_0.tar.bz2"))])


def test_packages_put_there_by_hand_get_indexed(lab, make_package, way):
    shutil.copy(make_package("delta"), lab / "noarch")
    report = publish(lab, [])
    assert not report.added
    assert "delta" in {record.name for record in Channel.read(lab)}
    assert verify(lab) == []


def test_a_folder_of_packages_becomes_a_channel(tmp_path, make_package, way):
    channel = tmp_path / "channel"
    (channel / "noarch").mkdir(parents=True)
    shutil.copy(make_package("alpha"), channel / "noarch")
    publish(channel, [])
    assert verify(channel, ["alpha"]) == []


def test_a_package_in_the_wrong_subdir(lab, make_package, contents):
    shutil.copy(make_package("delta", subdir="linux-64"), lab / "noarch")
    before = contents(lab)
    with pytest.raises(LabchannelError, match="built for linux-64") as caught:
        publish(lab, [])
    assert caught.value.mend == "Move it to linux-64/"
    assert contents(lab) == before


def test_files_deleted_by_hand_leave_the_index(lab, way):
    (lab / "linux-64" / "gamma-1.0-h0_0.conda").unlink()
    publish(lab, [])
    assert "gamma" not in {record.name for record in Channel.read(lab)}
    assert verify(lab) == []


def test_a_damaged_file_does_not_pass_for_the_published_one(lab, make_package, contents):
    with (lab / "noarch" / "alpha-1.0-h0_0.conda").open("ab") as file:
        file.write(b"x")
    before = contents(lab)
    with pytest.raises(LabchannelError, match="not the file that was published"):
        publish(lab, [make_package("delta")])
    assert contents(lab) == before


def test_damage_of_the_same_size_stays_visible(lab, make_package):
    """The recorded hash is not replaced by the damaged file's."""
    path = lab / "noarch" / "alpha-1.0-h0_0.conda"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    publish(lab, [make_package("delta")])
    assert "sha256" in {str(fault.check) for fault in verify(lab)}


@pytest.mark.parametrize("damage", ["of the same size", "cut short"])
def test_a_damaged_file_is_mended_by_publishing_it_anew(
    lab, make_package, published, contents, damage, way
):
    path = lab / "noarch" / "alpha-1.0-h0_0.conda"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data if damage == "of the same size" else data[:-1000])
    reader = path.open("rb")
    report = publish(lab, [published / "noarch" / path.name, make_package("delta")])
    assert [record.name for record in report.added] == ["alpha", "delta"]
    assert not report.present
    assert verify(lab) == []
    assert path.read_bytes() == (published / "noarch" / path.name).read_bytes()
    # A reader in mid-flight has the file that it opened.
    with reader:
        assert reader.read() == (data if damage == "of the same size" else data[:-1000])


def test_a_stop_before_a_damaged_file_is_replaced_is_told_as_such(lab, published, monkeypatch, way):
    path = lab / "noarch" / "alpha-1.0-h0_0.conda"
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)

    def stop(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("labchannel.channel.index.index_fs", stop)
    with pytest.raises(KeyboardInterrupt) as stopped:
        publish(lab, [published / "noarch" / path.name])
    assert what_is_true(stopped.value) == f"{lab} is as it was"
    assert path.read_bytes() == data


def test_a_damaged_index_is_mended_by_reindexing(lab, way):
    (lab / "noarch" / "repodata.json").write_text("{")
    with pytest.raises(LabchannelError, match="damaged") as caught:
        publish(lab, [])
    assert caught.value.mend == "Index the channel again"
    publish(lab, [], reindex=True)
    assert verify(lab, ["alpha", "beta", "gamma"]) == []


def test_lost_indexes_come_back(lab, way):
    for path in (lab / "channeldata.json", lab / "noarch" / "run_exports.json"):
        path.unlink()
    publish(lab, [])
    assert verify(lab) == []
    assert (lab / "channeldata.json").exists()


@pytest.mark.parametrize("lost", ["index", "folder"])
def test_a_lost_index_of_noarch_is_mended_by_publishing(lab, lost, way):
    shutil.rmtree(lab / "noarch") if lost == "folder" else (lab / "noarch/repodata.json").unlink()
    with pytest.raises(LabchannelError, match=r"no noarch/repodata\.json") as caught:
        Channel.read(lab)
    assert "index it by publishing to it" in caught.value.mend
    publish(lab, [])
    assert "gamma" in {record.name for record in Channel.read(lab)}
    assert verify(lab) == []


def test_other_bytes_are_refused_where_the_index_of_noarch_is_lost(lab, make_package):
    (lab / "noarch" / "repodata.json").unlink()
    impostor = make_package("gamma", subdir="linux-64", files={"share/gamma.txt": "other"})
    with pytest.raises(LabchannelError, match="other bytes"):
        publish(lab, [impostor])


def test_other_indexers_leavings_go_and_the_users_files_stay(lab, make_package, way):
    (lab / "noarch" / "current_repodata.json").write_text("{}")
    (lab / "noarch" / "repodata.json.tmp").write_text("")
    (lab / ".tmp").mkdir()
    (lab / ".tmp" / "half").write_text("")
    (lab / "README.md").write_text("ours")
    (lab / "docs").mkdir()
    (lab / "docs" / "page.html").write_text("ours")
    publish(lab, [make_package("delta")])
    there = {path.relative_to(lab).as_posix() for path in lab.rglob("*")}
    assert {"README.md", "docs/page.html"} <= there
    assert not {"noarch/current_repodata.json", "noarch/repodata.json.tmp"} & there
    assert way == "files" or ".tmp" not in there


def test_a_channel_given_by_a_symbolic_link(lab, make_package, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(lab)
    publish(link, [make_package("delta")])
    assert link.is_symlink()
    assert not lab.is_symlink()
    assert "delta" in {record.name for record in Channel.read(lab)}


@pytest.mark.parametrize("form", ["relative", "absolute"])
def test_a_package_that_is_a_link_stays(lab, make_package, form, way):
    path = lab / "noarch" / "alpha-1.0-h0_0.conda"
    pool = lab.parent / "pool"
    pool.mkdir()
    target = path.rename(pool / path.name)
    path.symlink_to(target if form == "absolute" else os.path.relpath(target, path.parent))
    publish(lab, [make_package("delta")])
    assert {"alpha", "delta"} < {record.name for record in Channel.read(lab)}
    assert verify(lab) == []
    assert target.is_file()


def test_the_users_own_links_stay(lab, make_package, tmp_path, way):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.html").write_text("ours")
    (lab / "docs").symlink_to("../../docs")
    (lab / "README.html").symlink_to("../../docs/page.html")
    publish(lab, [make_package("delta")])
    assert (lab / "docs").is_symlink()
    assert (lab / "docs" / "page.html").read_text() == "ours"
    assert (lab / "README.html").is_symlink()
    assert (lab / "README.html").read_text() == "ours"


def test_a_platform_that_is_a_link_is_refused(lab, make_package, tmp_path, contents, way):
    shutil.move(lab / "linux-64", tmp_path / "bigdisk")
    (lab / "linux-64").symlink_to(tmp_path / "bigdisk")
    before = contents(lab.parent), contents(tmp_path / "bigdisk")
    with pytest.raises(LabchannelError, match="linux-64 is a symbolic link") as caught:
        publish(lab, [make_package("delta")])
    assert "may be a link" in caught.value.mend
    with pytest.raises(LabchannelError, match="is a symbolic link"):
        require_writable(lab)
    (lab.parent / ".channel.publish.lock").unlink()
    assert (contents(lab.parent), contents(tmp_path / "bigdisk")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_folders_permissions_stay(lab, make_package, way):
    """Those who share a channel can publish to it after one of them has."""
    (lab / "docs").mkdir()
    folders = [lab, *(path for path in lab.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o2775)
    publish(lab, [make_package("delta"), make_package("zeta", subdir="win-64")])
    if way == "exchange":
        folders = [lab, *(path for path in lab.rglob("*") if path.is_dir())]
        assert lab / "win-64" in folders
    assert {folder: folder.stat().st_mode & 0o7777 for folder in folders} == dict.fromkeys(
        folders, 0o2775
    )


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root gives a folder to any group"
)
def test_the_folders_groups_stay(lab, make_package):
    for folder in (lab, lab / "noarch"):
        os.chown(folder, -1, 4711)
    publish(lab, [make_package("delta")])
    assert [folder.stat().st_gid for folder in (lab, lab / "noarch")] == [4711, 4711]


def test_changing_the_build_output_later_does_not_reach_the_channel(tmp_path, make_package):
    package = make_package("alpha")
    publish(tmp_path / "channel", [package])
    with package.open("r+b") as file:
        file.write(b"other")
    assert verify(tmp_path / "channel") == []


def test_leavings_of_a_killed_publication_are_cleared(lab, make_package, way):
    beside = lab.with_name(".channel.publish")
    for folder in (beside, lab / ".publish"):
        (folder / "new" / "noarch").mkdir(parents=True)
        (folder / "new" / "noarch" / "half.conda").write_text("half")
    publish(lab, [make_package("delta")])
    assert not beside.exists()
    assert not (lab / ".publish").exists()
    assert recover(lab) is False


def test_a_journal_that_cant_be_read(lab, make_package):
    (lab / ".publish").mkdir()
    (lab / ".publish" / "journal.json").write_text("{")
    with pytest.raises(LabchannelError, match="journal") as caught:
        publish(lab, [make_package("delta")])
    assert str(lab / ".publish") in caught.value.mend


def test_a_file_is_no_channel(tmp_path, make_package):
    (tmp_path / "channel").write_text("")
    with pytest.raises(LabchannelError, match="is a file"):
        publish(tmp_path / "channel", [make_package("delta")])


@pytest.mark.parametrize("moment", ["while copying", "while indexing", "while exchanging"])
def test_trouble_on_the_way_leaves_the_channel_as_it_was(
    lab, make_package, contents, monkeypatch, moment, way
):
    """An input/output error and Ctrl-C, at the three stages."""
    target = {
        "while copying": "labchannel.channel.publish.shutil.copyfile",
        "while indexing": "labchannel.channel.index.index_fs",
        "while exchanging": "labchannel.channel.publish.exchange.exchange"
        if way == "exchange"
        else "labchannel.channel.journal.begin",
    }[moment]
    package = make_package("delta")
    before = contents(lab)
    for error, expected in (
        (OSError(errno.EIO, "broken"), LabchannelError),
        (KeyboardInterrupt(),) * 2,
    ):

        def fail(*_arguments: object, error: BaseException = error, **_options: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(target, fail)
            with pytest.raises(
                expected if isinstance(expected, type) else KeyboardInterrupt
            ) as caught:
                publish(lab, [package])
        if isinstance(caught.value, KeyboardInterrupt):
            assert what_is_true(caught.value) == f"{lab} is as it was"
        assert contents(lab) == before
        assert not lab.with_name(".channel.publish").exists()
    publish(lab, [package])
    assert verify(lab) == []


def test_a_stop_that_comes_too_late_is_told_as_such(lab, make_package, monkeypatch, way):
    """Ctrl-C when the new channel is in place, or must come into place."""
    package = make_package("delta")

    def stop(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        module, name = ("publish", "sync_folder") if way == "exchange" else ("journal", "_put")
        patch.setattr(f"labchannel.channel.{module}.{name}", stop)
        with pytest.raises(KeyboardInterrupt) as stopped:
            publish(lab, [package])
    assert what_is_true(stopped.value) == (
        f"{lab} has been brought up to date"
        if way == "exchange"
        else f"the next publication to {lab} finishes this one"
    )
    publish(lab, [])
    assert verify(lab) == []
    assert (lab / "noarch" / package.name).is_file()


def test_another_publication_is_waited_for_or_refused(lab, make_package):
    package = make_package("delta")
    with filelock.FileLock(lab.with_name(".channel.publish.lock")):
        with pytest.raises(LabchannelError, match="another publication") as caught:
            publish(lab, [package], wait=False)
        assert caught.value.mend
        waiting = threading.Event()
        publisher = threading.Thread(
            target=publish,
            args=(lab, [package]),
            kwargs={"on_step": lambda message: "waiting" in message and waiting.set()},
        )
        publisher.start()
        assert waiting.wait(60)
        assert "delta" not in {record.name for record in Channel.read(lab)}
    publisher.join(60)
    assert "delta" in {record.name for record in Channel.read(lab)}


def test_two_processes_at_once_lose_nothing(lab, make_package):
    program = (
        "import sys; from pathlib import Path; from labchannel.channel.publish import publish\n"
        "for package in sys.argv[2:]: publish(Path(sys.argv[1]), [Path(package)])"
    )
    names = [["a1", "a2", "a3"], ["b1", "b2", "b3"]]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    publishers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(lab), *(str(make_package(name)) for name in group)],
            env=environment,
        )
        for group in names
    ]
    assert [publisher.wait(120) for publisher in publishers] == [0, 0]
    assert {"a1", "a2", "a3", "b1", "b2", "b3"} < {record.name for record in Channel.read(lab)}
    assert verify(lab) == []


def test_highest_build_number(lab, make_package):
    publish(lab, [make_package("alpha", number=3), make_package("alpha", version="2.0", number=9)])
    content = Channel.read(lab)
    assert content.highest_build_number("alpha", "1.0") == 3
    assert content.highest_build_number("alpha", "2.0") == 9
    assert content.highest_build_number("alpha", "3.0") is None
    assert content.highest_build_number("nobody", "1.0") is None


def test_packages_of_the_next_metadata_version_are_read(lab):
    """Indexers put them under `v3`, without their suffix."""
    path = lab / "noarch" / layout.REPODATA
    repodata = json.loads(path.read_bytes())
    entry = repodata["packages.conda"].pop("alpha-1.0-h0_0.conda")
    repodata["v3"] = {"conda": {"alpha-1.0-h0_0": entry}}
    path.write_text(json.dumps(repodata))
    assert "noarch/alpha-1.0-h0_0.conda" in {record.location for record in Channel.read(lab)}

"""Environments solved and installed from a folder alone, and made again from a lock."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

import pytest
from labchannel import environment
from labchannel.channel.publish import publish
from labchannel.environment import (
    activated,
    channel_source,
    current_platform,
    file_of_address,
    fresh_environment,
    install,
    lock_of,
    read_environment_lock,
    records_of_lock,
    solve,
)
from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from pathlib import Path

HERE = current_platform()


@pytest.fixture
def channel(tmp_path, make_package, no_network) -> Path:
    """A folder that stands alone, on a path that needs quoting."""
    target = tmp_path / "Lab Zürich" / "channel"
    publish(
        target,
        [
            make_package("alpha", depends=["beta >=1"]),
            make_package("beta", "1.0"),
            make_package("beta", "2.0", files={"share/beta.txt": "two\n"}),
            make_package("python", "3.13.5", build="h1_0_cp313", subdir=HERE),
            make_package("programs", programs={"bin/hello": "#!/bin/sh\necho hello\n"}),
        ],
    )
    return target


def make(channel: Path, prefix: Path, *specs: str) -> list[str]:
    records = solve([channel], specs, HERE)
    install(records, prefix, HERE, specs)
    return [f"{record.name.normalized} {record.version}" for record in records]


def test_an_environment_from_a_folder_and_nothing_else(channel, tmp_path):
    prefix = tmp_path / "env"
    assert make(channel, prefix, "alpha") == ["alpha 1.0", "beta 2.0"]
    assert (prefix / "share" / "beta.txt").read_text() == "two\n"
    assert (prefix / "conda-meta" / "history").is_file()
    assert sorted(path.name for path in (prefix / "conda-meta").glob("*.json")) == [
        "alpha-1.0-h0_0.json",
        "beta-2.0-h0_0.json",
    ]


def test_what_was_asked_for_is_told_from_what_was_needed(channel, tmp_path):
    """conda and mamba keep what a person asked for when they update."""
    make(channel, tmp_path / "env", "alpha")
    asked = {}
    for path in (tmp_path / "env" / "conda-meta").glob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        asked[data["name"]] = data.get("requested_specs") or data.get("requested_spec")
    assert asked["alpha"]
    assert not asked["beta"]


def test_a_prefix_with_spaces_and_letters_of_the_world(channel, tmp_path):
    prefix = tmp_path / "Prüfstand 3 · größer"
    make(channel, prefix, "alpha")
    assert (prefix / "share" / "beta.txt").is_file()


def test_the_same_prefix_is_brought_up_to_date(channel, tmp_path):
    prefix = tmp_path / "env"
    make(channel, prefix, "beta ==1.0")
    make(channel, prefix, "alpha")
    assert (prefix / "share" / "beta.txt").read_text() == "two\n"
    make(channel, prefix, "beta")
    assert not (prefix / "share" / "alpha.txt").exists()


@pytest.mark.parametrize("channel_form", ["path", "text", "relative", "uri"])
def test_a_channel_folder_by_any_of_its_names(channel, tmp_path, monkeypatch, channel_form):
    monkeypatch.chdir(channel.parent)
    form = {
        "path": channel,
        "text": str(channel),
        "relative": "./channel",
        "uri": channel.as_uri(),
    }[channel_form]
    assert [record.name.normalized for record in solve([form], ["beta"], HERE)] == ["beta"]


def test_a_package_published_a_moment_ago_is_seen(channel, make_package):
    assert len(solve([channel], ["beta"], HERE)) == 1
    publish(channel, [make_package("beta", "3.0")])
    (record,) = solve([channel], ["beta"], HERE)
    assert str(record.version) == "3.0"


@pytest.mark.parametrize("platform", ["osx-arm64", "linux-aarch64", "osx-64"])
def test_a_platform_that_is_not_served(channel, platform):
    if platform == HERE:
        pytest.skip("this machine's own")
    with pytest.raises(LabchannelError, match=f"{platform} is not served.*linux-64, win-64"):
        solve([channel], ["beta"], platform)


def test_a_word_that_is_no_platform(channel):
    with pytest.raises(LabchannelError, match="amiga-68k is not served"):
        solve([channel], ["beta"], "amiga-68k")


@pytest.mark.parametrize(
    "spec",
    ["python 3.13.* *_cp313t", "python-freethreading", "python 3.11.*", "python >=3.99"],
)
def test_a_python_that_is_not_served(channel, spec):
    with pytest.raises(LabchannelError) as caught:
        solve([channel], [spec], HERE)
    assert caught.value.cause.startswith(f"no environment on {HERE} can hold {spec}:\n")
    assert spec.split()[0] in caught.value.cause.split("\n", 1)[1]
    assert ".." not in str(caught.value)


def test_packages_that_exclude_each_other(channel, make_package):
    publish(channel, [make_package("old", depends=["beta <2"])])
    with pytest.raises(LabchannelError, match="no environment"):
        solve([channel], ["old", "beta >=2"], HERE)


@pytest.mark.parametrize("spec", ["beta >>1", "["])
def test_what_is_no_spec(channel, spec):
    with pytest.raises(LabchannelError, match="not a package spec"):
        solve([channel], [spec], HERE)


def test_a_folder_that_is_no_channel(tmp_path):
    with pytest.raises(LabchannelError, match="is not a channel"):
        channel_source(tmp_path)


@pytest.mark.parametrize("name", ["./nothing", "some/where"])
def test_a_channel_folder_that_is_not_there(name):
    with pytest.raises(LabchannelError, match="there is no channel folder"):
        channel_source(name)


@pytest.mark.parametrize("address", ["http://host:80800/c", "http://[::1/c", "https://"])
def test_an_address_that_is_none(tool, tmp_path, lock, address):
    for asked in (["beta"], ["--lock", lock]):
        done = tool("env", "create", "-p", tmp_path / "env", "-c", address, *asked)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {address} is no address of a channel (")
        assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps certificates elsewhere")
@pytest.mark.parametrize("command", ["doctor", "build", "run"])
def test_a_machine_without_certificates(checkout, tool, tmp_path, command):
    checkout.recipe("alpha")
    manifest = checkout.workspace.manifest.read_text(encoding="utf-8")
    checkout.write("pixi.toml", f'{manifest}\n[tasks]\nhello = "echo hello"\n')
    done = tool(
        *([command, "hello"] if command == "run" else [command]),
        cwd=checkout.root,
        LABCHANNEL_UPSTREAM="",
        SSL_CERT_FILE=str(tmp_path / "none"),
        SSL_CERT_DIR=str(tmp_path / "none"),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "this system has no certificates" in done.stderr
    assert "apt-get install ca-certificates" in done.stderr


def test_a_channel_that_does_not_answer(closed_port, no_network):
    address = f"http://127.0.0.1:{closed_port}/channel"
    with pytest.raises(LabchannelError, match="the channel can't be read") as caught:
        solve([address], ["beta"], HERE)
    assert "\n" not in str(caught.value)


def test_a_channel_with_damaged_repodata(channel):
    for name in ("repodata.json", "repodata.json.zst", "repodata_shards.msgpack.zst"):
        (channel / "noarch" / name).write_bytes(b"{damaged")
    with pytest.raises(LabchannelError, match="the channel can't be read"):
        solve([channel], ["beta"], HERE)


def test_a_damaged_package_is_not_installed(channel, tmp_path):
    records = solve([channel], ["beta ==1.0"], HERE)
    package = channel / "noarch" / "beta-1.0-h0_0.conda"
    data = bytearray(package.read_bytes())
    data[len(data) // 2] ^= 1
    package.unlink()
    package.write_bytes(data)
    with pytest.raises(LabchannelError, match=r"beta-1\.0-h0_0\.conda is not the file.*verify"):
        install(records, tmp_path / "env", HERE, ["beta"])
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("file:///C:/a%20lab/channel/x.conda", r"C:\a lab\channel\x.conda"),
        ("file://localhost/C:/channel/x.conda", r"C:\channel\x.conda"),
        ("file://server/share/%E6%B8%AC/x.conda", r"\\server\share\測\x.conda"),
    ],
)
def test_the_files_of_a_channel_on_a_drive_or_a_share_of_windows(address, file, monkeypatch):
    with warnings.catch_warnings():
        # Windows' own rules for URLs, which urllib no longer offers on other systems.
        warnings.simplefilter("ignore", DeprecationWarning)
        from nturl2path import url2pathname

    monkeypatch.setattr(environment, "url2pathname", url2pathname)
    monkeypatch.setattr(environment, "Path", PureWindowsPath)
    assert file_of_address(address) == PureWindowsPath(file)
    assert file_of_address("https://host/share/x.conda") is None


def test_a_package_that_is_gone(channel, tmp_path):
    records = solve([channel], ["beta ==1.0"], HERE)
    (channel / "noarch" / "beta-1.0-h0_0.conda").unlink()
    with pytest.raises(LabchannelError, match=r"beta-1\.0-h0_0\.conda can't be read"):
        install(records, tmp_path / "env", HERE, ["beta"])


def test_a_folder_with_other_files_is_not_made_an_environment(channel, tmp_path):
    prefix = tmp_path / "documents"
    prefix.mkdir()
    (prefix / "thesis.txt").write_text("years of work\n")
    with pytest.raises(LabchannelError, match="is not empty and is no environment"):
        make(channel, prefix, "beta")
    assert os.listdir(prefix) == ["thesis.txt"]  # noqa: PTH208


def test_an_empty_folder_is_fine(channel, tmp_path):
    (tmp_path / "env").mkdir()
    assert make(channel, tmp_path / "env", "beta") == ["beta 2.0"]
    assert (tmp_path / "env" / "share" / "beta.txt").read_text() == "two\n"


def test_a_file_where_the_environment_should_be(channel, tmp_path):
    (tmp_path / "env").touch()
    with pytest.raises(LabchannelError, match="env"):
        make(channel, tmp_path / "env", "beta")


def test_a_fresh_environment_goes_with_its_block(channel):
    with fresh_environment([channel], ["beta"], HERE) as prefix:
        assert (prefix / "share" / "beta.txt").is_file()
    assert not prefix.parent.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the tiny program is a sh script")
def test_activation_puts_the_environment_first_and_keeps_the_rest(channel, tmp_path):
    prefix = tmp_path / "my env"
    make(channel, prefix, "programs")
    variables = activated(prefix, {**os.environ, "KEPT": "two\nlines and 'quotes'"})
    assert shutil.which("hello", path=variables["PATH"]) == str(prefix / "bin" / "hello")
    assert variables["CONDA_PREFIX"] == str(prefix)
    assert variables["KEPT"] == "two\nlines and 'quotes'"
    assert variables["PATH"].endswith(os.environ["PATH"])


# Locks.


@pytest.fixture
def lock(channel, tmp_path) -> Path:
    path = tmp_path / "env.lock"
    records = solve([channel], ["alpha"], HERE)
    path.write_text(lock_of(records, HERE), encoding="utf-8")
    return path


def test_a_lock_tells_no_address_and_no_folder(channel, lock):
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert "Zürich" not in text
    assert "Z\\u00fcrich" not in text
    assert not re.search(r'"[^"]*[/\\][^"]*"', text)


def test_a_lock_names_every_package_by_its_bytes(channel, lock):
    platform, packages = read_environment_lock(lock)
    assert platform == HERE
    assert [(package.name, package.version) for package in packages] == [
        ("alpha", "1.0"),
        ("beta", "2.0"),
    ]
    for package in packages:
        assert package.size == (channel / package.subdir / package.file).stat().st_size
        assert re.fullmatch("[0-9a-f]{64}", package.sha256)


def files_of(prefix: Path) -> dict[str, bytes]:
    """Every file with its bytes, the prefix's own path aside; without the records of when."""
    here = str(prefix).encode()
    return {
        path.relative_to(prefix).as_posix(): path.read_bytes().replace(here, b"PREFIX")
        for path in sorted(prefix.rglob("*"))
        if path.is_file()
    }


def test_two_environments_from_one_lock_are_the_same(channel, lock, tmp_path, make_package):
    publish(channel, [make_package("beta", "3.0")])
    moved = tmp_path / "a copy of the channel"
    shutil.copytree(channel, moved)
    prefixes = [tmp_path / "one", tmp_path / "deeper" / "and with another name" / "two"]
    for prefix, source in zip(prefixes, (channel, moved), strict=True):
        platform, packages = read_environment_lock(lock)
        install(records_of_lock(packages, [source], platform), prefix, platform, [])
    one, two = map(files_of, prefixes)
    assert set(one) == set(two)
    differing = {name for name in one if one[name] != two[name]}
    assert all(name.startswith("conda-meta/") for name in differing)
    assert one["share/beta.txt"] == b"two\n"
    for name in differing:
        before, after = (json.loads(files[name]) for files in (one, two))
        assert before["sha256"] == after["sha256"]
        assert before["paths_data"] == after["paths_data"]


def test_a_lock_whose_hash_the_channel_does_not_have(channel, lock):
    text = lock.read_text(encoding="utf-8")
    _platform, packages = read_environment_lock(lock)
    lock.write_text(text.replace(packages[0].sha256, "0" * 64), encoding="utf-8")
    platform, changed = read_environment_lock(lock)
    with pytest.raises(
        LabchannelError, match=r"no alpha-1\.0-h0_0\.conda with the locked sha256 0000"
    ):
        records_of_lock(changed, [channel], platform)


def test_a_lock_and_a_channel_that_does_not_answer(lock, closed_port):
    platform, packages = read_environment_lock(lock)
    with pytest.raises(LabchannelError, match="the channel can't be read"):
        records_of_lock(packages, [f"http://127.0.0.1:{closed_port}/c"], platform)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"name"', '"nom"'),
        lambda text: text.replace('"packages"', '"pakete"'),
        lambda text: text.replace('"packages": [', '"packages": ["x", '),
        lambda text: text.replace('"platform": "', '"platform": "amiga-'),
        lambda text: text + "trailing",
    ],
)
def test_a_damaged_lock(lock, channel, damage):
    lock.write_text(damage(lock.read_text(encoding="utf-8")), encoding="utf-8")

    def use() -> None:
        platform, packages = read_environment_lock(lock)
        records_of_lock(packages, [channel], platform)

    with pytest.raises(LabchannelError, match=r"lock|not served"):
        use()


def test_a_lock_that_is_no_text(lock):
    lock.write_bytes(b"\xff\xfe\x00lock")
    with pytest.raises(LabchannelError, match="can't be read as a lock"):
        read_environment_lock(lock)


def test_a_lock_of_another_labchannel(lock):
    text = lock.read_text(encoding="utf-8").replace('"lock_version": 1', '"lock_version": 99')
    lock.write_text(text, encoding="utf-8")
    with pytest.raises(LabchannelError, match=r"lock version 99.*reads 1"):
        read_environment_lock(lock)


def test_a_missing_lock(tmp_path):
    with pytest.raises(LabchannelError, match="there is no lock"):
        read_environment_lock(tmp_path / "env.lock")


# From the command line.


def test_from_the_command_line_to_a_lock_and_back(channel, tmp_path, tool):
    made = tool(
        *("env", "create", "--prefix", tmp_path / "one", "--channel", channel),
        *("--write-lock", tmp_path / "lab.lock", "alpha", "beta >=2"),
    )
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == f"{tmp_path / 'one'}: 2 packages for {HERE}\n"
    again = tool(
        *("env", "create", "-p", tmp_path / "two", "-c", channel),
        *("--lock", tmp_path / "lab.lock", "--json"),
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == json.loads((tmp_path / "lab.lock").read_text())
    assert (tmp_path / "two" / "share" / "beta.txt").read_text() == "two\n"


@pytest.mark.parametrize("arguments", [[], ["--lock", "x.lock", "alpha"]])
def test_packages_or_a_lock(channel, tmp_path, tool, arguments):
    done = tool("env", "create", "-p", tmp_path / "one", "-c", channel, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: an environment is made from packages or from a lock")


def test_a_lock_for_another_platform(channel, lock, tmp_path, tool):
    other = "win-64" if HERE != "win-64" else "linux-64"
    done = tool(
        *("env", "create", "-p", tmp_path / "one", "-c", channel, "--lock", lock),
        *("--platform", other),
    )
    assert done.returncode == 1
    assert f"is for {HERE}, not for {other}" in done.stderr


def test_a_lock_that_cannot_be_written(channel, tmp_path, tool):
    done = tool(
        *("env", "create", "-p", tmp_path / "one", "-c", channel, "beta"),
        *("--write-lock", tmp_path / "missing" / "lab.lock"),
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "lab.lock" in done.stderr
    assert "Traceback" not in done.stderr


WRITE_ON_A_FULL_DISK = """
set -eu
mount -t tmpfs -o size=64k none "$disk"
cp "$lock" "$disk/lab.lock"
cat /dev/zero > "$disk/fill" 2>/dev/null || true
status=0
"$python" - <<'PYTHON' || status=$?
import os
from pathlib import Path
from labchannel.environment import current_platform, solve, write_environment_lock
from labchannel.errors import LabchannelError
here = current_platform()
records = solve([Path(os.environ["channel"])], ["alpha"], here)
try:
    write_environment_lock(Path(os.environ["disk"], "lab.lock"), records * 1000, here)
except LabchannelError as error:
    print(error)
    raise SystemExit(3)
PYTHON
ls "$disk"
cp "$disk/lab.lock" "$after"
exit $status
"""


def test_an_old_lock_outlives_a_full_disk(channel, lock, mounts, tmp_path):
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        [*mounts, "sh", "-c", WRITE_ON_A_FULL_DISK],
        check=False,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "python": sys.executable,
            "disk": str(tmp_path / "disk"),
            "channel": str(channel),
            "lock": str(lock),
            "after": str(tmp_path / "after"),
        },
    )
    assert done.returncode == 3, done.stderr
    assert "lab.lock can't be written (No space left on device)" in done.stdout
    assert done.stdout.endswith("\nfill\nlab.lock\n")
    assert (tmp_path / "after").read_bytes() == lock.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_lock_behind_a_link_and_one_to_the_standard_output(channel, lock, tmp_path, tool):
    link = tmp_path / "link.lock"
    link.symlink_to(lock)
    text = lock.read_bytes()
    lock.write_text("old")
    create = ("env", "create", "-p", tmp_path / "one", "-c", channel, "alpha", "--write-lock")
    assert tool(*create, link).returncode == 0
    assert link.is_symlink()
    assert lock.read_bytes() == text
    assert not list(tmp_path.glob("*.partial"))
    done = subprocess.run(
        [sys.executable, "-m", "labchannel", *map(str, create), "/dev/stdout"],
        check=False,
        capture_output=True,
    )
    assert text in done.stdout, done.stderr

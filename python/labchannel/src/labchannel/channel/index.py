"""The indexes of a channel folder: rattler's own, and those that are not left to it.

`rattler.index.index_fs` writes repodata.json and the shards. What is added here: repodata.json.zst,
run_exports.json (CEP 12) and channeldata.json (conda's page on channels; the fields that packages
can say something about), both from the packages' own info/ files, and the removal of what index_fs
leaves behind (shards of earlier indexes, temporary files).

The same packages give the same bytes, except for two facts that index_fs takes from the clock:
`indexed_timestamp` of a package that repodata.json did not name before (kept ever after), and
`created_at` in the shard index. `reuse` puts the old file back where only the clock differs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import zstandard
from rattler import Subdir, Version
from rattler.exceptions import InvalidVersionError
from rattler.index import index_fs

from labchannel.channel import layout
from labchannel.channel.archive import PackageInfo, read_info
from labchannel.errors import LabchannelError

if TYPE_CHECKING:
    from pathlib import Path

OnStep = Callable[[str], None]

# index_fs holds each package that it reads whole in memory.
_PARALLEL_PACKAGES = 2

# index_fs's own.
_ZSTD_LEVEL = 19

_ABOUT_FIELDS = (
    "description",
    "dev_url",
    "doc_url",
    "home",
    "license",
    "license_family",
    "summary",
)
_LINK_SCRIPTS = {"pre_link": "pre-link", "post_link": "post-link", "pre_unlink": "pre-unlink"}


def build_index(folder: Path, *, force: bool = True, on_step: OnStep | None = None) -> None:
    """Write every index of a channel folder that nobody reads meanwhile.

    A channel in use is indexed by `publish`, which does this beside it and then exchanges the two.

    Parameters
    ----------
    folder
        The channel's top folder. Its noarch/ is made if need be.
    force
        Read all packages again. Otherwise packages that repodata.json names keep their entry and
        its hashes unread: right when their files can't have changed, and damage to them then
        stays visible to `verify`.
    on_step
        Called with what is being done.

    Raises
    ------
    LabchannelError
        A package is damaged, misnamed or in the wrong subdir, or the folder can't be written.
    """
    say = on_step or (lambda _message: None)
    try:
        (folder / layout.NOARCH).mkdir(parents=True, exist_ok=True)
        say("reading the packages")
        packages = {
            subdir: _read_subdir(folder / subdir) for subdir in layout.channel_subdirs(folder)
        }
        say("writing repodata")
        _index_packages(folder, force=force)
        shutil.rmtree(folder / layout.INDEXER_WORK, ignore_errors=True)
        for subdir, found in packages.items():
            _drop_leftovers(folder / subdir)
            _compress_repodata(folder / subdir)
            _write_json(folder / subdir / layout.RUN_EXPORTS, run_exports(subdir, found))
        say("writing channeldata")
        _write_json(folder / layout.CHANNELDATA, channeldata(packages))
    except OSError as error:
        raise LabchannelError(
            f"the channel {folder} can't be indexed ({error.strerror or error})",
            "Free space or mend the folder's permissions",
        ) from error


def _read_subdir(folder: Path) -> dict[str, PackageInfo]:
    # Also the guard of index_fs, which aborts the whole process on a package that it can't read.
    found = {}
    for path in sorted(folder.iterdir()):
        if layout.is_package(path.name) and path.is_file():
            info = read_info(path)
            subdir = info.index.get("subdir")
            if subdir != folder.name:
                raise LabchannelError(
                    f"{path} was built for {subdir}, so it does not belong in {folder.name}/",
                    f"Move it to {subdir}/",
                )
            found[path.name] = info
    return found


def _index_packages(folder: Path, *, force: bool) -> None:
    try:
        asyncio.run(
            index_fs(
                folder,
                write_zst=False,
                write_shards=True,
                force=force,
                max_parallel=_PARALLEL_PACKAGES,
            )
        )
    # py-rattler's errors share no base class; whatever it is, the index was not written.
    except Exception as error:
        raise LabchannelError(
            f"the channel {folder} can't be indexed: {error}",
            "Check free space and the folder's permissions, then try again",
        ) from error


def _compress_repodata(folder: Path) -> None:
    # index_fs would do it as a stream of unknown length, for which zstd takes and clears a hundred
    # megabytes: most of the time that a small channel takes. A known length is in the frame, too.
    data = (folder / layout.REPODATA).read_bytes()
    (folder / layout.REPODATA_ZST).write_bytes(zstandard.compress(data, _ZSTD_LEVEL))


def _drop_leftovers(folder: Path) -> None:
    for path in folder.glob("*.tmp"):
        path.unlink()
    shard_index = folder / layout.SHARD_INDEX
    try:
        named = set(layout.ShardIndex.decode(shard_index.read_bytes()).shards.values())
    except ValueError as error:
        raise LabchannelError(f"{shard_index} is damaged: {error}", "Index again") from error
    for path in (folder / layout.SHARDS).glob("*"):
        if path.name.removesuffix(layout.SHARD_SUFFIX) not in named:
            path.unlink()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def run_exports(subdir: str, packages: Mapping[str, PackageInfo]) -> dict[str, Any]:
    """Compose the contents of a subdir's run_exports.json (CEP 12).

    Parameters
    ----------
    subdir
        For example `linux-64`.
    packages
        File name -> metadata.

    Examples
    --------
    >>> info = PackageInfo(index={}, run_exports={"weak": ["libfoo >=1"]})
    >>> run_exports("noarch", {"foo-1-0.conda": info})["packages.conda"]
    {'foo-1-0.conda': {'run_exports': {'weak': ['libfoo >=1']}}}
    """
    described: dict[str, Any] = {"subdir": subdir, "version": 1}
    if subdir != layout.NOARCH:
        platform = Subdir(subdir)
        described |= {"platform": platform.only_platform, "arch": str(platform.arch)}
    content: dict[str, Any] = {"info": described, "packages": {}, "packages.conda": {}}
    for file_name, info in packages.items():
        key = "packages.conda" if file_name.endswith(".conda") else "packages"
        content[key][file_name] = {"run_exports": dict(info.run_exports)}
    return content


def channeldata(packages: Mapping[str, Mapping[str, PackageInfo]]) -> dict[str, Any]:
    """Compose channeldata.json: each package by its newest version and highest build.

    Parameters
    ----------
    packages
        Subdir -> file name -> metadata.

    Examples
    --------
    >>> info = PackageInfo(index={"name": "a", "version": "1", "build": "0", "build_number": 0})
    >>> data = channeldata({"noarch": {"a-1-0.conda": info}})
    >>> data["packages"]["a"]["reference_package"], data["subdirs"]
    ('noarch/a-1-0.conda', ['noarch'])
    """
    by_name: dict[str, list[tuple[str, str, PackageInfo]]] = {}
    for subdir, found in packages.items():
        for file_name, info in found.items():
            by_name.setdefault(str(info.index.get("name")), []).append((subdir, file_name, info))
    return {
        "channeldata_version": 1,
        "packages": {name: _package_data(builds) for name, builds in sorted(by_name.items())},
        "subdirs": sorted(packages),
    }


def _package_data(builds: list[tuple[str, str, PackageInfo]]) -> dict[str, Any]:
    subdir, file_name, newest = max(builds, key=_age)
    index, about = newest.index, newest.about
    paths = newest.paths or ()
    names = [str(entry.get("_path", "")) for entry in paths]
    data: dict[str, Any] = {
        key: about[key] for key in _ABOUT_FIELDS if isinstance(about.get(key), str)
    }
    if isinstance(index.get("license"), str):
        data["license"] = index["license"]
    if isinstance(index.get("timestamp"), int):
        data["timestamp"] = index["timestamp"] // 1000
    for kind in ("activate.d", "deactivate.d"):
        data[kind] = any(name.startswith(f"etc/conda/{kind}/") for name in names)
    for key, script in _LINK_SCRIPTS.items():
        data[key] = any(
            name.endswith((f"-{script}.sh", f"-{script}.bat"))
            and name.startswith(("bin/.", "Scripts/."))
            for name in names
        )
    modes = {entry.get("file_mode") for entry in paths if entry.get("prefix_placeholder")}
    return data | {
        "binary_prefix": "binary" in modes,
        "text_prefix": "text" in modes,
        "reference_package": f"{subdir}/{file_name}",
        "run_exports": {
            str(info.index["version"]): dict(info.run_exports)
            for _, _, info in sorted(builds, key=_age)
            if info.run_exports
        },
        "subdirs": sorted({subdir for subdir, _, _ in builds}),
        "version": str(index.get("version")),
    }


def _age(build: tuple[str, str, PackageInfo]) -> tuple[Version, int, str, str]:
    subdir, file_name, info = build
    try:
        version = Version(str(info.index.get("version")))
    except InvalidVersionError:
        version = Version("0")
    number = info.index.get("build_number")
    return version, number if isinstance(number, int) else 0, subdir, file_name


def reuse(old: Path, new: Path) -> None:
    """Put the index files of the channel `old` into `new` where nothing but the clock differs.

    Clients then see an unchanged file (same Last-Modified), and the shards of `old` stay for
    readers that have its shard index in hand: those that are still true, one generation long.
    `old` is only linked to, never changed.
    """
    for name in layout.channel_subdirs(new):
        if not (old / name).is_dir():
            continue
        for file_name in layout.INDEX_FILES:
            _reuse_file(old / name / file_name, new / name / file_name)
        _keep_shards(old / name, new / name)
    _reuse_file(old / layout.CHANNELDATA, new / layout.CHANNELDATA)


def _reuse_file(before: Path, after: Path) -> None:
    if before.is_file() and _says_the_same(before, after):
        _link_over(before, after)


def _says_the_same(before: Path, after: Path) -> bool:
    if before.name != layout.SHARD_INDEX:
        return before.read_bytes() == after.read_bytes()
    try:
        old, new = (layout.ShardIndex.decode(path.read_bytes()).shards for path in (before, after))
    except ValueError:
        return False
    return old == new


def _link_over(source: Path, target: Path) -> None:
    spare = target.with_name(f"{target.name}.tmp")
    try:
        os.link(source, spare)
    except OSError:  # no hard links here: the fresh file is as good
        return
    # Not when it is that file already: renaming one link over another of the same file does
    # nothing at all, and `spare` would stay.
    if source.samefile(target):
        spare.unlink()
    else:
        spare.replace(target)


def _keep_shards(old: Path, new: Path) -> None:
    known = layout.entries(layout.read_repodata(new / layout.REPODATA))
    for path in _named_shards(old):
        target = new / layout.SHARDS / path.name
        try:
            if target.exists():
                _link_over(path, target)
            elif is_true_shard(path.read_bytes(), known):
                target.parent.mkdir(exist_ok=True)
                os.link(path, target)
        except (OSError, ValueError):  # a courtesy to readers in mid-flight, no more
            continue


def _named_shards(folder: Path) -> Iterator[Path]:
    try:
        index = layout.ShardIndex.decode((folder / layout.SHARD_INDEX).read_bytes())
    except (OSError, ValueError):
        return
    for digest in index.shards.values():
        path = folder / layout.SHARDS / f"{digest}{layout.SHARD_SUFFIX}"
        if path.is_file():
            yield path


def is_true_shard(data: bytes, known: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every entry of a shard stands in repodata as it is; ValueError when it is damaged."""
    shard = layout.decode_shard(data)
    return bool(shard) and all(
        name in known and layout.without_run_exports(known[name]) == entry
        for name, entry in shard.items()
    )

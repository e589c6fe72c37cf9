"""The search for paths of the build machine finds the same however the file is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labchannel.channel.build_paths import BuildPathSearch, build_machine_prefixes

# In two parts, so that this file does not hold what the search looks for.
WORK = "rattler-" + "build"
PREFIXES = ["/home/ann", "/me", "/srv/lab repo", "C:\\Users\\Ann"]
PLACEHOLDER = f"/home/ann/bld/{WORK}_x/host_env" + "_placehold" * 8

pieces = st.lists(
    st.sampled_from(
        [
            b"/home/ann",
            b"/home/anna/",
            b"/me/x",
            b"x/me",
            PLACEHOLDER.encode(),
            PLACEHOLDER.encode() + b"/bin/python",
            WORK.encode() + b"_toy_17/work/src",
            b"/srv/lab repo/target",
            b"C:\\\\Users\\\\Ann\\\\src",
            b"\0",
            b"\n",
            b"text ",
            b"." * 700,
        ]
    ),
    max_size=30,
).map(b"".join)


def search(data: bytes, cuts: list[int]) -> list[str]:
    scan = BuildPathSearch(PREFIXES).start([PLACEHOLDER])
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        scan.feed(data[start:end])
    return sorted(scan.finish())


@given(pieces, st.data())
def test_cuts_make_no_difference(data, draw):
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=20)))
    assert search(data, cuts) == search(data, [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/home/ann", ["/home/ann"]),
        ("=/home/ann/x", ["/home/ann/x"]),
        ("concatenated/home/ann/x", ["/home/ann/x"]),
        ("/home/anna /home/ann-e /home/ann.b", []),
        ("/me", []),
        ("in '/me/x'", ["/me/x"]),
        ("/chroot/me sys/me ~/me", []),
        ("/srv/lab repo/x", ["/srv/lab"]),
        ("C:\\Users\\Ann\\x", ["C"]),
        ("C:/Users/Ann/x", ["C"]),
        (WORK + "_x_1/work/a", [WORK + "_x_1/work/a"]),
        (WORK + "_x_1/other rattler-build works", []),
    ],
)
def test_what_counts(text, found):
    hits = search(text.encode(), [])
    assert len(hits) == len(found)
    assert all(hit.startswith(start) for hit, start in zip(hits, found, strict=True))


def test_this_machines_own_paths(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("CARGO_HOME", "/opt/cargo")
    monkeypatch.delenv("RUSTUP_HOME", raising=False)
    monkeypatch.setenv("LABCHANNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert {"/home/ann", "/opt/cargo", "/home/ann/.rustup", str(tmp_path / "cache")} <= set(
        build_machine_prefixes()
    )
    (tmp_path / "pixi.toml").write_text("")
    (tmp_path / "recipes").mkdir()
    assert str(tmp_path) in build_machine_prefixes()
    # A container may have no home: its `/` would be found everywhere.
    monkeypatch.setenv("HOME", "/")
    assert "/" not in build_machine_prefixes()

"""Search files, text or binary, for paths of the machine that built them."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import platformdirs

from labchannel.cache import cache_root
from labchannel.errors import LabchannelError
from labchannel.workspace import find_workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# Where rattler-build works, in any output folder: bld/rattler-build_NAME_TIME/{work,...}.
_WORK_MARK = b"rattler-build_"
_WORK_FOLDER = re.compile(rb"rattler-build_[\w.+-]{1,200}[/\\](?:work|host_env|build_env)")
_WORK_LENGTH = 240
_WORD = re.compile(rb"[\w.-]")
_PATH = re.compile(rb"[\w.~/\\-]")
_SHOWN = re.compile(rb"[^\s\0\"'<>|:;,]{1,80}")


def build_machine_prefixes() -> tuple[str, ...]:
    """List this machine's own absolute paths: what no published file should hold.

    The home folder, the checkout, and the folders of cargo, rustup and the user's caches.
    """
    home = Path.home()
    found = [
        home,
        Path(os.environ.get("CARGO_HOME") or home / ".cargo"),
        Path(os.environ.get("RUSTUP_HOME") or home / ".rustup"),
        platformdirs.user_cache_path(),
        cache_root(),
    ]
    with contextlib.suppress(LabchannelError):  # outside of a checkout there is none to find
        found.append(find_workspace().root)
    return tuple(dict.fromkeys(str(path) for path in found if len(path.parts) > 1))


class BuildPathSearch:
    """The search for some prefixes, for use on many files.

    A prefix counts where a path could begin and end: `/home/ann` is not found in `/home/anna`. One
    of a single component could be a word of any text: it counts where no word or path comes before
    it and a path goes on after it.
    Encodings: UTF-8 and UTF-16; Windows paths with either slash, also doubled, in any case.

    Parameters
    ----------
    prefixes
        Absolute paths.

    Examples
    --------
    >>> scan = BuildPathSearch(["/home/ann"]).start()
    >>> scan.feed(b"see /home/ann/src and /home/anna")
    >>> list(scan.finish())
    ['/home/ann/src']
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        self.fold = sys.platform == "win32"
        self.needles: dict[bytes, bool] = {}
        """What to look for, and whether only where nothing that could be a path comes before."""
        for prefix in prefixes:
            windows = "\\" in prefix or prefix[1:2] == ":"
            pure = PureWindowsPath(prefix) if windows else PurePosixPath(prefix)
            text = prefix.rstrip("/\\")
            if self.fold:
                text = text.lower()
            for spelling in {text, text.replace("\\", "/"), text.replace("\\", "\\\\")}:
                for encoded in (os.fsencode(spelling), spelling.encode("utf-16-le", "replace")):
                    self.needles[encoded] = len(pure.parts) <= 2

    def start(self, placeholders: Iterable[str] = ()) -> Scan:
        """Begin with a file, which may hold these prefix placeholders."""
        return Scan(self.needles, placeholders, fold=self.fold)


class Scan:
    """One file on its way through the search."""

    def __init__(
        self, needles: Mapping[bytes, bool], placeholders: Iterable[str], *, fold: bool
    ) -> None:
        self._needles = needles
        self._fold = fold
        self._masks = sorted({text.encode() for text in placeholders}, key=len, reverse=True)
        # What must be in view to judge a place: the whole path or placeholder, and what follows.
        self._margin = max(map(len, (*needles, *self._masks)), default=0) + _WORK_LENGTH
        self._view = b""
        self._judged = 0
        self._found: dict[str, None] = {}

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file, any number."""
        self._view += chunk
        if len(self._view) - self._judged > 4 * self._margin:
            end = len(self._view) - self._margin
            self._judge(end)
            # Keep enough before the line to see a placeholder that began there.
            start = max(0, end - self._margin)
            self._view = self._view[start:]
            self._judged = end - start

    def finish(self) -> Iterator[str]:
        """Say what was found: each path once, cut at 80 bytes."""
        self._judge(len(self._view))
        yield from self._found

    def _judge(self, end: int) -> None:
        view = self._view
        for mask in self._masks:
            if mask in view:
                view = view.replace(mask, b"\0" * len(mask))
        haystack = view.lower() if self._fold else view
        for needle, alone in self._needles.items():
            for position in _places(haystack, needle, self._judged, end):
                after = haystack[position + len(needle) : position + len(needle) + 1]
                before = haystack[position - 1 : position] if position else b""
                if _WORD.match(after):
                    continue
                if alone and (after not in (b"/", b"\\") or _PATH.match(before)):
                    continue
                self._note(view, position)
        for position in _places(view, _WORK_MARK, self._judged, end):
            if _WORK_FOLDER.match(view, position):
                self._note(view, position)
        self._judged = end

    def _note(self, view: bytes, position: int) -> None:
        shown = _SHOWN.match(view, position)
        text = shown.group() if shown else view[position : position + 80]
        if len(self._found) < 20:
            self._found.setdefault(text.decode("utf-8", "replace"), None)


def _places(haystack: bytes, needle: bytes, start: int, end: int) -> Iterator[int]:
    position = haystack.find(needle, start)
    while 0 <= position < end:
        yield position
        position = haystack.find(needle, position + 1)

"""Swap two folders in one step, where the system can: renameat2(2) with RENAME_EXCHANGE."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2

NOT_HERE = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EBUSY, errno.EPERM}
)
"""What the system answers when it can't exchange these two: an old file system, a mount point."""


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    # Neither Python nor a maintained package offers renameat2; glibc has had it since 2.28.
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ]
    function.restype = ctypes.c_int
    return function


def exchange(first: Path, second: Path) -> None:
    """Give each of two existing folders the other's name: nobody ever sees only one of them.

    Raises
    ------
    OSError
        It did not happen; `NOT_HERE` holds the errno of a system that can't.
    """
    function = _renameat2()
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if function(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(first), None, str(second))


def can_exchange(parent: Path) -> bool:
    """Find out whether folders in `parent` can be exchanged, by doing it.

    Raises
    ------
    OSError
        `parent` can't be written.
    """
    with tempfile.TemporaryDirectory(dir=parent, prefix="exchange-") as folder:
        first, second = Path(folder, "first"), Path(folder, "second")
        first.mkdir()
        second.mkdir()
        try:
            exchange(first, second)
        except OSError as error:
            if error.errno in NOT_HERE:
                return False
            raise
    return True

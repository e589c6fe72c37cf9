"""Ids on a screen or a page: they come from outside, and may hold anything."""

from __future__ import annotations

LONGEST = 48
"""Characters of an id that are shown."""


def printable(text: str) -> str:
    r"""Write what would move the cursor, turn the direction or not be seen as an escape.

    Examples
    --------
    >>> print(printable("\x1b[2Jpunk\u202e7"))
    \x1b[2Jpunk\u202e7
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def short(text: str, longest: int = LONGEST) -> str:
    """Shorten an id so that both its ends are seen, and say how long it is; printable.

    Examples
    --------
    >>> short("0x" + "ab" * 300, longest=20)
    '0xabababababa…bababab (602 characters)'
    """
    cut = label(text, longest)
    return f"{cut} ({len(text):,} characters)" if len(text) > longest else cut


def label(text: str, longest: int) -> str:
    r"""Shorten an id where there is no room for more; printable.

    Examples
    --------
    >>> label("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", longest=16)
    '0x5aAeb605…1BeAed'
    >>> label("\0" * 9, longest=16)
    '\\x00\\x00\\x…00\\x00'
    """
    shown = printable(text[: longest + 1])
    if len(shown) <= longest:
        return shown
    head = longest * 2 // 3
    tail = printable(text[-longest:])[head - longest :]
    return f"{shown[:head]}…{tail}"

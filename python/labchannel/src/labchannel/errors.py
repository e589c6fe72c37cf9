"""The one error that a user of labchannel sees."""

from __future__ import annotations


class LabchannelError(Exception):
    """Expected trouble: what happened, and what the user does about it.

    Parameters
    ----------
    cause
        What went wrong, without a final stop.
    mend
        The one thing that mends it, as a sentence without a final stop.

    Examples
    --------
    >>> str(LabchannelError("no Rust on this machine", "Install it with rustup"))
    'no Rust on this machine. Install it with rustup.'
    """

    def __init__(self, cause: str, mend: str) -> None:
        super().__init__(f"{cause}. {mend}.")
        self.cause = cause
        self.mend = mend

"""labchannel: from Rust + Python sources to a tested conda channel, and from it to a lab.

The tool stands on rattler-build's and rattler's own libraries: they render, build, solve, install
and index. What is written here is what nobody offers: the toolchain channel for places where
conda-forge does not answer, the build order by content, the atomic publication, the verification.
"""

from __future__ import annotations

from labchannel.errors import LabchannelError
from labchannel.workspace import tool_version

__all__ = ["LabchannelError", "__version__"]

__version__ = tool_version()

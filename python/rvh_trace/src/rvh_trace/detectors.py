"""What is found out about the process that records (OpenTelemetry's resource conventions)."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def detected() -> dict[str, object]:
    """Return the attributes of process, runtime, host and container that could be found out.

    ``OTEL_RESOURCE_ATTRIBUTES`` and the arguments of ``init_tracing`` count more. The command's
    arguments are left out, because they may hold credentials.
    """
    found: dict[str, object] = {
        "process.pid": os.getpid(),
        "process.executable.name": Path(sys.executable or "python").name,
        "process.runtime.name": sys.implementation.name,
        "process.runtime.version": ".".join(map(str, sys.implementation.version[:3])),
    }
    host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    if host:
        found["host.name"] = host
    container = _container_id()
    if container:
        found["container.id"] = container
    return found


def _container_id() -> str | None:
    """Return the 64 hexadecimal digits that name the container, where cgroup version 1 tells."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name = line.rsplit("/", 1)[-1].removesuffix(".scope").rsplit("-", 1)[-1]
        if len(name) == 64 and all(c in "0123456789abcdef" for c in name):
            return name
    return None

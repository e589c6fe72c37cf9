"""What is found out about the process that records (OpenTelemetry's resource conventions)."""

from __future__ import annotations

import itertools
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


def _container_id(process: Path = Path("/proc/self")) -> str | None:
    """Return the 64 hexadecimal digits that name the container, where the system tells.

    Cgroups of version 1 are named after it. Those of version 2 are not seen from inside; but Docker
    and Podman mount ``/etc/hostname`` from a folder of its name.
    """
    for line in _lines(process / "cgroup"):
        name = line.rsplit("/", 1)[-1].removesuffix(".scope").rsplit("-", 1)[-1]
        if _is_id(name):
            return name
    for line in _lines(process / "mountinfo"):
        # proc_pid_mountinfo(5): the fourth field is what is mounted, the fifth where.
        fields = line.split()
        if len(fields) > 4 and fields[4] == "/etc/hostname":
            folders = fields[3].split("/")
            for kind, name in itertools.pairwise(folders):
                if kind in ("containers", "overlay-containers") and _is_id(name):
                    return name
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def _is_id(name: str) -> bool:
    return len(name) == 64 and all(c in "0123456789abcdef" for c in name)

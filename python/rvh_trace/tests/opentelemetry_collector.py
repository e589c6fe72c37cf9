"""The OpenTelemetry Collector, built from its Go modules by its own builder, and run.

The build takes minutes when nothing is cached, so the program is kept in the user's cache folder,
under a name that says what it was built from. The tests and the benchmark use the same one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

VERSION = "v0.165.0"
CORE = "go.opentelemetry.io/collector"
PARTS = {
    "providers": [f"{CORE}/confmap/provider/{kind}provider v1.71.0" for kind in ("env", "file")],
    "receivers": [f"{CORE}/receiver/otlpreceiver {VERSION}"],
    "exporters": [
        f"{CORE}/exporter/nopexporter {VERSION}",
        f"{CORE}/exporter/otlphttpexporter {VERSION}",
        "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter "
        + VERSION,
    ],
}
# JSON is YAML.
MANIFEST = json.dumps(
    {"dist": {"name": "collector", "output_path": "source"}}
    | {kind: [{"gomod": module} for module in modules] for kind, modules in PARTS.items()}
)
# The builder would write this file too, and then run `go mod tidy`, which also wants what only the
# tests of its modules need, tens of megabytes more.
GO_MOD = "\n".join(
    ["module collector", "go 1.25"]
    + [f"require {module}" for modules in PARTS.values() for module in modules]
    + [f"require {CORE}/otelcol {VERSION}", ""]
)


class CannotBuild(Exception):
    """Why there is no collector on this machine."""


def cache_folder() -> Path:
    """Where the program is kept between runs."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "rvh_trace"


def build() -> Path:
    """Return the program, which is built unless an earlier run has left it."""
    # What its name says is all that it is made of, so it never has to be built twice.
    digest = hashlib.sha256((MANIFEST + GO_MOD).encode()).hexdigest()[:12]
    suffix = ".exe" if sys.platform == "win32" else ""
    program = cache_folder() / f"collector-{VERSION}-{digest}{suffix}"
    if program.exists():
        return program
    if shutil.which("go") is None:
        raise CannotBuild(
            "the OpenTelemetry Collector is built by Go, and there is no `go` on PATH: install Go"
        )
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent, ignore_cleanup_errors=True) as folder:
        manifest = Path(folder, "builder.yaml")
        manifest.write_text(MANIFEST, encoding="utf-8")
        builder = f"go.opentelemetry.io/collector/cmd/builder@{VERSION}"
        generate = ["--skip-get-modules", "--skip-compilation", f"--config={manifest}"]
        _run(["go", "run", builder, *generate], folder)
        source = Path(folder, "source")
        Path(source, "go.mod").write_text(GO_MOD, encoding="utf-8")
        flags = ["-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
        _run(["go", "build", *flags, "-o", f"collector{suffix}", "."], source)
        # In one step, so that two builds at once do no harm.
        Path(source, f"collector{suffix}").replace(program)
    return program


def _run(command: list[str], folder: str | Path) -> None:
    # Whatever C compiler and flags the environment brings are for other things.
    environment = {k: v for k, v in os.environ.items() if k not in ("GOFLAGS", "GOROOT")}
    environment["CGO_ENABLED"] = "0"
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        last = "\n".join(result.stderr.strip().splitlines()[-5:])
        raise CannotBuild(f"{' '.join(command)} ended with {result.returncode}: {last}")


class OpenTelemetryCollector:
    """A running collector, which does with the spans that it receives what `exporter` says.

    "file" writes them, "nop" forgets them, and "otlp_http" cannot pass them on, so that it says to
    try again. `endpoints` has its URL by protocol. `stop` ends it; only then all has been written.
    """

    def __init__(
        self,
        program: Path,
        folder: str | Path,
        *,
        tls: dict[str, str] | None = None,
        exporter: str = "file",
        ports: dict[str, int] | None = None,
    ) -> None:
        self.file = Path(folder, "received.jsonl")
        ports = ports or {"grpc": 0, "http": 0}
        protocols = {
            name: {"endpoint": f"127.0.0.1:{port}"} | ({"tls": tls} if tls else {})
            for name, port in ports.items()
        }
        # Nothing listens at port 1.
        nowhere = {"endpoint": "http://127.0.0.1:1", "sending_queue": {"enabled": False}}
        settings: dict[str, dict[str, Any]] = {
            "file": {"path": str(self.file)},
            "nop": {},
            "otlp_http": nowhere | {"retry_on_failure": {"enabled": False}},
        }
        config = {
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": {exporter: settings[exporter]},
            "service": {
                "telemetry": {"metrics": {"level": "none"}, "logs": {"encoding": "json"}},
                "pipelines": {
                    "traces": {"receivers": ["otlp"], "exporters": [exporter]},
                },
            },
        }
        path = Path(folder, "config.yaml")
        path.write_text(json.dumps(config), encoding="utf-8")
        group = 0
        if sys.platform == "win32":
            group = subprocess.CREATE_NEW_PROCESS_GROUP
        self.process = subprocess.Popen(
            [program, "--config", path],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            creationflags=group,
        )
        self.endpoints: dict[str, str] = {}
        scheme = "https" if tls else "http"
        host = "localhost" if tls else "127.0.0.1"
        said: list[str] = []
        # It says which ports it was given, and ends, or says that it is ready.
        errors = self.process.stderr
        assert errors is not None
        for line in errors:
            said.append(line)
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                for name in protocols:
                    if entry["msg"] == f"Starting {name.upper()} server":
                        port = entry["endpoint"].rpartition(":")[2]
                        self.endpoints[name] = f"{scheme}://{host}:{port}"
                if entry["msg"].startswith("Everything is ready"):
                    break
        else:
            raise RuntimeError("the collector did not start: " + "".join(said[-5:]))
        # Read on, or it would wait for a reader one day.
        threading.Thread(target=errors.read, daemon=True).start()

    def stop(self) -> list[Any]:
        """End it, and return the OTLP JSON of each batch that it wrote."""
        if self.process.poll() is None:
            end = signal.SIGTERM
            if sys.platform == "win32":
                end = signal.CTRL_BREAK_EVENT
            self.process.send_signal(end)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        if not self.file.exists():
            return []
        lines = self.file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

"""Against rotel, a collector that pip installs: what it passes on is what was recorded."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import rvh_trace
from rvh_trace import span

VERSION = "0.0.1a15"
PYTHON = "libpython3.12.so.1.0"


@pytest.fixture(scope="session")
def program():
    """Return rotel's program, and the folder with the Python library that it links."""
    if not sys.platform.startswith("linux"):
        pytest.skip("rotel is for Linux and macOS")
    libraries = Path(sys.base_prefix, "lib")
    if not (libraries / PYTHON).exists():
        pytest.skip(f"rotel needs {PYTHON}, and this Python has none")
    found = importlib.util.find_spec("rotel")
    if found is not None:
        return Path(found.origin).with_name("rotel-agent"), libraries
    # No environment can ask for it: conda-forge has no such package. A task of the checkout may
    # fetch it; the tests of an installed package may not.
    if "PIXI_PROJECT_ROOT" not in os.environ:
        pytest.skip("rotel is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        from opentelemetry_collector import cache_folder
    folder = cache_folder() / f"rotel-{VERSION}"
    path = folder / "rotel" / "rotel-agent"
    if not path.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        result = subprocess.run(
            [*pip, "--no-deps", "--target", folder, f"rotel=={VERSION}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            pytest.skip(f"rotel cannot be fetched: {result.stderr.strip().splitlines()[-1:]}")
    return path, libraries


@pytest.fixture
def rotel(program, collector, tmp_path):
    """Run rotel, which passes spans on to `collector`; its ports by protocol."""
    path, libraries = program
    taken = {name: socket.create_server(("127.0.0.1", 0)) for name in ("grpc", "http")}
    ports = {name: server.getsockname()[1] for name, server in taken.items()}
    for server in taken.values():
        server.close()
    listen = [f"--otlp-{name}-endpoint=127.0.0.1:{port}" for name, port in ports.items()]
    process = subprocess.Popen(
        [
            *(path, "start", *listen, "--pid-file", tmp_path / "pid"),
            *("--exporter", "otlp", "--otlp-exporter-protocol", "http"),
            *("--otlp-exporter-endpoint", collector.endpoint),
        ],
        env=os.environ | {"LD_LIBRARY_PATH": str(libraries)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def stop():
        process.terminate()
        said, _ = process.communicate(timeout=60)
        return said

    yield ports, stop
    rvh_trace.reset()
    stop()


@pytest.mark.parametrize(("protocol", "name"), [("grpc", "grpc"), ("http", "http/protobuf")])
def test_what_rotel_passes_on_is_what_was_recorded(rotel, collector, protocol, name):
    ports, stop = rotel
    rvh_trace.init_tracing(
        endpoint=f"http://127.0.0.1:{ports[protocol]}", protocol=name, service_name="shop"
    )
    fields = {"items": 2, "price": 1.5, "tags": ["a", "é"]}
    with (
        span("order", **fields) as order,
        pytest.raises(KeyError),
        span("payment", card=True) as payment,
    ):
        raise KeyError("no card")
    # It need not be up yet: what it does not answer is sent again.
    assert rvh_trace.flush(60.0), rvh_trace.stats()
    assert rvh_trace.stats()["exported"] == 2
    # Before it ends it passes on what it has.
    said = stop()
    received = {item["name"]: item for item in collector.spans}
    assert set(received) == {"order", "payment"}, said
    assert received["order"]["attributes"] == fields
    assert received["order"]["span_id"] == order.span_id
    assert received["order"]["trace_id"] == received["payment"]["trace_id"] == order.trace_id
    assert received["payment"]["span_id"] == payment.span_id
    assert received["payment"]["parent_span_id"] == order.span_id
    assert received["payment"]["attributes"] == {"card": True}
    assert received["payment"]["status"] == 2
    ((event, attributes),) = received["payment"]["events"]
    assert (event, attributes["exception.type"]) == ("exception", "KeyError")
    assert collector.resources[0]["service.name"] == "shop"

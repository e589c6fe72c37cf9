import doctest
import importlib
import pkgutil

import pytest

import rvh_trace

MODULES = [info.name for info in pkgutil.walk_packages(rvh_trace.__path__, "rvh_trace.")]


@pytest.mark.parametrize("name", ["rvh_trace", *sorted(m for m in MODULES if "__main__" not in m)])
def test_the_examples_are_true(name):
    if name.startswith("rvh_trace.opentelemetry"):
        pytest.importorskip("opentelemetry.trace", reason="opentelemetry-api is not installed")
    for library, module in [
        ("grpc", "rvh_trace.grpc_interceptors"),
        ("httpx", "rvh_trace.httpx_transport"),
        ("requests", "rvh_trace.requests_adapter"),
    ]:
        if name == module:
            pytest.importorskip(library, reason=f"{library} is not installed")
    assert doctest.testmod(importlib.import_module(name)).failed == 0

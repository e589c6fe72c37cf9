"""The command `rvh_trace` as a person calls it: emit and doctor. (`view` is in test_view.py.)"""

import json
import os
import subprocess
import sys

import pytest

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def run(*arguments, **variables):
    cleared = ("OTEL_", "RVH_", "TRACE")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(cleared)}
    return subprocess.run(
        [sys.executable, "-m", "rvh_trace", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment | variables,
    )


def test_emit_says_all_that_it_was_told(collector):
    result = run(
        "emit",
        "--name=deploy",
        "--level=debug",
        "--attribute=version=1=2",
        "--attribute=paid=yes",
        "--service-name=shop",
        "--resource=team=a",
        f"--endpoint={collector.endpoint}",
        "--protocol=http/protobuf",
        "--header=x-team=b",
        "--timeout=20",
        "--json",
        # What an option says counts more.
        OTEL_SERVICE_NAME="other",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        RVH_TRACE_LEVEL="error",
        TRACEPARENT=TRACEPARENT,
    )
    assert (result.returncode, result.stderr) == (0, "")
    (sent,) = collector.spans
    outcome = json.loads(result.stdout)
    assert outcome == {"delivered": True, "trace_id": sent["trace_id"], "error": None}
    assert (sent["name"], sent["attributes"]) == ("deploy", {"version": "1=2", "paid": "yes"})
    assert (sent["trace_id"], sent["parent_span_id"]) == tuple(TRACEPARENT.split("-")[1:3])
    (resource,) = collector.resources
    assert (resource["service.name"], resource["team"]) == ("shop", "a")
    assert collector.requests[0][1]["x-team"] == "b"


def test_emit_into_a_file_and_on_the_console(tmp_path):
    path = tmp_path / "spans.jsonl"
    assert run("emit", "--file", path).returncode == 0
    assert json.loads(path.read_text(encoding="utf-8"))["resourceSpans"]
    shown = run("emit", "--exporter=console", "--level=warn", "--name=hello")
    assert " warn  hello " in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("delivered: trace ")


@pytest.mark.parametrize(
    ("variables", "cause"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, "OTEL_SDK_DISABLED"),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, "not sampled"),
        ({"TRACEPARENT": TRACEPARENT[:-1] + "0"}, "not sampled"),
    ],
)
def test_a_span_that_is_not_sent_is_told_with_its_cause(variables, cause):
    result = run("emit", "--exporter=none", **variables)
    assert result.returncode == 1
    assert result.stdout == ""
    assert cause in result.stderr
    result = run("emit", "--exporter=none", "--json", **variables)
    assert (result.returncode, result.stderr) == (1, "")
    assert cause in json.loads(result.stdout)["error"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["emit", "--level", "off"], "--level"),
        (["emit", "--attribute", "x"], "KEY=VALUE"),
        (["emit", "--timeout", "0"], "timeout"),
        (["emit", "--exporter", "none", "--file", "f"], "file"),
        (["emit", "--header", "authorization=hunter2\n"], "OTEL_EXPORTER_OTLP_HEADERS"),
        (["doctor", "--endpoint", "collector"], "http://localhost:4318"),
        (["doctor", "--exporter", "none"], "--exporter"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, said):
    result = run(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr


def test_doctor_asks_the_collector_of_the_variables(collector):
    # Also where they name another exporter.
    found = {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=b",
    }
    result = run("doctor", **found)
    assert result.returncode == 0, result.stderr
    assert [item["name"] for item in collector.spans] == ["rvh_trace doctor"]
    assert collector.requests[0][1]["x-team"] == "b"


@pytest.mark.parametrize("command", ["emit", "doctor"])
def test_a_span_that_the_collector_refuses_is_told(collector, command):
    # ExportTraceServiceResponse(partial_success=(rejected_spans=1, error_message="no")), twice:
    # also by --json.
    answer = b"\x0a\x06\x08\x01\x12\x02no"
    collector.answers = [(200, {"content-type": "application/x-protobuf"}, answer)] * 2
    arguments = [command, f"--endpoint={collector.endpoint}", "--protocol=http/protobuf"]
    result = run(*arguments)
    assert result.returncode == 1
    assert "rejected 1 of 1 spans: no;" in result.stderr
    result = run(*arguments, "--json")
    assert "rejected 1 of 1 spans: no;" in json.loads(result.stdout)["error"]


def test_doctor_says_what_is_wrong_at_once(collector):
    collector.answers = [(503, {}, b"")] * 50
    result = run("doctor", "--endpoint", collector.endpoint)
    assert result.returncode == 1
    assert "HTTP 503" in result.stderr

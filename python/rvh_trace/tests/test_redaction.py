import pytest

import rvh_trace
from rvh_trace import span


def test_secrets_never_leave_the_process(memory):
    with span("s", password="hunter2", user="me") as opened:
        opened.record("http.request.header.authorization", "Bearer hunter2")
        opened.add_event("login", {"api_key": "hunter2"})
    finished = memory()["s"]
    assert finished.attributes == {
        "user": "me",
        "password": "[redacted]",
        "http.request.header.authorization": "[redacted]",
    }
    assert finished.events[0].attributes == {"api_key": "[redacted]"}


def test_secrets_in_urls_are_known_by_their_parameters(memory):
    url = "https://h/a?user=me&api_key=hunter2"
    with span("s", **{"url.full": url}):
        assert rvh_trace.live_spans()[0].attributes["url.full"].endswith("api_key=[redacted]")
    assert memory()["s"].attributes == {"url.full": "https://h/a?user=me&api_key=[redacted]"}


def test_patterns_of_ones_own():
    rvh_trace.init_tracing(
        exporter="memory",
        redact_defaults=False,
        redact_keys=["^iban$"],
        redact_values=[r"\d{16}"],
    )
    with span("s", iban="DE1", note="card 1234567812345678", password="p"):
        pass
    assert rvh_trace.finished_spans()[0].attributes == {
        "iban": "[redacted]",
        "note": "card [redacted]",
        "password": "p",
    }


def test_a_bad_pattern_is_a_clear_error():
    with pytest.raises(ValueError, match="redaction"):
        rvh_trace.init_tracing(exporter="memory", redact_keys=["("])

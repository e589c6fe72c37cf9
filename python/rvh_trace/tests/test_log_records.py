import logging

import pytest

import rvh_trace
from rvh_trace import span


@pytest.fixture
def logger():
    logger = logging.getLogger("test_log_records")
    logger.setLevel(logging.INFO)
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logging.getLogger("rvh_trace").setLevel(logging.NOTSET)


def test_records_carry_the_identifiers(memory, logger, caplog):
    logger.info("outside")
    with span("s") as opened:
        logger.info("inside")
    outside, inside = caplog.records
    assert (outside.trace_id, outside.span_id) == ("", "")
    assert (inside.trace_id, inside.span_id) == (opened.trace_id, opened.span_id)


def test_the_start_of_a_span_is_logged_when_the_logger_is_enabled(memory, caplog):
    with span("quiet"):
        pass
    with caplog.at_level(logging.INFO, logger="rvh_trace"), span("loud") as opened:
        pass
    with span("quiet again"):
        pass
    assert [record.getMessage() for record in caplog.records] == ["loud"]
    assert caplog.records[0].span_id == opened.span_id
    assert caplog.records[0].levelno == logging.INFO


def test_a_handler_that_opens_spans_does_not_recurse(memory, caplog):
    class Nosy(logging.Handler):
        def emit(self, record):
            with span("in handler"):
                pass

    target = logging.getLogger("rvh_trace")
    handler = Nosy()
    target.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, logger="rvh_trace"), span("outer"):
            pass
    finally:
        target.removeHandler(handler)
    assert memory()["in handler"].parent_span_id == memory()["outer"].span_id


def test_records_become_span_events(memory, logger):
    logger.addHandler(rvh_trace.SpanEventHandler())
    with span("s"):
        logger.info("low stock: %d", 3, extra={"shop": "north", "items": object()})
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            logger.exception("failed")
    events = memory()["s"].events
    assert [event.name for event in events] == ["low stock: 3", "failed", "exception"]
    logged = dict(events[0].attributes)
    assert logged.pop("code.line.number") > 0
    assert logged.pop("code.file.path") == __file__
    assert logged.pop("items").startswith("<object object")
    assert logged == {"log.severity": "INFO", "log.logger": logger.name, "shop": "north"}
    assert events[2].attributes["exception.type"] == "ZeroDivisionError"


@pytest.mark.parametrize("names", [["trace_id"], ["span_id"], ["trace_id", "span_id", "shop"]])
def test_an_application_may_have_extra_of_these_names(memory, logger, caplog, names):
    extra = {name: f"own {name}" for name in names}
    with span("s") as opened:
        logger.info("x", extra=extra)
        logger.info("y", extra={})
    first, second = caplog.records
    assert {name: getattr(first, name) for name in names} == extra
    if "span_id" not in names:
        assert first.span_id == opened.span_id
    assert (second.trace_id, second.span_id) == (opened.trace_id, opened.span_id)
    assert sorted(extra) == sorted(names)
    # What logging itself forbids stays forbidden.
    with pytest.raises(KeyError, match="lineno"):
        logger.info("z", extra={"trace_id": "own", "lineno": 1})

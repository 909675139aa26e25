"""Log lines and the traces they belong to."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.telemetry.logs import configure_logging
from antiphon.runtime.telemetry.tracer import LightTracer
from antiphon.schemas.telemetry import LogRecord


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_names_its_trace_run_and_task(tracer: LightTracer) -> None:
    """Inside a span every event carries its ids and what is bound; outside only what is bound."""
    out, fed = io.StringIO(), list[LogRecord]()
    configure_logging("info", clock=SystemClock(), feed=fed.append, stream=out)
    log = structlog.get_logger()
    structlog.contextvars.bind_contextvars(run="r1", task="t1")
    with tracer.start_as_current_span("work") as span:
        log.info("inside", n=1)
    log.warning("outside")
    context = span.get_span_context()
    inside, outside = lines(out)
    assert inside["trace_id"] == format(context.trace_id, "032x") and inside["span_id"] == format(
        context.span_id, "016x"
    )
    assert (inside["event"], inside["level"], inside["run"], inside["task"], inside["n"]) == (
        "inside",
        "info",
        "r1",
        "t1",
        1,
    )
    assert "trace_id" not in outside and outside["timestamp"].endswith("Z")
    first, second = fed
    assert first.trace_id == context.trace_id.to_bytes(16, "big") and first.fields == {
        "run": "r1",
        "task": "t1",
        "n": 1,
    }
    assert first.unix_ns > 10**18 and (second.trace_id, second.level) == (None, "warning")


def test_the_level_is_a_floor() -> None:
    """Below the level nothing is written; debug lines are written if asked for but never fed."""
    out, fed = io.StringIO(), list[LogRecord]()
    configure_logging("warning", clock=SystemClock(), feed=fed.append, stream=out)
    structlog.get_logger().info("quiet")
    assert out.getvalue() == "" and fed == []
    configure_logging("debug", clock=SystemClock(), feed=fed.append, stream=out)
    structlog.get_logger().debug("loud")
    assert lines(out)[0]["event"] == "loud" and fed == []


def test_an_exception_is_part_of_the_event() -> None:
    """The stack is in the line and in the feed."""
    out, fed = io.StringIO(), list[LogRecord]()
    configure_logging("info", clock=SystemClock(), feed=fed.append, stream=out)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("failed", x=1)
    assert "ValueError: broken" in lines(out)[0]["exception"] and fed[0].level == "error"
    assert "ValueError: broken" in fed[0].fields["exception"] and fed[0].fields["x"] == 1


def test_a_terminal_gets_lines_for_people() -> None:
    """On a terminal the output is not JSON; the feed gets the same as ever."""
    out, fed = Terminal(), list[LogRecord]()
    configure_logging("info", clock=SystemClock(), feed=fed.append, stream=out)
    structlog.get_logger().info("hello", n=1)
    assert "hello" in out.getvalue() and not out.getvalue().startswith("{")
    assert fed[0].event == "hello" and fed[0].fields == {"n": 1}


def test_libraries_come_out_alike(tracer: LightTracer) -> None:
    """What other packages log is formatted, correlated and fed like our own, once, from warning up."""
    out, fed = io.StringIO(), list[LogRecord]()
    for _ in range(2):
        configure_logging("info", clock=SystemClock(), feed=fed.append, stream=out)
    library = logging.getLogger("some.library")
    with tracer.start_as_current_span("work"):
        library.info("chatter")
        library.warning("lost %s", "it")
        try:
            raise ValueError("broken")
        except ValueError:
            library.exception("failed")
    warning, failed = lines(out)
    assert (warning["event"], warning["logger"], warning["level"]) == ("lost it", "some.library", "warning")
    assert "trace_id" in warning and "ValueError: broken" in failed["exception"]
    assert [record.event for record in fed] == ["lost it", "failed"]
    assert fed[0].fields == {"logger": "some.library"} and "ValueError" in fed[1].fields["exception"]


def test_a_handler_s_line_says_whose_work_it_is(tracer: LightTracer) -> None:
    """Agent, run and task come from the current span, without anybody binding them."""
    stream = io.StringIO()
    configure_logging("info", clock=SystemClock(), stream=stream)
    facts = {"antiphon.agent": "writer", "antiphon.run": "r1", "antiphon.task": "t1"}
    span = tracer.begin("process", 4, None, dict(facts))
    token = span.attach()
    structlog.get_logger().info("said")
    span.detach(token)
    span.finish()
    (line,) = lines(stream)
    assert (line["agent"], line["run"], line["task"]) == ("writer", "r1", "t1")

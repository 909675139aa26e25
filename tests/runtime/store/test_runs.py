import random
from collections.abc import Sequence
from typing import Any

import pytest

from antiphon.runtime.store.facts import facts_of
from antiphon.runtime.store.runs import Run, RunStatus, new_run
from antiphon.schemas.telemetry import SpanRecord


def _fold(spans: Sequence[SpanRecord]) -> Run:
    run = new_run("r1", spans[0], facts_of(spans[0]))
    for span in spans:
        run.count(span, facts_of(span), finishing=False)
    return run


def _submit(make: Any, number: int, operation: str = "submit") -> Any:
    attributes = {
        "antiphon.operation": operation,
        "messaging.destination.name": "antiphon.default.task.writer.write",
    }
    return make.step(number, kind=3, at_s=-1, took_s=0.1, name="publish …", attributes=attributes)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_arrival_does_not_matter(make: Any, seed: int) -> None:
    """Totals, title and status are the same however the spans of a run come in."""
    spans = [
        _submit(make, 1),
        make.process(2, parent=1),
        make.chat(3, parent=2),
        make.process(4, parent=2, agent="critic", at_s=0.5, status=2),
    ]
    random.Random(seed).shuffle(spans)
    run = _fold(spans)
    assert (run.entry.title, run.entry.status) == ("writer.write", RunStatus.OK)
    assert (run.spans, run.errors, run.model_calls) == (4, 1, 1)
    assert (run.input_tokens, run.cached_tokens, run.output_tokens) == (100, 40, 7)
    assert run.duration_ns == 2.5e9


def test_the_last_attempt_decides(make: Any) -> None:
    """A first attempt that failed and a second that returned make a run that is ok, with an error in it."""
    failed = make.process(2, status=2)
    again = make.process(3, attempt=2, at_s=5)
    assert _fold([failed]).entry.status is RunStatus.ERROR
    for order in ([failed, again], [again, failed]):
        run = _fold(order)
        assert (run.entry.status, run.errors) == (RunStatus.OK, 1)


def test_stored_work_that_nobody_took_is_queued(make: Any) -> None:
    """A submit without a handler is queued, and named after what was asked for."""
    run = _fold([_submit(make, 1)])
    assert (run.entry.status, run.entry.title) == (RunStatus.QUEUED, "submit writer.write")


def test_a_start_record_is_running_and_unfinished(make: Any) -> None:
    """A handler that has begun shows as running; when its end comes the run is ok and nothing is unfinished."""
    begun = make.process(2, took_s=0)
    run = _fold([begun])
    assert (run.entry.status, run.unfinished) == (RunStatus.RUNNING, 1)
    ended = make.process(2)
    run.count(ended, facts_of(ended), finishing=True)
    assert (run.entry.status, run.unfinished, run.spans) == (RunStatus.OK, 0, 1)


def test_a_cancelled_task_is_not_an_error(make: Any) -> None:
    """The recorded outcome of the task wins over the span's status."""
    run = _fold([make.process(2, status=2, attributes={"antiphon.state": "cancelled"})])
    assert run.entry.status is RunStatus.CANCELLED


def test_only_a_run_wholly_of_the_observability_system_is_hidden(make: Any) -> None:
    """One span of an ordinary agent makes it an ordinary run."""
    own = make.process(2, agent="logging", attributes={"antiphon.obs": True})
    assert _fold([own]).obs
    assert not _fold([own, make.process(3)]).obs

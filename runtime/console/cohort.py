"""Which recorded runs a question is about, read from the store."""

from collections import Counter
from collections.abc import Iterator, Sequence

from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.store.query import Cursor, Reader, RunFilter
from antiphon.runtime.store.runs import Run, RunStatus
from antiphon.runtime.whatif.ensemble import MAX_RUN_SPANS
from antiphon.runtime.whatif.question import Question, Verb
from antiphon.runtime.whatif.recorded import trace_of
from antiphon.runtime.whatif.trace import Trace
from antiphon.schemas.telemetry import SpanRecord

_PAGE = 100
_SAMPLES = 50  # runs of another model that are read to learn how fast it is


def choose(reader: Reader, wanted: RunFilter, *, since_ns: int, limit: int, left_out: Counter[str]) -> list[Run]:
    """The newest runs that have ended, well unless a status is wanted; ``left_out`` counts the others by reason.

    Raises:
        Unanswerable: no run matches.
    """
    chosen: list[Run] = []
    for run in _newest(reader, wanted):
        if run.start_ns < since_ns or len(chosen) == limit:
            break
        ended = run.entry.status not in (RunStatus.QUEUED, RunStatus.RUNNING)
        if not ended:
            left_out["still at work"] += 1
        elif wanted.status is None and run.entry.status is not RunStatus.OK:
            left_out[f"ended as {run.entry.status.value}"] += 1
        elif run.spans > MAX_RUN_SPANS:
            left_out[f"more than {MAX_RUN_SPANS:,} spans"] += 1
        else:
            chosen.append(run)
    if not chosen and not left_out:
        raise Unanswerable("no run matches: `antiphon trace` lists those there are")
    return chosen


def spans_of(reader: Reader, run: str) -> list[SpanRecord]:
    """The run's spans, one more than can be replayed at most; none if it was removed since it was listed."""
    record = reader.run(run, max_spans=MAX_RUN_SPANS + 1, max_logs=0)
    return [] if record is None else list(record.spans)


def samples(reader: Reader, question: Question, chosen: Sequence[str]) -> list[Trace]:
    """Other runs that used the models asked for: they tell how fast those are."""
    found: list[Trace] = []
    seen = set(chosen)
    for change in question.changes:
        if change.verb is not Verb.SWAP:
            continue
        for run in reader.runs(RunFilter(model=change.model, obs=True), limit=_SAMPLES).runs:
            if run.run in seen or run.spans > MAX_RUN_SPANS:
                continue
            seen.add(run.run)
            trace = trace_of(spans_of(reader, run.run))
            found += [trace] if trace is not None else []
    return found


def _newest(reader: Reader, wanted: RunFilter) -> Iterator[Run]:
    after: Cursor | None = None
    while True:
        page = reader.runs(wanted, limit=_PAGE, after=after)
        yield from page.runs
        after = page.next
        if after is None:
            return

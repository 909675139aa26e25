"""Which recorded runs a question is about, read from the store."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Self

from pydantic import Field, ValidationError

from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.durations import seconds
from antiphon.runtime.errors import ConfigurationError, Unanswerable
from antiphon.runtime.store.query import Cursor, Reader, RunFilter
from antiphon.runtime.store.runs import Run, RunStatus
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.ensemble import MAX_RUN_SPANS
from antiphon.runtime.whatif.question import Question, Verb
from antiphon.runtime.whatif.recorded import trace_of
from antiphon.runtime.whatif.trace import Trace
from antiphon.schemas.message import Value
from antiphon.schemas.telemetry import SpanRecord

LIMIT: Final = 200
MOST: Final = 1_000
LOOKED_AT: Final = 100_000  # spans, where only they tell whether a run belongs: some seconds of reading
_PAGE = 100
_SAMPLES = 50  # runs of another model that are read to learn how fast it is

_WORDS: Final = ("workflow", "agent", "model", "status", "finding", "arm", "limit")

Name = Annotated[str, Field(max_length=256)]


class Cohort(Value):
    """The newest ``limit`` runs of which all that is given is true.

    ``workflow`` is the handler by which a run comes in, such as ``planner.plan``; ``finding`` one whose evidence they
    are; ``arm`` what a policy did in them, as spans say it: ``POLICY=treated`` or ``POLICY=control``. Times are of a
    run's begin; ``last_s`` counts back from now.
    """

    workflow: Name | None = None
    agent: Name | None = None
    model: Name | None = None
    status: RunStatus | None = None
    finding: Name | None = None
    arm: Name | None = None
    since_unix_ms: float | None = Field(default=None, ge=0, le=9e12)
    until_unix_ms: float | None = Field(default=None, ge=0, le=9e12)
    last_s: float | None = Field(default=None, gt=0, le=1e9)
    limit: int = Field(default=LIMIT, ge=1, le=MOST)

    @classmethod
    def parse(cls, text: str, now_ns: int) -> Self:
        """From words such as ``workflow=planner.plan last=2h``; ``before=2h``: begun longer ago than that.

        Raises:
            ConfigurationError: another word, or a value that cannot be; says which.
        """
        given: dict[str, object] = {}
        for word in text.split():
            name, _, value = word.partition("=")
            if name == "last":
                given["last_s"] = seconds(name, value)
            elif name == "before":
                given["until_unix_ms"] = now_ns / 1e6 - seconds(name, value) * 1000
            elif name in _WORDS and value:
                given[name] = value
            else:
                raise ConfigurationError(f"{word[:80]!r}: expected {', '.join(_WORDS)}, last or before, with =VALUE")
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ConfigurationError(f"{text[:200]!r}: {problems(error)}") from None

    def reach(self, now_ns: int) -> tuple[int, int]:
        """Unix ns that begins must not be before, and must be before."""
        since_ns = 0 if self.since_unix_ms is None else int(self.since_unix_ms * 1e6)
        if self.last_s is not None:
            since_ns = max(since_ns, now_ns - int(self.last_s * 1e9))
        return since_ns, 2**63 if self.until_unix_ms is None else int(self.until_unix_ms * 1e6)


def choose(reader: Reader, cohort: Cohort, *, now_ns: int, left_out: Counter[str], failed: bool = False) -> list[Run]:
    """The cohort's runs that have ended; ``left_out`` counts others by reason.

    Those that did not end well are among them where ``failed`` says so, or a status is wanted.

    Raises:
        Unanswerable: no run matches.
    """
    chosen: list[Run] = []
    looked_at = 0
    for run in _matching(reader, cohort, now_ns):
        if len(chosen) == cohort.limit or looked_at > LOOKED_AT:
            break
        ended = run.entry.status not in (RunStatus.QUEUED, RunStatus.RUNNING)
        if not ended:
            left_out["still at work"] += 1
        elif not failed and cohort.status is None and run.entry.status is not RunStatus.OK:
            left_out[f"ended as {run.entry.status.value}"] += 1
        elif run.spans > MAX_RUN_SPANS:
            left_out[f"more than {MAX_RUN_SPANS:,} spans"] += 1
        else:
            if cohort.arm is not None:
                looked_at += run.spans
                if not _was_in(cohort.arm, spans_of(reader, run.run)):
                    continue
            chosen.append(run)
    if not chosen and looked_at > LOOKED_AT:
        raise Unanswerable(f"none of the newest runs, {LOOKED_AT:,} spans of them, was in that arm: say when it was")
    if not chosen and not left_out:
        raise Unanswerable("no run matches: `antiphon trace` and the console's Runs list those there are")
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


def _was_in(arm: str, spans: Sequence[SpanRecord]) -> bool:
    return any(arm in (facts.texts(span, attr.POLICY_ARM) or ()) for span in spans)


def _matching(reader: Reader, cohort: Cohort, now_ns: int) -> Iterator[Run]:
    """Newest first, whether they have ended or not."""
    wanted = RunFilter(
        agent=cohort.agent,
        model=cohort.model,
        status=cohort.status,
        finding=cohort.finding,
        text=cohort.workflow,  # narrows the search: titles that contain it
    )
    since_ns, until_ns = cohort.reach(now_ns)
    after: Cursor | None = None if until_ns >= 2**63 else Cursor(until_ns, "")
    while True:
        page = reader.runs(wanted, limit=_PAGE, after=after)
        for run in page.runs:
            if run.start_ns < since_ns:
                return
            if cohort.workflow is None or run.entry.title == cohort.workflow:
                yield run
        after = page.next
        if after is None:
            return

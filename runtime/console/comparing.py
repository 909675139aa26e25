"""Runs side by side: two of them step by step, or two cohorts with intervals; and what a cohort has to ask about."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

from pydantic import Field

from antiphon.runtime.console.cohort import Cohort, choose, spans_of
from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.replay.contrast import Contrast, Sample, contrast, sample_of
from antiphon.runtime.replay.difference import Difference, difference
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.runs import RunStatus
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.ensemble import MAX_SPANS
from antiphon.runtime.whatif.program import capacities
from antiphon.runtime.whatif.recorded import trace_of
from antiphon.schemas.message import Value

DESCRIBED: Final = 30  # the newest runs of a cohort that say what is in it


class CompareQuery(Value):
    """Two runs."""

    left: str = Field(min_length=1, max_length=400)
    right: str = Field(min_length=1, max_length=400)


class DifferenceView(Value):
    """``left`` and ``right``: run, latency_s, cost and critical_s by label; ``rows``: steps in preorder, aligned."""

    left: dict[str, Any]
    right: dict[str, Any]
    rows: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, found: Difference) -> "DifferenceView":
        """As it was found."""
        return cls(**asdict(found))


class Cohorts(Value):
    """Two groups of runs; those that failed belong to them."""

    first: Cohort
    second: Cohort


class MeasuredView(Value):
    """One quantity in both groups, and second minus first with its 90 % interval; ``runs`` that have it in each."""

    name: str
    unit: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    runs: tuple[int, int]


class SpentView(Value):
    """One operation in a mean run: how often, seconds of its own, and seconds on the critical path."""

    count: float
    own_s: float
    critical_s: float


class OperationView(Value):
    """One operation in both groups; ``own`` and ``critical`` compare its seconds."""

    label: str
    first: SpentView
    second: SpentView
    own: MeasuredView
    critical: MeasuredView


class ContrastView(Value):
    """Two cohorts: how many runs, what was left out of each, quantities, operations and how many more there are."""

    runs: tuple[int, int]
    left_out: tuple[dict[str, int], dict[str, int]]
    both: int
    measured: tuple[MeasuredView, ...]
    operations: tuple[OperationView, ...]
    more: int


class CohortQuery(Cohort):
    """Which runs: one, or a cohort."""

    run: str | None = Field(default=None, max_length=400)


class CohortView(Value):
    """What the newest ``runs`` of a cohort have in them: names by kind, and slots by pool where a pool reports them.

    ``declares``: handlers whose code declares that steps of theirs need nothing of one another.
    """

    runs: int
    agents: tuple[str, ...]
    models: tuple[str, ...]
    tools: tuple[str, ...]
    declares: tuple[str, ...]
    slots: dict[str, int]


def laid(reader: Reader, asked: CompareQuery) -> DifferenceView:
    """Two runs. Raises Unanswerable."""
    return DifferenceView.of(difference(spans_of(reader, asked.left), spans_of(reader, asked.right)))


def contrasted(reader: Reader, asked: Cohorts, now_ns: int) -> ContrastView:
    """Two cohorts. Raises Unanswerable: one has no run."""
    found, left_out, names = contrast_of(reader, (asked.first, asked.second), now_ns)
    return ContrastView.model_validate(
        {**asdict(found), "left_out": tuple(map(dict, left_out)), "both": len(names[0] & names[1])}
    )


def contrast_of(
    reader: Reader, cohorts: tuple[Cohort, Cohort], now_ns: int
) -> tuple[Contrast, tuple[Counter[str], Counter[str]], tuple[set[str], set[str]]]:
    """What differs, runs of each that were left out by reason, and the ids of those that were not.

    Raises:
        Unanswerable: one of the cohorts has no run; says which.
    """
    groups: list[list[Sample]] = []
    left_out: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    names: tuple[set[str], set[str]] = (set(), set())
    for place, cohort in enumerate(cohorts):
        groups.append(_samples(reader, cohort, now_ns, left_out[place], names[place]))
        if not groups[place]:
            raise Unanswerable(f"the {('first', 'second')[place]} cohort has no run that ended: choose other runs")
    return contrast(groups[0], groups[1]), left_out, names


def described(reader: Reader, asked: CohortQuery, now_ns: int) -> CohortView:
    """What can be asked about; empty where no run belongs."""
    if asked.run is not None:
        chosen = [asked.run]
    else:
        wanted = asked.model_copy(update={"limit": min(asked.limit, DESCRIBED)})
        try:
            chosen = [each.run for each in choose(reader, wanted, now_ns=now_ns, left_out=Counter())]
        except Unanswerable:
            chosen = []
    traces = [trace for run in chosen if (trace := trace_of(spans_of(reader, run))) is not None]
    steps = [step for trace in traces for step in trace.steps]
    handlers = [step for step in steps if step.operation == facts.PROCESS]
    declared = {(step.span.trace_id, step.parent) for step in steps if attr.GROUP_WIDTH in step.span.attributes}
    reported, _ = capacities(steps)
    slots: dict[str, int] = {}
    for pool, size in reported.items():
        name = pool.partition("@")[0]
        slots[name] = max(size, slots.get(name, 0))
    return CohortView(
        runs=len(traces),
        agents=_sorted(facts.text(step.span, attr.AGENT) for step in handlers),
        models=_sorted(
            facts.text(step.span, attr.GENAI_REQUEST_MODEL) for step in steps if step.operation == facts.MODEL
        ),
        tools=_sorted(facts.text(step.span, attr.GENAI_TOOL_NAME) for step in steps if step.operation == facts.TOOL),
        declares=_sorted(step.label for step in handlers if (step.span.trace_id, step.index) in declared),
        slots=slots,
    )


def _samples(reader: Reader, cohort: Cohort, now_ns: int, left_out: Counter[str], names: set[str]) -> list[Sample]:
    found: list[Sample] = []
    spans = 0
    for run in choose(reader, cohort, now_ns=now_ns, left_out=left_out, failed=True):
        spans += run.spans
        if spans > MAX_SPANS:
            left_out[f"more than {MAX_SPANS:,} spans with the runs before"] += 1
            continue
        trace = trace_of(spans_of(reader, run.run))
        if trace is None:
            left_out["no span is the first"] += 1
            continue
        names.add(run.run)
        found.append(sample_of(trace, failed=run.entry.status is not RunStatus.OK, scores=_scores(reader, run.run)))
    return found


def _scores(reader: Reader, run: str) -> dict[str, float]:
    """The mean of each name's, over the run's tasks."""
    said: dict[str, list[float]] = {}
    for score in reader.scores(run):
        said.setdefault(score.name, []).append(score.value)
    return {name: sum(values) / len(values) for name, values in said.items()}


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if name}))

"""What a detector has gathered on one (cohort, subject), and when that is enough to say something."""

import random
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from antiphon.agents.logging_agent.cohorts import KEEP_RUNS, Cohort
from antiphon.agents.logging_agent.detectors.base import Saved
from antiphon.agents.logging_agent.window import RUNS
from antiphon.runtime.policies.kinds import possible
from antiphon.runtime.whatif.estimate import estimate, estimate_p95, mean
from antiphon.schemas.finding import Finding, FindingState, Grade, QualityRisk, Remedy, Saving
from antiphon.schemas.identity import derived_id

MIN_LATENCY_SHARE = 0.05
MIN_LATENCY_S = 0.050
MIN_COST_SHARE = 0.01
REQUIRED_RUNS = 5

JOIN_AGAIN = 1.1  # times the support of the last joint replay, which takes some 50 ms

AGAIN = 1.25  # times the support that was told last: told again, whatever it says
CHANGE = 0.05  # of a saving; less is not told again, so no new interval is drawn for it

KEEP_TRACES = 5  # as evidence, each with up to KEEP_SPANS spans
KEEP_SPANS = 8
KEEP_CASES = 256  # per detector; the one seen longest ago is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What the remedy would have saved in one run: (cautious, hopeful) seconds; None where nothing can be said."""

    latency_s: tuple[float, float] | None = None
    tokens: float | None = None
    model_s: float | None = None
    usd: float | None = None


Points = tuple[float | None, ...]


def points(saving: Saving | None) -> Points:
    """The points of a saving: mean latency, tokens, model time, money."""
    if saving is None:
        return (None,) * 4
    parts = (saving.latency_s, saving.tokens, saving.model_s, saving.usd)
    return tuple(None if part is None else part.point for part in parts)


def points_differ(before: Points, now: Points) -> bool:
    """Whether a point came, went or moved by more than CHANGE."""
    return any(
        (old is None) != (new is None) or (old is not None and new is not None and abs(new - old) > CHANGE * abs(old))
        for old, new in zip(before, now, strict=True)
    )


@dataclass(slots=True)
class Case:
    """Evidence for one finding. ``support`` counts runs, or whatever unit the detector requires."""

    cohort: Cohort
    subject: str
    support: int = 0
    runs: int = 0
    since: int = 0  # runs of the cohort that do not count: before, nothing could be seen
    of_runs: int | None = None  # where the detector cannot judge every run of this cohort: those that it judged
    judged: "OrderedDict[str, bool]" = field(default_factory=OrderedDict)  # of windows: run -> whether it shows it
    gains: "OrderedDict[str, Gain]" = field(default_factory=OrderedDict)
    evidence: "OrderedDict[str, tuple[str, ...]]" = field(default_factory=OrderedDict)  # trace -> spans
    first_ns: int = 0
    last_ns: int = 0
    is_told: bool = False  # as a finding with enough support
    drawn: tuple[int, Saving] | None = None  # the last saving, and the support it was drawn at
    joined: tuple[int, dict[str, tuple[float, float]]] = (0, {})  # savings in joint replay, and the support then

    def witness(self, trace_id: str, spans: Iterable[str], at_ns: int) -> None:
        """Spans of a trace that show the pattern."""
        self.evidence[trace_id] = tuple(spans)[:KEEP_SPANS]
        self.evidence.move_to_end(trace_id)
        while len(self.evidence) > KEEP_TRACES:
            self.evidence.popitem(last=False)
        self.first_ns = min(self.first_ns or at_ns, at_ns)
        self.last_ns = max(self.last_ns, at_ns)

    def gain(self, run: str, gain: Gain) -> bool:
        """Note what a run would have saved; whether the run is new to the case."""
        new = run not in self.gains
        self.gains[run] = gain
        self.runs += new
        while len(self.gains) > KEEP_RUNS:
            self.gains.popitem(last=False)
        return new

    def forget(self) -> None:
        """What runs were found to save no longer holds, as where the remedy is another one now."""
        self.gains.clear()
        self.joined = 0, {}

    def renew(self, gains: Mapping[str, Gain], judged: Collection[str], shown: Collection[str] | None = None) -> None:
        """What a window says of the runs that were ``judged``, in place of what was said of them before.

        Of these, ``shown`` show the pattern: by default those with gains. What earlier windows said of other runs
        stays, of as many as a window has of a workflow that is alone: one of many has few in each.
        """
        for run in judged:
            self.gains.pop(run, None)
            self.judged.pop(run, None)
            self.judged[run] = run in (gains if shown is None else shown)
        self.gains.update(gains)
        while len(self.judged) > max(RUNS, len(judged)):
            run, _ = self.judged.popitem(last=False)
            self.gains.pop(run, None)
        self.support = sum(self.judged.values())
        self.runs, self.of_runs = len(self.gains), len(self.judged)

    @property
    def prevalence(self) -> float:
        """Share of the cohort's runs that show it; of those since the first that did, where it had to be learned."""
        since = self.since if self.since < self.cohort.runs else 0  # the cohort was forgotten, and seen anew
        return min(self.runs / max(self.cohort.runs - since if self.of_runs is None else self.of_runs, 1), 1.0)

    def finding(
        self,
        pattern: str,
        *,
        title: str,
        grade: Grade,
        remedy: Remedy,
        rng: random.Random,
        required: int = REQUIRED_RUNS,
        unit: str = "runs",
        assumptions: tuple[str, ...] = (),
        quality_risk: QualityRisk = QualityRisk.NONE,
    ) -> Finding | None:
        """The case as a finding: a candidate without a saving below ``required``; None where the effect is small yet.

        A proposal that no policy can carry out, such as a cache for an agent's answers, is left out: advice stays.
        The effect counts over the whole cohort, runs without the pattern included: at least 5 % of its latency and
        50 ms, or 1 % of its tokens, model time or money. What was told once is told again however small it has become:
        a saving of which only large estimates are told is told too large.
        """
        saving = self._saving(rng)
        if not self.is_told and not self._matters(saving):
            return None
        supported = self.support >= required
        self.is_told |= supported
        if remedy.proposal is not None and not possible(remedy.proposal):
            remedy = Remedy(text=remedy.text)
        return Finding(
            id=derived_id("finding", pattern, self.cohort.key, self.subject),
            pattern=pattern,
            title=title,
            cohort=self.cohort.label,
            subject=self.subject,
            state=FindingState.OPEN if supported else FindingState.CANDIDATE,
            grade=grade,
            support=self.support,
            required=required,
            support_unit=unit,
            evidence_traces=tuple(self.evidence),
            evidence_spans=tuple(span for spans in self.evidence.values() for span in spans),
            prevalence=self.prevalence,
            saving=saving if supported else None,
            assumptions=assumptions,
            remedy=remedy,
            quality_risk=quality_risk,
            first_seen_unix_ms=self.first_ns // 1_000_000,
            last_seen_unix_ms=self.last_ns // 1_000_000,
        )

    def _saving(self, rng: random.Random) -> Saving:
        """The gains as a saving; the last one while its points still hold and the support is much the same.

        Means are over the runs that show the pattern; their intervals, times ``prevalence``, are of what all runs of
        the cohort will save. The 95th percentile is the cohort's: of what its newest runs took, less that of what they
        would have taken.
        """
        gains = self.gains.items()
        latency = self._latencies()
        tokens = {run: (g.tokens, g.tokens) for run, g in gains if g.tokens is not None}
        model = {run: (g.model_s, g.model_s) for run, g in gains if g.model_s is not None}
        usd = {run: (g.usd, g.usd) for run, g in gains if g.usd is not None}
        if self.drawn is not None:
            support, saving = self.drawn
            means = tuple(mean(list(found.values())) if found else None for found in (latency, tokens, model, usd))
            if self.support < AGAIN * support and not points_differ(points(saving), means):
                return saving
        recorded = self._recorded()
        saving = Saving(
            latency_s=estimate(self._among_all(latency, rng), rng) if latency else None,
            latency_p95_s=estimate_p95(recorded, rng) if latency and recorded else None,
            tokens=estimate(self._among_all(tokens, rng), rng) if tokens else None,
            model_s=estimate(self._among_all(model, rng), rng) if model else None,
            usd=estimate(self._among_all(usd, rng), rng) if usd else None,
        )
        self.drawn = self.support, saving
        return saving

    def _recorded(self) -> list[tuple[float, float, float]]:
        """What the cohort's newest runs took and would save; nothing, where they do not show the pattern.

        Of a detector that looks at a window only its runs: of the others it does not say what they would save.
        """
        latencies = self._latencies()
        unsaid = self.gains.keys() - latencies.keys()
        took_s = self.cohort.recent_s
        return [(took_s[run], *latencies.get(run, (0.0, 0.0))) for run in self._newest() if run not in unsaid]

    def _newest(self) -> list[str]:
        """The cohort's newest runs, of those that the detector judged."""
        newest = list(self.cohort.recent_s)
        return [run for run in newest if run in self.judged] if self.judged else newest[-(self.of_runs or KEEP_RUNS) :]

    def _among_all(
        self, saved: Mapping[str, tuple[float, float]], rng: random.Random
    ) -> list[tuple[float, float] | None]:
        """What runs save in their places among those that do not show the pattern, in the share that do.

        In the order of the cohort, where its newest runs are all that is known; else anywhere among the others.
        """
        newest = self._newest()
        others = max(round(len(saved) / self.prevalence) - len(saved), 0) if self.prevalence else 0
        if saved.keys() <= set(newest) and len(saved) + others == len(newest):
            return [saved.get(run) for run in newest]
        rows: list[tuple[float, float] | None] = [None] * (len(saved) + others)
        for place, pair in zip(sorted(rng.sample(range(len(rows)), len(saved))), saved.values(), strict=True):
            rows[place] = pair
        return rows

    def _latencies(self) -> Mapping[str, tuple[float, float]]:
        """What each run would save: in joint replay, where at least REQUIRED_RUNS of the window are of this case.

        One by one otherwise, where a slot that a run no longer takes serves nobody else.
        """
        if self.support >= max(self.joined[0] * JOIN_AGAIN, REQUIRED_RUNS):
            self.joined = self.support, self._join()
        return self.joined[1] or {run: g.latency_s for run, g in self.gains.items() if g.latency_s is not None}

    def _join(self) -> dict[str, tuple[float, float]]:
        saving = {g.latency_s.trace: g.latency_s for g in self.gains.values() if isinstance(g.latency_s, Saved)}
        joint = None if self.cohort.window is None else self.cohort.window.joint
        if joint is None:
            return {}
        own = [placed for placed in joint.placed if placed.observed.trace.id in saving]
        if len(own) < REQUIRED_RUNS:
            return {}
        programs = ((trace, alone.edit.programs) for trace, alone in saving.items())
        saved = joint.saved_s(own, *joint.edited({trace: both for trace, both in programs if both is not None}))
        if saved is None:
            return {}
        return {
            trace.run: (min(0.0, low), high) if saving[trace.id].is_doubted else (low, high)
            for trace, (low, high) in zip((placed.observed.trace for placed in own), saved, strict=True)
        }

    def _matters(self, saving: Saving) -> bool:
        cohort, share = self.cohort, self.prevalence
        runs = max(cohort.runs, 1)
        if saving.latency_s is not None:
            least_s = max(MIN_LATENCY_SHARE * cohort.latency_s / runs, MIN_LATENCY_S)
            if saving.latency_s.point * share >= least_s:
                return True
        return any(
            saved is not None and saved.point > 0 and saved.point * share >= MIN_COST_SHARE * spent / runs
            for saved, spent in (
                (saving.tokens, cohort.tokens),
                (saving.model_s, cohort.model_s),
                (saving.usd, cohort.usd),
            )
        )


class Cases:
    """A detector's cases, bounded; knows which changed since they were last looked at."""

    def __init__(self, limit: int = KEEP_CASES) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[str, str], Case] = OrderedDict()
        self._changed: dict[tuple[str, str], None] = {}

    def touch(self, cohort: Cohort, subject: str, *, learning: bool = False) -> Case:
        """The case of a cohort and subject, marked as changed.

        ``learning``: the detector must learn before it can see; runs before the first that showed it do not count.
        """
        key = (cohort.key, subject)
        case = self._known.get(key)
        if case is None:
            case = self._known[key] = Case(cohort, subject, since=max(cohort.runs - 1, 0) if learning else 0)
            if len(self._known) > self._limit:
                old, _ = self._known.popitem(last=False)
                self._changed.pop(old, None)
        case.cohort = cohort  # a cohort that was forgotten and seen again counts from its new start
        self._known.move_to_end(key)
        self._changed[key] = None
        return case

    def told(self, cohort: Cohort, subject: str) -> Case | None:
        """The case, if it was told as a finding: it is estimated again even where its guards no longer hold.

        Guards that chance helps over a threshold would let only those estimates out that chance made large.
        """
        case = self._known.get((cohort.key, subject))
        return case if case is not None and case.is_told else None

    def clear(self, cohort: Cohort, subject: str, judged: Collection[str]) -> None:
        """Runs of a window do not show it: they count, if others did. Else only windows that chance chose would."""
        case = self._known.get((cohort.key, subject))
        if case is not None:
            case.renew({}, judged)

    def changed(self) -> Iterator[Case]:
        """The cases touched since the last time."""
        keys, self._changed = self._changed, {}
        return (self._known[key] for key in keys)

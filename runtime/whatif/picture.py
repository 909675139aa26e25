"""One run before and after a change, step by step: what a person looks at to see where the time went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.whatif.changed import apply
from antiphon.runtime.whatif.ensemble import Ensemble
from antiphon.runtime.whatif.interference import measure
from antiphon.runtime.whatif.other_model import other_model
from antiphon.runtime.whatif.question import Question, Verb
from antiphon.runtime.whatif.trace import Trace

LEAST_S: Final = 1e-4  # a change of latency that can be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A step of the run; times in seconds from the run's begin. ``after`` None: it is no longer done."""

    label: str
    depth: int
    before_s: tuple[float, float]
    after_s: tuple[float, float] | None


def typical(before_s: Sequence[float], after_s: Sequence[float]) -> int:
    """The place of the run that saves the median of what the runs save which change at all; 0 if none does."""
    saved = [was - becomes for was, becomes in zip(before_s, after_s, strict=True)]
    changed = sorted((s, place) for place, s in enumerate(saved) if abs(s) > LEAST_S)
    return changed[len(changed) // 2][1] if changed else 0


def picture(question: Question, ensemble: Ensemble, samples: Sequence[Trace], place: int) -> tuple[Drawn, ...]:
    """The run at ``place`` of the ensemble in the hopeful replay, whose unedited form is near the record.

    Raises:
        Unanswerable: as ``answer``.
    """
    question.check(ensemble)
    traces = [*(played.trace for played in ensemble.played), *samples]
    others = {c.model: other_model(c.model, traces) for c in question.changes if c.verb is Verb.SWAP}
    changed = apply(question, ensemble, others, measure(ensemble), hopeful=True)
    after = changed.interference.replay(changed.program)
    if after is None:
        raise Unanswerable("with this change the run would block itself: ask for more slots")
    before, played = ensemble.hopeful[1], ensemble.played[place]
    root = played.run.root + played.base
    depths: list[int] = []
    drawn: list[Drawn] = []
    for step in played.trace.steps:
        depths.append(0 if step.parent is None else depths[step.parent] + 1)
        first, last = played.call(step)
        was, becomes = (
            ((line.begin_ns[first] - line.begin_ns[root]) / 1e9, (line.end_ns[last] - line.begin_ns[root]) / 1e9)
            for line in (before, after)
        )
        drawn.append(
            Drawn(
                label=step.label,
                depth=depths[-1],
                before_s=was,
                after_s=None if first in changed.gone else becomes,
            )
        )
    return tuple(drawn)

"""A model that others' calls could go to, as far as recorded calls of it tell."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.program import capacities, pool_of
from antiphon.runtime.whatif.simulator import UNLIMITED
from antiphon.runtime.whatif.time_law import MIN_CALLS, Call, TimeLaw, fit_all
from antiphon.runtime.whatif.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherModel:
    """Its time laws by node ("": all nodes), the slots that serve it, and what a token of it costs.

    ``capacity``: (slots seen at work at once, slots reported). ``usd_per_token`` is 0 where no price is on record.
    """

    name: str
    laws: Mapping[str, TimeLaw]
    pool: str
    capacity: tuple[int, int]
    usd_per_token: float

    def serve(self, call: Call, node: str, *, hopeful: bool) -> tuple[int, float]:
        """What another model's call would take here, in ns, and the share of decoding in it.

        The law's error is added, or taken off in the hopeful case.
        """
        law = self.laws.get(node, self.laws[""])
        service_s = law.service_s(call.uncached, call.output, call.active)
        share = law.decode_s(call.output, call.active) / service_s if service_s > 0 else 0.0
        error = -min(law.error, 1.0) if hopeful else law.error
        return round(service_s * (1 + error) * 1e9), share


def other_model(name: str, traces: Iterable[Trace]) -> OtherModel:
    """What the calls in ``traces`` tell of it.

    Raises:
        Unanswerable: they are too few.
    """
    steps = [
        step
        for trace in traces
        for step in trace.steps
        if step.operation == facts.MODEL and facts.text(step.span, attr.GENAI_REQUEST_MODEL) == name
    ]
    laws = {node: law for (_, node), law in fit_all(steps).items()}
    if "" not in laws:
        raise Unanswerable(
            f"{len(steps):,} calls of model {name!r} are on record, expected {MIN_CALLS} that say their tokens: "
            "run some, then ask again"
        )
    pool = Counter(pool_of(step) or "" for step in steps).most_common(1)[0][0]
    reported, active = capacities(steps)
    cost = cost_of(steps)
    return OtherModel(
        name=name,
        laws=laws,
        pool=pool,
        capacity=(active[pool], max(reported.get(pool, UNLIMITED), active[pool])),
        usd_per_token=cost.usd / cost.tokens if cost.tokens else 0.0,
    )

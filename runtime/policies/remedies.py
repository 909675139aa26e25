"""The remedies of a process, by kind."""

from collections.abc import Awaitable, Callable, Mapping
from random import Random

from antiphon.runtime.clock import Clock
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.policies.affinity import Affine
from antiphon.runtime.policies.aside import Aside
from antiphon.runtime.policies.batch import Batcher
from antiphon.runtime.policies.cache import Caching
from antiphon.runtime.policies.hedge import Hedger
from antiphon.runtime.policies.priority import Prioritiser
from antiphon.runtime.policies.remedy import Remedy
from antiphon.runtime.policies.retry import Retrier
from antiphon.runtime.policies.route import Router
from antiphon.runtime.policies.single_flight import SingleFlight
from antiphon.runtime.policies.timeout import TimeoutSetter
from antiphon.runtime.policies.written import Written
from antiphon.runtime.telemetry.setup import Telemetry


def remedies_of(
    *,
    clock: Clock,
    models: ModelRegistry,
    telemetry: Telemetry,
    written: Written,
    aside: Aside,
    give_up: Callable[[str], Awaitable[None]],
    rng: Random,
) -> Mapping[str, Remedy]:
    """What this version of the code can do about operations. ``give_up`` tells a peer that an ask's answer is moot."""
    return {
        "affinity": Affine(models, aside, clock),
        "batch": Batcher(clock),
        "cache": Caching(clock, written),
        "hedge": Hedger(give_up),
        "priority": Prioritiser(clock),
        "retry": Retrier(rng, clock),
        "route": Router(lambda name: name in models.names, telemetry, aside),
        "single_flight": SingleFlight(clock, written),
        "timeout": TimeoutSetter(clock),
    }

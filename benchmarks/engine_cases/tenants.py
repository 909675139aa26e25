"""Two tenants with 3 and 1 units, and one that has bought nothing and offers ten times as much."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from antiphon.runtime.engine.engine_config import TenantPolicy
from engine_cases.load import Bench, bench, prompt_of

PROMPT, REPLY = 96, 24
UNITS = {"three": 3.0, "one": 1.0}
SOLD = 0.6  # of the measured capacity
CLIENTS = {"three": 10, "one": 5, "noisy": 60}  # each asks again when it is answered
ROWS = 16


@dataclass(frozen=True)
class Shares:
    """Weighted tokens per second: what each tenant was served, and what it had bought."""

    served: Mapping[str, float]
    bought: Mapping[str, float]

    @property
    def error(self) -> float:
        """The largest share by which a tenant got less than it had bought; 0 where all got it."""
        return max(max(0.0, 1 - self.served[name] / rate) for name, rate in self.bought.items())


def run(path: Path, seconds: float) -> Shares:
    """Everybody asks for ``seconds``, after half as long in which the buckets, full at first, run down."""
    with bench(path, max_rows=ROWS) as on:
        _serve(on, {"": ROWS}, 4.0, 1.0)
        weight = on.engine.scheduler.cost.output_weight
        capacity = _serve(on, {"": ROWS}, seconds / 4, weight)[""]
    unit = SOLD * capacity / sum(UNITS.values())
    policies = {name: TenantPolicy(units=units) for name, units in UNITS.items()}
    with bench(path, max_rows=ROWS, tenants=policies, unit_tokens_per_minute=unit * 60, output_weight=weight) as on:
        _serve(on, CLIENTS, seconds / 2, weight)
        served = _serve(on, CLIENTS, seconds, weight)
    return Shares(served, {name: units * unit for name, units in UNITS.items()})


def _serve(on: Bench, clients: Mapping[str, int], seconds: float, weight: float) -> dict[str, float]:
    """Weighted tokens per second of each tenant, an output token counting ``weight``."""
    served = dict.fromkeys(clients, 0.0)
    lock = threading.Lock()
    ends_s = time.perf_counter() + seconds

    def ask(tenant: str, seed: int) -> None:
        round = 0
        while time.perf_counter() < ends_s:
            on.submit(prompt_of(PROMPT, 10_000 * seed + round), REPLY, tenant=tenant).wait()
            round += 1
            if time.perf_counter() < ends_s:
                with lock:
                    served[tenant] += PROMPT + REPLY * weight

    seed = int(ends_s) % 10_000
    threads = [
        threading.Thread(target=ask, args=(tenant, 100 * seed + at))
        for at, tenant in enumerate(tenant for tenant, count in clients.items() for _ in range(count))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {tenant: tokens / seconds for tenant, tokens in served.items()}

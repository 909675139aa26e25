"""Tenants: provisioned throughput, and a fair share of what is spare.

A tenant's bucket fills with ``units`` times the size of a unit in weighted tokens per minute and is one minute deep.
While it is more than 2 % full the tenant's requests go before those of others; what they cost is taken from it.
What is served beyond that counts on a virtual token counter, and of those who wait the tenant with the least goes
first; one that becomes active is lifted to the least of the active, so idling earns nothing (VTC, arXiv 2401.00588).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from antiphon.runtime.engine.engine_config import TenantPolicy
from antiphon.runtime.errors import ConfigurationError

_MINUTE_S: Final = 60.0
_LOW: Final = 0.02  # of a minute's worth
_MOST: Final = 4096  # tenants remembered that have bought nothing


@dataclass(eq=False, slots=True)
class Tenant:
    """One tenant. ``served`` is its counter of spare capacity, in weighted tokens."""

    name: str
    rate: float  # weighted tokens a second that it has bought
    shared_prompts: bool = False
    level: float = 0.0
    filled_s: float = math.inf  # not yet; it starts empty
    served: float = 0.0
    requests: int = 0  # waiting or running

    def fill(self, now_s: float) -> float:
        """What is in its bucket at ``now_s``."""
        self.level = min(self.rate * _MINUTE_S, self.level + self.rate * max(0.0, now_s - self.filled_s))
        self.filled_s = now_s
        return self.level

    def guaranteed(self, now_s: float) -> bool:
        """Whether its requests go before those of others, and work of others is put back for them. Not at every drop:
        a bucket that is served as fast as it fills is never quite empty, and nothing would be left to share."""
        return self.rate > 0 and self.fill(now_s) > _LOW * self.rate * _MINUTE_S

    def turn(self, now_s: float) -> tuple[bool, float]:
        """Where it stands among tenants, least first: those with something in the bucket by how many seconds' worth,
        then the others by what they were served."""
        return (False, -self.level / self.rate) if self.guaranteed(now_s) else (True, self.served)

    def charge(self, weighted: float, now_s: float) -> None:
        """It was served that many weighted tokens: from its bucket first, the rest on its counter."""
        paid = min(self.fill(now_s), weighted) if self.rate else 0.0
        self.level -= paid
        self.served += weighted - paid


class Tenants:
    """Those who have bought units, and those who have requests here."""

    def __init__(self, policies: Mapping[str, TenantPolicy], unit_tokens_per_minute: float | None) -> None:
        unit = (unit_tokens_per_minute or 0.0) / _MINUTE_S
        self._policies = policies
        self._tenants = {
            name: Tenant(name, policy.units * unit, policy.shared_prompts) for name, policy in policies.items()
        }
        self.active = 0  # tenants that have requests
        self.sold_per_minute = sum(tenant.rate for tenant in self._tenants.values()) * _MINUTE_S

    def check_sold(self, capacity_per_minute: float) -> None:
        """Compare what was sold with what the machine does, in weighted tokens per minute.

        Raises:
            ConfigurationError: more units were sold than it can keep.
        """
        if self.sold_per_minute > capacity_per_minute:
            raise ConfigurationError(
                f"engine: found units worth {self.sold_per_minute:.0f} weighted tokens per minute sold to tenants, "
                f"expected at most the {capacity_per_minute:.0f} that this machine computes; sell fewer"
            )

    def find(self, name: str) -> Tenant:
        """The tenant of that name; one that has bought nothing may be new."""
        tenant = self._tenants.get(name)
        if tenant is None:
            if len(self._tenants) >= len(self._policies) + _MOST:
                self._tenants = {
                    key: old for key, old in self._tenants.items() if old.requests or key in self._policies
                }
            tenant = self._tenants[name] = Tenant(name, 0.0)
        return tenant

    def enter(self, tenant: Tenant) -> None:
        """One of its requests is in line."""
        if not tenant.requests:
            self.active += 1
            active = [other.served for other in self._tenants.values() if other.requests]
            tenant.served = max(tenant.served, min(active, default=0.0))
        tenant.requests += 1

    def leave(self, tenant: Tenant) -> None:
        """One of its requests is over."""
        tenant.requests -= 1
        self.active -= not tenant.requests

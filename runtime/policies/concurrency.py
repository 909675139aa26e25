"""Agents' slots on this node follow the policies, live."""

import asyncio
from collections.abc import Mapping

import structlog

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.policies.arms import Arm, arm_of, slice_of
from antiphon.runtime.policies.kinds import AGENT
from antiphon.runtime.policies.live import LivePolicies
from antiphon.schemas.policy import Concurrency, Level, Policy

log = structlog.get_logger()


class SlotKeeper:
    """Resizes pools when a policy changes and, at level canary, when a time slice ends.

    Nothing is dropped: what runs in a pool that shrinks runs on, and what waits, waits.
    """

    def __init__(self, live: LivePolicies, clock: Clock) -> None:
        self._live = live
        self._clock = clock
        self._pools: dict[str, tuple[Slots, int]] = {}
        self._changed = asyncio.Event()

    def keep(self, slots: Slots) -> None:
        """Look after an agent's pool; its capacity now is the one without a policy."""
        self._pools[slots.agent] = slots, slots.capacity
        self._apply()

    async def run(self) -> None:
        """Follow the policies until cancelled."""
        self._live.on_change.append(self._changed.set)
        try:
            while True:
                self._changed.clear()
                next_s = self._apply()
                try:
                    async with asyncio.timeout(next_s):
                        await self._changed.wait()
                except TimeoutError:
                    continue  # another slice begins
        finally:
            self._live.on_change.remove(self._changed.set)

    def _apply(self) -> float | None:
        """Give every pool the slots it should have now; seconds until that may differ, None: not by itself."""
        now_ms = self._clock.unix_ns() // 1_000_000
        policies = {name: self._live.table.find(AGENT, name) for name in self._pools}
        for name, (slots, own) in self._pools.items():
            wanted = _wanted(policies[name], own, now_ms)
            if wanted != slots.capacity:
                log.info("slots_changed", agent=name, slots=wanted, before=slots.capacity)
                slots.resize(wanted)
        return _next_s(policies, now_ms)


def _wanted(policy: Policy | None, own: int, now_ms: int) -> int:
    if policy is None or arm_of(policy, "", now_ms) is not Arm.TREATED:
        return own
    action = policy.proposal.action
    assert isinstance(action, Concurrency)
    return action.slots


def _next_s(policies: Mapping[str, Policy | None], now_ms: int) -> float | None:
    ends = [
        (slice_of(policy, now_ms) + 1) * policy.slice_s - now_ms / 1000
        for policy in policies.values()
        if policy is not None and policy.level is Level.CANARY
    ]
    return max(0.001, min(ends)) if ends else None

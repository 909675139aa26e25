"""Which policies are stored: the bucket, and what is checked before a policy gets there."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

import structlog
from pydantic import ValidationError

from antiphon.runtime.bus.base import Bucket, Bus, Entry
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.directory import Directory
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.policies.kinds import check_policy, contradicting, rival
from antiphon.runtime.policies.targets import check_known
from antiphon.schemas.policy import Level, Policy

BUCKET = "antiphon_policies"

log = structlog.get_logger()


class Change(NamedTuple):
    """A policy as it is stored now, or (None) that it has gone, or cannot be read."""

    id: str
    policy: Policy | None


class PolicyBook:
    """The stored policies of one tenant; nodes apply them as they change."""

    def __init__(self, bucket: Bucket, directory: Directory, clock: Clock, tenant: str) -> None:
        self._bucket = bucket
        self._directory = directory
        self._clock = clock
        self._prefix = f"{tenant}."

    @classmethod
    async def open(cls, bus: Bus, directory: Directory, clock: Clock, tenant: str) -> "PolicyBook":
        """The tenant's policies on this bus. Raises BusError."""
        return cls(await bus.buckets.open(BUCKET), directory, clock, tenant)

    async def set(self, policy: Policy) -> Policy:
        """Store a policy, in the place of the one of its id; as stored, with the time from which it is so.

        Raises:
            ConfigurationError: a target or level that its kind cannot have, or it contradicts a stored one.
            UnknownAgent, UnknownHandler: nobody has ever served what it is about; names what there is.
            BusError: it was not stored.
        """
        check_policy(policy)
        if policy.level is not Level.SUGGEST:  # which is how one whose agent has gone for good is put to rest
            check_known(policy, await self._directory.agents())
        other = rival(policy, await self.entries())
        if other is not None:
            raise contradicting(policy, other)
        stored = policy.model_copy(update={"since_unix_ms": self._clock.unix_ns() // 1_000_000})
        await self._bucket.put(self._prefix + stored.id, stored.model_dump_json().encode())
        return stored

    async def remove(self, id: str) -> bool:
        """Forget a policy; what it had begun ends by it. False if there was none. Raises BusError."""
        key = self._prefix + id
        there = await self._bucket.get(key) is not None
        await self._bucket.delete(key)
        return there

    async def get(self, id: str) -> Policy | None:
        """One policy, or None. Raises BusError."""
        entry = await self._bucket.get(self._prefix + id)
        change = None if entry is None else self._change(entry)
        return None if change is None else change.policy

    async def entries(self) -> list[Policy]:
        """The policies, by id; those that cannot be read are logged and left out. Raises BusError."""
        changes = [self._change(entry) for entry in await self._bucket.entries()]
        found = [change.policy for change in changes if change is not None and change.policy is not None]
        return sorted(found, key=lambda policy: policy.id)

    async def watch(self) -> AsyncGenerator[Change, None]:
        """Those there are, then every change. Raises BusError."""
        async with aclosing(self._bucket.watch()) as entries:
            async for entry in entries:
                change = self._change(entry)
                if change is not None:
                    yield change

    def _change(self, entry: Entry) -> Change | None:
        if not entry.key.startswith(self._prefix):
            return None
        id = entry.key.removeprefix(self._prefix)
        if entry.value is None:
            return Change(id, None)
        try:
            policy = Policy.model_validate_json(entry.value)
            check_policy(policy)
        except ValidationError as error:  # of a newer version, perhaps; it must not stop the others
            log.error("policy_unreadable", policy=id, error=problems(error))
        except ConfigurationError as error:
            log.error("policy_unreadable", policy=id, error=error.message)
        else:
            if policy.id == id:
                return Change(id, policy)
            log.error("policy_unreadable", policy=id, error=f"it says that its id is {policy.id!r}")
        return Change(id, None)

"""The policies in force in this process: those that its code gives, and over them those that are stored."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

import structlog

from antiphon.runtime.errors import BusError
from antiphon.runtime.policies.book import Change, PolicyBook
from antiphon.runtime.policies.table import EMPTY, PolicyTable
from antiphon.schemas.policy import Policy

RETRY_S = 1.0  # after the bus refused
READ_S = 60.0  # between two readings of everything: a removal that no watch told is seen then

log = structlog.get_logger()


class LivePolicies:
    """``table`` is replaced at every change; whoever needs to know at once gives ``on_change``."""

    def __init__(self) -> None:
        self.table = EMPTY
        self.on_change: list[Callable[[], None]] = []
        self.agents: frozenset[str] = frozenset()
        """Agents that this process hosts."""
        self._given: dict[str, Policy] = {}
        self._stored: dict[str, Policy] = {}
        self._said: set[tuple[str, str]] = set()  # pairs whose contradiction was logged

    def give(self, policies: Sequence[Policy]) -> None:
        """Policies by hand in code; a stored one of the same id wins. They were checked by whoever took them."""
        self._given = {policy.id: policy for policy in policies}
        self._renew()

    async def load(self, book: PolicyBook) -> None:
        """Apply what is stored now. Raises BusError."""
        self._replace(await book.entries())

    async def follow(self, book: PolicyBook) -> None:
        """Keep the table current until cancelled; while the bus is away the policies stay as they are."""
        while True:
            limit = asyncio.timeout(READ_S)
            try:
                async with limit, aclosing(book.watch()) as changes:
                    async for change in changes:
                        self._take(change)
            except TimeoutError:
                if not limit.expired():
                    raise
            except BusError as error:
                log.warning("policies_not_watched", error=error.message)
                await asyncio.sleep(RETRY_S)
            try:
                await self.load(book)
            except BusError as error:
                log.warning("policies_not_read", error=error.message)
                await asyncio.sleep(RETRY_S)

    def _take(self, change: Change) -> None:
        if self._stored.get(change.id) == change.policy:
            return
        if change.policy is None:
            del self._stored[change.id]
        else:
            self._stored[change.id] = change.policy
        log.info("policy_changed", policy=change.id, level=None if change.policy is None else change.policy.level.value)
        self._renew()

    def _replace(self, policies: Iterable[Policy]) -> None:
        stored = {policy.id: policy for policy in policies}
        if stored != self._stored:
            self._stored = stored
            self._renew()

    def _renew(self) -> None:
        table = PolicyTable({**self._given, **self._stored}.values())
        pairs = {(policy.id, winner.id) for policy, winner in table.refused}
        for loser, winner in sorted(pairs - self._said):
            log.error("policies_contradict", policy=loser, applied=winner)
        self._said = pairs
        self.table = table
        for told in self.on_change:
            told()

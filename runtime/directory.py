"""Who is alive and what they serve: node leases that expire, agent cards that stay."""

import asyncio

import structlog

from antiphon.runtime.bus.base import Bucket, Bus
from antiphon.runtime.errors import AgentError, BusError, UnknownAgent, UnknownHandler
from antiphon.schemas.identity import Address
from antiphon.schemas.node import AgentCard, NodeCard

LEASE_S = 10.0  # a node that has not renewed its card for this long is gone
RENEW_S = 3.0

log = structlog.get_logger()


class Directory:
    """Reads and writes the directory of one tenant.

    Node cards lie in a bucket whose entries expire; agent cards in one that keeps them, so that work for an
    agent whose nodes are all down can still be stored, and an address nobody has ever served is an error.
    """

    def __init__(self, nodes: Bucket, agents: Bucket, tenant: str) -> None:
        self._nodes = nodes
        self._agents = agents
        self._tenant = tenant
        self._served: set[Address] = set()

    @classmethod
    async def open(cls, bus: Bus, tenant: str) -> "Directory":
        """The tenant's directory on this bus."""
        nodes = await bus.buckets.open("antiphon_nodes", ttl_s=LEASE_S)
        agents = await bus.buckets.open("antiphon_agents")
        return cls(nodes, agents, tenant)

    async def announce(self, card: NodeCard) -> None:
        """Say that a node is alive, until LEASE_S from now."""
        await self._nodes.put(f"{self._tenant}.{card.node}", card.model_dump_json().encode())

    async def keep_announcing(self, card: NodeCard) -> None:
        """Renew the lease every RENEW_S until cancelled; a bus that is away is logged and tried again."""
        while True:
            try:
                await self.announce(card)
            except BusError as error:
                log.warning("lease_not_renewed", node=card.node, error=error.message)
            await asyncio.sleep(RENEW_S)

    async def withdraw(self, node: str) -> None:
        """Say that a node has gone."""
        await self._nodes.delete(f"{self._tenant}.{node}")

    async def register(self, card: AgentCard) -> None:
        """Make an agent's card known."""
        await self._agents.put(f"{self._tenant}.{card.name}", card.model_dump_json().encode())

    async def nodes(self) -> list[NodeCard]:
        """The nodes alive now."""
        return [
            NodeCard.model_validate_json(entry.value)
            for entry in await self._nodes.entries()
            if entry.value is not None and entry.key.startswith(f"{self._tenant}.")
        ]

    async def agents(self) -> list[AgentCard]:
        """Every agent that was ever served in this tenant."""
        return [
            AgentCard.model_validate_json(entry.value)
            for entry in await self._agents.entries()
            if entry.value is not None and entry.key.startswith(f"{self._tenant}.")
        ]

    async def find(self, agent: str) -> AgentCard | None:
        """One agent's card."""
        entry = await self._agents.get(f"{self._tenant}.{agent}")
        return None if entry is None or entry.value is None else AgentCard.model_validate_json(entry.value)

    async def serves(self, address: Address) -> bool:
        """Whether the handler has ever been served. A yes is remembered; a no is asked again."""
        if address in self._served:
            return True
        card = await self.find(address.agent)
        if card is None or all(handler.name != address.handler for handler in card.handlers):
            return False
        self._served.add(address)
        return True

    async def nobody(self, address: Address, *, durable: bool) -> AgentError:
        """The error for an address that nobody answers, saying what there is instead."""
        cards = await self.agents()
        card = next((card for card in cards if card.name == address.agent), None)
        if card is None:
            known = ", ".join(sorted(card.name for card in cards)) or "none yet"
            return UnknownAgent(
                f"no agent {address.agent!r} (known: {known}): check the name, or start it with `antiphon run`",
                agent=address.agent,
            )
        if all(handler.name != address.handler for handler in card.handlers):
            known = ", ".join(sorted(handler.name for handler in card.handlers)) or "none"
            return UnknownHandler(
                f"agent {address.agent!r} has no handler {address.handler!r} (it has: {known})",
                agent=address.agent,
                handler=address.handler,
            )
        hint = "" if durable else "; a durable task (submit or ctx.call) would wait for it"
        return UnknownAgent(f"no node serves {address} now: start one with `antiphon run`{hint}", agent=address.agent)

"""Who is alive and what they serve: node leases that expire, agent cards that stay."""

import asyncio

import structlog

from antiphon.runtime.bus.base import Bucket, Bus
from antiphon.runtime.clock import Clock, LoopClock
from antiphon.runtime.errors import (
    AgentError,
    BusError,
    ConfigurationError,
    UnknownAgent,
    UnknownHandler,
    VersionMismatch,
)
from antiphon.schemas.identity import Address
from antiphon.schemas.node import AgentCard, NodeCard

LEASE_S = 10.0  # a node that has not renewed its card for this long is gone
RENEW_S = 3.0
REMEMBER_S = 10.0  # that a handler is served; asked again then, because it may have gone
ASKING_S = 1.0  # how long an answer that is being renewed still counts
KEEP = 16  # cards of one agent: more versions than anybody runs side by side

log = structlog.get_logger()


class Directory:
    """Reads and writes the directory of one tenant.

    Node cards lie in a bucket whose entries expire. Agent cards, one for each version of an agent's code, lie in one
    that keeps them, so that work for an agent whose nodes are all down can still be stored, and an address nobody
    serves is an error. What an agent serves is what its versions that are alive do; when none is, the last that was.
    """

    def __init__(self, nodes: Bucket, agents: Bucket, tenant: str, clock: Clock) -> None:
        self._nodes = nodes
        self._agents = agents
        self._tenant = tenant
        self._clock = clock
        self._served: dict[Address, float] = {}  # until when that is remembered

    @classmethod
    async def open(cls, bus: Bus, tenant: str) -> "Directory":
        """The tenant's directory on this bus."""
        nodes = await bus.buckets.open("antiphon_nodes", ttl_s=LEASE_S)
        agents = await bus.buckets.open("antiphon_agents")
        return cls(nodes, agents, tenant, LoopClock())

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
        """Make a version of an agent known, beside the KEEP - 1 that were registered last."""
        await self._agents.put(self._key(card), card.model_dump_json().encode())
        cards = [found for found in await self._cards() if found.name == card.name]
        for old in cards[:-KEEP]:
            await self._agents.delete(self._key(old))

    async def nodes(self) -> list[NodeCard]:
        """The nodes alive now."""
        return [
            NodeCard.model_validate_json(entry.value)
            for entry in await self._nodes.entries()
            if entry.value is not None and entry.key.startswith(f"{self._tenant}.")
        ]

    async def versions(self, agent: str) -> list[str]:
        """The versions of the agent that nodes serve now."""
        found = (each.partition("@") for card in await self.nodes() for each in card.versions)
        return sorted({version for name, _, version in found if name == agent})

    async def has_version(self, agent: str, version: str) -> bool:
        """Whether a node that is alive serves that version of the agent's code."""
        return version in await self.versions(agent)

    async def agents(self) -> list[AgentCard]:
        """What every agent of this tenant serves: a card for each version alive, or the last one. In that order."""
        alive = {each for card in await self.nodes() for each in card.versions}
        cards = await self._cards()
        living = [card for card in cards if f"{card.name}@{card.version}" in alive]
        last = {card.name: card for card in cards}
        for card in living:
            last.pop(card.name, None)
        return [card for card in cards if card in living or last.get(card.name) is card]

    async def find(self, agent: str) -> AgentCard | None:
        """One agent's card: of the version that was registered last of those it serves."""
        return next((card for card in reversed(await self.agents()) if card.name == agent), None)

    async def serves(self, address: Address) -> bool:
        """Whether the agent has that handler. A yes is remembered for a while; a no is asked again."""
        now_s = self._clock.monotonic_s()
        until_s = self._served.get(address, 0.0)
        if until_s > now_s:
            return True
        if until_s:
            self._served[address] = now_s + ASKING_S  # one asks again, the others go by what was true until now
        if not await self._with_handler(address):
            self._served.pop(address, None)
            return False
        self._served[address] = self._clock.monotonic_s() + REMEMBER_S
        return True

    async def version_with(self, address: Address) -> str | None:
        """A version that is alive and has the handler, the newest; None: there is none."""
        alive = await self.versions(address.agent)
        return next(
            (card.version for card in reversed(await self._with_handler(address)) if card.version in alive), None
        )

    async def check_version(self, address: Address, version: str) -> None:
        """That nodes serve the handler in that version now, so that work may be sent to it alone.

        Raises:
            VersionMismatch: they do not, naming the versions that do.
            ConfigurationError: the handler is keyed: its messages are in one order, whatever the version.
        """
        alive = await self.versions(address.agent)
        cards = [card for card in await self._with_handler(address) if card.version in alive]
        if version not in [card.version for card in cards]:
            others = ", ".join(sorted(card.version for card in cards)) or "none"
            raise VersionMismatch(
                f"no node serves {address} in version {version!r} (versions alive: {others}): start one that does, "
                "or leave out version=",
                agent=address.agent,
                version=version,
            )
        if any(each.keyed for card in cards for each in card.handlers if each.name == address.handler):
            raise ConfigurationError(
                f"{address} is keyed: messages of a key have one order over all versions; leave out version="
            )

    async def nobody(self, address: Address, *, durable: bool) -> AgentError:
        """The error for an address that nobody answers, saying what there is instead."""
        cards = await self.agents()
        mine = [card for card in cards if card.name == address.agent]
        if not mine:
            known = ", ".join(sorted({card.name for card in cards})) or "none yet"
            return UnknownAgent(
                f"no agent {address.agent!r} (known: {known}): check the name, or start it with `antiphon run`",
                agent=address.agent,
            )
        handlers = {handler.name for card in mine for handler in card.handlers}
        if address.handler not in handlers:
            return UnknownHandler(
                f"agent {address.agent!r} has no handler {address.handler!r} (it has: "
                f"{', '.join(sorted(handlers)) or 'none'})",
                agent=address.agent,
                handler=address.handler,
            )
        hint = "" if durable else "; a durable task (submit or ctx.call) would wait for it"
        return UnknownAgent(f"no node serves {address} now: start one with `antiphon run`{hint}", agent=address.agent)

    async def _cards(self) -> list[AgentCard]:
        """Of all agents and versions, in the order in which they were registered."""
        entries = [entry for entry in await self._agents.entries() if entry.key.startswith(f"{self._tenant}.")]
        entries.sort(key=lambda entry: entry.revision)
        return [AgentCard.model_validate_json(entry.value) for entry in entries if entry.value is not None]

    async def _with_handler(self, address: Address) -> list[AgentCard]:
        return [
            card
            for card in await self.agents()
            if card.name == address.agent and any(handler.name == address.handler for handler in card.handlers)
        ]

    def _key(self, card: AgentCard) -> str:
        return f"{self._tenant}.{card.name}.{card.version}"

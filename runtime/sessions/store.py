"""Conversations on the bus: immutable nodes by the hash of their content, and a head for each agent and key.

An append stores a node that names the one before it, then replaces the head if nobody else has meanwhile. A fork is
another head on the same chain. A reader takes up to MAX_BACK nodes in one request: n appends are read in about n/32.
"""

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.topology import SESSIONS
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.bodies import pack, unpack
from antiphon.runtime.errors import BusError, Conflict, SessionExists, UnknownSession
from antiphon.runtime.host import Host
from antiphon.runtime.sessions.window import tokens_of
from antiphon.schemas import subjects
from antiphon.schemas.identity import derived_id
from antiphon.schemas.inference import Turn
from antiphon.schemas.session import SessionHead, SessionNode

TRIES = 16  # of an append against concurrent ones

Fence = Callable[[str], Awaitable[None]]


class SessionStore:
    """The conversations of one tenant. Made where it is needed: it keeps nothing."""

    def __init__(self, bus: Bus, clock: Clock, tenant: str, *, max_body: int) -> None:
        self._bus = bus
        self._clock = clock
        self._tenant = tenant
        self._max_body = max_body

    @classmethod
    def of(cls, host: Host) -> "SessionStore":
        """That of a process."""
        return cls(host.bus, host.clock, host.tenant, max_body=host.max_body)

    async def heads(self) -> list[SessionHead]:
        """All conversations, the one that was used last first. Raises BusError."""
        stored = self._bus.streams.read(SESSIONS.name, subjects.session_heads(self._tenant))
        found = [SessionHead.model_validate_json(message.body) async for message in stored]
        return sorted(found, key=lambda head: -head.updated_unix_ms)

    async def head(self, agent: str, key: str) -> SessionHead | None:
        """The conversation of one key of one agent, if there is one. Raises BusError."""
        return (await self._head(agent, key))[0]

    async def nodes(self, address: str) -> AsyncGenerator[tuple[str, SessionNode], None]:
        """The chain that ends with ``address`` (empty: none), the newest first, each with its address.

        Raises:
            BusError: a node is missing or is not what its address says.
        """
        wanted: tuple[str, ...] = (address,) if address else ()
        while wanted:
            found = await self._read(wanted)
            for pair in zip(wanted, found, strict=True):
                yield pair
            wanted = found[-1].back

    async def append(
        self,
        agent: str,
        key: str,
        turns: tuple[Turn, ...],
        *,
        by: str,
        since: str | None,
        fence: Fence,
        covers: int = 0,
    ) -> None:
        """Let the conversation go on with ``turns``, once for each ``by``, however often it is tried.

        ``since`` is where the conversation stood when an earlier attempt began to write; None: no attempt did.
        ``fence`` is told where it stands now and raises unless the writer still owns its task. Whoever has read the
        head, then passed the fence, and then replaced that very head, was the only one who could: a later owner of the
        task has not written yet, and finds this append when it looks behind its ``since``.

        Raises:
            LeaseLost: what the fence raised.
            Conflict: others were faster every time.
            MessageTooLarge: over the limit of a body.
            BusError: it may or may not have been written; try again with the same ``by``.
        """
        for _ in range(TRIES):
            head, revision = await self._head(agent, key)
            newest = head.node if head is not None else ""
            if since is not None and await self._has_written(by, newest, since):
                return
            if since is None:
                since = newest
            await fence(newest)
            if await self._replace(agent, key, await self._put(agent, key, newest, turns, by, covers), revision):
                return
        raise Conflict(f"the conversation of agent {agent!r} with {key!r} changed {TRIES} times under an append")

    async def fork(self, agent: str, key: str, new_key: str, *, at: str = "") -> SessionHead:
        """Begin another conversation with all that was said in this one, or up to the node whose address begins so.

        Raises:
            UnknownSession: there is no such conversation, or no one such node in it.
            SessionExists: there is one under the new key.
            BusError: it was not stored.
        """
        node, address = await self._find(agent, key, at)
        if not await self._replace(agent, new_key, (address, node), 0):
            raise SessionExists(
                f"agent {agent!r} has a conversation under {new_key!r} already: choose another key",
                agent=agent,
                key=new_key,
            )
        return self._head_of(agent, new_key, address, node)

    async def _find(self, agent: str, key: str, prefix: str) -> tuple[SessionNode, str]:
        head = await self.head(agent, key)
        if head is None:
            raise unknown(agent, key)
        found: list[tuple[SessionNode, str]] = []
        async with aclosing(self.nodes(head.node)) as nodes:
            async for address, node in nodes:
                if address.startswith(prefix):
                    found.append((node, address))
                if found and not prefix:
                    break
        if len(found) != 1:
            raise UnknownSession(
                f"{len(found)} nodes of the conversation of agent {agent!r} with {key!r} begin with {prefix!r}, "
                f"expected one: `antiphon session show {agent} {key}` prints them",
                agent=agent,
                key=key,
            )
        return found[0]

    async def _has_written(self, by: str, newest: str, since: str) -> bool:
        async with aclosing(self.nodes(newest)) as nodes:
            async for address, node in nodes:
                if address == since:
                    return False
                if node.by == by:
                    return True
        return False

    async def _put(
        self, agent: str, key: str, newest: str, turns: tuple[Turn, ...], by: str, covers: int
    ) -> tuple[str, SessionNode]:
        back: tuple[str, ...] = ()
        count = tokens = 0
        if newest:
            before = (await self._read((newest,)))[0]
            back, count, tokens = before.back_of_next(newest), before.turn_count, before.tokens
        said = () if covers else turns
        node = SessionNode(
            back=back,
            turns=turns,
            turn_count=count + len(said),
            tokens=tokens + tokens_of(said),
            by=by,
            unix_ms=self._now_ms(),
            covers=covers,
        )
        content = node.model_dump_json().encode()
        address = address_of(content)
        owner = f"session:{_id(agent, key)}"  # no task: its blobs stay as long as the conversation
        body, headers = await pack(self._bus, content, {}, self._tenant, owner, max_bytes=self._max_body)
        try:
            await self._bus.streams.append(subjects.session_node(self._tenant, address), body, headers, expected_last=0)
        except Conflict:
            return address, node  # it is there: what has the same address is the same
        return address, node

    async def _replace(self, agent: str, key: str, found: tuple[str, SessionNode], revision: int) -> bool:
        body = self._head_of(agent, key, *found).model_dump_json().encode()
        try:
            subject = subjects.session_head(self._tenant, _id(agent, key))
            await self._bus.streams.append(subject, body, expected_last=revision, rollup=True)
        except Conflict:
            return False
        return True

    async def _head(self, agent: str, key: str) -> tuple[SessionHead | None, int]:
        stored = await self._bus.streams.last(subjects.session_head(self._tenant, _id(agent, key)))
        return (None, 0) if stored is None else (SessionHead.model_validate_json(stored.body), stored.sequence)

    async def _read(self, addresses: tuple[str, ...]) -> list[SessionNode]:
        wanted = {address: subjects.session_node(self._tenant, address) for address in addresses}
        stored = await self._bus.streams.last_of(list(wanted.values()))
        found: list[SessionNode] = []
        for address, subject in wanted.items():
            message = stored.get(subject)
            if message is None:
                raise BusError(f"a conversation's node {address} is missing: it was purged, or never stored here")
            content = await unpack(self._bus, message.body, message.headers)
            if address_of(content) != address:
                raise BusError(f"a conversation's node {address} is damaged: its content hashes to another address")
            found.append(SessionNode.model_validate_json(content))
        return found

    def _head_of(self, agent: str, key: str, address: str, node: SessionNode) -> SessionHead:
        return SessionHead(
            agent=agent,
            key=key,
            node=address,
            turn_count=node.turn_count,
            tokens=node.tokens,
            updated_unix_ms=self._now_ms(),
        )

    def _now_ms(self) -> int:
        return self._clock.unix_ns() // 1_000_000


def address_of(content: bytes) -> str:
    """Where a node is kept: the first 32 hexadecimal digits of the SHA-256 of its JSON."""
    return hashlib.sha256(content).hexdigest()[:32]


def unknown(agent: str, key: str) -> UnknownSession:
    """The error for a conversation that is not there."""
    return UnknownSession(
        f"agent {agent!r} has no conversation under {key!r}: `antiphon session list` shows those there are",
        agent=agent,
        key=key,
    )


def _id(agent: str, key: str) -> str:
    """A user's key may be any text; the id is 32 hexadecimal digits whatever it has."""
    return derived_id("session", agent, key)

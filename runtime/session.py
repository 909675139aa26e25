"""``ctx.session``: the conversation of a keyed handler's key, as the handler and its model calls see it."""

from collections.abc import Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from pydantic import TypeAdapter

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.policies.chain import Operation, OperationKind
from antiphon.runtime.sessions import summary
from antiphon.runtime.sessions.store import SessionStore
from antiphon.runtime.sessions.window import Window
from antiphon.schemas.inference import Role, Turn
from antiphon.schemas.journal import Entry, EntryKind
from antiphon.schemas.task import Effect

if TYPE_CHECKING:
    from antiphon.runtime.context import Context

HISTORY = "history"  # the segment of earlier turns in a prompt
READ_AHEAD = 2  # windows' worth of turns that are looked at: more is neither shown nor summed up

_TURNS: TypeAdapter[tuple[Turn, ...]] = TypeAdapter(tuple[Turn, ...])


class Session:
    """What was said under one key of one agent; all its keyed handlers share it.

    In the journal of a task ``history`` is the address of a node that never changes, not the text. An ``append``
    happens once for each operation of a task, also after a crash before its entry, and a worker that has lost its task
    cannot append any more.
    """

    __slots__ = ("_agent", "_ctx", "_window")

    def __init__(self, ctx: "Context", agent: str, window: Window | None = None) -> None:
        if not ctx.key:
            raise ConfigurationError(
                f"agent {agent!r}: ctx.session in a handler without key: declare it with @agent.handles(key=…), so "
                "that the messages of one conversation run in order"
            )
        self._ctx = ctx
        self._agent = agent
        self._window = window or Window()

    def windowed(self, window: Window) -> "Session":
        """The same conversation, of which a model is shown something else."""
        return Session(self._ctx, self._agent, window)

    def history(self) -> Coroutine[Any, Any, tuple[Turn, ...]]:
        """What was said before, the oldest first, as far as the window shows it.

        With ``Window(summarise=True)`` this calls the agent's model when the window has run over.

        Raises:
            BusError: it could not be read.
            ModelError: there was no summary; see ``ctx.model.generate``.
        """
        operation = self._operation("session.history", b"", Effect.READ)

        async def read() -> bytes:
            head = await self._store().head(self._agent, self._ctx.key)
            return msgspec.json.encode(head.node if head is not None else "")

        operation.request = read
        return self._history(operation)

    def append(self, *turns: Turn) -> Coroutine[Any, Any, None]:
        """Let the conversation go on with these turns, all of them or none.

        Raises:
            ConfigurationError: no turns.
            MessageTooLarge, Conflict, BusError: they were not stored.
        """
        return self._done(self._write(turns))

    async def _history(self, operation: Operation) -> tuple[Turn, ...]:
        window = self._window
        address = msgspec.json.decode((await self._ctx.perform(operation)).body, type=str)
        known = await self._known(address)
        if window.summarise and (old := window.overflow(known.summary, known.turns)):
            prompt = summary.request(window, known.summary, known.turns[:old])
            text = await self._ctx.model.generate(str, prompt, max_tokens=window.tokens // summary.SHARE)
            known = _Known(summary.as_turns(window, text), known.turns[old:], known.turn_count)
            await self._done(self._write(known.summary, covers=known.turn_count - len(known.turns)))
        shown = window.cut(known.turns, behind=known.summary)
        self._ctx.learn(operation, _TURNS.dump_json(shown))  # the journal has an address; lineage needs the words
        return shown

    async def _known(self, address: str) -> "_Known":
        """The newest turns, as many as could matter, and the last summary if the window wants one."""
        window = self._window
        last: tuple[Turn, ...] = ()
        turns: list[Turn] = []
        count = covered = 0
        async with aclosing(self._store().nodes(address)) as nodes:
            async for _, node in nodes:
                count = max(count, node.turn_count)
                if node.covers:
                    if window.summarise and not last:
                        last, covered = node.turns, node.covers
                    continue
                news = node.turns[max(0, covered - node.first) :]
                turns[:0] = (turn.model_copy(update={"segment": HISTORY}) for turn in news)
                is_enough = news[:1] and news[0].role is Role.USER and not window.holds(turns, times=READ_AHEAD)
                if node.first <= covered or is_enough:
                    break
        return _Known(last, tuple(turns), count)

    def _write(self, turns: tuple[Turn, ...], *, covers: int = 0) -> Operation:
        if not turns:
            raise ConfigurationError("ctx.session.append() without turns: give it at least one")
        operation = self._operation("session.append", _TURNS.dump_json(turns), Effect.WRITE)
        run = self._ctx.task_run
        assert run is not None  # only durable work has a key
        mark = f"{operation.path}~"

        async def fence(newest: str) -> None:
            # Refused unless the task is still ours; what it says is where another attempt begins to look.
            value = msgspec.json.encode(newest)
            await run.journal.commit(Entry(kind=EntryKind.DRAW, path=mark, operation="since", value=value))

        async def write() -> bytes:
            began = run.journal.history.entries.get(mark)
            since = msgspec.json.decode(began.value, type=str) if began is not None else None
            await self._store().append(
                self._agent, self._ctx.key, turns, by=operation.key, since=since, fence=fence, covers=covers
            )
            return b""

        operation.request = write
        return operation

    async def _done(self, operation: Operation) -> None:
        await self._ctx.perform(operation)

    def _operation(self, verb: str, body: bytes, effect: Effect) -> Operation:
        return self._ctx.operation(OperationKind.STATE, verb, body, effect=effect)

    def _store(self) -> SessionStore:
        return SessionStore.of(self._ctx.host)


class _Known(NamedTuple):
    """``turn_count`` is of the whole conversation, of which ``turns`` are the newest."""

    summary: tuple[Turn, ...]
    turns: tuple[Turn, ...]
    turn_count: int

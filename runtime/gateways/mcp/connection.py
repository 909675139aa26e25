"""The session with one server for as long as a process needs it: begun when needed, begun anew when it has died."""

import asyncio
import random
from typing import Any, Final

from mcp import MCPError
from mcp_types import CONNECTION_CLOSED, CallToolResult
from pydantic import ValidationError

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.retry import delay_s
from antiphon.runtime.errors import AntiphonError, InDoubt, ToolFailed, ToolUnavailable
from antiphon.runtime.gateways.mcp.content import text_of, value_of
from antiphon.runtime.gateways.mcp.http_client import LOST_SESSION, NOT_RUN
from antiphon.runtime.gateways.mcp.session import Learned, Session, said
from antiphon.runtime.gateways.mcp.ways import Way

PATIENCE_S: Final = 1.0  # a call waits this long for a server that may be tried again soon, else it fails at once


class Connection:
    """Calls of tools of one server, from any task. Every failure is typed by what may have happened.

    After a session that answered nothing the next one waits 0.25 to 30 s, doubling; after one that did, nothing.
    """

    def __init__(self, name: str, way: Way, learned: Learned, clock: Clock, rng: random.Random) -> None:
        self._name = name
        self._way = way
        self._learned = learned
        self._clock = clock
        self._rng = rng
        self._session: Session | None = None
        self._sessions: set[Session] = set()  # this one, and those that are ending
        self._failures = 0
        self._not_before_s = 0.0

    async def ready(self) -> Session:
        """A session that is alive.

        Raises:
            ToolUnavailable: there is none: the server cannot be started or reached, or failed a moment ago.
        """
        session = self._session
        if session is None or session.ended:
            session = self._session = self._begun()
        if not await session.started():
            raise self._unavailable(f"cannot be reached ({session.reason})")
        return session

    async def call(self, tool: str, arguments: dict[str, Any], *, writes: bool) -> Any:
        """What the tool returned (``content.value_of``).

        Raises:
            ToolFailed: the server says that it failed, or refused it; the message is the server's own.
            ToolUnavailable: it did not run, or was lost with the server and only reads: call again.
            InDoubt: it writes, and the server went away while it ran.
        """
        for fresh in (False, True):
            session = await self.ready()
            try:
                result = await session.call(tool, arguments)
            except MCPError as error:
                if error.code == LOST_SESSION:
                    session.end(error.message)
                    if not fresh:
                        continue
                raise self._typed(tool, error, writes=writes) from None
            except (RuntimeError, ValidationError) as error:  # what the SDK says of a result that is not as declared
                raise self._failed(tool, f"its answer is not what it declares: {said(error)}") from None
            return self._value(tool, result)
        raise AssertionError("the second round returns or raises")

    async def close(self) -> None:
        """End the session. Calls in flight fail as if the server had died."""
        await asyncio.gather(*(session.close() for session in tuple(self._sessions)))

    def _begun(self) -> Session:
        left_s = max(0.0, self._not_before_s - self._clock.monotonic_s())
        if left_s > PATIENCE_S:
            reason = self._session.reason if self._session is not None else ""
            raise self._unavailable(f"cannot be reached ({reason}) and is tried again in {left_s:.1f} s")
        session = Session(self._name, self._way, self._learned, self._ended, delay_s=left_s)
        self._sessions.add(session)
        return session

    def _ended(self, session: Session) -> None:
        self._sessions.discard(session)
        self._failures = 0 if session.answered else self._failures + 1
        wait_s = delay_s(self._failures, self._rng) if self._failures else 0.0
        self._not_before_s = self._clock.monotonic_s() + wait_s

    def _value(self, tool: str, result: CallToolResult) -> Any:
        if result.is_error:
            raise self._failed(tool, text_of(result) or "it says nothing more")
        return value_of(result)

    def _typed(self, tool: str, error: MCPError, *, writes: bool) -> AntiphonError:
        if error.code in (NOT_RUN, LOST_SESSION):
            return self._unavailable(f"cannot be reached ({error.message})")
        if error.code != CONNECTION_CLOSED:
            return self._failed(tool, error.message)  # the server's own words, or those of its HTTP status
        if not writes:
            return self._unavailable(f"went away while {tool!r} ran ({error.message})")
        return InDoubt(
            f"MCP server {self._name!r} went away while {tool!r} ran, which writes ({error.message}); look there "
            "before it is called again",
            tool=tool,
            server=self._name,
        )

    def _failed(self, tool: str, reason: str) -> ToolFailed:
        return ToolFailed(f"{tool}: {reason}", tool=tool, server=self._name)

    def _unavailable(self, what: str) -> ToolUnavailable:
        return ToolUnavailable(
            f"MCP server {self._name!r} {what}; see its own output, start it, then try again", server=self._name
        )

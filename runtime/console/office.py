"""The parts of the console that need the bus or the store's writer, put together."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.bus.base import ConsumerState
from antiphon.runtime.bus.topology import TASKS
from antiphon.runtime.client import Client
from antiphon.runtime.console.actions import ACTIONS, Actions
from antiphon.runtime.console.asking import Nothing, answer, query
from antiphon.runtime.console.auth import visitor_of
from antiphon.runtime.console.metrics import Metrics
from antiphon.runtime.console.questions import Questions
from antiphon.runtime.console.topology import Graph
from antiphon.runtime.console.work import WorkDesk
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store
from antiphon.runtime.version import VERSION
from antiphon.schemas.message import Value


class SessionView(Value):
    """What a page needs to know. ``action_token`` goes in the header X-Antiphon-Action with whatever is posted.

    ``person``: who one has proven to be, if one has. ``signed_in``: by a session, which ``POST /logout`` ends.
    ``capture``: whether prompts and replies are kept. ``actions``: what can be posted to ``/api/actions/``.
    """

    action_token: str
    person: str | None
    signed_in: bool
    tenant: str
    version: str
    capture: bool
    actions: tuple[str, ...]


class Office:
    """Work, actions, questions and metrics of one tenant."""

    def __init__(self, client: Client, store: Store, reader: Reader, *, capture_content: bool) -> None:
        host = client.host
        self._bus = host.bus
        self._tenant = host.tenant
        self._capture = capture_content
        self._closing = asyncio.Event()
        self._parts: Sequence[Any] = (
            WorkDesk(client, reader, self._closing),
            Actions(client, store, reader, capture_content=capture_content),
            Questions(store.path, reader, host.clock),
            Graph(reader, host.clock, host.tenant, self._queues),
            Metrics(store.totals, reader, store.path, self._queues, host.directory.agents),
        )

    def routes(self) -> list[BaseRoute]:
        """Where everything is found."""
        found: list[BaseRoute] = [Route("/api/session", self.session)]
        for part in self._parts:
            found += part.routes()
        return found

    async def session(self, request: Request) -> Response:
        """Where one is, and how to act."""
        query(request, Nothing)
        visitor = visitor_of(request)
        return answer(
            SessionView(
                action_token=visitor.action_token,
                person=visitor.name,
                signed_in=bool(visitor.session),
                tenant=self._tenant,
                version=VERSION,
                capture=self._capture,
                actions=tuple(ACTIONS),
            )
        )

    def close(self) -> None:
        """End the streams that are open. Idempotent."""
        self._closing.set()

    async def _queues(self) -> list[ConsumerState]:
        return await self._bus.inspector.consumers(TASKS.name)

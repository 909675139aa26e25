"""The door as one ASGI application, and as a neighbour of another on the same port."""

import asyncio
from collections.abc import Mapping, Sequence

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.runtime.client import Client
from antiphon.runtime.described import Described
from antiphon.runtime.gateways.http.callers import Callers
from antiphon.runtime.gateways.http.completions import Completions
from antiphon.runtime.gateways.http.failures import failures
from antiphon.runtime.gateways.http.openapi import document
from antiphon.runtime.gateways.http.refusals import refused, status_of
from antiphon.runtime.gateways.http.work import Work


class Door:
    """Agents of the client's tenant over HTTP.

    ``tokens`` by the names of callers; ``origins`` of web pages that may call from a browser; ``more`` is served to the
    same callers.
    """

    def __init__(
        self,
        client: Client,
        tokens: Mapping[str, SecretStr],
        origins: Sequence[str] = (),
        more: Sequence[BaseRoute] = (),
    ) -> None:
        self._closing = asyncio.Event()
        self._described = Described(client.host.directory, client.host.clock)
        work = Work(client, self._described, self._closing)
        completions = Completions(client, self._described, self._closing)
        cors = Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "content-encoding", "idempotency-key", "last-event-id"],
            expose_headers=["location", "retry-after"],
        )
        self.app = Starlette(
            routes=[*work.routes(), *completions.routes(), *more, Route("/v1/openapi.json", self._openapi)],
            middleware=[*([cors] if origins else []), Middleware(Callers, tokens=tokens)],
            exception_handlers=failures(refused, status_of, help="; see /v1/openapi.json"),
        )
        self.app.router.redirect_slashes = False

    def close(self) -> None:
        """End the streams that are open; their readers may come back. Idempotent."""
        self._closing.set()

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(document(await self._described.agents()))


class Beside:
    """Middleware: what is below ``/v1/`` goes to the door, everything else to the application that was there.

    Not Starlette's ``Mount``, whose pattern knows no path with a line break.
    """

    def __init__(self, app: ASGIApp, door: ASGIApp) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        ours = scope["type"] == "http" and scope["path"].startswith("/v1/")
        await (self._door if ours else self._app)(scope, receive, send)

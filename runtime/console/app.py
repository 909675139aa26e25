"""The console as one ASGI application."""

from collections.abc import Sequence

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.console.access import LOCAL, Access
from antiphon.runtime.console.api import Api, Directory
from antiphon.runtime.console.asking import BadRequest
from antiphon.runtime.console.auth import OPEN, Entrance, Gate
from antiphon.runtime.console.by_token import ByToken
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.console.overview import Overview
from antiphon.runtime.console.pages import page_routes
from antiphon.runtime.console.refusing import refused
from antiphon.runtime.console.waterfall import Waterfall
from antiphon.runtime.errors import AntiphonError, Unanswerable
from antiphon.runtime.store.query import Reader

log = structlog.get_logger(__name__)


def create_app(
    reader: Reader,
    directory: Directory,
    token: str,
    live: LiveFeed,
    *,
    clock: Clock | None = None,
    more: Sequence[BaseRoute] = (),
    access: Access = LOCAL,
    entrance: Entrance | None = None,
) -> Starlette:
    """Pages and API behind ``token``. ``directory`` says who is alive; ``live`` is fed by the store's writer.

    ``more`` are the routes of an Office: what needs the bus, or writes. ``access`` says where the console is reached;
    ``entrance`` how people come in: with the token if it is not given. Programs always come with the token.
    """
    entrance = entrance if entrance is not None else ByToken(token, secure=access.certificate is not None)
    clock = clock if clock is not None else SystemClock()
    parts = (Api(reader, directory, live, clock), Overview(reader, clock), Waterfall(reader))
    app = Starlette(
        routes=[
            Route(OPEN, _healthy),
            Route("/api/openapi.json", _openapi),
            Route("/api/docs", _docs),
            *page_routes(),
            *(route for part in parts for route in part.routes()),
            *entrance.routes(),
            *more,
        ],
        middleware=[Middleware(Gate, token=token, access=access, entrance=entrance)],
        exception_handlers={
            BadRequest: _bad_request,
            HTTPException: _http_error,
            Unanswerable: _unanswerable,
            AntiphonError: _unavailable,
            TimeoutError: _unavailable,
        },
    )
    app.state.live = live
    app.state.access = access
    return app


async def _openapi(request: Request) -> Response:
    from antiphon.runtime.console.openapi import document  # makes 40 schemas, for whoever asks

    return JSONResponse(document())


async def _docs(request: Request) -> Response:
    from antiphon.runtime.console.openapi import page

    return HTMLResponse(page())


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"error": {"type": kind, "message": message}}, status_code=status)


def _bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)  # Starlette's handlers are typed for any exception
    return _error(error.status, error.kind, error.message)


def _unanswerable(request: Request, error: Exception) -> Response:
    assert isinstance(error, AntiphonError)
    return _bad_request(request, refused(error))


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, "HTTPError", f"{request.method} {request.url.path[:200]}: {error.detail}")


def _unavailable(request: Request, error: Exception) -> Response:
    log.error("console_request_failed", path=request.url.path, error=str(error), error_type=type(error).__name__)
    return _error(503, type(error).__name__, str(error) or "this took too long; try again")

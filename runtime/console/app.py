"""The console as one ASGI application."""

from collections.abc import Awaitable, Callable
from importlib.resources import files

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.console.api import Api, BadRequest, Directory
from antiphon.runtime.console.auth import OPEN, Gate
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.store.query import Reader

log = structlog.get_logger(__name__)

_PAGES = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


def create_app(
    reader: Reader, directory: Directory, token: str, live: LiveFeed, *, clock: Clock | None = None
) -> Starlette:
    """Pages and API behind ``token``. ``directory`` says who is alive; ``live`` is fed by the store's writer."""
    api = Api(reader, directory, live, clock if clock is not None else SystemClock())
    static = files("antiphon.runtime.console").joinpath("static")
    pages = [
        Route(path, _page(static.joinpath(name).read_bytes(), media_type))
        for path, (name, media_type) in _PAGES.items()
    ]
    app = Starlette(
        routes=[Route(OPEN, _healthy), *pages, *api.routes()],
        middleware=[Middleware(Gate, token=token)],
        exception_handlers={
            BadRequest: _bad_request,
            HTTPException: _http_error,
            AntiphonError: _unavailable,
            TimeoutError: _unavailable,
        },
    )
    app.state.live = live
    return app


def _page(content: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        return Response(content, media_type=media_type)

    return page


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"error": {"type": kind, "message": message}}, status_code=status)


def _bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)  # Starlette's handlers are typed for any exception
    return _error(error.status, "BadRequest" if error.status == 400 else "NotFound", error.message)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, "HTTPError", f"{request.method} {request.url.path[:200]}: {error.detail}")


def _unavailable(request: Request, error: Exception) -> Response:
    log.error("console_request_failed", path=request.url.path, error=str(error), error_type=type(error).__name__)
    return _error(503, type(error).__name__, str(error) or "this took too long; try again")

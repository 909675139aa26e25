"""The built client as routes: whatever its build left in static/, read once and sent compressed."""

import gzip
import mimetypes
from collections.abc import Awaitable, Callable
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

_INDEX = "index.html"


def page_routes() -> list[Route]:
    """One for each file. Without a build the address of the page says how to make one; the API works all the same."""
    static = files("antiphon.runtime.console").joinpath("static")
    found = {item.name: item.read_bytes() for item in static.iterdir() if item.is_file()} if static.is_dir() else {}
    routes = [Route("/" if name == _INDEX else f"/{name}", _page(name, content)) for name, content in found.items()]
    return routes if _INDEX in found else [*routes, Route("/", _unbuilt)]


def _page(name: str, content: bytes) -> Callable[[Request], Awaitable[Response]]:
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    packed = gzip.compress(content)
    vary = {"vary": "accept-encoding"}

    async def page(request: Request) -> Response:
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, media_type=media_type, headers={**vary, "content-encoding": "gzip"})
        return Response(content, media_type=media_type, headers=vary)

    return page


async def _unbuilt(request: Request) -> Response:
    return PlainTextResponse("the console's page is not built here: run `make setup`\n", status_code=503)

"""Who may look and act: whoever has come in, under the name we gave, and to act from our own page."""

import hmac
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.runtime.console.access import OWNER, Access
from antiphon.runtime.console.login_page import come_again

READING = ("GET", "HEAD", "OPTIONS")
OPEN = "/healthz"  # says nothing but that the process is there
FRONT = "/"
ACTION_HEADER = "X-Antiphon-Action"

_HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"cross-origin-resource-policy": b"same-origin",
}


class Visitor(NamedTuple):
    """Somebody who has come in. ``name`` is proven; None: the token says nothing of who has it.

    ``action_token`` is what our page proves itself with when it acts: it can be read there, a cookie cannot.
    ``session`` is what signing out ends.
    """

    name: str | None
    action_token: str
    session: str = ""


class Entrance(Protocol):
    """A way to come in. ``advice`` is for whoever is refused."""

    advice: str

    def visitor(self, request: Request) -> Visitor | None:
        """Who this is, by what their browser or the proxy sends along with every request."""
        ...

    async def greet(self, request: Request) -> Response | None:
        """The answer to a stranger at the front page, and to what is posted there; None: they are refused."""
        ...

    def routes(self) -> Sequence[BaseRoute]:
        """What it adds, for those who have come in."""
        ...


class Gate:
    """Lets a request through if its Host is ours and it carries the token as bearer, or its sender has come in.

    The Host check is against a foreign page whose name resolves to this machine (DNS rebinding). For whatever does more
    than read, neither cookies nor a proxy's word suffice, because browsers send both for foreign pages too: it takes
    the token, or the one for actions, which only our own page can have read, and, from a browser, our own origin. The
    token for actions has a header of its own, because a proxy may ask for Authorization itself.
    """

    def __init__(self, app: ASGIApp, token: str, access: Access, entrance: Entrance) -> None:
        self._app = app
        self._token = token
        self._access = access
        self._entrance = entrance
        self._holder = Visitor(OWNER if access.named else None, action_token(token, "token"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = [(name, value) for name, value in _HEADERS.items() if name not in given]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        refusal = await self._refusal(Request(scope, receive))
        await (refusal or self._app)(scope, receive, guarded)

    async def _refusal(self, request: Request) -> Response | None:
        """An answer that is not the application's; None where the request may go on to it."""
        port = request.scope["server"][1] or 80
        host = request.headers.get("host", "")
        if not self._access.is_ours(host, port):
            return _no(request, 403, f"open the console as {self._access.address(port)}, not under another name")
        path, reading = request.scope["path"], request.method in READING
        if path == OPEN:
            return None
        origin = request.headers.get("origin")
        if not reading and origin is not None and not self._access.is_own_page(origin, host):
            return _no(request, 403, f"origin {origin[:80]!r}: only the console's own page may act")
        if same(_bearer(request), self._token):
            visitor: Visitor | None = self._holder
        else:
            visitor = self._entrance.visitor(request)
            if path == FRONT and (visitor is None or not reading):
                if reading and request.headers.get("sec-fetch-site") == "cross-site":
                    return come_again()
                greeting = await self._entrance.greet(request)
                if greeting is not None:
                    return greeting
            if visitor is None:
                return _no(request, 401, self._entrance.advice)
            if not reading and not same(request.headers.get(ACTION_HEADER, ""), visitor.action_token):
                return _no(
                    request, 401, f"expected the header {ACTION_HEADER} with the action_token of /api/session, or "
                    "Authorization: Bearer with the console's token; a cookie is not enough to act"
                )  # fmt: skip
            request.scope.setdefault("state", {})["entrance"] = self._entrance
        request.scope.setdefault("state", {})["visitor"] = visitor
        return None


def visitor_of(request: Request) -> Visitor:
    """Who sent a request that has come through the gate."""
    visitor: Visitor = request.state.visitor
    return visitor


async def while_in(request: Request, parts: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """An open stream's parts, until whoever asked for it has signed out; that is looked at before each part."""
    entrance: Entrance | None = getattr(request.state, "entrance", None)  # none: with the console's token
    async with aclosing(parts):
        async for part in parts:
            if entrance is not None and entrance.visitor(request) is None:
                return
            yield part


def action_token(secret: str, whose: str) -> str:
    """Made of what nobody else knows, and of another for everybody."""
    return hmac.new(secret.encode(), f"console actions {whose}".encode(), "sha256").hexdigest()


def same(given: str, secret: str) -> bool:
    """Whether they are equal, in a time that says nothing about where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


def cookie(request: Request, name: str) -> str:
    """Its value; nothing where there is none."""
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _no(request: Request, status: int, message: str) -> Response:
    if request.scope["path"].startswith(("/api/", "/metrics")):
        return JSONResponse({"error": {"type": "Forbidden", "message": message}}, status_code=status)
    return PlainTextResponse(message + "\n", status_code=status)

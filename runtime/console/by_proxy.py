"""Coming in through a web server that has asked who somebody is, and says so in a header."""

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.runtime.console.access import OWNER, Proxy
from antiphon.runtime.console.auth import OPEN, Visitor, action_token

_NAME: Final = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?")  # printable ASCII, 64 characters at most


class ByProxy:
    """The header counts on a connection from the proxy, and once: two are what somebody sent, and what it added."""

    def __init__(self, proxy: Proxy, token: str) -> None:
        self._proxy = proxy
        self._token = token
        self.advice = (
            f"come through the web server before the console, which says in the header {proxy.header} who you are "
            f"(one name of 1 to 64 printable ASCII characters, and not {OWNER!r}); programs send Authorization: Bearer "
            "and the token"
        )

    def visitor(self, request: Request) -> Visitor | None:
        """Whom the proxy names."""
        given = request.headers.getlist(self._proxy.header)
        if not self._proxy.is_at(address_of(request)) or len(given) != 1:
            return None
        if _NAME.fullmatch(given[0]) is None or given[0] == OWNER:  # nobody is to look like whoever has the token
            return None
        return Visitor(given[0], action_token(self._token, f"proxy {given[0]}"))

    async def greet(self, request: Request) -> Response | None:
        """Nobody: signing in is the proxy's work."""
        return None

    def routes(self) -> Sequence[BaseRoute]:
        """None."""
        return ()


class OnlyProxy:
    """Middleware for an address that other machines reach without TLS: nobody but the proxy is heard there."""

    def __init__(self, app: ASGIApp, proxy: Proxy) -> None:
        self._app = app
        self._proxy = proxy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["path"] == OPEN or self._proxy.is_at(address_of(HTTPConnection(scope))):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse(
            f"{address_of(HTTPConnection(scope))} is not among console_proxies, and without TLS (console_cert) only "
            "those are heard\n",
            status_code=403,
        )
        await refusal(scope, receive, send)


def address_of(request: HTTPConnection) -> str:
    """Of the other end of the connection, whatever headers say."""
    return "" if request.client is None else request.client.host

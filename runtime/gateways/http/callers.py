"""Who may come in: whoever has a token, and then under the name that the token has."""

import hmac
from collections import Counter
from collections.abc import Mapping

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.runtime.gateways.http.failures import Refuse
from antiphon.runtime.gateways.http.refusals import refused
from antiphon.schemas.task import ErrorInfo

MOST_OPEN = 512  # requests that are answered at once, streams included; one more is told to come again
_KEPT = 2  # one in so many places is divided among the callers and kept for them, so that none shuts out another

_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Callers:
    """Lets a request through if it carries a token as ``Authorization: Bearer``, and says whose it is.

    Cookies and parameters do not count. So a foreign web page can do nothing with what a browser knows, whatever name
    it reached us by, and tokens stay out of addresses. ``refuse`` puts a refusal into words.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: Mapping[str, SecretStr],
        refuse: Refuse = refused,
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._tokens = {name: token.get_secret_value().encode() for name, token in tokens.items()}
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        caller = self._caller(Headers(scope=scope).get("authorization", ""))
        if caller is None:
            info = ErrorInfo(type="Unauthorized", message="expected the header Authorization: Bearer and a valid token")
            await self._refuse(401, info, {"www-authenticate": "Bearer"})(scope, receive, marked)
        elif self._full(caller):
            found = f"{self._open[caller]} requests of {caller} are open, {self._open.total()} of all callers"
            info = ErrorInfo(type="Busy", message=f"{found}, the most there can be; try again", retryable=True)
            await self._refuse(429, info, {})(scope, receive, marked)
        else:
            scope.setdefault("state", {})["caller"] = caller
            self._open[caller] += 1
            try:
                await self._app(scope, receive, marked)
            finally:
                self._open[caller] -= 1

    def _full(self, caller: str) -> bool:
        own = MOST_OPEN // _KEPT // len(self._tokens)
        if self._open[caller] < own:
            return False
        return sum(max(own, self._open[name]) for name in self._tokens) >= MOST_OPEN

    def _caller(self, authorization: str) -> str | None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        raw = given.strip().encode("latin-1")  # the bytes as they came
        # All are compared, so that the time says nothing about which one it was like.
        found = [name for name, token in self._tokens.items() if hmac.compare_digest(raw, token)]
        return found[0] if found else None


def caller_of(request: Request) -> str:
    """The name behind the token."""
    name: str = request.state.caller
    return name

"""Coming in with the token of the address that ``antiphon up`` prints."""

from collections.abc import Sequence
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from antiphon.runtime.console.auth import FRONT, READING, Visitor, action_token, cookie, same


class ByToken:
    """``?token=`` once, and from then on a cookie. It is named after the port: browsers share cookies among ports."""

    advice = "open the address that `antiphon up` printed: it carries the token"

    def __init__(self, token: str, *, secure: bool) -> None:
        self._token = token
        self._secure = secure
        self._visitor = Visitor(None, action_token(token, "token"))

    def visitor(self, request: Request) -> Visitor | None:
        """Whoever has the cookie."""
        return self._visitor if same(cookie(request, _name(request)), self._token) else None

    async def greet(self, request: Request) -> Response | None:
        """The token of the address becomes the cookie, and leaves the address."""
        given = parse_qs(request.scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if request.method not in READING or not same(given, self._token):
            return None
        answer = RedirectResponse(FRONT, status_code=303)
        answer.set_cookie(_name(request), given, httponly=True, samesite="strict", path="/", secure=self._secure)
        return answer

    def routes(self) -> Sequence[BaseRoute]:
        """None."""
        return ()


def _name(request: Request) -> str:
    return f"antiphon_{request.scope['server'][1] or 80}"

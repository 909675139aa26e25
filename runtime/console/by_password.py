"""Coming in with a name and a password."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

import structlog
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.clock import Clock
from antiphon.runtime.console.asking import BadRequest, read
from antiphon.runtime.console.attempts import Attempts
from antiphon.runtime.console.auth import FRONT, READING, Visitor, action_token, cookie, visitor_of
from antiphon.runtime.console.by_proxy import address_of
from antiphon.runtime.console.login_page import login_page
from antiphon.runtime.console.sessions import LASTS_S, Sessions
from antiphon.runtime.passwords import decoy, matches
from antiphon.runtime.store.audit import Outcome
from antiphon.runtime.store.sqlite import Store

FORM_BYTES: Final = 8_192
AT_ONCE: Final = 2  # passwords that are looked at: 16 MiB and a core each

log = structlog.get_logger(__name__)


class ByPassword:
    """A form at the front page, and from then on a session whose id is a cookie. The audit log has who came and left.

    Only over TLS: the cookie has the prefix ``__Host-``, which browsers take from no other origin.
    """

    advice = "sign in at the console's front page; programs send Authorization: Bearer and the console's token"

    def __init__(self, passwords: Mapping[str, SecretStr], store: Store, clock: Clock) -> None:
        self._passwords = {name: password.get_secret_value() for name, password in passwords.items()}
        self._nobody = decoy()
        self._store = store
        self._clock = clock
        self._sessions = Sessions()
        self._attempts = Attempts()
        self._looking = asyncio.Semaphore(AT_ONCE)

    def visitor(self, request: Request) -> Visitor | None:
        """Whose session it is."""
        session = cookie(request, _name(request))
        name = self._sessions.name(session, self._clock.monotonic_s())
        return None if name is None else Visitor(name, action_token(session, "session"), session)

    async def greet(self, request: Request) -> Response | None:
        """The form, and the answer to it: back to the front page, or what was wrong."""
        if request.method in READING:
            return login_page(401)
        address = address_of(request)
        wait_s = math.ceil(self._attempts.take(address, self._clock.monotonic_s()))
        if wait_s:
            log.warning("console_login_refused", address=address, reason="too many attempts")
            return login_page(429, f"Too many attempts. Try again in {wait_s} s.", retry_after_s=wait_s)
        try:
            name, password = await _filled_in(request)
        except BadRequest as error:
            return login_page(error.status, error.message)
        if not await self._is_right(name, password):
            log.warning("console_login_refused", address=address, name=name[:64], reason="wrong name or password")
            return login_page(401, "This name and this password do not go together.")
        self._attempts.succeeded(address)
        await self._note("login", name, address)
        answer = RedirectResponse(FRONT, status_code=303)
        answer.set_cookie(
            _name(request), self._sessions.begin(name, self._clock.monotonic_s()), max_age=int(LASTS_S), path="/",
            secure=True, httponly=True, samesite="strict",
        )  # fmt: skip
        return answer

    def routes(self) -> Sequence[BaseRoute]:
        """Where one signs out."""
        return (Route("/logout", self.leave, methods=["POST"]),)

    async def leave(self, request: Request) -> Response:
        """End the session."""
        visitor = visitor_of(request)
        if visitor.session and visitor.name is not None:
            await self._note("logout", visitor.name, address_of(request))
            self._sessions.end(visitor.session)
        answer = Response(status_code=204)
        answer.delete_cookie(_name(request), path="/", secure=True, httponly=True, samesite="strict")
        return answer

    async def _is_right(self, name: str, password: str) -> bool:
        kept = self._passwords.get(name, self._nobody)
        async with self._looking:
            return await asyncio.to_thread(matches, password, kept)

    async def _note(self, action: str, name: str, address: str) -> None:
        def note() -> None:
            act = self._store.begin_act(action=action, by=name, arguments={"address": address})
            self._store.end_act(act, Outcome.OK, "")

        await self._store.apart(note)


async def _filled_in(request: Request) -> tuple[str, str]:
    raw = await read(request, FORM_BYTES)
    try:
        given = parse_qs(raw.decode("ascii"), max_num_fields=8, errors="strict")
        return given["name"][0], given["password"][0]
    except (ValueError, LookupError):
        raise BadRequest(422, "Expected a form with a name and a password.") from None


def _name(request: Request) -> str:
    return f"__Host-antiphon_{request.scope['server'][1] or 443}"

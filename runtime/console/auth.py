"""Who may look: whoever has the token, from this machine, under the name we gave."""

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = ("127.0.0.1", "localhost", "[::1]")
READING = ("GET", "HEAD", "OPTIONS")
OPEN = "/healthz"  # says nothing but that the process is there

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Gate:
    """Lets a request through if its Host is ours and it carries the token: bearer, cookie, or ?token= once.

    The Host check is against a foreign page whose name resolves to this machine (DNS rebinding). The cookie is
    named after the port, because browsers share cookies among ports. For whatever does more than read, cookies do not
    count: it takes a bearer token (the console's, or the one for actions, which only our own page can have read) and,
    from a browser, our own origin.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()
        self._actions = action_token(token).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        port = scope["server"][1] or 80
        if not _is_ours(headers.get("host", ""), port):
            return _no(scope, 403, f"open the console as http://127.0.0.1:{port}/, not under another name")
        if scope["path"] == OPEN:
            return None
        if scope["method"] not in READING:
            return self._refused_action(scope, headers, port)
        cookie = f"antiphon_{port}"
        if self._same(_bearer(headers)) or self._same(_cookie(headers, cookie)):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._same(given):
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(cookie, given, httponly=True, samesite="strict", path="/")
            return answer
        return _no(scope, 401, "open the address that `antiphon up` printed: it carries the token")

    def _refused_action(self, scope: Scope, headers: Headers, port: int) -> Response | None:
        origin = headers.get("origin")
        if origin is not None and not (origin.startswith("http://") and _is_ours(origin[7:], port)):
            return _no(scope, 403, f"origin {origin[:80]!r}: only the console's own page may act")
        given = _bearer(headers)
        if self._same(given) or hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._actions):
            return None
        return _no(
            scope, 401, "expected the header Authorization: Bearer with the console's token, or with the action_token "
            "of /api/session; a cookie is not enough to act"
        )  # fmt: skip

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)


def action_token(token: str) -> str:
    """What the console's own page proves itself with when it acts: it can be read, the cookie cannot."""
    return hmac.new(token.encode(), b"console actions", "sha256").hexdigest()


def _is_ours(host: str, port: int) -> bool:
    return host.lower() in {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _cookie(headers: Headers, name: str) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _no(scope: Scope, status: int, message: str) -> Response:
    if scope["path"].startswith(("/api/", "/metrics")):
        return JSONResponse({"error": {"type": "Forbidden", "message": message}}, status_code=status)
    return PlainTextResponse(message + "\n", status_code=status)

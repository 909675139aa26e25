"""What strangers see: the page on which people sign in, and one for those who may be no strangers."""

import hashlib
import html
from base64 import b64encode
from typing import Final

from starlette.responses import HTMLResponse, Response

_STYLE: Final = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif;"
    "background:light-dark(#f7f8fa,#14171c);color:light-dark(#1c2430,#e4e8ee)}"
    "main{max-width:20rem;margin:14vh auto;padding:0 1rem}"
    "form{display:grid;gap:.9rem}label{display:grid;gap:.2rem}"
    "input,button{font:inherit;padding:.5rem .7rem;border:1px solid light-dark(#767f8c,#7d8896);border-radius:6px}"
    "button{background:light-dark(#1f5fbf,#8ab4f8);color:light-dark(#fff,#10141a);border:0}"
    "p{color:light-dark(#a11b1b,#ff9d94)}"
)
# To another address than before, or the browser would only scroll there.
_AGAIN: Final = 'location.replace("/?" + location.search.slice(1) + "&" + location.hash)'


def _policy(allowed: str, text: str) -> str:
    digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return (
        f"default-src 'none'; {allowed} 'sha256-{digest}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )


_HEADERS: Final = {
    "content-security-policy": _policy("style-src", _STYLE),
    # Under no-referrer a browser posts a form with `Origin: null`, and nobody could tell it from a foreign page's.
    "referrer-policy": "same-origin",
}


def login_page(status: int, problem: str = "", *, retry_after_s: int = 0) -> Response:
    """The form, and what was wrong. It posts to its own address, so what stands behind the ``#`` there is kept."""
    said = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in · Antiphon</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f'<style>{_STYLE}</style><main><h1>Antiphon</h1><form method="post">{said}'
        '<label>Name <input name="name" autocomplete="username" autocapitalize="none" required autofocus></label>'
        '<label>Password <input name="password" type="password" autocomplete="current-password" required></label>'
        "<button>Sign in</button></form></main></html>"
    )
    waits = {"retry-after": str(retry_after_s)} if retry_after_s else {}
    return HTMLResponse(page, status_code=status, headers={**_HEADERS, **waits})


def come_again() -> Response:
    """For whoever follows a link on another site: browsers keep a ``SameSite=Strict`` cookie from that request.

    They send it with the next one, which this page makes.
    """
    page = f'<!doctype html><html lang="en"><title>Antiphon</title><script>{_AGAIN}</script></html>'
    return HTMLResponse(page, headers={"content-security-policy": _policy("script-src", _AGAIN)})

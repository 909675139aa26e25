"""What an HTTP server's refusal means, as one of our errors. Pure."""

import json
import re
from typing import Any, Final

from antiphon.runtime.errors import (
    ContextTooLong,
    InvalidRequest,
    ModelBusy,
    ModelError,
    ModelUnavailable,
    UnknownModel,
)

_CONTEXT: Final = re.compile(
    r"context[ _](length|size|window)|maximum context|too many (input )?tokens|prompt is too long", re.IGNORECASE
)
_NUMBER: Final = re.compile(r"\d{2,9}")
_SHOWN = 300  # characters of the server's own words


def refusal(
    status: int, text: str, *, where: str, model: str, retry_after: str = "", key: str | None = None
) -> ModelError:
    """The error for a status that is not 200. ``where`` is the URL; ``key`` is taken out of the server's words."""
    said, kind = _words(text)
    said = re.sub(r"\s+", " ", said.replace(key, "…") if key else said)[:_SHOWN] or "no reason"
    found = f"{where} answered {status} ({said})"
    if status in (401, 403):
        return ModelError(f"{found}: check the key in the variable that the model's api_key_env names", status=status)
    if status in (408, 409, 425, 429) or status >= 500:
        seconds = {"retry_after_s": retry_after} if re.fullmatch(r"\d{1,6}(\.\d+)?", retry_after) else {}
        error = ModelBusy if status == 429 else ModelUnavailable
        return error(f"{found}: busy or broken, try again later", status=status, **seconds)
    if status in (400, 413, 422) and _CONTEXT.search(f"{kind} {said}"):
        numbers = ", ".join(_NUMBER.findall(said))
        return ContextTooLong(f"{found}: shorten the conversation", status=status, model=model, numbers=numbers)
    if status == 404:
        return UnknownModel(f"{found}: check that the base URL is right and that the server has {model!r}")
    if 300 <= status < 400:
        return ModelError(f"{found}: the base URL points elsewhere, use the address it moved to", status=status)
    return InvalidRequest(f"{found}: the server does not take this request for {model!r}", status=status)


def _words(text: str) -> tuple[str, str]:
    """The message and the kind in an error body; servers nest them differently."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return text, ""
    for _ in range(3):
        if isinstance(found, dict) and "error" in found:
            found = found["error"]
    if not isinstance(found, dict):
        return str(found), ""
    said = found.get("message") or found.get("detail") or text
    return str(said), f"{found.get('code', '')} {found.get('type', '')}"

"""A guard that takes out of texts what others should not see."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.guards.guard import Guard, Moment
from antiphon.runtime.guards.leaves import mapped, texts
from antiphon.runtime.guards.personal import redacted

Redact = Callable[[str], str | Awaitable[str]]
LONG = 65_536  # characters: about 30 ms of personal data's patterns


def redacts(*stages: str, by: Mapping[str, str] | Redact = redacted) -> Guard:
    """Rewrite every text inside the value.

    ``by`` is a function of one text (async, if it has to wait), such as one that asks Presidio; or patterns by name, of
    which each match becomes ``[name]``. Without it, personal data of usual form goes: see ``guards/personal.py``. A
    text of more than 65,536 characters is given to it in a thread.

    Raises:
        ConfigurationError: a pattern that is no regular expression.
    """
    return _Redaction(stages=stages, redact=_patterns(by) if isinstance(by, Mapping) else by)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Redaction:
    stages: tuple[str, ...]
    redact: Redact
    name: str = "redacts"

    async def check(self, value: Any, moment: Moment) -> Any:
        found: dict[str, str] = {}
        for text in texts(value):
            if text not in found:
                # A long one takes seconds: other work of the node, heartbeats above all, goes on meanwhile.
                new = self.redact(text) if len(text) <= LONG else await asyncio.to_thread(self.redact, text)
                found[text] = await new if inspect.isawaitable(new) else new
        return mapped(value, found.__getitem__)


def _patterns(by: Mapping[str, str]) -> Callable[[str], str]:
    try:
        compiled = [(f"[{name}]", re.compile(pattern)) for name, pattern in by.items()]
    except re.error as error:
        raise ConfigurationError(f"a pattern to redact by is no regular expression: {error}") from None

    def redact(text: str) -> str:
        for mark, pattern in compiled:
            text = pattern.sub(lambda _, mark=mark: mark, text)  # type: ignore[misc]  # mypy infers no lambda default
        return text

    return redact

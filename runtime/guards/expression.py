"""Guards that look for a regular expression (Python's ``re``; the author keeps it from running away)."""

import re
from dataclasses import dataclass
from typing import Any

from antiphon.runtime.errors import ConfigurationError, Refused
from antiphon.runtime.guards.guard import Guard, Moment
from antiphon.runtime.guards.leaves import texts


def matches(pattern: str, *stages: str) -> Guard:
    """Let pass what has the pattern somewhere in one of its texts. Replies that are no answer yet pass.

    Raises:
        ConfigurationError: no regular expression.
    """
    return _Expression(name="matches", stages=stages, pattern=_compiled(pattern))


def forbids(pattern: str, *stages: str) -> Guard:
    """Let pass what has the pattern in none of its texts.

    Raises:
        ConfigurationError: no regular expression.
    """
    return _Expression(name="forbids", stages=stages, pattern=_compiled(pattern))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expression:
    name: str
    stages: tuple[str, ...]
    pattern: re.Pattern[str]

    async def check(self, value: Any, moment: Moment) -> Any:
        wanted = self.name == "matches"
        if wanted and not moment.is_answer:
            return value
        if any(self.pattern.search(text) for text in texts(value)) is not wanted:
            raise Refused(f"{'nothing' if wanted else 'something'} in it matches {self.pattern.pattern!r}")
        return value


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"a guard's pattern {pattern!r} is no regular expression: {error}") from None

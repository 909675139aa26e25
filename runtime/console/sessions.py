"""Who has signed in. Kept in memory: after a restart everybody signs in again. Pure: the time is passed in."""

import hashlib
import secrets
from collections import OrderedDict
from typing import Final, NamedTuple

LASTS_S: Final = 12 * 3_600.0
MOST: Final = 1_000  # one more ends the oldest


class _Session(NamedTuple):
    name: str
    until_s: float


class Sessions:
    """Ids that browsers keep in a cookie, by what they are hashed to: a copy of our memory opens nothing."""

    def __init__(self) -> None:
        self._found: OrderedDict[bytes, _Session] = OrderedDict()

    def begin(self, name: str, now_s: float) -> str:
        """A new session's id, for twelve hours."""
        id = secrets.token_urlsafe(32)
        self._found[_key(id)] = _Session(name, now_s + LASTS_S)
        if len(self._found) > MOST:
            self._found.popitem(last=False)
        return id

    def name(self, id: str, now_s: float) -> str | None:
        """Whose it is; None if it has ended, or never was."""
        found = self._found.get(_key(id))
        if found is None or found.until_s > now_s:
            return None if found is None else found.name
        self.end(id)
        return None

    def end(self, id: str) -> None:
        """Forget it."""
        self._found.pop(_key(id), None)


def _key(id: str) -> bytes:
    return hashlib.sha256(id.encode("utf-8", "surrogateescape")).digest()

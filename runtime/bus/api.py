"""JetStream's JSON API: one request, one answer or a numbered error."""

import json
from typing import Any

from antiphon.runtime.bus.core import Core
from antiphon.runtime.errors import BusError, BusUnavailable, NoResponders, RequestTimeout

PREFIX = "$JS.API"
MISSING_STREAM = 10059
_ANSWER_S = 5.0
NO_ROOM = (10047, 10023, 10028, 10002)  # storage, resources or memory insufficient; account limit


class ApiError(BusError):
    """An error that the server numbered (``err_code``); the callers in this folder translate it."""

    def __init__(self, number: int, description: str) -> None:
        super().__init__(f"JetStream error {number}: {description}", number=number)
        self.number = number
        self.description = description

    @classmethod
    def of(cls, error: dict[str, Any]) -> "ApiError":
        """From the ``error`` object of an answer."""
        return cls(int(error.get("err_code") or error.get("code") or 0), str(error.get("description", "")))

    def unavailable(self, what: str) -> BusUnavailable:
        """As the error that callers of the seam know."""
        hint = (
            "; the server's JetStream storage limit is too small: raise max_file_store or free disk space"
            if self.number in NO_ROOM
            else ""
        )
        return BusUnavailable(f"{what}: {self.description} (JetStream error {self.number}){hint}", number=self.number)


class Api:
    """Calls ``$JS.API.…``."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def call(self, verb: str, request: dict[str, Any], timeout_s: float = _ANSWER_S) -> dict[str, Any]:
        """One call.

        Raises:
            ApiError: the server said no.
            BusUnavailable: no server, or one without JetStream.
        """
        body = json.dumps(request).encode() if request else b""
        try:
            answer = await self._core.request(f"{PREFIX}.{verb}", body, None, timeout_s)
        except NoResponders as error:
            raise BusUnavailable(
                f"the server {self._core.connection.url} has no JetStream; start it with --jetstream"
            ) from error
        except RequestTimeout as error:
            raise self._core.connection.unavailable(f"JetStream does not answer {verb}", error) from error
        said: dict[str, Any] = json.loads(answer.body)
        if "error" in said:
            raise ApiError.of(said["error"])
        return said

"""What escapes a door's endpoints, as answers in the words of that door."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from antiphon.runtime.errors import AntiphonError, to_info
from antiphon.runtime.gateways.http.leaving import Gone
from antiphon.runtime.gateways.http.refusals import Refusal
from antiphon.schemas.task import ErrorInfo

HUNG_UP = 499  # as nginx has it; nobody sees it

log = structlog.get_logger(__name__)


class Refuse(Protocol):
    """How a door says no."""

    def __call__(self, status: int, info: ErrorInfo, headers: Mapping[str, str]) -> Response:
        """The response."""
        ...


def failures(
    refuse: Refuse, status_of: Callable[[AntiphonError], int], *, help: str = ""
) -> Mapping[Any, Callable[[Request, Exception], Any]]:
    """Starlette's exception handlers. ``help`` ends what is said of paths and methods that there are not."""

    async def refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)  # Starlette's handlers are typed for any exception
        return refuse(error.status, error.info, error.headers)

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, AntiphonError)
        status = status_of(error)
        if status >= 500:
            log.warning("http_request_failed", path=request.url.path, status=status, error=str(error))
        return refuse(status, to_info(error), {})

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path[:200]}: {error.detail}{help}"
        return refuse(error.status_code, ErrorInfo(type="HTTPError", message=message), error.headers or {})

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=HUNG_UP)

    async def failed(request: Request, error: Exception) -> Response:
        log.error("http_door_failed", path=request.url.path, exc_info=error)
        info = ErrorInfo(type="InternalError", message="the door itself failed; its log says how")
        return refuse(500, info, {})

    return {Refusal: refusal, AntiphonError: ours, HTTPException: http, Gone: gone, Exception: failed}

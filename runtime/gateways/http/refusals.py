"""How the door says no: one JSON form for every error, and the status of each class. Never a traceback."""

from collections.abc import Mapping
from types import MappingProxyType

from starlette.responses import JSONResponse, Response

from antiphon.runtime import errors
from antiphon.schemas.task import ErrorInfo

RETRY_AFTER_S = 1

# The nearest class of an error's ancestry counts. 500 is what went wrong inside an agent.
_STATUS: Mapping[type[errors.AntiphonError], int] = MappingProxyType(
    {
        errors.AntiphonError: 500,
        errors.MessageError: 422,
        errors.ContextTooLong: 422,
        errors.UnknownAgent: 404,
        errors.UnknownHandler: 404,
        errors.Refused: 403,
        errors.UnknownTask: 404,
        errors.UnknownSession: 404,
        errors.NotDurable: 409,
        errors.TaskCancelled: 409,
        errors.MessageTooLarge: 413,
        errors.Busy: 429,
        errors.BusUnavailable: 503,
        errors.NoResponders: 503,
        errors.NodeStopping: 503,
        errors.ModelUnavailable: 503,
        errors.RequestTimeout: 504,
        errors.DeadlineExceeded: 504,
    }
)
WAIT = frozenset({429, 503})


class Refusal(Exception):
    """A request that the door itself does not take: the status, a name for programs, and what to do."""

    def __init__(self, status: int, type: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.info = ErrorInfo(type=type, message=message)
        self.headers = dict(headers or {})


def status_of(error: errors.AntiphonError) -> int:
    """The HTTP status of an error of ours."""
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)


def error_json(info: ErrorInfo) -> dict[str, object]:
    """The body of every error; OpenAI's clients read ``error.message`` and ``error.type`` too."""
    return {"error": info.model_dump()}


def refused(status: int, info: ErrorInfo, headers: Mapping[str, str] | None = None) -> Response:
    """An error as a response; where waiting helps it says for how long."""
    more = {"retry-after": str(RETRY_AFTER_S)} if status in WAIT else {}
    return JSONResponse(error_json(info), status_code=status, headers={**more, **(headers or {})})

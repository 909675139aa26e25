"""How the gateway says no: OpenAI's JSON for every error, and the status of each class. Never a traceback. Pure."""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from starlette.responses import JSONResponse, Response

from antiphon.runtime import errors
from antiphon.runtime.gateways.http import refusals
from antiphon.schemas.openai import ErrorBody, ErrorObject
from antiphon.schemas.task import ErrorInfo

# Where the door to agents says something else: there, a model that fails is the agent's failure. A reply that is none
# is the request's, because a cut or a schema brought it about.
_STATUS: Final[Mapping[type[errors.AntiphonError], int]] = MappingProxyType(
    {
        errors.InvalidRequest: 400,
        errors.ContextTooLong: 400,
        errors.InvalidOutput: 400,
        errors.UnknownModel: 404,
        errors.ModelBusy: 429,
    }
)
_CODES: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "InvalidRequest": None,
        "HTTPError": None,
        "ContextTooLong": "context_length_exceeded",
        "UnknownModel": "model_not_found",
        "Unauthorized": "invalid_api_key",
        "Busy": "rate_limit_exceeded",
        "ModelBusy": "rate_limit_exceeded",
    }
)
_KINDS: Final[Mapping[int, str]] = MappingProxyType({429: "rate_limit_error"})


def status_of(error: errors.AntiphonError) -> int:
    """The HTTP status of an error of ours."""
    own = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), None)
    return refusals.status_of(error) if own is None else own


def error_body(status: int, info: ErrorInfo) -> ErrorBody:
    """The body of an error, or the event that ends a stream."""
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = _CODES[info.type] if info.type in _CODES else _snake(info.type)
    param = info.details.get("param")
    return ErrorBody(error=ErrorObject(message=info.message, type=kind, param=param, code=code))


def refuse(status: int, info: ErrorInfo, headers: Mapping[str, str]) -> Response:
    """An error as a response; where waiting helps it says for how long."""
    status = 400 if status == 422 else status  # OpenAI's for whatever does not fit
    more = {}
    if status in refusals.WAIT:
        after_s = float(info.details.get("retry_after_s", refusals.RETRY_AFTER_S))
        more["retry-after"] = str(max(1, math.ceil(after_s)))
    return JSONResponse(error_body(status, info), status_code=status, headers={**more, **headers})


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()

import inspect
import json

import pytest

from antiphon.runtime import errors
from antiphon.runtime.errors import to_info
from antiphon.runtime.gateways.openai.refusals import refuse, status_of
from antiphon.schemas.task import ErrorInfo

ALL = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, errors.AntiphonError)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_status_and_a_code(kind: type[errors.AntiphonError]) -> None:
    """In OpenAI's form; what may be tried again is no mistake of the caller's."""
    error = kind("why")
    answer = refuse(status_of(error), to_info(error), {})
    body = json.loads(bytes(answer.body))
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["message"] == "why"
    assert answer.status_code >= 500 or not error.retryable or answer.status_code in (400, 429)


@pytest.mark.parametrize(
    ("status", "details", "waits"),
    [
        (429, {"retry_after_s": "2.1"}, "3"),
        (503, {"retry_after_s": "0.2"}, "1"),
        (503, {}, "1"),
        (500, {}, None),
    ],
)
def test_how_long_to_wait(status: int, details: dict[str, str], waits: str | None) -> None:
    """Whole seconds, one at least, where waiting helps."""
    answer = refuse(status, ErrorInfo(type="X", message="why", details=details), {})
    assert answer.headers.get("retry-after") == waits


def test_what_does_not_fit_is_a_bad_request() -> None:
    """OpenAI knows no 422 for it."""
    assert refuse(422, ErrorInfo(type="InvalidParameter", message="why"), {}).status_code == 400

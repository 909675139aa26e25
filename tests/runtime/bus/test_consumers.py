"""Binding to a durable while its deleted namesake is still going."""

from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from antiphon.runtime.bus.api import Api, ApiError
from antiphon.runtime.bus.base import ConsumerSpec
from antiphon.runtime.bus.consumers import bind
from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.testing import virtual_time

SPEC = ConsumerSpec(stream="S", name="w", subjects=("s.>",))
NO_DIRECTORY = ApiError(10012, "open /obs/w/o.dat.tmp: no such file or directory")
DOES_NOT_EXIST = ApiError(10149, "consumer does not exist")


class Refusing:
    """An API that refuses with each of these errors in turn and then agrees."""

    def __init__(self, *errors: ApiError) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def call(self, verb: str, request: dict[str, Any]) -> dict[str, Any]:
        """One create."""
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return {}


@virtual_time()
async def test_passing_refusals_are_outlasted() -> None:
    """What the server says while a deleted durable's directory goes is logged, and the create repeated."""
    api = Refusing(NO_DIRECTORY, DOES_NOT_EXIST)
    with capture_logs() as logs:
        await bind(cast(Api, api), SPEC)
    assert api.calls == 3
    assert [(entry["event"], entry["consumer"], entry["pause_s"]) for entry in logs] == [
        ("consumer_bind_repeated", "w", 0.05),
        ("consumer_bind_repeated", "w", 0.1),
    ]


@virtual_time()
async def test_a_refusal_that_does_not_pass_is_an_error() -> None:
    """After six creates the server's own words are raised."""
    api = Refusing(*[NO_DIRECTORY] * 6)
    with pytest.raises(BusUnavailable, match=r"cannot bind consumer w of stream S: .*no such file or directory"):
        await bind(cast(Api, api), SPEC)
    assert api.calls == 6


@virtual_time()
async def test_other_refusals_are_errors_at_once() -> None:
    """A missing stream is not waited for."""
    api = Refusing(ApiError(10059, "stream not found"))
    with pytest.raises(BusUnavailable, match="stream not found"):
        await bind(cast(Api, api), SPEC)
    assert api.calls == 1

import inspect

import pytest

from antiphon.runtime import errors
from antiphon.runtime.gateways.http.refusals import status_of
from antiphon.schemas.task import ErrorInfo

ALL = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, errors.AntiphonError)]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.InvalidMessage, 422),
        (errors.UnknownVersion, 422),
        (errors.Refused, 403),
        (errors.UnknownTask, 404),
        (errors.NotDurable, 409),
        (errors.Busy, 429),
        (errors.HandlerFailed, 500),
        (errors.TaskDead, 500),
        (errors.NodeStopping, 503),
        (errors.DeadlineExceeded, 504),
        (errors.RequestTimeout, 504),
    ],
)
def test_the_status_of_an_error(kind: type[errors.AntiphonError], status: int) -> None:
    """The nearest class counts: the caller's mistakes are 4xx."""
    assert status_of(kind("x")) == status


def test_every_error_has_one() -> None:
    """A class that nobody thought of is the agent's failure; what came over the wire has the same status."""
    assert len(ALL) > 40
    for kind in ALL:
        assert 400 <= status_of(kind("x")) < 600
        assert status_of(errors.from_info(ErrorInfo(type=kind.__name__, message="x"))) == status_of(kind("x"))

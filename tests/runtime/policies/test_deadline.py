"""No operation starts after its deadline."""

import pytest

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import DeadlineExceeded
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome, Scope, build
from antiphon.runtime.policies.deadline import DeadlineInterceptor

NOW_MS = 5_000


class Fixed(SystemClock):
    """Always NOW_MS."""

    def unix_ns(self) -> int:
        return NOW_MS * 1_000_000


def operation(deadline_unix_ms: int | None) -> Operation:
    """Something to do by then."""
    return Operation(
        kind=OperationKind.TOOL,
        path="3",
        target="search",
        scope=Scope(tenant="default", run="r"),
        body=b"",
        deadline_unix_ms=deadline_unix_ms,
    )


@pytest.mark.parametrize("deadline_unix_ms", [None, NOW_MS + 1])
async def test_with_time_left_it_passes_on(deadline_unix_ms: int | None) -> None:
    """The operation itself, unchanged."""

    async def transport(found: Operation) -> Outcome:
        return Outcome(found.deadline_unix_ms, b"")

    perform = build([DeadlineInterceptor(Fixed())], transport)
    assert (await perform(operation(deadline_unix_ms))).value == deadline_unix_ms


@pytest.mark.parametrize(("deadline_unix_ms", "late_ms"), [(NOW_MS, 0), (NOW_MS - 40, 40)])
def test_without_time_left_it_is_refused(deadline_unix_ms: int, late_ms: int) -> None:
    """The error says what came how late; the transport never sees it."""

    async def transport(found: Operation) -> Outcome:
        raise AssertionError("it was passed on")

    with pytest.raises(DeadlineExceeded, match=f"tool search: the deadline passed {late_ms} ms ago") as caught:
        build([DeadlineInterceptor(Fixed())], transport)(operation(deadline_unix_ms))
    assert caught.value.details == {"path": "3"}


def test_a_budget_of_wall_time_is_named_when_it_has_lapsed() -> None:
    """It is what became the deadline, so whoever reads the error knows what to raise."""

    async def transport(found: Operation) -> Outcome:
        raise AssertionError("it was passed on")

    late = operation(NOW_MS - 40)
    late.scope = late.scope._replace(budget={"wall_s": 2.5, "steps": 9.0})
    with pytest.raises(DeadlineExceeded, match=r"passed 40 ms ago \(the run's budget is wall_s=2\.5\); allow more"):
        build([DeadlineInterceptor(Fixed())], transport)(late)

"""Attempts in place."""

import asyncio
import random
from typing import Any

import pytest

from antiphon.runtime.clock import LoopClock
from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.errors import AntiphonError, ContextTooLong, ModelBusy, ModelUnavailable
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome, Scope
from antiphon.runtime.policies.retry import Retrier
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import virtual_time
from antiphon.schemas.inference import GenerateRequest, Role, turn
from antiphon.schemas.policy import Level, Policy, Proposal, Retry
from antiphon.schemas.task import Effect

MODEL, TOOL, ASK, RUN = OperationKind.MODEL, OperationKind.TOOL, OperationKind.ASK, OperationKind.RUN


def policy(attempts: int = 3, backoff_s: float = 1.0) -> Policy:
    """A retry that is on."""
    action = Retry(attempts=attempts, backoff_s=backoff_s)
    return Policy(id="r", proposal=Proposal(action=action, target="model m"), level=Level.ON)


def operation(
    kind: OperationKind = MODEL, effect: Effect = Effect.READ, *, show: Any = None, unkeyed: bool = False
) -> Operation:
    """An operation of a handler."""
    request = GenerateRequest(model="m", conversation=(turn(Role.USER, "hi"),))
    return Operation(
        kind=kind,
        path="1",
        target="m",
        scope=Scope(tenant="default", run="r", agent="writer"),
        body=b"",
        effect=effect,
        request=ModelCall(request=request, show=show) if kind is MODEL else None,
        unkeyed=unkeyed,
    )


class Server:
    """Fails with these errors, one for each attempt, then answers; notes when each attempt came."""

    def __init__(self, *errors: Exception, began: bool = False) -> None:
        self._errors = list(errors)
        self._began = began
        self.at_s: list[float] = []

    async def __call__(self, operation: Operation) -> Outcome:
        """Carry an operation out."""
        self.at_s.append(asyncio.get_running_loop().time())
        if self._began:
            operation.attributes[names.GENAI_FIRST_CHUNK] = 0.1
        if len(self.at_s) <= len(self._errors):
            raise self._errors[len(self.at_s) - 1]
        return Outcome("fine", b"fine")


def retrier() -> Retrier:
    """One with its own random numbers."""
    return Retrier(random.Random(1), LoopClock())


GONE = ModelUnavailable("gone")


@virtual_time()
async def test_what_another_attempt_may_mend_is_tried_again() -> None:
    """After a wait that doubles and is half random: 0.5 to 1 s, then 1 to 2 s."""
    server = Server(GONE, ConnectionError("a foreign one"))
    assert (await retrier()(operation(), policy(), server)).value == "fine"
    first_s, second_s = server.at_s[1], server.at_s[2] - server.at_s[1]
    assert 0.5 <= first_s <= 1.0
    assert 1.0 <= second_s <= 2.0


@virtual_time()
async def test_the_last_error_is_the_operation_s() -> None:
    """After so many attempts as the policy allows."""
    server = Server(GONE, GONE, ModelUnavailable("still gone"), GONE)
    with pytest.raises(ModelUnavailable, match="still gone"):
        await retrier()(operation(), policy(), server)
    assert len(server.at_s) == 3


@virtual_time()
async def test_one_attempt_is_no_retry() -> None:
    """With attempts=1 nothing is tried again."""
    server = Server(GONE)
    with pytest.raises(ModelUnavailable):
        await retrier()(operation(), policy(1), server)
    assert len(server.at_s) == 1


@pytest.mark.parametrize(
    ("made", "error", "attempts"),
    [
        (operation(), ContextTooLong("too long"), 1),  # would come out the same
        (operation(TOOL, Effect.PURE), GONE, 2),
        (operation(TOOL, Effect.WRITE), GONE, 2),  # it takes an idempotency key
        (operation(RUN, Effect.WRITE), GONE, 2),
        (operation(TOOL, Effect.WRITE, unkeyed=True), GONE, 1),
        (operation(ASK, Effect.WRITE), GONE, 1),  # the peer is not given the key
        (operation(ASK, Effect.READ), GONE, 2),
        (operation(OperationKind.CALL, Effect.READ), GONE, 1),  # durable: its worker tries it again
        (operation(OperationKind.STATE, Effect.READ), GONE, 1),
    ],
)
def test_only_what_may_be_repeated_is(made: Operation, error: AntiphonError, attempts: int) -> None:
    """Reads, pure work, model calls, and writes that take an idempotency key; errors that may be mended."""

    @virtual_time()
    async def attempt() -> None:
        server = Server(error)
        try:
            await retrier()(made, policy(), server)
        except AntiphonError as raised:
            assert raised is error
        assert len(server.at_s) == attempts

    attempt()


@pytest.mark.parametrize(("began", "attempts"), [(False, 2), (True, 1)])
def test_a_reply_that_was_shown_in_part_is_not_begun_again(began: bool, attempts: int) -> None:
    """Readers would see its beginning twice; before its first chunk nothing was shown."""

    async def show(text: str) -> None:
        raise AssertionError("nothing is shown here")

    @virtual_time()
    async def attempt() -> None:
        server = Server(GONE, began=began)
        try:
            await retrier()(operation(show=show), policy(), server)
        except ModelUnavailable:
            assert began
        assert len(server.at_s) == attempts

    attempt()


@virtual_time()
async def test_an_outage_is_not_made_worse() -> None:
    """While all of 1,000 calls fail, only the ten retries saved up and one for every tenth call are made."""
    retry, tried = retrier(), 0
    for _ in range(1_000):
        server = Server(GONE, GONE, GONE)
        with pytest.raises(ModelUnavailable):
            await retry(operation(), policy(backoff_s=0.0), server)
        tried += len(server.at_s)
    assert tried == pytest.approx(1_000 + 10 + 100, abs=1)


@virtual_time()
async def test_no_attempt_after_the_deadline() -> None:
    """Where the wait would last until the deadline the error is raised at once."""
    clock, made, server = LoopClock(), operation(), Server(GONE, GONE)
    made.deadline_unix_ms = clock.unix_ns() // 1_000_000 + 900
    with pytest.raises(ModelUnavailable):
        await retrier()(made, policy(backoff_s=2.0), server)
    assert server.at_s == [0.0]


@virtual_time()
async def test_a_server_that_says_when_is_heard() -> None:
    """A busy model's own delay counts where it is longer."""
    server = Server(ModelBusy("full", retry_after_s="7.5"))
    await retrier()(operation(), policy(), server)
    assert server.at_s == [0.0, 7.5]

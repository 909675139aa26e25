"""A question is asked once and answered once, and its task is woken."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from antiphon import Message, System
from antiphon.runtime.approvals import BUCKET, Approvals
from antiphon.runtime.errors import AlreadyAnswered, BusUnavailable, InvalidMessage, UnknownApproval
from antiphon.runtime.testing import MemoryBus, MemoryServer, memory_system
from antiphon.schemas import subjects
from antiphon.schemas.approval import Approval, ApprovalState

START_MS = 1_000_000


class Refund(Message):
    """What is proposed."""

    amount: int


@dataclass(slots=True)
class SetClock:
    """A clock that the test moves."""

    now_ms: int = START_MS

    def unix_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.now_ms * 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return self.now_ms / 1000


@dataclass(slots=True)
class Desk:
    """The approvals, and which tasks they woke."""

    bus: MemoryBus
    clock: SetClock
    woken: list[str] = field(default_factory=list)
    failing: bool = False

    async def wake(self, task: str) -> None:
        """Note it."""
        if self.failing:
            raise BusUnavailable("no server")
        self.woken.append(task)

    def approvals(self, tenant: str = "default") -> Approvals:
        """As another process has them."""
        return Approvals(self.bus, self.clock, tenant, self.wake)


@pytest.fixture
async def desk() -> AsyncGenerator[Desk, None]:
    """On a bus of its own."""
    bus = MemoryBus(MemoryServer())
    yield Desk(bus, SetClock())
    await bus.close()


def question(id: str = "a1", **changes: Any) -> Approval:
    """One of task t1."""
    given: dict[str, Any] = {
        "id": id,
        "task": "t1",
        "agent": "shop",
        "handler": "refund",
        "path": "3",
        "proposal_type": "Refund",
        "proposal": {"amount": 5},
        "json_schema": Refund.model_json_schema(),
        "asked_unix_ms": START_MS,
    }
    return Approval(**{**given, **changes})


async def test_asking_again_finds_the_first_question(desk: Desk) -> None:
    """A task that begins again gets the answer that came meanwhile."""
    approvals = desk.approvals()
    assert await approvals.ask(question()) == question()
    await approvals.answer("a1", approved=True, by="ada")
    again = await approvals.ask(question())
    assert (again.state, again.answered_by) == (ApprovalState.APPROVED, "ada")


async def test_an_answer_is_stored_signalled_and_wakes_the_task(desk: Desk) -> None:
    """With who, when, the comment and the proposal as edited."""
    approvals = desk.approvals()
    await approvals.ask(question())
    signalled = asyncio.Event()

    async def on_signal(_: object) -> None:
        signalled.set()

    await desk.bus.subscribe(subjects.control("default", "approval", "a1"), on_signal)
    desk.clock.now_ms += 7
    answered = await approvals.answer("a1", approved=True, by="ada", value={"amount": 3}, comment="less")
    assert answered == await approvals.get("a1")
    assert answered.decision == {"amount": 3}
    assert (answered.comment, answered.answered_unix_ms) == ("less", START_MS + 7)
    assert desk.woken == ["t1"]
    await asyncio.wait_for(signalled.wait(), 60)


async def test_a_plain_yes_or_no_decides_on_the_proposal_as_it_was(desk: Desk) -> None:
    """The decision is the proposal."""
    approvals = desk.approvals()
    await approvals.ask(question())
    rejected = await approvals.answer("a1", approved=False, by="ada")
    assert (rejected.state, rejected.decision) == (ApprovalState.REJECTED, {"amount": 5})


async def test_the_second_answer_changes_nothing_and_says_who_was_first(desk: Desk) -> None:
    """It wakes the task again: the first one may have died before it could."""
    approvals = desk.approvals()
    await approvals.ask(question())
    desk.failing = True
    with pytest.raises(BusUnavailable):
        await approvals.answer("a1", approved=True, by="ada")
    desk.failing = False
    with pytest.raises(AlreadyAnswered, match=r"approved by ada at 1970-01-01 00:16:40 UTC: nothing was changed"):
        await approvals.answer("a1", approved=False, by="bob")
    assert (await approvals.get("a1")).answered_by == "ada"
    assert desk.woken == ["t1"]


async def test_of_answers_at_the_same_time_one_counts(desk: Desk) -> None:
    """The others are told."""
    await desk.approvals().ask(question())
    answers = [desk.approvals().answer("a1", approved=n % 2 == 0, by=f"p{n}") for n in range(8)]
    said = await asyncio.gather(*answers, return_exceptions=True)
    (winner,) = [each for each in said if isinstance(each, Approval)]
    assert sum(isinstance(each, AlreadyAnswered) for each in said) == 7
    assert await desk.approvals().get("a1") == winner


async def test_an_edited_proposal_must_have_its_shape(desk: Desk) -> None:
    """Nothing is stored otherwise, and the question stays open."""
    approvals = desk.approvals()
    await approvals.ask(question())
    with pytest.raises(InvalidMessage, match="the edited proposal is no Refund: amount: expected integer, found 'x'"):
        await approvals.answer("a1", approved=True, by="ada", value={"amount": "x"})
    assert (await approvals.get("a1")).state is ApprovalState.OPEN
    assert desk.woken == []


async def test_an_answer_after_the_time_comes_too_late(desk: Desk) -> None:
    """Before and after the task itself has closed the question."""
    approvals = desk.approvals()
    await approvals.ask(question(until_unix_ms=START_MS + 10))
    desk.clock.now_ms += 10
    with pytest.raises(AlreadyAnswered, match="ran out at"):
        await approvals.answer("a1", approved=True, by="ada")
    assert (await approvals.expire("a1")).state is ApprovalState.EXPIRED
    with pytest.raises(AlreadyAnswered, match="expired at"):
        await approvals.answer("a1", approved=True, by="ada")


async def test_what_was_answered_first_does_not_expire(desk: Desk) -> None:
    """The task gets the answer."""
    approvals = desk.approvals()
    await approvals.ask(question())
    await approvals.answer("a1", approved=True, by="ada")
    assert (await approvals.expire("a1")).state is ApprovalState.APPROVED


@pytest.mark.parametrize("id", ["nothing", "no/such", "", "a b", "a:1", "x" * 200])
async def test_an_unknown_id_is_an_error_that_says_where_to_look(desk: Desk, id: str) -> None:
    """Whatever was typed."""
    approvals = desk.approvals()
    with pytest.raises(UnknownApproval, match="antiphon approvals list"):
        await approvals.answer(id, approved=True, by="ada")


async def test_the_list_is_the_tenant_s_own_oldest_first(desk: Desk) -> None:
    """By state, where one is named."""
    approvals = desk.approvals()
    for n in (3, 1, 2):
        await approvals.ask(question(f"a{n}", asked_unix_ms=START_MS + n))
    await desk.approvals("other").ask(question("b1"))
    await approvals.answer("a2", approved=True, by="ada")
    assert [found.id for found in await approvals.all()] == ["a1", "a2", "a3"]
    assert [found.id for found in await approvals.all(ApprovalState.OPEN)] == ["a1", "a3"]


async def test_what_is_forgotten_is_gone(desk: Desk) -> None:
    """Twice is as good as once."""
    approvals = desk.approvals()
    await approvals.ask(question())
    await approvals.forget(["a1", "never"])
    await approvals.forget(["a1"])
    with pytest.raises(UnknownApproval):
        await approvals.get("a1")


async def test_a_waiter_sees_the_answer_of_another_process(desk: Desk) -> None:
    """By the signal, long before it would look again."""
    approvals = desk.approvals()
    await approvals.ask(question())
    waiting = asyncio.create_task(approvals.wait("a1", until_unix_ms=None))
    await asyncio.sleep(0)
    await desk.approvals().answer("a1", approved=True, by="ada")
    assert (await asyncio.wait_for(waiting, 60)).state is ApprovalState.APPROVED


async def test_a_waiter_looks_again_where_the_signal_was_lost(desk: Desk) -> None:
    """What counts is what is stored."""
    approvals = desk.approvals()
    await approvals.ask(question())
    waiting = asyncio.create_task(approvals.wait("a1", until_unix_ms=None))
    await asyncio.sleep(0)
    await approvals.expire("a1")  # which signals nothing
    assert (await asyncio.wait_for(waiting, 60)).state is ApprovalState.EXPIRED


async def test_a_waiter_gives_up_at_its_time(desk: Desk) -> None:
    """With the question as it stands."""
    approvals = desk.approvals()
    await approvals.ask(question())
    assert (await approvals.wait("a1", until_unix_ms=START_MS)).state is ApprovalState.OPEN


async def test_the_handler_of_the_documents_goes_on_with_what_a_person_decided() -> None:
    """The code of docs/approvals.md: small amounts at once, others as they are edited."""
    page = (Path(__file__).parents[2] / "docs" / "approvals.md").read_text(encoding="utf-8")
    found = ModuleType("page")
    exec(page.partition("```python\n")[2].partition("```")[0], found.__dict__)
    async with memory_system(System("s", agents=[found.shop])) as client:
        small, large = found.Refund(customer="ada", amount=5), found.Refund(customer="ada", amount=500)
        assert await (await client.submit(found.refund, small)).result(timeout_s=60) == small
        task = await client.submit(found.refund, large)
        bucket = await client.host.bus.buckets.open(BUCKET)
        async with asyncio.timeout(60), aclosing(bucket.watch()) as changes:
            await anext(changes)
        (asked,) = await client.host.approvals.all()
        edited = {"customer": "ada", "amount": 80}
        await client.host.approvals.answer(asked.id, approved=True, by="bob", value=edited)
        assert (await task.result(timeout_s=60)).amount == 80

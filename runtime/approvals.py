"""Questions of tasks to people: asked once, answered once, kept until the task has ended."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from antiphon.runtime.bus.base import Bucket, Bus, Delivery
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import AlreadyAnswered, Conflict, InvalidMessage, UnknownApproval
from antiphon.runtime.json_schema import problems
from antiphon.schemas import subjects
from antiphon.schemas.approval import Approval, ApprovalState

BUCKET = "antiphon_approvals"
POLL_MAX_S = 2.0  # a signal normally comes first; polling covers one that was lost
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")  # what a bucket's key and a subject both take

Wake = Callable[[str], Awaitable[object]]


class Approvals:
    """The approvals of one tenant. ``wake(task)`` sends a task on its way that may have been parked for the answer.

    Of several answers, or an answer and the end of the time, exactly one counts: the first that is stored.
    """

    def __init__(self, bus: Bus, clock: Clock, tenant: str, wake: Wake) -> None:
        self._bus = bus
        self._clock = clock
        self._tenant = tenant
        self._wake = wake
        self._bucket: Bucket | None = None

    async def ask(self, approval: Approval) -> Approval:
        """Store the question; one that was stored before comes back as it is now, for a task that begins again.

        Raises:
            BusError: it was not stored.
        """
        bucket = await self._open_bucket()
        try:
            await bucket.put(self._key(approval.id), encode(approval), revision=0)
        except Conflict:
            return await self.get(approval.id)
        return approval

    async def get(self, id: str) -> Approval:
        """The approval as it is now. Raises UnknownApproval, BusError."""
        return (await self._find(id))[0]

    async def all(self, state: ApprovalState | None = None) -> list[Approval]:
        """The approvals of unfinished tasks, or those in one state, the oldest first. Raises BusError."""
        bucket = await self._open_bucket()
        mine = [entry for entry in await bucket.entries() if entry.key.startswith(f"{self._tenant}.")]
        found = [decode(Approval, entry.value or b"") for entry in mine]
        wanted = [approval for approval in found if state is None or approval.state is state]
        return sorted(wanted, key=lambda approval: (approval.asked_unix_ms, approval.id))

    async def answer(
        self, id: str, *, approved: bool, by: str, value: dict[str, Any] | None = None, comment: str = ""
    ) -> Approval:
        """Store the answer and send the task on its way. ``value`` is the proposal as edited; None: as it was.

        Repeating an answer changes nothing, but wakes the task again: a first one may have died before it could.

        Raises:
            UnknownApproval: there is none with this id; its task has ended, or it never was.
            AlreadyAnswered: somebody was faster, or its time has passed; says who and when.
            InvalidMessage: ``value`` is not the shape of the proposal; says where.
            BusError: the answer may be stored without having woken the task; repeat it.
        """
        while True:
            approval, revision = await self._find(id)
            now_ms = self._now_ms()
            if approval.state is not ApprovalState.OPEN:
                await self._announce(approval)
                raise _answered(approval)
            if approval.until_unix_ms is not None and approval.until_unix_ms <= now_ms:
                raise AlreadyAnswered(
                    f"approval {id} ran out at {moment(approval.until_unix_ms)}: its task goes on without an answer",
                    approval=id,
                )
            if value is not None:
                _check(approval, value)
            changes = {
                "state": ApprovalState.APPROVED if approved else ApprovalState.REJECTED,
                "decision": approval.proposal if value is None else value,
                "answered_by": by,
                "comment": comment,
                "answered_unix_ms": now_ms,
            }
            if (stored := await self._replace(approval, revision, changes)) is not None:
                await self._announce(stored)
                return stored

    async def expire(self, id: str) -> Approval:
        """Close a question whose time has passed; one that was answered first comes back as it was answered.

        Raises:
            UnknownApproval: there is none with this id.
            BusError: it was not stored.
        """
        while True:
            approval, revision = await self._find(id)
            if approval.state is not ApprovalState.OPEN:
                return approval
            changes = {"state": ApprovalState.EXPIRED, "answered_unix_ms": self._now_ms()}
            if (stored := await self._replace(approval, revision, changes)) is not None:
                return stored

    async def forget(self, ids: Iterable[str]) -> None:
        """Remove approvals whose task has ended. Idempotent. Raises BusError."""
        bucket = await self._open_bucket()
        for id in ids:
            await bucket.delete(self._key(id))

    async def wait(self, id: str, *, until_unix_ms: int | None) -> Approval:
        """The approval once it is no longer open, or as it stands at ``until_unix_ms``.

        What counts is the stored approval; the signal only wakes the waiter.

        Raises:
            UnknownApproval: there is none with this id.
            BusError: it cannot be read.
        """
        woken = asyncio.Event()

        async def on_signal(_: Delivery) -> None:
            woken.set()

        subscription = await self._bus.subscribe(subjects.control(self._tenant, "approval", id), on_signal)
        try:
            pause_s = POLL_MAX_S / 8
            while True:
                woken.clear()
                approval = await self.get(id)
                left_s = None if until_unix_ms is None else until_unix_ms / 1000 - self._clock.unix_ns() / 1e9
                if approval.state is not ApprovalState.OPEN or (left_s is not None and left_s <= 0):
                    return approval
                try:
                    async with asyncio.timeout(pause_s if left_s is None else min(pause_s, left_s)):
                        await woken.wait()
                except TimeoutError:
                    pause_s = min(POLL_MAX_S, pause_s * 2)
        finally:
            await subscription.stop()

    async def _find(self, id: str) -> tuple[Approval, int]:
        bucket = await self._open_bucket()
        entry = await bucket.get(self._key(id)) if _ID.fullmatch(id) else None
        if entry is None or entry.value is None:
            raise UnknownApproval(
                f"no approval {id!r}: its task has ended, or it never was; `antiphon approvals list` has the open ones",
                approval=id,
            )
        return decode(Approval, entry.value), entry.revision

    async def _replace(self, approval: Approval, revision: int, changes: dict[str, Any]) -> Approval | None:
        """Store the approval with ``changes``; None if somebody else changed it meanwhile."""
        changed = approval.model_copy(update=changes)
        bucket = await self._open_bucket()
        try:
            await bucket.put(self._key(approval.id), encode(changed), revision=revision)
        except Conflict:
            return None
        return changed

    async def _announce(self, approval: Approval) -> None:
        await self._bus.publish(subjects.control(self._tenant, "approval", approval.id), b"")
        await self._wake(approval.task)

    async def _open_bucket(self) -> Bucket:
        if self._bucket is None:
            self._bucket = await self._bus.buckets.open(BUCKET)
        return self._bucket

    def _key(self, id: str) -> str:
        return f"{self._tenant}.{id}"

    def _now_ms(self) -> int:
        return self._clock.unix_ns() // 1_000_000


def moment(unix_ms: int) -> str:
    """A time as people of all zones read it: ``2026-03-01 12:00:00 UTC``."""
    return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _answered(approval: Approval) -> AlreadyAnswered:
    when = moment(approval.answered_unix_ms) if approval.answered_unix_ms is not None else "an unknown time"
    if approval.state is ApprovalState.EXPIRED:
        said = f"approval {approval.id} expired at {when}"
    else:
        said = f"approval {approval.id} was {approval.state} by {approval.answered_by} at {when}"
    return AlreadyAnswered(
        f"{said}: nothing was changed", approval=approval.id, state=approval.state, by=approval.answered_by
    )


def _check(approval: Approval, value: dict[str, Any]) -> None:
    found = problems(approval.json_schema, value)
    if found:
        shown = "; ".join(found[:5]) + (f" (and {len(found) - 5} more)" if len(found) > 5 else "")
        raise InvalidMessage(
            f"the edited proposal is no {approval.proposal_type}: {shown}; "
            f"`antiphon approvals show {approval.id}` prints its shape",
            approval=approval.id,
        )

"""How an attempt that ends its task leaves the world: every step may be repeated after a crash.

The order is dead letter, end of the stream, result, children, journal, parent; the caller acks last.
"""

from dataclasses import replace

import structlog

from antiphon.runtime.bus.base import StoredMessage
from antiphon.runtime.delivery.bodies import keep_blob, release
from antiphon.runtime.delivery.dead_letter import bury
from antiphon.runtime.delivery.journal import Journal
from antiphon.runtime.delivery.outcome import read_result, store_result
from antiphon.runtime.delivery.recorded import MAX_VALUE
from antiphon.runtime.delivery.task_run import TaskRun
from antiphon.runtime.errors import BusError, MessageTooLarge
from antiphon.runtime.host import Host
from antiphon.schemas.envelope import BLOB, Envelope
from antiphon.schemas.journal import Ended
from antiphon.schemas.task import ErrorInfo, TaskResult, TaskState

log = structlog.get_logger()


class Ending:
    """Stores outcomes of tasks of one agent."""

    def __init__(self, host: Host, agent: str) -> None:
        self._host = host
        self._agent = agent

    async def bury(self, message: StoredMessage, info: ErrorInfo, task: str, attempts: int) -> None:
        """Keep what cannot be done, for a person. Raises BusError."""
        await bury(
            self._host.bus,
            self._host.clock,
            self._host.tenant,
            self._agent,
            message,
            reason=info,
            attempts=attempts,
            task=task,
        )

    async def store(self, result: TaskResult, value: bytes | None) -> TaskState:
        """Store the one outcome, unless there is one: how the task has ended. Raises BusError.

        A reply too large to store is a failure.
        """
        host = self._host
        try:
            stored = await store_result(
                host.bus, host.tenant, result, ttl_s=host.result_ttl_s, max_body=host.max_body, value=value
            )
        except MessageTooLarge as error:  # another attempt would not make it smaller
            result = result.model_copy(update={"state": TaskState.FAILED, "error": error.info()})
            stored = await store_result(host.bus, host.tenant, result, ttl_s=host.result_ttl_s)
        found = None if stored else await read_result(host.bus, host.tenant, result.task)
        return result.state if found is None else found.state

    async def tidy(
        self,
        journal: Journal | None,
        run: TaskRun | None,
        message: StoredMessage,
        state: TaskState,
        envelope: Envelope,
        result: TaskResult,
        value: bytes | None,
    ) -> None:
        """After the result: stop what nobody waits for, close the journal, wake the parent. Raises BusError."""
        task = result.task
        if journal is not None:
            await self._let_go(journal, run, state)
            ended = _ended(message, result, value) if state is result.state else None  # else another's outcome counts
            await self._close(journal, message, state, ended)
        await self._leave(envelope, task)

    async def abandon(self, journal: Journal, message: StoredMessage, state: TaskState, envelope: Envelope) -> None:
        """The task has ended elsewhere: its children and approvals go as well, and its journal is closed."""
        await self._let_go(journal, None, state)
        if journal.history.number:
            await self._host.parking.remove(journal.owner.task)
        if not journal.history.state:
            await self._close(journal, message, state)
        await self._leave(envelope, journal.owner.task)

    async def give_up(self, run: TaskRun) -> None:
        """Before a task parks: what it called or asked, and no longer waits for, nobody would know of later."""
        for child in sorted(run.children):
            await self._host.cancel(child)
        waited = {wait.id for wait in run.waits}
        done = {entry.path for entry in run.journal.history.all} | run.journal.history.entries.keys()
        cut = [id for id, path in run.approvals.items() if id not in waited and path not in done]
        await self._host.approvals.forget(cut)

    async def _let_go(self, journal: Journal, run: TaskRun | None, state: TaskState) -> None:
        """Nobody waits any more for what this attempt waited for, or an earlier one when it was parked."""
        host = self._host
        children, approvals = journal.history.left_open()
        if run is not None:
            children += sorted(run.children)
            approvals += run.approvals
        for child in dict.fromkeys(children):
            await host.cancel(child)
        await host.approvals.forget(dict.fromkeys(approvals))
        if children or state is not TaskState.SUCCEEDED or journal.attempt > 1 or journal.history.number:
            # An attempt that died may have called children that no journal knows: they hear of the end like this.
            await host.cancel.signal(journal.owner.task)

    async def _leave(self, envelope: Envelope, task: str) -> None:
        """The task is over for everybody else: its parent, and the account of its run if it was the first task."""
        host = self._host
        if envelope.parent:
            await host.parking.wake(envelope.parent)
        if envelope.budget and task == (envelope.run or task):
            try:
                await host.ledger.close(host.tenant, task)
            except BusError as error:
                log.warning("account_not_closed", run=task, error=error.message)  # it expires by itself

    async def _close(
        self, journal: Journal, message: StoredMessage, state: TaskState, ended: Ended | None = None
    ) -> None:
        host, owner = self._host, journal.owner
        digests = [entry.digest for entry in journal.history.all if entry.digest]
        if ended is not None and len(ended.value) > MAX_VALUE and not journal.is_empty:
            ended = replace(ended, value=b"", digest=await keep_blob(host.bus, ended.value, host.tenant, owner.task))
            digests.append(ended.digest)
        if BLOB in message.headers:
            digests.append(message.headers[BLOB])
        if digests:
            await release(host.bus, host.clock, host.tenant, owner.task, digests, keep_s=host.result_ttl_s)
        if journal.is_empty or state is TaskState.DEAD:
            return  # a dead task's journal waits for the person who redrives or drops it
        try:
            await journal.finish(state, ttl_s=host.replay_window_s, ended=ended)
        except MessageTooLarge as error:
            log.warning("journal_not_kept", task=owner.task, error=error.message)  # the sweep purges it


def _ended(message: StoredMessage, result: TaskResult, value: bytes | None) -> Ended:
    return Ended(
        headers=dict(message.headers),
        body=message.body,
        value=(value or b"") if result.error is None else b"",
        error=b"" if result.error is None else result.error.model_dump_json().encode(),
        started_unix_ms=result.started_unix_ms,
        ended_unix_ms=result.finished_unix_ms,
    )

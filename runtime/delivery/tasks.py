"""Durable work of one agent: from a leased message to one outcome, a parking, or another attempt."""

import base64
import contextlib
import random
from functools import partial

import structlog

from antiphon.runtime.agent import Agent
from antiphon.runtime.bus.base import ConsumerSpec, Lease
from antiphon.runtime.bus.topology import TASKS
from antiphon.runtime.delivery.admission import Admission, admit
from antiphon.runtime.delivery.bodies import unpack
from antiphon.runtime.delivery.ending import Ending
from antiphon.runtime.delivery.execute import Executor, Job, Target
from antiphon.runtime.delivery.history import History
from antiphon.runtime.delivery.journal import Journal, Owner, read_history
from antiphon.runtime.delivery.keys import key_of
from antiphon.runtime.delivery.last_reader import LastReader
from antiphon.runtime.delivery.outcome import result_of
from antiphon.runtime.delivery.placement import Placement
from antiphon.runtime.delivery.resting import rest
from antiphon.runtime.delivery.retry import delay_s
from antiphon.runtime.delivery.slots import Slot, Slots
from antiphon.runtime.delivery.stream_buffers import StreamBuffers
from antiphon.runtime.delivery.streaming import Emitter
from antiphon.runtime.delivery.task_run import TaskRun
from antiphon.runtime.delivery.work import Work, read_work
from antiphon.runtime.errors import (
    AntiphonError,
    BusError,
    DeadlineExceeded,
    Diverged,
    InDoubt,
    LeaseLost,
    MessageError,
    NodeStopping,
    TaskCancelled,
    TaskParked,
    UnknownHandler,
    VersionMismatch,
    to_info,
)
from antiphon.runtime.host import Host
from antiphon.runtime.policies.handlers import attempts_of_call
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import Address
from antiphon.schemas.journal import Entry, EntryKind
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.task import ErrorInfo, TaskResult, TaskState

log = structlog.get_logger()

_UNDELIVERABLE = (MessageError, UnknownHandler, DeadlineExceeded)  # the message is at fault, or too late
_FOR_A_PERSON = (InDoubt, Diverged, VersionMismatch)  # another attempt would find the same


def consumer_spec(host: Host, agent: Agent) -> ConsumerSpec:
    """The durable that all replicas of the agent share."""
    return ConsumerSpec(
        stream=TASKS.name,
        name=f"{host.tenant}_{agent.name}",
        subjects=(subjects.tasks_of(host.tenant, agent.name),),
        ack_wait_s=agent.lease_s,
        max_in_flight=100_000,
    )


class TaskProcessor:
    """Settles leased messages of one agent. Raises BusError where it cannot; the lease then lapses."""

    def __init__(
        self, host: Host, agent: Agent, slots: Slots, executor: Executor, streams: StreamBuffers, rng: random.Random
    ) -> None:
        self._host = host
        self._agent = agent
        self._slots = slots
        self._executor = executor
        self._streams = streams
        self._rng = rng
        self._ending = Ending(host, agent.name)
        self._results = LastReader(host.bus)
        self._journals = LastReader(host.bus)
        self._targets: dict[str, Target] = {}
        self._placement = Placement(host, agent)

    async def __call__(self, lease: Lease, slot: Slot) -> None:
        """Take the message as far as it goes. Raises BusError."""
        host = self._host
        work, unreadable = read_work(lease, host.clock.unix_ns() // 1_000_000)
        if self._agent.has_keys and await self._placement.goes_by_key(work):
            await lease.ack()
            return
        if unreadable is not None:
            await self._conclude(work, None, None, None, None, unreadable, attempt=lease.deliveries)
            return
        result, ended, has_journal = await self._known(work)
        problem = None
        if ended is not None:
            problem = TaskCancelled(f"its parent {work.envelope.parent} has ended as {ended.state}", task=work.task)
        history, last = History(), 0
        if has_journal:
            history, last = await read_history(host.bus, host.tenant, work.task)
        journal = self._journal(work, history, last)
        if result is not None:  # finished by another worker, or cancelled
            work = work.original(history)
            if history.is_parked and history.parked is not None:
                self._executor.abandon(history.parked, work.envelope, result.state)
            await self._ending.abandon(journal, work.message, result.state, work.envelope)
            await lease.ack()
            return
        try:
            if not self._placement.is_plain(work) and await self._placement.sent_on(work, journal):
                return
            if last and not await self._admitted(work, journal):
                return
        except VersionMismatch as mismatch:
            original = work.original(history)
            await self._conclude(original, journal, None, None, None, mismatch, attempt=history.attempt)
            return
        work = work.original(journal.history)
        if last or lease.deliveries > 1:
            await self._claim(work, journal)
        await self._attempt(work, journal, slot, problem)

    # --- before the handler -------------------------------------------------------------------------

    async def _known(self, work: Work) -> tuple[TaskResult | None, TaskResult | None, bool]:
        """The outcome of the task and that of its parent, as far as there are any, and whether it has a journal.

        How often the message was delivered says less: a server that was killed may have forgotten that it was (seen).
        """
        tenant, parent = self._host.tenant, work.envelope.parent
        self._executor.expect(work.task, parent)
        own = self._results.ask(subjects.result(tenant, work.task))
        above = self._results.ask(subjects.result(tenant, parent)) if parent else None
        journal = self._journals.ask(subjects.journal(tenant, work.task))
        result = await result_of(self._host.bus, await own)
        ended = await result_of(self._host.bus, await above) if above is not None else None
        return result, ended, await journal is not None

    def _journal(self, work: Work, history: History, last: int) -> Journal:
        host, envelope = self._host, work.envelope
        owner = Owner(
            tenant=host.tenant,
            task=work.task,
            run=envelope.run or work.task,
            agent=work.address.agent,
            handler=work.address.handler,
            version=self._agent.version,
            origin=work.lease.message.sequence,
            node=host.node,
        )
        return Journal(host.bus, host.clock, owner, history, last)

    async def _admitted(self, work: Work, journal: Journal) -> bool:
        """Whether this message may go on with a task that has a journal; if not it is settled here.

        Raises:
            VersionMismatch: it needs other code, and nobody has that.
        """
        lease, history = work.lease, journal.history
        sequence, wake = lease.message.sequence, work.envelope.wake
        verdict = admit(history, origin=sequence, wake=wake, version=self._agent.version)
        if verdict is Admission.RUN:
            return True
        if verdict is Admission.PARKED:
            assert history.parked is not None  # the journal ends with it
            await rest(self._host, history.parked)
        elif verdict is Admission.FOREIGN:
            await self._placement.send_on(work, journal, history.version)
            return False
        log.info("delivery_settled_unrun", task=work.task, verdict=verdict.value, wake=wake)
        await lease.ack()
        return False

    async def _claim(self, work: Work, journal: Journal) -> None:
        wake = Envelope.from_headers(work.lease.message.headers).wake
        await journal.claim(wake=wake, counts=work.lease.deliveries > 1)
        if journal.history.number:
            await self._host.parking.remove(work.task)

    # --- the handler --------------------------------------------------------------------------------

    async def _attempt(self, work: Work, journal: Journal, slot: Slot, problem: Exception | None) -> None:
        host, history = self._host, journal.history
        emitter = Emitter(
            self._streams, work.task, work.envelope.run or work.task, starts=history.starts, shown=history.shown
        )
        journal.shown = lambda: emitter.shown
        handler = self._agent.handlers.get(work.address.handler)
        keyed = handler if handler is not None and handler.key is not None else None
        run = TaskRun(journal, slot, host.clock, keyed=keyed is not None)
        value: bytes | None = None
        if problem is not None:
            state = self._state(work, problem, attempt=journal.attempt, run=run)
            if history.parked is not None and state is not None:
                self._executor.abandon(history.parked, work.envelope, state)
        else:
            try:
                if journal.attempt > self._agent.max_attempts:
                    raise NodeStopping(f"its worker died in each of {self._agent.max_attempts} attempts")
                body = await unpack(host.bus, work.message.body, work.message.headers)
                if keyed is not None:
                    run.key = key_of(keyed, body, work.envelope)
                job = self._job(work, self._target(work.address), body, journal.attempt, run)
                value = await self._executor.run(job, emitter)
            except Exception as failure:
                problem = failure
        await journal.settled()
        if isinstance(problem, LeaseLost):
            await emitter.leave()
            return  # whoever has the lease settles it
        if isinstance(problem, TaskParked):
            await emitter.leave()
            await self._park(work, journal, run)
            return
        if problem is not None and not isinstance(problem, AntiphonError):
            log.error(
                "handler_failed", task=work.task, handler=str(work.address), attempt=journal.attempt, exc_info=problem
            )
        try:
            await self._conclude(work, journal, run, emitter, value, problem, attempt=journal.attempt)
        except BusError:
            with contextlib.suppress(BusError, LeaseLost):
                await journal.commit(Entry(kind=EntryKind.RELEASE))  # the handler did its part: no failed attempt
            raise

    def _target(self, address: Address) -> Target:
        target = self._targets.get(address.handler)
        if target is None:
            target = self._targets[address.handler] = self._make_target(address)
        return target

    def _make_target(self, address: Address) -> Target:
        handler = self._agent.handlers.get(address.handler)
        if handler is not None:
            assert handler.function is not None  # handlers of a hosted agent always have one
            return self._executor.target(subjects.Kind.TASK, address, handler.input, handler.output, handler.function)
        subscriber = self._agent.subscribers.get(address.handler)
        if subscriber is not None:
            return self._executor.target(subjects.Kind.EVENT, address, subscriber.input, None, subscriber.function)
        known = ", ".join(sorted(self._agent.handlers)) or "none"
        raise UnknownHandler(f"agent {address.agent!r} has no handler {address.handler!r} (it has: {known})")

    def _job(self, work: Work, target: Target, body: bytes, attempt: int, run: TaskRun) -> Job:
        lease, topic = work.lease, work.envelope.topic
        return Job(
            target,
            subjects.event(self._host.tenant, topic) if topic else lease.message.subject,
            work.envelope,
            body,
            work.task,
            attempt,
            lease.message.unix_ms * 1_000_000,
            self._slots.waiting + lease.behind,
            partial(self._state, work, attempt=attempt, run=run),
            run,
        )

    # --- after the handler --------------------------------------------------------------------------

    async def _park(self, work: Work, journal: Journal, run: TaskRun) -> None:
        """Put the task aside: journal, record, one more look at what it waits for, ack."""
        envelope, message = work.envelope, work.message
        await self._ending.give_up(run)
        parked = ParkedTask(
            task=work.task,
            run=envelope.run or work.task,
            agent=work.address.agent,
            handler=work.address.handler,
            version=self._agent.version,
            number=journal.history.number + 1,
            lane=subjects.task_lane(message.subject),
            parent=envelope.parent,
            deadline_unix_ms=envelope.deadline_unix_ms,
            waits=run.waits,
            headers=dict(message.headers),
            body_base64=base64.b64encode(message.body).decode(),
            parked_unix_ms=self._host.clock.unix_ns() // 1_000_000,
            attempt=journal.attempt,
            spans=run.spans.keep(),
        )
        await journal.commit(Entry(kind=EntryKind.PARK, value=parked.model_dump_json().encode()))
        log.info("task_parked", task=work.task, number=parked.number, waits=[wait.kind.value for wait in run.waits])
        await rest(self._host, parked)
        await work.lease.ack()

    async def _conclude(
        self,
        work: Work,
        journal: Journal | None,
        run: TaskRun | None,
        emitter: Emitter | None,
        value: bytes | None,
        error: Exception | None,
        *,
        attempt: int,
    ) -> None:
        """One outcome, or another attempt."""
        lease = work.lease
        state = self._state(work, error, attempt=attempt, run=run)
        if state is None:
            assert error is not None
            if emitter is not None:
                await emitter.leave()
            await self._again(lease, journal, work.task, attempt, error)
            return
        info = None if error is None else to_info(error)
        attempts = min(attempt, self._agent.max_attempts)  # the last delivery of a task that kills workers begins none
        if info is not None and (state is TaskState.DEAD or isinstance(error, _UNDELIVERABLE)):
            await self._ending.bury(work.message, info, work.task, attempts)
        shown: int | None = 0
        if emitter is not None:
            shown = await emitter.end(state)  # before the record: a reader who has that may stop listening
        result = self._result(work, state, info, attempts, shown)
        state = await self._ending.store(result, value or None)
        await self._ending.tidy(journal, run, work.message, state, work.envelope, result, value)
        await lease.ack()

    async def _again(self, lease: Lease, journal: Journal | None, task: str, attempt: int, error: Exception) -> None:
        wait_s = 0.0
        if isinstance(error, NodeStopping):
            if journal is not None:
                journal.shown = None  # what the unfinished operation has shown is shown again
                await journal.commit(Entry(kind=EntryKind.RELEASE))
        else:
            wait_s = delay_s(attempt, self._rng, first_s=self._agent.first_retry_s, max_s=self._agent.max_retry_s)
        log.info("task_will_retry", task=task, attempt=attempt, wait_s=round(wait_s, 3), error=str(error))
        await lease.nak(wait_s)

    def _result(
        self,
        work: Work,
        state: TaskState,
        info: ErrorInfo | None,
        attempts: int,
        shown: int | None,
    ) -> TaskResult:
        return TaskResult(
            task=work.task,
            run=work.envelope.run or work.task,
            agent=work.address.agent,
            handler=work.address.handler,
            state=state,
            error=info,
            attempts=attempts,
            shown=shown,
            trace_id=work.envelope.traceparent[3:35],
            started_unix_ms=work.started_unix_ms,
            finished_unix_ms=self._host.clock.unix_ns() // 1_000_000,
        )

    def _state(self, work: Work, error: Exception | None, *, attempt: int, run: TaskRun | None) -> TaskState | None:
        """How the task ends; None: not now.

        succeeded: no error. cancelled: somebody stopped it or its deadline passed. failed: an error that another
        attempt would not mend, or one of a write that is never repeated. dead: a retryable error on the last
        attempt, or something that a person has to decide. None: it is tried again, parked, or somebody else's.
        """
        if error is None:
            return TaskState.SUCCEEDED
        if isinstance(error, TaskParked | LeaseLost):
            return None
        if isinstance(error, TaskCancelled | DeadlineExceeded):
            return TaskState.CANCELLED
        if isinstance(error, _FOR_A_PERSON):
            return TaskState.DEAD
        if not to_info(error).retryable or (run is not None and run.unrepeatable is error):
            return TaskState.FAILED
        if isinstance(error, NodeStopping) and attempt <= self._agent.max_attempts and run is not None and run.stopped:
            return None  # the node drains: that is no failed attempt
        return TaskState.DEAD if attempt >= self._most_attempts(work) else None

    def _most_attempts(self, work: Work) -> int:
        """After how many the handler's error is its last: the agent's number, or fewer where a policy says so.

        An attempt that was lost with its node is made up for by the agent's number alone.
        """
        most, envelope = self._agent.max_attempts, work.envelope
        if not envelope.parent or not self._host.policies.table.policies:
            return most
        return min(most, attempts_of_call(self._host, work.address, envelope.run or work.task) or most)

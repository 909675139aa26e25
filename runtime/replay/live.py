"""Operations that the record does not answer: done live where that changes nothing, refused where it would."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from antiphon.runtime.agent import Handler
from antiphon.runtime.delivery.model_call import ModelCall, answer_bytes
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import AntiphonError, Unanswerable
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome
from antiphon.runtime.replay.outside import Outside
from antiphon.runtime.replay.player import answer
from antiphon.runtime.replay.recordings import Recordings
from antiphon.runtime.replay.stage import Part, Stage
from antiphon.runtime.replay.usage import Used, used_by, used_in
from antiphon.runtime.tool import ToolRun
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import derived_id, new_id
from antiphon.schemas.inference import Embeddings, EmbedRequest
from antiphon.schemas.task import Effect

ANY = "*"
_FUNCTIONS = frozenset({OperationKind.TOOL, OperationKind.RUN})
_ANY: TypeAdapter[Any] = TypeAdapter(Any)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may be done. ``models``: which answers for which (``*``: for all others). ``fresh``: models are asked again
    even where the record has their answer. ``stand_ins``: a write that is not on record is not refused but answered as
    another one to the same target was. ``seed``: of model calls that draw and name none.
    """

    models: Mapping[str, str]
    offline: bool = False
    allow_writes: bool = False
    fresh: bool = False
    stand_ins: bool = False
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """One operation and what answered it.

    ``same request`` (on record), ``stand-in`` (on record, another request), ``live``, or ``nobody``: nothing happened.
    """

    agent: str
    task: str
    path: str
    operation: str
    target: str
    source: str
    took_s: float
    used: Used = field(default_factory=Used)


class Live:
    """The end of the chain of a counterfactual replay. ``stopped`` is why it cannot go on, if so."""

    def __init__(self, stage: Stage, recordings: Recordings, rules: Rules, outside: Outside, *, replaces: bool) -> None:
        """``replaces``: something below an ask may differ from the record, so that asks are done again."""
        self.stopped: AntiphonError | None = None
        self.did: list[Did] = []
        self._stage = stage
        self._recordings = recordings
        self._rules = rules
        self._outside = outside
        self._replaces = replaces

    async def __call__(self, operation: Operation) -> Outcome:
        """Answer it. Raises Unanswerable where it may not be done, and whatever a peer, model or function raises."""
        if self.stopped is not None:
            raise self.stopped
        kind = operation.kind
        if kind is OperationKind.MODEL:
            return await self._model(operation)
        if kind is OperationKind.CALL or (kind is OperationKind.ASK and self._replaces):
            return await self._peer(operation)
        if kind is OperationKind.SLEEP:
            return await self._sleep(operation)
        if kind in (OperationKind.SUBMIT, OperationKind.PUBLISH):
            return self._sent(operation)
        source, entry = "same request", self._recordings.find(operation)
        if entry is None and self._rules.stand_ins and operation.effect is Effect.WRITE and kind in _FUNCTIONS:
            source, entry = "stand-in", self._recordings.stand_in(operation)
        if entry is not None:
            took_s = (entry.ended_unix_ms - entry.started_unix_ms) / 1000
            await asyncio.sleep(took_s)
            self._note(operation, source, took_s)
            return answer(operation, entry)
        if kind is OperationKind.ASK:
            return await self._peer(operation)
        if kind is OperationKind.STATE:  # in the stage's own, empty buckets
            self._note(operation, "live", 0.0)
            return Outcome(None, await operation.request())
        if kind is OperationKind.APPROVE:
            raise self._stop(operation, "was never asked for, and a replay asks nobody: keep to what was approved")
        return await self._function(operation)

    async def _model(self, operation: Operation) -> Outcome:
        call: ModelCall = operation.request
        name = self._rules.models.get(operation.target) or self._rules.models.get(ANY) or operation.target
        recorded = name == operation.target and not self._rules.fresh
        entry = self._recordings.find(operation) if recorded else None
        if entry is not None:
            took_s = (entry.ended_unix_ms - entry.started_unix_ms) / 1000
            await asyncio.sleep(took_s)
            self._note(operation, "same request", took_s, used_in([entry], self._outside.price))
            return answer(operation, entry)
        if self._rules.offline:
            raise self._stop(operation, "is not on record, and --offline asks no model: its answer is unknown")
        request = call.request.model_copy(update={"model": name, "deadline_unix_ms": None})
        if not isinstance(request, EmbedRequest) and request.sampling.seed is None and self._rules.seed is not None:
            sampling = request.sampling.model_copy(update={"seed": self._rules.seed})
            request = request.model_copy(update={"sampling": sampling})
        reply, took_s = self._outside.ask(request)
        await asyncio.sleep(took_s)
        price = self._outside.price(name)
        if isinstance(reply, Embeddings):
            self._note(operation, "live", took_s, used_by(reply.usage, price))
            return Outcome(reply, encode(reply))
        self._note(operation, "live", took_s, used_by(reply.finish.usage, price))
        return Outcome(reply, answer_bytes(reply), encode(reply))

    async def _peer(self, operation: Operation) -> Outcome:
        handler: Handler[Any, Any] = operation.request
        scope = operation.scope
        durable = operation.kind is OperationKind.CALL
        part = Part(
            address=handler.address,
            headers=Envelope(
                labels=scope.labels,
                budget=scope.budget,
                priority=scope.priority,
                deadline_unix_ms=operation.deadline_unix_ms,
            ).headers(),
            body=operation.body,
            task=(derived_id("child", scope.task, operation.path) if scope.task else new_id()) if durable else "",
            run=scope.run,
        )
        clock = self._stage.host.clock
        began_s = clock.monotonic_s()
        try:
            body = await self._stage.play(part)
        finally:
            self._note(operation, "live", clock.monotonic_s() - began_s)
        return Outcome(decode(handler.output, body), body)

    async def _sleep(self, operation: Operation) -> Outcome:
        left_s = max(0.0, operation.request.until_unix_ms / 1000 - self._stage.host.clock.unix_ns() / 1e9)
        await asyncio.sleep(left_s)
        self._note(operation, "live", left_s)
        return Outcome(None, b"")

    def _sent(self, operation: Operation) -> Outcome:
        """Detached work and events: they begin nothing here."""
        self._note(operation, "nobody", 0.0)
        if operation.kind is OperationKind.PUBLISH:
            return Outcome(None, b"")
        _, task = operation.request
        return Outcome(task, _ANY.dump_json(task))

    async def _function(self, operation: Operation) -> Outcome:
        if operation.effect is Effect.WRITE and not self._rules.allow_writes:
            way = "nothing stands in for it" if self._rules.stand_ins else "--allow-writes does it for real"
            raise self._stop(operation, f"writes, and this request is not on record: {way}")
        if self._rules.offline:
            raise self._stop(operation, "is not on record, and --offline does nothing live: its answer is unknown")
        work: Callable[[], Any] = operation.request
        if isinstance(work, ToolRun) and work.tool.backend is not None:
            raise self._stop(operation, "runs on a server that a replay does not start, and is not on record")
        value, took_s = self._outside.call(work)
        await asyncio.sleep(took_s)
        self._note(operation, "live", took_s)
        body = _ANY.dump_json(value)
        return Outcome(operation.restore(body) if operation.restore is not None else value, body)

    def _note(self, operation: Operation, source: str, took_s: float, used: Used | None = None) -> None:
        self.did.append(
            Did(
                agent=operation.scope.agent,
                task=operation.scope.task,
                path=operation.path,
                operation=operation.kind.value,
                target=operation.target,
                source=source,
                took_s=took_s,
                used=used or Used(),
            )
        )

    def _stop(self, operation: Operation, why: str) -> AntiphonError:
        """Nothing more can be done: a handler that swallows this goes no further either."""
        self.stopped = Unanswerable(
            f"operation {operation.path} of {operation.scope.agent}: {operation.kind} {operation.target!r} {why}",
            path=operation.path,
        )
        return self.stopped if operation.task_run is None else operation.task_run.halt(self.stopped)

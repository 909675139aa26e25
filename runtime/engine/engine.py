"""One thread that computes steps for every request there is."""

import heapq
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import structlog

from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.engine.checkpoint import Checkpoint, open_checkpoint
from antiphon.runtime.engine.engine_config import PAGE_TOKENS, EngineConfig
from antiphon.runtime.engine.grammar import Grammar, GrammarCompiler
from antiphon.runtime.engine.kv_pages import token_bytes
from antiphon.runtime.engine.loading import load_runner
from antiphon.runtime.engine.metrics import Meter, Peaks
from antiphon.runtime.engine.model_size import size_of
from antiphon.runtime.engine.plan import Row, Sampled, StepPlan
from antiphon.runtime.engine.plan import Sequence as Running
from antiphon.runtime.engine.prompt_blocks import prompt_blocks
from antiphon.runtime.engine.reply import Reply
from antiphon.runtime.engine.request import Event, FailureEvent, FinishEvent, Request
from antiphon.runtime.engine.sampler import SampleRow, with_seed
from antiphon.runtime.engine.scheduler import Scheduler
from antiphon.runtime.engine.speculation import Speculator
from antiphon.runtime.engine.tokenizer import Tokenizer
from antiphon.runtime.engine.weights import Weights
from antiphon.runtime.errors import (
    ContextTooLong,
    InvalidRequest,
    ModelBusy,
    ModelFileError,
    ModelUnavailable,
)
from antiphon.schemas.inference import EngineMetrics, Finish, FinishReason, Pages, Timing, Turn, Usage

log = structlog.get_logger()

_CLOSE_TIMEOUT_S = 30.0  # the thread notices after the step it is in
_LOOK_S = 0.05  # how often deadlines are looked at while nothing is computed


@dataclass(eq=False, slots=True, kw_only=True)
class _Live:
    """A request between submission and its last event."""

    request: Request
    on_event: Callable[[Event], None]
    submitted_s: float
    grammar: Future[Grammar] | None = None
    reply: Reply | None = None  # once it is in the scheduler's line
    broken: Exception | None = None  # why it cannot go on, found while its step was being made
    started: bool = False
    first_s: float | None = None
    last_s: float = 0.0


class Engine:
    """A model in memory and everything that is asked of it.

    ``submit`` and ``abort`` may be called from any thread; events are delivered on the engine's own, so whoever takes
    them must be quick. A request that fails takes no other with it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EngineConfig,
        *,
        clock: Clock | None = None,
        peaks: Peaks | None = None,
        draw: Callable[[], int] = lambda: secrets.randbits(63),
    ) -> None:
        """Load the checkpoint's weights and start. ``draw`` gives seeds to requests that have none.

        Raises:
            ConfigurationError: an unknown dtype.
            ModelFileError: a tensor is missing, unreadable or of another shape.
            NotEnoughMemory: the device has not enough left.
        """
        self.model_config = checkpoint.config
        self.tokenizer: Tokenizer = checkpoint.tokenizer
        self.config = config
        self._template = checkpoint.template
        self._clock = clock or SystemClock()
        self._draw = draw
        self._decodes, self._decode_keys = 1, 0  # of the last step
        self._preemptions = 0
        self._busy_s: float | None = None  # when the step under way began
        self._grammars = GrammarCompiler(checkpoint.tokenizer, checkpoint.config.vocabulary)
        self._live: dict[str, _Live] = {}
        self._deadlines: list[tuple[int, str]] = []
        self._changed = threading.Condition()
        self._inbox: list[Callable[[], None]] = []  # at most two entries for each live request
        self._idle = True
        self._closed = False
        loaded: Future[None] = Future()
        weights = [checkpoint.weights]  # taken out by the thread: the file is closed when the copies are made
        self._thread = threading.Thread(target=self._work, args=(weights, peaks, loaded), name="engine", daemon=True)
        self._thread.start()
        loaded.result()

    @property
    def ended(self) -> bool:
        """Whether it was closed or broke down: nothing can be asked of it any more."""
        return not self._thread.is_alive()

    @property
    def active(self) -> int:
        """Requests under way, those that wait too."""
        return len(self._live)

    @classmethod
    def load(
        cls,
        path: Path,
        config: EngineConfig | None = None,
        *,
        clock: Clock | None = None,
        peaks: Peaks | None = None,
    ) -> Self:
        """The engine for the checkpoint at ``path``.

        Raises:
            ConfigurationError: an unknown dtype.
            ModelFileError: nothing there, damaged, or not supported.
        """
        return cls(open_checkpoint(path), config or EngineConfig(), clock=clock, peaks=peaks)

    def encode(self, conversation: Sequence[Turn]) -> tuple[int, ...]:
        """The conversation as a prompt, by the checkpoint's chat template.

        Raises:
            InvalidRequest: the template refuses the conversation, or a turn has parts other than text.
            ModelFileError: there is no template, or it fails.
        """
        if self._template is None:
            raise ModelFileError("this checkpoint has no chat template; expected an instruction-tuned model")
        today = datetime.fromtimestamp(self._clock.unix_ns() / 1e9, UTC)
        return tuple(self._template.encode(conversation, today=today))

    def submit(self, request: Request, on_event: Callable[[Event], None]) -> None:
        """Begin a reply; its events end with one FinishEvent or FailureEvent.

        Raises:
            ContextTooLong: the prompt leaves no room for one token.
            InvalidRequest: an empty prompt, ids that the model has not, or the id of a request under way.
            ModelBusy: too many requests are under way; retryable.
            ModelUnavailable: the engine is closed; retryable.
        """
        self._check(request)
        live = _Live(request=with_seed(request, self._draw), on_event=on_event, submitted_s=self._clock.monotonic_s())
        with self._changed:
            if self._closed:
                raise ModelUnavailable("the engine is closed")
            if len(self._live) >= self.config.max_waiting + self.config.max_rows:
                raise ModelBusy(
                    f"found {len(self._live)} requests under way, the most this engine takes; try again later",
                    retry_after_s=1.0,
                )
            if request.id in self._live:
                raise InvalidRequest(f"found request id {request.id!r} twice, expected a new one")
            self._live[request.id] = live
            self._tell(lambda: self._arrive(live))

    def abort(self, request_id: str) -> None:
        """Give a request up: it ends as cancelled, after the step it is in at the latest. An unknown id is none."""
        with self._changed:
            live = self._live.get(request_id)
            if live is not None:
                self._tell(lambda: self._cancel(live))

    def generate(self, request: Request) -> Iterator[Event]:
        """Events of one reply as they come, the last one a FinishEvent; closing the iterator aborts it.

        Raises:
            AntiphonError: as ``submit``, or the error of a FailureEvent.
        """
        events: SimpleQueue[Event] = SimpleQueue()
        self.submit(request, events.put)
        try:
            while True:
                event = events.get()
                if isinstance(event, FailureEvent):
                    raise event.error
                yield event
                if isinstance(event, FinishEvent):
                    return
        finally:
            self.abort(request.id)  # none of ours any more, unless the iterator was closed before its end

    def metrics(self) -> EngineMetrics:
        """The engine in numbers."""
        counts, busy_s = self.scheduler.counts, self._busy_s
        found = self._meter.snapshot(
            waiting=counts.waiting,
            running=counts.running,
            pages_used=counts.pages_used,
            pages_total=counts.pages_used + counts.pages_free,
        )
        step_s = 0.0 if busy_s is None else self._clock.monotonic_s() - busy_s
        return found.model_copy(update={"step_s": step_s})

    def close(self) -> None:
        """Stop. Requests under way fail with ModelUnavailable. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_TIMEOUT_S)
        self._grammars.close()

    def _check(self, request: Request) -> None:
        prompt, config = request.prompt, self.model_config
        if not prompt:
            raise InvalidRequest("found an empty prompt, expected one token or more")
        if not (min(prompt) >= 0 and max(prompt) < config.vocabulary):
            raise InvalidRequest(
                f"found token ids from {min(prompt)} to {max(prompt)}, expected 0 to {config.vocabulary - 1}"
            )
        if len(prompt) >= config.context_tokens:
            raise ContextTooLong(
                f"found a prompt of {len(prompt)} tokens, expected fewer than this model's "
                f"{config.context_tokens}; shorten the conversation",
                prompt_tokens=len(prompt),
                context_tokens=config.context_tokens,
            )

    def _tell(self, action: Callable[[], None]) -> None:
        """Have the engine's thread do it; the caller holds the lock."""
        self._inbox.append(action)
        self._changed.notify_all()

    # From here on everything runs on the engine's thread.

    def _work(self, weights: list[Weights], peaks: Peaks | None, loaded: Future[None]) -> None:
        try:
            self._load(weights.pop(), peaks)
        except BaseException as error:
            loaded.set_exception(error)
            return
        loaded.set_result(None)
        try:
            while self._wait():
                self._expire()
                self._step()
        except BaseException as error:  # a panic of a native library is no Exception
            log.error("engine_failed", exc_info=error)
        self.scheduler.propose = None  # no circle is left: whoever lets go of the engine has its memory back at once
        with self._changed:
            self._closed = True
            self._inbox = []
            left, self._live = list(self._live.values()), {}
        for live in left:  # told without the scheduler, whose books may be what broke
            self._deliver(live, FailureEvent(request=live.request.id, error=ModelUnavailable("the engine is closed")))

    def _load(self, weights: Weights, peaks: Peaks | None) -> None:
        """Copy the weights and reserve memory, on the thread that computes.

        OpenMP keeps workers for each thread that ever computed in parallel. With more of them than processors libgomp
        lets them sleep between operations instead of spinning for a moment, and on a virtual machine a sleeper comes
        back after milliseconds: of decode steps with 25 ms in the median every tenth then took over 100.
        """
        config, model = self.config, self.model_config
        self.runner, place = load_runner(model, weights, config)
        self.scheduler = Scheduler(config, pages=self.runner.pages.count, context_tokens=model.context_tokens)
        self._speculator = Speculator(self.scheduler.cost.predict, model.context_tokens)
        if config.speculate:
            self.scheduler.propose = self._propose
        size = size_of(model)
        self._meter = Meter(
            size,
            read_bytes=self.runner.model.read_bytes,
            kv_bytes=token_bytes(model, place.dtype) / size.kv_elements,
            clock=self._clock,
            peaks=peaks,
        )

    def _wait(self) -> bool:
        """Do what the inbox says, after waiting for something to do; False once the engine is closed."""
        self._busy_s = None
        with self._changed:
            if self._idle:
                timeout_s = _LOOK_S if self._live else None
                self._changed.wait_for(lambda: self._inbox or self._closed, timeout_s)
            inbox, self._inbox = self._inbox, []
            if self._closed:
                return False
        self._busy_s = self._clock.monotonic_s()
        for action in inbox:
            action()
        return True

    def _arrive(self, live: _Live) -> None:
        request = live.request
        if request.deadline_unix_ms is not None:
            if len(self._deadlines) > 4 * len(self._live):  # most are of requests that have ended
                self._deadlines = [each for each in self._deadlines if each[1] in self._live]
                heapq.heapify(self._deadlines)
            heapq.heappush(self._deadlines, (request.deadline_unix_ms, request.id))
        if request.json_schema is None:
            self._enter(live, None)
            return
        live.grammar = self._grammars.compile(request.json_schema)
        live.grammar.add_done_callback(lambda _: self._compiled(live))

    def _compiled(self, live: _Live) -> None:
        """On the compiler's thread: have the request enter."""
        with self._changed:
            self._tell(lambda: self._enter(live, live.grammar))

    def _enter(self, live: _Live, compiled: Future[Grammar] | None) -> None:
        """Put a request whose grammar is ready into the scheduler's line, unless it was given up meanwhile."""
        request = live.request
        if self._live.get(request.id) is not live or (compiled is not None and compiled.cancelled()):
            return
        try:
            grammar = None if compiled is None else compiled.result()
            most = self.scheduler.limit(request) - len(request.prompt)
            reply = Reply(request, self.tokenizer, most=most, grammar=grammar)
            deadline, now_ms = request.deadline_unix_ms, self._clock.unix_ns() // 1_000_000
            left_s = None if deadline is None else (deadline - now_ms) / 1e3
            self.scheduler.add(request, self._clock.monotonic_s(), left_s)
        except Exception as error:
            self._fail(live, error)
        except BaseException as error:  # the grammar compiler's panic: this request's alone
            self._fail(live, ModelUnavailable(f"the schema's compiler broke: {type(error).__name__}: {error}"))
        else:
            live.reply = reply

    def _expire(self) -> None:
        now_ms = self._clock.unix_ns() // 1_000_000
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            live = self._live.get(heapq.heappop(self._deadlines)[1])
            if live is not None and (live.request.deadline_unix_ms or 0) <= now_ms:
                self._cancel(live)

    def _cancel(self, live: _Live) -> None:
        if self._live.get(live.request.id) is live:
            self._finish(live, FinishReason.CANCELLED)

    def _step(self) -> None:
        """Compute one step, if there is anything to compute."""
        began_s = self._clock.monotonic_s()
        plan = self.scheduler.schedule(began_s)
        self._idle = plan is None
        if plan is None:
            return
        self._note(plan)
        try:
            outcomes = self.runner.run(plan, self._sample_row)
        except Exception as error:
            log.error("engine_step_failed", rows=len(plan.rows), tokens=plan.new_tokens, exc_info=error)
            for row in plan.rows:
                live = self._live.get(row.sequence.request.id)
                if live is not None:
                    failure = ModelUnavailable(f"the step failed: {type(error).__name__}: {error}; try again")
                    failure.__cause__ = error
                    self._fail(live, failure)
            return
        now_s = self._clock.monotonic_s()
        sampled = [each if isinstance(each, Sampled) else Sampled(tokens=()) for each in outcomes]
        self._meter.step(plan, sampled, now_s - began_s)
        for (sequence, row, new), outcome in zip(
            self.scheduler.commit(plan, sampled, now_s - began_s, now_s), outcomes, strict=True
        ):
            live = self._live[sequence.request.id]
            broken = live.broken or (outcome if isinstance(outcome, Exception) else None)
            if broken is None:
                self._say(live, row, new, now_s)
            else:
                self._fail(live, broken)

    def _note(self, plan: StepPlan) -> None:
        """Remember what the next step's drafts are weighed against, and count whom this one starts or put back."""
        preemptions = self.scheduler.counts.preemptions
        while self._preemptions < preemptions:
            self._preemptions += 1
            self._meter.preempted()
        decodes = [row for row in plan.rows if row.samples and row.count == 1 + len(row.drafts)]
        self._decodes = max(1, len(decodes))
        self._decode_keys = sum(row.start + row.count for row in decodes)
        for row in plan.rows:
            live = self._live[row.sequence.request.id]
            if not live.started:
                live.started = True
                self._meter.admitted(prompt_tokens=len(live.request.prompt), cached_tokens=row.sequence.cached)

    def _propose(self, sequence: Running, most: int) -> tuple[int, ...]:
        """Drafts that the request's grammar allows."""
        reply = self._live[sequence.request.id].reply
        grammar = None if reply is None else reply.grammar
        drafts = self._speculator.propose(
            sequence,
            most,
            rows=self._decodes,
            kv_tokens=self._decode_keys,
            forced=() if grammar is None else grammar.forced(),
        )
        return drafts if grammar is None or not drafts else drafts[: grammar.allowed(drafts)]

    def _sample_row(self, row: Row) -> SampleRow:
        live = self._live[row.sequence.request.id]
        masks = None
        if live.reply is not None and live.reply.grammar is not None:
            try:
                masks = live.reply.grammar.masks(row.drafts)
            except InvalidRequest as error:  # it fails alone, after the step
                live.broken = error
        return SampleRow(sequence=row.sequence, drafts=row.drafts, masks=masks)

    def _say(self, live: _Live, row: Row, new: Sampled, now_s: float) -> None:
        """Deliver the tokens of one row, up to the one that ends the reply."""
        reply = live.reply
        assert reply is not None
        if row.drafts:
            self._speculator.observe(row.sequence, len(row.drafts), len(new.tokens) - 1)
        if live.first_s is None:
            live.first_s = now_s
            self._meter.first_token(now_s - live.submitted_s)
        else:
            self._meter.later_tokens(len(new.tokens), now_s - live.last_s)
        live.last_s = now_s
        for index, token in enumerate(new.tokens):
            try:
                event, reason = reply.take(token, new.logprobs[index] if new.logprobs else None)
            except Exception as error:
                self._fail(live, error)
                return
            self._deliver(live, event)
            if self._live.get(live.request.id) is not live:
                return
            if reason is not None:
                self._finish(live, reason)
                return

    def _finish(self, live: _Live, reason: FinishReason) -> None:
        request, now_s = live.request, self._clock.monotonic_s()
        usage, queue_s = Usage(input_tokens=0), now_s - live.submitted_s
        pages: Pages | None = None
        if live.reply is not None:
            sequence = self.scheduler.sequence(request.id)
            scheduled_s = self.scheduler.scheduled_s(request.id)
            if scheduled_s is not None:
                queue_s = scheduled_s - live.submitted_s
                usage = Usage(
                    input_tokens=len(request.prompt), output_tokens=live.reply.tokens, cached_tokens=sequence.cached
                )
            pool = self.scheduler.pool
            pages = Pages(used=pool.used, total=pool.total, hits=sequence.cached // PAGE_TOKENS)
        started_s = live.submitted_s + queue_s
        finish = Finish(
            reason=reason,
            usage=usage,
            timing=Timing(
                queue_s=queue_s,
                prefill_s=max(0.0, (now_s if live.first_s is None else live.first_s) - started_s),
                decode_s=0.0 if live.first_s is None else now_s - live.first_s,
            ),
            prompt_blocks=prompt_blocks(request.prompt),
            pages=pages,
        )
        self._end(live, finished=reason is not FinishReason.CANCELLED)
        self._deliver(live, FinishEvent(request=request.id, finish=finish))

    def _fail(self, live: _Live, error: Exception) -> None:
        if self._live.get(live.request.id) is live:
            self._end(live, finished=False)
            self._deliver(live, FailureEvent(request=live.request.id, error=error))

    def _deliver(self, live: _Live, event: Event) -> None:
        """A reader that fails is given up, and is nobody else's failure."""
        try:
            live.on_event(event)
        except Exception as error:
            log.error("engine_reader_failed", request=live.request.id, exc_info=error)
            if self._live.get(live.request.id) is live:
                self._end(live, finished=False)

    def _end(self, live: _Live, *, finished: bool) -> None:
        """Free all that a request holds."""
        request, now_s = live.request, self._clock.monotonic_s()
        if live.reply is not None:
            self._speculator.finished(self.scheduler.sequence(request.id))
            if finished:
                self.scheduler.finish(request.id, now_s)
            else:
                self.scheduler.abort(request.id, now_s)
        elif live.grammar is not None:
            live.grammar.cancel()
        self._meter.finished()
        with self._changed:
            del self._live[request.id]

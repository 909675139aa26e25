"""A model in this process: the engine, which has a thread of its own, behind the ModelInstance seam."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.engine.engine_config import EngineConfig
from antiphon.runtime.engine.metrics import Peaks
from antiphon.runtime.engine.request import Event, FailureEvent, FinishEvent, Request, TokenEvent, TokenLogprob
from antiphon.runtime.errors import AntiphonError, InvalidRequest, MissingExtra, ModelUnavailable
from antiphon.schemas.identity import new_id
from antiphon.schemas.inference import (
    Capabilities,
    Chunk,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    ModelMetrics,
    Pool,
    TextChunk,
    TokenScore,
    TokenScores,
)

if TYPE_CHECKING:
    from antiphon.runtime.engine.engine import Engine


class LocalModel:
    """A checkpoint behind the ModelInstance seam.

    The checkpoint is loaded at the first request or ``capabilities``; a failed load is reported to whoever caused it
    and tried again at the next, since a pull may have mended it.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        config: EngineConfig | None = None,
        *,
        peaks: Peaks | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``peaks``: of the hardware, where they were measured, for the metrics. Nothing is read yet."""
        self.name = name
        self._path = path
        self._config = config or EngineConfig()
        self._peaks = peaks
        self._clock = clock or SystemClock()
        self._engine: Engine | None = None
        self._loading = threading.Lock()
        self._pool = f"model:{name}@{new_id()[:8]}"
        self._closed = False

    @property
    def engine(self) -> "Engine":
        """What computes. Raises ModelUnavailable before the first request and after ``close``."""
        if self._engine is None:
            raise ModelUnavailable(f"model {self.name} is not loaded")
        return self._engine

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Chunks of the reply.

        Raises:
            ContextTooLong: the prompt does not fit, with both numbers.
            InvalidRequest: tools, tool parts, or a schema llguidance does not support.
            MissingExtra: the engine's packages are not installed.
            ModelFileError: the checkpoint cannot be loaded.
            ModelUnavailable: too many requests wait, or the model is closed; retryable.
        """
        if request.tools:
            raise InvalidRequest(f"model {self.name}: found {len(request.tools)} tools, this instance takes none")
        engine = await asyncio.to_thread(self._load)
        asked = await asyncio.to_thread(self._request, engine, request)
        # Bounded by the request: at most ``max_tokens`` tokens and one end.
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(event: Event) -> None:
            try:
                loop.call_soon_threadsafe(events.put_nowait, event)
            except RuntimeError:  # the loop is closed, and whoever read with it
                engine.abort(asked.id)

        engine.submit(asked, deliver)
        try:
            while True:
                event = await events.get()
                if isinstance(event, FailureEvent):
                    raise self._as_error(event.error)
                if isinstance(event, FinishEvent):
                    busy = min(self._config.max_rows, engine.active + 1)
                    pool = Pool(id=self._pool, capacity=self._config.max_rows, active=busy)
                    yield event.finish.model_copy(update={"model": self.name, "pool": pool})
                    return
                if event.text or event.logprob:
                    yield TextChunk(text=event.text, tokens=_scores(engine, event))
        finally:
            engine.abort(asked.id)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Not something a language model of this engine does.

        Raises:
            InvalidRequest: always.
        """
        raise InvalidRequest(f"model {self.name}: does not embed; use a model made for embeddings")

    async def capabilities(self) -> Capabilities:
        """What the instance can do; loads the checkpoint.

        Raises:
            MissingExtra: the engine's packages are not installed.
            ModelFileError: the checkpoint cannot be loaded.
        """
        engine = await asyncio.to_thread(self._load)
        return Capabilities(
            model=self.name,
            context_tokens=engine.model_config.context_tokens,
            structured_output=True,
            tools=False,
            embeddings=False,
            deterministic=self._config.batch_invariant,
        )

    async def metrics(self) -> ModelMetrics:
        """See ModelInstance."""
        engine = self._engine
        return ModelMetrics(model=self.name, engine=None if engine is None else engine.metrics())

    async def close(self) -> None:
        """Free the model. Requests under way fail with ModelUnavailable. Idempotent."""
        self._closed = True
        await asyncio.to_thread(self._unload)

    def _request(self, engine: "Engine", request: GenerateRequest) -> Request:
        if request.prompt is None:
            prompt = engine.encode(request.conversation)
        elif isinstance(request.prompt, str):
            prompt = tuple(engine.tokenizer.begin(request.prompt))
        else:
            prompt = request.prompt
        return Request(
            id=new_id(),
            prompt=prompt,
            sampling=request.sampling,
            json_schema=None if request.output is None else request.output.json_schema,
            deadline_unix_ms=request.deadline_unix_ms,
            run=request.run,
            agent=request.agent,
            priority=request.priority,
            tenant=request.tenant,
        )

    def _load(self) -> "Engine":
        with self._loading:
            if self._closed:
                raise ModelUnavailable(f"model {self.name} is closed")
            if self._engine is not None and self._engine.ended:  # it broke down, which the log has
                self._engine = None  # before the next is loaded: there is room for one
            if self._engine is None:
                try:
                    from antiphon.runtime.engine.engine import Engine
                except ImportError as error:
                    raise MissingExtra(
                        f"model {self.name}: a local model needs {error.name}, which is not installed; "
                        "pip install 'antiphon[engine]'"
                    ) from error
                try:
                    self._engine = Engine.load(self._path, self._config, clock=self._clock, peaks=self._peaks)
                except Exception as error:
                    raise self._as_error(error)  # noqa: B904  # it has its cause
            return self._engine

    def _unload(self) -> None:
        with self._loading:  # an engine that is being loaded is closed when it is there
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _as_error(self, error: Exception) -> AntiphonError:
        """Errors that are not ours (memory, torch) are logged here and reach the caller as ModelUnavailable."""
        if isinstance(error, AntiphonError):
            return error
        import structlog

        structlog.get_logger().error("model_failed", model=self.name, exc_info=error)
        failure = ModelUnavailable(f"model {self.name}: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure


def _scores(engine: "Engine", event: TokenEvent) -> tuple[TokenScores, ...]:
    """The token's log-probability and its alternatives', as the seam has them."""
    if event.logprob is None:
        return ()

    def score(token: int, logprob: float) -> TokenScore:
        raw = engine.tokenizer.token_bytes(token)
        return TokenScore(text=raw.decode(errors="replace"), logprob=logprob, bytes=tuple(raw))

    found: TokenLogprob = event.logprob
    own = score(found.token, found.logprob)
    top = tuple(score(token, logprob) for token, logprob in found.top)
    return (TokenScores(text=own.text, logprob=own.logprob, bytes=own.bytes, top=top),)

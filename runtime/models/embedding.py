"""An embedding model in this process: a BERT checkpoint on a thread of its own."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.errors import (
    AntiphonError,
    DeadlineExceeded,
    InvalidRequest,
    MissingExtra,
    ModelBusy,
    ModelUnavailable,
)
from antiphon.runtime.models.wait import Waits
from antiphon.schemas.identity import new_id
from antiphon.schemas.inference import (
    Capabilities,
    Chunk,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    ModelMetrics,
    Pool,
    Timing,
    Usage,
)

if TYPE_CHECKING:
    from antiphon.runtime.engine.embedder import Embedded, Embedder

FAMILIES: Final = ("bert",)

log = structlog.get_logger()


class EmbeddingModel:
    """A checkpoint behind the ModelInstance seam, for vectors and nothing else.

    One worker thread runs one request at a time, in order of arrival; at most ``max_waiting`` wait. The checkpoint is
    loaded at the first request or ``capabilities``; a failed load is tried again at the next. A text beyond the model's
    length is cut, as the model's authors do, and that is logged.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        dtype: str = "auto",
        threads: int = 1,
        max_waiting: int = 64,
        clock: Clock | None = None,
    ) -> None:
        """``dtype`` and ``threads`` as Embedder.load takes them; nothing is read yet."""
        self.name = name
        self._path = path
        self._dtype = dtype
        self._threads = threads
        self._max_waiting = max_waiting
        self._requests: dict[threading.Event, None] = {}  # each with what cancels it
        self._run_s = 0.1  # of a request, the latest weighing most
        self._embedder: Embedder | None = None
        self._clock = clock or SystemClock()
        self._pool = Pool(id=f"model:{name}@{new_id()[:8]}", capacity=1, active=1)
        self._waits = Waits(f"model {name}", self._clock)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"model-{name}")

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Not something an embedding model does.

        Raises:
            InvalidRequest: always.
        """
        raise InvalidRequest(f"model {self.name}: makes vectors and no text; use a language model")
        yield

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """One vector of length 1 a text.

        Raises:
            MissingExtra: the engine's packages are not installed.
            ModelFileError: the checkpoint cannot be loaded.
            ModelBusy: too many requests wait; details have ``retry_after_s``.
            ModelUnavailable: the model is closed, or failed; retryable.
            DeadlineExceeded: the deadline passed before there were vectors.
        """
        self._waits.check()
        if len(self._requests) >= self._max_waiting:
            raise ModelBusy(
                f"model {self.name}: {self._max_waiting} requests wait already, the most it takes; try again later",
                retry_after_s=f"{self._max_waiting * self._run_s:.1f}",
            )
        cancelled, asked_s = threading.Event(), self._clock.monotonic_s()
        self._requests[cancelled] = None
        try:
            async with self._waits.at_most(self._waits.left_s(request.deadline_unix_ms)):
                loop = asyncio.get_running_loop()
                found, begun_s = await loop.run_in_executor(self._worker, self._run, request.texts, cancelled)
        except TimeoutError:
            raise DeadlineExceeded(f"model {self.name} did not embed before the deadline; allow more time") from None
        finally:
            cancelled.set()
            del self._requests[cancelled]
        self._run_s += (self._clock.monotonic_s() - begun_s - self._run_s) / 8
        if found.cut:
            log.warning("embedding_texts_cut", model=self.name, cut=found.cut, texts=len(request.texts))
        return Embeddings(
            vectors=found.vectors,
            usage=Usage(input_tokens=found.tokens),
            timing=Timing(queue_s=begun_s - asked_s),
            pool=self._pool,
        )

    async def capabilities(self) -> Capabilities:
        """What the instance can do; loads the checkpoint. Raises as ``embed``."""
        async with self._waits.at_most(None):
            embedder = await asyncio.get_running_loop().run_in_executor(self._worker, self._load)
        return Capabilities(
            model=self.name,
            context_tokens=embedder.context_tokens,
            structured_output=False,
            tools=False,
            embeddings=True,
            deterministic=True,
        )

    async def metrics(self) -> ModelMetrics:
        """See ModelInstance."""
        self._waits.check()
        return ModelMetrics(model=self.name)

    async def close(self) -> None:
        """Free the model. Requests under way fail with ModelUnavailable. Idempotent."""
        self._waits.close()
        for cancelled in self._requests:
            cancelled.set()
        await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)
        self._embedder = None

    def _run(self, texts: tuple[str, ...], cancelled: threading.Event) -> "tuple[Embedded, float]":
        """On the worker; with when it began. Errors that are not ours (memory, torch) become ModelUnavailable."""
        begun_s = self._clock.monotonic_s()
        try:
            found = self._load().embed(texts, cancelled)
        except AntiphonError:
            raise
        except Exception as error:
            log.error("embedding_failed", model=self.name, exc_info=error)
            raise ModelUnavailable(f"model {self.name}: {type(error).__name__}: {error}") from error
        if found is None:
            raise ModelUnavailable(f"model {self.name}: nobody waits for the vectors any more")
        return found, begun_s

    def _load(self) -> "Embedder":
        """On the worker."""
        if self._embedder is None:
            try:
                from antiphon.runtime.engine.embedder import Embedder
            except ImportError as error:
                raise MissingExtra(
                    f"model {self.name}: a local model needs {error.name}, which is not installed; "
                    "pip install 'antiphon[engine]'"
                ) from error
            self._embedder = Embedder.load(self._path, dtype=self._dtype, threads=self._threads)
        return self._embedder


def is_embedding_checkpoint(path: Path) -> bool:
    """Whether a folder's ``config.json`` says that the model makes vectors. Nothing heavy is imported for it."""
    try:
        found = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # a GGUF file, or something the engine will complain about with reasons
    return isinstance(found, dict) and found.get("model_type") in FAMILIES

"""A double of a model instance with a law of time: prefill by uncached tokens, decode, slots and a prefix cache."""

import asyncio
import hashlib
import heapq
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from antiphon.runtime.errors import InvalidRequest
from antiphon.schemas.inference import (
    Capabilities,
    Chunk,
    Embeddings,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    ModelMetrics,
    Pool,
    TextChunk,
    Timing,
    Usage,
)

BLOCK_CHARACTERS = 1_024  # 256 tokens of four characters


class TimedModel:
    """Says what ``reply`` makes of a request, as fast as its law and its slots allow; by priority, then by arrival.

    ``prefill_s`` a token that no cached block covers, ``decode_s`` a token of the reply, longer by ``interference`` for
    every other call at work. ``embed_s``: (a call, a text), None where it does not embed.
    """

    def __init__(
        self,
        name: str,
        reply: Callable[[GenerateRequest], str],
        *,
        slots: int = 8,
        start_s: float = 0.01,
        prefill_s: float = 0.00005,
        decode_s: float = 0.002,
        interference: float = 0.0,
        cached_blocks: int = 4_096,
        embed_s: tuple[float, float] | None = None,
        replica: str = "bench",
    ) -> None:
        self._name, self._reply = name, reply
        self._pool = f"model:{name}@{replica}"
        self._slots = slots
        self._active = 0
        self._line: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = 0
        self._start_s, self._prefill_s, self._decode_s = start_s, prefill_s, decode_s
        self._interference = interference
        self._cache: OrderedDict[str, None] = OrderedDict()
        self._cached_blocks = cached_blocks
        self._embed_s = embed_s

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """See ModelInstance; the reply comes word by word."""
        clock = asyncio.get_running_loop().time
        asked_s = clock()
        async with self._slot(request.priority):
            began_s = clock()
            text = "".join(turn.text for turn in request.conversation)
            blocks = _blocks(text)
            tokens, cached = max(len(text) // 4, 1), self._hits(blocks) * BLOCK_CHARACTERS // 4
            pool = self._in_use()
            await asyncio.sleep(self._start_s + self._prefill_s * (tokens - cached))
            first_s = clock()
            words = self._reply(request).split(" ")
            limit = request.sampling.max_tokens
            due_s = first_s  # a model writes on, however late the loop that hears it wakes up
            for index, word in enumerate(words[:limit]):
                due_s += self._decode_s * (1 + self._interference * (self._active - 1))
                await asyncio.sleep(max(due_s - clock(), 0))
                yield TextChunk(text=word if index == 0 else f" {word}")
            yield Finish(
                reason=FinishReason.STOP if len(words) <= limit else FinishReason.LENGTH,
                usage=Usage(input_tokens=tokens, output_tokens=min(len(words), limit), cached_tokens=cached),
                timing=Timing(queue_s=began_s - asked_s, prefill_s=first_s - began_s, decode_s=clock() - first_s),
                model=self._name,
                prompt_blocks=blocks,
                pool=pool,
            )

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See ModelInstance; vectors are hashes."""
        if self._embed_s is None:
            raise InvalidRequest(f"model {self._name!r} does not embed")
        clock = asyncio.get_running_loop().time
        asked_s = clock()
        async with self._slot(0):
            queue_s, pool = clock() - asked_s, self._in_use()
            call_s, text_s = self._embed_s
            await asyncio.sleep(call_s + text_s * len(request.texts))
        return Embeddings(
            vectors=tuple(tuple(b / 255 for b in hashlib.sha256(t.encode()).digest()[:8]) for t in request.texts),
            usage=Usage(input_tokens=sum(len(t) // 4 for t in request.texts)),
            timing=Timing(queue_s=queue_s),
            pool=pool,
        )

    async def capabilities(self) -> Capabilities:
        """See ModelInstance."""
        return Capabilities(
            model=self._name, structured_output=True, tools=True, embeddings=self._embed_s is not None,
            deterministic=True,
        )  # fmt: skip

    async def metrics(self) -> ModelMetrics:
        """See ModelInstance."""
        return ModelMetrics(model=self._name)

    async def close(self) -> None:
        """Nothing to free."""

    @asynccontextmanager
    async def _slot(self, priority: int) -> AsyncGenerator[None, None]:
        if self._active < self._slots:
            self._active += 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self._arrivals += 1
            heapq.heappush(self._line, (-priority, self._arrivals, turn))
            try:
                await turn  # whoever leaves hands on the slot
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        while self._line:
            _, _, turn = heapq.heappop(self._line)
            if not turn.done():
                turn.set_result(None)
                return
        self._active -= 1

    def _in_use(self) -> Pool:
        return Pool(id=self._pool, capacity=self._slots, active=self._active)

    def _hits(self, blocks: Sequence[str]) -> int:
        hits = 0
        for block in blocks:
            if block not in self._cache:
                break
            hits += 1
        for block in blocks:
            self._cache[block] = None
            self._cache.move_to_end(block)
        while len(self._cache) > self._cached_blocks:
            self._cache.popitem(last=False)
        return hits


def _blocks(text: str) -> tuple[str, ...]:
    digest, found = hashlib.sha256(), []
    for start in range(0, len(text) - BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS):
        digest.update(text[start : start + BLOCK_CHARACTERS].encode())
        found.append(digest.hexdigest()[:16])
    return tuple(found)

"""A double of a model: it says what it is told to, under all the rules of the seam."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from antiphon.runtime.clock import Clock, LoopClock
from antiphon.runtime.errors import AntiphonError, ContextTooLong, InvalidRequest, ModelError
from antiphon.runtime.models.wait import Waits
from antiphon.schemas.inference import (
    Capabilities,
    Chunk,
    Embeddings,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    ModelMetrics,
    TextChunk,
    Timing,
    TokenScore,
    TokenScores,
    ToolCall,
    ToolCallChunk,
    Usage,
)
from antiphon.schemas.message import Message

_TOKEN = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """One scripted reply: its text, then its tool calls, then its error where it has one."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    error: AntiphonError | None = None


Line = Scripted | str | Message | ToolCall | AntiphonError  # the last four are short for a Scripted of just that
Script = Sequence[Line] | Callable[[GenerateRequest], Line]


class ScriptedModel:
    """Replies from a list, in the order in which requests are made, or from a function of the request.

    A token is a word with the white space after it. ``max_tokens``, stop strings, deadline, cancellation and
    ``close`` hold as for a real model; an output schema does not change what was scripted. The input's tokens are
    the words of the conversation's texts, or those of the prompt; each token of the reply has probability 1. ``embed``
    gives a text's vector (None: this instance does not embed).
    ``requests`` keeps the last 1,000 requests; ``active`` counts those under way.
    """

    def __init__(
        self,
        script: Script,
        *,
        name: str = "scripted",
        token_s: float = 0.0,
        context_tokens: int | None = None,
        embed: Callable[[str], Sequence[float]] | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.requests: deque[GenerateRequest] = deque(maxlen=1_000)
        self.active = 0
        self._script = script if callable(script) else iter(script)
        self._name = name
        self._token_s = token_s
        self._context_tokens = context_tokens
        self._embed = embed
        self._clock = clock if clock is not None else LoopClock()
        self._sleep = sleep
        self._waits = Waits(f"scripted model {name!r}", self._clock)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """See ModelInstance. Raises ModelError when the script is used up, and the scripted errors."""
        self._waits.check()
        self.requests.append(request)
        reply = self._next(request)
        prompt = _prompt_tokens(request)
        room = self._room(prompt)
        said = 0
        started = self._clock.monotonic_s()

        def finish(reason: FinishReason) -> Finish:
            return Finish(
                reason=reason,
                usage=Usage(input_tokens=prompt, output_tokens=said),
                timing=Timing(decode_s=self._clock.monotonic_s() - started),
                model=self._name,
            )

        text, stopped = _cut(reply.text, request.sampling.stop)
        tokens = _TOKEN.findall(text)
        limit = min(request.sampling.max_tokens, room)
        self.active += 1
        try:
            for token in tokens[:limit]:
                if not await self._think(request.deadline_unix_ms):
                    yield finish(FinishReason.CANCELLED)
                    return
                said += 1
                yield TextChunk(text=token, tokens=_scores(token, request.sampling.logprobs))
            if reply.error is not None:
                raise reply.error
            if len(tokens) > limit:
                yield finish(FinishReason.LENGTH)
                return
            for call in reply.calls if not stopped else ():
                yield ToolCallChunk(call=call)
            yield finish(FinishReason.TOOL_CALLS if reply.calls and not stopped else FinishReason.STOP)
        finally:
            self.active -= 1

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See ModelInstance."""
        self._waits.check()
        if self._embed is None:
            raise InvalidRequest(f"model {self._name!r} does not embed: name one that does")
        return Embeddings(
            vectors=tuple(tuple(self._embed(text)) for text in request.texts),
            usage=Usage(input_tokens=sum(len(text.split()) for text in request.texts)),
        )

    async def capabilities(self) -> Capabilities:
        """See ModelInstance."""
        self._waits.check()
        return Capabilities(
            model=self._name,
            context_tokens=self._context_tokens,
            structured_output=True,
            tools=True,
            embeddings=self._embed is not None,
            deterministic=callable(self._script),
        )

    async def metrics(self) -> ModelMetrics:
        """See ModelInstance."""
        self._waits.check()
        return ModelMetrics(model=self._name)

    async def close(self) -> None:
        """See ModelInstance."""
        self._waits.close()

    def _next(self, request: GenerateRequest) -> Scripted:
        if callable(self._script):
            return _scripted(self._script(request))
        for line in self._script:
            return _scripted(line)
        raise ModelError(f"model {self._name!r}: the script has no reply left for request {len(self.requests)}")

    def _room(self, prompt: int) -> int:
        """Tokens that fit after the prompt."""
        if self._context_tokens is None:
            return 2**31
        if prompt >= self._context_tokens:
            raise ContextTooLong(
                f"the prompt has {prompt} tokens, model {self._name!r} takes fewer than {self._context_tokens}: "
                "shorten the conversation",
                input_tokens=prompt,
                context_tokens=self._context_tokens,
            )
        return self._context_tokens - prompt

    async def _think(self, deadline_unix_ms: int | None) -> bool:
        """Take one token's time; False if the deadline passed."""
        left_s = self._waits.left_s(deadline_unix_ms)
        try:
            async with self._waits.at_most(left_s):
                await self._sleep(self._token_s)
        except TimeoutError:
            return False
        return self._waits.left_s(deadline_unix_ms) != 0.0


def _scripted(line: Line) -> Scripted:
    match line:
        case Scripted():
            return line
        case str():
            return Scripted(text=line)
        case Message():
            return Scripted(text=line.model_dump_json())
        case ToolCall():
            return Scripted(calls=(line,))
        case AntiphonError():
            return Scripted(error=line)


def _prompt_tokens(request: GenerateRequest) -> int:
    if isinstance(request.prompt, tuple):
        return len(request.prompt)
    texts = [turn.text for turn in request.conversation] if request.prompt is None else [request.prompt]
    return sum(len(text.split()) for text in texts)


def _scores(token: str, alternatives: int | None) -> tuple[TokenScores, ...]:
    if alternatives is None:
        return ()
    raw = tuple(token.encode())
    top = (TokenScore(text=token, logprob=0.0, bytes=raw),) if alternatives else ()
    return (TokenScores(text=token, logprob=0.0, bytes=raw, top=top),)


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether there was one."""
    found = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return (text[: min(found)], True) if found else (text, False)

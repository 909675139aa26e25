"""A model behind an OpenAI-compatible HTTP endpoint: OpenAI, vLLM, Ollama, llama.cpp and many others."""

import contextlib
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.errors import DeadlineExceeded, InvalidRequest, ModelError, ModelUnavailable, UnknownModel
from antiphon.runtime.models.chat import Completion, body, vectors
from antiphon.runtime.models.refusal import refusal
from antiphon.runtime.models.sse import EventParser, EventTooLong
from antiphon.runtime.models.vllm import READ_S, CacheReading, CacheWatch, explained, read
from antiphon.runtime.models.wait import Waits
from antiphon.runtime.urls import without_secrets
from antiphon.schemas.inference import (
    Capabilities,
    Chunk,
    Embeddings,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    ModelMetrics,
)

if TYPE_CHECKING:
    import httpx

CONNECT_S: Final = 5.0
_ERROR_BYTES: Final = 64 * 1024
_METRICS_BYTES: Final = 1024 * 1024
_ANSWER_BYTES: Final = 256 * 1024 * 1024  # of an embeddings answer: 10,000 vectors of 1,536 numbers as text
_SHAPE: Final = (KeyError, TypeError, AttributeError, ValueError)  # what reading JSON of another shape raises


class OpenAIModel:
    """Chat completions and embeddings over HTTP. It never retries: policies do.

    ``timeout_s`` bounds a silence of the server; the request's deadline bounds the whole. The key is sent as a
    bearer token and appears nowhere else.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: SecretStr | None = None,
        timeout_s: float = 120.0,
        clock: Clock | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._where = without_secrets(self._base_url)  # for messages
        self._model = model
        self._key = api_key
        self._timeout_s = timeout_s
        clock = clock if clock is not None else SystemClock()
        self._waits = Waits(f"model {model!r} at {self._where}", clock)
        self._cache = CacheWatch(clock)
        self._client: httpx.AsyncClient | None = None

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """See ModelInstance. Raises InvalidOutput for tool calls that are no JSON, and see ``refusal``."""
        completion = Completion(self._model)
        before = await self._cache_reading(request.deadline_unix_ms) if self._cache.due() else None
        events = self._events(body(request, self._model))
        try:
            while True:
                try:
                    async with self._waits.at_most(self._waits.left_s(request.deadline_unix_ms)):
                        event = await anext(events, None)
                except TimeoutError:
                    yield completion.finish(FinishReason.CANCELLED)
                    return
                if event is None:
                    break
                try:
                    chunks = completion.take(event)
                except _SHAPE as error:
                    raise self._garbled(json.dumps(event), error) from None
                for chunk in chunks:
                    yield chunk
        finally:
            await events.aclose()
        if not completion.finished:
            raise ModelUnavailable(f"{self._where}: the reply of {self._model!r} was cut off; ask again")
        for last in completion.end():
            yield await self._explained(last, before, request.deadline_unix_ms) if isinstance(last, Finish) else last

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See ModelInstance."""
        sent = {"model": self._model, "input": list(request.texts), "encoding_format": "float"}
        try:
            async with self._waits.at_most(self._waits.left_s(request.deadline_unix_ms)):
                found = await self._json("POST", "/embeddings", sent)
        except UnknownModel as error:
            raise InvalidRequest(f"{error.message}; the endpoint may not embed") from None
        except TimeoutError:
            raise DeadlineExceeded(f"{self._where} did not embed before the deadline; allow more time") from None
        try:
            found_vectors, usage = vectors(found, len(request.texts))
        except _SHAPE as error:
            raise self._garbled(json.dumps(found), error) from None
        return Embeddings(vectors=found_vectors, usage=usage)

    async def capabilities(self) -> Capabilities:
        """See ModelInstance. An endpoint says at most how long the context is (vLLM, OpenRouter)."""
        try:
            async with self._waits.at_most(None):
                found = await self._json("GET", "/models")
        except (UnknownModel, InvalidRequest):
            return Capabilities(model=self._model)  # not every server lists its models
        try:
            cards = [card for card in found["data"] if card["id"] == self._model]
            sizes = [card.get("max_model_len") or card.get("context_length") for card in cards]
        except _SHAPE as error:
            raise self._garbled(json.dumps(found), error) from None
        return Capabilities(model=self._model, context_tokens=sizes[0] if sizes else None)

    async def metrics(self) -> ModelMetrics:
        """See ModelInstance. An endpoint says nothing of itself."""
        return ModelMetrics(model=self._model)

    async def close(self) -> None:
        """See ModelInstance."""
        self._waits.close()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _explained(self, finish: Finish, before: CacheReading | None, deadline_unix_ms: int | None) -> Finish:
        """``finish`` with what the server's cache says of the call, where the usage did not and it was looked at."""
        self._cache.replied(finish.usage.cached_tokens)
        if before is None or finish.usage.cached_tokens is not None:
            return finish
        after = await self._cache_reading(deadline_unix_ms)
        return finish if after is None else explained(finish, before, after)

    async def _cache_reading(self, deadline_unix_ms: int | None) -> CacheReading | None:
        """What a vLLM server says of its cache; None where this is none, or it does not answer at once."""
        left_s = self._waits.left_s(deadline_unix_ms)
        found: CacheReading | None = None
        with contextlib.suppress(ModelError, TimeoutError):  # evidence, not work: the call goes on without
            async with (
                self._waits.at_most(READ_S if left_s is None else min(READ_S, left_s)),
                self._opened("GET", f"{self._base_url.removesuffix('/v1')}/metrics") as response,
            ):
                found = read(await _text(response, _METRICS_BYTES), self._model)
        if found is None:
            self._cache.absent()
        return found

    async def _events(self, sent: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON of each event of a streamed reply, to its end."""
        parser = EventParser()
        async with self._opened("POST", f"{self._base_url}/chat/completions", sent) as response:
            async for received in response.aiter_bytes():
                try:
                    events = parser.feed(received)
                except EventTooLong as error:
                    raise self._garbled("", error) from None
                for data in events:
                    if data.strip() == "[DONE]":
                        return
                    yield self._event(data)

    def _event(self, data: str) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except ValueError as error:
            raise self._garbled(data, error) from None
        if not isinstance(found, dict):
            raise self._garbled(data, TypeError("expected a JSON object"))
        if "error" in found:
            code = found["error"].get("code") if isinstance(found["error"], dict) else None
            raise self._refused(code if isinstance(code, int) and code >= 400 else 500, data)
        return found

    async def _json(self, method: str, path: str, sent: dict[str, Any] | None = None) -> dict[str, Any]:
        async with self._opened(method, self._base_url + path, sent) as response:
            text = await _text(response, _ANSWER_BYTES)
        try:
            found = json.loads(text)
        except ValueError as error:
            raise self._garbled(text, error) from None
        if not isinstance(found, dict):
            raise self._garbled(text, TypeError("expected a JSON object"))
        return found

    @asynccontextmanager
    async def _opened(
        self, method: str, url: str, sent: dict[str, Any] | None = None
    ) -> "AsyncGenerator[httpx.Response, None]":
        """A response of status 200; what goes wrong with the connection, until it is closed, is ModelUnavailable."""
        import httpx

        self._waits.check()
        headers = {"Authorization": f"Bearer {self._key.get_secret_value()}"} if self._key is not None else {}
        try:
            async with self._http().stream(method, url, json=sent, headers=headers) as response:
                if response.status_code != 200:
                    text = await _text(response, _ERROR_BYTES)
                    raise self._refused(response.status_code, text, response.headers.get("retry-after", ""))
                yield response
        except httpx.InvalidURL as error:
            raise InvalidRequest(f"base URL {self._where!r} cannot be used ({error}); correct it") from None
        except httpx.TimeoutException as error:
            raise ModelUnavailable(
                f"{self._where} was silent for too long ({type(error).__name__}; connecting may take "
                f"{CONNECT_S:g} s, an answer {self._timeout_s:g} s): is it overloaded?"
            ) from None
        except httpx.HTTPError as error:
            self._waits.check()
            raise ModelUnavailable(
                f"{self._where} cannot be reached or broke off ({type(error).__name__}: {error}): is it running?"
            ) from None

    def _http(self) -> "httpx.AsyncClient":
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(self._timeout_s, connect=CONNECT_S),
                limits=httpx.Limits(max_connections=256, max_keepalive_connections=16),
            )
        return self._client

    def _refused(self, status: int, text: str, retry_after: str = "") -> Exception:
        key = self._key.get_secret_value() if self._key is not None else None
        return refusal(status, text, where=self._where, model=self._model, retry_after=retry_after, key=key)

    def _garbled(self, data: str, error: Exception) -> ModelUnavailable:
        return ModelUnavailable(
            f"{self._where} answered what is no chat completion ({error}): {data[:200]!r}; "
            "is the base URL that of an OpenAI-compatible server, such as http://localhost:11434/v1?"
        )


async def _text(response: "httpx.Response", limit: int) -> str:
    """The body up to ``limit`` bytes."""
    received = bytearray()
    async for piece in response.aiter_bytes():
        received += piece
        if len(received) >= limit:
            break
    return received[:limit].decode("utf-8", "replace")

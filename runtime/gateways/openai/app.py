"""The gateway as one ASGI application."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from pydantic import SecretStr
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from antiphon.runtime.clock import Clock
from antiphon.runtime.gateways.http.app import Beside
from antiphon.runtime.gateways.http.callers import Callers, caller_of
from antiphon.runtime.gateways.http.events import EventStream
from antiphon.runtime.gateways.http.failures import failures
from antiphon.runtime.gateways.http.intake import LONGEST_S, read_json, timeout_s
from antiphon.runtime.gateways.http.leaving import while_there
from antiphon.runtime.gateways.openai.answers import Answer, events, first, whole
from antiphon.runtime.gateways.openai.chat import ChatAnswer
from antiphon.runtime.gateways.openai.completions import TextAnswer
from antiphon.runtime.gateways.openai.embeddings import embed_request, embedding_list
from antiphon.runtime.gateways.openai.generation import FLEX, Stamp, chat_requests, completion_requests, priority
from antiphon.runtime.gateways.openai.refusals import refuse, status_of
from antiphon.runtime.gateways.openai.replies import Numbered, interleaved, with_one_call
from antiphon.runtime.gateways.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest, Sampled, read
from antiphon.runtime.gateways.openai.served import ServedModel, ServedModels
from antiphon.runtime.version import VERSION
from antiphon.schemas.identity import derived_id, new_id
from antiphon.schemas.openai import Head


class Gateway:
    """``models`` for whoever has one of ``tokens``, which are by the names of callers.

    A caller is a tenant of its own name, unless ``tenants`` has another for it. ``max_body`` in bytes.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        tokens: Mapping[str, SecretStr],
        *,
        clock: Clock,
        max_body: int,
        tenants: Mapping[str, str] | None = None,
    ) -> None:
        self._clock = clock
        self._max_body = max_body
        self._tenants = dict(tenants or {})
        self._closing = asyncio.Event()
        self._models = ServedModels(models, since_s=self._now_s())
        handlers = failures(refuse, status_of)
        inner = Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/completions", self._complete, methods=["POST"]),
                Route("/v1/embeddings", self._embed, methods=["POST"]),
                Route("/v1/models", self._list, methods=["GET"]),
                Route("/v1/models/{model:path}", self._model, methods=["GET"]),
            ],
            middleware=[Middleware(Callers, tokens=tokens, refuse=refuse)],
            exception_handlers=handlers,
        )
        inner.router.redirect_slashes = False
        self.app = Starlette(
            routes=[Route("/health", _health, methods=["GET"])],
            middleware=[Middleware(Beside, door=inner)],
            exception_handlers={HTTPException: handlers[HTTPException]},
        )

    def close(self) -> None:
        """End the streams that are open. Idempotent."""
        self._closing.set()

    async def _chat(self, request: Request) -> Response:
        asked = read(ChatRequest, await read_json(request, self._max_body))
        instance = self._models.find(asked.model)
        wanted = chat_requests(asked, self._stamp(request))
        head = self._head("chatcmpl", asked.model)
        head["service_tier"] = "flex" if priority(asked) == FLEX else "default"
        streams = [instance.generate(each) for each in wanted]
        if asked.parallel_tool_calls is False:
            streams = [with_one_call(stream) for stream in streams]
        answer = ChatAnswer(head, len(wanted), scored=bool(asked.logprobs))
        return await self._answer(request, interleaved(streams), answer, asked, stream=bool(asked.stream))

    async def _complete(self, request: Request) -> Response:
        asked = read(CompletionRequest, await read_json(request, self._max_body))
        instance = self._models.find(asked.model)
        wanted = completion_requests(asked, self._stamp(request))
        head = self._head("cmpl", asked.model)
        answer = TextAnswer(head, len(wanted), each=asked.n or 1, scored=asked.logprobs is not None)
        replies = interleaved([instance.generate(each) for each in wanted])
        return await self._answer(request, replies, answer, asked, stream=bool(asked.stream))

    async def _answer(
        self, request: Request, replies: AsyncGenerator[Numbered, None], answer: Answer, asked: Sampled, *, stream: bool
    ) -> Response:
        """The answer as the caller wants it. What fails before the first token is no stream but an error."""
        if not stream:
            return _json(await while_there(request, whole(replies, answer)))
        begun = await while_there(request, first(replies))
        with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        return EventStream(events(begun, replies, answer, with_usage=with_usage), self._closing)

    async def _embed(self, request: Request) -> Response:
        asked = read(EmbeddingRequest, await read_json(request, self._max_body))
        instance = self._models.find(asked.model)
        found = await while_there(request, instance.embed(embed_request(asked, self._stamp(request))))
        return _json(embedding_list(asked, found))

    async def _list(self, request: Request) -> Response:
        return _json(self._models.cards())

    async def _model(self, request: Request) -> Response:
        return _json(self._models.card(request.path_params["model"]))

    def _stamp(self, request: Request) -> Stamp:
        caller = caller_of(request)
        limit_s = timeout_s(request, default_s=LONGEST_S, most_s=LONGEST_S) or LONGEST_S
        deadline = self._clock.unix_ns() // 1_000_000 + round(limit_s * 1e3)
        return Stamp(tenant=self._tenants.get(caller, caller), deadline_unix_ms=deadline)

    def _head(self, kind: str, model: str) -> Head:
        return Head(
            id=f"{kind}-{new_id()}",
            created=self._now_s(),
            model=model,
            system_fingerprint=f"fp_{derived_id(VERSION, model)[:10]}",
        )

    def _now_s(self) -> int:
        return self._clock.unix_ns() // 1_000_000_000


def _json(value: object) -> Response:
    return Response(to_json(value), media_type="application/json")


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})

"""``/v1/models`` and ``/v1/chat/completions``: every chat is a task, which ends when its caller hangs up."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Literal

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from antiphon.runtime.client import Client, TaskHandle
from antiphon.runtime.delivery.outcome import failure_of
from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.described import Described, message_of
from antiphon.runtime.errors import AntiphonError, to_info
from antiphon.runtime.gateways.http.chat import (
    PREFIX,
    ChatRequest,
    chat_input,
    chat_models,
    still_to_say,
    text_of,
)
from antiphon.runtime.gateways.http.events import DONE, EventStream, data_event, following
from antiphon.runtime.gateways.http.intake import LONGEST_S, read_json
from antiphon.runtime.gateways.http.leaving import Gone, while_there
from antiphon.runtime.gateways.http.refusals import Refusal, error_json
from antiphon.runtime.gateways.http.work import labels, stop
from antiphon.schemas.identity import Address, InvalidName
from antiphon.schemas.message import Message
from antiphon.schemas.node import HandlerCard
from antiphon.schemas.openai import (
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChunkChoice,
    Delta,
    Head,
    ModelCard,
    ModelList,
    assistant_message,
    model_card,
)
from antiphon.schemas.task import Gap, Restarted, TaskResult, TaskState, Token


class Completions:
    """Endpoints over a client. ``closing`` ends the streams that are open."""

    def __init__(self, client: Client, described: Described, closing: asyncio.Event) -> None:
        self._client = client
        self._described = described
        self._closing = closing

    def routes(self) -> list[BaseRoute]:
        """Where each is found."""
        return [
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model}", self.model, methods=["GET"]),
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
        ]

    async def models(self, request: Request) -> Response:
        """The handlers that one can talk to."""
        cards = [self._model(name) for name in await self._names()]
        return JSONResponse(ModelList(object="list", data=cards))

    async def model(self, request: Request) -> Response:
        """One of them."""
        name = request.path_params["model"]
        if name not in await self._names():
            raise _unknown(name)
        return JSONResponse(self._model(name))

    async def complete(self, request: Request) -> Response:
        """The reply as an assistant's turn, at once or as it comes."""
        try:
            chat = ChatRequest.model_validate(await read_json(request, self._client.host.max_body))
        except ValidationError as error:
            raise Refusal(422, "InvalidMessage", problems(error)) from None
        card, task = await self._submit(request, chat)
        if chat.stream:
            chunks = self._chunks(task, card, chat.model)
            return EventStream(chunks, self._closing, left=partial(stop, task))
        try:
            reply = await while_there(request, task.result())
        except (Gone, asyncio.CancelledError):
            await stop(task)
            raise
        message = assistant_message(text_of(card, reply.model_dump(mode="json")))
        choice = ChatChoice(index=0, message=message, logprobs=None, finish_reason="stop")
        head = self._head(task, chat.model)
        return JSONResponse(ChatCompletion(**head, object="chat.completion", choices=[choice], usage=None))

    async def _submit(self, request: Request, chat: ChatRequest) -> tuple[HandlerCard, TaskHandle[Message]]:
        try:
            address = Address.parse(chat.model.removeprefix(PREFIX))
        except InvalidName:
            raise _unknown(chat.model) from None
        card, handler = await self._described.find(address)
        form = chat_input(card)
        if form is None or not chat.model.startswith(PREFIX):
            raise _unknown(chat.model)
        message = message_of(card, handler, form.message(chat))
        return card, await self._client.submit(handler, message, timeout_s=LONGEST_S, labels=labels(request))

    async def _chunks(self, task: TaskHandle[Message], card: HandlerCard, model: str) -> AsyncGenerator[str, None]:
        """The reply as it is shown. What a worker showed that died is not taken back: the whole reply follows it."""
        head = self._head(task, model)

        def chunk(delta: Delta, finish_reason: Literal["stop"] | None = None) -> str:
            choice = ChunkChoice(index=0, delta=delta, logprobs=None, finish_reason=finish_reason)
            return data_event(ChatChunk(**head, object="chat.completion.chunk", choices=[choice], usage=None))

        yield chunk({"role": "assistant", "content": ""})
        shown, broken = "", False
        try:
            async with aclosing(following(self._client.host, task.id)) as events:
                async for event in events:
                    if isinstance(event, Token) and not broken:
                        shown += event.text
                        yield chunk({"content": event.text})
                    elif isinstance(event, Restarted | Gap):
                        broken = True
                    elif isinstance(event, TaskResult):
                        if event.state is not TaskState.SUCCEEDED:
                            raise failure_of(event)
                        rest = still_to_say(shown, text_of(card, event.value))
                        if rest:
                            yield chunk({"content": rest})
            yield chunk({}, "stop")
        except AntiphonError as error:
            yield data_event(error_json(to_info(error)))
        yield DONE

    def _head(self, task: TaskHandle[Message], model: str) -> Head:
        return Head(id=f"chatcmpl-{task.id}", created=self._now_s(), model=model)

    def _model(self, name: str) -> ModelCard:
        return model_card(name, created=self._now_s())

    def _now_s(self) -> int:
        return self._client.host.clock.unix_ns() // 1_000_000_000

    async def _names(self) -> list[str]:
        return chat_models(await self._described.agents())


def _unknown(model: str) -> Refusal:
    return Refusal(
        404, "UnknownModel", f"no model {model[:80]!r}: expected agent:NAME.HANDLER, one of those at /v1/models"
    )

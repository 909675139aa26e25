"""What a model instance is asked for: one request for every reply that a caller wants. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from antiphon.runtime.errors import InvalidRequest
from antiphon.runtime.gateways.openai.conversation import turns
from antiphon.runtime.gateways.openai.requests import (
    MOST_REPLIES,
    TEXT_TOKENS,
    ChatRequest,
    CompletionRequest,
    ResponseFormat,
    Sampled,
    ToolName,
)
from antiphon.schemas.identity import derived_id
from antiphon.schemas.inference import GenerateRequest, OutputSchema, ToolSpec

CHAT_TOKENS: Final = 4096  # of a chat's reply, unless the caller says; an engine stops where its context is full
FLEX: Final = -1  # the priority of work that fills what online work leaves
RUN: Final = "run"  # the key of ``metadata`` that says which calls are steps of one program


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What the gateway knows of a request and its body does not say."""

    tenant: str
    deadline_unix_ms: int


def chat_requests(chat: ChatRequest, stamp: Stamp) -> list[GenerateRequest]:
    """One for each of the ``n`` replies.

    Raises:
        InvalidRequest: messages, tools, a format or sampling values that no model here takes.
    """
    tools, must_call = _tools(chat)
    if chat.top_logprobs is not None and not chat.logprobs:
        raise InvalidRequest("top_logprobs: expected logprobs = true with it", param="top_logprobs")
    limit = chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens
    alternatives = chat.top_logprobs if chat.top_logprobs is not None else 0
    base = GenerateRequest(
        model=chat.model,
        conversation=turns(chat.messages),
        tools=tools,
        must_call=must_call,
        output=_output(chat.response_format),
        sampling=chat.sampling(
            max_tokens=limit, unless_given=CHAT_TOKENS, logprobs=alternatives if chat.logprobs else None
        ),
        run=_run(chat, stamp),
        tenant=stamp.tenant,
        priority=priority(chat),
        deadline_unix_ms=stamp.deadline_unix_ms,
    )
    return list(_numbered(base, chat.n or 1))


def completion_requests(asked: CompletionRequest, stamp: Stamp) -> list[GenerateRequest]:
    """One for each of the ``n`` replies to the first prompt, then to the second, …

    Raises:
        InvalidRequest: too many replies, sampling values that no model here takes, or what is not supported.
    """
    n = asked.n or 1
    if asked.echo:
        raise InvalidRequest("echo is not supported: the prompt is the caller's to repeat", param="echo")
    if asked.suffix:
        raise InvalidRequest("suffix is not supported: models here only go on from a prompt", param="suffix")
    if asked.best_of not in (None, n):
        raise InvalidRequest(f"best_of is {asked.best_of}, expected n, which is {n}", param="best_of")
    if len(asked.prompt) * n > MOST_REPLIES:
        raise InvalidRequest(
            f"{len(asked.prompt)} prompts with n = {n}: expected {MOST_REPLIES} replies at most", param="prompt"
        )
    sampling = asked.sampling(max_tokens=asked.max_tokens, unless_given=TEXT_TOKENS, logprobs=asked.logprobs)
    return [
        request
        for prompt in asked.prompt
        for request in _numbered(
            GenerateRequest(
                model=asked.model,
                prompt=prompt,
                sampling=sampling,
                run=_run(asked, stamp),
                tenant=stamp.tenant,
                priority=priority(asked),
                deadline_unix_ms=stamp.deadline_unix_ms,
            ),
            n,
        )
    ]


def priority(asked: Sampled) -> int:
    """``flex`` is batch work; what else OpenAI sells at another price is served as the rest is."""
    return FLEX if asked.service_tier == "flex" else 0


def _numbered(base: GenerateRequest, n: int) -> Iterator[GenerateRequest]:
    """The same request ``n`` times; if it has a seed, each has one of its own."""
    for number in range(n):
        seed = base.sampling.seed
        if seed is None or number == 0:
            yield base
        else:
            sampling = base.sampling.model_copy(update={"seed": (seed + number) % 2**63})
            yield base.model_copy(update={"sampling": sampling})


def _run(asked: Sampled, stamp: Stamp) -> str | None:
    """The program's id. Two tenants that name theirs alike have two programs."""
    named = (asked.metadata or {}).get(RUN)
    return derived_id(stamp.tenant, named) if named else None


def _tools(chat: ChatRequest) -> tuple[tuple[ToolSpec, ...], bool]:
    """The tools that may be called, and whether one must be."""
    tools = tuple(
        ToolSpec(
            name=offer.function.name,
            description=offer.function.description or "",
            parameters=offer.function.parameters or {"type": "object", "properties": {}},
        )
        for offer in chat.tools or ()
    )
    wanted = chat.tool_choice
    if wanted == "none":
        return (), False
    if wanted in (None, "auto"):
        return tools, False
    if isinstance(wanted, ToolName):
        tools = tuple(tool for tool in tools if tool.name == wanted.function.name)
    if not tools:
        raise InvalidRequest("tool_choice: expected one of tools, which has no such tool", param="tool_choice")
    return tools, True


def _output(form: ResponseFormat | None) -> OutputSchema | None:
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return OutputSchema(name="json_object", json_schema={"type": "object"})
    if form.json_schema is None:
        raise InvalidRequest("response_format: expected json_schema with it", param="response_format.json_schema")
    return OutputSchema(name=form.json_schema.name, json_schema=form.json_schema.json_schema)

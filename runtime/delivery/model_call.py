"""The transport of model operations: chunks of an instance become one reply, and facts for the span."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.fields import field_sizes
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.captured import prompt_text, reply_text
from antiphon.runtime.models.price import Price
from antiphon.runtime.models.prompt import segments, text_blocks, tool_sizes
from antiphon.runtime.models.structured import collect
from antiphon.runtime.policies.chain import Operation, Outcome
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.inference import (
    Chunk,
    Embeddings,
    EmbedRequest,
    Finish,
    GenerateRequest,
    Pool,
    Reply,
    TextChunk,
    Timing,
)

Show = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """What a model operation asks for; ``show`` is given the text as it comes.

    ``instance``: the one that a policy chose, instead of the registry's. ``embed`` does an EmbedRequest together with
    others'.
    """

    request: GenerateRequest | EmbedRequest
    show: Show | None = None
    instance: ModelInstance | None = None
    embed: Callable[[ModelInstance, EmbedRequest], Awaitable[Embeddings]] | None = None


async def run_model_call(
    operation: Operation, instance: ModelInstance, clock: Clock, *, capture_content: bool, price: Price | None = None
) -> Outcome:
    """Run the call on ``instance``; the operation's attributes gain what the instance said of itself.

    ``capture_content``: prompt and reply go onto the span as well. ``price`` None: nobody knows what it costs.

    Raises:
        ModelError: as the instance says; an instance that ends without a Finish is ModelUnavailable.
    """
    call: ModelCall = operation.request
    request = call.request
    describe_request(operation.attributes, request)
    if isinstance(request, EmbedRequest):
        embeddings = await (instance.embed(request) if call.embed is None else call.embed(instance, request))
        operation.attributes[names.GENAI_INPUT_TOKENS] = embeddings.usage.input_tokens
        _describe_serving(operation.attributes, embeddings.timing, embeddings.pool)
        if price is not None:
            operation.attributes[names.COST_USD] = price.usd(embeddings.usage)
        return Outcome(embeddings, embeddings.model_dump_json(include={"vectors"}).encode(), encode(embeddings))
    started_s = clock.monotonic_s()

    async def watch(chunk: Chunk) -> None:
        operation.attributes.setdefault(names.GENAI_FIRST_CHUNK, clock.monotonic_s() - started_s)
        if call.show is not None and isinstance(chunk, TextChunk):
            await call.show(chunk.text)

    reply = await collect(instance.generate(request), watch)
    describe_reply(operation.attributes, request, reply.finish)
    if price is not None:
        operation.attributes[names.COST_USD] = price.usd(reply.finish.usage)
    sizes = field_sizes(reply.text.encode()) if request.output is not None else []
    if sizes:
        operation.attributes[names.RESULT_FIELDS] = sizes
    if capture_content:
        operation.attributes[names.GENAI_INPUT_MESSAGES] = prompt_text(request)
        operation.attributes[names.GENAI_OUTPUT_MESSAGES] = reply_text(reply)
    return Outcome(reply, answer_bytes(reply), encode(reply))


def answer_bytes(reply: Reply) -> bytes:
    """The part of a reply that is its answer: two calls that said the same are equal, whatever they took."""
    return reply.model_dump_json(include={"text", "tool_calls"}).encode()


def describe_request(attributes: dict[str, Any], request: GenerateRequest | EmbedRequest) -> None:
    """What is known before the call, by the GenAI conventions."""
    attributes[names.GENAI_REQUEST_MODEL] = request.model
    if isinstance(request, EmbedRequest):
        attributes[names.DETERMINISTIC] = True
        return
    sampling = request.sampling
    attributes[names.GENAI_MAX_TOKENS] = sampling.max_tokens
    attributes[names.GENAI_TEMPERATURE] = sampling.temperature
    attributes[names.GENAI_OUTPUT_TYPE] = "json" if request.output is not None else "text"
    attributes[names.DETERMINISTIC] = sampling.temperature == 0 or sampling.seed is not None
    attributes[names.PROMPT_SEGMENTS] = segments(request.conversation)
    if request.tools:
        attributes[names.PROMPT_TOOLS] = tool_sizes(request.tools)
    if sampling.seed is not None:
        attributes[names.GENAI_SEED] = sampling.seed


def describe_reply(attributes: dict[str, Any], request: GenerateRequest, finish: Finish) -> None:
    """What is known after the call; facts the instance cannot say are left out, not set to zero."""
    usage, timing = finish.usage, finish.timing
    attributes[names.GENAI_RESPONSE_MODEL] = finish.model or request.model
    attributes[names.GENAI_FINISH_REASONS] = [finish.reason.value]
    attributes[names.GENAI_INPUT_TOKENS] = usage.input_tokens
    attributes[names.GENAI_OUTPUT_TOKENS] = usage.output_tokens
    attributes[names.PROMPT_BLOCKS] = list(finish.prompt_blocks) or text_blocks(request.conversation)
    _describe_serving(attributes, timing, finish.pool)
    if usage.cached_tokens is not None:
        attributes[names.GENAI_CACHED_TOKENS] = usage.cached_tokens
    if finish.pages is not None:
        attributes[names.KV_USED] = finish.pages.used
        attributes[names.KV_TOTAL] = finish.pages.total
        if finish.pages.hits is not None:
            attributes[names.KV_HITS] = finish.pages.hits


def _describe_serving(attributes: dict[str, Any], timing: Timing, pool: Pool | None) -> None:
    """Where a call's time went, and the slots that served it."""
    if pool is not None:
        attributes[names.POOL_ID] = pool.id
        attributes[names.POOL_CAPACITY] = pool.capacity
        attributes[names.POOL_ACTIVE] = pool.active
    for name, value in (
        (names.MODEL_QUEUE_S, timing.queue_s),
        (names.MODEL_PREFILL_S, timing.prefill_s),
        (names.MODEL_DECODE_S, timing.decode_s),
    ):
        if value is not None:
            attributes[name] = value

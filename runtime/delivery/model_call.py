"""The transport of model operations: chunks of an instance become one reply, and facts for the span."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.prompt import segments, text_blocks
from antiphon.runtime.models.structured import collect
from antiphon.runtime.policies.chain import Operation, Outcome
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.inference import Chunk, EmbedRequest, Finish, GenerateRequest, Reply, TextChunk

Show = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """What a model operation asks for; ``show`` is given the text as it comes."""

    request: GenerateRequest | EmbedRequest
    show: Show | None = None


async def run_model_call(
    operation: Operation, instance: ModelInstance, clock: Clock, *, capture_content: bool
) -> Outcome:
    """Run the call on ``instance``; the operation's attributes gain what the instance said of itself.

    ``capture_content``: prompt and reply go onto the span as well.

    Raises:
        ModelError: as the instance says; an instance that ends without a Finish is ModelUnavailable.
    """
    call: ModelCall = operation.request
    request = call.request
    describe_request(operation.attributes, request)
    if isinstance(request, EmbedRequest):
        embeddings = await instance.embed(request)
        operation.attributes[names.GENAI_INPUT_TOKENS] = embeddings.usage.input_tokens
        return Outcome(embeddings, encode(embeddings))
    started_s = clock.monotonic_s()

    async def watch(chunk: Chunk) -> None:
        operation.attributes.setdefault(names.GENAI_FIRST_CHUNK, clock.monotonic_s() - started_s)
        if call.show is not None and isinstance(chunk, TextChunk):
            await call.show(chunk.text)

    reply = await collect(instance.generate(request), watch)
    describe_reply(operation.attributes, request, reply.finish)
    if capture_content:
        prompt = request.model_dump_json(include={"conversation"})
        operation.attributes[names.GENAI_INPUT_MESSAGES] = prompt
        operation.attributes[names.GENAI_OUTPUT_MESSAGES] = answer_bytes(reply).decode()
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
    if finish.pool is not None:
        attributes[names.POOL_ID] = finish.pool.id
        attributes[names.POOL_CAPACITY] = finish.pool.capacity
        attributes[names.POOL_ACTIVE] = finish.pool.active
    for name, value in (
        (names.GENAI_CACHED_TOKENS, usage.cached_tokens),
        (names.MODEL_QUEUE_S, timing.queue_s),
        (names.MODEL_PREFILL_S, timing.prefill_s),
        (names.MODEL_DECODE_S, timing.decode_s),
    ):
        if value is not None:
            attributes[name] = value

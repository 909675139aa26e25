"""What is said to a model instance and what it answers: one definition for every adapter and for the engine."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from antiphon.schemas.message import Message, Value
from antiphon.schemas.task import ErrorInfo


class Role(StrEnum):
    """Who speaks in a conversation."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class TextPart(Value):
    """Plain text."""

    kind: Literal["text"] = "text"
    text: str


class ToolCall(Value):
    """The model asks for a tool; ``arguments`` fit the tool's JSON schema or the caller says so to the model."""

    kind: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    arguments: dict[str, Any]


class ToolResult(Value):
    """What a tool answered to the call ``id``; ``error`` marks a failure the model may read."""

    kind: Literal["tool_result"] = "tool_result"
    id: str
    name: str
    content: str
    error: bool = False


Part = Annotated[TextPart | ToolCall | ToolResult, Field(discriminator="kind")]


class Turn(Value):
    """One turn of a conversation. ``segment`` names it for the logging agent (``system``, ``history``, …)."""

    role: Role
    parts: tuple[Part, ...]
    segment: str | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


def turn(role: Role, text: str, *, segment: str | None = None) -> Turn:
    """A turn of one text part."""
    return Turn(role=role, parts=(TextPart(text=text),), segment=segment)


class ToolSpec(Value):
    """A tool as the model sees it; ``parameters`` is a JSON schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class OutputSchema(Value):
    """The reply must be JSON that fits ``json_schema``."""

    name: str
    json_schema: dict[str, Any]


class Sampling(Value):
    """How tokens are chosen. Temperature 0 is greedy; ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 leave all tokens in.

    ``min_p`` drops tokens less probable than that share of the best one's. The presence and frequency penalties are
    subtracted from the scores of tokens the reply has, once and for each occurrence; the repetition penalty divides
    positive and multiplies negative scores of tokens that prompt or reply have. ``logprobs``: report each token's
    log-probability and those of that many alternatives. ``clip``: ``max_tokens`` is nobody's wish but a default, and is
    lowered to what the instance has room for where it would else refuse.
    """

    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    repetition_penalty: float = Field(default=1.0, ge=0.01, le=10.0)  # less makes scores infinite
    logprobs: int | None = Field(default=None, ge=0, le=20)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    max_tokens: int = Field(default=256, ge=1)
    clip: bool = False
    stop: tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...] = Field(default=(), max_length=16)


RawPrompt = (
    Annotated[str, Field(min_length=1)] | Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
)


class GenerateRequest(Message):
    """One call of a language model. ``run``, ``task``, ``agent``, priority and deadline go down to the batch.

    A priority below 0 is batch work: it fills what online work leaves. ``tenant`` is written by whoever knows it, the
    server on the bus or a gateway; what a client claims there is replaced.

    Either ``conversation`` or ``prompt`` is given: text or token ids to go on from, as they are, by no chat template.
    ``must_call``: the reply is a call of one of the tools, not an answer.
    """

    model: str
    conversation: tuple[Turn, ...] = ()
    prompt: RawPrompt | None = None
    tools: tuple[ToolSpec, ...] = ()
    must_call: bool = False
    output: OutputSchema | None = None
    sampling: Sampling = Sampling()
    run: str | None = None
    task: str | None = None
    agent: str | None = None
    tenant: str = ""
    priority: int = Field(default=0, ge=-9, le=9)  # higher goes first
    deadline_unix_ms: int | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.conversation) == (self.prompt is not None):
            raise ValueError("expected a conversation of one turn at least, or a prompt, not both")
        if self.tools and self.prompt is not None:
            raise ValueError("a prompt takes no tools: send a conversation")
        if self.must_call and not self.tools:
            raise ValueError("must_call without tools: name the tools that may be called")
        return self


class Usage(Value):
    """Tokens of one call. ``cached_tokens`` (of the input) is None where the instance cannot say."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int | None = None


class Timing(Value):
    """Where the time of one call went, in seconds; None where the instance cannot say."""

    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None


class Pool(Value):
    """The slots of the instance that served a call: how many there are, how many were busy, this call included."""

    id: str
    capacity: int = Field(ge=1)
    active: int = Field(ge=1)


class Pages(Value):
    """The instance's KV cache in pages: in use and in all when a call ended, and how many the call found computed.

    ``hits`` is None where the instance cannot say it of one call.
    """

    used: int = Field(ge=0)
    total: int = Field(ge=0)
    hits: int | None = Field(default=None, ge=0)


class FinishReason(StrEnum):
    """Why generation ended."""

    STOP = "stop"  # end-of-turn token, stop string, or the schema is complete
    LENGTH = "length"  # max_tokens or the context is full
    TOOL_CALLS = "tool_calls"  # the model asks for tools
    CANCELLED = "cancelled"  # the caller gave up or the deadline passed


class TokenScore(Value):
    """A token's text, its bytes (it may be part of a character) and the natural logarithm of its probability."""

    text: str
    logprob: float
    bytes: tuple[int, ...]


class TokenScores(TokenScore):
    """A token of the reply, and the likeliest alternatives."""

    top: tuple[TokenScore, ...] = ()


class TextChunk(Value):
    """More text. ``tokens`` are those that became known with it, where log-probabilities were asked for."""

    kind: Literal["text"] = "text"
    text: str
    tokens: tuple[TokenScores, ...] = ()


class ToolCallChunk(Value):
    """One complete tool call."""

    kind: Literal["tool_call"] = "tool_call"
    call: ToolCall


class Finish(Value):
    """The last chunk, exactly once. ``prompt_blocks``: rolling hashes of the prompt, 256 tokens a block.

    ``pool`` and ``pages`` are None where the instance cannot say what served the call.
    """

    kind: Literal["finish"] = "finish"
    reason: FinishReason
    usage: Usage
    timing: Timing = Timing()
    model: str = ""
    prompt_blocks: tuple[str, ...] = ()
    pool: Pool | None = None
    pages: Pages | None = None


Chunk = Annotated[TextChunk | ToolCallChunk | Finish, Field(discriminator="kind")]


class Reply(Message):
    """A whole answer: the chunks of one call, put together."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish: Finish


class EmbedRequest(Message):
    """Texts to turn into vectors."""

    model: str
    texts: tuple[str, ...] = Field(min_length=1)
    run: str | None = None
    task: str | None = None
    deadline_unix_ms: int | None = None


class Embeddings(Message):
    """One vector a text, in order. ``pool``: None where the instance cannot say what served the call."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage
    timing: Timing = Timing()
    pool: Pool | None = None


class Capabilities(Message):
    """What an instance can do. False and None differ: no, and cannot say."""

    model: str
    context_tokens: int | None = None
    structured_output: bool | None = None
    tools: bool | None = None
    embeddings: bool | None = None
    deterministic: bool | None = None  # the same request gives the same tokens


class DescribeModel(Message):
    """Ask an instance on the bus for its Capabilities."""

    model: str


class EngineMetrics(Value):
    """What an engine did in the last ``window_s`` seconds, and what it holds now. None: nothing to say it from.

    Rates are means over the window, but for the operations and bytes, which are means over the time in steps:
    ``busy`` is the share of the window that these took. The utilisations are of the measured peaks of the hardware.
    """

    window_s: float
    requests: int  # that ended
    waiting: int
    running: int
    first_token_p50_s: float | None
    first_token_p99_s: float | None
    inter_token_p50_s: float | None
    inter_token_p99_s: float | None
    input_tokens_per_s: float  # of prompts, those found in the cache included
    cached_tokens_per_s: float
    output_tokens_per_s: float
    batch_rows: float | None  # a step
    pages_used: int
    pages_total: int
    preemptions: int  # since it was loaded
    draft_acceptance: float | None  # share of drafted tokens
    busy: float
    flops_per_s: float | None
    bytes_per_s: float | None
    flops_utilisation: float | None
    bandwidth_utilisation: float | None
    step_s: float = 0.0  # so far, of the step under way


class InspectModel(Message):
    """Ask an instance on the bus for its ModelMetrics."""

    model: str


class ModelMetrics(Message):
    """How an instance does. ``engine`` is None where there is none of ours behind it, or it is not loaded.

    ``server`` is the node that serves it on the bus; ``restarts`` counts the failures of a process of its own.
    """

    model: str
    server: str = ""
    restarts: int | None = None
    engine: EngineMetrics | None = None


class Accepted(Message):
    """An instance on the bus has taken a GenerateRequest; chunks follow on the subject that the request named."""

    server: str


class ChunkBatch(Message):
    """Chunks of one reply, coalesced: the first has number ``n``, the next ``n + 1``, …

    No chunks and no error: the server is still at it. An error, or a Finish as the last chunk, is the end.
    """

    n: int
    chunks: tuple[Chunk, ...] = ()
    error: ErrorInfo | None = None


class ReaderSignal(Message):
    """Whoever reads a reply says, every 2 s, that it still does; or that it has gone."""

    gone: bool = False

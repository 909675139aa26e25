"""What is said to a model instance and what it answers: one definition for every adapter and for the engine."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

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
    """How tokens are chosen. Temperature 0 is greedy; ``top_k`` 0 and ``top_p`` 1 leave all tokens in."""

    temperature: float = Field(default=0.0, ge=0.0, le=10.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    max_tokens: int = Field(default=256, ge=1)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), max_length=16)


class GenerateRequest(Message):
    """One call of a language model. ``run``, ``task``, priority and deadline go down to the batch."""

    model: str
    conversation: tuple[Turn, ...] = Field(min_length=1)
    tools: tuple[ToolSpec, ...] = ()
    output: OutputSchema | None = None
    sampling: Sampling = Sampling()
    run: str | None = None
    task: str | None = None
    priority: int = Field(default=0, ge=-9, le=9)  # higher goes first
    deadline_unix_ms: int | None = None


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


class FinishReason(StrEnum):
    """Why generation ended."""

    STOP = "stop"  # end-of-turn token, stop string, or the schema is complete
    LENGTH = "length"  # max_tokens or the context is full
    TOOL_CALLS = "tool_calls"  # the model asks for tools
    CANCELLED = "cancelled"  # the caller gave up or the deadline passed


class TextChunk(Value):
    """More text."""

    kind: Literal["text"] = "text"
    text: str


class ToolCallChunk(Value):
    """One complete tool call."""

    kind: Literal["tool_call"] = "tool_call"
    call: ToolCall


class Finish(Value):
    """The last chunk, exactly once. ``prompt_blocks``: rolling hashes of the prompt, 256 tokens a block.

    ``pool`` is None where the instance cannot say what served the call.
    """

    kind: Literal["finish"] = "finish"
    reason: FinishReason
    usage: Usage
    timing: Timing = Timing()
    model: str = ""
    prompt_blocks: tuple[str, ...] = ()
    pool: Pool | None = None


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
    """One vector a text, in order."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage


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

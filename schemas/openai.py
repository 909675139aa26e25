"""OpenAI's API as far as we speak it: what is read of a chat, and the objects that are written. One definition for
the HTTP door (agents as models) and the gateway (models as they are).

Format: https://platform.openai.com/docs/api-reference. Fields that we do not know are passed over, as other servers do.
"""

from typing import Literal, NotRequired, TypedDict

from pydantic import BaseModel, Field

OWNER = "antiphon"


class NotText(ValueError):
    """A part of a message that is no text."""


class ContentPart(BaseModel):
    """A part of a message; only text is read."""

    type: str
    text: str = ""


class CalledFunction(BaseModel):
    """A function that the model wanted called; ``arguments`` are JSON."""

    name: str
    arguments: str


class CalledTool(BaseModel):
    """A call of a tool, as the caller repeats it."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(BaseModel):
    """One message of the caller's conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: str | None = None

    def plain(self) -> str:
        """Its text. Raises NotText for anything else."""
        if not isinstance(self.content, list):
            return self.content or ""
        other = next((part.type for part in self.content if part.type != "text"), None)
        if other is not None:
            raise NotText(f"a part of type {other[:40]!r}")
        return "".join(part.text for part in self.content)


class ChatBody(BaseModel):
    """What every chat has, whoever answers it."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = False
    user: str | None = None


class ModelCard(TypedDict):
    """A model that can be asked. ``max_model_len`` is vLLM's: tokens of prompt and reply together."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: NotRequired[int]


class ModelList(TypedDict):
    """All of them."""

    object: Literal["list"]
    data: list[ModelCard]


class Function(TypedDict):
    """A function that the model wants called; ``arguments`` are JSON."""

    name: str
    arguments: str


class ToolCallObject(TypedDict):
    """A call of a tool; in a chunk it has the number that it has among the calls of its choice."""

    index: NotRequired[int]
    id: str
    type: Literal["function"]
    function: Function


class Likely(TypedDict):
    """A token and its log-probability; ``bytes`` because a token may be a part of a character."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(Likely):
    """A token of the reply, and the likeliest ones in its place."""

    top_logprobs: list[Likely]


class ChatLogprobs(TypedDict):
    """Log-probabilities of a reply's tokens."""

    content: list[TokenLogprob]
    refusal: None


Ended = Literal["stop", "length", "tool_calls"]


class AssistantMessage(TypedDict):
    """The model's message; ``content`` is null where it only calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: NotRequired[list[ToolCallObject]]


class ChatChoice(TypedDict):
    """One reply."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogprobs | None
    finish_reason: Ended


class Delta(TypedDict, total=False):
    """What a chunk adds to the message."""

    role: Literal["assistant"]
    content: str
    tool_calls: list[ToolCallObject]


class ChunkChoice(TypedDict):
    """What a chunk adds to one reply."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None
    finish_reason: Ended | None


class CachedTokens(TypedDict):
    """Tokens of the prompt that were not computed again."""

    cached_tokens: int


class UsageObject(TypedDict):
    """Tokens of a request; the prompt counts once, however many replies it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens | None


class Head(TypedDict):
    """What an answer, and each of its chunks, begins with."""

    id: str
    created: int
    model: str
    system_fingerprint: NotRequired[str]
    service_tier: NotRequired[str]


class ChatCompletion(Head):
    """An answer to a chat. ``usage`` is null where nobody says what was used."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: UsageObject | None


class ChatChunk(Head):
    """A piece of one. ``usage`` comes with the last, which has no choices, if it was asked for."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
    usage: UsageObject | None


class TextLogprobs(TypedDict):
    """Log-probabilities of a completion's tokens; offsets are in characters of its text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(TypedDict):
    """One completion, or what a chunk adds to it."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Ended | None


class TextCompletion(Head):
    """Completions, or a chunk of them."""

    object: Literal["text_completion"]
    choices: list[TextChoice]
    usage: UsageObject | None


class EmbeddingObject(TypedDict):
    """A vector: numbers, or their 32-bit floats in base64, little end first."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(TypedDict):
    """One vector a text, in order."""

    object: Literal["list"]
    model: str
    data: list[EmbeddingObject]
    usage: EmbeddingUsage


class ErrorObject(TypedDict):
    """Why not. ``param`` is the field that is wrong, ``code`` a name for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    """The body of every error, and the event in which a stream fails."""

    error: ErrorObject


def model_card(name: str, *, created: int, context_tokens: int | None = None) -> ModelCard:
    """The card of a model; ``created`` in seconds since the epoch."""
    card = ModelCard(id=name, object="model", created=created, owned_by=OWNER)
    if context_tokens is not None:
        card["max_model_len"] = context_tokens
    return card


def assistant_message(text: str | None, calls: list[ToolCallObject] | None = None) -> AssistantMessage:
    """The model's message."""
    message = AssistantMessage(role="assistant", content=text, refusal=None)
    if calls:
        message["tool_calls"] = calls
    return message

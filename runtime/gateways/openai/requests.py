"""What is read of a request: a chat, prompts to complete, texts to embed. Pure.

Fields of OpenAI's, and those that vLLM added and many clients send. What ``Sampling`` judges passes through unjudged.
"""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from antiphon.runtime.errors import InvalidRequest
from antiphon.schemas.inference import RawPrompt, Sampling
from antiphon.schemas.openai import ChatBody

MOST_REPLIES = 128  # of one request: prompts times n
MOST_TEXTS = 2048  # of one request for embeddings
TEXT_TOKENS = 16  # OpenAI's default for completions

_FIELD = re.compile(r"(?!str$)[a-z_][a-z0-9_]*")  # pydantic also names the members of unions
_SEED_SPAN = 2**63

R = TypeVar("R", bound=BaseModel)


def prompts(given: object) -> tuple[RawPrompt, ...]:
    """One prompt or several, each text or token ids. Raises ValueError for anything else."""
    found: list[Any] = given if isinstance(given, list) else [given]
    if isinstance(given, list) and given and all(type(each) is int for each in given):
        found = [given]
    if not found or not all(_is_prompt(each) for each in found):
        raise ValueError("expected text, a list of token ids, or a list of either, none of them empty")
    return tuple(each if isinstance(each, str) else tuple(each) for each in found)


def _is_prompt(given: object) -> bool:
    if isinstance(given, list):
        return bool(given) and all(type(each) is int and 0 <= each < 2**31 for each in given)
    return isinstance(given, str) and bool(given)


Prompts = Annotated[tuple[RawPrompt, ...], PlainValidator(prompts)]


def _labels(given: dict[str, str]) -> dict[str, str]:
    if len(given) > 16 or any(len(name) > 64 or len(value) > 512 for name, value in given.items()):
        raise ValueError("expected at most 16 pairs, names of 64 and values of 512 characters at most")
    return given


class StreamOptions(BaseModel):
    """``include_usage``: one chunk more, with what was used."""

    include_usage: bool | None = False


class Sampled(BaseModel):
    """What chats and completions have in common."""

    n: Annotated[int, Field(ge=1, le=MOST_REPLIES)] | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Any = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    min_p: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    repetition_penalty: Any = None
    stop: Any = None
    logit_bias: dict[str, Any] | None = None
    seed: Annotated[int, Field(ge=-_SEED_SPAN, lt=_SEED_SPAN)] | None = None
    metadata: Annotated[dict[str, str], AfterValidator(_labels)] | None = None
    service_tier: str | None = None

    def sampling(self, *, max_tokens: Any, unless_given: int, logprobs: Any) -> Sampling:
        """How the first reply's tokens are chosen; ``unless_given`` of them where the caller says no number. Raises
        InvalidRequest."""
        if self.logit_bias:
            raise InvalidRequest("logit_bias: not supported here, constrain the reply by a schema", param="logit_bias")
        plain = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
        given = {name: getattr(self, name) for name in plain} | {"max_tokens": max_tokens, "logprobs": logprobs}
        if max_tokens is None:
            given |= {"max_tokens": unless_given, "clip": True}
        given["top_k"] = 0 if self.top_k == -1 else self.top_k  # which is how vLLM says all
        given["stop"] = (self.stop,) if isinstance(self.stop, str) else self.stop
        given["seed"] = None if self.seed is None else self.seed % _SEED_SPAN
        if given["temperature"] is None:
            given["temperature"] = 1.0  # OpenAI's default; ours is greedy
        return read(Sampling, {name: value for name, value in given.items() if value is not None})


class FunctionSpec(BaseModel):
    """A function as the model is told of it; ``parameters`` are a JSON schema."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolOffer(BaseModel):
    """A tool that the model may call."""

    type: Literal["function"]
    function: FunctionSpec


class FunctionName(BaseModel):
    """Which function."""

    name: str


class ToolName(BaseModel):
    """The tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class JsonSchema(BaseModel):
    """A schema for the reply."""

    model_config = ConfigDict(populate_by_name=True)

    name: str = Field(min_length=1, max_length=64)
    json_schema: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """What form the reply must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(ChatBody, Sampled):
    """A chat."""

    max_completion_tokens: Any = None
    tools: list[ToolOffer] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolName | None = None
    parallel_tool_calls: bool | None = True
    response_format: ResponseFormat | None = None
    logprobs: bool | None = False
    top_logprobs: Any = None


class CompletionRequest(Sampled):
    """Prompts to go on from."""

    model: str
    prompt: Prompts
    stream: bool | None = False
    logprobs: Any = None
    best_of: int | None = None
    echo: bool | None = False
    suffix: str | None = None


class EmbeddingRequest(BaseModel):
    """Texts to turn into vectors."""

    model: str
    input: Prompts
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


def read(kind: type[R], given: object) -> R:
    """``given`` as a ``kind``. Raises InvalidRequest, whose ``param`` is the field that is wrong."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _invalid(error) from None


def _invalid(error: ValidationError) -> InvalidRequest:
    items = error.errors(include_url=False, include_input=False)
    found = [(_steps(item["loc"]), item["msg"].removeprefix("Value error, ")) for item in items]
    steps = max((steps for steps, _ in found), key=len)  # of a union, the member that the value came nearest to
    reasons = " or ".join(dict.fromkeys(reason for each, reason in found if each == steps))
    path = "".join(steps).removeprefix(".")
    return InvalidRequest(f"{path or 'the body'}: {reasons}", **({"param": path} if path else {}))


def _steps(found: tuple[int | str, ...]) -> list[str]:
    """As OpenAI writes them: ``.field`` and ``[number]``."""
    kept = [step for step in found if isinstance(step, int) or _FIELD.fullmatch(step)]
    return [f"[{step}]" if isinstance(step, int) else f".{step}" for step in kept]

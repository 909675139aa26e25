"""Chat completions, as OpenAI-compatible servers speak them: requests to JSON, deltas to chunks. Pure.

Fields: https://platform.openai.com/docs/api-reference/chat. ``top_k``, ``min_p`` and ``repetition_penalty`` are not
among them but vLLM and others take them; they are sent only when they are set.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from antiphon.runtime.errors import InvalidOutput, InvalidRequest
from antiphon.schemas.inference import (
    Finish,
    FinishReason,
    GenerateRequest,
    Role,
    Sampling,
    TextChunk,
    TokenScore,
    TokenScores,
    ToolCall,
    ToolCallChunk,
    ToolResult,
    Turn,
    Usage,
)

_REASONS: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}
_WHERE_SET: Final = ("top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "seed")
_PLAIN: Final = Sampling()
_ANSWER: Final = "When you answer, reply with JSON that fits this schema and with nothing else: "


def body(request: GenerateRequest, model: str) -> dict[str, Any]:
    """The JSON of a streaming request. Raises InvalidRequest for a raw prompt."""
    if request.prompt is not None:
        raise InvalidRequest(f"model {model!r} is at an endpoint for chats, expected a conversation, not a raw prompt")
    sampling = request.sampling
    out: dict[str, Any] = {
        "model": model,
        "messages": [message for turn in request.conversation for message in _messages(turn)],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    out |= {name: getattr(sampling, name) for name in _WHERE_SET if getattr(sampling, name) != getattr(_PLAIN, name)}
    if sampling.stop:
        out["stop"] = list(sampling.stop)
    if sampling.logprobs is not None:
        out |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    if request.tools:
        out["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            }
            for tool in request.tools
        ]
    if request.must_call:
        out["tool_choice"] = "required"
    if request.output is not None and request.tools:
        # Not as response_format: vLLM, Ollama and others force every reply into it, so that no tool is ever called.
        _tell(out["messages"], _ANSWER + json.dumps(request.output.json_schema, ensure_ascii=False))
    elif request.output is not None:
        schema = request.output.json_schema
        out["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": request.output.name, "schema": schema, "strict": _strict(schema)},
        }
    return out


def _tell(messages: list[dict[str, Any]], text: str) -> None:
    """Put ``text`` where the model is told what it is."""
    if messages[0]["role"] == Role.SYSTEM.value:
        messages[0]["content"] += f"\n\n{text}"
    else:
        messages.insert(0, {"role": Role.SYSTEM.value, "content": text})


def _strict(schema: object) -> bool:
    """Whether OpenAI takes the schema as strict: no further properties, and none optional, at any depth."""
    if isinstance(schema, list):
        return all(_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    if "properties" in schema and (
        schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(schema["properties"])
    ):
        return False
    return all(_strict(part) for part in schema.values())


def _messages(turn: Turn) -> Iterator[dict[str, Any]]:
    """A turn as messages: its text and tool calls are one, each tool result is one of its own."""
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": json.dumps(part.arguments)}}
        for part in turn.parts
        if isinstance(part, ToolCall)
    ]
    if turn.role is not Role.TOOL:
        message: dict[str, Any] = {"role": turn.role.value, "content": turn.text}
        yield {**message, "tool_calls": calls} if calls else message
    for part in turn.parts:
        if isinstance(part, ToolResult):
            content = f"error: {part.content}" if part.error else part.content
            yield {"role": Role.TOOL.value, "tool_call_id": part.id, "content": content}


class Completion:
    """One reply as it is put together from stream events.

    ``finished`` is set once the server has said why it ended. Where the server reports no usage, the output's
    tokens are the number of text deltas, which is what servers send one token at a time.
    """

    def __init__(self, model: str) -> None:
        self.finished = False
        self._model = model
        self._reason = FinishReason.STOP
        self._usage: Usage | None = None
        self._deltas = 0
        self._calls: list[dict[str, str]] = []
        self._open: dict[int, dict[str, str]] = {}

    def take(self, event: dict[str, Any]) -> list[TextChunk]:
        """The text of one event; tool calls, usage and reason are kept for ``end``.

        Raises:
            KeyError, TypeError, AttributeError, ValueError: the event has another shape.
            InvalidOutput: the server's filter stopped the reply.
        """
        self._model = event.get("model") or self._model
        if event.get("usage"):
            self._usage = _usage(event["usage"])
        out = []
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            text = delta.get("content") or ""
            tokens = _scores((choice.get("logprobs") or {}).get("content") or ())
            if text or tokens:
                self._deltas += 1
                out.append(TextChunk(text=text, tokens=tokens))
            for piece in delta.get("tool_calls") or ():
                self._piece(piece)
            reason = choice.get("finish_reason")
            if reason == "content_filter":
                raise InvalidOutput(f"{self._model}: the server's content filter stopped the reply; ask differently")
            if reason:
                self.finished = True
                self._reason = _REASONS.get(reason, FinishReason.STOP)
        return out

    def _piece(self, piece: dict[str, Any]) -> None:
        """Some servers give every call the index 0, so a new id is a new call too."""
        index, id = int(piece.get("index") or 0), piece.get("id") or ""
        call = self._open.get(index)
        if call is None or (id and call["id"] and id != call["id"]):
            call = {"id": id, "name": "", "arguments": ""}
            self._open[index] = call
            self._calls.append(call)
        function = piece.get("function") or {}
        call["id"] = call["id"] or id
        call["name"] += function.get("name") or ""
        call["arguments"] += function.get("arguments") or ""

    def usage(self) -> Usage:
        """What was used so far."""
        return self._usage if self._usage is not None else Usage(output_tokens=self._deltas)

    def end(self) -> list[ToolCallChunk | Finish]:
        """The tool calls and the Finish.

        Raises:
            InvalidOutput: a tool call whose arguments are no JSON object.
        """
        calls = list(_parsed(self._calls, self._model))
        cut = self._reason is FinishReason.LENGTH
        reason = FinishReason.TOOL_CALLS if calls and not cut else self._reason
        return [*calls, self.finish(reason)]

    def finish(self, reason: FinishReason) -> Finish:
        """A Finish with what was used."""
        return Finish(reason=reason, usage=self.usage(), model=self._model)


def _parsed(calls: Iterable[dict[str, str]], model: str) -> Iterator[ToolCallChunk]:
    for number, call in enumerate(calls):
        try:
            arguments = json.loads(call["arguments"] or "{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            raise InvalidOutput(
                f"{model}: the arguments of tool {call['name']!r} are {call['arguments'][:200]!r}, "
                "expected a JSON object; ask again"
            )
        id = call["id"] or f"call_{number}"
        yield ToolCallChunk(call=ToolCall(id=id, name=call["name"], arguments=arguments))


def _scores(found: Iterable[dict[str, Any]]) -> tuple[TokenScores, ...]:
    return tuple(
        TokenScores(
            text=token["token"],
            logprob=token["logprob"],
            bytes=_bytes(token),
            top=tuple(
                TokenScore(text=other["token"], logprob=other["logprob"], bytes=_bytes(other))
                for other in token.get("top_logprobs") or ()
            ),
        )
        for token in found
    )


def _bytes(token: dict[str, Any]) -> tuple[int, ...]:
    return tuple(token.get("bytes") or token["token"].encode())


def _usage(found: dict[str, Any]) -> Usage:
    details = found.get("prompt_tokens_details") or {}
    return Usage(
        input_tokens=found.get("prompt_tokens") or 0,
        output_tokens=found.get("completion_tokens") or 0,
        cached_tokens=details.get("cached_tokens"),
    )


def vectors(found: dict[str, Any], expected: int) -> tuple[tuple[tuple[float, ...], ...], Usage]:
    """The vectors of an embeddings answer in the order of the texts, and the usage.

    Raises:
        KeyError, TypeError, AttributeError, ValueError: the answer has another shape or another number of vectors.
    """
    data = sorted(found["data"], key=lambda item: int(item.get("index", 0)))
    if len(data) != expected:
        raise ValueError(f"{len(data)} vectors for {expected} texts")
    return tuple(tuple(float(x) for x in item["embedding"]) for item in data), _usage(found.get("usage") or {})

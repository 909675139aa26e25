"""Tools for a model that was not made to call any: described in its prompt, and called through constrained decoding.

The model is told of the tools in the system turn, and its reply is forced into one of ``{"tool": NAME, "arguments":
{…}}`` and ``{"answer": …}``. From outside the instance is like one that calls tools itself.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from pydantic_core import from_json

from antiphon.runtime.engine.stop_strings import StopStrings
from antiphon.runtime.errors import InvalidOutput, InvalidRequest
from antiphon.runtime.models.base import ModelInstance
from antiphon.schemas.inference import (
    Capabilities,
    Chunk,
    Embeddings,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    ModelMetrics,
    OutputSchema,
    Part,
    Role,
    TextChunk,
    TextPart,
    ToolCall,
    ToolCallChunk,
    ToolResult,
    ToolSpec,
    Turn,
    turn,
)

_SIMPLE: Final = {"string": "...", "number": "number", "integer": "integer", "boolean": "boolean"}
_ONE: Final = ("items", "additionalProperties")  # keywords whose value is a schema, or true or false
_MANY: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
# What constrained decoding is asked to keep to in the arguments of a tool. The rest, such as "not" or a pattern that
# looks ahead, is beyond some grammars, and whoever runs the tool checks its arguments anyway.
_KEPT: Final = frozenset(
    {"type", "enum", "const", "required", "minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum"}
)


class PromptedTools:
    """A ModelInstance around one with structured output and without tools. Requests without tools pass unchanged.

    A turn asks for one tool at most. An answer that is text comes in pieces, any other in one.
    """

    def __init__(self, inner: ModelInstance) -> None:
        self._inner = inner

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """See ModelInstance. Raises InvalidOutput for a tool call that is cut by ``max_tokens``."""
        prompted = _prompted(request)
        if not request.tools:
            async with aclosing(self._inner.generate(prompted)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        reply = _Choice(request)
        async with aclosing(self._inner.generate(prompted)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, Finish):
                    for last in reply.end(chunk):
                        yield last
                    return
                if isinstance(chunk, TextChunk) and (text := reply.push(chunk.text)):
                    yield TextChunk(text=text)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """See ModelInstance."""
        return await self._inner.embed(request)

    async def capabilities(self) -> Capabilities:
        """See ModelInstance."""
        return (await self._inner.capabilities()).model_copy(update={"tools": True})

    async def metrics(self) -> ModelMetrics:
        """See ModelInstance."""
        return await self._inner.metrics()

    async def close(self) -> None:
        """See ModelInstance."""
        await self._inner.close()


def _prompted(request: GenerateRequest) -> GenerateRequest:
    """The same request without tools. Raises InvalidRequest for a schema that has the shape of none."""
    try:
        conversation = as_text(request.conversation, request.tools, request.output, request.must_call)
        if not request.tools:
            return request.model_copy(update={"conversation": conversation})
        output = choice(request.tools, request.output, request.must_call)
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"a tool's parameters, or the output, are no JSON schema ({type(error).__name__}: {error}): correct them"
        ) from None
    sampling = request.sampling.model_copy(update={"stop": ()})  # they are for the answer, not for the JSON
    return request.model_copy(
        update={
            "conversation": conversation,
            "tools": (),
            "must_call": False,
            "output": output,
            "sampling": sampling,
        }
    )


class _Choice:
    """A reply that comes in pieces: an answer, or a call of a tool."""

    def __init__(self, request: GenerateRequest) -> None:
        made = sum(isinstance(part, ToolCall) for turn in request.conversation for part in turn.parts)
        self._id = f"call-{made + 1}"  # the same in every attempt of a task
        self._is_text = request.output is None
        self._stops = StopStrings(request.sampling.stop)
        self._raw = ""
        self._taken = 0  # characters of the answer

    def push(self, piece: str) -> str:
        """What the piece adds to an answer that is text."""
        self._raw += piece
        return self._more(_partial(self._raw)) if self._is_text else ""

    def end(self, finish: Finish) -> Iterator[Chunk]:
        """The last chunks. Raises InvalidOutput for a call that is cut."""
        found = _partial(self._raw)
        if "tool" in found and finish.reason is FinishReason.LENGTH:
            raise InvalidOutput(
                f"{finish.model}: the call of a tool was cut after {finish.usage.output_tokens} tokens: "
                f"{self._raw[:200]!r}; raise max_tokens",
                output_tokens=finish.usage.output_tokens,
            )
        if finish.reason is FinishReason.CANCELLED:
            yield finish
            return
        name, arguments = found.get("tool"), found.get("arguments")
        if isinstance(name, str) and isinstance(arguments, dict):
            yield ToolCallChunk(call=ToolCall(id=self._id, name=name, arguments=arguments))
            yield finish.model_copy(update={"reason": FinishReason.TOOL_CALLS})
            return
        if text := self._rest(found, is_whole=finish.reason is FinishReason.STOP):
            yield TextChunk(text=text)
        yield finish

    def _more(self, found: Mapping[str, Any]) -> str:
        answer = found.get("answer")
        if not isinstance(answer, str) or self._stops.stopped:
            return ""
        new, self._taken = answer[self._taken :], len(answer)
        return self._stops.push(new)

    def _rest(self, found: Mapping[str, Any], *, is_whole: bool) -> str:
        """What has not been shown. A reply of another form is shown as it came: the reader says what is wrong."""
        if self._is_text and isinstance(found.get("answer"), str):
            return self._more(found) + self._stops.flush()
        if is_whole and "answer" in found:
            return _compact(found["answer"])
        is_broken_off = self._is_text and not is_whole and self._raw.startswith("{")
        return "" if is_broken_off else self._raw


def _partial(raw: str) -> dict[str, Any]:
    """What a JSON object that may be incomplete has so far."""
    try:
        found = from_json(raw, allow_partial="trailing-strings")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def as_text(
    conversation: Sequence[Turn],
    tools: Sequence[ToolSpec],
    output: OutputSchema | None = None,
    must_call: bool = False,
) -> tuple[Turn, ...]:
    """The conversation in text parts only, with ``tools`` described in its system turn.

    What a tool has answered becomes a part of what the user said before, and its call is shown nowhere else: a small
    model that sees a call of its own makes the same one again, without end (seen with SmolLM2-135M, which answers
    correctly from the results that way). Turns of one role that stand together become one, because some chat
    templates refuse them. A conversation that has nothing of tools stays as it is.
    """
    is_plain = all(isinstance(part, TextPart) for turn in conversation for part in turn.parts)
    if is_plain and not tools:
        return tuple(conversation)
    calls: dict[str, ToolCall] = {}
    turns = [turn(Role.SYSTEM, _described(tools, output, must_call), segment="tools")] if tools else []
    for each in conversation:
        calls.update({part.id: part for part in each.parts if isinstance(part, ToolCall)})
        role = Role.USER if each.role is Role.TOOL else each.role
        text = "\n\n".join(said for part in each.parts if (said := _said(part, calls)))
        if not text and each.role is Role.ASSISTANT:
            continue
        if turns and turns[-1].role is role:
            joined = (text, turns[-1].text) if role is Role.SYSTEM else (turns[-1].text, text)
            turns[-1] = turn(role, "\n\n".join(joined), segment=turns[-1].segment)
        else:
            turns.append(turn(role, text, segment=each.segment))
    return tuple(turns)


def _said(part: Part, calls: Mapping[str, ToolCall]) -> str:
    match part:
        case TextPart():
            return part.text
        case ToolResult():
            call = calls.get(part.id)
            arguments = "" if call is None else f"({_compact(call.arguments)})"
            return f"{part.name}{arguments} {'failed:' if part.error else '='} {part.content}"
        case ToolCall():
            return ""


def _described(tools: Sequence[ToolSpec], output: OutputSchema | None, must_call: bool) -> str:
    """Replies to copy, one for each tool and one for the answer: small models copy better than they follow schemas."""
    lines = ["Answer questions with the help of tools. Reply in JSON.", ""]
    for tool in tools:
        form = {"tool": tool.name, "arguments": _form(tool.parameters)}
        lines.append(f"To use {tool.name} ({tool.description}): {_compact(form)}")
        if "$defs" in tool.parameters:
            lines.append(f"  where {_compact(tool.parameters['$defs'])}")
    if not must_call:
        answer = "..." if output is None else _form(output.json_schema)
        lines.append(f"To answer, when you know enough: {_compact({'answer': answer})}")
    return "\n".join(lines)


def _form(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object of the schema with what is to be said in the place of each value."""
    return {name: _blank(inner) for name, inner in schema.get("properties", {}).items()}


def _blank(schema: Any) -> Any:
    kind = schema.get("type") if isinstance(schema, dict) else None
    if not isinstance(kind, str) or kind not in _SIMPLE:  # a list of types is as good as its schema
        return schema
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    return schema.get("description") or _SIMPLE[kind]


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def choice(tools: Sequence[ToolSpec], output: OutputSchema | None, must_call: bool = False) -> OutputSchema:
    """What a reply must fit: a call of one of the tools, or unless it must be one the answer (text if ``output`` is
    None)."""
    defs: dict[str, Any] = {}
    options = [
        _object({"tool": {"const": tool.name}, "arguments": _moved(tool.parameters, f"{tool.name}.", defs, loose=True)})
        for tool in tools
    ]
    if not must_call:
        answer = {"type": "string"} if output is None else _moved(output.json_schema, "answer.", defs, loose=False)
        options.append(_object({"answer": answer}))
    return OutputSchema(name="tool_or_answer", json_schema={"anyOf": options, "$defs": defs})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _moved(schema: Any, prefix: str, defs: dict[str, Any], *, loose: bool) -> Any:
    """The schema as a part of a larger one: its definitions go into ``defs`` under the prefix.

    ``loose``: only with what every grammar knows, and closed, since small models fill an open object without end.
    """
    if not isinstance(schema, dict):
        return schema

    def moved(inner: Any) -> Any:
        return _moved(inner, prefix, defs, loose=loose)

    out: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ("$defs", "definitions"):
            defs.update({f"{prefix}{name}": moved(inner) for name, inner in value.items()})
        elif keyword == "$ref":
            root, _, name = value.rpartition("/")
            out |= {"$ref": f"#/$defs/{prefix}{name}"} if root in ("#/$defs", "#/definitions") else {}
        elif keyword == "properties":
            out[keyword] = {name: moved(inner) for name, inner in value.items()}
        elif keyword in _ONE:
            out[keyword] = moved(value)
        elif keyword in _MANY:
            out["anyOf" if loose and keyword == "oneOf" else keyword] = [moved(inner) for inner in value]
        elif not loose or keyword in _KEPT:
            out[keyword] = value
    if loose and "properties" in out:
        out.setdefault("additionalProperties", False)
    return out

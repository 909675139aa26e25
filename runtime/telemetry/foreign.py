"""Spans of programs that know nothing of us, in our terms: operation, names, tokens, hashes, prompt parts.

Three vocabularies, whatever library wrote them:

* OpenTelemetry's GenAI conventions, old and new (``gen_ai.system`` and ``gen_ai.provider.name``, ``prompt_tokens`` and
  ``input_tokens``, ``gen_ai.prompt.0.content``, message events, ``gen_ai.input.messages``):
  https://opentelemetry.io/docs/specs/semconv/gen-ai/ and its attribute registry, which lists the deprecated names.
* OpenInference (``openinference.span.kind``, ``llm.*``, ``input.value``, ``tool.name``): names as in the package
  openinference-semantic-conventions 0.1.42.
* OpenLLMetry (``traceloop.span.kind``, ``traceloop.entity.*``, ``llm.request.type``): names as in the package
  opentelemetry-semantic-conventions-ai 0.5.1. Two of pydantic-ai's own are known besides (``operation.cost``,
  ``gen_ai.client.operation.time_to_first_chunk``).

Nothing is invented: a fact that is not on the span stays absent. A tool's effect is not, unless the program sets
``antiphon.effect`` itself; what only retrieves is a read, and so is a model call. Contents become keyed hashes and
sizes and are dropped. Ids of tool calls are no content: they differ in every run. JSON that was cut on its way has no
hash, because an equal beginning is no equality; a cut plain text cannot be told from a whole one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.foreign_messages import Said, messages_of, said_by_model
from antiphon.runtime.telemetry.foreign_trace import FOREIGN, WORDS_IN, WORDS_OUT, WRAPS, words
from antiphon.schemas.task import Effect
from antiphon.schemas.telemetry import SpanEvent, SpanRecord

Hash = Callable[[bytes], str]

BLOCK_CHARACTERS: Final = 1024  # of a prompt, as for models elsewhere that our own nodes call
TOOLS: Final = 256  # that a model was offered, and messages of a prompt are bounded alike

_VOCABULARIES: Final = ("gen_ai.", "openinference.", "traceloop.", "llm.", "input.value", "output.value")
_UNREADABLE: Final = (RecursionError, ArithmeticError, TypeError, ValueError)
_PROCESS, _MODEL, _TOOL = "process", "model", "tool"
_KINDS: Final = {  # vocabulary word, lower case -> (operation, our gen_ai.operation.name)
    "chat": (_MODEL, "chat"), "text_completion": (_MODEL, "chat"), "generate_content": (_MODEL, "chat"),
    "completion": (_MODEL, "chat"), "llm": (_MODEL, "chat"), "embeddings": (_MODEL, "embeddings"),
    "embedding": (_MODEL, "embeddings"), "execute_tool": (_TOOL, "execute_tool"), "tool": (_TOOL, "execute_tool"),
    "retriever": (_TOOL, "execute_tool"), "retrieval": (_TOOL, "execute_tool"), "reranker": (_TOOL, "execute_tool"),
    "rerank": (_TOOL, "execute_tool"), "agent": (_PROCESS, ""), "invoke_agent": (_PROCESS, ""),
    "workflow": (_PROCESS, ""), "invoke_workflow": (_PROCESS, ""),
}  # fmt: skip
_STEPS: Final = frozenset({"chain", "task"})  # parts of a program: the outermost one is its handler
_READS: Final = frozenset({"retriever", "retrieval", "reranker", "rerank"})
_REASONS: Final = {
    "tool_call": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls", "end_turn": "stop",
    "stop_sequence": "stop", "max_tokens": "length", "max_output_tokens": "length",
}  # fmt: skip
_CONTENT: Final = (
    "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.prompt",
    "gen_ai.completion", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result", "gen_ai.tool.definitions",
    "gen_ai.retrieval", "llm.input_messages", "llm.output_messages", "llm.prompts", "llm.choices", "llm.tools",
    "llm.invocation_parameters", "llm.request.functions", "llm.function_call", "llm.prompt_template", "input.value",
    "output.value", "traceloop.entity.input", "traceloop.entity.output", "traceloop.prompt.template",
    "retrieval.documents", "input.documents", "output.documents", "reranker.query", "reranker.input_documents",
    "reranker.output_documents", "embedding.embeddings", "tool.parameters", "tool_arguments", "tool_response",
    "all_messages_events", "pydantic_ai.all_messages", "final_result", "model_request_parameters",
    "logfire.json_schema", "events", "metadata",
)  # fmt: skip


def mapped(span: SpanRecord, content_hash: Hash) -> SpanRecord:
    """The span in our terms; the same object where it is ours, or not about models, tools and agents.

    One that has no counterpart here, or values that nobody can hash, such as JSON of a thousand levels, only loses its
    contents.
    """
    known = span.attributes
    if attr.OPERATION in known or attr.HANDLER in known:  # not the node, which the store writes on every span
        return span
    if not any(key.startswith(_VOCABULARIES) for key in known):
        return span
    try:
        return _mapped(span, content_hash)
    except _UNREADABLE:
        return _emptied(span)


def _mapped(span: SpanRecord, content_hash: Hash) -> SpanRecord:
    given = span.attributes
    word, operation, verb = _kind(span)
    if not operation:
        empty = _emptied(span)
        return replace(empty, attributes={**empty.attributes, WRAPS: True}) if word in _STEPS else empty
    found = _kept(given) | _names(span, operation)
    if operation == _MODEL:
        found |= _model(span, verb, content_hash)
    elif operation == _TOOL:
        found |= _tool(span, word in _READS, content_hash)
    else:
        found |= _hashes(_first(given, *_INPUTS), _first(given, *_OUTPUTS), content_hash)
    failure = _failure(span)
    if failure:
        found[attr.ERROR_TYPE] = failure
    return replace(
        span,
        kind={_PROCESS: attr.CONSUMER, _MODEL: attr.CLIENT}.get(operation, attr.INTERNAL),
        status=2 if failure else span.status,
        attributes=found,
        events=_errors(span),
    )


def _emptied(span: SpanRecord) -> SpanRecord:
    return replace(span, attributes=_kept(span.attributes), events=_errors(span))


def _kept(given: Mapping[str, Any]) -> dict[str, Any]:
    return {FOREIGN: True} | {key: value for key, value in given.items() if not key.startswith(_CONTENT)}


def _errors(span: SpanRecord) -> list[SpanEvent]:
    return [event for event in span.events if event.name == attr.EXCEPTION_EVENT]


def _kind(span: SpanRecord) -> tuple[str, str, str]:
    """The span's own word for what it is, our operation ('' for none) and our verb."""
    given = span.attributes
    for key in (attr.GENAI_OPERATION, "openinference.span.kind", "traceloop.span.kind", "llm.request.type"):
        word = _text(given, key).lower()
        if word in _KINDS:
            return word, *_KINDS[word]
        if word in _STEPS:
            return word, "" if span.parent_id is not None else _PROCESS, ""
    said = _text(given, attr.GENAI_OPERATION, "openinference.span.kind", "traceloop.span.kind")
    # the oldest GenAI spans say only which system answered, with what model and how many tokens
    if not said and _text(given, attr.GENAI_REQUEST_MODEL) and _tokens(given, *_INPUT_TOKENS) is not None:
        return "", _MODEL, "chat"
    return "", "", ""


def _names(span: SpanRecord, operation: str) -> dict[str, Any]:
    """Operation, agent and handler."""
    given = span.attributes
    agent = _text(given, attr.GENAI_AGENT_NAME, "agent.name", "agent_name")
    if operation != _PROCESS:
        return {attr.OPERATION: operation} | ({attr.AGENT: agent} if agent else {})
    name = agent or _text(given, "gen_ai.workflow.name", "traceloop.entity.name", "graph.node.id") or span.name
    return {attr.AGENT: name, attr.HANDLER: "run"}


_INPUT_TOKENS: Final = (
    attr.GENAI_INPUT_TOKENS, "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens", "llm.token_count.prompt",
)  # fmt: skip
_OUTPUT_TOKENS: Final = (
    attr.GENAI_OUTPUT_TOKENS, "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
    "llm.token_count.completion",
)  # fmt: skip
_CACHED_TOKENS: Final = (
    attr.GENAI_CACHED_TOKENS, "gen_ai.usage.cache_read_input_tokens", "llm.token_count.prompt_details.cache_read",
)  # fmt: skip
_INPUTS: Final = ("gen_ai.tool.call.arguments", "tool_arguments", "input.value", "traceloop.entity.input")
_OUTPUTS: Final = (
    "gen_ai.tool.call.result", "tool_response", "output.value", "traceloop.entity.output", "final_result",
)  # fmt: skip


def _model(span: SpanRecord, verb: str, content_hash: Hash) -> dict[str, Any]:
    given = span.attributes
    asked = _json(given, "llm.invocation_parameters")
    asked = asked if isinstance(asked, dict) else {}
    replied = _text(given, attr.GENAI_RESPONSE_MODEL, "llm.response.model_name")
    model = _text(given, attr.GENAI_REQUEST_MODEL, "llm.request.model_name", "llm.model_name", "embedding.model_name")
    settings = {
        attr.GENAI_TEMPERATURE: _number(given.get(attr.GENAI_TEMPERATURE), asked.get("temperature")),
        attr.GENAI_TOP_P: _number(given.get(attr.GENAI_TOP_P), asked.get("top_p")),
        attr.GENAI_SEED: _number(
            given.get(attr.GENAI_SEED), given.get("gen_ai.openai.request.seed"), asked.get("seed")
        ),
        attr.GENAI_MAX_TOKENS: _number(
            given.get(attr.GENAI_MAX_TOKENS), asked.get("max_tokens"), asked.get("max_completion_tokens")
        ),
    }
    found: dict[str, Any] = {
        attr.GENAI_OPERATION: verb,
        attr.GENAI_REQUEST_MODEL: model or replied,
        attr.GENAI_RESPONSE_MODEL: replied,
        attr.GENAI_INPUT_TOKENS: _tokens(given, *_INPUT_TOKENS),
        attr.GENAI_OUTPUT_TOKENS: _tokens(given, *_OUTPUT_TOKENS),
        attr.GENAI_CACHED_TOKENS: _tokens(given, *_CACHED_TOKENS),
        attr.GENAI_FINISH_REASONS: _reasons(span),
        attr.GENAI_FIRST_CHUNK: _number(
            given.get(attr.GENAI_FIRST_CHUNK), given.get("gen_ai.client.operation.time_to_first_chunk")
        ),
        attr.COST_USD: _number(given.get(attr.COST_USD), given.get("operation.cost"), given.get("llm.cost.total")),
        **settings,
    }
    repeatable = verb == "embeddings" or settings[attr.GENAI_SEED] is not None
    temperature = settings[attr.GENAI_TEMPERATURE]
    if repeatable or temperature is not None:
        found[attr.DETERMINISTIC] = repeatable or temperature == 0
    found[attr.EFFECT] = (Effect.PURE if found.get(attr.DETERMINISTIC) else Effect.READ).value
    server = _text(given, "server.address", "net.peer.name")
    if server:
        port = _tokens(given, "server.port", "net.peer.port")
        found[attr.POOL_ID] = f"model:{model or replied}@{server}{'' if port is None else f':{port}'}"
    form = _text(given, attr.GENAI_OUTPUT_TYPE) or _form(asked.get("response_format"))
    tools = _tools(span, asked)
    prompt, reply = messages_of(span), said_by_model(span)
    if prompt:
        identity = [model, *settings.values(), form, [name for name, _ in tools], *prompt]
        found[attr.INPUT_HASH] = content_hash(msgspec.json.encode(identity))
        found |= _prompt_parts(prompt, content_hash)
        found[WORDS_IN] = _words([text for _, text in prompt], content_hash)
    if reply:
        found[WORDS_OUT] = _words([text for _, text in reply], content_hash)
        said = msgspec.json.encode(reply)
        found[attr.RESULT_HASH], found[attr.RESULT_SIZE] = content_hash(said), len(said)
    found[attr.GENAI_OUTPUT_TYPE] = form
    found[attr.PROMPT_TOOLS] = [f"{name}:{size}" for name, size in tools]
    told = (WORDS_IN, WORDS_OUT)  # no words are a statement too
    return {key: value for key, value in found.items() if value not in (None, "", []) or (value == [] and key in told)}


def _prompt_parts(prompt: Iterable[Said], content_hash: Hash) -> dict[str, Any]:
    """Segments by role, and rolling hashes of the whole text, as ``models.prompt`` makes them."""
    parts = [(role, text.encode("utf-8", "replace")) for role, text in prompt]
    text = b"".join(role.encode() + b"\n" + raw + b"\n" for role, raw in parts)
    blocks: list[str] = []
    for start in range(0, len(text) - BLOCK_CHARACTERS + 1, BLOCK_CHARACTERS):
        before = blocks[-1].encode() if blocks else b""
        blocks.append(content_hash(before + text[start : start + BLOCK_CHARACTERS])[:16])
    return {
        attr.PROMPT_SEGMENTS: [f"{role}:{len(raw)}:{content_hash(raw)[:16]}" for role, raw in parts],
        attr.PROMPT_BLOCKS: blocks,
    }


def _tool(span: SpanRecord, reads: bool, content_hash: Hash) -> dict[str, Any]:
    given = span.attributes
    name = _text(given, attr.GENAI_TOOL_NAME, "tool.name", "traceloop.entity.name")
    found: dict[str, Any] = {
        attr.GENAI_OPERATION: "execute_tool",
        attr.GENAI_TOOL_NAME: name or span.name.removeprefix("execute_tool "),
    }
    if reads:
        found[attr.EFFECT] = Effect.READ.value
    return found | _hashes(_first(given, *_INPUTS), _first(given, *_OUTPUTS), content_hash)


def _hashes(input: object, result: object, content_hash: Hash) -> dict[str, Any]:
    """Hashes of what went in and came out, where the span says either."""
    found: dict[str, Any] = {}
    asked, answered = _canonical(input), _canonical(result)
    if asked is not None:
        found[attr.INPUT_HASH], found[WORDS_IN] = content_hash(asked), _words([input], content_hash)
    if answered is not None:
        found[attr.RESULT_HASH], found[attr.RESULT_SIZE] = content_hash(answered), len(answered)
        found[WORDS_OUT] = _words([result], content_hash)
    return {key: value for key, value in found.items() if value is not None}


def _words(content: list[Any], content_hash: Hash) -> list[int] | None:
    return words(content, int(content_hash(b"words")[:8], 16))


def _canonical(value: object) -> bytes | None:
    """The same bytes for the same content: JSON by sorted keys, without what names the call; None for JSON that was
    cut, and for nothing."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        return msgspec.json.encode(value, order="sorted")
    if value[:1] not in ("{", "["):
        return value.encode("utf-8", "replace")
    try:
        decoded = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value.encode("utf-8", "replace") if value[-1] in "}]" else None
    data = decoded.get("data") if isinstance(decoded, dict) and decoded.get("type") == "tool" else None
    if isinstance(data, dict) and "content" in data:  # LangChain's message around what a tool said
        decoded = data["content"]
    return msgspec.json.encode(decoded, order="sorted")


def _tools(span: SpanRecord, asked: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Name and bytes of each tool that the model was offered."""
    given = span.attributes
    offered = _json(given, "gen_ai.tool.definitions") or asked.get("tools")
    if not isinstance(offered, list):
        offered = []
        for prefix, field in (("llm.tools", "tool.json_schema"), ("llm.request.functions", "name")):
            while len(offered) < TOOLS and f"{prefix}.{len(offered)}.{field}" in given:
                number = len(offered)
                parts = {
                    key.rpartition(".")[2]: value
                    for key in (f"{prefix}.{number}.{part}" for part in (field, "description", "parameters"))
                    if (value := given.get(key)) is not None
                }
                offered.append(_json(given, f"{prefix}.{number}.{field}") if field != "name" else parts)
    found = []
    for tool in offered[:TOOLS]:
        inner = tool.get("function", tool) if isinstance(tool, dict) else None
        name = inner.get("name") if isinstance(inner, dict) else None
        if isinstance(name, str) and name:
            found.append((name, len(msgspec.json.encode(tool))))
    return found


def _reasons(span: SpanRecord) -> list[str]:
    given = span.attributes
    reasons = _first(
        given, attr.GENAI_FINISH_REASONS, "gen_ai.response.finish_reason", "llm.finish_reason",
        "llm.response.finish_reason", "gen_ai.completion.0.finish_reason",
    )  # fmt: skip
    listed = reasons if isinstance(reasons, list | tuple) else [reasons]
    return [_REASONS.get(reason.lower(), reason.lower()) for reason in listed if isinstance(reason, str) and reason]


def _form(response_format: object) -> str:
    kind = response_format.get("type") if isinstance(response_format, dict) else response_format
    return "json" if kind in ("json_object", "json_schema") else ""


def _failure(span: SpanRecord) -> str:
    """The error's type, where the span failed; ``error.type`` itself says that it did."""
    named = _text(span.attributes, attr.ERROR_TYPE)
    if named or span.status != 2:
        return named
    raised: Iterable[SpanEvent] = (event for event in span.events if event.name == attr.EXCEPTION_EVENT)
    return next((_text(event.attributes, attr.EXCEPTION_TYPE) for event in raised), "")


def _first(given: Mapping[str, Any], *keys: str) -> Any:
    return next((given[key] for key in keys if given.get(key) is not None), None)


def _text(given: Mapping[str, Any], *keys: str) -> str:
    return next((value for key in keys if isinstance(value := given.get(key), str) and value), "")


def _number(*values: object) -> int | float | None:
    return next((v for v in values if isinstance(v, int | float) and not isinstance(v, bool)), None)


def _tokens(given: Mapping[str, Any], *keys: str) -> int | None:
    """A count; some exporters write whole numbers as floats."""
    found = _number(*(given.get(key) for key in keys))
    return int(found) if found is not None and 0 <= found < 2**53 and found == int(found) else None


def _json(given: Mapping[str, Any], key: str) -> Any:
    value = given.get(key)
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None

"""The OpenAPI document of the door, made of what the agents say of themselves. Pure.

Format: https://spec.openapis.org/oas/v3.1.1. Messages are JSON Schemas of the 2020-12 dialect already; only their
references change place.
"""

from collections.abc import Sequence
from typing import Any, Final

from antiphon.runtime.gateways.http.chat import ChatRequest
from antiphon.runtime.gateways.http.intake import ASK_S, LONGEST_S, SHORTEST_S, TASK_S
from antiphon.runtime.gateways.http.views import Submitted, TaskView
from antiphon.runtime.version import VERSION
from antiphon.schemas.node import AgentCard, HandlerCard
from antiphon.schemas.task import ErrorInfo

SCHEMAS: Final = "#/components/schemas/"
_ERRORS: Final = {
    "400": "JSON that is none, or a header that cannot be read",
    "401": "no valid token",
    "403": "a guard refused it",
    "404": "no such agent, handler or task",
    "408": "the body did not arrive",
    "409": "not in this way: the message says how",
    "413": "the body is too large",
    "415": "another content type than application/json",
    "422": "a body or parameter that does not fit its schema",
    "429": "too much at once: try again after Retry-After seconds",
    "500": "the agent failed",
    "503": "nobody to do it now: try again after Retry-After seconds",
    "504": "no answer in time",
}
_TASK_ID: Final = {"name": "task", "in": "path", "required": True, "schema": {"type": "string"}}
_LAST_EVENT: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "the id of the last event that was read",
    "schema": {"type": "string", "pattern": r"^(end|[0-9]{1,9}\.[0-9]{1,12})$"},
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "the same key is the same task",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_EVENTS: Final = {"text/event-stream": {"schema": {"type": "string"}}}

Json = dict[str, Any]


def document(agents: Sequence[AgentCard]) -> Json:
    """Everything that can be called now."""
    schemas: Json = {
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {"$ref": f"{SCHEMAS}ErrorInfo"}}}
    }
    for model in (ErrorInfo, Submitted, TaskView, ChatRequest):
        _place(schemas, model.__name__, model.model_json_schema(mode="serialization"))
    paths: Json = {}
    cards = {(agent.name, card.name): card for agent in agents for card in agent.handlers}
    for (agent, _), card in sorted(cards.items()):
        paths |= _of_handler(schemas, agent, card)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Agents", "version": VERSION},
        "security": [{"token": []}],
        "paths": paths | _of_tasks() | _of_chat(),
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _of_handler(schemas: Json, agent: str, card: HandlerCard) -> Json:
    base = f"{agent}.{card.name}"
    _place(schemas, f"{base}.input", card.input.json_schema)
    _place(schemas, f"{base}.output", card.output.json_schema)
    body = {"required": True, "content": _json(f"{base}.input")}
    about = {"tags": [agent], "summary": f"{base}: {card.input.name} to {card.output.name}"}
    if card.description:
        about["description"] = card.description
    ask = {
        **about,
        "operationId": f"{agent}_{card.name}",
        "parameters": [_timeout(LONGEST_S, f"seconds to wait: {ASK_S:g} for an answer, {LONGEST_S:g} for events")],
        "requestBody": body,
        "responses": _responses(
            "200",
            "the reply, or what the work shows as it goes on",
            {} if card.keyed else _json(f"{base}.output"),
            _EVENTS,
        ),
    }
    submit = {
        **about,
        "operationId": f"{agent}_{card.name}_submit",
        "parameters": [_timeout(TASK_S, "seconds until the work is given up"), _KEY],
        "requestBody": body,
        "responses": _responses("202", "stored", _json("Submitted")),
    }
    path = f"/v1/agents/{agent}/{card.name}"
    return {path: {"post": ask}, f"{path}/tasks": {"post": submit}}


def _of_tasks() -> Json:
    look = {"operationId": "task", "responses": _responses("200", "how it is doing", _json("TaskView"))}
    cancel = {"operationId": "cancel", "responses": _responses("200", "how it ended", _json("TaskView"))}
    follow = {
        "operationId": "events",
        "parameters": [_LAST_EVENT],
        "responses": _responses("200", "what it shows, and how it ends", _EVENTS)
        | {"204": {"description": "its end has been read"}},
    }
    return {
        "/v1/tasks/{task}": {"parameters": [_TASK_ID], "get": look, "delete": cancel},
        "/v1/tasks/{task}/events": {"parameters": [_TASK_ID], "get": follow},
    }


def _of_chat() -> Json:
    anything = {"application/json": {"schema": {"type": "object"}}}
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    complete = {
        "operationId": "chat",
        "requestBody": {"required": True, "content": _json("ChatRequest")},
        "responses": _responses("200", "an assistant's turn, whole or in chunks", anything, _EVENTS),
    }
    return {
        "/v1/chat/completions": {"post": complete},
        "/v1/models": {"get": {"operationId": "models", "responses": _responses("200", "agents", anything)}},
        "/v1/models/{model}": {
            "parameters": [model],
            "get": {"operationId": "model", "responses": _responses("200", "an agent", anything)},
        },
    }


def _timeout(most_s: float, description: str) -> Json:
    schema = {"type": "number", "minimum": SHORTEST_S, "maximum": most_s}
    return {"name": "timeout_s", "in": "query", "description": description, "schema": schema}


def _responses(status: str, description: str, *content: Json) -> Json:
    merged = {kind: shape for part in content for kind, shape in part.items()}
    error = {"application/json": {"schema": {"$ref": f"{SCHEMAS}Error"}}}
    refusals = {status: {"description": text, "content": error} for status, text in _ERRORS.items()}
    return {status: {"description": description, "content": merged}} | refusals


def _json(name: str) -> Json:
    return {"application/json": {"schema": {"$ref": SCHEMAS + name}}}


def _place(schemas: Json, name: str, schema: Json) -> None:
    """Put a schema with its definitions among the others; they become ``name.definition``."""
    for key, definition in schema.get("$defs", {}).items():
        schemas[f"{name}.{key}"] = _moved(definition, name)
    schemas[name] = _moved({key: value for key, value in schema.items() if key != "$defs"}, name)


def _moved(node: Any, name: str) -> Any:
    if isinstance(node, list):
        return [_moved(item, name) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: SCHEMAS + value.replace("#/$defs/", f"{name}.")
        if key == "$ref" and isinstance(value, str)
        else _moved(value, name)
        for key, value in node.items()
    }

"""Agents as OpenAI's chat models: which can be one, what they are given, and what of the reply is shown. Pure.

Format: https://platform.openai.com/docs/api-reference/chat.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from antiphon.runtime.gateways.http.refusals import Refusal
from antiphon.schemas.node import AgentCard, HandlerCard
from antiphon.schemas.openai import ChatBody, ChatMessage, NotText

PREFIX = "agent:"
USER = "user"  # the field that a request's ``user`` goes into
MESSAGES = "messages"  # the field that takes a whole conversation


class ChatRequest(ChatBody):
    """What is read of a request. Sampling is the agent's own business, so its parameters are passed over."""

    n: Literal[1] | None = 1
    tools: list[Any] | None = Field(default=None, max_length=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatInput:
    """Where a chat goes in a handler's message: the newest user turn into ``field``, or all turns into ``messages``."""

    field: str
    takes_user: bool

    def message(self, request: ChatRequest) -> dict[str, object]:
        """The handler's message. Raises Refusal (422) if there is nothing in the request to make it of."""
        found: dict[str, object] = {}
        if self.field == MESSAGES:
            found[MESSAGES] = [{"role": message.role, "content": _plain(message)} for message in request.messages]
        else:
            newest = next((message for message in reversed(request.messages) if message.role == "user"), None)
            if newest is None:
                raise Refusal(422, "InvalidMessage", "messages: expected one of role user at least")
            found[self.field] = _plain(newest)
        if self.takes_user and request.user is not None:
            found[USER] = request.user
        return found


def _plain(message: ChatMessage) -> str:
    try:
        return message.plain()
    except NotText as error:
        raise Refusal(422, "InvalidMessage", f"{error}: agents take text") from None


def chat_input(card: HandlerCard) -> ChatInput | None:
    """How to talk to a handler; None: its message is no chat.

    It is one if nothing is required but a field ``messages`` whose items have ``role`` and ``content``, or exactly one
    field, a string. A string called ``user`` does not count: it is the request's ``user``.
    """
    schema = card.input.json_schema
    properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
    takes_user = properties.get(USER, {}).get("type") == "string"
    required = set(schema.get("required", ())) - ({USER} if takes_user else set())
    if required <= {MESSAGES} and {"role", "content"} <= _item_fields(properties.get(MESSAGES, {}), schema):
        return ChatInput(field=MESSAGES, takes_user=takes_user)
    if len(required) != 1:
        return None
    (field,) = required
    return ChatInput(field=field, takes_user=takes_user) if properties[field].get("type") == "string" else None


def _item_fields(array: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    items = array.get("items")
    if not isinstance(items, dict):
        return set()
    named = schema.get("$defs", {}).get(str(items.get("$ref", "")).rpartition("/")[2], items)
    return set(named.get("properties", ()))


def chat_models(agents: Sequence[AgentCard]) -> list[str]:
    """The names of all handlers that one can talk to."""
    names = {
        f"{PREFIX}{agent.name}.{card.name}"
        for agent in agents
        for card in agent.handlers
        if not agent.observes and chat_input(card) is not None
    }
    return sorted(names)


def text_of(card: HandlerCard, reply: object) -> str:
    """A reply as text: the value of its text field if it has exactly one, else its JSON."""
    properties: Mapping[str, Mapping[str, Any]] = card.output.json_schema.get("properties", {})
    texts = [name for name, shape in properties.items() if shape.get("type") == "string"]
    if isinstance(reply, dict) and len(texts) == 1 and isinstance(reply.get(texts[0]), str):
        return str(reply[texts[0]])
    return json.dumps(reply, ensure_ascii=False)


def still_to_say(shown: str, reply: str) -> str:
    """What a reader who has seen ``shown`` has not seen of the reply: what was sent cannot be taken back."""
    if reply.startswith(shown):
        return reply[len(shown) :]
    return "" if reply.strip() in shown else f"\n\n{reply}"

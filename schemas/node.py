"""Who is there: one card for each agent, one for each node process."""

from typing import Any

from antiphon.schemas.message import Message, Value
from antiphon.schemas.task import Effect


class TypeCard(Value):
    """A message's wire identity and JSON schema."""

    name: str
    version: int
    json_schema: dict[str, Any]


class HandlerCard(Value):
    """One handler: what it takes, what it returns, what its docstring says."""

    name: str
    description: str
    input: TypeCard
    output: TypeCard
    keyed: bool = False  # its messages run in order of their keys: durable work only
    effect: Effect = Effect.WRITE  # of a message, with all that it causes, as its author says


class ToolCard(Value):
    """One tool: its effect class, and how long a result stays good (None: no promise)."""

    name: str
    effect: Effect
    ttl_s: float | None = None


class AgentCard(Message):
    """What an agent serves. Kept when no node is alive, so that work for it can still be stored."""

    name: str
    version: str
    description: str
    handlers: tuple[HandlerCard, ...]
    topics: tuple[str, ...] = ()
    model: str | None = None
    slots: int
    tools: tuple[ToolCard, ...] = ()
    observes: bool = False  # part of the observability system, and nobody to chat with


class NodeCard(Message):
    """One process. Renewed while it lives; readers take an expired card as a node that has gone."""

    node: str
    kind: str  # node, console, model, gateway
    host: str
    pid: int
    version: str
    agents: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()  # of its agents' code, as agent@version
    models: tuple[str, ...] = ()
    address: str = ""  # the console's http address (without its token)
    started_unix_ms: int

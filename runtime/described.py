"""Handlers as the directory describes them, for whoever has no classes for their messages."""

from pydantic import ConfigDict, create_model

from antiphon.runtime.agent import Handler
from antiphon.runtime.clock import Clock
from antiphon.runtime.directory import Directory
from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.json_schema import problems
from antiphon.schemas.identity import Address
from antiphon.schemas.message import Message
from antiphon.schemas.node import AgentCard, HandlerCard, TypeCard

REMEMBER_S = 1.0  # an agent that comes or goes is noticed this late; a busy gateway reads the directory this often
SHOWN = 5  # of the things that are wrong with a message
KEPT = 1024  # handlers whose classes are kept: making two takes half a millisecond


class _Open(Message):
    model_config = ConfigDict(extra="allow")


class Described:
    """What there is to call, as the directory says it now or a second ago. For processes that serve many requests."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._cards: list[AgentCard] = []
        self._until_s = 0.0
        self._handlers: dict[Address, tuple[HandlerCard, Handler[Message, Message]]] = {}

    async def agents(self) -> list[AgentCard]:
        """What every agent serves, as ``Directory.agents``. Raises BusError."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._until_s:
            self._cards = await self._directory.agents()
            self._until_s = now_s + REMEMBER_S
        return self._cards

    async def find(self, address: Address) -> tuple[HandlerCard, Handler[Message, Message]]:
        """A handler: its card, and a reference to send messages with.

        Raises:
            UnknownAgent, UnknownHandler: nobody has ever served it.
            BusError: the directory cannot be read.
        """
        card = card_of(address, await self.agents())
        if card is None:
            raise await self._directory.nobody(address, durable=True)
        known = self._handlers.get(address)
        if known is None or known[0] != card:
            if len(self._handlers) >= KEPT:
                self._handlers.clear()
            known = self._handlers[address] = card, handler_of(address, card)
        return known


def card_of(address: Address, agents: list[AgentCard]) -> HandlerCard | None:
    """The handler's card, of the version that was registered last of those that have it."""
    cards = (handler for agent in reversed(agents) if agent.name == address.agent for handler in agent.handlers)
    return next((card for card in cards if card.name == address.handler), None)


def handler_of(address: Address, card: HandlerCard) -> Handler[Message, Message]:
    """A reference to the handler; its types take any fields, the node checks them."""
    return Handler(address, _open_type(card.input), _open_type(card.output), description=card.description)


def message_of(card: HandlerCard, handler: Handler[Message, Message], body: object) -> Message:
    """What was said to a handler, as its message.

    Raises:
        InvalidMessage: it does not fit the schema on the card; the message says where.
    """
    wrong = problems(card.input.json_schema, body)
    if wrong or not isinstance(body, dict):
        more = f" (and {len(wrong) - SHOWN} more)" if len(wrong) > SHOWN else ""
        raise InvalidMessage(f"{card.input.name}: {'; '.join(wrong[:SHOWN])}{more}", type=card.input.name)
    return handler.input.model_validate(body)


def _open_type(card: TypeCard) -> type[Message]:
    """A message class with the card's wire identity and no opinion on its fields."""
    found: type[Message] = create_model(
        card.name, __base__=_Open, __cls_kwargs__={"name": card.name, "version": card.version}
    )
    return found

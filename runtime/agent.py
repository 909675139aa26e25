"""What a user defines: an agent, its handlers, and a reference to somebody else's."""

import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from antiphon.runtime.delivery.retry import FIRST_S, MAX_S
from antiphon.runtime.errors import ConfigurationError, NotDurable
from antiphon.runtime.tool import Tool, effect_of
from antiphon.schemas.identity import Address, InvalidName, check_name, check_topic, check_version
from antiphon.schemas.message import Message
from antiphon.schemas.task import Effect

if TYPE_CHECKING:
    from antiphon.runtime.context import Context
    from antiphon.runtime.delivery.tap import TapContext
    from antiphon.runtime.guards.guard import Guard, Guards
    from antiphon.runtime.guards.verifier import Verifier
    from antiphon.schemas.node import AgentCard, HandlerCard, TypeCard
    from antiphon.schemas.telemetry import TelemetryBatch

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message, covariant=True)  # whoever wants a Message may call for a Draft
Function = Callable[[In, "Context"], Awaitable[Out]]
Key = Callable[[Any], str]  # of its input; checkers cannot know that of a lambda which stands before the function
Watcher = Callable[["TelemetryBatch | None", "TapContext"], Awaitable[None]]


class Handler(Generic[In, Out]):
    """A typed address: what may be sent there and what comes back.

    ``Agent.handles`` returns one with the function behind it, ``remote`` one without. Calls name a handler, so
    that the type checker knows both sides. Awaiting the handler itself runs the plain function, as a unit test
    wants; on the bus it is reached through ``ctx`` or a client. ``key`` is None unless its messages run in order.
    ``effect``: what its author says that a message does, with all that it causes; an ask that only reads may be sent
    again.
    """

    __slots__ = ("address", "description", "effect", "function", "input", "key", "output")

    def __init__(
        self,
        address: Address,
        input: type[In],
        output: type[Out],
        *,
        function: Function[In, Out] | None = None,
        key: Key | None = None,
        effect: Effect = Effect.WRITE,
        description: str = "",
    ) -> None:
        self.address = address
        self.input = input
        self.output = output
        self.function = function
        self.key = key
        self.effect = effect
        self.description = description

    async def __call__(self, message: In, ctx: "Context") -> Out:
        """Run the function here, without the bus.

        Raises:
            ConfigurationError: this is a reference to a handler that lives elsewhere.
        """
        if self.function is None:
            raise ConfigurationError(f"{self.address} lives elsewhere: reach it with ctx.ask, ctx.call or a client")
        return await self.function(message, ctx)

    def __repr__(self) -> str:
        return f"Handler({self.address}: {self.input.__name__} -> {self.output.__name__})"

    def key_of(self, message: Message) -> str:
        """The key of a message; empty if the handler has none.

        Raises:
            ConfigurationError: the key function returned something else than a text that is not empty.
            Exception: whatever it raised.
        """
        if self.key is None:
            return ""
        found: object = self.key(message)
        if not isinstance(found, str) or not found:
            raise ConfigurationError(f"the key of a message to {self.address} is {found!r}, expected a text, not empty")
        return found

    def check_askable(self) -> None:
        """Raises NotDurable if the handler is known to be keyed: an ask is answered at once, not in its turn."""
        if self.key is not None:
            raise NotDurable(
                f"{self.address} is keyed, its messages run one at a time and in order, and an ask would not: "
                "call it (ctx.call) or submit the work",
                handler=str(self.address),
            )

    def card(self) -> "HandlerCard":
        """The handler as the directory shows it."""
        from antiphon.schemas.node import HandlerCard

        return HandlerCard(
            name=self.address.handler,
            description=self.description,
            input=_type_card(self.input),
            output=_type_card(self.output),
            keyed=self.key is not None,
            effect=self.effect,
        )


def remote(address: str, input: type[In], output: type[Out], *, effect: str = Effect.WRITE) -> Handler[In, Out]:
    """A handler in another code base, by its address ``agent.handler`` and message types; ``effect`` as it declares.

    Raises:
        InvalidName: the address is not ``agent.handler``.
        ConfigurationError: an unknown effect.
    """
    return Handler(Address.parse(address), input, output, effect=effect_of(effect))


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A function of one agent that receives the events of one topic."""

    address: Address
    topic: str
    input: type[Message]
    function: Callable[[Any, "Context"], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """Makes, once per node, the function that is given telemetry batches."""

    make: Callable[[], Watcher]
    tick_s: float


class Agent:
    """A named actor: its handlers share one pool of ``slots`` on each node that runs it.

    Args:
        name: 1 to 64 characters of a-z, 0-9, _ and -; one name, one agent, any number of replicas.
        model: the model its ``ctx.model`` uses, a name from settings; None takes the default model.
        tools: what ``ctx.tool`` may run.
        guards: what may pass into and out of its handlers, models and tools: see ``docs/guards.md``.
        slots: how many of its handlers may run at once on one node.
        mailbox: asks that may wait for a slot; more are refused as Busy.
        max_attempts: how often a durable task is tried before it is dead.
        lease_s: a node that is silent this long loses its durable work to another.
        first_retry_s, max_retry_s: the delay before the second attempt, which doubles up to the longest; half of
            it is random.
        version: of the agent's code: a durable task finishes on the version that began it. 1 to 30 letters, digits,
            dashes and underscores, with dots between.
        observes: part of the observability system; its spans are marked and left out of its own input.

    Raises:
        ConfigurationError: a name or a number that cannot be.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str | None = None,
        tools: Sequence[Tool[..., Any]] = (),
        guards: "Sequence[Guard | Verifier]" = (),
        description: str = "",
        slots: int = 16,
        mailbox: int = 1024,
        max_attempts: int = 5,
        lease_s: float = 4.0,
        first_retry_s: float = FIRST_S,
        max_retry_s: float = MAX_S,
        version: str = "1",
        observes: bool = False,
    ) -> None:
        try:
            self.name = check_name("agent", name)
            self.version = check_version(version)
        except InvalidName as error:
            raise ConfigurationError(str(error)) from None
        for label, value, least in (("slots", slots, 1), ("mailbox", mailbox, 0), ("max_attempts", max_attempts, 1)):
            if value < least:
                raise ConfigurationError(f"agent {name!r}: {label} is {value}, expected {least} or more")
        if lease_s < 1.0:
            raise ConfigurationError(f"agent {name!r}: lease_s is {lease_s}, expected 1.0 or more")
        self.model = model
        self.tools = {tool.name: tool for tool in tools}
        self.guards = _guards(guards) if guards else None
        self.description = description
        self.slots = slots
        self.mailbox = mailbox
        self.max_attempts = max_attempts
        self.lease_s = lease_s
        if not 0 < first_retry_s <= max_retry_s:
            raise ConfigurationError(
                f"agent {name!r}: first_retry_s is {first_retry_s} and max_retry_s {max_retry_s}, "
                "expected the first above zero and not above the longest"
            )
        self.first_retry_s = first_retry_s
        self.max_retry_s = max_retry_s
        self.observes = observes
        self.handlers: dict[str, Handler[Any, Any]] = {}
        self.subscribers: dict[str, Subscriber] = {}
        self.taps: list[Tap] = []

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, handlers={sorted(self.handlers)})"

    @overload
    def handles(self, function: Function[In, Out]) -> Handler[In, Out]: ...

    @overload
    def handles(
        self, *, key: Key | None = None, effect: str = Effect.WRITE
    ) -> Callable[[Function[In, Out]], Handler[In, Out]]: ...

    def handles(
        self, function: Function[In, Out] | None = None, *, key: Key | None = None, effect: str = Effect.WRITE
    ) -> Any:
        """Decorator: ``async def name(message: In, ctx: Context) -> Out`` answers ``agent.name``.

        The type hints are the contract: both must be Message classes. ``@agent.handles(key=lambda m: m.user)`` runs
        messages of one key one at a time and in the order in which they were stored, on all nodes together; such a
        handler is reached by durable work only. A message that waits or is tried again holds up its key, and those
        that share its lane (there are 16). ``effect="read"`` declares that a message changes nothing, here or further
        on: policies may then have it answered twice.

        Raises:
            ConfigurationError: hints missing or not messages, not async, a name used twice, or an unknown effect.
        """
        effect_class = effect_of(effect)

        def decorate(function: Function[In, Out]) -> Handler[In, Out]:
            address = self._address(function)
            input, output = _contract(function, address, returns=True)
            handler: Handler[In, Out] = Handler(
                address,
                input,
                output,
                function=function,
                key=key,
                effect=effect_class,
                description=inspect.getdoc(function) or "",
            )
            self.handlers[address.handler] = handler
            return handler

        return decorate if function is None else decorate(function)

    def on(
        self, topic: str
    ) -> Callable[[Callable[[In, "Context"], Awaitable[None]]], Callable[[In, "Context"], Awaitable[None]]]:
        """Decorator: ``async def name(message: In, ctx: Context) -> None`` receives events of ``topic``.

        Replicas of the agent share the topic's events; each event is stored and redelivered until handled.

        Raises:
            ConfigurationError: as ``handles``, or a topic that is not dot-separated names.
        """
        try:
            check_topic(topic)
        except InvalidName as error:
            raise ConfigurationError(str(error)) from None

        def decorate(
            function: Callable[[In, "Context"], Awaitable[None]],
        ) -> Callable[[In, "Context"], Awaitable[None]]:
            address = self._address(function)
            input, _ = _contract(function, address, returns=False)
            self.subscribers[address.handler] = Subscriber(address, topic, input, function)
            return function

        return decorate

    def tap(self, *, tick_s: float) -> Callable[[Callable[[], Watcher]], Callable[[], Watcher]]:
        """Decorator for a factory, called once per node, whose function sees the telemetry batches of its shards.

        Replicas of the agent share the shards out (setting ``trace_shards``); a trace lies in one of them.
        It is given None at least every ``tick_s`` seconds, so that it can act on silence.
        """

        def decorate(make: Callable[[], Watcher]) -> Callable[[], Watcher]:
            self.taps.append(Tap(make=make, tick_s=tick_s))
            return make

        return decorate

    @property
    def has_keys(self) -> bool:
        """Whether some handler runs its messages in the order of a key."""
        return any(handler.key is not None for handler in self.handlers.values())

    def card(self) -> "AgentCard":
        """The agent as the directory shows it."""
        from antiphon.schemas.node import AgentCard, ToolCard

        return AgentCard(
            name=self.name,
            version=self.version,
            description=self.description,
            handlers=tuple(handler.card() for handler in self.handlers.values()),
            topics=tuple(sorted({subscriber.topic for subscriber in self.subscribers.values()})),
            model=self.model,
            slots=self.slots,
            tools=tuple(ToolCard(name=tool.name, effect=tool.effect, ttl_s=tool.ttl_s) for tool in self.tools.values()),
            observes=self.observes,
        )

    def _address(self, function: Callable[..., Any]) -> Address:
        name = getattr(function, "__name__", "")
        try:
            address = Address(self.name, name)
        except InvalidName as error:
            raise ConfigurationError(str(error)) from None
        if name in self.handlers or name in self.subscribers:
            raise ConfigurationError(f"agent {self.name!r} has two handlers called {name!r}: rename one")
        return address


def _guards(guards: "Sequence[Guard | Verifier]") -> "Guards":
    from antiphon.runtime.guards.guard import Guards

    return Guards(guards)


def _type_card(found: type[Message]) -> "TypeCard":
    from antiphon.schemas.node import TypeCard

    return TypeCard(name=found.message_name, version=found.message_version, json_schema=found.model_json_schema())


def _contract(function: Callable[..., Any], address: Address, *, returns: bool) -> tuple[type[Any], type[Any]]:
    """The message types of a handler function, from its hints."""
    expected = "async def name(message: In, ctx: Context)" + (" -> Out" if returns else " -> None")
    if not inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"handler {address} is not async: expected {expected}")
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 2:
        raise ConfigurationError(f"handler {address} takes {len(parameters)} parameters: expected {expected}")
    try:
        hints = typing.get_type_hints(function, localns=_late_names())
    except NameError as error:
        raise ConfigurationError(f"handler {address}: cannot resolve its type hints ({error})") from None
    input = hints.get(parameters[0].name)
    output = hints.get("return")
    if not (isinstance(input, type) and issubclass(input, Message)):
        raise ConfigurationError(f"handler {address}: its first parameter is {input!r}, expected a Message class")
    if returns and not (isinstance(output, type) and issubclass(output, Message)):
        raise ConfigurationError(f"handler {address}: it returns {output!r}, expected a Message class")
    return input, output if isinstance(output, type) else type(None)


def _late_names() -> dict[str, Any]:
    # ``ctx: "Context"`` under TYPE_CHECKING must not stop a handler's other hints from resolving.
    from antiphon.runtime.context import Context

    return {"Context": Context}

"""What agents may run through ``ctx.tool``, and models through ``ctx.model.run``."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, Protocol, TypeVar

from antiphon.runtime.durations import seconds
from antiphon.runtime.errors import ConfigurationError, InvalidResult, ToolTimeout
from antiphon.runtime.steps import restorer
from antiphon.runtime.tool_schema import FunctionSchema, JsonSchema, ToolSchema
from antiphon.schemas.identity import InvalidName, check_name
from antiphon.schemas.inference import ToolSpec
from antiphon.schemas.task import Effect

if TYPE_CHECKING:
    from antiphon.runtime.host import Host

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", covariant=True)  # a tool that returns a list is one that returns an iterable
Batch = Callable[[list[dict[str, Any]]], Awaitable[Sequence[Any]]]


class Backend(Protocol):
    """What tools run on, such as a session with a server elsewhere."""

    def opened(self, host: "Host") -> AbstractAsyncContextManager[None]:
        """It is there until this is left: a node enters it before work comes. What it raises stops the node."""
        ...


class Tool(Generic[P, R]):
    """A function with a name, words and a JSON schema for models, and an effect class.

    ``effect`` decides what may ever be cached, coalesced or speculated; ``ttl_s`` says how long a result stays good
    (None: no promise). A run that lasts longer than ``timeout_s`` is stopped. ``approve``: a person is asked first,
    anybody (True) or the one it names. ``takes_key``: it is given the operation's idempotency key, as a parameter
    that models do not see. ``batch`` does several calls at once; see ``tool``.
    """

    __slots__ = (
        "_signature",
        "approve",
        "backend",
        "batch",
        "description",
        "effect",
        "function",
        "name",
        "restore",
        "schema",
        "takes_key",
        "timeout_s",
        "ttl_s",
    )

    KEY: ClassVar = "idempotency_key"

    def __init__(
        self,
        name: str,
        description: str,
        schema: ToolSchema,
        function: Callable[P, Awaitable[R]],
        *,
        effect: Effect,
        ttl_s: float | None,
        timeout_s: float | None,
        approve: bool | str,
        batch: Batch | None = None,
    ) -> None:
        """Raises ConfigurationError for a name that no span or model can carry, and for a write with ``batch``."""
        try:
            self.name = check_name("tool", name)
        except InvalidName as error:
            raise ConfigurationError(str(error)) from None
        self.effect = effect
        self.description = description
        self.schema = schema
        self.function = function
        self.ttl_s = ttl_s
        self.timeout_s = timeout_s
        self.approve = approve
        if batch is not None and effect is Effect.WRITE:
            raise ConfigurationError(f"tool {name!r} writes and has batch=: calls that write are never made into one")
        self.batch = batch
        self.backend: Backend | None = None
        self._signature = inspect.signature(function)
        self.takes_key = self.KEY in self._signature.parameters
        self.restore = restorer(function)

    @staticmethod
    def from_schema(
        name: str,
        description: str,
        parameters: dict[str, Any],
        call: Callable[[dict[str, Any]], Awaitable[Any]],
        *,
        effect: str,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        approve: bool | str = False,
    ) -> "Tool[..., Any]":
        """A tool that is no Python function: ``call`` is given the arguments, ``parameters`` is their JSON schema.

        Raises:
            ConfigurationError: a name or effect that cannot be, or a ttl for a tool that writes.
        """

        async def function(**arguments: Any) -> Any:
            return await call(arguments)

        return Tool(
            name,
            description,
            JsonSchema(name, parameters),
            function,
            effect=_effect(effect, ttl_s),
            ttl_s=ttl_s,
            timeout_s=timeout_s,
            approve=approve,
        )

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the plain function, as a unit test wants; in a handler use ``ctx.tool``, which is traced."""
        return await self.function(*args, **kwargs)

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of its arguments."""
        return self.schema.parameters

    def validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values as keyword arguments. Raises InvalidArguments, in words that a model can act on."""
        return self.schema.validated(arguments)

    def spec(self) -> ToolSpec:
        """The tool as a model sees it."""
        return ToolSpec(name=self.name, description=self.description, parameters=self.parameters)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's arguments by name, defaults applied: the same call always looks the same."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if self._signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                found.update(value)  # of a tool from a schema
            elif name != self.KEY:
                found[name] = value
        return found

    async def limited(self, arguments: dict[str, Any]) -> R:
        """Run the function with these arguments for as long as it may take.

        Raises:
            ToolTimeout: it took longer.
            Exception: whatever it raised.
        """
        return await self._in_time(self.function(**arguments))  # type: ignore[call-arg]  # by name, whatever P is

    async def together(self, calls: list[dict[str, Any]]) -> list[Any]:
        """Several calls as one, for as long as one may take: what ``batch`` returned, in the order of the calls.

        Raises:
            InvalidResult: it returned something else than one result for each.
            ToolTimeout: it took longer.
            Exception: whatever it raised.
        """
        assert self.batch is not None  # whoever calls this has looked
        found: object = await self._in_time(self.batch(calls))
        if not isinstance(found, list | tuple) or len(found) != len(calls):
            what = f"{len(found)} results" if isinstance(found, list | tuple) else f"a {type(found).__name__}"
            raise InvalidResult(
                f"batch= of tool {self.name!r} returned {what} for {len(calls)} calls: expected a list with one result "
                "for each, in their order"
            )
        return list(found)

    async def _in_time(self, work: Awaitable[T]) -> T:
        limit = asyncio.timeout(self.timeout_s)
        try:
            async with limit:
                return await work
        except TimeoutError:
            if not limit.expired():
                raise
            doubt = ", and may have had its effect" if self.effect is Effect.WRITE else ""
            raise ToolTimeout(
                f"tool {self.name!r} was stopped{doubt}: it may take {self.timeout_s:g} s; raise its timeout= or have "
                "it do less",
                tool=self.name,
            ) from None


class ToolRun:
    """One run of a tool that is about to be: what an operation asks for."""

    __slots__ = ("arguments", "tool")

    def __init__(self, tool: Tool[..., Any], arguments: dict[str, Any]) -> None:
        self.tool = tool
        self.arguments = arguments

    def __call__(self) -> Awaitable[Any]:
        """Run it. Raises as ``Tool.limited``."""
        return self.tool.limited(self.arguments)


def tool(
    *,
    effect: str = Effect.WRITE,
    ttl: str | float | None = None,
    timeout: str | float | None = None,
    approve: bool | str = False,
    batch: Batch | None = None,
) -> Callable[[Callable[P, Awaitable[R]]], Tool[P, R]]:
    """Decorator: an async function becomes a tool.

    Models see its docstring, the types of its parameters, and what a Google-style ``Args:`` section says of them.

    Args:
        effect: ``pure``, ``read`` or ``write`` (the default, because it is the safe assumption).
        ttl: how long a result stays good: seconds, or ``"500ms"``, ``"30s"``, ``"10m"``, ``"2h"``, ``"1d"``.
        timeout: how long a run may take, likewise; then it is stopped and raises ToolTimeout.
        approve: True or whom (``"role:ops"``): a person sees the arguments first, may edit them, and decides.
        batch: an async function that does several calls at once: given the arguments of each by name, as a list, it
            returns their results in that order, an exception in place of a result where one call alone failed. Not
            for writes. It is used where a policy says so.

    Raises:
        ConfigurationError: an unknown effect, an unreadable ttl or timeout, a function that is not async, batch of
            a tool that writes, or parameters that a model cannot give: without a hint, not by name, or of a type that
            JSON cannot carry.
    """
    ttl_s = None if ttl is None else seconds("ttl", ttl)
    timeout_s = None if timeout is None else seconds("timeout", timeout)
    effect_class = _effect(effect, ttl_s)

    def decorate(function: Callable[P, Awaitable[R]]) -> Tool[P, R]:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"tool {function.__name__!r} is not async: write async def {function.__name__}")
        if batch is not None and not inspect.iscoroutinefunction(batch):
            raise ConfigurationError(f"batch= of tool {function.__name__!r} is not async: give it an async function")
        schema = FunctionSchema(function, hidden=Tool.KEY)
        return Tool(
            function.__name__,
            schema.description,
            schema,
            function,
            effect=effect_class,
            ttl_s=ttl_s,
            timeout_s=timeout_s,
            approve=approve,
            batch=batch,
        )

    return decorate


def effect_of(effect: str) -> Effect:
    """``pure``, ``read`` or ``write``. Raises ConfigurationError for anything else."""
    try:
        return Effect(effect)
    except ValueError:
        raise ConfigurationError(f"effect is {effect!r}, expected pure, read or write") from None


def _effect(effect: str, ttl_s: float | None) -> Effect:
    found = effect_of(effect)
    if ttl_s is not None and found is Effect.WRITE:
        raise ConfigurationError("a tool that writes has no ttl: its result must not be reused")
    return found

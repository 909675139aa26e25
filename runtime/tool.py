"""A typed function that agents may run through ``ctx.tool``."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

from antiphon.runtime.durations import seconds
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.steps import restorer
from antiphon.schemas.identity import InvalidName, check_name
from antiphon.schemas.task import Effect

P = ParamSpec("P")
R = TypeVar("R", covariant=True)  # a tool that returns a list is one that returns an iterable


class Tool(Generic[P, R]):
    """An async function with a name, an effect class and, for reads, how long a result stays good.

    ``ttl_s`` None: no promise. The effect decides what may ever be cached, coalesced or speculated.
    """

    __slots__ = ("description", "effect", "function", "name", "restore", "takes_key", "ttl_s")

    KEY: ClassVar = "idempotency_key"  # a parameter of this name is given the operation's key, and is no argument

    def __init__(self, function: Callable[P, Awaitable[R]], effect: Effect, ttl_s: float | None) -> None:
        self.function = function
        self.name = function.__name__
        self.description = inspect.getdoc(function) or ""
        self.effect = effect
        self.ttl_s = ttl_s
        self.takes_key = self.KEY in inspect.signature(function).parameters
        self.restore = restorer(function)

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the plain function, as a unit test wants; in a handler use ``ctx.tool``, which is traced."""
        return await self.function(*args, **kwargs)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's arguments by name, defaults applied: the same call always looks the same."""
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        return {name: value for name, value in bound.arguments.items() if name != self.KEY}


def tool(
    *, effect: str = Effect.WRITE, ttl: str | float | None = None
) -> Callable[[Callable[P, Awaitable[R]]], Tool[P, R]]:
    """Decorator: an async function becomes a tool.

    Args:
        effect: ``pure``, ``read`` or ``write`` (the default, because it is the safe assumption).
        ttl: how long a result stays good: seconds, or ``"500ms"``, ``"30s"``, ``"10m"``, ``"2h"``, ``"1d"``.

    Raises:
        ConfigurationError: an unknown effect, an unreadable ttl, a function that is not async.
    """
    try:
        effect_class = Effect(effect)
    except ValueError:
        raise ConfigurationError(f"effect is {effect!r}, expected pure, read or write") from None
    ttl_s = None if ttl is None else seconds("ttl", ttl)
    if ttl_s is not None and effect_class is Effect.WRITE:
        raise ConfigurationError("a tool that writes has no ttl: its result must not be reused")

    def decorate(function: Callable[P, Awaitable[R]]) -> Tool[P, R]:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"tool {function.__name__!r} is not async: write async def {function.__name__}")
        try:
            check_name("tool", function.__name__)
        except InvalidName as error:
            raise ConfigurationError(str(error)) from None
        return Tool(function, effect_class, ttl_s)

    return decorate

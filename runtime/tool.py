"""A typed function that agents may run through ``ctx.tool``."""

import inspect
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, TypeVar

from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.identity import InvalidName, check_name
from antiphon.schemas.task import Effect

P = ParamSpec("P")
R = TypeVar("R", covariant=True)  # a tool that returns a list is one that returns an iterable

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Tool(Generic[P, R]):
    """An async function with a name, an effect class and, for reads, how long a result stays good.

    ``ttl_s`` None: no promise. The effect decides what may ever be cached, coalesced or speculated.
    """

    __slots__ = ("description", "effect", "function", "name", "ttl_s")

    def __init__(self, function: Callable[P, Awaitable[R]], effect: Effect, ttl_s: float | None) -> None:
        self.function = function
        self.name = function.__name__
        self.description = inspect.getdoc(function) or ""
        self.effect = effect
        self.ttl_s = ttl_s

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the plain function, as a unit test wants; in a handler use ``ctx.tool``, which is traced."""
        return await self.function(*args, **kwargs)

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's arguments by name, defaults applied: the same call always looks the same."""
        bound = inspect.signature(self.function).bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)


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
    ttl_s = _seconds(ttl)
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


def _seconds(ttl: str | float | None) -> float | None:
    if ttl is None:
        return None
    if isinstance(ttl, int | float):
        seconds = float(ttl)
    else:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", ttl)
        if match is None:
            raise ConfigurationError(f"ttl is {ttl!r}, expected seconds or a number with ms, s, m, h or d")
        seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 < seconds < math.inf:
        raise ConfigurationError(f"ttl is {ttl!r}, expected a finite time above zero")
    return seconds

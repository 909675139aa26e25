"""Work that is begun anew when it fails, as supervisors of Erlang/OTP do it.

The strategies and the restart intensity are those of OTP's ``supervisor`` behaviour (its design principles, "Restart
Strategy" and "Maximum Restart Intensity"), for children that end: one that returned is not restarted for its own sake
(OTP's ``transient``), but runs again where the strategy restarts it with another.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar, get_args

from antiphon.runtime.context import Context
from antiphon.runtime.errors import ConfigurationError, RestartsExceeded, error_type

T = TypeVar("T")
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]


async def supervise(
    ctx: Context,
    children: Mapping[str, Callable[[], Awaitable[T]]],
    *,
    strategy: Strategy = "one_for_one",
    intensity: int = 3,
    within_s: float = 60.0,
) -> dict[str, T]:
    """Run named children together until all have returned; their results by name.

    A child is a function that begins the work, such as ``partial(ctx.call, crawl, Site(url=…))``. It is called
    once more for every restart, so each restart is a new durable task, made after the failed one had used up its own
    attempts.

    When a child fails, ``one_for_one`` restarts it alone, ``one_for_all`` stops the others and restarts all, and
    ``rest_for_one`` stops and restarts it and those that stand after it. ``intensity`` restarts, of whichever children,
    are allowed within any ``within_s`` seconds.

    Raises:
        RestartsExceeded: one more was needed; names the child that failed last. All others are cancelled.
        ConfigurationError: a strategy or a number that cannot be.
    """
    if strategy not in get_args(Strategy):
        raise ConfigurationError(f"supervise: strategy is {strategy!r}, expected {' or '.join(get_args(Strategy))}")
    if intensity < 0 or within_s <= 0:
        raise ConfigurationError(
            f"supervise: intensity is {intensity} and within_s {within_s}, expected 0 or more and above 0"
        )
    return await _Supervisor(ctx, children, intensity, within_s).run(arrange(strategy, tuple(children)))


@dataclass(frozen=True, slots=True)
class Unit:
    """What is restarted together: ``children``, and with them ``units``, which see to their own failures."""

    children: tuple[str, ...]
    units: tuple["Unit", ...] = ()


def arrange(strategy: Strategy, names: Sequence[str]) -> Unit:
    """A strategy as units within units."""
    match strategy:
        case "one_for_one":
            return Unit((), tuple(Unit((name,)) for name in names))
        case "one_for_all":
            return Unit(tuple(names))
        case "rest_for_one":
            return Unit(tuple(names[:1]), (arrange(strategy, names[1:]),) if len(names) > 1 else ())


class _Failed(NamedTuple):
    child: str  # empty: a unit, which has given up
    error: Exception


class _Returned(Exception):
    """Carries what a child returned."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values


class _Supervisor(Generic[T]):
    def __init__(
        self, ctx: Context, children: Mapping[str, Callable[[], Awaitable[T]]], intensity: int, within_s: float
    ) -> None:
        self._ctx = ctx
        self._children = children
        self._intensity = intensity
        self._within_s = within_s
        self._failures_s: list[float] = []

    async def run(self, unit: Unit) -> dict[str, T]:
        """The results of all in the unit. Raises RestartsExceeded."""
        while True:
            # A group leaves at the first success, and journals who had ended by then. Here the first failure is what
            # counts, so members return their failures and raise their results.
            async with self._ctx.group(quorum=1) as group:
                for name in unit.children:
                    group.start(self._child(name))
                for below in unit.units:
                    group.start(self._unit(below))
            failures = [outcome.value for outcome in group.outcomes if outcome.succeeded]
            if not failures:
                return _merged([outcome.error for outcome in group.outcomes])
            await self._restart(failures[0])

    async def _child(self, name: str) -> _Failed:
        try:
            value = await self._children[name]()
        except Exception as error:
            return _Failed(name, error)
        raise _Returned({name: value})

    async def _unit(self, unit: Unit) -> _Failed:
        try:
            values = await self.run(unit)
        except RestartsExceeded as error:
            return _Failed("", error)
        raise _Returned(values)

    async def _restart(self, failed: _Failed) -> None:
        """Allow one more restart, or give up. The count is journaled: other attempts decide alike."""
        if not failed.child:
            raise failed.error
        now_s = self._ctx.now()
        self._failures_s.append(now_s)

        async def count() -> int:
            return sum(1 for each_s in self._failures_s if each_s > now_s - self._within_s)

        restarts = await self._ctx.run(f"restart {failed.child}", count, effect="read")
        if restarts > self._intensity:
            raise RestartsExceeded(
                f"child {failed.child!r} failed with {error_type(failed.error)}: {failed.error}; that would be restart "
                f"{restarts} within {self._within_s:g} s, and {self._intensity} are allowed: mend the child, or allow "
                "more with intensity= and within_s=",
                child=failed.child,
                restarts=restarts,
                within_s=self._within_s,
                type=error_type(failed.error),
            ) from failed.error
        self._ctx.log.warning("child_restarted", child=failed.child, restarts=restarts, error=str(failed.error))


def _merged(ended: Sequence[BaseException | None]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in ended:
        if isinstance(each, _Returned):
            found.update(each.values)
        elif each is not None:
            raise each
    return found

"""What a guard is, and all guards of one agent."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry import trace

from antiphon.runtime.errors import ConfigurationError, Refused
from antiphon.runtime.guards.verifier import Verifier
from antiphon.runtime.telemetry import attributes as names

if TYPE_CHECKING:
    from antiphon.runtime.policies.chain import Scope


class Stage(StrEnum):
    """Where a guard looks, and what it is shown there."""

    HANDLER_INPUT = "handler.input"  # the message, as a JSON value
    HANDLER_OUTPUT = "handler.output"  # likewise
    MODEL_INPUT = "model.input"  # a list: the text of each turn's parts, arguments of tool calls as JSON values
    MODEL_OUTPUT = "model.output"  # the reply's text, or its JSON value where the model was given a schema
    TOOL_ARGUMENTS = "tool.arguments"  # a JSON object
    TOOL_RESULT = "tool.result"  # a JSON value


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is being looked at: ``target`` is the handler's address or the model's or tool's name.

    ``is_answer`` is False for a reply that asks for tools or that was cut off by the deadline.
    """

    stage: Stage
    target: str
    scope: "Scope"
    is_answer: bool = True


class Guard(Protocol):
    """One concern about content. ``stages`` are values of Stage, ``name`` is for errors and spans.

    ``check`` gives back the value to go on with: the same, or another one of the same form. It may run in every
    attempt of a task, so the same value must come to the same end: no clock, no randomness.
    """

    @property
    def name(self) -> str: ...

    @property
    def stages(self) -> Collection[str]: ...

    async def check(self, value: Any, moment: Moment) -> Any:
        """The value, or what takes its place.

        Raises:
            Refused: it may not pass; the text is the reason, without what the guard has seen.
        """
        ...


class Guards:
    """An agent's guards by stage, in the order in which they were given.

    Raises:
        ConfigurationError: a guard for no stage, or for one that does not exist.
    """

    def __init__(self, guards: Sequence[Guard | Verifier]) -> None:
        self.verifiers = tuple(guard for guard in guards if isinstance(guard, Verifier))
        self._at: dict[Stage, tuple[Guard, ...]] = {}
        for guard in guards:
            if not isinstance(guard, Verifier):
                for stage in stages_of(guard.name, guard.stages):
                    self._at[stage] = (*self._at.get(stage, ()), guard)

    def looks_at(self, stage: Stage) -> bool:
        """Whether some guard does."""
        return stage in self._at

    def only(self, stage: Stage) -> "Guards":
        """Those of one stage, without verifiers."""
        found = Guards(())
        found._at = {stage: self._at.get(stage, ())}
        return found

    async def check(self, value: Any, moment: Moment) -> Any:
        """What the guards of the moment's stage make of ``value``, one after the other.

        Raises:
            Refused: one of them did; it, the stage and the reason are in ``details`` and in a span event.
        """
        for guard in self._at.get(moment.stage, ()):
            try:
                found = await guard.check(value, moment)
            except Refused as refusal:
                raise refused(guard.name, moment, refusal.message, **refusal.details) from None
            if found != value:
                note(guard.name, moment.stage, "rewritten")
            value = found
        return value


def stages_of(guard: str, stages: Collection[str]) -> tuple[Stage, ...]:
    """The stages by their names. Raises ConfigurationError."""
    known = ", ".join(Stage)
    if not stages or isinstance(stages, str):
        raise ConfigurationError(f"guard {guard!r} has stages {stages!r}: expected one or more of {known}")
    try:
        return tuple(Stage(stage) for stage in stages)
    except ValueError:
        raise ConfigurationError(f"guard {guard!r} has stages {tuple(map(str, stages))}: expected {known}") from None


def refused(guard: str, moment: Moment, reason: str, **details: str) -> Refused:
    """The error for whoever waits for the value; the current span gets an event."""
    note(guard, moment.stage, "refused", reason)
    return Refused(
        f"guard {guard!r} refused {moment.stage} of {moment.target}: {reason}",
        **{**details, "guard": guard, "stage": moment.stage.value, "target": moment.target, "reason": reason},
    )


def note(guard: str, stage: Stage, action: str, reason: str = "") -> None:
    """Add an event to the current span: that of the operation, or else the handler's."""
    said = {names.GUARD: guard, names.GUARD_STAGE: stage.value, names.GUARD_ACTION: action}
    if reason:
        said[names.GUARD_REASON] = reason
    trace.get_current_span().add_event(names.GUARD_EVENT, said)

"""Which steps of recorded runs a person means: ``agent:critic``, ``model:m``, ``tool:search``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Step, Trace


class Kind(StrEnum):
    """What is named."""

    AGENT = "agent"  # what its handlers do; agent.handler is one of them
    MODEL = "model"  # calls of a model, by its name or by the agent that makes them
    TOOL = "tool"  # calls of a tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Steps by kind and name."""

    kind: Kind
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """What ``str`` gives.

        Raises:
            ConfigurationError: anything else.
        """
        kind, colon, name = text.partition(":")
        if not (colon and name and kind in {each.value for each in Kind}):
            raise ConfigurationError(f"{text[:80]!r} names nothing: expected agent:NAME, model:NAME or tool:NAME")
        return cls(kind=Kind(kind), name=name)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"

    def steps(self, trace: Trace) -> list[Step]:
        """The work itself, without what lies below other work of the selection."""
        return _outermost(trace, self.all(trace))

    def all(self, trace: Trace) -> list[Step]:
        """The work, also where it lies below other work of the selection."""
        return [step for step in trace.steps if self.name in _names(trace, step).get(self.kind, ())]

    def calls(self, trace: Trace) -> list[Step]:
        """As ``steps``; for an agent the calls that its handlers answer, where those are on record."""
        found = self.steps(trace)
        if self.kind is not Kind.AGENT:
            return found
        above = [None if step.parent is None else trace.steps[step.parent] for step in found]
        return _outermost(
            trace,
            [
                call if call is not None and call.operation in facts.PEERS else step
                for call, step in zip(above, found, strict=True)
            ],
        )


def known(traces: Iterable[Trace]) -> Mapping[Kind, set[str]]:
    """All that could be selected."""
    found: dict[Kind, set[str]] = {kind: set() for kind in Kind}
    for trace in traces:
        for step in trace.steps:
            for kind, names in _names(trace, step).items():
                found[kind].update(name for name in names if name)
    return found


def _names(trace: Trace, step: Step) -> Mapping[Kind, tuple[str, ...]]:
    span = step.span
    if step.operation == facts.PROCESS:
        return {Kind.AGENT: (facts.text(span, attr.AGENT), step.label)}
    if step.operation == facts.TOOL:
        return {Kind.TOOL: (facts.text(span, attr.GENAI_TOOL_NAME),)}
    if step.operation == facts.MODEL:
        agent = facts.text(span, attr.AGENT)
        if not agent and (owner := trace.owner(step.index)) is not None:
            agent = facts.text(owner.span, attr.AGENT)
        return {Kind.MODEL: (facts.text(span, attr.GENAI_REQUEST_MODEL), agent)}
    return {}


def _outermost(trace: Trace, steps: Iterable[Step]) -> list[Step]:
    """In preorder, each once, none below another."""
    found: list[Step] = []
    covered: set[int] = set()
    for step in sorted(steps, key=lambda s: s.index):
        if step.index not in covered:
            found.append(step)
            covered.update(below.index for below in trace.below(step.index))
    return found

"""What a handler may have been told, given what happened outside it."""

from collections.abc import Mapping
from typing import Any

from tests.runtime.delivery.scenario import Scenario
from tests.runtime.delivery.workflows import (
    Child,
    Detached,
    Instruction,
    Look,
    Nap,
    Question,
    Some,
    Step,
    Together,
    Trip,
    Workflow,
    World,
)

from antiphon.schemas.task import TaskResult

CAUGHT = ("OSError", "TaskDead", "TaskCancelled", "DeadlineExceeded", "HandlerFailed", "BusUnavailable")


class Model:
    """Compares what tasks that succeeded were told with effects, answers and the outcomes of their children."""

    def __init__(self, world: World, scenario: Scenario, ends: Mapping[str, list[TaskResult]]) -> None:
        self._world = world
        self._scenario = scenario
        self._ends = ends

    def check(self, task: str, workflow: Workflow, told: dict[str, Any]) -> None:
        """Complain to the world about whatever does not fit."""
        expected = [each for each in workflow if not isinstance(each, Trip)]
        if list(told) != [each.name for each in expected]:
            self._world.complain(f"{task} was told of {list(told)}, its workflow has {[e.name for e in expected]}")
            return
        for each in expected:
            problem = self._problem(task, each, told[each.name])
            if problem:
                self._world.complain(f"{each.name} of {task} gave {told[each.name]!r}: {problem}")

    def _problem(self, task: str, each: Instruction, value: Any) -> str:
        """What is wrong with what the handler was told, or nothing."""
        world, scenario = self._world, self._scenario
        if isinstance(value, str) and value.startswith("caught "):
            return self._problem_of_error(task, each, value.removeprefix("caught "))
        if isinstance(each, Step):
            effects = world.effects.get((task, each.name))
            if effects is None or value not in effects.finished:
                return f"its effects are {effects}"
            if each.kind == "unkeyed" and (effects.begun != 1 or len(effects.finished) != 1):
                return f"its effects are {effects}"
        elif isinstance(each, Nap):
            told = world.told.get((task, each.name))
            began = world.naps.get((task, each.name))
            slack_s = 0.01 + max(scenario.skews_s) - min(scenario.skews_s)
            if value is not None or told is None or began is None or told[0] - began < each.length_s - slack_s:
                return f"it began at {began}, ended at {told}"
        elif isinstance(each, Question):
            approved, expired = value
            if expired:
                return "" if each.timeout_s is not None and approved == (each.on_timeout == "approve") else "expired"
            return "" if approved is each.answer else f"the answer was {each.answer}"
        elif isinstance(each, Child):
            ends = self._ends.get(value["task"], [])
            if [end.value for end in ends] != [value]:
                return f"the child ended as {ends}"
        elif isinstance(each, Detached):
            return "" if value in self._ends else "there is no such task"
        elif isinstance(each, Together):
            for branch, one in zip(each.branches, value, strict=True):
                self.check(task, branch, one)
        elif isinstance(each, Some):
            for branch, one in zip(each.branches, value, strict=True):
                if isinstance(one, dict):
                    self.check(task, branch, one)
            done = sum(isinstance(one, dict) for one in value)
            if "cancelled" in value and each.timeout_s is None and done < (each.quorum or len(value)):
                return f"cancelled with {done} done"
        else:
            assert isinstance(each, Look)
        return ""

    def _problem_of_error(self, task: str, each: Instruction, kind: str) -> str:
        if isinstance(each, Step) and kind == "DeadlineExceeded":
            return ""  # the task's own: refused before it began, and caught before the node stopped the handler
        if isinstance(each, Step):
            effects = self._world.effects.get((task, each.name))
            return "" if kind == "OSError" and each.fails and effects is not None else f"its effects are {effects}"
        if isinstance(each, Child):
            return "" if kind in CAUGHT else "no child ends like that"
        return "" if kind in CAUGHT else "nothing in it fails like that"

"""The interceptor: what passes it untouched, and what a wrong guard is told."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.guards import Guard, Moment, Stage, forbids
from antiphon.runtime.guards.guard import Guards
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome
from antiphon.runtime.policies.guard import guard
from antiphon.schemas.inference import (
    Finish,
    FinishReason,
    GenerateRequest,
    Reply,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
    turn,
)

FINISH = Finish(reason=FinishReason.STOP, usage=Usage())
MakeOperation = Callable[..., Operation]


class Makes:
    """Whatever it is given, this comes out."""

    name = "makes"

    def __init__(self, value: Any, stage: Stage) -> None:
        self.value = value
        self.stages = (stage,)
        self.seen: list[Any] = []
        self.moments: list[Moment] = []

    async def check(self, value: Any, moment: Moment) -> Any:
        self.seen.append(value)
        self.moments.append(moment)
        return self.value


def with_guards(operation: Operation, *guards: Guard) -> Operation:
    """The operation of an agent that has them."""
    operation.guards = Guards(guards)
    return operation


def answering(value: Any, body: bytes = b"{}") -> Callable[[Operation], Awaitable[Outcome]]:
    """A transport that always says the same."""

    async def transport(operation: Operation) -> Outcome:
        return Outcome(value, body)

    return transport


@pytest.mark.parametrize("kind", list(OperationKind))
def test_an_agent_without_guards_pays_nothing(make_operation: MakeOperation, kind: OperationKind) -> None:
    """The transport's own awaitable comes back: no coroutine stands between."""
    answer: Any = object()
    assert guard(make_operation(kind, {}), lambda operation: answer) is answer


@pytest.mark.parametrize("kind", sorted(set(OperationKind) - {OperationKind.MODEL, OperationKind.TOOL}))
def test_only_models_and_tools_are_looked_at(make_operation: MakeOperation, kind: OperationKind) -> None:
    """Peers guard their own input."""
    answer: Any = object()
    operation = with_guards(make_operation(kind, {}), forbids("x", *Stage))
    assert guard(operation, lambda operation: answer) is answer


async def test_what_no_guard_changes_is_not_touched(make_operation: MakeOperation) -> None:
    """Request and outcome are the very same."""
    operation = with_guards(make_operation(OperationKind.MODEL, {}), forbids("never", *Stage))
    request = operation.request.request
    reply = Reply(text="fine", finish=FINISH)
    outcome = await guard(operation, answering(reply))
    assert outcome.value is reply
    assert operation.request.request is request


async def test_each_part_of_a_conversation_is_seen_and_put_back(make_operation: MakeOperation) -> None:
    """Texts, arguments of calls, results of tools; ids, names and roles are not shown."""
    operation = make_operation(OperationKind.MODEL, {})
    turns = (
        turn(Role.USER, "one"),
        Turn(
            role=Role.ASSISTANT,
            parts=(TextPart(text="two"), ToolCall(id="7", name="find", arguments={"who": "three"})),
        ),
        Turn(role=Role.TOOL, parts=(ToolResult(id="7", name="find", content="four"),)),
    )
    operation.request = ModelCall(request=GenerateRequest(model="m", conversation=turns))
    makes = Makes(["1", "2", {"who": "3"}, "4"], Stage.MODEL_INPUT)
    await guard(with_guards(operation, makes), answering(Reply(text="", finish=FINISH)))
    assert makes.seen == [["one", "two", {"who": "three"}, "four"]]
    found = operation.request.request.conversation
    assert [each.role for each in found] == [each.role for each in turns]
    assert found[0].text == "1"
    assert found[1].parts == (TextPart(text="2"), ToolCall(id="7", name="find", arguments={"who": "3"}))
    assert found[2].parts == (ToolResult(id="7", name="find", content="4"),)


@pytest.mark.parametrize(
    ("made", "stage", "says"),
    [
        (None, Stage.MODEL_OUTPUT, "made a NoneType of a text"),
        ([None], Stage.MODEL_INPUT, "made a NoneType of a text"),
        (None, Stage.MODEL_INPUT, "was given a list of 1 and returned a NoneType"),
        (["a", "b"], Stage.MODEL_INPUT, "was given a list of 1 and returned a list of 2"),
    ],
)
async def test_a_guard_that_forgets_what_to_return_is_told(
    make_operation: MakeOperation, made: Any, stage: Stage, says: str
) -> None:
    """What it was given, and what came back; nothing passes."""
    operation = with_guards(make_operation(OperationKind.MODEL, {}), Makes(made, stage))
    with pytest.raises(ConfigurationError, match=says):
        await guard(operation, answering(Reply(text="fine", finish=FINISH)))


@pytest.mark.parametrize(
    ("reply", "is_answer"),
    [
        (Reply(text="fine", finish=FINISH), True),
        (Reply(text="fine", finish=FINISH.model_copy(update={"reason": FinishReason.LENGTH})), True),
        (Reply(text="fi", finish=FINISH.model_copy(update={"reason": FinishReason.CANCELLED})), False),
        (Reply(text="hm", tool_calls=(ToolCall(id="1", name="f", arguments={}),), finish=FINISH), False),
    ],
)
async def test_a_guard_is_told_whether_a_reply_is_an_answer(
    make_operation: MakeOperation, reply: Reply, is_answer: bool
) -> None:
    """One that asks for tools or that the deadline cut is none yet."""
    makes = Makes(reply.text, Stage.MODEL_OUTPUT)
    await guard(with_guards(make_operation(OperationKind.MODEL, {}), makes), answering(reply))
    assert [moment.is_answer for moment in makes.moments] == [is_answer]
    assert (makes.moments[0].target, makes.moments[0].scope.agent) == ("m", "writer")


async def test_a_reply_of_nothing_but_tool_calls_is_not_looked_at(make_operation: MakeOperation) -> None:
    """The calls are, when they are made."""
    makes = Makes("", Stage.MODEL_OUTPUT)
    reply = Reply(text="", tool_calls=(ToolCall(id="1", name="f", arguments={}),), finish=FINISH)
    await guard(with_guards(make_operation(OperationKind.MODEL, {}), makes), answering(reply))
    assert makes.seen == []

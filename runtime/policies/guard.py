"""The agent's guards around its model calls and tools.

Inside the journal: what it keeps has passed the guards, and they see nothing that it answers. Outside the budget: what
is refused before it starts costs nothing.
"""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from pydantic_core import from_json, to_json

from antiphon.runtime.delivery.model_call import ModelCall, answer_bytes
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.guards.conversation import contents, list_of, text_of, with_contents
from antiphon.runtime.guards.guard import Guards, Moment, Stage
from antiphon.runtime.guards.held_back import show_whole
from antiphon.runtime.models.captured import reply_text
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.inference import EmbedRequest, FinishReason, Reply


def guard(operation: Operation, next: Next) -> Awaitable[Outcome]:
    """Pass the operation on as its agent's guards let it.

    Raises:
        Refused: they do not.
    """
    guards = operation.guards
    if guards is None:
        return next(operation)
    if operation.kind is OperationKind.MODEL:
        return _model(operation, guards, next)
    return _tool(operation, guards, next) if operation.kind is OperationKind.TOOL else next(operation)


async def _tool(operation: Operation, guards: Guards, next: Next) -> Outcome:
    if guards.looks_at(Stage.TOOL_ARGUMENTS):
        # The body stays as it is: the journal knows the operation by it.
        arguments = from_json(operation.body)
        checked = await guards.check(arguments, _moment(Stage.TOOL_ARGUMENTS, operation))
        if checked != arguments:
            assert operation.rebind is not None  # every tool's operation has one
            operation.request = operation.rebind(checked)
    outcome = await next(operation)
    if not guards.looks_at(Stage.TOOL_RESULT):
        return outcome
    value = from_json(outcome.body)
    try:
        checked = await guards.check(value, _moment(Stage.TOOL_RESULT, operation))
    except Exception as error:
        if operation.unkeyed and operation.task_run is not None:
            operation.task_run.unrepeatable = error  # it has written, and must be neither repeated nor in doubt
        raise
    if checked == value:
        return outcome
    body = to_json(checked)
    return Outcome(operation.restore(body) if operation.restore is not None else checked, body)


async def _model(operation: Operation, guards: Guards, next: Next) -> Outcome:
    call: ModelCall = operation.request
    if guards.looks_at(Stage.MODEL_INPUT):
        call = operation.request = await _with_input(call, operation, guards)
    if not guards.looks_at(Stage.MODEL_OUTPUT) or isinstance(call.request, EmbedRequest):
        return await next(operation)
    operation.request = replace(call, show=None)  # held back until the guards have seen all of it
    outcome = await next(operation)
    captured = operation.attributes.pop(names.GENAI_OUTPUT_MESSAGES, None)
    reply: Reply = outcome.value
    text = await _checked_text(reply, operation, guards, typed=call.request.output is not None)
    if text != reply.text:
        reply = reply.model_copy(update={"text": text})
        outcome = Outcome(reply, answer_bytes(reply), encode(reply))
    if captured is not None:
        operation.attributes[names.GENAI_OUTPUT_MESSAGES] = reply_text(reply)
    if call.show is not None:
        await show_whole(call.show, text)
    return outcome


async def _checked_text(reply: Reply, operation: Operation, guards: Guards, *, typed: bool) -> str:
    if reply.tool_calls and not reply.text:
        return ""
    value: Any = reply.text
    if typed:
        try:
            value = from_json(reply.text)
        except ValueError:
            typed = False  # it is no answer, and whoever wanted one will say so
    is_answer = not reply.tool_calls and reply.finish.reason is not FinishReason.CANCELLED
    checked = await guards.check(value, _moment(Stage.MODEL_OUTPUT, operation, is_answer=is_answer))
    if checked == value:
        return reply.text
    return to_json(checked).decode() if typed else text_of(checked)


async def _with_input(call: ModelCall, operation: Operation, guards: Guards) -> ModelCall:
    request, moment = call.request, _moment(Stage.MODEL_INPUT, operation)
    given = list(request.texts) if isinstance(request, EmbedRequest) else contents(request.conversation)
    checked = list_of(await guards.check(given, moment), len(given))
    if checked == given:
        return call
    if isinstance(request, EmbedRequest):
        return replace(call, request=request.model_copy(update={"texts": tuple(map(text_of, checked))}))
    conversation = with_contents(request.conversation, checked)
    return replace(call, request=request.model_copy(update={"conversation": conversation}))


def _moment(stage: Stage, operation: Operation, *, is_answer: bool = True) -> Moment:
    return Moment(stage=stage, target=operation.target, scope=operation.scope, is_answer=is_answer)

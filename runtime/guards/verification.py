"""Model calls that a second model has to accept.

Around the journal, not inside it: each answer and each verdict is an operation with an entry, a span and a cost of its
own. Those after the first answer are numbered under it (``3.check.1``), so that they move no number of the handler, and
another attempt is given the same answers and verdicts and comes to the same end.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.guards.guard import Guards, Moment, Stage, note, refused
from antiphon.runtime.guards.held_back import show_whole
from antiphon.runtime.guards.verifier import (
    NAME,
    OUTPUT,
    VERDICT_TOKENS,
    Verdict,
    Verifier,
    again,
    judgement,
    verdict_of,
)
from antiphon.runtime.model import model_operation
from antiphon.runtime.policies.chain import Operation, Outcome
from antiphon.schemas.inference import EmbedRequest, FinishReason, GenerateRequest, Reply, Sampling

if TYPE_CHECKING:
    from antiphon.runtime.context import Context


async def verified(ctx: "Context", operation: Operation, guards: Guards) -> Outcome:
    """Do the model call until its verifiers accept the answer. It is shown to stream readers then, at once.

    Raises:
        Refused: a verifier said no after its last retry.
        InvalidOutput: a verifier gave no verdict.
        ModelError: as any model call.
    """
    call: ModelCall = operation.request
    if isinstance(call.request, EmbedRequest):
        return await ctx.performed(operation)
    made = request = call.request
    operation.request = replace(call, show=None)
    place = operation.path
    paths = (f"{place}.check.{n}" for n in count(1))
    used: dict[Verifier, int] = {}
    while True:
        outcome = await ctx.performed(operation)
        reply: Reply = outcome.value
        rejected = await _rejected(ctx, guards, made, reply, paths)
        if rejected is None:
            if call.show is not None:
                await show_whole(ctx.emit, reply.text)
            return outcome
        verifier, verdict = rejected
        used[verifier] = used.get(verifier, 0) + 1
        reason = f"{verifier.model} said no to {verifier.question!r}, {used[verifier]} times"
        if used[verifier] > verifier.retries:
            moment = Moment(stage=Stage.MODEL_OUTPUT, target=operation.target, scope=ctx.scope)
            raise refused(NAME, moment, reason, said=verdict.reason)
        note(NAME, Stage.MODEL_OUTPUT, "repeated", reason)
        request = request.model_copy(update={"conversation": again(request.conversation, reply.text, verdict.reason)})
        operation = model_operation(ctx, request, path=next(paths))


async def _rejected(
    ctx: "Context", guards: Guards, request: GenerateRequest, reply: Reply, paths: Iterator[str]
) -> tuple[Verifier, Verdict] | None:
    """The first verifier that does not accept the reply to the ``request`` that the handler made."""
    if reply.tool_calls or reply.finish.reason is FinishReason.CANCELLED:
        return None
    for verifier in guards.verifiers:
        asked = GenerateRequest(
            model=verifier.model,
            conversation=judgement(verifier.question, request.conversation, reply.text),
            output=OUTPUT,
            sampling=Sampling(max_tokens=VERDICT_TOKENS),
            run=request.run,
            task=request.task,
            priority=request.priority,
            deadline_unix_ms=request.deadline_unix_ms,
        )
        operation = model_operation(ctx, asked, path=next(paths))
        operation.guards = guards.only(Stage.MODEL_INPUT)
        verdict = verdict_of(verifier, (await ctx.performed(operation)).value)
        if not verdict.accepted:
            return verifier, verdict
    return None

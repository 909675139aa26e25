"""The guards around a handler: on the message it is given and the one it returns."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.guards.guard import Guards, Moment, Stage, refused
from antiphon.schemas.identity import Address
from antiphon.schemas.message import Message

if TYPE_CHECKING:
    from antiphon.runtime.context import Context

Function = Callable[[Any, "Context"], Awaitable[Any]]


def guarded(function: Function, guards: Guards | None, address: Address) -> Function:
    """The handler's function between its guards; the function itself where there are none.

    With guards on its output it shows nothing before its result. That this is what it declares, the caller checks.
    """
    if guards is None or not (guards.looks_at(Stage.HANDLER_INPUT) or guards.looks_at(Stage.HANDLER_OUTPUT)):
        return function

    async def run(message: Message, ctx: "Context") -> Any:
        if guards.looks_at(Stage.HANDLER_OUTPUT):
            ctx.mute()
        target = str(address)
        message = await _checked(message, guards, Moment(stage=Stage.HANDLER_INPUT, target=target, scope=ctx.scope))
        reply = await function(message, ctx)
        if not isinstance(reply, Message):
            return reply
        return await _checked(reply, guards, Moment(stage=Stage.HANDLER_OUTPUT, target=target, scope=ctx.scope))

    return run


async def _checked(message: Message, guards: Guards, moment: Moment) -> Message:
    if not guards.looks_at(moment.stage):
        return message
    value = from_json(encode(message))
    found = await guards.check(value, moment)
    if found == value:
        return message
    try:
        return decode(type(message), to_json(found))
    except InvalidMessage as error:
        raise refused("rewriting", moment, f"what the guards made of it is no {error.message}") from None

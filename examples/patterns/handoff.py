"""Handoff: the front desk passes a whole task on, and the other agent's answer is its own."""

from antiphon import Agent, Context, Message, System


class Request(Message):
    """What a customer wants."""

    text: str
    heard_by: tuple[str, ...] = ()


class Reply(Message):
    """What the customer is told."""

    text: str
    heard_by: tuple[str, ...]


desk = Agent("desk")
expert = Agent("expert")


@expert.handles
async def solve(request: Request, ctx: Context) -> Reply:
    """Answer what the desk cannot."""
    text = await ctx.model.generate(str, request.text)
    return Reply(text=text, heard_by=(*request.heard_by, "expert"))


@desk.handles
async def receive(request: Request, ctx: Context) -> Reply:
    """Answer greetings, and hand everything else to the expert.

    While the expert works this task waits without a slot. Deadline, budget and labels go along, and an error of the
    expert's is this task's error.
    """
    heard = request.model_copy(update={"heard_by": (*request.heard_by, "desk")})
    if request.text.lower().startswith("hello"):
        return Reply(text="Hello! What can we do for you?", heard_by=heard.heard_by)
    return await ctx.call(solve, heard)


system = System("service", agents=[desk, expert])

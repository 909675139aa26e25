"""A streaming chat that remembers its user, through restarts and on every device.

antiphon run examples/chat.py:system
antiphon chat friend.say --session ada
antiphon session show friend ada
"""

from antiphon import Agent, Context, Message, System


class Line(Message):
    """What somebody says."""

    user: str
    text: str


class Reply(Message):
    """What the friend says to it."""

    text: str


friend = Agent("friend", model="smollm2-135m")


@friend.handles(key=lambda line: line.user)
async def say(line: Line, ctx: Context) -> Reply:
    """Answer as somebody who knows what was said before."""
    told = "You are a friendly companion. Answer in one or two short sentences."
    text = await ctx.model.generate(str, line.text, system=told, session=ctx.session, emit=True, max_tokens=60)
    return Reply(text=text)


system = System("chat", agents=[friend])

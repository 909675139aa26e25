"""An agent that a web page and another program talk to.

antiphon run examples/door/teller.py:system
"""

from antiphon import Agent, Context, Message, System


class Question(Message):
    """What somebody wants to know."""

    text: str


class Story(Message):
    """What the teller makes of it."""

    text: str


teller = Agent("teller", model="smollm2-135m")


@teller.handles
async def tell(question: Question, ctx: Context) -> Story:
    """Answer in a sentence or two, shown as they come."""
    return Story(text=await ctx.model.generate(str, question.text, emit=True, max_tokens=32))


system = System("door", agents=[teller])

"""One agent, one typed reply.

antiphon run examples/tutorial/reply.py:system
antiphon submit guide.explain '{"term": "rainbow"}' --wait
"""

from pydantic import Field

from antiphon import Agent, Context, Message, System


class Term(Message):
    """What somebody wants to understand."""

    term: str


class Explanation(Message):
    """One sentence, and how sure the guide is."""

    sentence: str = Field(max_length=160)
    sure: bool


guide = Agent("guide")


@guide.handles
async def explain(asked: Term, ctx: Context) -> Explanation:
    """Explain a term in one sentence."""
    return await ctx.model.generate(Explanation, f"What is a {asked.term}?", max_tokens=120)


system = System("guide", agents=[guide])

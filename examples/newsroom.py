"""The agents of the README: a writer who looks things up, and a critic who decides.

antiphon run examples/newsroom.py:system
antiphon submit writer.write '{"text": "Why is the sky blue?"}' --wait
"""

from pydantic import Field

from antiphon import Agent, Context, Message, System, tool

NOTES = {
    "sky": "Air scatters short waves of sunlight more than long ones (Rayleigh), so the sky looks blue.",
    "sea": "Water absorbs red light first, so deep clear water looks blue.",
}


class Question(Message):
    """What a reader wants to know."""

    text: str


class Draft(Message):
    """An answer in the making."""

    text: str = Field(max_length=240)  # small models need to be told where to stop


class Review(Message):
    """What the critic thinks of a draft."""

    accepted: bool
    comment: str = Field(max_length=80)


@tool(effect="read", ttl="10m")
async def search_notes(query: str) -> list[str]:
    """Passages of our notes that match the query."""
    return [note for word, note in NOTES.items() if word in query.lower()]


critic = Agent("critic", model="smollm2-135m")
writer = Agent("writer", model="smollm2-135m", tools=[search_notes])


@critic.handles
async def review(draft: Draft, ctx: Context) -> Review:
    """Say whether a draft answers well."""
    return await ctx.model.generate(Review, f"Is this a clear answer?\n\n{draft.text}")


@writer.handles
async def write(question: Question, ctx: Context) -> Draft:
    """Answer a question from our notes."""
    notes = "\n".join(await ctx.tool(search_notes, question.text))
    draft = await ctx.model.generate(Draft, f"Notes:\n{notes}\n\nQuestion: {question.text}")
    verdict = await ctx.call(review, draft)  # typed: Review
    if verdict.accepted:
        return draft
    return await ctx.model.generate(Draft, f"{draft.text}\n\nImprove: {verdict.comment}")


system = System("newsroom", agents=[writer, critic])

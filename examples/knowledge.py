"""A help desk that answers from your own documents, and says which passages it has read.

antiphon models pull all-minilm-l6-v2
antiphon run examples/knowledge.py:system
antiphon knowledge ingest README.md docs --agent handbook
antiphon submit desk.help '{"text": "How do I answer an approval?"}' --wait
"""

from antiphon import Agent, Context, Message, System
from antiphon.agents.knowledge.agent import knowledge_agent
from antiphon.agents.knowledge.messages import Question


class Request(Message):
    """What somebody wants to know."""

    text: str


class Advice(Message):
    """What the documents say about it, and where."""

    text: str
    read: list[str]


handbook = knowledge_agent("handbook")
desk = Agent("desk")


@desk.handles
async def help(request: Request, ctx: Context) -> Advice:
    """Answer from the handbook."""
    answer = await ctx.call(handbook.answer, Question(text=request.text, limit=3))
    return Advice(text=answer.text, read=[f"{each.source}:{each.first_line}" for each in answer.sources])


system = System("help-desk", agents=[desk, handbook.agent])

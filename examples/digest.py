"""A digest of documents by four agents on two nodes, traced from end to end.

    make demo                                   the project's own Markdown, with the small built-in model
    make demo ARGS="--keep notes.md paper.txt"  your documents; --keep leaves the console up
    make demo ARGS="--model http://localhost:11434/v1#llama3.2"   any OpenAI-compatible server (Ollama, vLLM)
    make demo ARGS="--model path/to/folder"     any Llama-family folder of Hugging Face, or a GGUF file

planner.digest hands one passage of each document to the summarisers, together; then the critic judges one
summary after the other, as first versions do, and the logging agent says what that costs; the editor writes
the digest. Every hop is a message on NATS.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from antiphon import Agent, Context, Message, System, tool

PASSAGE = 900  # characters of a document that one summary is made from


class Document(Message):
    """A text to digest."""

    title: str
    text: str


class Documents(Message):
    """What the digest is made of."""

    documents: tuple[Document, ...]


class Passage(Message):
    """The part of a document that is worth a summary."""

    title: str
    text: str


class Summary(Message):
    """One document in a sentence or two."""

    title: str
    text: str


class Verdict(Message):
    """What the critic thinks of a summary."""

    faithful: bool
    reason: str = Field(max_length=80)  # a small model would go on until its tokens run out


class Digest(Message):
    """The result: a headline, an introduction and one summary a document."""

    headline: str
    introduction: str
    summaries: tuple[Summary, ...]
    doubted: tuple[str, ...]


class Summaries(Message):
    """What the editor works with."""

    summaries: tuple[Summary, ...]


class Lead(Message):
    """What the editor adds."""

    headline: str
    introduction: str


@tool(effect="pure")
async def best_passage(text: str) -> str:
    """The first paragraphs of prose in a Markdown text: no headings, tables, lists or code."""
    found: list[str] = []
    fenced = False
    for block in text.split("\n\n"):
        fences = block.count("```")
        prose = not fenced and not fences and block.strip() and block.lstrip()[0] not in "#|-*>!<[0123456789"
        fenced ^= fences % 2 == 1
        if prose:
            found.append(" ".join(block.split()))
        if sum(map(len, found)) >= PASSAGE:
            break
    return " ".join(found)[:PASSAGE] or " ".join(text.split())[:PASSAGE]


planner = Agent("planner", tools=[best_passage], description="Plans a digest and puts it together.")
summariser = Agent("summariser", slots=1, description="Says what a passage is about.")
critic = Agent("critic", slots=1, description="Judges whether a summary is faithful.")
editor = Agent("editor", slots=1, description="Writes headline and introduction.")


@summariser.handles
async def summarise(passage: Passage, ctx: Context) -> Summary:
    """Say in a sentence or two what the passage is about."""
    text = await ctx.model.generate(
        str,
        f"Summarise this passage in one short sentence.\n\n{passage.text}",
        system="You write short, plain summaries.",
        max_tokens=40,
        stop=["\n"],
    )
    return Summary(title=passage.title, text=text.strip())


@critic.handles
async def judge(summary: Summary, ctx: Context) -> Verdict:
    """Say whether a summary reads like a faithful one."""
    return await ctx.model.generate(
        Verdict, f"Is this a clear, faithful one-sentence summary?\n\n{summary.title}: {summary.text}", max_tokens=60
    )


@editor.handles
async def edit(summaries: Summaries, ctx: Context) -> Lead:
    """Write a headline and an introduction for the summaries."""
    listing = "\n".join(f"- {summary.text[:160]}" for summary in summaries.summaries)
    headline = await ctx.model.generate(
        str, f"Write a headline of at most eight words for these notes:\n{listing}", max_tokens=20, stop=["\n"]
    )
    introduction = await ctx.model.generate(
        str, f"Write two sentences that introduce these notes:\n{listing}", max_tokens=60, emit=True
    )
    return Lead(headline=headline.strip().strip('"'), introduction=introduction.strip())


@planner.handles
async def digest(request: Documents, ctx: Context) -> Digest:
    """Plan, delegate, judge, edit."""
    await ctx.emit({"step": "plan", "documents": len(request.documents)})

    async def summary_of(document: Document) -> Summary:
        passage = await ctx.tool(best_passage, document.text)
        summary = await ctx.call(summarise, Passage(title=document.title, text=passage))
        await ctx.emit({"step": "summarised", "title": document.title})
        return summary

    summaries = await ctx.gather(*(summary_of(document) for document in request.documents))
    doubted: list[str] = []
    for summary in summaries:
        verdict = await ctx.call(judge, summary)
        await ctx.emit({"step": "judged", "title": summary.title})
        if not verdict.faithful:
            doubted.append(summary.title)
    await ctx.emit({"step": "edit"})
    lead = await ctx.call(edit, Summaries(summaries=tuple(summaries)))
    return Digest(
        headline=lead.headline,
        introduction=lead.introduction,
        summaries=tuple(summaries),
        doubted=tuple(doubted),
    )


system = System("digest", agents=[planner, summariser, critic, editor])


def request_of(texts: Sequence[tuple[str, str]]) -> Documents:
    """The planner's message for (title, text) pairs."""
    return Documents(documents=tuple(Document(title=title, text=text) for title, text in texts))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves the script's own folder out
    from demo import main

    main(digest, request_of)

"""The knowledge agent and its handlers. ``antiphon run antiphon.agents.knowledge.agent:system`` starts one."""

from dataclasses import dataclass
from typing import Final

from antiphon.agents.knowledge import answer as answers
from antiphon.agents.knowledge import ingest as ingests
from antiphon.agents.knowledge.library import Library
from antiphon.agents.knowledge.messages import (
    AddPart,
    Answer,
    Ingest,
    Ingested,
    ListSources,
    PartAdded,
    Passages,
    Query,
    Question,
    Remove,
    Removed,
    SourceInfo,
    Sources,
)
from antiphon.agents.knowledge.open_store import open_store
from antiphon.agents.knowledge.store import Store
from antiphon.runtime.agent import Agent, Handler
from antiphon.runtime.context import Context
from antiphon.runtime.settings import load_settings
from antiphon.runtime.system import System

EMBEDDING_MODEL: Final = "all-minilm-l6-v2"


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """A knowledge agent, and its handlers for whoever calls them."""

    agent: Agent
    ingest: Handler[Ingest, Ingested]
    search: Handler[Query, Passages]
    answer: Handler[Question, Answer]
    sources: Handler[ListSources, Sources]
    remove: Handler[Remove, Removed]


def knowledge_agent(
    name: str = "knowledge",
    *,
    model: str = EMBEDDING_MODEL,
    answer_model: str | None = None,
    store: Store | None = None,
) -> Knowledge:
    """An agent with a library of documents.

    ``model`` makes the vectors, ``answer_model`` (None: the default model) writes the answers. Without a ``store`` the
    library is where settings say: looked for when the agent first needs it, by its tenant, its name and ``model``.
    """
    agent = Agent(name, model=answer_model, description="Finds passages in documents, and answers with their sources.")
    libraries: dict[str, Library] = {}

    def library(ctx: Context) -> Library:
        tenant = ctx.scope.tenant
        if tenant not in libraries:
            found = store or open_store(load_settings(), tenant=tenant, agent=name, model=model)
            libraries[tenant] = Library(found)
        return libraries[tenant]

    @agent.handles
    async def add(request: AddPart, ctx: Context) -> PartAdded:
        """Take in the next part of one document: ``ingest`` asks this of the agent until nothing remains."""
        return await ingests.add_part(library(ctx), model, request, ctx)

    @agent.handles(key=lambda _: name)
    async def ingest(request: Ingest, ctx: Context) -> Ingested:
        """Take in files, folders and documents, one ingest at a time; only what is new is embedded."""
        return await ingests.ingest(library(ctx), add, request, ctx)

    @agent.handles
    async def search(query: Query, ctx: Context) -> Passages:
        """The passages that say most about a text."""
        return Passages(passages=await answers.find(library(ctx), model, query, ctx))

    @agent.handles
    async def answer(question: Question, ctx: Context) -> Answer:
        """Answer a question from the library, with the passages that the answer is from."""
        return await answers.answer(library(ctx), model, question, ctx)

    @agent.handles
    async def sources(_: ListSources, ctx: Context) -> Sources:
        """The documents in the library."""
        found = await library(ctx).store.sources()
        infos = [SourceInfo(source=each.name, passages=each.chunks, added_unix_ms=each.added_unix_ms) for each in found]
        return Sources(sources=tuple(infos))

    @agent.handles
    async def remove(request: Remove, ctx: Context) -> Removed:
        """Forget documents."""
        return await ingests.remove(library(ctx), request, ctx)

    return Knowledge(agent=agent, ingest=ingest, search=search, answer=answer, sources=sources, remove=remove)


system = System("knowledge", agents=[knowledge_agent().agent])

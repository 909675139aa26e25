"""A LangGraph graph as an Antiphon agent: durable without a checkpointer, and every model call a span.

pip install langgraph
antiphon run examples/frameworks/langgraph_agent.py:system
antiphon submit graph.run '{"text": "Why is the sky blue?"}' --wait

LangGraph runs its nodes in asyncio tasks of its own, so what they want of ``ctx`` goes over the desk. When a worker
dies, another one runs the graph again from its start, and the journal answers what was done already.
"""

from typing import Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.patterns.hosted import Desk, hosted
from antiphon.schemas.inference import Role, Turn, turn

ROLES = {"human": Role.USER, "system": Role.SYSTEM, "ai": Role.ASSISTANT}


class Question(Message):
    """What a reader wants to know."""

    text: str


class Text(Message):
    """What the graph wrote, and how often it was revised."""

    text: str
    revisions: int


@tool(effect="read", ttl="10m")
async def search_notes(query: str) -> list[str]:
    """Passages of our notes that match the query."""
    notes = {"sky": "Air scatters blue light more than red.", "sea": "Water absorbs red light first."}
    return [note for word, note in notes.items() if word in query.lower()]


class AntiphonChat(BaseChatModel):
    """The agent's model as LangChain's: for nodes, chains and prebuilt agents that take a chat model."""

    ctx: Any  # a Context; pydantic knows no schema for it
    desk: Any

    @property
    def _llm_type(self) -> str:
        return "antiphon"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError("use ainvoke: handlers are async")

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        turns: list[Turn] = [turn(ROLES[message.type], message.text) for message in messages]
        text = await self.desk.do(lambda: self.ctx.model.generate(str, turns, max_tokens=60))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])


class State(TypedDict):
    """What LangGraph hands from node to node."""

    question: str
    notes: list[str]
    text: str
    revisions: int


class Hosted(TypedDict):
    """What the nodes of one run share."""

    chat: AntiphonChat
    desk: Desk
    ctx: Context


async def research(state: State, runtime: Runtime[Hosted]) -> dict[str, Any]:
    """An effect goes through ``ctx``, so that it is journaled too."""
    ctx, desk = runtime.context["ctx"], runtime.context["desk"]
    return {"notes": await desk.do(lambda: ctx.tool(search_notes, state["question"]))}


async def write(state: State, runtime: Runtime[Hosted]) -> dict[str, Any]:
    """The first version, or the next one."""
    prompt = f"Notes: {' '.join(state['notes'])}\n\n{state['question']}"
    if state["text"]:
        prompt = f"Write this again, shorter:\n\n{state['text']}"
    said = await runtime.context["chat"].ainvoke([SystemMessage("You write short answers."), HumanMessage(prompt)])
    return {"text": said.text, "revisions": state["revisions"] + (1 if state["text"] else 0)}


async def judge(state: State, runtime: Runtime[Hosted]) -> str:
    """Where to go after a version: a second model call decides, at most twice."""
    if state["revisions"] == 2:
        return END
    said = await runtime.context["chat"].ainvoke([HumanMessage(f"Is this short? Say yes or no.\n\n{state['text']}")])
    return END if "yes" in said.text.lower() else "write"


graph = (
    StateGraph(State, context_schema=Hosted)
    .add_node("research", research)
    .add_node("write", write)
    .add_edge(START, "research")
    .add_edge("research", "write")
    .add_conditional_edges("write", judge, ["write", END])
    .compile()
)
agent = Agent("graph", tools=[search_notes])


@agent.handles
async def run(question: Question, ctx: Context) -> Text:
    """Run the graph."""
    start = State(question=question.text, notes=[], text="", revisions=0)

    async def work(desk: Desk) -> Any:
        shared = Hosted(chat=AntiphonChat(ctx=ctx, desk=desk), desk=desk, ctx=ctx)
        # One node at a time: nodes that ran side by side might ask in another order in another attempt.
        return await graph.ainvoke(start, {"max_concurrency": 1}, context=shared)

    final = await hosted(work)
    return Text(text=final["text"], revisions=final["revisions"])


system = System("graphs", agents=[agent])

"""An agent whose tools are those of an MCP server, and that is itself a tool for MCP clients.

antiphon run examples/mcp_tools.py:system
antiphon submit librarian.answer '{"text": "Why is the sky blue?"}' --wait
antiphon mcp serve librarian
"""

import sys
from pathlib import Path

from antiphon import Agent, Context, McpServer, Message, System

SERVER = Path(__file__).with_name("mcp_notes_server.py")

notes = McpServer.stdio("notes", [sys.executable, str(SERVER)])
librarian = Agent(
    "librarian",
    tools=[*notes.tools("search_notes", effect="read", timeout="10s"), notes.tool("add_note", approve="role:ops")],
)


class Question(Message):
    """What a reader wants to know."""

    text: str


class Answer(Message):
    """What the notes say of it."""

    text: str


@librarian.handles
async def answer(question: Question, ctx: Context) -> Answer:
    """Answer a question from the notes."""
    return await ctx.model.run(Answer, question.text, system="Answer from the notes. Add what is missing.")


system = System("library", agents=[librarian])

"""Handlers of running agents as the tools of one MCP server."""

import json
from collections.abc import Sequence
from typing import Any, Final

from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

from antiphon.runtime.agent import Handler
from antiphon.runtime.client import Client, Done
from antiphon.runtime.described import Described, message_of
from antiphon.runtime.errors import AntiphonError, ConfigurationError, HandlerFailed
from antiphon.runtime.gateways.http.callers import caller_of
from antiphon.runtime.version import VERSION
from antiphon.schemas.identity import Address, InvalidName, check_name
from antiphon.schemas.message import Message
from antiphon.schemas.node import HandlerCard
from antiphon.schemas.task import Progress, Token

ASK_S: Final = 600.0  # MCP clients have timeouts of their own, and cancel
TASK_META: Final = "antiphon/task"


class HandlerTools:
    """``chosen`` handlers: ``agent.handler``, or ``agent`` for all that it has; as the directory knows them now.

    A call is an ask; it is a durable task if ``durable``, or if the handler is keyed. Then what it emits becomes
    progress, and it goes on when its caller does not wait any more.
    """

    def __init__(self, client: Client, chosen: Sequence[str], *, durable: bool = False) -> None:
        self._client = client
        self._chosen = [_choice(each) for each in chosen]
        self._durable = durable
        self._described = Described(client.host.directory, client.host.clock)
        self.server: Server[Any] = Server(
            "antiphon", version=VERSION, on_list_tools=self._list, on_call_tool=self._call
        )

    async def check(self) -> None:
        """That there is something to serve.

        Raises:
            UnknownAgent, UnknownHandler: what was chosen has never been served.
            ConfigurationError: two handlers whose tools would have the same name.
            BusError: the directory cannot be read.
        """
        cards = await self._described.agents()
        for agent, handler in self._chosen:
            mine = [card for card in cards if card.name == agent]
            if not any(each.name == (handler or each.name) for card in mine for each in card.handlers):
                raise await self._client.host.directory.nobody(Address(agent, handler or "any"), durable=True)
        found: dict[str, Address] = {}
        for address in await self._addresses():
            other = found.setdefault(tool_name(address), address)
            if other != address:
                raise ConfigurationError(f"{address} and {other} would both be the tool {tool_name(address)!r}")

    async def serve_stdio(self) -> None:
        """Speak on this process's standard streams until the input ends."""
        async with stdio_server() as (read, write):
            await self.server.run(read, write, self.server.create_initialization_options())

    async def _addresses(self) -> dict[Address, HandlerCard]:
        cards = await self._described.agents()
        return {
            Address(card.name, each.name): each
            for agent, handler in self._chosen
            for card in cards
            if card.name == agent
            for each in card.handlers
            if each.name == (handler or each.name)
        }

    async def _list(self, ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(*each) for each in (await self._addresses()).items()])

    async def _call(self, ctx: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        meta: dict[str, Any] = {}
        try:
            address = await self._address(params.name)
            card, handler = await self._described.find(address)
            message = message_of(card, handler, params.arguments or {})
            if self._durable or card.keyed:
                value = await self._done(ctx, handler, message, meta)
            else:
                value = await self._client.ask(handler, message, timeout_s=ASK_S, labels=_labels(ctx))
        except AntiphonError as error:
            kind = "" if isinstance(error, HandlerFailed) else f"{type(error).__name__}: "  # which says its own
            text = TextContent(text=f"{kind}{error.message}")
            return CallToolResult(content=[text], is_error=True, _meta=meta or None)
        body = value.model_dump(mode="json")
        text = TextContent(text=json.dumps(body, ensure_ascii=False))
        return CallToolResult(content=[text], structured_content=body, _meta=meta or None)

    async def _done(
        self,
        ctx: ServerRequestContext[Any],
        handler: Handler[Message, Message],
        message: Message,
        meta: dict[str, Any],
    ) -> Message:
        """The result of a durable task; ``meta`` gets its id as soon as there is one."""
        shown = 0
        events = self._client.stream(handler, message, labels=_labels(ctx))
        meta[TASK_META] = events.task
        async for event in events:
            match event:
                case Done(value=value):
                    return value
                case Token(text=text):
                    shown += 1
                    await ctx.session.report_progress(shown, message=text)
                case Progress(value=value):
                    shown += 1
                    await ctx.session.report_progress(shown, message=json.dumps(value, ensure_ascii=False))
                case _:
                    pass  # progress has no way to take something back
        raise AssertionError("a stream of events ends with Done or an error")

    async def _address(self, name: str) -> Address:
        addresses = await self._addresses()
        for address in addresses:
            if tool_name(address) == name:
                return address
        known = ", ".join(sorted(map(tool_name, addresses))) or "none"
        raise ConfigurationError(f"there is no tool {name!r}; there are: {known}")


def tool_name(address: Address) -> str:
    """What the handler is called as a tool. Models take letters, digits, underscores and dashes, but no dot."""
    return f"{address.agent}__{address.handler}"


def _labels(ctx: ServerRequestContext[Any]) -> dict[str, str]:
    """What the run carries with it: who asked, by the name of their token, or that it was a local process."""
    return {"caller": "mcp" if ctx.request is None else caller_of(ctx.request)}


def _choice(text: str) -> tuple[str, str]:
    """Agent and handler, which is empty for all of them."""
    agent, dot, handler = text.partition(".")
    try:
        return check_name("agent", agent), check_name("handler", handler) if dot else ""
    except InvalidName as error:
        raise ConfigurationError(f"{text!r}: {error}; expected AGENT or AGENT.HANDLER") from None


def _tool(address: Address, card: HandlerCard) -> Tool:
    return Tool(
        name=tool_name(address),
        description=card.description or f"{address} of Antiphon",
        input_schema=card.input.json_schema,
        output_schema=card.output.json_schema,
    )

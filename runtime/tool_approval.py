"""Tools that a person is asked about before they run."""

from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from antiphon.runtime.errors import NotDurable, ToolRejected
from antiphon.runtime.tool import Tool
from antiphon.schemas.approval import ToolProposal

if TYPE_CHECKING:
    from antiphon.runtime.context import Context

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


async def approved_tool(ctx: "Context", tool: Tool[..., Any], arguments: dict[str, Any]) -> Any:
    """Ask whoever ``tool.approve`` names, then run the tool with the arguments as they left them.

    Raises:
        NotDurable: in an ask, which cannot wait for a person.
        ToolRejected: they said no.
        InvalidArguments: they left arguments that do not fit.
    """
    if ctx.task_run is None:
        raise NotDurable(
            f"tool {tool.name!r} asks a person first, and this is an ask: only durable work can wait for a person; "
            "use submit or ctx.call"
        )
    shown = _ANY.dump_python(arguments, mode="json")
    proposal = ToolProposal(tool=tool.name, description=tool.description, arguments=shown)
    decision = await ctx.approve(proposal, to=tool.approve if isinstance(tool.approve, str) else "")
    if not decision.approved:
        comment = f": {decision.comment}" if decision.comment else ""
        raise ToolRejected(
            f"{decision.by or 'a person'} did not approve of tool {tool.name!r}{comment}",
            tool=tool.name,
            by=decision.by,
            comment=decision.comment,
        )
    if decision.value.arguments != shown:
        arguments = tool.arguments((), tool.validated(decision.value.arguments))
    return (await ctx.perform(ctx.tool_operation(tool, arguments))).value

"""What MCP servers said of their tools, kept on the bus: no node needs a server to know its tools."""

from typing import Any

from pydantic import ValidationError

from antiphon.runtime.bus.base import Bucket, Bus
from antiphon.schemas.identity import derived_id
from antiphon.schemas.message import Value

BUCKET = "antiphon_mcp_tools"


class ToolCard(Value):
    """One tool as its server describes it. ``parameters`` is the JSON schema of its arguments."""

    description: str
    parameters: dict[str, Any]


class Catalogue:
    """The cards of one server, whose ``identity`` is how it is reached: another command or URL is another server."""

    def __init__(self, bucket: Bucket, tenant: str, identity: str) -> None:
        self._bucket = bucket
        self._prefix = f"{tenant}.{derived_id('mcp', identity)}"

    @classmethod
    async def open(cls, bus: Bus, tenant: str, identity: str) -> "Catalogue":
        """Raises BusError."""
        return cls(await bus.buckets.open(BUCKET), tenant, identity)

    async def read(self, tool: str) -> ToolCard | None:
        """The card, or None if there is none that can be read. Raises BusError."""
        entry = await self._bucket.get(self._key(tool))
        if entry is None or entry.value is None:
            return None
        try:
            return ToolCard.model_validate_json(entry.value)
        except ValidationError:  # of another version of this program
            return None

    async def write(self, tool: str, card: ToolCard) -> None:
        """Replace the card. Raises BusError."""
        await self._bucket.put(self._key(tool), card.model_dump_json().encode())

    def _key(self, tool: str) -> str:
        return f"{self._prefix}.{derived_id('tool', tool)}"

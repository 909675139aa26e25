"""Antiphon: a runtime for systems of agents.

Define agents with ``Agent``, ``Message`` and ``tool``; put them into a ``System``; reach them from any process
with ``connect``. Everything else is imported from its module when it is needed.
"""

from typing import TYPE_CHECKING, Any

from antiphon.runtime.agent import Agent, Handler, remote
from antiphon.runtime.context import Context
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.system import System
from antiphon.runtime.tool import Tool, tool
from antiphon.runtime.version import VERSION as __version__
from antiphon.schemas.message import Message
from antiphon.schemas.task import Progress, Restarted, Token

if TYPE_CHECKING:
    from antiphon.runtime.client import Client, Done, TaskHandle, connect

__all__ = [
    "Agent",
    "AntiphonError",
    "Client",
    "Context",
    "Done",
    "Handler",
    "Message",
    "Progress",
    "Restarted",
    "System",
    "TaskHandle",
    "Token",
    "Tool",
    "__version__",
    "connect",
    "remote",
    "tool",
]


def __getattr__(name: str) -> Any:
    """``connect`` and its types come when asked for: a module of agents does not pay for the client."""
    if name in ("Client", "Done", "TaskHandle", "connect"):
        from antiphon.runtime import client

        return getattr(client, name)
    raise AttributeError(f"module 'antiphon' has no attribute {name!r}")

"""Antiphon: a runtime for systems of agents.

Define agents with ``Agent``, ``Message`` and ``tool``; put them into a ``System``; reach them from any process
with ``connect``. Names are imported when they are first used (PEP 562), so that a command, or a module of agents,
pays for what it takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.runtime.agent import Agent, Handler, remote
    from antiphon.runtime.client import Client, Done, TaskHandle, connect
    from antiphon.runtime.context import Context
    from antiphon.runtime.decision import Decision
    from antiphon.runtime.errors import AntiphonError
    from antiphon.runtime.gateways.mcp.remote import McpServer
    from antiphon.runtime.policies.chain import Happened
    from antiphon.runtime.sessions.window import Window
    from antiphon.runtime.system import System
    from antiphon.runtime.tool import Tool, tool
    from antiphon.runtime.version import VERSION as __version__
    from antiphon.schemas.message import Message
    from antiphon.schemas.task import Gap, Progress, Restarted, Token

_HOMES = {
    "antiphon.runtime.agent": ("Agent", "Handler", "remote"),
    "antiphon.runtime.client": ("Client", "Done", "TaskHandle", "connect"),
    "antiphon.runtime.context": ("Context",),
    "antiphon.runtime.decision": ("Decision",),
    "antiphon.runtime.errors": ("AntiphonError",),
    "antiphon.runtime.gateways.mcp.remote": ("McpServer",),
    "antiphon.runtime.policies.chain": ("Happened",),
    "antiphon.runtime.sessions.window": ("Window",),
    "antiphon.runtime.system": ("System",),
    "antiphon.runtime.tool": ("Tool", "tool"),
    "antiphon.schemas.message": ("Message",),
    "antiphon.schemas.task": ("Gap", "Progress", "Restarted", "Token"),
}

__all__ = [
    "Agent",
    "AntiphonError",
    "Client",
    "Context",
    "Decision",
    "Done",
    "Gap",
    "Handler",
    "Happened",
    "McpServer",
    "Message",
    "Progress",
    "Restarted",
    "System",
    "TaskHandle",
    "Token",
    "Tool",
    "Window",
    "__version__",
    "connect",
    "remote",
    "tool",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home, once."""
    if name == "__version__":
        found = import_module("antiphon.runtime.version").VERSION
    else:
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
        found = getattr(import_module(home), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return __all__

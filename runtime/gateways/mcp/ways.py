"""How an MCP server is reached: as a child process through its standard streams, or by HTTP."""

import json
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.urls import without_secrets

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams


class Way(Protocol):
    """How to reach one server."""

    @property
    def identity(self) -> str:
        """What makes it this server and no other; without secrets."""
        ...

    def open(self) -> "AbstractAsyncContextManager[TransportStreams]":
        """A connection, closed on leaving."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stdio:
    """A child process that speaks on its standard streams and ends with its input.

    Of the node's environment it sees PATH, HOME and a few like them, besides ``env``. What it writes to standard error
    appears among the node's lines.
    """

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: Path | None = None

    def __post_init__(self) -> None:
        if not self.command or not self.command[0]:
            raise ConfigurationError("the command of an MCP server is empty, expected the program and its arguments")

    @property
    def identity(self) -> str:
        """Program, arguments and folder."""
        return json.dumps(["stdio", *self.command, str(self.cwd or "")])

    def open(self) -> "AbstractAsyncContextManager[TransportStreams]":
        """Start the process. Raises OSError (on entering) if there is no such program."""
        import sys

        from mcp.client.stdio import StdioServerParameters, stdio_client

        program, *arguments = self.command
        parameters = StdioServerParameters(command=program, args=arguments, env=dict(self.env), cwd=self.cwd)
        return stdio_client(parameters, errlog=sys.stderr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """A streamable HTTP endpoint. ``headers`` go with every request: a place for its token."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def __post_init__(self) -> None:
        if re.match(r"https?://[^\s/]", self.url) is None:
            raise ConfigurationError(f"the URL of an MCP server is {self.url!r}, expected http://… or https://…")

    @property
    def identity(self) -> str:
        """The URL without credentials."""
        return json.dumps(["http", without_secrets(self.url)])

    def open(self) -> "AbstractAsyncContextManager[TransportStreams]":
        """Connect."""
        from antiphon.runtime.gateways.mcp.http_client import http_streams

        return http_streams(self.url, self.headers)

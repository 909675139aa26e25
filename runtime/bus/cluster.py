"""A local cluster in the hands of a test or a benchmark: which server leads a stream, killing one, bringing it back."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from antiphon.runtime.bus.api import Api, ApiError
from antiphon.runtime.bus.connection import Connection
from antiphon.runtime.bus.core import Core
from antiphon.runtime.bus.durability import COPIES
from antiphon.runtime.bus.members import Members
from antiphon.runtime.bus.server import ServerAddress, embedded_server, layout_of, nats_folder, starting
from antiphon.runtime.errors import BusUnavailable, ConfigurationError

_LEADER_S = 20.0
_POLL_S = 0.05


class LocalCluster:
    """The embedded servers of a home. An ``index`` counts from 0, in the order of ``addresses``."""

    def __init__(self, home: Path, address: ServerAddress) -> None:
        self.address = address
        self.addresses = [ServerAddress(url, address.token) for url in address.url.split(",")]
        self._folder = nats_folder(home)
        self._members = Members(self._folder, address.token, address.servers)

    @property
    def pids(self) -> list[int | None]:
        """The servers' process ids; None for one that does not run."""
        return [process.pid for process in self._members.processes]

    async def leader_of(self, stream: str) -> int:
        """Who leads ``stream`` now; waits for an election that is under way.

        Raises:
            BusUnavailable: no leader in time, or no such stream.
        """
        names = [process.name for process in self._members.processes]
        why = "no answer"
        async with contextlib.AsyncExitStack() as stack:
            connection = await Connection.open(self.address.url, self.address.token, "cluster")
            stack.push_async_callback(connection.close)
            core = Core(connection)
            await core.start()
            stack.callback(core.requests.close)
            deadline = asyncio.get_running_loop().time() + _LEADER_S
            while asyncio.get_running_loop().time() < deadline:
                try:
                    info = await Api(core).call(f"STREAM.INFO.{stream}", {})
                    leader = info.get("cluster", {}).get("leader")
                    # The last leader is named until its followers notice its death.
                    if leader in names and self._members.processes[names.index(leader)].pid is not None:
                        return names.index(leader)
                    why = "nobody leads it"
                except (ApiError, BusUnavailable) as error:
                    why = error.message
                await asyncio.sleep(_POLL_S)
        raise BusUnavailable(f"stream {stream} has no leader after {_LEADER_S:g} s: {why}", stream=stream)

    async def kill(self, index: int) -> None:
        """SIGKILL one server, and wait until it is gone."""
        await asyncio.to_thread(self._members.processes[index].kill)

    async def restart(self, index: int) -> None:
        """Start one that was killed, at the same address and with the same store. Nothing happens if it runs.

        Raises:
            BusUnavailable: it does not start.
        """
        await asyncio.to_thread(self._restart, index)

    def _restart(self, index: int) -> None:
        with starting(self._folder):
            self._members.restart(index, sync_always=layout_of(self._folder).sync_always)


@contextlib.asynccontextmanager
async def local_cluster(
    home: Path, servers: int = 3, *, sync_always: bool = False
) -> AsyncGenerator[LocalCluster, None]:
    """The cluster of ``home`` for the length of a ``with``: joined if it runs, else started.

    It ends with its last user, SIGKILL included. Other commands of the home join it, and start again what they find
    dead. Errors are those of ``server.acquire``, and a ConfigurationError for fewer than three ``servers``.
    """
    if servers < COPIES:
        raise ConfigurationError(f"a cluster of {servers}, expected 3 or 5 servers; embedded_server gives a single one")
    async with embedded_server(home, servers=servers, sync_always=sync_always) as address:
        yield LocalCluster(home, address)

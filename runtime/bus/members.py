"""The servers of a local cluster: how they find free ports, start, and are brought back when some have died.

In ``home/nats/cluster``: a folder for each server (``1``, ``2``, …; see ``process``) and ``ports.json``. A single
server's store is elsewhere (``home/nats/store``): a server that joins a cluster would delete streams of its own.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from antiphon.runtime.bus.files import read, write_private
from antiphon.runtime.bus.probe import as_object, free_ports, has_leader, is_free
from antiphon.runtime.bus.process import ServerProcess
from antiphon.runtime.bus.server_config import Routes, server_config, server_name
from antiphon.runtime.errors import BusUnavailable

_LEADER_S = 20.0  # an election takes 1 to 9 s: nats-server draws its timeouts there
_POLL_S = 0.02


class Members:
    """``count`` servers that form one cluster. Only for the holder of the home's ``start.lock``."""

    def __init__(self, folder: Path, token: str, count: int) -> None:
        self._folder = folder / "cluster"
        self._token = token
        self.processes = [
            ServerProcess(self._folder / str(index), users=folder / "users.lock", name=server_name(token, index))
            for index in range(1, count + 1)
        ]

    def start(self, *, sync_always: bool) -> list[int]:
        """Start those that do not run, and wait until they have a leader. The ports for clients, in order.

        Raises:
            BusUnavailable: one does not start, or there is no leader in time.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        clients, routes = self._ports()

        def bring(index: int) -> None:
            if self.processes[index].join(clients[index]) is None:
                self._launch(index, clients, routes, sync_always)

        # At once: each stands for election 0.1 to 0.8 s after its start, and a vote that is split because the others
        # are not there yet costs 4 to 9 s more.
        with ThreadPoolExecutor(len(self.processes)) as pool:
            list(pool.map(bring, range(len(self.processes))))
        self._elect(clients)
        return clients

    def restart(self, index: int, *, sync_always: bool) -> None:
        """Start the one at ``index`` if it does not run, without waiting for an election. Raises BusUnavailable."""
        clients, routes = self._ports()
        if self.processes[index].join(clients[index]) is None:
            self._launch(index, clients, routes, sync_always)

    def _launch(self, index: int, clients: list[int], routes: list[int], sync_always: bool) -> None:
        process = self.processes[index]
        config = server_config(
            process.folder,
            name=process.name,
            token=self._token,
            port=clients[index],
            sync_always=sync_always,
            routes=Routes(own=routes[index], ports=routes),
        )
        if process.launch(config) is None:
            raise BusUnavailable(f"server {index + 1} of the cluster did not start: {process.complaint()}")

    def _elect(self, clients: list[int]) -> None:
        deadline = time.monotonic() + _LEADER_S
        for port in clients:
            while not has_leader(port, self._token):
                if time.monotonic() > deadline:
                    raise BusUnavailable(
                        f"the {len(clients)} servers in {self._folder} have no leader after {_LEADER_S:g} s: "
                        f"{self.processes[0].complaint()}"
                    )
                time.sleep(_POLL_S)

    def _ports(self) -> tuple[list[int], list[int]]:
        """For clients and for routes: those of last time, so that who is connected finds the servers again."""
        file = self._folder / "ports.json"
        noted = as_object(read(file))
        clients, routes = _numbers(noted.get("clients")), _numbers(noted.get("routes"))
        count = len(self.processes)
        usable = len(clients) == len(routes) == count
        if not usable or not (any(p.lives for p in self.processes) or all(map(is_free, clients + routes))):
            ports = free_ports(2 * count)
            clients, routes = ports[:count], ports[count:]
            write_private(file, json.dumps({"clients": clients, "routes": routes}))
        return clients, routes


def _numbers(found: object) -> list[int]:
    return [port for port in found if isinstance(port, int)] if isinstance(found, list) else []

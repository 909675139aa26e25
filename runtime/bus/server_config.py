"""Configuration files of the embedded servers, as pure functions. Loopback only, a token for clients and for routes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Where the servers of a cluster meet: this one's own port, and everybody's."""

    own: int
    ports: Sequence[int]


def server_name(token: str, index: int = 0) -> str:
    """Tells our server from another program that got its port; the token itself stays secret.

    ``index`` is 0 for a server on its own, and the place in the cluster, from 1, for the others.
    """
    name = f"antiphon-{hashlib.sha256(token.encode()).hexdigest()[:12]}"
    return f"{name}-{index}" if index else name


def server_config(
    folder: Path, *, name: str, token: str, port: int | None, sync_always: bool, routes: Routes | None = None
) -> str:
    """The file for one server. ``port`` None takes any free one.

    16 GiB of store, so that the streams' reservations do not depend on the disk's free space. ``sync_always`` has each
    append flushed to the disk before it is confirmed; the server's default is a flush every two minutes.
    """
    sync = ", sync_interval: always" if sync_always else ""
    store = json.dumps(str(folder / "store"))
    return f"""listen: "{HOST}:{port or -1}"
server_name: {name}
authorization {{ token: "{token}" }}
jetstream {{ store_dir: {store}, max_memory_store: 67108864, max_file_store: 17179869184{sync} }}
log_file: {json.dumps(str(folder / "server.log"))}
logfile_size_limit: 8388608
logfile_max_num: 2
{_cluster(token, routes) if routes else ""}"""


def _cluster(token: str, routes: Routes) -> str:
    urls = ", ".join(f'"nats://route:{token}@{HOST}:{port}"' for port in routes.ports)
    return f"""cluster {{
  name: {server_name(token)}
  listen: "{HOST}:{routes.own}"
  authorization {{ user: route, password: "{token}" }}
  routes: [{urls}]
  no_advertise: true
  pool_size: -1
}}
"""

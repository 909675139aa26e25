"""Questions to a server that may not be up yet, in a few lines of its protocol: blocking, and without nats-py."""

import json
import re
import socket
from typing import BinaryIO

from antiphon.runtime.bus.server_config import HOST

_KNOCK_S = 0.5
_LINE = 65_536


def answers(port: int, name: str) -> bool:
    """Whether the server of that name listens there."""
    try:
        with socket.create_connection((HOST, port), _KNOCK_S) as connection:
            connection.settimeout(_KNOCK_S)
            return _greeting(connection.makefile("rb")).get("server_name") == name
    except OSError:
        return False


def has_leader(port: int, token: str) -> bool:
    """Whether JetStream answers the server there. In a cluster only the elected leader does, over the routes."""
    request = "CONNECT " + json.dumps({"auth_token": token, "verbose": False}) + "\r\n"
    request += "SUB probe 1\r\nPUB $JS.API.INFO probe 0\r\n\r\n"
    try:
        with socket.create_connection((HOST, port), _KNOCK_S) as connection:
            connection.settimeout(_KNOCK_S)
            lines = connection.makefile("rb")
            _greeting(lines)
            connection.sendall(request.encode())
            while line := lines.readline(_LINE):
                if line.startswith(b"MSG "):
                    return "error" not in as_object(lines.readline(_LINE).decode("utf-8", "replace"))
                if line.startswith(b"-ERR"):
                    return False
    except OSError:
        return False
    return False


def is_free(port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports nobody uses at this moment; another program may be quicker."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def as_object(text: str) -> dict[str, object]:
    """The JSON object, or an empty one when the text is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _greeting(lines: BinaryIO) -> dict[str, object]:
    found = re.match(rb"INFO (\{.*\})", lines.readline(_LINE))
    return as_object(found[1].decode("utf-8", "replace")) if found else {}

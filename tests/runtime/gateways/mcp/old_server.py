"""An MCP server of 2025 in plain Python: it starts in 50 ms, and misbehaves on the wire as no library would.

``old_server.py FOLDER``. Every call that arrives is a line in ``FOLDER/calls``. While ``FOLDER/down`` exists it does
not start. ``FOLDER/grown`` gives its tools another argument.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def note(line: str) -> None:
    with (FOLDER / "calls").open("a") as calls:
        calls.write(line + "\n")


def tools() -> list[dict[str, Any]]:
    words = {"text": {"type": "string"}}
    if (FOLDER / "grown").exists():
        words["times"] = {"type": "integer"}
    schema = {"type": "object", "properties": words, "required": ["text"]}
    return [
        {"name": name, "description": f"The tool {name}.", "inputSchema": schema}
        for name in ("echo", "die", "hang", "grow", "lie", "large")
    ]


def call(id: int, name: str, arguments: dict[str, Any]) -> None:
    note(name)
    if name == "die":
        os._exit(3)
    if name == "hang":
        return
    if name == "grow":
        (FOLDER / "grown").touch()
        send({"method": "notifications/tools/list_changed"})
    text = "x" * 1_000_000 if name == "large" else str(arguments.get("text"))
    send({"id": id, "result": {"content": "no list" if name == "lie" else [{"type": "text", "text": text}]}})


def answer(message: dict[str, Any]) -> None:
    method, id = message["method"], message.get("id")
    if method == "initialize":
        capabilities = {"tools": {"listChanged": True}}
        info = {"name": "old", "version": "1"}
        send({"id": id, "result": {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info}})
    elif method == "tools/list":
        note("list")
        send({"id": id, "result": {"tools": tools()}})
    elif method == "tools/call":
        assert isinstance(id, int)
        params = message["params"]
        if "traceparent" in params.get("_meta", {}):
            note(f"trace {params['_meta']['traceparent']}")
        call(id, params["name"], params.get("arguments") or {})
    elif method == "notifications/cancelled":
        note("cancelled")
    elif id is not None:
        send({"id": id, "error": {"code": -32601, "message": f"no method {method}"}})


if (FOLDER / "down").exists():
    sys.exit("the server is down")
note(f"pid {os.getpid()}")
for line in sys.stdin:
    answer(json.loads(line))

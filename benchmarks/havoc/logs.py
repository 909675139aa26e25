"""What the nodes complained about, and what of it the kills explain."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

from havoc.fleet import Kill

AFTER_MS = 12_000  # a lease lapses after 5 s, and the one who takes over may be killed as well
BEFORE_MS = 50  # the note of a kill is made by another process than the line
# What a node has to say while a server is away or a lease moves.
ORDINARY = frozenset(
    (
        "alarms_not_watched",
        "bus_disconnected",
        "bus_error",
        "fetch_failed",
        "housekeeping_delayed",
        "journal_append_repeated",
        "journal_lost",
        "lease_not_extended",
        "lease_not_renewed",
        "node_not_started",
        "socket.send() raised exception.",  # asyncio's, for each of several sends between two reads of a dead socket
        "task_not_woken",
        "telemetry_publish_failed",
        "unserved_versions_not_seen",
        "work_not_settled",
    )
)


def complaints(folder: Path, kills: Sequence[Kill]) -> tuple[Counter[str], list[str]]:
    """How often each event was logged as a warning or worse, and the lines that no kill explains."""
    counts: Counter[str] = Counter()
    strange: list[str] = []
    times = [kill.unix_ms for kill in kills]
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(errors="replace").splitlines():
            event = _parsed(line)
            if event is None:
                counts["(not a log line)"] += 1
                strange.append(f"{path.name}: {line[:500]}")
            elif event["level"] in ("warning", "error", "critical"):
                counts[event["event"]] += 1
                if not _explained(event, times):
                    strange.append(f"{path.name}: {line[:3000]}")
    return counts, strange


def _parsed(line: str) -> dict[str, str] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"event", "level", "timestamp"} <= found.keys() else None


def _explained(event: dict[str, str], kills_ms: Collection[int]) -> bool:
    at_ms = datetime.fromisoformat(event["timestamp"]).timestamp() * 1000
    return event["event"] in ORDINARY and any(-BEFORE_MS <= at_ms - kill <= AFTER_MS for kill in kills_ms)

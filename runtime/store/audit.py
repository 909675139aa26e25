"""What people changed through the console: each action before it is tried, and how it ended."""

import sqlite3
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from antiphon.runtime.store.rows import mapping, to_json

KEPT: Final = 50_000
_ARGUMENTS: Final = 4_000  # characters; what is longer is kept as its beginning


class Outcome(StrEnum):
    """How an action ended."""

    BEGUN = "begun"  # nobody knows: the process ended before it did
    OK = "ok"
    FAILED = "failed"  # refused, or it could not be done; the message says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One action. ``id`` grows with time."""

    id: int
    unix_ms: int
    action: str
    by: str
    arguments: dict[str, Any]
    outcome: Outcome
    message: str


def begin(connection: sqlite3.Connection, *, unix_ms: int, action: str, by: str, arguments: dict[str, Any]) -> int:
    """Note what is about to be done; the newest 50,000 are kept."""
    text = to_json(arguments)
    if len(text) > _ARGUMENTS:
        text = to_json({"cut": text[:_ARGUMENTS]})
    found = connection.execute(
        "INSERT INTO audit (unix_ms, action, by, arguments, outcome, message) VALUES (?, ?, ?, ?, ?, '')",
        (unix_ms, action, by, text, Outcome.BEGUN.value),
    ).lastrowid
    assert found is not None
    connection.execute("DELETE FROM audit WHERE id <= ?", (found - KEPT,))
    return found


def end(connection: sqlite3.Connection, act: int, outcome: Outcome, message: str) -> None:
    """Note how it ended."""
    connection.execute(
        "UPDATE audit SET outcome = ?, message = ? WHERE id = ?", (outcome.value, message[:_ARGUMENTS], act)
    )


def acts(connection: sqlite3.Connection, *, before: int | None, limit: int) -> tuple[list[Act], bool]:
    """The newest first, those before an id; and whether there are more."""
    rows = connection.execute(
        "SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?",
        (2**63 - 1 if before is None else before, limit + 1),
    ).fetchall()
    found = [
        Act(
            id=row["id"],
            unix_ms=row["unix_ms"],
            action=row["action"],
            by=row["by"],
            arguments=mapping(row["arguments"]),
            outcome=Outcome(row["outcome"]),
            message=row["message"],
        )
        for row in rows[:limit]
    ]
    return found, len(rows) > limit

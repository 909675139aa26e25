"""Scores of tasks in the store: the newest of each name."""

import sqlite3
from collections.abc import Iterable

from antiphon.schemas.score import Score

MOST = 1_000  # scores of one run that a reader is given


def put_scores(connection: sqlite3.Connection, scores: Iterable[tuple[str, Score]]) -> None:
    """Store scores, each with its tenant; an older one of the same task and name is replaced."""
    connection.executemany(
        """INSERT INTO scores VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
           unix_ms = excluded.unix_ms, body = excluded.body WHERE excluded.unix_ms >= unix_ms""",
        [(tenant, score.task, score.name, score.unix_ms, score.model_dump_json()) for tenant, score in scores],
    )


def scores_of(connection: sqlite3.Connection, run: str) -> tuple[Score, ...]:
    """Those of the run's first task, which has its id, and of tasks whose journals are kept; by time."""
    rows = connection.execute(
        """SELECT body FROM scores WHERE task = ? OR task IN (SELECT task FROM journals WHERE run = ?)
           ORDER BY unix_ms LIMIT ?""",
        (run, run, MOST),
    )
    return tuple(Score.model_validate_json(row["body"]) for row in rows)

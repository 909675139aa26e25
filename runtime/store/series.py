"""Work over time: counts, durations and tokens in steps of equal length, from the roll-ups."""

import sqlite3
from dataclasses import dataclass, field

from antiphon.runtime.store.facts import MODEL_OPERATIONS, PROCESS
from antiphon.runtime.store.sketch import Sketch


@dataclass(slots=True)
class Point:
    """One step. Count, errors and durations (ns) are of handlers, or of the model that was asked for."""

    count: int = 0
    errors: int = 0
    took: Sketch = field(default_factory=Sketch)
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """``points`` steps of ``step_s`` from unix second ``since_s`` on; of one agent or model, or (empty) of all."""

    since_s: int
    step_s: int
    points: int
    agent: str = ""
    model: str = ""
    obs: bool = False


def series(connection: sqlite3.Connection, over: Over) -> list[Point]:
    """One point for each step, empty ones included."""
    found = [Point() for _ in range(over.points)]
    rows = connection.execute(
        """SELECT * FROM rollup_1s WHERE second >= ? AND second < ? AND obs <= ?
           AND (? = '' OR agent = ?) AND (? = '' OR model = ?)""",
        (
            over.since_s,
            over.since_s + over.points * over.step_s,
            int(over.obs),
            over.agent,
            over.agent,
            over.model,
            over.model,
        ),
    )
    for row in rows:
        point = found[(row["second"] - over.since_s) // over.step_s]
        if row["operation"] in MODEL_OPERATIONS:
            point.input_tokens += row["input_tokens"]
            point.output_tokens += row["output_tokens"]
        if row["operation"] == PROCESS or (over.model and row["model"] == over.model):
            point.count += row["count"]
            point.errors += row["errors"]
            point.took.merge(Sketch.from_bytes(row["sketch"]))
    return found

"""What a person's clicks ask of the server, and beside it SQLite alone and a server that keeps spans as JSON."""

import json
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from console_cases.record import LONG, MODELS, WORKERS
from console_cases.server import Console

_SPANS = """SELECT {} FROM spans WHERE trace_id IN (SELECT trace_id FROM run_traces WHERE run = ?1)
    ORDER BY start_ns LIMIT ?2"""
_FEW = _SPANS.format("span_id, parent_id, name, start_ns, end_ns")
_ALL = _SPANS.format("*")
FIRST = 1_000  # spans of a run that the page asks for before the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Milliseconds of one kind of request; ``raw``: SQLite alone; ``peer``: whole rows and their JSON, to JSON."""

    name: str
    ours: Sequence[float]
    raw: Sequence[float]
    peer: Sequence[float]


def p95(values: Sequence[float]) -> float:
    """Of all of them."""
    return sorted(values)[max(-(-95 * len(values) // 100) - 1, 0)]


def lists(on: Console, store: Path, rounds: int) -> list[Case]:
    """Pages of fifty runs, newest first, a kind of filter each, and pages further down."""
    kinds = {
        "newest": "",
        "an agent": f"&agent={WORKERS[3]}",
        "an agent of one run": "&agent=boss",
        "a model": f"&model={MODELS[1]}",
        "failed": "&status=error",
        "slower than 5 s": "&min_ms=5000",
        "many tokens": "&min_tokens=9000",
        "a word": "&text=plan",
        "a word nowhere": "&text=zebra",
    }
    connection = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)
    raw = "SELECT * FROM runs WHERE obs = 0 ORDER BY start_ns DESC, run DESC LIMIT 51"
    spans = """SELECT attributes FROM spans WHERE trace_id IN (SELECT trace_id FROM run_traces WHERE run IN
        (SELECT run FROM runs WHERE obs = 0 ORDER BY start_ns DESC, run DESC LIMIT 50))"""
    found = []
    for name, extra in kinds.items():
        ours = []
        for number in range(rounds):
            after = ""
            for _ in range(1 + number % 3):
                took_ms, body = on.get(f"/api/runs?limit=50{extra}{after}")
                ours.append(took_ms)
                cursor = json.loads(body)["next"]
                after = f"&after={quote(cursor)}" if cursor else ""
        found.append(
            Case(
                name=name,
                ours=ours,
                raw=_timed(lambda: connection.execute(raw).fetchall(), rounds),
                peer=_timed(lambda: [json.loads(row[0]) for row in connection.execute(spans)], rounds),
            )
        )
    connection.close()
    return found


def runs(on: Console, store: Path, rounds: int) -> list[Case]:
    """Runs drawn at random; and what the page asks first of the long one."""
    connection = sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    (count,) = connection.execute("SELECT count(*) FROM runs").fetchone()
    rng = random.Random(1)
    names = [f"{rng.randrange(1, count):032x}" for _ in range(rounds)]
    found = [_run(on, connection, "a run", names)]
    found.append(_run(on, connection, f"the first {FIRST:,} of the long run", [LONG] * (rounds // 5)))
    connection.close()
    return found


def _run(on: Console, connection: sqlite3.Connection, name: str, chosen: Sequence[str]) -> Case:
    ours, raw, peer = [], [], []
    for run in chosen:
        ours.append(on.get(f"/api/runs/{run}?spans={FIRST}")[0])
        began_s = time.perf_counter()
        connection.execute(_FEW, (run, FIRST)).fetchall()
        raw_s = time.perf_counter()
        rows = map(dict, connection.execute(_ALL, (run, FIRST)))
        json.dumps([{**row, "attributes": json.loads(row["attributes"])} for row in rows], default=bytes.hex)
        raw.append((raw_s - began_s) * 1000)
        peer.append((time.perf_counter() - raw_s) * 1000)
    return Case(name=name, ours=ours, raw=raw, peer=peer)


def pages(on: Console, run: str, page_spans: int) -> tuple[list[float], int]:
    """A run's columns from its beginning to its end: milliseconds of each page, and how many spans came."""
    took, spans, after = [], 0, ""
    while True:
        took_ms, body = on.get(f"/api/runs/{run}/waterfall?limit={page_spans}{after}")
        took.append(took_ms)
        header = json.loads(body[8 : 8 + int.from_bytes(body[4:8], "little")])
        spans += header["count"]
        if header["next"] is None:
            return took, spans
        after = f"&after={header['next']}"


def _timed(work: Callable[[], object], rounds: int) -> list[float]:
    took = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        work()
        took.append((time.perf_counter() - began_s) * 1000)
    return took

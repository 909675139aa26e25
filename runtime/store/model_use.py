"""How model instances did: waiting, first token, pace, batch, pages, tokens and cost, by instance and tenant."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.runtime.store.facts import ERROR, MODEL_OPERATIONS
from antiphon.runtime.store.rows import mapping
from antiphon.runtime.store.sketch import Sketch
from antiphon.runtime.store.spending import covered_ns
from antiphon.runtime.store.window import Window, quoted
from antiphon.runtime.telemetry import attributes as attr

_COLUMNS = """s.node, s.model, s.start_ns, s.end_ns, s.status, s.queue_ns, s.input_tokens, s.output_tokens,
    s.cached_tokens, s.attributes"""
_MODELS = f"s.end_ns > 0 AND s.operation IN {quoted(MODEL_OPERATIONS)}"
_NS = 1e9


@dataclass(slots=True)
class ModelUse:
    """Sums over the calls of one instance for one tenant. Sketches are of nanoseconds.

    ``decode_s`` is the time in which ``decoded`` tokens after the first were written. ``pages`` (used, of how many) and
    ``capacity`` are those of the newest call that says so; None: none does.
    """

    calls: int = 0
    errors: int = 0
    first: Sketch = field(default_factory=Sketch)
    waited: Sketch = field(default_factory=Sketch)
    decode_s: float = 0.0
    decoded: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    active: int = 0  # sum over ``placed`` calls of how many were served at a time
    placed: int = 0
    capacity: int | None = None
    pages: tuple[int, int] | None = None
    spans: list[tuple[int, int]] = field(default_factory=list)

    def add(self, row: sqlite3.Row, given: Mapping[str, Any]) -> None:
        """Take in a call; the newest first."""
        self.calls += 1
        self.errors += row["status"] == ERROR
        self.waited.add(row["queue_ns"] or 0)
        self.input_tokens += row["input_tokens"] or 0
        self.cached_tokens += row["cached_tokens"] or 0
        self.output_tokens += row["output_tokens"] or 0
        self.usd += _number(given, attr.COST_USD) or 0.0
        self.spans.append((row["start_ns"], row["end_ns"]))
        first_s, decode_s = _number(given, attr.GENAI_FIRST_CHUNK), _number(given, attr.MODEL_DECODE_S)
        if first_s is not None:
            self.first.add(first_s * _NS)
        if decode_s is not None and (row["output_tokens"] or 0) > 1:
            self.decode_s += decode_s
            self.decoded += row["output_tokens"] - 1
        active = _number(given, attr.POOL_ACTIVE)
        if active is not None:
            self.active += int(active)
            self.placed += 1
        if self.capacity is None and (capacity := _number(given, attr.POOL_CAPACITY)) is not None:
            self.capacity = int(capacity)
        if self.pages is None and (used := _number(given, attr.KV_USED)) is not None:
            self.pages = int(used), int(_number(given, attr.KV_TOTAL) or 0)

    def busy_s(self, since_ns: int, until_ns: int) -> float:
        """Seconds in which it had at least one call."""
        return covered_ns(self.spans, since_ns, until_ns) / _NS


def model_use(connection: sqlite3.Connection, window: Window) -> tuple[dict[tuple[str, str, str], ModelUse], bool]:
    """By model, instance and tenant, and whether the window had more calls than were read.

    The instance is empty for calls that no instance served: a cache or an equal call answered them.
    """
    rows, truncated = window.rows(connection, _COLUMNS, _MODELS)
    found: dict[tuple[str, str, str], ModelUse] = {}
    for row in rows:
        given = mapping(row["attributes"])
        instance = given.get(attr.POOL_ID) or given.get(attr.SERVICE_NAME) or row["node"]
        if given.get(attr.ANSWERED_BY):
            instance = ""
        key = (row["model"] or "", str(instance)[:256], str(given.get(attr.TENANT) or "default")[:64])
        found.setdefault(key, ModelUse()).add(row, given)
    return found, truncated


def _number(given: Mapping[str, Any], key: str) -> float | None:
    value = given.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15 else None

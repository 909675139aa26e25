"""Reading a run's spans in order of start, the first of them without looking at the rest."""

import sqlite3
from typing import Final

SORTED: Final = 5_000  # spans: a run up to that size is sorted, which takes milliseconds

RUN_TRACES: Final = "trace_id IN (SELECT trace_id FROM run_traces WHERE run = ?1)"
ORDER: Final = "ORDER BY start_ns, rowid"


def run_spans(about: sqlite3.Row, wanted: int, from_ns: int = 0) -> str:
    """FROM and WHERE (with the run as ``?1``) of its spans that begin at ``from_ns`` or later, to be read in ORDER.

    ``about`` has the run's ``spans``, ``start_ns`` and ``last_ns``. Who wants most of a run has its rows sorted. Who
    wants few of many reads along the index of starts, where nothing is sorted, so that a page of a million spans costs
    what it shows; spans of other runs of that time are passed over.
    """
    mine = f"WHERE {RUN_TRACES} AND (run = ?1 OR run IS NULL)"
    if about["spans"] <= SORTED or 2 * wanted > about["spans"]:
        return f"FROM spans {mine} AND start_ns >= {from_ns}"
    first_ns = max(about["start_ns"], from_ns)
    return f"FROM spans INDEXED BY spans_start {mine} AND start_ns BETWEEN {first_ns} AND {about['last_ns']}"

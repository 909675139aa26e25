"""A store that an earlier version wrote is read with everything that is in it."""

import sqlite3
from pathlib import Path
from typing import Any

from antiphon.runtime.store.query import Reader, RunFilter
from antiphon.runtime.store.schema import STEPS, migrate
from antiphon.runtime.store.sqlite import Store

RUN = "('old', 5, 9, 0, 1, 0, 0, 0, 7, 0, 0, 2, 'old', 5, 1, 'writer.write', 'ok')"
SPAN = (
    "(x'01010101010101010101010101010101', x'0202020202020202', NULL, 'old', 'a', 'writer', 'write', 'process', 'p', 4,"
    " 5, 9, 0, NULL, NULL, NULL, NULL, NULL, '{}', NULL)"
)


def test_a_store_of_before_the_console(path: Path, clock: Any) -> None:
    """Its runs cost nothing that is known, and its spans are drawn; the next step's table is there."""
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, path, STEPS[:3])
    connection.execute(f"INSERT INTO runs VALUES {RUN}")
    connection.execute(f"INSERT INTO spans VALUES {SPAN}")
    connection.execute("INSERT INTO run_traces VALUES (x'01010101010101010101010101010101', 'old')")
    connection.close()
    store = Store.open(path, clock=clock)
    reader = Reader.open(path)
    (run,) = reader.runs(RunFilter(max_usd=0.0), limit=5).runs
    assert (run.run, run.cost_usd) == ("old", 0.0)
    record = reader.run("old")
    assert record is not None and len(record.spans) == 1
    assert store.begin_act(action="a", by="b", arguments={}) == 1
    reader.close()
    store.close()

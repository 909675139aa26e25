"""Readers get a connection for a bounded time."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.store.pool import ReadPool
from antiphon.runtime.store.query import Reader, RunFilter
from antiphon.runtime.store.sqlite import Store, Written
from antiphon.runtime.store.standing import standing

FOREVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


@pytest.fixture
def reader(store: Store) -> Iterator[Reader]:
    with closing(Reader.open(store.path)) as reader:
        yield reader


def test_a_query_without_end_is_stopped(store: Store, path: Path) -> None:
    """With advice; its connection then serves the next."""
    with closing(ReadPool(path, read_s=0.05)) as pool:
        for _ in range(5):
            with pytest.raises(Unanswerable, match="took too long: ask for a shorter time"), pool.connection() as one:
                one.execute(FOREVER).fetchone()
        with pool.connection() as one:
            assert one.execute("SELECT count(*) FROM runs").fetchone()[0] == 0


def test_a_reader_is_bounded_where_others_wait(store: Store) -> None:
    """As the console's is; a command that a person waits for reads on."""
    with closing(Reader.open(store.path, read_s=0.05)) as reader, pytest.raises(Unanswerable):
        reader.ask(lambda connection: connection.execute(FOREVER).fetchone())
    with closing(Reader.open(store.path)) as reader:
        assert reader.ask(lambda connection: connection.execute(FOREVER.replace("c)", "c LIMIT 500000)")).fetchone()[0])


def test_a_question_of_many_queries_ends_when_its_time_has_passed(
    make: Any, put: Callable[..., Written], reader: Reader
) -> None:
    """Also where each query is short; others go on reading."""
    put(make.process(1))
    assert reader.within(60).run("r1") is not None
    late = reader.within(0)
    for asked in (partial(late.run, "r1"), partial(late.runs, RunFilter(), limit=1), partial(late.ask, standing)):
        with pytest.raises(Unanswerable, match="all this took too long"):
            asked()
    assert reader.run("r1") is not None

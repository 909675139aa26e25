"""SQL of other people reads, for a bounded time, and does nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.runtime.errors import ConfigurationError, Unanswerable
from antiphon.runtime.store.sql import VALUE_BYTES, ask
from antiphon.runtime.store.sqlite import Store, Written

FOREVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT "


def test_a_select_is_answered(make: Any, put: Callable[..., Written], store: Store) -> None:
    """With names, rows, and whether there were more of them."""
    put(make.process(1), make.chat(2), make.chat(3))
    found = ask(store.path, "SELECT operation, count(*) AS n FROM spans GROUP BY 1 ORDER BY 1")
    assert (found.columns, found.rows, found.truncated) == (("operation", "n"), (("chat", 2), ("process", 1)), False)
    assert ask(store.path, "SELECT 1 FROM spans", limit=2).truncated
    assert ask(store.path, "SELECT count(*) FROM Runs, (SELECT 1) AS mine").rows == ((1,),)
    assert ask(store.path, "WITH m AS (SELECT model FROM spans) SELECT count(model) FROM m").rows == ((2,),)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM spans",
        "UPDATE runs SET title = ''",
        "INSERT INTO spans DEFAULT VALUES",
        "DROP TABLE spans",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x (a)",
        "ATTACH '/tmp/x' AS x",
        "DETACH main",
        "PRAGMA user_version = 1",
        "PRAGMA table_info(spans)",
        "SELECT * FROM pragma_table_info('spans')",
        "VACUUM INTO '/tmp/copy'",
        "SELECT load_extension('x')",
        "SELECT randomblob(10)",
        "SELECT zeroblob(1000000000)",
        "SELECT writefile('x', 'y')",
        "SELECT fts3_tokenizer('x')",
        "SELECT body FROM journals",
        "SELECT content FROM blocks",
        "SELECT body FROM rejected",
        "SELECT count(*) FROM rejected",
        "SELECT count(*) FROM main.journals AS spans",
        'SELECT EXISTS (SELECT 1 FROM "Blocks")',
        "SELECT count(*) FROM sqlite_sequence",
        "SELECT count(*) FROM dbstat",
        "WITH spans AS (SELECT * FROM journals) SELECT * FROM spans",
        "SELECT 1; SELECT 2",
        "BEGIN",
        "EXPLAIN DELETE FROM spans",
        "REINDEX",
        "",
        "\x00",
        "SELECT '\ud800'",
        "nonsense",
    ],
)
def test_nothing_else_is(store: Store, query: str) -> None:
    """Writing, attaching, settings, files, contents and several statements are refused, and the file is as it was."""
    before = store.path.read_bytes()
    with pytest.raises(Unanswerable, match="expected one SELECT"):
        ask(store.path, query)
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("query", [FOREVER + "count(*) FROM c", FOREVER + "max(c.x) FROM c, c AS d"])
def test_a_query_without_end_is_stopped(store: Store, query: str) -> None:
    """After its time, with advice."""
    with pytest.raises(Unanswerable, match=r"longer than 0\.05 s: narrow it"):
        ask(store.path, query, time_s=0.05)


def test_answers_do_not_fill_the_memory(store: Store) -> None:
    """One value has a largest size, and so have all of an answer."""
    with pytest.raises(Unanswerable, match="too big"):
        ask(store.path, "SELECT replace(printf('%1000s', 'x'), ' ', printf('%1000s', 'x'))")
    wide = f"printf('%{VALUE_BYTES - 10}s', 'x')"
    found = ask(store.path, FOREVER + f"{wide} FROM c LIMIT 500")
    assert found.truncated and len(found.rows) < 100


def test_where_there_is_no_store_that_is_said(tmp_path: Path) -> None:
    """Also where the file is another program's."""
    with pytest.raises(ConfigurationError, match="start `antiphon up`"):
        ask(tmp_path / "none.db", "SELECT 1")
    (tmp_path / "other.db").write_bytes(b"not a database, but long enough to be taken for one at first sight" * 20)
    with pytest.raises(ConfigurationError):
        ask(tmp_path / "other.db", "SELECT 1")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60) | st.from_regex(r"(SELECT|DELETE|PRAGMA|ATTACH|WITH) [a-z*'();=, ]{0,40}", fullmatch=True))
def test_any_text_is_answered_or_refused(store: Store, query: str) -> None:
    """And never raises anything else."""
    try:
        ask(store.path, query, time_s=0.2)
    except Unanswerable as error:
        assert error.message

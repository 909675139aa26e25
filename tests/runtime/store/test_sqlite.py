import sqlite3
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.errors import ConfigurationError, InvalidMessage
from antiphon.runtime.store.query import Cursor, Reader, RunFilter
from antiphon.runtime.store.retention import Retention
from antiphon.runtime.store.runs import RunStatus
from antiphon.runtime.store.schema import STEPS, migrate
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.schemas.finding import Estimate, Finding, FindingState, Grade, Remedy, Saving
from antiphon.schemas.telemetry import LogRecord, SpanEvent, SpanLink


def _finding(id: str = "f1", **more: Any) -> Finding:
    values: dict[str, Any] = {
        "id": id,
        "pattern": "p3",
        "title": "The same read twice",
        "cohort": "c",
        "subject": "writer",
        "state": FindingState.OPEN,
        "grade": Grade.A,
        "support": 5,
        "required": 5,
        "remedy": Remedy(text="Share it."),
        "first_seen_unix_ms": 1,
        "last_seen_unix_ms": 2,
    }
    return Finding(**{**values, **more})


def test_a_span_comes_back_as_it_was_recorded(make: Any, put: Any, path: Path) -> None:
    """Ids, times, attributes of every JSON type, events and links survive; the node becomes an attribute."""
    span = make.process(2, parent=1, status=2, status_message="no", attributes={"n": [1, 2.5, "ü\x00"], "b": True})
    span.events.append(SpanEvent(name="exception", unix_ns=5, attributes={"exception.type": "X"}))
    span.links.append(SpanLink(trace_id=b"t" * 16, span_id=b"s" * 8, attributes={"why": "fan-in"}))
    entry = LogRecord(unix_ns=make.start_ns, level="info", event="hello", trace_id=span.trace_id, fields={"a": 1})
    put(span, logs=(entry,))
    reader = Reader.open(path)
    found = reader.span(span.trace_id, span.span_id)
    span.attributes["antiphon.node"] = "a"
    assert found == span
    record = reader.run("r1")
    assert record is not None
    assert record.spans == (span,)
    assert [(item.event, item.fields) for item in record.logs] == [("hello", {"a": 1, "node": "a"})]
    assert record.run.agents == ("writer",)
    reader.close()


def test_writing_the_same_again_changes_nothing(make: Any, put: Any, path: Path) -> None:
    """A batch that is redelivered adds no span, no log and no token."""
    entry = LogRecord(unix_ns=make.start_ns, level="info", event="hello")
    spans = (make.process(1), make.chat(2, parent=1))
    assert put(*spans, logs=(entry,)).spans == 2
    assert put(*spans, logs=(entry,)).spans == 0
    run = Reader.open(path).runs(RunFilter(), limit=5).runs[0]
    assert (run.spans, run.input_tokens) == (2, 100)


def test_a_finished_record_replaces_a_start_record_and_never_the_other_way(make: Any, put: Any, path: Path) -> None:
    """Whatever the order, in one batch or in two, the end is kept."""
    for trace, order in ((1, (0, 1)), (2, (1, 0))):
        for took_s in order:
            put(make.process(1, trace=trace, run=f"apart{trace}", took_s=took_s))
        put(*(make.process(1, trace=trace + 10, run=f"together{trace}", took_s=took_s) for took_s in order))
    runs = Reader.open(path).runs(RunFilter(), limit=9).runs
    assert len(runs) == 4
    assert {(run.spans, run.unfinished, run.entry.status) for run in runs} == {(1, 0, RunStatus.OK)}


def test_an_unfinished_span_stays_visible(make: Any, put: Any, path: Path) -> None:
    """A node that was killed leaves a start record: the run shows it and says running."""
    put(make.process(1, took_s=0))
    record = Reader.open(path).run("r1")
    assert record is not None
    assert record.spans[0].end_ns == 0
    assert (record.run.unfinished, record.run.entry.status) == (1, RunStatus.RUNNING)


@pytest.mark.parametrize("together", [True, False])
def test_a_foreign_span_joins_the_run_of_its_trace(make: Any, put: Any, path: Path, together: bool) -> None:
    """Spans of other instrumentation name no run; they belong to their trace's, even if they came first."""
    foreign = [make.step(7, parent=1, attributes={"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"})]
    ours = [make.process(1)]
    if together:
        put(*foreign, *ours)
    else:
        put(*foreign)
        put(*ours)
    reader = Reader.open(path)
    runs = reader.runs(RunFilter(model="m"), limit=9).runs
    assert [(run.run, run.spans, run.entry.title) for run in runs] == [("r1", 2, "writer.write")]
    assert len(reader.runs(RunFilter(), limit=9).runs) == 1
    record = reader.run("r1")
    assert record is not None and len(record.spans) == 2


def test_two_runs_in_one_trace_stay_apart(make: Any, put: Any, path: Path) -> None:
    """A client that asks twice under one span of its own has two runs."""
    put(make.process(1), make.process(2, run="r2"))
    reader = Reader.open(path)
    for run in ("r1", "r2"):
        record = reader.run(run)
        assert record is not None
        assert [span.attributes["antiphon.run"] for span in record.spans] == [run]


def test_lists_page_and_filter(make: Any, put: Any, path: Path) -> None:
    """Pages follow one another without repeats; agent, model and status select; the system's own is left out."""
    for n in range(25):
        put(make.process(1, trace=n + 1, run=f"r{n:02}", agent=f"agent{n % 2}", at_s=n, status=2 if n % 5 == 0 else 0))
    put(make.process(1, trace=99, run="own", attributes={"antiphon.obs": True}))
    reader = Reader.open(path)
    seen: list[str] = []
    after = None
    while True:
        page = reader.runs(RunFilter(), limit=10, after=after)
        seen += [run.run for run in page.runs]
        if page.next is None:
            break
        after = Cursor.parse(str(page.next))
    assert seen == [f"r{n:02}" for n in reversed(range(25))]
    assert len(reader.runs(RunFilter(agent="agent1"), limit=99).runs) == 12
    assert len(reader.runs(RunFilter(status=RunStatus.ERROR, agent="agent0"), limit=99).runs) == 3
    assert len(reader.runs(RunFilter(obs=True), limit=99).runs) == 26
    assert reader.find("r0", limit=3) == ("r00", "r01", "r02")


@pytest.mark.parametrize("text", ["", "1", ".r", "x.r", "-1.r", "9" * 30 + ".r"])
def test_a_cursor_that_is_none_is_refused(text: str) -> None:
    """Only what an earlier page gave is a cursor."""
    with pytest.raises(ValueError, match="cursor"):
        Cursor.parse(text)


@pytest.mark.parametrize(
    "broken", [{"trace_id": b"x"}, {"span_id": b""}, {"start_ns": -1}, {"end_ns": 2**63}, {"kind": 9}, {"status": -1}]
)
def test_what_no_span_can_be_is_refused_whole(make: Any, store: Store, path: Path, broken: dict[str, Any]) -> None:
    """A record with impossible ids, times or numbers is an error, and its batch leaves no trace."""
    bad = make.step(2)
    for name, value in broken.items():
        setattr(bad, name, value)
    with pytest.raises(InvalidMessage, match="expected"):
        store.write([Received(batch=make.batch(make.process(1), bad))])
    assert Reader.open(path).runs(RunFilter(), limit=1).runs == ()


def test_many_rows_go_in_several_transactions(make: Any, put: Any, path: Path) -> None:
    """2,500 spans of one run in one call are all there and counted once."""
    put(*(make.process(n + 1) for n in range(2_500)))
    record = Reader.open(path).run("r1", max_spans=2_000)
    assert record is not None
    assert (record.run.spans, len(record.spans), record.truncated) == (2_500, 2_000, True)


def test_a_reader_sees_each_write_while_the_writer_is_open(make: Any, put: Any, path: Path) -> None:
    """A reader opened before a write sees it after, without being opened again."""
    reader = Reader.open(path)
    for n in range(3):
        put(make.process(1, trace=n + 1, run=f"r{n}"))
        assert len(reader.runs(RunFilter(), limit=9).runs) == n + 1


def test_a_reader_cannot_write(store: Store, path: Path) -> None:
    """The file is opened read-only."""
    with pytest.raises(ConfigurationError, match="readonly"), Reader.open(path)._pool.connection() as connection:
        connection.execute("DELETE FROM runs")


def test_roll_ups_add_up_over_flushes(make: Any, put: Any, store: Store, path: Path) -> None:
    """Calls, tokens, model times and quantiles of a window come from the sums of each second."""
    put(make.process(1), make.chat(2, parent=1))
    store.flush_rollups()
    put(make.process(3), make.chat(4, parent=3))
    store.flush_rollups()
    rows = {row.operation: row for row in Reader.open(path).spending(since_s=0)}
    chat = rows["chat"]
    assert (chat.model, chat.count, chat.input_tokens, chat.cached_tokens) == ("smollm2-135m", 2, 200, 80)
    assert (chat.queue_s, chat.prefill_s, chat.decode_s) == pytest.approx((0.2, 0.4, 1.0))
    assert chat.p95_s == pytest.approx(1, rel=0.02)
    assert (rows["process"].agent, rows["process"].count) == ("writer", 2)
    assert Reader.open(path).spending(since_s=make.start_ns / 1e9 + 60) == []


def test_gaps_and_drops_are_kept(make: Any, store: Store, path: Path) -> None:
    """A missing batch number and the node's own count of dropped records can be read afterwards."""
    for sequence in (1, 4):
        written = store.write([Received(batch=make.batch(sequence=sequence, dropped=sequence))])
    assert written.missing == 2
    node = Reader.open(path).health().nodes[0]
    assert (node.node, node.batches, node.missing, node.dropped) == ("a", 2, 2, 4)


def test_the_newest_message_of_a_finding_is_kept(store: Store, path: Path) -> None:
    """A finding replaces its earlier self, never a later one; open ones come first, the largest saving on top."""
    saving = Saving(latency_s=Estimate(point=2.0, low=1.0, high=3.0))
    store.put_findings([_finding(support=5), _finding("c", state=FindingState.CANDIDATE), _finding("s", saving=saving)])
    store.put_findings([_finding(support=9, last_seen_unix_ms=7)])
    store.put_findings([_finding(support=1, last_seen_unix_ms=3)])
    found = Reader.open(path).findings()
    assert [(item.id, item.support) for item in found] == [("s", 5), ("f1", 9), ("c", 5)]


def test_a_second_writer_is_refused(store: Store, path: Path, clock: Any) -> None:
    """One file has one writer; the message names the file and the process."""
    with pytest.raises(ConfigurationError, match=r"store\.db is already being written by process \d+"):
        Store.open(path, clock=clock)


def test_the_next_writer_goes_on_where_the_last_ended(
    make: Any, put: Any, store: Store, path: Path, clock: Any
) -> None:
    """After close another writer may open, and everything is there, roll-ups included."""
    put(make.process(1))
    store.close()
    store.close()
    again = Store.open(path, clock=clock)
    reader = Reader.open(path)
    assert len(reader.runs(RunFilter(), limit=2).runs) == len(reader.spending(since_s=0)) == 1
    again.close()


def test_a_reader_works_without_a_writer(make: Any, put: Any, store: Store, path: Path) -> None:
    """The command line reads a store whose console has gone."""
    put(make.process(1))
    store.close()
    assert len(Reader.open(path).runs(RunFilter(), limit=2).runs) == 1


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be read as a header" * 40, b"SQLite format 3\0" * 99]
)
def test_a_corrupt_file_is_set_aside(make: Any, path: Path, clock: Any, content: bytes) -> None:
    """It is kept under another name, readers are told the name, and a new store works."""
    path.write_bytes(content)
    store = Store.open(path, clock=clock)
    store.write([Received(batch=make.batch(make.process(1)))])
    reader = Reader.open(path)
    assert len(reader.runs(RunFilter(), limit=2).runs) == 1
    (kept,) = reader.health().set_aside
    assert path.with_name(kept).read_bytes() == content
    store.close()


def test_a_store_that_cannot_be_opened_says_so(path: Path, clock: Any) -> None:
    """With what was expected instead; the place is free again once that is mended."""
    path.mkdir()
    with pytest.raises(ConfigurationError, match=r"store\.db cannot be opened .*: expected a file that this user"):
        Store.open(path, clock=clock)
    path.rmdir()
    Store.open(path, clock=clock).close()


def test_damage_found_while_writing_starts_a_new_file(make: Any, put: Any, store: Store, path: Path) -> None:
    """Readers that were open follow to the new file; an error of another kind is not taken for damage."""
    put(make.process(1))
    reader = Reader.open(path)
    damage = sqlite3.DatabaseError("database disk image is malformed")
    damage.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert not store.start_anew(damage)
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    assert store.start_anew(damage)
    assert reader.runs(RunFilter(), limit=1).runs == ()
    put(make.process(1, run="r2"))
    assert [run.run for run in reader.runs(RunFilter(), limit=5).runs] == ["r2"]


def test_a_newer_schema_is_refused(store: Store, path: Path, clock: Any) -> None:
    """Neither writer nor reader touches what a newer version wrote."""
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opening in (lambda: Store.open(path, clock=clock), lambda: Reader.open(path)):
        with pytest.raises(ConfigurationError, match=r"schema version 99.*upgrade"):
            opening()


def test_another_programs_database_is_left_alone(path: Path, clock: Any) -> None:
    """A SQLite file that is not ours is refused and stays as it is."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another program"):
        Store.open(path, clock=clock)
    assert path.exists() and before[:16] == path.read_bytes()[:16]


def test_an_older_schema_is_brought_up_to_date(path: Path) -> None:
    """Each step runs once, in order, and what was stored stays."""
    connection = sqlite3.connect(path, isolation_level=None)
    assert migrate(connection, path) == 0
    connection.execute("INSERT INTO gaps VALUES (1, 'a', 2, 3)")
    newer = (*STEPS, ("ALTER TABLE gaps ADD COLUMN seen INTEGER DEFAULT 0",))
    assert migrate(connection, path, newer) == len(STEPS)
    assert connection.execute("SELECT * FROM gaps").fetchall() == [(1, "a", 2, 3, 0)]
    assert migrate(connection, path, newer) == len(newer)
    connection.close()


def test_a_missing_store_says_what_to_do(tmp_path: Path) -> None:
    """Reading where nothing was ever written names the file and the command."""
    with pytest.raises(ConfigurationError, match="antiphon up"):
        Reader.open(tmp_path / "none.db")


def test_old_traces_go_whole(make: Any, path: Path, clock: Any) -> None:
    """What is older than allowed goes with its run, links and logs; what is younger stays."""
    store = Store.open(path, clock=clock, retention=Retention(max_age_s=100))
    old = make.process(1, links=[SpanLink(trace_id=b"t" * 16, span_id=b"s" * 8)])
    entry = LogRecord(unix_ns=make.start_ns, level="info", event="e", trace_id=old.trace_id)
    store.write([Received(batch=make.batch(old, make.process(1, trace=2, run="r2", at_s=90), logs=(entry,)))])
    clock.now_ns += 50 * 10**9
    assert store.sweep() == 0
    clock.now_ns += 60 * 10**9
    assert store.sweep() > 0
    reader = Reader.open(path)
    assert [run.run for run in reader.runs(RunFilter(), limit=9).runs] == ["r2"]
    assert reader.run("r1") is None
    with reader._pool.connection() as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("spans", "links", "logs")]
    assert counts == [1, 0, 0]
    store.close()


def test_a_trace_that_goes_on_is_kept(make: Any, path: Path, clock: Any) -> None:
    """Its age counts from what was last seen of it, to ten seconds, however often it is written."""
    store = Store.open(path, clock=clock, retention=Retention(max_age_s=100))
    began_ns = clock.now_ns = make.start_ns
    for n in range(61):
        store.write([Received(batch=make.batch(make.process(n + 1, at_s=n), sequence=n + 1))])
    reader = Reader.open(path)
    with reader._pool.connection() as connection:
        (last_ns,) = connection.execute("SELECT last_ns FROM traces").fetchone()
    assert 50 * 10**9 < last_ns - began_ns <= 62 * 10**9
    clock.now_ns = began_ns + 140 * 10**9
    assert store.sweep() == 0
    clock.now_ns = began_ns + 170 * 10**9
    assert store.sweep() > 0
    assert reader.run("r1") is None
    store.close()


def test_the_file_stays_below_its_byte_limit(make: Any, path: Path, clock: Any) -> None:
    """The oldest traces make room, in steps, and the file gives the pages back."""
    limit = 1_000_000
    store = Store.open(path, clock=clock, retention=Retention(max_bytes=limit))
    for n in range(8):
        spans = [make.process(k + 1, trace=n + 1, run=f"r{n}", at_s=n, attributes={"x": "y" * 400}) for k in range(400)]
        store.write([Received(batch=make.batch(*spans, sequence=n + 1))])
    assert store.sweep(max_steps=100) > 0
    left = [run.run for run in Reader.open(path).runs(RunFilter(), limit=9).runs]
    assert left and left == [f"r{n}" for n in reversed(range(8 - len(left), 8))]
    store.close()
    assert path.stat().st_size <= limit * 1.1


def test_a_finding_of_another_form_is_left_out(store: Store, path: Path) -> None:
    """A store from before has findings whose remedies had other fields: the others are shown all the same."""
    store.put_findings([_finding("new")])
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("INSERT INTO findings VALUES ('old', 'p1', 'open', 1, NULL, '{}')")
    connection.close()
    assert [found.id for found in Reader.open(path).findings()] == ["new"]


@pytest.mark.parametrize("rare", [0, 2_000], ids=["common", "rare"])
def test_runs_of_an_agent_are_found_however_few(
    make: Any, put: Any, path: Path, monkeypatch: pytest.MonkeyPatch, rare: int
) -> None:
    """The same runs, looked up or met on the way; both filters hold, and neither finds what nobody did."""
    monkeypatch.setattr("antiphon.runtime.store.query._RARE", rare)
    put(*(make.process(n, trace=n, run=f"r{n}", agent="critic" if n == 3 else "writer", at_s=n) for n in range(1, 6)))
    reader = Reader.open(path)
    assert [run.run for run in reader.runs(RunFilter(agent="critic"), limit=9).runs] == ["r3"]
    assert [run.run for run in reader.runs(RunFilter(agent="writer"), limit=2).runs] == ["r5", "r4"]
    assert reader.runs(RunFilter(agent="critic", model="m"), limit=9).runs == ()
    reader.close()


@pytest.mark.parametrize(
    ("text", "found"), [("WRITER", 1), ("writer.write", 1), ("%", 0), ("writer_write", 0), ("\\", 0)]
)
def test_words_of_a_title_are_words(make: Any, put: Any, path: Path, text: str, found: int) -> None:
    """In either case; what SQL takes for wildcards stands for itself."""
    put(make.process(1))
    reader = Reader.open(path)
    assert len(reader.runs(RunFilter(text=text), limit=9).runs) == found
    reader.close()


@pytest.mark.parametrize("rare", [0, 2_000], ids=["common", "rare"])
@pytest.mark.parametrize("different", [1, 2_000], ids=["many titles", "few titles"])
def test_a_word_finds_the_same_runs_however_many_titles_there_are(
    make: Any, put: Any, path: Path, monkeypatch: pytest.MonkeyPatch, different: int, rare: int
) -> None:
    """Looked for in each different title, or in every run's; newest first and page by page either way."""
    monkeypatch.setattr("antiphon.runtime.store.query._TITLES", different)
    monkeypatch.setattr("antiphon.runtime.store.query._RARE", rare)
    put(*(make.process(n, trace=n, run=f"r{n}", agent=("critic", "writer")[n % 2], at_s=n) for n in range(1, 6)))
    reader = Reader.open(path)
    page = reader.runs(RunFilter(text="writer"), limit=2)
    assert [run.run for run in page.runs] == ["r5", "r3"]
    page = reader.runs(RunFilter(text="writer"), limit=2, after=page.next)
    assert ([run.run for run in page.runs], page.next) == (["r1"], None)
    assert len(reader.runs(RunFilter(text="i"), limit=9).runs) == 5
    assert reader.runs(RunFilter(text="zebra"), limit=9).runs == ()
    reader.close()

"""The agent on the bus: ingests that cost what changed, crashes, searches and answers."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.agents.knowledge import ingest as ingests
from antiphon.agents.knowledge.agent import Knowledge, knowledge_agent
from antiphon.agents.knowledge.answer import NOTHING
from antiphon.agents.knowledge.messages import (
    Document,
    Ingest,
    Ingested,
    IngestProgress,
    ListSources,
    Query,
    Question,
    Remove,
)
from antiphon.agents.knowledge.sqlite_store import SqliteStore
from antiphon.runtime.client import Client, Done
from antiphon.runtime.errors import ConfigurationError, ModelUnavailable
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.settings import load_settings
from antiphon.runtime.telemetry.attributes import GENAI_OPERATION
from antiphon.runtime.testing import memory_cluster, memory_system, virtual_time
from antiphon.schemas import subjects
from antiphon.schemas.task import Progress
from antiphon.schemas.telemetry import TelemetryBatch

GUIDE = """# Guide

The fox is red.

## Sea

The sea is blue.

## Sky

The sky is grey.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two documents."""
    found = tmp_path / "documents"
    found.mkdir()
    (found / "guide.md").write_text(GUIDE)
    (found / "note.txt").write_text("Foxes sleep by day.")
    return found


async def ingested(client: Client, knowledge: Knowledge, *paths: Path) -> Ingested:
    """The outcome of an ingest of these paths."""
    task = await client.submit(knowledge.ingest, Ingest(paths=tuple(map(str, paths))))
    return await task.result(timeout_s=60)


async def sources(client: Client, knowledge: Knowledge) -> dict[str, int]:
    """How many passages each document has, by its file's name."""
    found = await client.ask(knowledge.sources, ListSources())
    return {Path(each.source).name: each.passages for each in found.sources}


@virtual_time()
async def test_documents_are_taken_in_and_found(knowledge: Knowledge, models: Any, folder: Path) -> None:
    """A passage has its document, the headings above it, its lines and its text."""
    async with memory_system(System("s", agents=[knowledge.agent]), models=models) as client:
        found = await ingested(client, knowledge, folder)
        assert found == Ingested(added=2, unchanged=0, removed=0, embedded=4)
        assert await sources(client, knowledge) == {"guide.md": 3, "note.txt": 1}
        (best, _) = (await client.ask(knowledge.search, Query(text="How blue is the sea?", limit=2))).passages
    assert (best.source, best.heading) == (str(folder / "guide.md"), ("Guide", "Sea"))
    assert (best.first_line, best.last_line, best.text) == (7, 7, "The sea is blue.")
    assert best.score > 0


@virtual_time()
async def test_an_ingest_costs_what_changed(knowledge: Knowledge, models: Any, embedder: Any, folder: Path) -> None:
    """Nothing; then one section that is new, and another that only moved; what has gone is found no more."""
    async with memory_system(System("s", agents=[knowledge.agent]), models=models) as client:
        await ingested(client, knowledge, folder)
        embedder.texts.clear()
        assert await ingested(client, knowledge, folder) == Ingested(added=0, unchanged=2, removed=0, embedded=0)
        assert embedder.texts == []
        (folder / "guide.md").write_text(
            GUIDE.replace("The fox is red.", "The fox is old.\n\n").replace("## Sky", "## X")
        )
        found = await ingested(client, knowledge, folder)
        assert found == Ingested(added=1, unchanged=1, removed=0, embedded=2)
        assert embedder.texts == ["Guide\nThe fox is old.", "Guide > X\nThe sky is grey."]
        passages = (await client.ask(knowledge.search, Query(text="red blue grey", limit=10))).passages
    lines = {passage.text: passage.first_line for passage in passages}
    assert lines == {"The fox is old.": 3, "The sea is blue.": 9, "The sky is grey.": 13, "Foxes sleep by day.": 1}


@virtual_time()
async def test_what_has_gone_from_a_folder_goes(knowledge: Knowledge, models: Any, folder: Path) -> None:
    """Of the folders that are ingested, and of no other."""
    other = folder.parent / "documents-too.md"
    other.write_text("Elsewhere.")
    async with memory_system(System("s", agents=[knowledge.agent]), models=models) as client:
        await ingested(client, knowledge, folder, other)
        (folder / "note.txt").unlink()
        other.unlink()
        found = await ingested(client, knowledge, folder)
        assert (found.unchanged, found.removed) == (1, 1)
        assert set(await sources(client, knowledge)) == {"guide.md", "documents-too.md"}


@virtual_time()
async def test_a_document_that_is_not_what_it_says_keeps_no_other_out(
    knowledge: Knowledge, models: Any, folder: Path, make_pdf: Callable[..., bytes]
) -> None:
    """Each is named with its error, by type; what was there of it stays as it was."""
    bad = {
        "a-pdf.md": make_pdf("text"),
        "binary.txt": b"\x00\x01\x02",
        "empty.md": b"  \n",
        "latin.txt": "grüße".encode("latin-1"),
        "cut.pdf": make_pdf("text")[:60],
        "page.md": b"<!doctype html><html><body>x</body></html>",
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    (folder / "huge.txt").touch()
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(200_000_000)
    async with memory_system(System("s", agents=[knowledge.agent]), models=models) as client:
        found = await ingested(client, knowledge, folder, folder / "nothing.md", folder / "code.py")
        assert found.added == 2
        assert {Path(each.source).name: each.error.type for each in found.refused} == {
            "a-pdf.md": "WrongFormat",
            "binary.txt": "WrongFormat",
            "page.md": "WrongFormat",
            "empty.md": "EmptyDocument",
            "latin.txt": "UnreadableDocument",
            "cut.pdf": "UnreadableDocument",
            "nothing.md": "UnreadableDocument",
            "code.py": "UnreadableDocument",
            "huge.txt": "DocumentTooLarge",
        }
        (folder / "note.txt").write_bytes(b"\xff\xfe\xff")
        assert len((await ingested(client, knowledge, folder / "note.txt")).refused) == 1
        assert (await sources(client, knowledge))["note.txt"] == 1


@virtual_time()
async def test_a_document_can_be_sent(knowledge: Knowledge, models: Any, make_pdf: Callable[..., bytes]) -> None:
    """As bytes, in JSON as base64, for whoever has no file on the agent's machine."""
    documents = (Document(name="sent.md", content=GUIDE.encode()), Document(name="a.pdf", content=make_pdf("A whale.")))
    request = Ingest(documents=documents)
    assert (
        json.loads(request.model_dump_json())["documents"][0]["content"]
        == base64.urlsafe_b64encode(GUIDE.encode()).decode()
    )
    async with memory_system(System("s", agents=[knowledge.agent]), models=models) as client:
        task = await client.submit(knowledge.ingest, request)
        assert (await task.result(timeout_s=60)).added == 2
        (whale,) = (await client.ask(knowledge.search, Query(text="whale", limit=1))).passages
        assert (whale.source, whale.heading, whale.first_line) == ("a.pdf", ("page 1",), 0)


@virtual_time()
async def test_progress_is_shown(
    knowledge: Knowledge, models: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each part: a long document has several."""
    monkeypatch.setattr(ingests, "PART", 2)
    async with memory_system(System("s", agents=[knowledge.agent]), models=models) as client:
        seen = [event async for event in client.stream(knowledge.ingest, Ingest(paths=(str(folder),)))]
    progress = [IngestProgress.model_validate(event.value) for event in seen if isinstance(event, Progress)]
    assert [(each.done, each.total, each.embedded) for each in progress] == [(0, 2, 2), (1, 2, 3), (2, 2, 4)]
    assert isinstance(seen[-1], Done)


@virtual_time(seeds=range(3))
async def test_a_node_that_dies_loses_at_most_a_part(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another goes on where it was: the outcome is whole, and what was stored is not embedded again."""
    home = tmp_path_factory.mktemp("crash")
    monkeypatch.setattr(ingests, "PART", 2)
    monkeypatch.setattr(ingests, "BATCH", 1)
    (home / "long.md").write_text("".join(f"# {number}\n\nfox {number}\n\n" for number in range(8)))
    knowledge = knowledge_agent(store=SqliteStore(home / "library.db"))
    embedded: list[str] = []
    killed: list[asyncio.Task[None]] = []

    class Fatal(ScriptedModel):
        """Kills the node that ingests when the fifth text is embedded."""

        async def close(self) -> None:
            """The other node uses it too."""

    def vector(text: str) -> list[float]:
        embedded.append(text)
        if len(embedded) == 5 and not killed:
            killed.append(asyncio.ensure_future(cluster.kill(cluster.nodes[0])))
        return [1.0, float(len(text))]

    models = {"all-minilm-l6-v2": Fatal([], embed=vector)}
    async with memory_cluster(System("s", agents=[knowledge.agent]), models=models, nodes=2, lag_s=0.001) as cluster:
        task = await cluster.client.submit(knowledge.ingest, Ingest(paths=(str(home / "long.md"),)))
        found = await task.result(timeout_s=600)
        stored = await cluster.client.ask(knowledge.sources, ListSources())
    assert killed
    assert (found.added, found.refused) == (1, ())
    assert [each.passages for each in stored.sources] == [8]
    assert len(set(embedded)) == 8
    assert len(embedded) <= 8 + 1  # the batch that was under way


@virtual_time()
async def test_vectors_are_in_no_journal(knowledge: Knowledge, models: Any, tmp_path: Path) -> None:
    """What a big ingest writes there does not grow with what it embeds, and each embedding is a span."""
    (tmp_path / "long.md").write_text("".join(f"# {number}\n\nfox {number}\n\n" for number in range(60)))
    done: list[object] = []

    def see(batch: TelemetryBatch) -> None:
        done.extend(span.attributes.get(GENAI_OPERATION) for span in batch.spans if span.end_ns)

    async with memory_system(System("s", agents=[knowledge.agent]), models=models, spans=see) as client:
        task = await client.submit(knowledge.ingest, Ingest(paths=(str(tmp_path / "long.md"),)))
        assert (await task.result(timeout_s=60)).embedded == 60
        journal = await client.host.bus.streams.last(subjects.journal("default", task.id))
    assert journal is not None
    assert 0 < len(journal.body) < 4_000
    assert done.count("embeddings") == 4


@virtual_time()
async def test_an_answer_comes_with_what_it_is_from(knowledge: Knowledge, models: Any, folder: Path) -> None:
    """The model is given the passages, numbered and under where they are from, and the question last."""
    async with memory_system(System("s", agents=[knowledge.agent]), models=models) as client:
        nothing = await client.ask(knowledge.answer, Question(text="How blue is the sea?"))
        assert (nothing.text, nothing.sources) == (NOTHING, ())
        await ingested(client, knowledge, folder)
        found = await client.ask(knowledge.answer, Question(text="How blue is the sea?", limit=2))
        prompt = models["smollm2-135m"].requests[-1].conversation
    assert found.text == "Question: How blue is the sea?"
    assert found.sources[0].text == "The sea is blue."
    assert f"[1] {folder / 'guide.md'} > Guide > Sea\nThe sea is blue.\n\n[2] " in prompt[-1].text
    assert len(models["smollm2-135m"].requests) == 1  # nothing to read, nothing to ask


@virtual_time()
async def test_documents_are_forgotten(knowledge: Knowledge, models: Any, folder: Path) -> None:
    """Those that are there; the files stay."""
    guide = str(folder / "guide.md")
    async with memory_system(System("s", agents=[knowledge.agent]), models=models) as client:
        await ingested(client, knowledge, folder)
        removed = await client.ask(knowledge.remove, Remove(sources=(guide, "unknown.md")))
        assert removed.sources == (guide,)
        assert await sources(client, knowledge) == {"note.txt": 1}
        assert (await ingested(client, knowledge, folder)).added == 1


@virtual_time()
async def test_a_model_that_is_away_ends_the_attempt_and_not_the_ingest(
    knowledge: Knowledge, models: Any, embedder: Any, folder: Path
) -> None:
    """It is nobody's fault but the model's: the documents are not refused, and a later attempt takes them in."""

    def fail_once(count: int) -> None:
        embedder.watch = lambda count: None
        raise ModelUnavailable("away for a moment")

    embedder.watch = fail_once
    async with memory_system(System("s", agents=[knowledge.agent]), models=models) as client:
        assert await ingested(client, knowledge, folder) == Ingested(added=2, unchanged=0, removed=0, embedded=4)


@virtual_time()
async def test_the_library_is_where_settings_say(
    models: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a store of its own: one for each tenant, in the home folder, and none sees the other's documents."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    knowledge = knowledge_agent("handbook")
    system = System("s", agents=[knowledge.agent])
    for tenant in ("red", "blue"):
        found = load_settings({"ANTIPHON_HOME": str(tmp_path), "ANTIPHON_TENANT": tenant})
        async with memory_system(system, models=models, settings=found) as client:
            assert await sources(client, knowledge) == {}
            await ingested(client, knowledge, folder)
            assert (tmp_path / "knowledge" / f"{tenant}.handbook.all-minilm-l6-v2.db").is_file()


@virtual_time()
async def test_a_user_s_own_question_is_another_message(knowledge: Knowledge, models: Any) -> None:
    """A system may have a Question of its own beside the agent."""

    class Question(Message):
        words: str

    desk = Agent("desk")

    @desk.handles
    async def help(question: Question, ctx: Context) -> Question:
        found = await ctx.ask(knowledge.search, Query(text=question.words))
        return Question(words=str(len(found.passages)))

    async with memory_system(System("s", agents=[desk, knowledge.agent]), models=models) as client:
        assert (await client.ask(help, Question(words="x"))).words == "0"


def test_an_ingest_of_nothing_is_a_mistake() -> None:
    """It is said where it is made."""
    with pytest.raises(ValueError, match="expected paths or documents"):
        Ingest()


def test_names_are_checked() -> None:
    """As every agent's are."""
    with pytest.raises(ConfigurationError):
        knowledge_agent("No Good")

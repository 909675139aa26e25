"""The embedding model on its thread: answers, refusals, deadlines and its end."""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.engine.embedder import Embedder
from antiphon.runtime.engine.testing import write_tiny_checkpoint, write_tiny_encoder
from antiphon.runtime.errors import (
    DeadlineExceeded,
    InvalidRequest,
    MissingExtra,
    ModelBusy,
    ModelFileError,
    ModelUnavailable,
)
from antiphon.runtime.models.embedding import EmbeddingModel, is_embedding_checkpoint
from antiphon.runtime.models.structured import collect
from antiphon.schemas.inference import EmbedRequest, GenerateRequest

Ask = Callable[..., GenerateRequest]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random checkpoint."""
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
async def model(folder: Path) -> AsyncGenerator[EmbeddingModel, None]:
    """A model that two requests may wait for."""
    found = EmbeddingModel("tiny", folder, dtype="float32", max_waiting=2)
    yield found
    await found.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Every call of the embedder waits until this is set."""
    gate = threading.Event()
    embed = Embedder.embed

    def wait(self: Embedder, *given: Any) -> Any:
        assert gate.wait(120)
        return embed(self, *given)

    monkeypatch.setattr(Embedder, "embed", wait)
    return gate


def request(*texts: str, deadline_unix_ms: int | None = None) -> EmbedRequest:
    """Texts to embed."""
    return EmbedRequest(model="tiny", texts=texts or ("the sea",), deadline_unix_ms=deadline_unix_ms)


async def test_one_vector_a_text_in_order(model: EmbeddingModel) -> None:
    """With the tokens that were read."""
    found = await model.embed(request("the sea", "foxes", "the sea"))
    assert [len(vector) for vector in found.vectors] == [32] * 3
    assert found.vectors[0] == pytest.approx(found.vectors[2], abs=1e-6)
    assert found.vectors[0] != found.vectors[1]
    assert found.usage.input_tokens == 4 + 4 + 4


async def test_it_says_what_served_a_call(model: EmbeddingModel, held: threading.Event) -> None:
    """One worker, so who comes second waits; the span then shows that no two were at work at once."""
    waiting = [asyncio.create_task(model.embed(request())) for _ in range(2)]
    await asyncio.sleep(0)
    held.set()
    first, second = await asyncio.gather(*waiting)
    assert first.pool == second.pool
    assert first.pool is not None
    assert (first.pool.capacity, first.pool.active) == (1, 1)
    assert first.timing.queue_s is not None
    assert second.timing.queue_s is not None
    assert first.timing.queue_s < second.timing.queue_s


async def test_it_says_what_it_can_do(model: EmbeddingModel, ask: Ask) -> None:
    """Vectors, and no text."""
    found = await model.capabilities()
    assert (found.embeddings, found.context_tokens, found.tools, found.structured_output) == (True, 64, False, False)
    with pytest.raises(InvalidRequest, match="makes vectors and no text"):
        await collect(model.generate(ask()))


async def test_texts_that_were_cut_are_logged(model: EmbeddingModel) -> None:
    """How many of how many."""
    with capture_logs() as logs:
        await model.embed(request("sea " * 100, "sea"))
    assert [(each["event"], each["cut"], each["texts"]) for each in logs] == [("embedding_texts_cut", 1, 2)]


async def test_more_than_may_wait_are_refused(model: EmbeddingModel, held: threading.Event) -> None:
    """At once, with when another try may help; those that wait are answered."""
    waiting = [asyncio.create_task(model.embed(request())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(ModelBusy, match="2 requests wait already") as caught:
        await model.embed(request())
    assert caught.value.retryable and float(caught.value.details["retry_after_s"]) > 0
    held.set()
    assert len(await asyncio.gather(*waiting)) == 2
    assert await model.embed(request())


async def test_a_deadline_ends_the_wait(model: EmbeddingModel, held: threading.Event) -> None:
    """The next request is answered: nothing of it stays behind."""
    now_ms = SystemClock().unix_ns() // 1_000_000
    with pytest.raises(DeadlineExceeded, match="before the deadline"):
        await model.embed(request(deadline_unix_ms=now_ms + 50))
    held.set()
    assert await model.embed(request())


async def test_a_reader_that_goes_frees_its_place(model: EmbeddingModel, held: threading.Event) -> None:
    """What it had asked for is given up."""
    tasks = [asyncio.create_task(model.embed(request())) for _ in range(2)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    held.set()
    assert await model.embed(request())


async def test_closing_ends_what_waits(folder: Path, held: threading.Event) -> None:
    """With ModelUnavailable, and so does what comes later; closing twice changes nothing."""
    model = EmbeddingModel("tiny", folder)
    waiting = [asyncio.create_task(model.embed(request())) for _ in range(2)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(model.close())
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [ModelUnavailable] * 2
    held.set()
    await closing
    await model.close()
    with pytest.raises(ModelUnavailable, match="was closed"):
        await model.embed(request())


async def test_a_checkpoint_that_cannot_be_loaded_is_tried_again(tmp_path: Path) -> None:
    """A pull may have mended it meanwhile."""
    model = EmbeddingModel("tiny", tmp_path / "tiny")
    with pytest.raises(ModelFileError, match=r"config\.json"):
        await model.embed(request())
    write_tiny_encoder(tmp_path / "tiny")
    assert await model.embed(request())
    await model.close()


async def test_a_failure_that_is_not_ours_is_logged_and_typed(
    model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory, or torch."""

    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Embedder, "embed", fail)
    with capture_logs() as logs, pytest.raises(ModelUnavailable, match="MemoryError: no room"):
        await model.embed(request())
    assert [each["event"] for each in logs] == ["embedding_failed"]


async def test_a_missing_engine_is_named(model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, "antiphon.runtime.engine.embedder", None)
    with pytest.raises(MissingExtra, match=r"antiphon\[engine\]"):
        await model.embed(request())


def test_a_checkpoint_is_known_by_its_family(folder: Path, tmp_path: Path) -> None:
    """What cannot be read is left to the engine, which says why."""
    assert is_embedding_checkpoint(folder)
    assert not is_embedding_checkpoint(write_tiny_checkpoint(tmp_path / "llama"))
    (tmp_path / "config.json").write_text("[]")
    assert not is_embedding_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("oops")
    assert not is_embedding_checkpoint(tmp_path)
    assert not is_embedding_checkpoint(tmp_path / "model.gguf")
